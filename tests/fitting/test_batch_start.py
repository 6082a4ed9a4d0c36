"""A start on batches of rows is much nearer to the minimum, where classes are many."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg.data import from_arrays
from skorch_logreg.fitting import Params, Status, fit
from skorch_logreg.fitting.batch_start import start_on_batches
from skorch_logreg.fitting.starts import prior_start
from skorch_logreg.losses import Multinomial
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import LBFGS, drive
from skorch_logreg.solvers.choose import choose_curvature

N_CLASSES = 60


def _rows(n=4000, p=60):
    """Classes around centres, nine of them with a single row; columns are correlated."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(n) % N_CLASSES)
    y[y > 50] %= 3
    y[:N_CLASSES] = np.arange(N_CLASSES)
    X = rng.normal(size=(N_CLASSES, p))[y] + rng.normal(size=(n, p)) @ rng.normal(size=(p, p)) / 4
    return X, y


def _objective(X, y, C=(1.0,), weight=None):
    loss, data = Multinomial(N_CLASSES), from_arrays(X, y, weight)
    data = data.standardised(data.center, data.scale, loss.encode(data.targets), N_CLASSES * len(C))
    return Objective(data, loss, L2(), 1 / torch.tensor(C, dtype=torch.float64), True)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_the_objective_is_much_lower(dtype):
    X, y = _rows()
    of = _objective(X.astype(dtype), y)
    zero = prior_start(of)
    start = start_on_batches(of, zero)
    assert float(of.evaluate(start).value) < 0.2 * float(of.evaluate(zero).value)
    # what is the same for all classes is never corrected by steps on blocks of classes
    assert float(start[..., :-1].mean(dim=1).abs().max()) < 1e-12
    assert torch.equal(start, start_on_batches(of, zero))


def test_models_of_a_batch_start_as_alone():
    X, y = _rows()
    weight = np.random.default_rng(1).uniform(0.2, 2.0, size=len(y))
    of = _objective(X, y, (0.1, 3.0), weight)
    together = start_on_batches(of, prior_start(of))
    for i, C in enumerate((0.1, 3.0)):
        own = _objective(X, y, (C,), weight)
        alone = start_on_batches(own, prior_start(own))
        values = [own.evaluate(params).value for params in (alone, together[i : i + 1])]
        torch.testing.assert_close(*values, rtol=1e-3, atol=0)


def test_without_need_the_start_is_kept():
    X, y = _rows()
    strong, few = _objective(X, y, (1e-6,)), _objective(X[:2000], y[:2000])
    with_offset = replace(_objective(X, y), offset=torch.zeros(len(y), 1, 1))
    for of in (strong, few, with_offset, _objective(sp.csr_array(X), y)):
        zero = prior_start(of)
        assert start_on_batches(of, zero) is zero


def test_a_model_whose_objective_does_not_decrease_keeps_its_start():
    of = _objective(*_rows(), (1e-2, 1.0))
    zero = prior_start(of)
    best = drive(LBFGS(), of, zero, tol=1e-3, max_iter=100).params
    mixed = torch.stack([best[0], zero[1]])
    found = start_on_batches(of, mixed)
    assert torch.equal(found[0], best[0])
    assert not torch.equal(found[1], zero[1])


def test_a_fit_takes_fewer_passes_to_the_same_minimum():
    X, y = _rows(10_000)
    assert choose_curvature(_objective(X, y)).by_class
    loss = Multinomial(N_CLASSES)
    found = fit(from_arrays(X, y), loss, L2(), C=1.0, tol=1e-3)
    zeros = torch.zeros(1, N_CLASSES, X.shape[1] + 1, dtype=torch.float64)
    start = Params(zeros[..., :-1], zeros[..., -1])
    direct = fit(from_arrays(X, y), loss, L2(), C=1.0, tol=1e-3, start=start)
    assert found.status == direct.status == (Status.CONVERGED,)
    assert found.n_passes < 0.8 * direct.n_passes
    torch.testing.assert_close(found.value, direct.value, rtol=2e-6, atol=0)
