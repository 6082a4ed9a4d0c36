"""Promise 17: a fit that was cut goes on from its file, and ends with the same bits."""

import os
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import ConvergenceWarning
from torch.optim.lr_scheduler import StepLR

from skorch_logreg import (
    BatchedGridSearchCV,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
    checkpoint,
    fitting,
)
from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.data import InMemory, from_arrays
from skorch_logreg.exceptions import CheckpointError, ParameterError
from skorch_logreg.minibatch import BatchObjective
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import (
    LBFGS,
    SGD,
    Adam,
    AdamW,
    Checkpoint,
    NewtonCG,
    NewtonCholesky,
    Optimizer,
    ProximalNewton,
)
from skorch_logreg.solvers.choose import choose_curvature
from skorch_logreg.solvers.state_io import from_tree, to_tree
from tests.catalogue import CONTAINERS, CURVATURES, LOSSES, objective, parameters, problem
from tests.damage import other_format
from tests.problems import load
from tests.promises.models import run_python

FITTED = [
    "coef_", "intercept_", "n_iter_", "n_passes_", "optimality_", "duality_gap_", "converged_",
]  # fmt: skip


def named(name, dtype=np.float64):
    case = load(name)
    return case.X.astype(dtype), case.y


def drawn(n, p, n_classes=2, density=1.0):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    y = (2 * X[:, :n_classes] + rng.gumbel(size=(n, n_classes))).argmax(axis=1)
    return (sp.csr_array(X * (rng.random((n, p)) < density)) if density < 1 else X), y


def convex(solver, data, **options):
    options = {"tol": 1e-9} | options
    return data, lambda **how: TorchLogisticClassifier(solver=solver(**how), **options)


BINARY = partial(named, "binary")


def epochs(solver, data=BINARY, epochs=5, **settings):
    settings |= {"batch_size": 64, "epochs": epochs}
    return data, lambda **how: TorchLogisticClassifier(solver=solver(**settings, **how))


def network(solver, **options):
    data = partial(named, "three_classes")
    return data, lambda **how: NeuralLogisticClassifier((8,), solver=solver(**how), **options)


def halved(optimizer):
    return StepLR(optimizer, 2, 0.5)


QUICK = partial(Adam, learning_rate=0.01, batch_size=64, epochs=4)
CONVEX = {
    "lbfgs": convex(LBFGS, BINARY),
    "float32": convex(LBFGS, partial(named, "binary", np.float32)),
    "sparse": convex(LBFGS, partial(named, "sparse_binary")),
    "classes": convex(LBFGS, partial(named, "ten_classes")),
    "wide": convex(LBFGS, partial(named, "wide")),
    "wide classes": convex(LBFGS, partial(named, "wide_three_classes"), C=100.0),
    "a sample first": convex(LBFGS, partial(drawn, 80_000, 3)),
    "rough products first": convex(LBFGS, partial(drawn, 14_000, 10, 10), tol=1e-2),
    "long steps first": convex(LBFGS, partial(drawn, 14_000, 10, 10), tol=0.3),
    "no intercept": convex(LBFGS, partial(named, "three_classes"), fit_intercept=False),
    "newton-cg": convex(NewtonCG, BINARY),
    "newton-cg, sparse classes": convex(NewtonCG, partial(named, "sparse_three_classes")),
    "newton-cholesky": convex(NewtonCholesky, partial(named, "three_classes")),
    "l1": convex(ProximalNewton, partial(named, "ten_classes"), l1_ratio=1.0, C=0.1),
    "elastic net": convex(
        ProximalNewton, partial(named, "sparse_binary"), l1_ratio=0.5, C=5.0, tol=1e-4
    ),
    "bounds": convex(
        ProximalNewton, partial(named, "sparse_binary"), bounds=(-0.2, None), C=np.inf
    ),
}
EPOCHS = {
    "sgd": epochs(SGD, momentum=0.9, schedule="inverse"),
    "adam, rows held out": epochs(Adam, validation_fraction=0.2, patience=2, epochs=9),
    "adamw, a schedule of torch": epochs(AdamW, schedule=halved),
    "rmsprop, sparse": epochs(
        partial(Optimizer, torch.optim.RMSprop, lr=0.01), partial(named, "sparse_binary")
    ),
    "exact at last": epochs(Adam, finish="exact"),
    "exact at last, l1": (
        BINARY,
        lambda **how: TorchLogisticClassifier(
            solver=QUICK(finish="exact", **how), l1_ratio=1.0, C=0.1
        ),
    ),
    "network": network(QUICK, dropout=0.3, random_state=1),
    "network, rows held out": network(partial(QUICK, validation_fraction=0.2), dropout=0.3),
    "network, polished": network(QUICK, polish_head=True),
    "frozen network": network(partial(NewtonCG), freeze_backbone=True),
    "frozen network in epochs": network(QUICK, freeze_backbone=True),
}
CASES = CONVEX | EPOCHS
# epochs end where they end, unproven
unproven = pytest.mark.filterwarnings("ignore:.*the epochs are over:UserWarning")


def fit(name, **how):
    data, make = CASES[name]
    return make(**how).fit(*data())


def bits(model):
    """All that a fit has found, but for the seconds that it took."""
    found = {name: getattr(model, name) for name in FITTED if hasattr(model, name)}
    history = getattr(model, "history_", {})
    found |= {f"history: {k}": v for k, v in history.items() if k != "seconds"}
    if isinstance(model, NeuralLogisticClassifier):
        found |= {k: v.numpy() for k, v in model.module_.state_dict().items()}
    return {name: np.asarray(value).tobytes().hex() for name, value in found.items()}


class CutError(Exception):
    """The power is gone."""


def in_pieces(monkeypatch, call):
    """Result of a call that is cut after every writing, and how often it was."""
    write = CheckpointWriter.write

    def cut(self, n_iter, tree):
        write(self, n_iter, tree)
        if self._path is not None:
            raise CutError

    monkeypatch.setattr(CheckpointWriter, "write", cut)
    for n_cuts in range(100):
        with suppress(CutError):
            return call(), n_cuts
    return pytest.fail("it came to no end")


@unproven
@pytest.mark.parametrize("name", CASES)
def test_17_cut_after_every_iteration_it_ends_with_the_same_bits(name, tmp_path, monkeypatch):
    """The whole state goes through the file at every one of them; the file is gone at the end."""
    whole = fit(name)
    resumed, n_cuts = in_pieces(monkeypatch, lambda: fit(name, checkpoint=tmp_path / "fit.npz"))
    assert n_cuts >= 2
    assert bits(resumed) == bits(whole)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("solver", "tol"), [(LBFGS, 1e-8), (LBFGS, 0.0), (NewtonCG, 1e-8), (NewtonCholesky, 1e-8)]
)
@pytest.mark.parametrize("loss", LOSSES)
def test_17_models_that_end_apart(loss, solver, tol, tmp_path, monkeypatch):
    """Those that have ended are in the file too; callbacks see every iteration once."""
    X, y, weight = problem(LOSSES[loss], n=300)
    C = torch.tensor([1e-4, 1.0, 1e4, 0.05, 10.0])

    def solve(seen, **how):
        def see(progress):
            seen.append((progress.n_iter, progress.params().coef.numpy().tobytes()))

        data = from_arrays(X, y, weight)
        how = {"solver": solver(**how), "tol": tol, "callback": see}
        return fitting.fit(data, LOSSES[loss], L2(), C=C, **how)

    at_once, in_turn = [], []
    whole = solve(at_once)
    path = tmp_path / "fit.npz"
    resumed, n_cuts = in_pieces(monkeypatch, lambda: solve(in_turn, checkpoint=path))
    assert in_turn == at_once
    assert n_cuts >= 2
    assert len(set(whole.n_iter.tolist())) > 1
    for name in ("n_iter", "value", "optimality", "duality_gap", "logits"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name)), name
    assert torch.equal(resumed.params.coef, whole.params.coef)
    assert (resumed.n_passes, resumed.status) == (whole.n_passes, whole.status)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", CURVATURES)
def test_17_every_curvature_goes_through_the_file(name, loss, tmp_path):
    of = objective(LOSSES[loss], reg_strength=(0.7, 2.0, 0.1), n=200 if name == "dual" else 900)
    params = parameters(of)
    point = of.evaluate(params)
    built = CURVATURES[name](of, point)
    CheckpointWriter(tmp_path / "fit.npz", {}).write(1, to_tree(built))
    read = from_tree(CheckpointWriter(tmp_path / "fit.npz", {}).resume(), of, of)
    assert type(read) is type(built)
    kept = torch.tensor([2, 0])
    for mine, theirs in (
        (read, built),
        (read.at(of.evaluate(-params)), built.at(of.evaluate(-params))),
    ):
        assert torch.equal(mine.solve(point.gradient), theirs.solve(point.gradient))
        mine, theirs = mine.select(kept), theirs.select(kept)
        assert torch.equal(mine.solve(point.gradient[kept]), theirs.solve(point.gradient[kept]))


@pytest.mark.parametrize("low", [False, True])
def test_17_points_without_stored_logits_go_through_the_file(low, tmp_path):
    of = objective(LOSSES["multinomial"], container=CONTAINERS["computed-logits"], n=40_000)
    of = replace(of, data=replace(of.data, n_logits=40))  # so many have float32 products first
    part = of.low_precision() if low else of
    assert part.is_low_precision == low
    point = part.evaluate(parameters(of))
    CheckpointWriter(tmp_path / "fit.npz", {}).write(1, to_tree(point))
    read = from_tree(CheckpointWriter(tmp_path / "fit.npz", {}).resume(), part, of)
    assert (tmp_path / "fit.npz").stat().st_size < 40_000
    for name in ("logits", "params", "value", "gradient"):
        assert torch.equal(getattr(read, name)[0:], getattr(point, name)[0:]), name


def test_17_every_way_to_build_a_curvature_goes_through_the_file():
    of = objective(n=80_000)
    model = choose_curvature(of)
    assert model.fallback is not None
    for each in (model, model.fallback):
        read = from_tree(to_tree(each), of, of)
        assert (read.exact, read.proof_rate, read.is_adaptive) == (
            each.exact,
            each.proof_rate,
            each.is_adaptive,
        )


# ---------------------------------------------------------------------------- processes that die


CHILD = """
import os, sys, time, torch
from tests.promises.test_12_all_or_nothing import Hook
from tests.promises.test_17_resume import CASES, bits
torch.set_num_threads(1)
name, path, end = sys.argv[1:]
data, make = CASES[name]
model = make(checkpoint=path)
def sleep():
    print("asleep", flush=True)
    time.sleep(600)
ends = {"exits": lambda: os._exit(7), "sleeps": sleep}
if end in ends:
    model.set_callbacks(Hook(ends[end], 2))
print(bits(model.fit(*data())))
"""
WRITER = """
import sys, torch
from skorch_logreg.checkpoint import CheckpointWriter
writer = CheckpointWriter(sys.argv[1], {})
for n in range(10**9):
    writer.write(n, torch.full((100_000,), n))
    print(n, flush=True)
"""


@contextmanager
def started(code, *arguments):
    """A process that runs code with this one's import path."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as child:
        yield child


def killed(code, *arguments, after="asleep"):
    """Run code in a process of its own, and kill it when it has printed a line."""
    with started(code, *arguments) as child:
        assert after in iter(lambda: child.stdout.readline().strip(), "")
        child.kill()
    assert child.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("name", "end"),
    [pytest.param("classes", "exits", marks=pytest.mark.slow), ("network", "sleeps")],
)
def test_17_a_killed_process_is_continued_by_another(name, end, tmp_path):
    """Killed from inside and from outside."""
    pytest.importorskip("sklearn.callback")
    path = tmp_path / "fit.npz"
    if end == "exits":
        with started(CHILD, name, path, end) as child:
            child.communicate()
        assert child.returncode == 7
    else:
        killed(CHILD, name, path, end)
    assert path.exists()
    assert run_python(CHILD, name, path, "ends").strip() == str(bits(fit(name)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_17_killed_as_it_writes_the_file_is_whole(tmp_path):
    path = tmp_path / "fit.npz"
    killed(WRITER, path, after="5")
    writer = CheckpointWriter(path, {})
    assert len(set(writer.resume().tolist())) == 1
    writer.finish()
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------- what is refused


@pytest.fixture
def cut(tmp_path, monkeypatch):
    """Leave a fit of a case behind that was cut after its first writing."""

    def leave(name):
        def stop(self, n_iter, tree):
            write(self, n_iter, tree)
            raise CutError

        path, write = tmp_path / "fit.npz", CheckpointWriter.write
        with monkeypatch.context() as patch:
            patch.setattr(CheckpointWriter, "write", stop)
            with pytest.raises(CutError):
                fit(name, checkpoint=path)
        return path

    return leave


def moved(X):
    X = X.copy()
    X[len(X) // 2, 1] += 1.0
    return X


def same(array):
    return array


LINEAR = ["lbfgs", "l1", "sgd"]
OTHER_OPTIONS = {
    "C": ({"C": 1.01}, r"C \(there \[[\d.]+\], here \[1.01\]\)"),
    "l1_ratio": ({"l1_ratio": 0.9, "solver": None}, "penalty"),
    "fit_intercept": (
        {"fit_intercept": False},
        r"fit_intercept \(there True, here False\)|network",
    ),
    "penalty_factor": ({"penalty_factor": [1, 1, 1, 1, 1, 1.001]}, "settings of the penalty"),
    "class_weight": ({"class_weight": {1: 1.001}}, "sample_weight"),
}
OTHER_DATA = {
    "an entry": (moved, same, "X"),
    "a row less": (lambda X: X[1:], lambda y: y[1:], "sample_weight, y, X"),
    "a column less": (lambda X: X[:, 1:], same, "n_features|shape of X"),
    "labels": (same, lambda y: y.max() - y, "y"),
    "float32": (lambda X: X.astype(np.float32), same, "X"),
}


def refused(path, text, call):
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=text) as caught:
        call()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("option", OTHER_OPTIONS)
@pytest.mark.parametrize("name", LINEAR)
def test_17_other_options_are_refused(name, option, cut):
    path = cut(name)
    (X, y), model = CASES[name][0](), CASES[name][1](checkpoint=path)
    options, text = OTHER_OPTIONS[option]
    if options.get("solver", 0) is None:
        options = options | {"solver": ProximalNewton(checkpoint=path)}
    model.set_params(**options)
    refused(path, f"of another fit. What differs: .*({text})", lambda: model.fit(X, y))
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("what", OTHER_DATA)
@pytest.mark.parametrize("name", [*LINEAR, "network"])
def test_17_other_data_are_refused(name, what, cut):
    path = cut(name)
    change_X, change_y, text = OTHER_DATA[what]
    (X, y), model = CASES[name][0](), CASES[name][1](checkpoint=path)
    call = partial(model.fit, change_X(X), change_y(y))
    refused(path, f"of another fit. What differs: .*({text})", call)


@pytest.mark.parametrize(
    ("name", "solver", "text"),
    [
        ("lbfgs", partial(LBFGS, memory=5), r"solver \(there LBFGS\(memory=10\), here LBFGS"),
        ("lbfgs", NewtonCG, "solver"),
        ("sgd", partial(SGD, batch_size=32), "solver"),
        ("adamw, a schedule of torch", partial(AdamW, schedule=lambda o: StepLR(o, 1)), "solver"),
        ("network", partial(QUICK, learning_rate=0.02), "solver"),
    ],
)
def test_17_other_solvers_are_refused(name, solver, text, cut):
    path = cut(name)
    data, make = CASES[name]
    model = make().set_params(solver=solver(checkpoint=path))
    refused(path, f"of another fit. What differs: {text}", lambda: model.fit(*data()))


@pytest.mark.parametrize("name", ["lbfgs", "sgd", "network"])
def test_17_what_is_no_whole_file_is_refused(name, cut):
    path = cut(name)
    whole = path.read_bytes()
    for size in [*range(0, 1000, 97), *np.linspace(1000, len(whole) - 1, 9).astype(int)]:
        path.write_bytes(whole[:size])
        refused(path, "damaged.*Delete the file to start again", lambda: fit(name, checkpoint=path))
    path.write_bytes(b"%PDF-1.7")
    refused(path, "not a checkpoint of this package", lambda: fit(name, checkpoint=path))


@pytest.mark.parametrize("name", ["lbfgs", "l1", "sgd", "network"])
def test_17_a_newer_format_or_another_state_is_refused(name, cut, monkeypatch):
    path = cut(name)
    with monkeypatch.context() as patch:
        patch.setattr(
            CheckpointWriter, "resume", lambda self: {"state": {"class": "Newer"}, "network": {}}
        )
        refused(path, "damaged", lambda: fit(name, checkpoint=path))
    path.write_bytes(other_format(path.read_bytes(), 0))
    refused(
        path, "has format 0, and this version .* reads format 7", lambda: fit(name, checkpoint=path)
    )


def test_17_addresses_in_a_process_are_no_difference(tmp_path):
    """Functions of the same name in another process stand elsewhere."""
    one, other = (AdamW(schedule=lambda o: StepLR(o, 2)) for _ in range(2))
    assert repr(one) != repr(other)
    assert checkpoint.stable_repr(one) == checkpoint.stable_repr(other)
    assert "lambda" in checkpoint.stable_repr(one)


# ---------------------------------------------------------------------------- when it is written


@unproven
@pytest.mark.parametrize("name", ["lbfgs", "l1", "sgd", "network"])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, [1, 2, 3]), ({"every": 2}, [2]), ({"seconds": 25.0}, [3]), ({"seconds": 1e6}, [])],
)
def test_17_it_writes_every_so_many_iterations_or_seconds(
    name, settings, expected, tmp_path, monkeypatch
):
    """Ten seconds an iteration, by the clock of the test."""
    found, write, due, now = [], CheckpointWriter.write, CheckpointWriter.due, [0.0]

    def noted(self, n_iter, tree):
        found.append(n_iter)
        write(self, n_iter, tree)

    def later(self, n_iter):
        now[0] += 10.0
        return due(self, n_iter)

    monkeypatch.setattr(CheckpointWriter, "write", noted)
    monkeypatch.setattr(CheckpointWriter, "due", later)
    monkeypatch.setattr(CheckpointWriter.__init__, "__kwdefaults__", {"clock": lambda: now[0]})
    fit(name, checkpoint=Checkpoint(tmp_path / "fit.npz", **settings))
    assert [n for n in found if n <= 3] == expected
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------- KeyboardInterrupt


@contextmanager
def interrupted(monkeypatch, at):
    """Ctrl-C in the pass over rows, or in the mini-batch, of that number."""
    count = [0]

    def counted(call):
        def method(*args, **kwargs):
            count[0] += 1
            if count[0] == at:
                raise KeyboardInterrupt
            return call(*args, **kwargs)

        return method

    with monkeypatch.context() as patch:
        for owner, name in ((InMemory, "reduce"), (BatchObjective, "loss")):
            patch.setattr(owner, name, counted(getattr(owner, name)))
        yield count


def passes(monkeypatch, name):
    with interrupted(monkeypatch, None) as count:
        whole = fit(name)
    return whole, count[0]


INTERRUPTED = ["lbfgs", "wide classes", "a sample first", "newton-cholesky", "l1", "sgd",
               "exact at last", "network", "network, polished"]  # fmt: skip


@unproven
@pytest.mark.parametrize("name", INTERRUPTED)
def test_17_an_interrupt_comes_through_and_its_file_goes_on(name, tmp_path, monkeypatch):
    """Wherever it comes: the estimator is as it was, and the next fit goes on."""
    whole, n = passes(monkeypatch, name)
    path = tmp_path / "fit.npz"
    data, make = CASES[name]
    X, y = data()
    for at in sorted({*range(1, n + 1, max(n // 8, 1)), n}):
        model = make(checkpoint=path)
        before = dict(vars(model))
        with interrupted(monkeypatch, at), pytest.raises(KeyboardInterrupt):
            model.fit(X, y)
        assert vars(model) == before
        assert path.exists() or at < n
        assert bits(model.fit(X, y)) == bits(whole)
        assert not path.exists()


@unproven
@pytest.mark.parametrize("name", INTERRUPTED)
def test_17_an_interrupt_can_keep_the_best_so_far(name, tmp_path, monkeypatch):
    """Wherever it comes once there is a state: a model that says so; its file goes on."""
    whole, n = passes(monkeypatch, name)
    path = tmp_path / "fit.npz"
    data, make = CASES[name]
    X, y = data()
    n_kept = n_files = 0
    for at in sorted({*range(1, n + 1, max(n // 8, 1)), n}):
        model = make(checkpoint=path, on_interrupt="keep")
        with interrupted(monkeypatch, at), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model.fit(X, y)
            except KeyboardInterrupt:
                assert at < 5, "there was a state to keep"
                continue
        assert np.isfinite(model.predict_proba(X)).all()
        if not getattr(model, "converged_", False):
            (warning,) = caught
            assert warning.category is ConvergenceWarning
            assert "it was interrupted" in str(warning.message)
            n_kept += 1
            n_files += path.exists()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            resumed = make(checkpoint=path, on_interrupt="keep").fit(X, y)
        assert bits(resumed) == bits(whole)
        assert not path.exists()
    assert n_kept >= 2
    assert n_files >= 1


@unproven
@pytest.mark.filterwarnings("ignore:.*it was interrupted:UserWarning")
@pytest.mark.parametrize(
    ("name", "how"),
    [("sgd", "raise"), ("sgd", "keep"), ("exact at last", "raise"), ("network, polished", "raise")],
)
def test_17_epochs_are_written_before_what_comes_after_them(name, how, tmp_path, monkeypatch):
    """An interrupt of the proof, or of the exact head, leaves them in the file."""
    _, n = passes(monkeypatch, name)
    path = tmp_path / "fit.npz"
    with interrupted(monkeypatch, n - 2), suppress(KeyboardInterrupt):
        fit(name, checkpoint=Checkpoint(path, every=100), on_interrupt=how)
    assert path.exists()


# ---------------------------------------------------------------------------- many fits


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (
            {"checkpoint": "fit.npz"},
            "has a checkpoint, which is the file of one fit, and here are many",
        ),
        (
            {"on_interrupt": "keep"},
            "has on_interrupt='keep', which ends one fit, and here are many",
        ),
    ],
)
@pytest.mark.parametrize("face", ["cv", "search", "candidates"])
def test_17_faces_of_many_fits_refuse(face, settings, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solver, (X, y) = LBFGS(**settings), named("binary")
    model = {
        "cv": lambda: TorchLogisticClassifierCV(
            solver=solver, l1_ratios=(0,), use_legacy_attributes=False, scoring="accuracy"
        ),
        "search": lambda: BatchedGridSearchCV(
            TorchLogisticClassifier(solver=solver), {"C": [0.1, 1.0]}
        ),
        "candidates": lambda: BatchedGridSearchCV(
            TorchLogisticClassifier(), {"solver": [LBFGS(), solver]}
        ),
    }[face]()
    with pytest.raises(ParameterError, match=text):
        model.fit(X, y)
    assert list(tmp_path.iterdir()) == []
