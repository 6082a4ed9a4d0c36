"""Hard models in one batch: folds and strengths of data that solvers dislike (promises 2 and 8)."""

import numpy as np
import pytest
import torch

from skorch_logreg.data import from_arrays
from skorch_logreg.fitting import Status, fit
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.penalties import L2, ElasticNet

STRENGTHS = np.logspace(-4, 4, 9)


def _labels(X, rng, K=2, size=3.0):
    signal = X @ rng.normal(size=(X.shape[1], K))
    signal *= size / signal.std()
    return (signal + rng.gumbel(size=signal.shape)).argmax(axis=1)


def _heavy_tails(rng):
    X = rng.normal(size=(700, 12)) * np.exp(1.5 * rng.normal(size=(700, 12)))
    return X, _labels(np.arcsinh(X), rng)


def _rare_and_correlated(rng):
    X = rng.normal(size=(1500, 3)) @ rng.normal(size=(3, 10)) + 0.05 * rng.normal(size=(1500, 10))
    return X, (X[:, 0] + 2 * rng.logistic(size=1500) > 9).astype(int)


def _nearly_separable(rng):
    X = rng.normal(size=(300, 20))
    y = (X[:, 0] > 0).astype(int)
    y[:3] = 1 - y[:3]
    return X, y


def _more_columns_than_rows(rng):
    X = rng.normal(size=(50, 400))
    return X, _labels(X, rng)


def _classes(rng):
    X = rng.normal(size=(400, 6)) * np.logspace(-2, 2, 6)
    return X, _labels(X, rng, K=4)


def _many_rows(rng):
    X = rng.normal(size=(9000, 15))
    return X, _labels(X, rng)


PROBLEMS = {
    f.__name__.strip("_"): f
    for f in (
        _heavy_tails,
        _rare_and_correlated,
        _nearly_separable,
        _more_columns_than_rows,
        _classes,
        _many_rows,
    )
}


def _grid(name, n_folds=3):
    X, y = PROBLEMS[name](np.random.default_rng(0))
    fold = np.arange(len(y)) % n_folds
    masks = (fold[:, None] != np.arange(n_folds)).astype(float)
    weight = torch.from_numpy(np.tile(masks, len(STRENGTHS)))
    C = torch.from_numpy(np.repeat(STRENGTHS, n_folds))
    loss = Binomial() if y.max() == 1 else Multinomial(int(y.max()) + 1)
    return X, y, weight, C, loss


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_grid_of_strengths_is_solved_as_one_by_one(name):
    """Promise 2 for every model of a batch, whatever curvature it ended on."""
    X, y, weight, C, loss = _grid(name)
    batch = fit(from_arrays(X, y, weight), loss, L2(), C=C, bound=False)
    tight = fit(from_arrays(X, y, weight), loss, L2(), C=C, tol=1e-8, max_iter=500, bound=False)
    assert set(batch.status) == {Status.CONVERGED}
    assert set(tight.status) == {Status.CONVERGED}
    for i in range(0, len(C), 4):
        alone = fit(
            from_arrays(X, y, weight[:, i]), loss, L2(), C=C[i], tol=1e-9, max_iter=500, bound=False
        )
        assert float(batch.value[i] / alone.value[0]) - 1 <= 1e-7
        assert float(tight.value[i] / alone.value[0]) - 1 <= 1e-12
        size = alone.params.coef.abs().max()
        torch.testing.assert_close(
            tight.params.coef[i], alone.params.coef[0], rtol=1e-5, atol=float(1e-6 * size)
        )


@pytest.mark.parametrize("penalty", [ElasticNet(1.0), ElasticNet(0.5)], ids=["l1", "elastic-net"])
def test_a_grid_of_sparse_models_is_solved_as_one_by_one(penalty):
    X, y, weight, C, loss = _grid("nearly_separable", n_folds=2)
    batch = fit(from_arrays(X, y, weight), loss, penalty, C=C, tol=1e-8, max_iter=500)
    for i in range(0, len(C), 3):
        alone = fit(from_arrays(X, y, weight[:, i]), loss, penalty, C=C[i], tol=1e-8, max_iter=500)
        assert abs(float(batch.value[i] / alone.value[0]) - 1) <= 1e-12
        torch.testing.assert_close(batch.params.coef[i], alone.params.coef[0], rtol=0, atol=1e-8)


def test_what_has_no_minimum_disturbs_nobody():
    """Promise 8: a model at infinity neither changes its neighbours nor keeps them at work."""
    X, y, weight, C, loss = _grid("nearly_separable")
    apart = torch.from_numpy((X[:, 0] > 0).astype(int))
    targets = torch.from_numpy(y)[:, None].expand(-1, len(C)).clone()
    targets[:, 4] = apart
    C = C.clone()
    C[4] = torch.inf
    usual = fit(from_arrays(X, y, weight), loss, L2(), C=C.where(C.isfinite(), 1.0), tol=1e-8)
    beside = fit(from_arrays(X, targets, weight), loss, L2(), C=C, tol=1e-8)
    assert beside.status[4] is Status.SEPARABLE
    others = [i for i in range(len(C)) if i != 4]
    assert {beside.status[i] for i in others} == {Status.CONVERGED}
    torch.testing.assert_close(
        beside.params.coef[others], usual.params.coef[others], rtol=1e-6, atol=1e-7
    )
    assert (beside.n_iter[others] <= usual.n_iter[others] + 3).all()


def test_held_out_rows_have_their_logits():
    X, y, weight, C, loss = _grid("classes")
    found = fit(from_arrays(X, y, weight), loss, L2(), C=C)
    expected = torch.einsum("np,mkp->nmk", torch.from_numpy(X), found.params.coef)
    torch.testing.assert_close(
        found.logits - found.logits.mean(dim=2, keepdim=True),
        expected + found.params.intercept,
        rtol=1e-9,
        atol=1e-9,
    )


def test_more_models_cost_no_more_passes():
    """Reads of X are those of the slowest model, not of all."""
    X, y, weight, C, loss = _grid("many_rows")
    few = fit(from_arrays(X, y, weight), loss, L2(), C=C, bound=False)
    many = fit(from_arrays(X, y, weight.repeat(1, 4)), loss, L2(), C=C.repeat(4), bound=False)
    assert many.n_passes <= few.n_passes + 2


@pytest.mark.parametrize("solver", ["auto", "newton-cholesky"])
def test_hessians_of_their_own_are_bounded(solver, monkeypatch):
    """Promise 19: however many models are hard, so many factors are kept and no more."""
    from skorch_logreg.curvature import ExactHessian

    X, y, weight, C, loss = _grid("nearly_separable")
    side = X.shape[1] + 1
    monkeypatch.setattr("skorch_logreg.solvers.choose.MAX_STORED_NUMBERS", 5 * side**2)
    built = []
    build = ExactHessian.build.__func__

    def counted(cls, objective, point):
        built.append(objective.shape[0])
        return build(cls, objective, point)

    monkeypatch.setattr(ExactHessian, "build", classmethod(counted))
    found = fit(from_arrays(X, y, weight), loss, L2(), C=C, solver=solver, max_iter=500)
    assert set(found.status) == {Status.CONVERGED}
    assert built
    assert max(built) <= 5
    monkeypatch.undo()
    tight = fit(from_arrays(X, y, weight), loss, L2(), C=C, tol=1e-8, max_iter=500)
    assert float((found.value / tight.value).max()) - 1 <= 1e-7
