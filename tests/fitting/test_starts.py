"""A start is near the solution and costs little; what follows does not depend on it."""

import numpy as np
import pytest
import torch

from skorch_logreg.data import from_arrays
from skorch_logreg.fitting import Params, Status, fit
from skorch_logreg.fitting.starts import cold_start, predicted_start, prior_start
from skorch_logreg.kernels.library import library
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.objective import Objective, minimise_intercept
from skorch_logreg.penalties import L2, ElasticNet
from skorch_logreg.solvers import LBFGS, drive
from tests.catalogue import LOSSES, objective


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_intercepts_of_the_class_frequencies_are_the_best_alone(loss):
    of = objective(loss, reg_strength=(0.5, 2.0))
    zero = of.zeros()
    best, _ = minimise_intercept(of, zero, of.logits(zero))
    torch.testing.assert_close(of.prior(), best[..., -1], rtol=1e-9, atol=1e-9)


def test_a_class_without_weight_has_a_finite_start():
    of = objective(LOSSES["binomial"])
    of.data.weight[of.data.targets[:, 0, 0] == 1.0] = 0.0
    assert of.prior().isfinite().all()
    assert float(of.prior()) > 10


def _wide(K, p=800, n=40, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.logspace(-2, 2, p) + 5
    X[:, 7] = 3.0
    y = np.r_[np.arange(K), rng.integers(0, K, n - K)]
    return X, y, rng.uniform(0.2, 2.0, n)


@pytest.mark.parametrize("K", [2, 3])
@pytest.mark.parametrize("C", [1e-2, 1.0, 1e3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_row_space_holds_the_solution(K, C, fit_intercept):
    """p >> n: found there, proven where it counts, and the same as from zero."""
    X, y, weight = _wide(K)
    loss = Binomial() if K == 2 else Multinomial(K)
    factor = torch.linspace(0.5, 2, X.shape[1], dtype=torch.float64)
    options = {"C": C, "fit_intercept": fit_intercept}
    found = fit(from_arrays(X, y, weight), loss, L2(factor), tol=1e-8, **options)
    assert found.status == (Status.CONVERGED,)
    assert found.n_passes <= 14
    zeros = torch.zeros(1, loss.n_outputs, X.shape[1] + 1, dtype=torch.float64)
    start = Params(zeros[..., :-1], zeros[..., -1])
    direct = fit(from_arrays(X, y, weight), loss, L2(factor), tol=1e-8, start=start, **options)
    assert direct.n_passes > found.n_passes
    torch.testing.assert_close(found.value, direct.value, rtol=1e-12, atol=0)
    size = direct.params.coef.abs().max()
    torch.testing.assert_close(
        found.params.coef, direct.params.coef, rtol=1e-5, atol=float(1e-6 * size)
    )


def test_iterations_in_the_row_space_count():
    X, y, _ = _wide(2)
    short = fit(from_arrays(X, y), Binomial(), L2(), C=100.0, max_iter=2)
    assert short.status == (Status.MAX_ITER,)
    assert short.n_iter.tolist() == [2]
    assert int(fit(from_arrays(X, y), Binomial(), L2(), C=100.0).n_iter) > 2


def test_no_steps_where_none_are_allowed():
    of = objective(LOSSES["binomial"])
    params, _, n_iter = cold_start(of, LBFGS(), 1e-4, 0, fused=True)
    assert not params.any()
    assert n_iter == 0


@pytest.mark.skipif(library() is None, reason="no kernels are built")
def test_many_small_models_start_after_newton_steps_of_one_kernel():
    """Each counts its own steps; with a callback, or a solver that is named, there are none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 5))
    y = (X[:, 0] + rng.logistic(size=300) > 0).astype(int)
    C = torch.logspace(-4, 2, 7, dtype=torch.float64)
    data, seen = from_arrays(X, y), []

    def watch(progress):
        seen.append(progress.n_iter)
        return False

    fused = fit(data, Binomial(), L2(), C=C)
    assert len(set(fused.n_iter.tolist())) > 1
    for how in ({"callback": watch}, {"solver": "newton-cholesky"}):
        single = fit(data, Binomial(), L2(), C=C, tol=1e-9, **how)
        for result in (fused, single):
            assert set(result.status) == {Status.CONVERGED}
        torch.testing.assert_close(single.params.coef, fused.params.coef, rtol=0, atol=1e-4)
    assert seen == list(range(1, max(seen) + 1))
    short = fit(data, Binomial(), L2(), C=C, max_iter=1, tol=1e-9)
    assert short.n_iter.tolist() == [1] * 7
    # a lasso's own iterations begin after them
    sparse = fit(data, Binomial(), ElasticNet(1.0), C=C / 1e4, max_iter=2)
    assert bool((sparse.params.coef == 0).any())

    of = objective(LOSSES["binomial"], reg_strength=(0.5, 2.0, 200.0))
    start, _, n_iter = cold_start(of, LBFGS(), 1e-4, 100, fused=True)
    assert n_iter.min() > 0
    assert of.evaluate(start).gradient.abs().max() < 1e-3
    assert cold_start(of, LBFGS(), 1e-4, 100, fused=False)[2].tolist() == [0, 0, 0]


@pytest.mark.skipif(library() is None, reason="no kernels are built")
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_a_model_starts_after_newton_steps_on_samples(fit_intercept):
    """It is as near as a sample allows (Wilks 1938); with too few rows of a class there is none."""
    n, p, rows = 12_000, 10, 1500
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) * np.logspace(-2, 2, p)
    score = 2 * X[:, -1] / 100 + rng.logistic(size=n)
    options = {"fit_intercept": fit_intercept}
    for share in (0.5, 0.01):
        y = (score > np.quantile(score, 1 - share)).astype(int)
        data = from_arrays(X, y)
        data = data.standardised(data.center, data.scale, Binomial().encode(data.targets))
        one = torch.ones(1, dtype=torch.float64)
        of = Objective(data, Binomial(), L2(), one, fit_intercept)
        start, _, n_iter = cold_start(of, LBFGS(), 1e-4, 100, fused=False)
        assert n_iter.tolist() == [0]
        zero = prior_start(of)
        if share == 0.01:
            torch.testing.assert_close(start, zero, rtol=0, atol=0)
            continue
        best = drive(LBFGS(), of, zero, tol=1e-8, max_iter=100)
        excess = float(of.evaluate(start).value) - float(best.value)
        assert 0 < excess < 3 * n * (p + 1) / (2 * rows)
        assert float(of.evaluate(zero).value) - float(best.value) > 10 * excess
    found = fit(from_arrays(X, y), Binomial(), L2(), C=1.0, tol=1e-8, **options)
    assert found.status == (Status.CONVERGED,)


def test_what_is_only_a_start_is_not_proven(monkeypatch):
    """Where it ends in the space of the rows is looked at by the fit itself."""
    asked, confirm = [], LBFGS.confirm

    def counted(solver, objective, state, models):
        asked.append(objective.data.n_features)
        return confirm(solver, objective, state, models)

    monkeypatch.setattr(LBFGS, "confirm", counted)
    X, y, weight = _wide(2, p=8000, n=400)
    found = fit(from_arrays(X, y, weight), Binomial(), L2(), solver=LBFGS(), tol=1e-3)
    assert found.status == (Status.CONVERGED,)
    assert set(asked) <= {8000}
    of = objective(LOSSES["binomial"])
    sloppy = drive(LBFGS(), of, of.zeros(), tol=0.5, max_iter=9, bound=False, proof=False)
    assert sloppy.status == (Status.CONVERGED,)


def test_parameters_are_predicted_over_log_C():
    C = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
    params = C.log10()[:, None, None] * torch.ones(1, 2, 3, dtype=torch.float64)
    pairs = [(C[i : i + 1], params[i : i + 1]) for i in range(4)]
    (share,) = {float(v) for v in (predicted_start(C[2:3], pairs[:2]) - params[1]).ravel()}
    assert share == pytest.approx(1)
    assert predicted_start(C[2:3], pairs[:1]).equal(params[:1])
    assert predicted_start(C[:1] * torch.inf, pairs[:2]).isfinite().all()
    assert predicted_start(C[1:2], [pairs[1], pairs[1]]).equal(params[1:2])
    assert float(predicted_start(C[3:], pairs[:2]).max()) <= 2  # no further than one more interval


@pytest.mark.parametrize("seed", range(5))
def test_a_lasso_of_several_classes_continues_from_its_solution(seed):
    """Intercepts of columns with large means have a constant in common, which says nothing.

    Steps would be lost in the rounding of logits as large as that.
    """
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(80, 2))
    y = np.digitize(Z.sum(axis=1) + 0.5 * rng.normal(size=80), [-0.7, 0.7])
    data = from_arrays(Z * [1e8, 1.0] + [0.0, 1e6], y)
    options = {"C": 0.1, "tol": 1e-4}
    first = fit(data, Multinomial(3), ElasticNet(1.0), **options)
    again = fit(data, Multinomial(3), ElasticNet(1.0), start=first.params, **options)
    assert first.status == again.status == (Status.CONVERGED,)
    assert int(again.n_iter) <= 2
