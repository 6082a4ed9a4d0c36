"""The road from data to a solution: units, samples, classes, and what it refuses."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.special import softmax

from skorch_logreg.data import ComputedRows, from_arrays
from skorch_logreg.fitting import Params, Status, fit
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.penalties import L2, ElasticNet
from skorch_logreg.solvers import LBFGS
from tests.catalogue import LOSSES, PENALTIES, problem


def _many_rows(n=100_000, events=None, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 5))
    y = (X[:, 0] - 1 + rng.logistic(size=n) > 0).astype(np.int64)
    if events is not None:
        y[:] = 0
        y[X[:, 0].argsort()[-events:]] = 1
    return X, y


@pytest.mark.parametrize("events", [None, 1, 2, 30])
@pytest.mark.parametrize("penalty", [L2(), ElasticNet(1.0)], ids=["l2", "l1"])
def test_a_start_on_a_sample_changes_nothing(events, penalty):
    """Promise 2, also where the sample has none of the events."""
    X, y = _many_rows(events=events)
    sampled = fit(from_arrays(X, y), Binomial(), penalty)
    start = Params(torch.zeros(1, 1, 5).double(), torch.zeros(1, 1).double())
    whole = fit(from_arrays(X, y), Binomial(), penalty, tol=1e-8, start=start)
    assert sampled.status == (Status.CONVERGED,)
    assert float(sampled.value - whole.value) <= 1e-7 * float(whole.value)


def test_a_sample_without_a_minimum_is_left_early(monkeypatch):
    """A sample of one class has its solution at infinity: the way there must not be walked."""
    X, y = _many_rows(events=1)
    steps = []
    step = LBFGS.step

    def counted(self, objective, state):
        steps.append(objective.data.n_samples)
        return step(self, objective, state)

    monkeypatch.setattr(LBFGS, "step", counted)
    found = fit(from_arrays(X, y), Binomial(), L2(), solver=LBFGS(), max_iter=10_000)
    assert found.status == (Status.CONVERGED,)
    assert sum(n < len(X) for n in steps) <= 20


def test_passes_do_not_grow_with_the_rows():
    """Promise 20."""
    few = fit(from_arrays(*_many_rows(20_000)), Binomial(), L2())
    many = fit(from_arrays(*_many_rows(200_000)), Binomial(), L2())
    assert many.n_passes <= few.n_passes + 2


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES.keys())
def test_units_of_the_solver_do_not_show(loss, penalty):
    """Promise 6: a shifted and scaled X with a scaled penalty is the same problem."""
    X, y, weight = problem(loss)
    scale, shift = np.logspace(-6, 6, 5), np.linspace(-50, 50, 5)
    plain = fit(from_arrays(X, y, weight), loss, penalty, C=3.0, tol=1e-8)
    other = from_arrays(X * scale + shift * scale, y, weight)
    moved = fit(other, loss, penalty.in_units(1 / torch.from_numpy(scale)), C=3.0, tol=1e-8)
    torch.testing.assert_close(moved.value, plain.value, rtol=1e-9, atol=0)


@pytest.mark.parametrize("penalty", [L2(), ElasticNet(1.0), ElasticNet(0.5)])
def test_classes_sum_to_zero_where_they_may(penalty):
    X, y, _ = problem(Multinomial(4))
    params = fit(from_arrays(X, y), Multinomial(4), penalty).params
    assert params.intercept.sum(dim=1).abs().max() < 1e-12
    if penalty.smooth:
        assert params.coef.sum(dim=1).abs().max() < 1e-12


def test_redundant_columns_take_no_part():
    """A constant beside the intercept and a column of zeros have no coefficient."""
    X, y, _ = problem(Binomial())
    X = np.c_[X, np.full(len(X), 0.1), np.zeros(len(X)), np.full(len(X), 1e6 + 0.1)]
    for C in (1.0, np.inf):
        solution = fit(from_arrays(X, y), Binomial(), L2(), C=C, tol=1e-6)
        assert solution.status == (Status.CONVERGED,)
        assert solution.params.coef[0, 0, 5:].tolist() == [0.0, 0.0, 0.0]


def test_a_warm_start_at_the_solution_stays_there():
    X, y, _ = problem(Binomial())
    first = fit(from_arrays(X, y), Binomial(), L2())
    again = fit(from_arrays(X, y), Binomial(), L2(), start=first.params)
    assert again.n_iter.tolist() == [0]
    torch.testing.assert_close(again.params.coef, first.params.coef, rtol=1e-12, atol=1e-14)


def test_a_start_elsewhere_on_the_free_line_is_moved_back():
    X, y, _ = problem(Multinomial(4))
    start = Params(torch.full((1, 4, 5), 7.0).double(), torch.full((1, 4), -3.0).double())
    found = fit(from_arrays(X, y), Multinomial(4), L2(), start=start, tol=1e-8)
    cold = fit(from_arrays(X, y), Multinomial(4), L2(), tol=1e-8)
    torch.testing.assert_close(found.params.coef, cold.params.coef)


def test_a_solver_says_what_it_lacks():
    X, y, _ = problem(Binomial())
    with pytest.raises(ValueError, match="LBFGS needs a smooth penalty"):
        fit(from_arrays(X, y), Binomial(), ElasticNet(1.0), solver=LBFGS())


def test_no_penalty_makes_any_objective_smooth():
    X, y, _ = problem(Binomial())
    a = fit(from_arrays(X, y), Binomial(), ElasticNet(1.0), C=np.inf, solver=LBFGS(), tol=1e-8)
    b = fit(from_arrays(X, y), Binomial(), L2(), C=np.inf, tol=1e-8)
    torch.testing.assert_close(a.params.coef, b.params.coef)


def test_values_whose_squares_overflow_are_refused():
    X, y, _ = problem(Binomial())
    with pytest.raises(ValueError, match="squares overflow; scale its columns"):
        fit(from_arrays(X * 1e300, y), Binomial(), L2())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_matter(threads):
    """Promises 7, 9 and 11: the same bits from any run, the same model from any count."""
    X, y = _many_rows(400_000)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a = fit(from_arrays(X, y), Binomial(), L2(), tol=1e-7)
        b = fit(from_arrays(X, y), Binomial(), L2(), tol=1e-7)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    one = fit(from_arrays(X, y), Binomial(), L2(), tol=1e-7)
    assert torch.equal(a.params.coef, b.params.coef)
    torch.testing.assert_close(a.params.coef, one.params.coef, rtol=1e-8, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("made", [np.asarray, sp.csr_array], ids=["dense", "CSR"])
@pytest.mark.parametrize(("n", "p", "n_classes"), [(100_000, 4, 45), (15_000, 15, 300)])
def test_logits_that_are_too_large_are_not_stored(n, p, n_classes, made):
    """A fit is optimal by its gradient in NumPy, with a joint Hessian and with blocks of it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p)) * (rng.random((n, p)) < 0.5)
    drawn = X @ rng.normal(size=(p, n_classes)) + rng.gumbel(size=(n, n_classes))
    drawn[np.arange(n_classes), np.arange(n_classes)] += 100  # each class has a row
    y = drawn.argmax(axis=1)
    offset = torch.from_numpy(rng.normal(size=(n, 1, n_classes)))
    data = from_arrays(made(X), torch.from_numpy(y))
    found = fit(data, Multinomial(n_classes), L2(), C=1.0, tol=1e-8, offset=offset)
    assert isinstance(found.logits, ComputedRows)
    assert found.status == (Status.CONVERGED,)
    coef, intercept = found.params.coef[0].numpy(), found.params.intercept[0].numpy()
    logits = X @ coef.T + intercept + offset[:, 0].numpy()
    apart = found.logits[0:][:, 0].numpy() - logits
    assert np.abs(apart - apart.mean(axis=1, keepdims=True)).max() < 1e-9
    residual = softmax(logits, axis=1)
    residual[np.arange(n), y] -= 1
    slopes = [(residual.T @ X + coef).ravel(), residual.sum(axis=0)]
    assert np.square(slopes[0]).sum() / 2 <= 1e-12 * float(found.value)
    assert np.abs(slopes[1]).max() <= 1e-3
    assert 0 < float(found.duality_gap) <= 1e-12
