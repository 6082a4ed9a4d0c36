"""Conversion of solver states to trees of tensors and numbers, and fingerprints of fits."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from skorch_logreg import curvature
from skorch_logreg.checkpoint import digest, stable_repr
from skorch_logreg.data import ComputedRows, RemoteRows
from skorch_logreg.data.tensors import SAMPLE_ROWS
from skorch_logreg.losses import Loss
from skorch_logreg.objective import Objective, Point, on_sample
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers.choose import MAX_SIDE, CurvaturePlan, choose_curvature
from skorch_logreg.solvers.newton import NewtonState
from skorch_logreg.solvers.outcome import FinalPoint, Status
from skorch_logreg.solvers.progress import ModelProgress
from skorch_logreg.solvers.protocol import Solver
from skorch_logreg.solvers.proximal import ProximalState
from skorch_logreg.solvers.quadratic import QuadraticModel
from skorch_logreg.solvers.smooth import SmoothState
from skorch_logreg.solvers.stopping import RunState

_KINDS: list[Any] = [
    Point,
    FinalPoint,
    NewtonState,
    SmoothState,
    ModelProgress,
    ProximalState,
    QuadraticModel,
    RunState,
]
_KINDS += [getattr(curvature, name) for name in curvature.__all__]
_CLASSES = {kind.__name__: kind for kind in _KINDS if isinstance(kind, type)}


def to_tree(value: Any) -> Any:
    """Convert a state to a tree of tensors, numbers, strings, tuples and dicts.

    The objective and its loss are not written, because the fit has them, and a `CurvaturePlan` is
    written as its position in the chain of fallbacks of `choose_curvature`.
    """
    match value:
        case CurvaturePlan():
            return {"model": len(value.chain) - 1}
        case Objective():
            return {"objective": value.is_low_precision}
        case RemoteRows():
            return {"rows": value[0:]}
        case Point(logits=ComputedRows()):
            low = value.logits.dtype is not value.params.dtype
            return {"low": low, "point": to_tree(replace(value, logits=value.params[:0]))}
        case Status():
            return {"status": value.value}
        case slice():
            return {"slice": [value.start, value.stop, value.step]}
        case tuple():
            return tuple(to_tree(item) for item in value)
    if type(value).__name__ in _CLASSES:
        names = (field.name for field in fields(value) if field.name != "loss")
        return {"class": type(value).__name__, **{n: to_tree(getattr(value, n)) for n in names}}
    return value


def from_tree(tree: Any, objective: Objective, whole: Objective) -> Any:
    """Restore a state from a tree.

    ``objective`` is that of the models of the state, with low-precision products if the fit
    started with them, and ``whole`` that of all models with which the fit started.  Any exception
    means that the tree is not a result of `to_tree`.
    """
    return _read(tree, objective, choose_curvature(whole).chain)


def _read(tree: Any, objective: Objective, chain: Sequence[CurvaturePlan]) -> Any:
    match tree:
        case Tensor():
            if bool(tree.isnan().any()):
                raise ValueError("a state holds no NaN")
            return tree.to(objective.data.device)
        case tuple():
            return tuple(_read(item, objective, chain) for item in tree)
        case {"class": "MixedCurvature", "parts": parts}:
            owners = [_read(models, objective, chain) for models, _ in parts]
            read = [
                _read(part, objective.select(models), chain)
                for models, (_, part) in zip(owners, parts, strict=True)
            ]
            return curvature.MixedCurvature(tuple(zip(owners, read, strict=True)))
        case {"class": name, **values}:
            kind = _CLASSES[str(name)]
            found = {str(n): _read(value, objective, chain) for n, value in values.items()}
            names = {field.name for field in fields(kind)}
            if "loss" in names:
                found["loss"] = objective.loss
            if found.keys() != names:
                raise ValueError(f"{name} has other fields")
            for field, hint in get_type_hints(kind).items():
                if field in names - {"loss"} and not _is_of(found[field], hint):
                    raise ValueError(f"{field} of {name} is {type(found[field]).__name__}")
            return kind(**found)
        case {"model": place}:
            return chain[-1 - place]
        case {"objective": is_rough}:
            return objective if is_rough else objective.exact
        case {"low": low, "point": tree}:
            point = _read(tree, objective, chain)
            own = objective if low else objective.exact
            logits = ComputedRows.product(own.data, point.params, own.offset)
            return replace(point, logits=logits)
        case {"rows": rows}:
            return objective.data.beside(_read(rows, objective, chain))
        case {"status": name}:
            return Status(name)
        case {"slice": ends}:
            return slice(*ends)
    return tree


def _is_of(value: Any, hint: Any) -> bool:
    """Return True if a value has the annotated type of a field."""
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_is_of(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_is_of, value, arguments))
    if arguments:  # a union
        return any(_is_of(value, argument) for argument in arguments)
    if hint is Tensor:
        return isinstance(value, Tensor | RemoteRows | ComputedRows)
    if hint in (float, int, bool):
        return type(value) is hint or (hint is float and type(value) is int)
    if hint is curvature.Curvature:
        return type(value).__name__ in curvature.__all__
    return hint is Any or isinstance(value, NoneType if hint is None else hint)


def fingerprint(solver: Solver, objective: Objective, tol: float) -> dict[str, Any]:
    """Identify the fit to which a state belongs, at the cost of a pass over a thousand rows.

    Computed values are rounded to float32, as other machines or numbers of threads round
    differently.

    The objective is that of all models, in the units of the solver.  The fingerprint has settings
    and shapes, digests of arrays, and for X a digest of the logits of some rows under fixed
    coefficients without symmetry.
    """
    data = objective.data
    rows = on_sample(objective, SAMPLE_ROWS)
    probe = rows.zeros().cpu()
    probe += torch.linspace(-1.0, 2.0, probe.numel(), dtype=probe.dtype).view_as(probe).cos()
    return {
        **settings(solver, objective.loss, objective.penalty, objective.reg_strength),
        "tol": tol,
        "fit_intercept": objective.fit_intercept,
        "n_samples": data.n_samples,
        "n_features": data.n_features,
        "offset": None if objective.offset is None else digest(objective.offset[0:].float()),
        "sample_weight": digest(objective.row_weight()[0:]),
        "y": digest(data.targets[0:]),
        "X": digest(rows.logits(probe.to(data.device))[0:].float()),
    }


def max_bytes(solver: Solver, objective: Objective) -> int:
    """Bound the size of a checkpoint in bytes: rows, parameters and curvatures, twice.

    A point, a curvature and final points are 8 arrays of rows and 32 of parameters; the JSON takes
    1 MiB for the fit and 4 KiB for each model.  A curvature has a matrix over all columns (or rows)
    and outputs of a model if that is small enough to be factored, otherwise one over columns for
    each output.  With penalties that are not smooth the working set may contain all columns.
    """
    n, (m, n_outputs, side) = objective.data.n_samples, objective.shape
    rows = n * m * (n_outputs + 1) * 8
    params = m * n_outputs * side * (32 + 2 * getattr(solver, "memory", 0))
    columns = min(side, MAX_SIDE) if objective.penalty.smooth else side
    sides = [size * n_outputs for size in (side, min(n, 2 * side))]
    whole = max((size for size in sides if size <= MAX_SIDE), default=0)
    factors = m * (n_outputs * columns**2 + whole**2)
    return 2 * 8 * (rows + params + factors) + (1 << 20) + (m << 12)


def settings(solver: Any, loss: Loss, penalty: Penalty, reg_strength: Tensor) -> dict[str, Any]:
    """Return the settings of a fit that do not depend on the data."""
    return {
        "solver": stable_repr(solver),
        "loss": stable_repr(loss),
        "penalty": type(penalty).__name__,
        "settings of the penalty": _settings(penalty),
        "C": (1 / reg_strength).tolist(),
    }


def _settings(penalty: Any) -> dict[str, Any]:
    """Return the fields of a penalty, with nested penalties and digests of arrays."""

    def plain(value: Any) -> Any:
        if isinstance(value, Tensor):
            return digest(value.float())
        return _settings(value) if is_dataclass(value) else value

    return {field.name: plain(getattr(penalty, field.name)) for field in fields(penalty)}
