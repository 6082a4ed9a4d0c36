"""Ranks of torch.distributed: each has some rows, and all get the model of all rows."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import torch.distributed as dist
from scipy.optimize import Bounds
from sklearn.base import clone

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import Rank, RankRows
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.process_group import _digests
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import LBFGS
from tests.inputs.test_chunks import OPTIONS, fit, rows

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch without distributed")

CUTS = {"two unequal": [0, 1500, 2000], "one without rows": [0, 0, 700, 2000]}
CLASSES = {"two": 2, "three": 3}


def labels(n_classes):
    X, y = rows(n_classes=n_classes)
    return X, np.array(["a", "bc", "d"])[y]


def far_from_zero(X):
    """Multiples of 1/64, of which a mean of 1e8 takes no digit."""
    return (X * 64).round() / 64 + 1e8 * (np.arange(X.shape[1]) % 2)


def run(rank, world, store, cuts, output):
    """What every rank does: fits, and what is refused, one after another."""
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    mine, found = slice(cuts[rank], cuts[rank + 1]), {}
    for name, n_classes in CLASSES.items():
        X, y = labels(n_classes)
        for option, chosen in OPTIONS.items():
            if n_classes == 2 or option != "no penalty":
                model = TorchLogisticClassifier(tol=1e-8, max_iter=500, **chosen)
                model.fit(RankRows(X[mine]), y[mine])
                found[f"{name} {option}"] = {
                    "coef": model.coef_.tolist(),
                    "classes": model.classes_.tolist(),
                    "gap": model.duality_gap_,
                }
    X, y = labels(2)
    weight = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    model = TorchLogisticClassifier(tol=1e-8, class_weight="balanced")
    model.fit(RankRows(X[mine].astype(np.float32)), y[mine], weight[mine])
    found["weights"] = {"coef": model.coef_.tolist(), "dtype": str(model.coef_.dtype)}
    far = TorchLogisticClassifier(tol=1e-8)
    found["far"] = far.fit(RankRows(sp.csr_array(far_from_zero(X)[mine])), y[mine]).coef_.tolist()

    def refused(X, y, weight=None, **options):
        own = clone(model).set_params(**options)
        try:
            own.fit(RankRows(X), y, weight)
        except Exception as error:
            assert not hasattr(own, "coef_")
            return f"{type(error).__name__}: {error}"
        return "nothing"

    last, share = rank == world - 1, X[mine].copy()
    broken = share.copy()
    if last:
        broken[3, 1] = np.nan
    found["interrupted"] = [interrupted(how, X[mine], y[mine]) for how in (after_a_pass, in_a_task)]
    found["refused"] = {
        "nan": refused(broken, y[mine]),
        "columns": refused(share[:, : 5 + last], y[mine]),
        "rows": refused(share, y[mine][: 10 if last else None]),
        "solver": refused(share, y[mine], solver="liblinear"),
        "weights": refused(share, y[mine], weight[mine] if last else None),
        "text": refused(np.full((len(share), 8), "a") if last else share, y[mine]),
        "class": refused(share, np.full(len(share), "a")),
        "numbers": refused(share, np.arange(len(share)) % 2 if last else y[mine]),
        "C": refused(share, y[mine], C=1.0 + last),
        "class weight": refused(share, y[mine], class_weight={"a": 1, "bc": 1 + last}),
        "penalty": refused(share, y[mine], penalty=L2(center=np.arange(8) ** last)),
        "column": refused(share, y[mine][:, None] if last else y[mine]),
    }
    dist.destroy_process_group()
    Path(output).write_text(json.dumps(found))


def after_a_pass(patch):
    """SIGINT reaches every rank, as Ctrl-C does."""
    reduce, pending = dist.all_reduce, [signal.SIGINT]

    def interrupt(*args, **kwargs):
        reduce(*args, **kwargs)
        if pending:
            signal.raise_signal(pending.pop())

    patch.setattr(dist, "all_reduce", interrupt)


def in_a_task(patch):
    """The handler of another signal raises on the last rank."""

    def interrupt(rank, order):
        raise KeyboardInterrupt

    if dist.get_rank() == dist.get_world_size() - 1:
        patch.setattr(Rank, "_done", interrupt)


def interrupted(how, X, y):
    with pytest.MonkeyPatch.context() as patch:
        how(patch)
        try:
            TorchLogisticClassifier().fit(RankRows(X), y)
        except BaseException as error:
            return type(error).__name__


@pytest.fixture(
    scope="module",
    params=["two unequal", pytest.param("one without rows", marks=pytest.mark.slow)],
)
def found(request, tmp_path_factory):
    """What every rank has found."""
    folder, cuts = tmp_path_factory.mktemp("ranks"), CUTS[request.param]
    world = len(cuts) - 1
    outputs = [folder / f"{rank}.json" for rank in range(world)]
    code = "import sys; from tests.inputs.test_process_group import run; run(*eval(sys.argv[1]))"
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                repr((rank, world, str(folder / "store"), cuts, str(outputs[rank]))),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert not any(process.returncode for process in processes), errors
    return [json.loads(output.read_text()) for output in outputs]


@pytest.mark.parametrize("n_classes", CLASSES)
@pytest.mark.parametrize("options", OPTIONS)
def test_all_ranks_get_the_model_of_all_rows(found, options, n_classes):
    if n_classes == "three" and options == "no penalty":
        pytest.skip("a constant for all classes is free")
    X, y = labels(CLASSES[n_classes])
    expected = TorchLogisticClassifier(tol=1e-8, max_iter=500, **OPTIONS[options]).fit(X, y)
    scale = X.std(axis=0)
    for rank in found:
        model = rank[f"{n_classes} {options}"]
        assert model["classes"] == expected.classes_.tolist()
        np.testing.assert_allclose(
            np.array(model["coef"]) * scale, expected.coef_ * scale, rtol=1e-8, atol=1e-8
        )
        assert model == found[0][f"{n_classes} {options}"]


def test_weights_are_counted_over_all_ranks(found):
    X, y = labels(2)
    weight = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    expected = TorchLogisticClassifier(tol=1e-8, class_weight="balanced")
    expected.fit(X.astype(np.float32), y, weight)
    for rank in found:
        assert rank["weights"]["dtype"] == "float32"
        np.testing.assert_allclose(rank["weights"]["coef"], expected.coef_, rtol=1e-4, atol=1e-5)


def test_sparse_rows_far_from_zero(found):
    X, y = labels(2)
    expected = TorchLogisticClassifier(tol=1e-8).fit((X * 64).round() / 64, y).coef_
    for rank in found:
        np.testing.assert_allclose(rank["far"], expected, rtol=1e-6, atol=1e-7)


def test_an_interrupt_leaves_the_group_intact(found):
    """The same processes find later what the other tests ask for."""
    errors = list(zip(*(rank["interrupted"] for rank in found), strict=True))
    assert set(errors[0]) == {"KeyboardInterrupt"}
    assert sorted(errors[1]) == ["KeyboardInterrupt"] + ["RuntimeError"] * (len(found) - 1)


REFUSED = {
    "nan": "ValueError: Input block 1 of X contains NaN",
    "columns": "ValueError: The ranks' rows do not go together: n_features is 6 on rank",
    "rows": "ValueError: Found input variables with inconsistent numbers of samples",
    "solver": "ParameterError: solver='liblinear' needs rows in memory",
    "weights": "ValueError: The ranks' rows do not go together: has_weight is True on rank",
    "text": "ValueError: could not convert string to float",
    "class": "ValueError: This solver needs samples of at least 2 classes",
    "numbers": "ValueError: The ranks' rows do not go together: type of y is 'number' on rank",
    "C": "ParameterError: C is 2.0 on rank",
    "class weight": "ParameterError: class_weight is {'a': 1, 'bc': 2} on rank",
    "penalty": "ParameterError: penalty is L2(center=",
    "column": "ValueError: The ranks' rows do not go together: y.ndim is 2 on rank",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_one_rank_refuses_all_refuse(found, what):
    for rank in found:
        assert rank["refused"][what].startswith(REFUSED[what])


def test_equal_parameters_have_equal_digests():
    """Whatever their types; and what need not be equal has none."""
    pairs = [
        ({"C": 1, "verbose": 1, "threshold": 0.2}, {"C": np.float64(1.0)}),
        ({"class_weight": {0: 1, 1: 2}}, {"class_weight": {1.0: 2.0, 0: True}}),
        ({"penalty_factor": [1, 2]}, {"penalty_factor": torch.tensor([1.0, 2.0])}),
        ({"penalty_factor": {"a": 1, "b": 2}}, {"penalty_factor": pd.Series({"b": 2, "a": 1})}),
        ({"bounds": Bounds(0, 1)}, {"bounds": Bounds(0, np.inf)}),
        ({"solver": LBFGS(checkpoint="a")}, {"solver": LBFGS(on_interrupt="keep")}),
    ]
    for pair in pairs:
        found = (_digests(TorchLogisticClassifier(**options).get_params()) for options in pair)
        first, second = ({name: digest for name, (digest, _) in each.items()} for each in found)
        assert first == second


def test_without_a_group_it_says_so():
    X, y = rows()
    with pytest.raises(ParameterError, match="init_process_group"):
        TorchLogisticClassifier().fit(RankRows(X), y)
    with pytest.raises(TypeError, match="RankRows marks rows for TorchLogisticClassifier.fit"):
        fit(X, y).predict(RankRows(X))
