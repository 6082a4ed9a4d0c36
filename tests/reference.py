"""Slow, obvious reference for tests: NumPy in extended precision, and nothing of ours.

The objective is scikit-learn's divided by C,

    F(W, b) = sum_i s_i loss(y_i, W x_i + b) + 1/C sum_kj f_j [ (1 - rho)/2 W_kj^2 + rho |W_kj| ]

with the intercept b free of penalty. Two classes have one row of W and the loss log(1 + e^z) - y z,
more have one row a class and the loss logsumexp(z) - z_y. `C = inf` means no penalty.

`minimise` is Newton's method on the exact Hessian of the standardised columns (each with its own
strength, so the objective is unchanged); a penalty with corners gets coordinate descent on the
quadratic model. Values and gradients are summed in `longdouble`, so that a relative
suboptimality of 1e-16 can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import mpmath
import numpy as np
import scipy.sparse as sp

LD = np.longdouble


@dataclass(frozen=True)
class Task:
    """A problem to minimise: data, weights and penalty.

    Parameters
    ----------
    X : array of shape (n_samples, n_features), dense or scipy sparse
    y : int array of shape (n_samples,), class indices 0..K-1
    sample_weight : array of shape (n_samples,) or None
        Sample weight times class weight.
    C, l1_ratio : float
    factor : array of shape (n_features,) or None
        Strength of each feature.
    fit_intercept : bool
    n_classes : int or None
        Taken from y if None.
    """

    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None = None
    C: float = 1.0
    l1_ratio: float = 0.0
    factor: np.ndarray | None = None
    fit_intercept: bool = True
    n_classes: int | None = None
    dense: np.ndarray = field(init=False, repr=False)
    weight: np.ndarray = field(init=False, repr=False)
    ridge: np.ndarray = field(init=False, repr=False)
    lasso: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        X = self.X.toarray() if sp.issparse(self.X) else np.asarray(self.X)
        n, p = X.shape
        weight = np.ones(n) if self.sample_weight is None else np.asarray(self.sample_weight)
        factor = np.ones(p) if self.factor is None else np.asarray(self.factor, dtype=LD)
        strength = LD(0) if np.isinf(self.C) else 1 / LD(self.C)
        set_field = object.__setattr__
        set_field(self, "y", np.asarray(self.y, dtype=np.int64))
        set_field(self, "n_classes", self.n_classes or int(self.y.max()) + 1)
        set_field(self, "dense", X.astype(LD))
        set_field(self, "weight", weight.astype(LD))
        set_field(self, "ridge", strength * LD(1 - self.l1_ratio) * factor.astype(LD))
        set_field(self, "lasso", strength * LD(self.l1_ratio) * factor.astype(LD))

    @property
    def binary(self) -> bool:
        return self.n_classes == 2

    @property
    def n_outputs(self) -> int:
        return 1 if self.binary else self.n_classes


@dataclass(frozen=True)
class Minimum:
    """What `minimise` found: parameters, value, and how far a last Newton step still led.

    `coef` (K, p) and `intercept` (K,) are longdouble; `decrement` is the predicted decrease left,
    relative to the value.
    """

    coef: np.ndarray
    intercept: np.ndarray
    value: np.longdouble
    decrement: float


# ---------------------------------------------------------------- pieces


def logits(task, coef, intercept):
    """W x_i + b, shape (n_samples, K)."""
    coef = np.atleast_2d(np.asarray(coef)).astype(LD)
    return task.dense @ coef.T + np.atleast_1d(np.asarray(intercept)).astype(LD)


def row_losses(z, y):
    """Loss of each row from its logits z (n_samples, K)."""
    if z.shape[1] == 1:
        margin = np.where(y == 1, z[:, 0], -z[:, 0])
        return np.maximum(-margin, 0) + np.log1p(np.exp(-np.abs(margin)))
    top = z.max(axis=1)
    return top - z[np.arange(len(y)), y] + np.log(np.exp(z - top[:, None]).sum(axis=1))


def probabilities(z):
    """Class probabilities (n_samples, n_classes) from logits z (n_samples, K)."""
    if z.shape[1] == 1:
        small = np.exp(-np.abs(z[:, 0]))
        likely, unlikely = 1 / (1 + small), small / (1 + small)
        positive = np.where(z[:, 0] >= 0, likely, unlikely)
        negative = np.where(z[:, 0] >= 0, unlikely, likely)
        return np.stack([negative, positive], axis=1)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def residuals(task, z):
    """d loss / d logits, (n_samples, K): probability minus indicator, without cancellation."""
    p = probabilities(z)
    rows = np.arange(len(task.y))
    if task.binary:
        return np.where(task.y == 1, -p[:, 0], p[:, 1])[:, None]
    others = p.copy()
    others[rows, task.y] = 0
    p[rows, task.y] = -others.sum(axis=1)
    return p


def penalty(task, coef):
    """1/C times the penalty."""
    coef = np.atleast_2d(np.asarray(coef)).astype(LD)
    return (task.ridge * coef**2).sum() / 2 + (task.lasso * np.abs(coef)).sum()


def value(task, coef, intercept):
    """F."""
    z = logits(task, coef, intercept)
    return (task.weight * row_losses(z, task.y)).sum() + penalty(task, coef)


def gradient(task, coef, intercept):
    """Gradient of the smooth part: (K, p) and (K,)."""
    r = residuals(task, logits(task, coef, intercept)) * task.weight[:, None]
    coef = np.atleast_2d(np.asarray(coef)).astype(LD)
    return r.T @ task.dense + task.ridge * coef, r.sum(axis=0)


def violation(task, coef, intercept):
    """Largest entry of the smallest subgradient: 0 exactly at a minimum."""
    coef = np.atleast_2d(np.asarray(coef)).astype(LD)
    g, g_intercept = gradient(task, coef, intercept)
    corner = np.maximum(np.abs(g) - task.lasso, 0)
    slope = np.abs(g + task.lasso * np.sign(coef))
    worst = np.where(coef == 0, corner, slope).max(initial=0)
    return float(max(worst, np.abs(g_intercept).max() if task.fit_intercept else 0))


def suboptimality(task, coef, intercept, minimum=None):
    """(F - F*) / F*, where F* is `minimise`'s."""
    best = (minimise(task) if minimum is None else minimum).value
    return float((value(task, coef, intercept) - best) / best)


# ---------------------------------------------------------------- a lower bound without a solver


def lower_bound(task, coef, intercept):
    """A number that F* cannot fall below, from the dual at the model's probabilities.

    With Q any probabilities such that V = sum_i s_i (Y_i - Q_i) x_i' meets the penalty's
    conjugate and, with an intercept, sum_i s_i (Y_i - Q_i) = 0 in each class,

        F* >= sum_i s_i H(Q_i) - Omega*(V),     H the entropy.

    Mass is moved between the classes until the class sums are right; where a feature has no ridge
    the residual is shrunk into the dual ball. -inf where a feature is not penalised at all.
    """
    if not ((task.ridge > 0) | (task.lasso > 0)).all():
        return -np.inf
    n = len(task.y)
    indicator = np.eye(task.n_classes, dtype=LD)[task.y]
    q = probabilities(logits(task, coef, intercept))
    s = task.weight[:, None]
    if task.fit_intercept:
        have, want = (s * q).sum(axis=0), (s * indicator).sum(axis=0)
        surplus, lack = np.maximum(have - want, 0), np.maximum(want - have, 0)
        if surplus.sum() > 0 and lack.sum() > 0:
            moved = q * np.where(have > 0, surplus / np.where(have > 0, have, 1), 0)
            q = q - moved + moved.sum(axis=1, keepdims=True) * lack / lack.sum()
    shrink = LD(1)
    v = ((indicator - q) * s).T @ task.dense
    v = v[1:] if task.binary else v
    only_lasso = task.ridge == 0
    if only_lasso.any():
        ratio = np.abs(v[:, only_lasso]) / task.lasso[only_lasso]
        shrink = 1 / max(LD(1), ratio.max())
    q = indicator - shrink * (indicator - q)
    excess = np.maximum(np.abs(shrink * v) - task.lasso, 0)[:, ~only_lasso]
    conjugate = (excess**2 / (2 * task.ridge[~only_lasso])).sum()
    entropy = -(np.where(q > 0, q * np.log(np.where(q > 0, q, 1)), 0)).sum(axis=1)
    assert entropy.shape == (n,)
    return (task.weight * entropy).sum() - conjugate


def duality_gap(task, coef, intercept):
    """(F - lower bound) / F: an upper bound of the relative suboptimality."""
    f = value(task, coef, intercept)
    return float((f - lower_bound(task, coef, intercept)) / f)


def dual_value(task, coef, shrink, conjugate):
    """Lower bound of F for two classes without intercept, at residuals shrunk by a factor.

    ``sum_i s_i H(q_i) - conjugate(V)`` with ``q = y - shrink (y - p)`` and V (p,) the sum of
    ``s_i (y_i - q_i) x_i``; the penalty's conjugate is the caller's.
    """
    residual = -residuals(task, logits(task, coef, np.zeros(1)))[:, 0] * shrink
    q = task.y - residual
    entropy = -sum(np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0) for p in (q, 1 - q))
    return (task.weight * entropy).sum() - conjugate((task.weight * residual) @ task.dense)


# ---------------------------------------------------------------- Newton


def minimise(task, max_iter=200) -> Minimum:
    """The minimum by Newton's method, from zero.

    Columns are standardised in longdouble (centred only where an intercept takes up the
    shift) and their strengths adjusted, which leaves the objective what it is.
    """
    X, p = task.dense, task.dense.shape[1]
    total = task.weight.sum()
    centre = task.weight @ X / total if task.fit_intercept else np.zeros(p, dtype=LD)
    scale = np.sqrt(task.weight @ (X - centre) ** 2 / total)
    # a constant column is all rounding once it is centred
    scale[scale <= 1e-15 * np.abs(centre)] = 0
    dead = scale == 0
    scale[dead] = 1
    Z = (X - centre) / scale
    Z[:, dead] = 0
    Z = np.concatenate([Z, np.ones((len(Z), 1), dtype=LD)], axis=1)
    ridge = np.append(task.ridge / scale**2, LD(0))
    lasso = np.append(task.lasso / scale, LD(0))
    free = np.append(~dead, task.fit_intercept)
    Z, ridge, lasso = Z[:, free], ridge[free], lasso[free]

    theta = np.zeros((task.n_outputs, int(free.sum())), dtype=LD)
    f = _value(task, Z, ridge, lasso, theta)
    decrement = np.inf
    for _ in range(max_iter):
        g, H = _gradient_hessian(task, Z, ridge, theta)
        step = _quadratic_minimum(g, H, np.broadcast_to(lasso, theta.shape), theta)
        # the sum of the first-order terms, and what the quadratic model loses along the step;
        # at the end only the second is free of cancellation
        predicted = (g * step).sum() + (lasso * (np.abs(theta + step) - np.abs(theta))).sum()
        flat_step = step.ravel()
        previous, decrement = decrement, float(flat_step @ H.astype(LD) @ flat_step / (2 * f))
        if decrement < 1e-33 or (decrement < 1e-18 and decrement > previous / 2):
            break
        t = LD(1)
        while t > 1e-12:
            f_new = _value(task, Z, ridge, lasso, theta + t * step)
            if f_new <= f + t * min(predicted, LD(0)) / 4 + 1e-18 * f:
                break
            t /= 2
        else:
            break  # the sums cannot tell the points apart any more
        theta, f = theta + t * step, f_new

    full = np.zeros((task.n_outputs, p + 1), dtype=LD)
    full[:, free] = theta
    coef = full[:, :-1] / scale
    intercept = full[:, -1] - (coef @ centre if task.fit_intercept else 0)
    if not task.binary:
        # softmax does not see a constant added to every class
        flat = (task.ridge == 0) & (task.lasso == 0)
        coef[:, flat] -= coef[:, flat].mean(axis=0)
        if task.fit_intercept:
            intercept = intercept - intercept.mean()
    return Minimum(coef, intercept, value(task, coef, intercept), decrement)


def _value(task, Z, ridge, lasso, theta):
    loss = (task.weight * row_losses(Z @ theta.T, task.y)).sum()
    return loss + (ridge * theta**2).sum() / 2 + (lasso * np.abs(theta)).sum()


def _gradient_hessian(task, Z, ridge, theta):
    """Of the smooth part; the Hessian as a float64 (Kd, Kd) matrix."""
    z = Z @ theta.T
    g = (residuals(task, z) * task.weight[:, None]).T @ Z + ridge * theta
    q = probabilities(z).astype(np.float64)
    s, Zd = task.weight.astype(np.float64), Z.astype(np.float64)
    d, K = Z.shape[1], task.n_outputs
    if task.binary:
        H = (Zd * (s * q[:, 0] * q[:, 1])[:, None]).T @ Zd
        return g, H + np.diag(ridge.astype(np.float64))
    H = np.zeros((K, d, K, d))
    for a in range(K):
        for b in range(a + 1):
            curvature = s * q[:, a] * ((a == b) - q[:, b])
            H[a, :, b, :] = (Zd * curvature[:, None]).T @ Zd
            H[b, :, a, :] = H[a, :, b, :].T
        H[a, :, a, :] += np.diag(ridge.astype(np.float64))
    return g, H.reshape(K * d, K * d)


def _quadratic_minimum(g, H, lasso, theta):
    """Minimum over `step` of g step + step H step / 2 + lasso |theta + step|."""
    shape = g.shape
    g, lasso, theta = g.astype(np.float64).ravel(), lasso.astype(np.float64).ravel(), theta.ravel()
    if not lasso.any():
        return _solve(H, -g).reshape(shape).astype(LD)
    # coordinate descent finds the support and the signs, a linear system the rest
    start = theta.astype(np.float64)
    target, slope, diagonal = start.copy(), g.copy(), np.maximum(np.diag(H), 1e-300)
    for _ in range(1000):
        largest = 0.0
        for j in range(len(g)):
            wish = target[j] - slope[j] / diagonal[j]
            new = np.sign(wish) * max(abs(wish) - lasso[j] / diagonal[j], 0.0)
            if new != target[j]:
                slope += H[:, j] * (new - target[j])
                largest = max(largest, abs(new - target[j]))
                target[j] = new
        if largest <= 1e-15 * np.abs(target).max(initial=1e-300):
            break
    on = (target != 0) | (lasso == 0)
    step = (target - start).astype(LD)
    if on.any():
        # Newton on the support, where the objective is smooth: exact signs, no stopping rule
        rest = step.astype(np.float64)
        rest[on] = 0
        right = -(g + lasso * np.sign(target) + H @ rest)[on]
        exact = _solve(H[np.ix_(on, on)], right)
        moved = start[on] + exact
        if (np.sign(moved) == np.sign(target[on]))[lasso[on] > 0].all():
            step[on] = exact
    # a coefficient at zero is exactly zero
    step[~on] = -theta[~on]
    return step.reshape(shape)


def _solve(H, right):
    """Least squares with unit diagonal: softmax leaves flat directions."""
    size = 1 / np.sqrt(np.maximum(np.diag(H), 1e-300))
    return size * np.linalg.lstsq(H * size * size[:, None], size * right, rcond=1e-13)[0]


# ---------------------------------------------------------------- groups and bounds, first order


def group_weights(groups, factor):
    """sqrt(|g|) f_j (p,), where |g| counts the features of a positive, finite factor."""
    groups, factor = np.asarray(groups), np.asarray(factor, dtype=np.float64)
    counts = (factor > 0) & np.isfinite(factor)
    return factor * np.sqrt([(counts & (groups == g)).sum() for g in groups])


def group_penalty(coef, groups, weights):
    """sum_g |(weights w)_g|, over all classes."""
    own = np.atleast_2d(coef) * weights
    return sum(np.sqrt((own[:, groups == g] ** 2).sum()) for g in np.unique(groups))


def group_prox(v, step, groups, weights):
    """argmin_x |x - v|^2 / 2 + step * group_penalty(x), by bisection on each group's norm."""
    x = v.copy()
    for g in np.unique(groups):
        own = (groups == g) & (weights > 0)
        d, part = weights[own], v[:, groups == g][:, weights[groups == g] > 0]
        if not own.any():
            continue
        if np.sqrt(((part / d) ** 2).sum()) <= step:
            x[:, own] = 0
            continue
        low, high = 0.0, np.sqrt(((d * part) ** 2).sum())
        for _ in range(60):
            r = (low + high) / 2
            shrunk = part * (r / (r + step * d**2))
            if np.sqrt(((d * shrunk) ** 2).sum()) > r:
                low = r
            else:
                high = r
        x[:, own] = shrunk
    return x


def box_prox(v, step, lasso, low, high):
    """argmin_x |x - v|^2 / 2 + step * lasso |x| with low <= x <= high."""
    return np.clip(np.sign(v) * np.maximum(np.abs(v) - step * lasso, 0), low, high)


def minimise_first_order(task, prox, max_iter=200_000):
    """Coefficients (K, p) and intercepts (K,) where accelerated proximal steps end.

    `task` states the loss and the ridge, `prox(coef, step)` the rest. The step is that of the
    largest curvature; momentum starts anew where it points uphill.
    """
    X = task.dense.astype(np.float64)
    ones = np.ones((len(X), 1)) * task.fit_intercept
    design = np.concatenate([X, ones], axis=1) * np.sqrt(task.weight.astype(np.float64))[:, None]
    bend = np.linalg.norm(design, 2) ** 2 / (4 if task.binary else 2)
    step = 1 / (bend + float(task.ridge.max()))
    coef = prox(np.zeros((task.n_outputs, X.shape[1])), step)
    intercept = np.zeros(task.n_outputs)
    ahead, ahead_b, t = coef, intercept, 1.0
    for _ in range(max_iter):
        g, g_b = (part.astype(np.float64) for part in gradient(task, ahead, ahead_b))
        new = prox(ahead - step * g, step)
        new_b = ahead_b - step * g_b * task.fit_intercept
        moved = max(np.abs(new - ahead).max(), np.abs(new_b - ahead_b).max())
        uphill = ((ahead - new) * (new - coef)).sum() + (ahead_b - new_b) @ (new_b - intercept) > 0
        t_new = 1.0 if uphill else (1 + np.sqrt(1 + 4 * t * t)) / 2
        momentum = 0.0 if uphill else (t - 1) / t_new
        ahead, ahead_b = new + momentum * (new - coef), new_b + momentum * (new_b - intercept)
        coef, intercept, t = new, new_b, t_new
        if moved <= 1e-13 * max(1.0, np.abs(coef).max(), np.abs(intercept).max()):
            break
    return coef, intercept


# ---------------------------------------------------------------- single numbers, 50 digits


def exact_softplus(z: float) -> float:
    """log(1 + e^z), correctly rounded."""
    with mpmath.workdps(50):
        return float(mpmath.log1p(mpmath.exp(mpmath.mpf(z))))


def exact_sigmoid(z: float) -> float:
    """1 / (1 + e^-z), correctly rounded."""
    with mpmath.workdps(400):
        return float(1 / (1 + mpmath.exp(-mpmath.mpf(z))))


def exact_logsumexp(z) -> float:
    """log sum_k e^(z_k), correctly rounded."""
    with mpmath.workdps(50):
        top = max(mpmath.mpf(float(v)) for v in z)
        return float(
            top + mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(float(v)) - top) for v in z))
        )
