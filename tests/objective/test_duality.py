"""The duality gap, against its definition in extended precision and against the minimum."""

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pytest
import torch

from skorch_logreg.objective import (
    duality_gap,
    duality_gap_nearby,
    gap_beyond_rounding,
    minimise_intercept,
    penalty_gap,
)
from skorch_logreg.penalties import L2, Box, ElasticNet, GroupL2
from skorch_logreg.solvers import LBFGS, ProximalNewton, drive
from tests.catalogue import CONTAINERS, LOSSES, PENALTIES, objective, parameters, problem

LD = np.longdouble
EPS = float(np.finfo(float).eps)
PER_MILLE = 1e-3
WRITTEN_OUT = (L2, ElasticNet, Box, GroupL2)


@pytest.fixture(params=LOSSES.values(), ids=LOSSES.keys())
def loss(request):
    return request.param


# whose conjugates are written out in `Exact`
@pytest.fixture(params=[n for n, p in PENALTIES.items() if isinstance(p, WRITTEN_OUT)])
def penalty(request):
    return request.param


@dataclass(frozen=True)
class Exact:
    """Primal and dual objective of one model in extended precision, from the definitions.

    Two classes are two logits here too, the first of them 0: ``log sum exp(z) - q'z`` of the
    shares q, whose conjugate is the negative entropy of ``q + dual``.
    """

    X: np.ndarray
    q: np.ndarray
    weight: np.ndarray
    penalty: str
    reg_strength: float
    offset: np.ndarray

    @classmethod
    def of(cls, of, name, offset=0.0):
        X, y, weight = problem(of.loss)
        n_classes = max(of.loss.n_outputs, 2)
        y = np.asarray(y).reshape(len(X), -1)
        if y.dtype.kind == "i":
            q = np.eye(n_classes)[y[:, 0]]
        else:
            q = np.concatenate([1 - y.astype(LD), y], axis=1) if n_classes == 2 else y
        (reg_strength,) = of.reg_strength.tolist()
        return cls(X.astype(LD), q.astype(LD), weight.astype(LD), name, LD(reg_strength), offset)

    def gap(self, point):
        """F less the dual value of the residuals, moved to sum to zero and scaled: (F, gap)."""
        params = point.params[0].numpy().astype(LD)
        coef, intercept = params[:, :-1], params[:, -1]
        binary = len(coef) == 1
        z = self.X @ coef.T + intercept + self.offset
        z = np.concatenate([np.zeros_like(z), z], axis=1) if binary else z
        top = z.max(axis=1, keepdims=True)
        log_p = z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))
        value = -(self.weight @ (self.q * log_p).sum(axis=1)) + self.reg_strength * self._value(
            coef
        )
        p = np.exp(log_p)
        p = self._moved(p, (self.weight @ (p - self.q)))
        dual = self._dual(p - self.q, binary)
        scale = self._scale(dual)
        p = self.q + scale * (p - self.q)
        entropy = -(self.weight @ np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(axis=1))
        entropy += self.weight @ ((p - self.q)[:, -len(coef) :] * self.offset).sum(axis=1)
        return value, value - (entropy - self.reg_strength * self._conjugate(scale * dual))

    def _moved(self, p, sums):
        """Probabilities whose residuals sum to zero, by the Newton step of the intercepts."""
        hessian = np.diag(self.weight @ p) - (p * self.weight[:, None]).T @ p
        inverse = np.linalg.pinv(hessian.astype(float), hermitian=True).astype(LD)
        step = inverse @ sums
        for _ in range(5):
            step = step + inverse @ (sums - hessian @ step)
        return p - p * (step - (p @ step)[:, None])

    def _dual(self, residual, binary):
        dual = -(residual * self.weight[:, None]).T @ self.X / self.reg_strength
        return dual[1:] if binary else dual

    @property
    def _parts(self):
        """Lasso and ridge of every feature."""
        own = PENALTIES[self.penalty]
        own = getattr(own, "penalty", own)
        ratio = LD(getattr(own, "l1_ratio", 0.0))
        factor = np.ones(5) if own.factor is None else own.factor.numpy()
        return ratio * factor.astype(LD), (1 - ratio) * factor.astype(LD)

    def _norms(self, coef, power):
        """Of the groups, by ``f sqrt(|g|)`` to a power."""
        own = PENALTIES["group"]
        group = own.groups.numpy()
        each = own.factor.numpy().astype(LD) * np.sqrt(np.bincount(group)[group].astype(LD))
        squares = ((coef * each**power) ** 2).sum(axis=0)
        return np.sqrt([squares[group == g].sum() for g in np.unique(group)])

    def _value(self, coef):
        if self.penalty == "group":
            return self._norms(coef, 1).sum()
        lasso, ridge = self._parts
        return (lasso * np.abs(coef) + ridge / 2 * coef**2).sum()

    def _scale(self, dual):
        if self.penalty == "group":
            return min(LD(1), 1 / self._norms(dual, -1).max())
        lasso, ridge = self._parts
        return LD(1) if ridge.any() else min(LD(1), (lasso / np.abs(dual)).min())

    def _conjugate(self, dual):
        lasso, ridge = self._parts
        if self.penalty == "group" or not ridge.any():
            return LD(0)
        best = np.sign(dual) * np.maximum(np.abs(dual) - lasso, 0) / ridge
        own = PENALTIES[self.penalty]
        if own.constrains:
            best = np.clip(best, own.low.numpy().astype(LD), own.high.numpy().astype(LD))
        return (dual * best - lasso * np.abs(best) - ridge / 2 * best**2).sum()


def _best(of):
    solver = LBFGS() if of.penalty.smooth else ProximalNewton()
    return drive(solver, of, of.zeros(), tol=1e-8, max_iter=200)


def _objective(loss, penalty, reg_strength=3.0):
    return objective(loss, PENALTIES[penalty], reg_strength=(reg_strength,), standardised=False)


def _beside(of, best, size, shift, seed=1):
    """A point beside the best one, its intercept at its own best but for a shift."""
    params = best.params + parameters(of, size=size, seed=seed)
    if not of.penalty.smooth:
        zero = best.params[..., :-1] == 0
        params[..., :-1][zero] = 0.0
    params[..., :-1] = of.penalty.feasible(params[..., :-1], best.params[..., :-1])
    params, _ = minimise_intercept(of, params, of.logits(params))
    params[..., 0, -1] += shift
    if of.loss.n_outputs > 1:
        params[..., -1] -= params[..., -1].mean(dim=-1, keepdim=True)
    return of.evaluate(params)


def test_it_is_the_gap_of_a_feasible_dual_point(loss, penalty):
    """Promise 2: neither below, nor above by more than a per mille and rounding."""
    of = _objective(loss, penalty)
    best = _best(of)
    for size, shift in product([0.0, 1e-7, 1e-4, 1e-2, 0.5], [0.0, 1e-12, 1e-7, 1e-3, 0.2]):
        point = _beside(of, best, size, shift)
        got = float(duality_gap(of, point))
        value, gap = Exact.of(of, penalty).gap(point)
        rounding = 32 * EPS * float(value)
        assert abs(got - float(gap)) <= PER_MILLE * float(gap) + rounding, (size, shift)
        assert got >= float(point.value - best.value) - rounding, (size, shift)


@pytest.mark.parametrize("name", ["l2", "l2-factor"])
def test_near_the_best_intercept_the_rows_need_no_look(loss, name):
    """The same bound, from slopes and steps of the intercepts; None where these are longer."""
    of = _objective(loss, name)
    best = _best(of)
    for size, shift in product([0.0, 1e-6, 1e-2], [1e-9, 1e-6, 5e-4, 0.03]):
        point = _beside(of, best, size, shift)
        value, gap = Exact.of(of, name).gap(point)
        rounding = 32 * EPS * float(value)
        got = float(duality_gap_nearby(of, point))
        assert float(gap) * (1 - 1e-9) - rounding <= got, (size, shift)
        assert got <= float(gap) * (1 + 2 * max(PER_MILLE, shift)) + rounding, (size, shift)
    assert duality_gap_nearby(of, _beside(of, best, 0.1, 0.2)) is None


def test_it_is_never_negative(loss, penalty):
    """Nor is the share of the features, where both are nothing but rounding."""
    of = _objective(loss, penalty)
    best = _best(of)
    for seed in range(20):
        point = _beside(of, best, 1e-12, 0.0, seed=seed)
        assert float(duality_gap(of, point)) >= 0
        assert float(penalty_gap(of, point)[0]) >= 0
        assert float(gap_beyond_rounding(of, point)[0]) >= 0


@pytest.mark.parametrize("name", ["lasso", "group"])
def test_a_gradient_within_the_slack_counts_as_none(name):
    """What exceeds the bounds of the dual point by less does not scale it."""
    of = _objective(LOSSES["binomial"], name)
    point = _beside(of, _best(of), 1e-3, 0.0)
    scale = penalty_gap(of, point)[1]
    assert float(scale) < 1 - 1e-6
    most = point.gradient[..., :-1].abs().amax(dim=(1, 2))
    assert float(penalty_gap(of, point, (1 - scale) * most)[1]) > float(scale)
    assert float(penalty_gap(of, point, 1.1 * most)[1]) == 1


@pytest.mark.parametrize("strength", [0.0, 1e-300, 1e-3])
def test_bounds_alone_give_a_bound(loss, strength):
    """A model without a penalty, whose coefficients are held on both sides."""
    end = torch.full((5,), 0.1, dtype=torch.float64)
    of = objective(loss, Box(ElasticNet(0.0), -end, end), reg_strength=(strength,))
    best = drive(ProximalNewton(), of, of.zeros(), tol=1e-7, max_iter=200)
    assert 0 <= float(best.duality_gap) <= 1e-12
    point = of.evaluate(of.zeros())
    params, logits = minimise_intercept(of, point.params, point.logits)
    gap = float(duality_gap(of, of.at_logits(params, logits)))
    truth = float(of.at_logits(params, logits).value - best.value)
    assert truth <= gap <= 10 * truth


def test_a_constant_for_all_classes_counts_under_a_ridge():
    """It changes no probability, so that only the penalty's gradient shows it."""
    of = objective(LOSSES["multinomial"], PENALTIES["l2"], reg_strength=(0.01,))
    best = drive(LBFGS(), of, of.zeros(), tol=1e-9, max_iter=200)
    for constant in (1e-3, 3.0):
        shift = torch.zeros_like(best.params)
        shift[..., :-1] = constant
        point = of.evaluate(best.params + shift)
        truth = float(point.value - best.value)
        assert truth <= float(duality_gap(of, point)) <= 1.01 * truth


def test_rows_have_their_share():
    """Where the dual point is scaled; else no test would see an error of the rows."""
    of = _objective(LOSSES["binomial"], "lasso")
    point = _beside(of, _best(of), 0.5, 0.0)
    gap = float(duality_gap(of, point))
    features, scale = penalty_gap(of, point)
    assert float(scale) < 1
    assert gap - float(features) > 0.2 * gap


def test_there_is_none_far_from_the_best_intercept(loss, penalty):
    of = _objective(loss, penalty)
    assert duality_gap(of, _beside(of, _best(of), 0.1, 9.0)).isinf().all()


@pytest.mark.parametrize("size", [1e-5, 1e-8])
@pytest.mark.parametrize("name", ["lasso", "group"])
def test_a_gap_beyond_rounding_is_seen(loss, name, size):
    """What is taken off is rounding: a share of 1e-12 of the value."""
    of = _objective(loss, name)
    point = _beside(of, _best(of), size, 0.0)
    value, gap = Exact.of(of, name).gap(point)
    assert 1e-11 * value < gap < 1e-3 * value
    beyond = float(gap_beyond_rounding(of, point)[0])
    assert float(gap) * (1 - PER_MILLE) - 1e-12 * float(value) <= beyond
    assert beyond <= float(gap) * (1 + PER_MILLE)


@pytest.mark.parametrize("container", ["c-order", "csr-blocks-of-7"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["lasso", "group", "elastic-net", "l2"])
def test_far_offsets(loss, name, seed, container):
    """Saturated rows: their curvature says nothing of where the best intercept is."""
    plain = objective(
        loss,
        PENALTIES[name],
        CONTAINERS[container],
        reg_strength=(30.0,),
        standardised=False,
    )
    n, rng = plain.data.n_samples, np.random.default_rng(seed)
    offset = 100 * rng.normal(size=(n, 1, loss.n_outputs))
    of = replace(plain, offset=torch.from_numpy(offset))
    zero = of.zeros()
    params, logits = minimise_intercept(of, zero, of.with_offset(of.logits(zero)))
    point = of.at_logits(params, logits)
    size = float(point.value)
    assert float(point.gradient[..., -1].abs().max()) <= 2e-14 * size
    best = drive(
        LBFGS() if of.penalty.smooth else ProximalNewton(), of, zero, tol=1e-6, max_iter=200
    )
    gap = float(duality_gap(of, point))
    assert gap >= float(point.value - best.value) - 32 * EPS * size
    exact = Exact.of(of, name, offset[:, 0].astype(LD))
    value, expected = exact.gap(point)
    assert abs(gap - float(expected)) <= PER_MILLE * float(expected) + 64 * EPS * float(value)
    early = of.at_logits(zero, of.with_offset(of.logits(zero)))
    assert float(duality_gap(of, early)) >= float(early.value - best.value)
