"""What a checkpoint says is checked against the objective (promises 17 and 21)."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg import TorchLogisticClassifier, fitting
from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.data import from_arrays
from skorch_logreg.exceptions import CheckpointError
from skorch_logreg.penalties import L2, ElasticNet
from skorch_logreg.solvers import LBFGS, NewtonCG, NewtonCholesky, ProximalNewton
from skorch_logreg.solvers.state_io import max_bytes
from skorch_logreg.solvers.verify import matches_params
from tests.catalogue import LOSSES, objective, parameters, problem
from tests.inputs.test_chunks import Listed
from tests.promises.test_17_resume import CASES, CutError, in_pieces

SOLVERS = {
    "lbfgs": (LBFGS, L2()),
    "newton-cg": (NewtonCG, L2()),
    "newton-cholesky": (NewtonCholesky, L2()),
    "l1": (ProximalNewton, ElasticNet(1.0)),
}


def solve(name, C=(1.0,), **how):
    X, y, weight = problem(LOSSES["binomial"], n=300)
    solver, penalty = SOLVERS[name]
    return fitting.fit(
        from_arrays(X, y, weight),
        LOSSES["binomial"],
        penalty,
        C=torch.tensor(C),
        solver=solver(checkpoint=how.pop("path", None)),
        tol=1e-6,
        **how,
    )


@pytest.fixture
def forge(tmp_path, monkeypatch):
    """Leave a file behind whose tree was changed before it was written, with right checksums."""

    def forge(name, change, **how):
        write, path = CheckpointWriter.write, tmp_path / "fit.npz"

        def changed(self, n_iter, tree):
            tree = copy.deepcopy(tree)
            change(tree)
            write(self, n_iter, tree)
            raise CutError

        with monkeypatch.context() as patch:
            patch.setattr(CheckpointWriter, "write", changed)
            with pytest.raises(CutError):
                solve(name, path=path, **how)
        return path

    return forge


def refused(name, path, **how):
    with pytest.raises(CheckpointError, match="damaged.*Delete the file to start again"):
        solve(name, path=path, **how)
    assert path.exists()


CHANGES = {
    "one number": lambda tensor: tensor.view(-1)[-1:].add_(1e-2),
    "all": lambda tensor: tensor.mul_(1.01),
    "NaN": lambda tensor: tensor.view(-1)[:1].fill_(torch.nan),
    "infinite": lambda tensor: tensor.view(-1)[:1].fill_(torch.inf),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("part", ["params", "logits", "value", "gradient"])
@pytest.mark.parametrize("C", [(1.0,), (1.0, 1e-3, 30.0)], ids=["one", "three"])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_point_that_is_not_its_own_is_refused(name, C, part, change, forge):
    def changed(tree):
        CHANGES[change](tree["state"]["point"][part])

    refused(name, forge(name, changed, C=C), C=C)


@pytest.mark.parametrize("part", ["solved", "decrement", "factor", "scale"])
def test_nan_is_refused_wherever_it_is(part, forge):
    def changed(tree):
        state = tree["state"]
        where = state if part in state else state["curvature"]
        where[part][(0,) * where[part].ndim] = torch.nan

    refused("lbfgs", forge("lbfgs", changed))


@pytest.mark.parametrize("away", [1.02, 1e-2])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_claim_that_it_has_converged_is_proven_again(name, away, forge, monkeypatch):
    """A point that is sound, with a proof that is not."""

    def claim(tree):
        state, point = tree["state"], tree["state"]["point"]
        params = point["params"].clone()
        params[..., 0] += away
        moved = found[-1].evaluate(params)
        for field in ("params", "logits", "value", "gradient"):
            point[field] = getattr(moved, field)
        state["decrement"].zero_()
        state["trusted"].fill_(True)

    found, kind = [], SOLVERS[name][0]
    step = kind.step

    def noted(self, objective, state):
        found.append(objective)
        return step(self, objective, state)

    monkeypatch.setattr(kind, "step", noted)
    refused(name, forge(name, claim))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["n_iter"], -1),
        (["n_iter"], 1.0),
        (["n_iter"], True),
        (["first"], "0"),
        (["n_passes"], None),
        (["stalls"], (0, 0)),
        (["stalls"], (-1,)),
        (["before"], ()),
        (["quiet"], ()),
        (["quiet"], ("yes",)),
        (["state", "tol"], "1"),
        (["state", "progress"], ()),
        (["state", "progress"], 3),
        (["state", "pairs"], ((torch.ones(2), torch.ones(3), torch.ones(1)),)),
        (["state", "trusted"], torch.ones(1)),
        (["state", "decrement"], torch.ones(2, dtype=torch.float64)),
        (["state", "curvature"], None),
        (["state", "curvature", "factor"], torch.ones(1, 2, 2, dtype=torch.float64)),
        (["state", "point", "logits"], torch.ones(299, 1, 1, dtype=torch.float64)),
        (["state", "point", "params"], torch.ones(1, 1, 3)),
        (["state", "class"], "ProximalState"),
        (["final_points"], None),
    ],
)
def test_what_is_of_another_type_or_shape_is_refused(path, value, forge):
    def changed(tree):
        for key in path[:-1]:
            tree = tree[key]
        tree[path[-1]] = value

    refused("lbfgs", forge("lbfgs", changed))


def test_models_cannot_end_twice_and_have_to_be_proven_too(tmp_path, monkeypatch):
    """Those that left the batch before the file was written."""
    C, path = (1e-4, 1.0, 1e4, 0.05, 10.0), tmp_path / "fit.npz"
    write, files = CheckpointWriter.write, []

    def noted(self, n_iter, tree):
        files.append((self, n_iter, copy.deepcopy(tree)))
        write(self, n_iter, tree)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "write", noted)
        whole = solve("lbfgs", C, path=path)
    writer, n_iter, tree = next(file for file in files if file[2]["final_points"])

    def resumed(change):
        mine = copy.deepcopy(tree)
        change(mine["final_points"])
        write(writer, n_iter, mine)
        return solve("lbfgs", C, path=path)

    assert torch.equal(resumed(lambda ends: None).params.coef, whole.params.coef)
    for change in (
        lambda ends: ends[0].update(models=(7,)),
        lambda ends: ends[0].update(status=()),
        lambda ends: ends[0].update(directions=()),
        lambda ends: ends[0].update(directions=(torch.ones(1, 2),) * len(ends[0]["models"])),
        lambda ends: ends[0].update(models=ends[0]["models"] * 2),
        lambda ends: ends[0]["point"].update(params=torch.ones(1, 1, 2, dtype=torch.float64)),
        lambda ends: ends[0]["point"]["value"].mul_(0.99),
        lambda ends: ends[0]["point"]["params"].add_(1e-3),
    ):
        with pytest.raises(CheckpointError, match="damaged"):
            resumed(change)


@pytest.mark.parametrize("container", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", [LBFGS, NewtonCG, ProximalNewton])
def test_honest_files_are_believed_where_means_are_large(
    container, dtype, solver, tmp_path, monkeypatch
):
    rng = np.random.default_rng(0)
    size = 1e6 if dtype is np.float64 else 1e3
    X = rng.normal(size=(400, 6)) + size * rng.normal(size=6)
    X[:, 0] *= 1e8
    y = (X - X.mean(axis=0))[:, 1] + rng.logistic(size=400) > 0
    weight = 10.0 ** rng.integers(-6, 6, size=400)
    X, options = container(X.astype(dtype)), {"tol": 1e-8, "max_iter": 40}
    if solver is ProximalNewton:
        options |= {"l1_ratio": 1.0, "C": 0.1}

    def fit(**how):
        return TorchLogisticClassifier(solver=solver(**how), **options).fit(X, y, weight)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *a, **k: None)
        whole = fit()
        path = tmp_path / "fit.npz"
        resumed, n_cuts = in_pieces(monkeypatch, lambda: fit(checkpoint=path))
    assert n_cuts >= 1
    assert resumed.coef_.tobytes() == whole.coef_.tobytes()
    assert resumed.n_passes_ == whole.n_passes_


@pytest.mark.parametrize("loss", LOSSES)
def test_half_of_the_digits_are_asked_for(loss):
    of = objective(LOSSES[loss], reg_strength=(1.0, 2.0))
    point = of.evaluate(parameters(of))
    assert matches_params(of, point)
    for share, expected in ((1e-12, True), (1e-3, False)):
        for part in ("logits", "value", "gradient", "params"):
            moved = replace(point, **{part: getattr(point, part) * (1 + share)})
            assert matches_params(of, moved) is expected


class Gone(Listed):
    """Chunks that cannot be read any more, after so many passes."""

    left = 10**9

    def chunk(self, index):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk is gone")
        return super().chunk(index)


@pytest.mark.parametrize("left", range(1, 17, 3))
def test_rows_that_cannot_be_read_are_not_the_files_fault(left, tmp_path, monkeypatch):
    X, y, _ = problem(LOSSES["binomial"], n=300)
    source, path, write = Gone(X[:100], X[100:]), tmp_path / "fit.npz", CheckpointWriter.write

    def cut(self, n_iter, tree):
        write(self, n_iter, tree)
        raise CutError

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "write", cut)
        with pytest.raises(CutError):
            TorchLogisticClassifier(solver=LBFGS(checkpoint=path), tol=1e-9).fit(source, y)
    source.left = left
    with pytest.raises(OSError, match="the disk is gone"):
        TorchLogisticClassifier(solver=LBFGS(checkpoint=path), tol=1e-9).fit(source, y)
    assert path.exists()


def test_what_a_callback_raises_comes_through_after_a_resume(forge):
    path = forge("lbfgs", lambda tree: None)

    def raises(progress):
        raise ZeroDivisionError("of the callback")

    with pytest.raises(ZeroDivisionError, match="of the callback"):
        solve("lbfgs", path=path, callback=raises)


@pytest.mark.parametrize("name", ["lbfgs", "classes", "wide", "wide classes", "l1", "sparse"])
def test_no_file_is_larger_than_its_fit_says_and_none_much_smaller(name, tmp_path, monkeypatch):
    """Without the megabyte that stands for JSON."""
    sizes, limits, write, init = [], [], CheckpointWriter.write, CheckpointWriter.__init__

    def noted(self, n_iter, tree):
        write(self, n_iter, tree)
        sizes.append(self._path.stat().st_size)

    def opened(self, checkpoint, fingerprint, limit=None, **how):
        limits.append(limit - (1 << 20))
        init(self, checkpoint, fingerprint, limit, **how)

    monkeypatch.setattr(CheckpointWriter, "write", noted)
    monkeypatch.setattr(CheckpointWriter, "__init__", opened)
    data, make = CASES[name]
    make(checkpoint=tmp_path / "fit.npz").fit(*data())
    assert max(sizes) <= limits[0] <= 30 * max(sizes)


def forged_fit(path, case, change):
    """Write a file in the first iteration that has any of what is changed; return its model."""
    write = CheckpointWriter.write
    data, make = CASES[case]

    def forged(self, n_iter, tree):
        tree = copy.deepcopy(tree)
        found = change(tree["state"])
        write(self, n_iter, tree)
        if found:
            raise CutError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "write", forged)
        with pytest.raises(CutError):
            make(checkpoint=path).fit(*data())
    return make(checkpoint=path)


@pytest.mark.parametrize("part", ["step", "product"])
def test_pairs_that_overflow_do_not_mislead(part, tmp_path):
    """Pairs of past steps that no steps have left: the curvature is built again without them."""

    def change(state):
        for step, _, product in state["pairs"]:
            step.fill_(1e300) if part == "step" else product.fill_(1e300)
        return state["pairs"]

    data, make = CASES["lbfgs"]
    model = forged_fit(tmp_path / "fit.npz", "lbfgs", change).fit(*data())
    assert model.converged_
    np.testing.assert_allclose(model.coef_, make().fit(*data()).coef_, atol=1e-6)


@pytest.mark.parametrize(("part", "size"), [("factor", 1e-200), ("scale", 1e200)])
def test_a_curvature_that_overflows_is_refused(part, size, tmp_path):
    """A step that is not finite, where one from the file's own parameters is."""

    def change(state):
        numbers = state["curvature"][part]
        numbers.copy_(size * numbers.sign())
        return True

    case = "rough products first"
    model = forged_fit(tmp_path / "fit.npz", case, change)
    with pytest.raises(CheckpointError, match="damaged.*Delete the file to start again"):
        model.fit(*CASES[case][0]())
    assert not hasattr(model, "coef_")


def test_what_a_state_may_take_grows_with_rows_columns_and_models():
    few = objective(LOSSES["multinomial"], n=100)
    more = objective(LOSSES["multinomial"], n=10_000)
    assert max_bytes(LBFGS(), few) < max_bytes(LBFGS(), more)
    assert max_bytes(LBFGS(memory=10_000), few) > max_bytes(LBFGS(), few)
