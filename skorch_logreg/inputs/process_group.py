"""Fits on the rows of all ranks of a process group, with the solver on one rank."""

import reprlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from hashlib import sha256
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _get_feature_names
from torch import Tensor
from torch import distributed as dist

from skorch_logreg.data import Rank, RankParts, RankRows
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.inputs.chunks import PartitionedRows, check_rows

# parameters without effect on the coefficients
_OWN_PARAMETERS = {"n_jobs", "random_state", "threshold", "verbose"}


def fit_on_all_ranks(
    X: RankRows,
    y: Any,
    sample_weight: Any,
    params: dict[str, Any],
    fit: Callable[[Any, Any, Any], Any],
) -> Any:
    """Return, on every rank, the result of a function of X, y and weights of all ranks.

    ``fit`` is called on one rank, to which the others lend their rows. An exception of one rank is
    raised on all. ``params`` are those of the estimator, which must be equal on all ranks.
    """
    _check_group(X)
    summary: dict[str, Any] | Exception  # properties of a rank's rows, which all ranks exchange
    try:
        rows, given, summary = _validate_rows(X, y, sample_weight)
        summary["params"] = _digests(params)
    except Exception as error:
        rows = given = None
        summary = error
    summaries: list[Any] = [None] * dist.get_world_size(X.group)
    dist.all_gather_object(summaries, summary, group=X.group)
    for each in summaries:
        if isinstance(each, Exception):
            raise each
    _check_params([summary["params"] for summary in summaries])
    with_rows = [i for i, summary in enumerate(summaries) if summary["n_rows"]]
    if not with_rows:
        raise ValueError("Found array with 0 sample(s): no rank has a row.")
    places = [with_rows.index(i) if i in with_rows else -1 for i in range(len(summaries))]
    rank = Rank(rows, places, with_rows[0], X.group)
    labels = rank.gather(given)
    if not rank.leads:
        ended = rank.serve()
        if isinstance(ended, Exception):
            raise ended
        return ended
    try:
        rows_of_all = _combine(rank, summaries, with_rows)
        y, weight = zip(*(labels[i] for i in with_rows), strict=True)
        has_weight = summaries[with_rows[0]]["has_weight"]
        result = fit(rows_of_all, np.concatenate(y), np.concatenate(weight) if has_weight else None)
    except BaseException as error:
        rank.tell(error if isinstance(error, Exception) else RuntimeError("rank 0 was interrupted"))
        raise
    rank.tell(result)
    return result


def _check_group(X: RankRows) -> None:
    if find_spec("cloudpickle") is None:
        raise ParameterError(
            'RankRows needs cloudpickle: pip install "skorch-logreg[distributed]".'
        )
    if not (dist.is_available() and dist.is_initialized()):
        raise ParameterError(
            "RankRows needs a process group: call torch.distributed.init_process_group('gloo') "
            "in every process, under torchrun or the like."
        )
    backend = str(dist.get_backend_config(X.group))
    if "cpu:gloo" not in backend and "cpu:mpi" not in backend:
        raise ParameterError(
            f"RankRows needs a process group that sums tensors of the CPU, got {backend!r}; "
            "initialise it with 'gloo' or 'cpu:gloo,cuda:nccl'."
        )


def _validate_rows(
    X: RankRows, y: Any, sample_weight: Any
) -> tuple[Any, tuple[Any, Any], dict[str, Any]]:
    """Validate this rank's rows, labels and weights, except that entries are finite."""
    if isinstance(X.X, Tensor) and X.X.device.type != "cpu":
        raise ParameterError(f"RankRows takes rows in the memory of the CPU, not of {X.X.device}.")
    rows = check_rows(X.X, "X", None, False)
    names = _get_feature_names(X.X)
    y = np.asarray(to_numpy(y))
    weight = sample_weight
    if weight is not None:
        weight = np.asarray(to_numpy(weight), dtype=np.float64)
        weight = np.full(len(y), weight) if weight.ndim == 0 else weight
    check_consistent_length(rows, y, weight)
    summary = {
        "n_rows": int(rows.shape[0]),
        "n_features": int(rows.shape[1]),
        "dtype": rows.dtype,
        "names": None if names is None else list(names),
        "has_weight": weight is not None,
        "y.ndim": y.ndim,
        "type of y": _label_type(y),
    }
    return rows, (y, weight), summary


def _digests(params: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return a digest and a short text of the parameters whose values can be compared."""
    found = {}
    for name in sorted(params.keys() - _OWN_PARAMETERS):
        with suppress(Exception):  # values that cannot be compared
            text = repr(_comparable(params[name]))
            found[name] = sha256(text.encode()).hexdigest(), reprlib.repr(params[name])
    return found


def _comparable(value: Any) -> Any:
    """Return numbers and text with one repr for equal values, or raise an error."""
    if isinstance(value, str):
        return str(value)
    if is_dataclass(value):  # the repr of a solver has no checkpoint
        shown = {each.name: getattr(value, each.name) for each in fields(value) if each.repr}
        return type(value).__name__, _comparable(shown)
    value = value.to_dict() if hasattr(value, "to_dict") else to_numpy(value)
    if isinstance(value, dict):
        pairs = [(_comparable(key), _comparable(each)) for key, each in value.items()]
        return sorted(pairs, key=repr)
    try:
        return np.asarray(value, dtype=np.float64).tolist()
    except (TypeError, ValueError):
        if isinstance(value, (list, tuple)):
            return list(map(_comparable, value))
        raise


def _check_params(digests: list[dict[str, tuple[str, str]]]) -> None:
    first = digests[0]
    for i, own in enumerate(digests):
        for name, (digest, text) in own.items():
            if name in first and digest != first[name][0]:
                raise ParameterError(
                    f"{name} is {text} on rank {i} and {first[name][1]} on rank 0; all ranks must "
                    "have the same parameters."
                )


def _label_type(y: np.ndarray) -> str:
    """Return "number", "text" or else the kind of NumPy's dtype: NumPy joins numbers and text."""
    kind = np.asarray(y.flat[0]).dtype.kind if y.size else y.dtype.kind
    return "number" if kind in "biuf" else "text" if kind in "SUT" else kind


def _combine(rank: Rank, summaries: list[dict[str, Any]], with_rows: list[int]) -> PartitionedRows:
    """Combine the rows of all ranks to partitioned rows."""
    first = summaries[with_rows[0]]
    for i in with_rows:
        for name in ("n_features", "names", "has_weight", "y.ndim", "type of y"):
            own, expected = summaries[i][name], first[name]
            if own != expected:
                raise ValueError(
                    f"The ranks' rows do not go together: {name} is {own!r} on rank {i} and "
                    f"{expected!r} on rank {with_rows[0]}."
                )
    lengths = [summaries[i]["n_rows"] for i in with_rows]
    single = all(summaries[i]["dtype"] == np.float32 for i in with_rows)
    return PartitionedRows(
        RankParts(rank, lengths),
        (sum(lengths), first["n_features"]),
        np.dtype(np.float32 if single else np.float64),
        None if first["names"] is None else np.asarray(first["names"], dtype=object),
    )
