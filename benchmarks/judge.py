"""What is minimised, in float64 NumPy, and how far a point can be from the minimum.

The one judge of every contestant; it shares no line with any of them.
"""

import numpy as np
import scipy.sparse as sp
from scipy.special import expit, logsumexp, softmax, xlogy

from benchmarks.problems import Problem

BLOCK = 1 << 20  # numbers of X that are cast to float64 at a time


def value(problem: Problem, coef, intercept) -> float:
    """Objective ``sum_i loss_i + pen(W) / C`` of a point."""
    coef, intercept = _shaped(problem, coef, intercept)
    losses = _loss(_logits(problem, coef, intercept), problem.y)
    return float(losses.sum() + _penalty(problem, coef).sum())


def bound(problem: Problem, coef, intercept) -> float:
    r"""Duality gap at a point whose intercept was minimised first: at least ``F - F*``.

    With residuals ``u_i = loss'(z_i)``, scaled by s where the lasso asks for ``|X'u|_inf <= 1/C``,

        F - F* <= sum_i [f_i(z_i) + f_i*(s u_i) - s u_i z_i] + sum_j [g(w_j) + g*(-s v_j) + s v_j w_j]

    with v = X'u and g the penalty: by Fenchel and Young no bracket is negative, so that nothing
    cancels. Valid because the minimised intercept makes ``sum_i u_i`` vanish (to rounding).
    """  # noqa: E501
    coef, intercept = _shaped(problem, coef, intercept)
    logits = _logits(problem, coef, intercept)
    if problem.intercept:
        logits = logits + _best_shift(logits, problem.y)
    target = _targets(problem)
    residual = _probability(logits) - target
    slope = _transposed(problem, residual)
    l1, l2 = problem.l1_ratio / problem.C, (1 - problem.l1_ratio) / problem.C
    s = 1.0 if l2 else min(1.0, l1 / max(np.abs(slope).max(), 1e-300))
    dual, slope = s * residual, s * slope
    fit = _loss(logits, problem.y) + _entropy(dual + target) - (dual * logits).sum(axis=1)
    excess = np.maximum(np.abs(slope) - l1, 0)
    conjugate = excess**2 / (2 * l2) if l2 else 0.0
    size = _penalty(problem, coef) + conjugate + slope * coef
    return float(fit.sum() + size.sum())


def _shaped(problem, coef, intercept):
    """Coefficients (K, p) and intercepts (K,) in float64; K is 1 for two classes."""
    n_outputs = 1 if problem.n_classes == 2 else problem.n_classes
    coef = np.asarray(coef, dtype=np.float64).reshape(n_outputs, -1)
    intercept = np.ravel(np.asarray(intercept, dtype=np.float64))
    return coef, np.broadcast_to(intercept, (n_outputs,))


def _blocks(X):
    step = X.shape[0] if sp.issparse(X) else max(BLOCK // X.shape[1], 1)
    return (slice(start, start + step) for start in range(0, X.shape[0], step))


def _logits(problem, coef, intercept):
    parts = [problem.X[rows].astype(np.float64, copy=False) @ coef.T for rows in _blocks(problem.X)]
    return np.concatenate(parts) + intercept


def _transposed(problem, residual):
    X = problem.X
    return sum((X[rows].T.astype(np.float64, copy=False) @ residual[rows]).T for rows in _blocks(X))


def _loss(logits, y):
    if logits.shape[1] == 1:
        z = np.where(y == 1, logits[:, 0], -logits[:, 0])
        return np.logaddexp(0, -z)
    return logsumexp(logits, axis=1) - logits[np.arange(len(y)), y]


def _probability(logits):
    return expit(logits) if logits.shape[1] == 1 else softmax(logits, axis=1)


def _targets(problem):
    if problem.n_classes == 2:
        return problem.y[:, None].astype(np.float64)
    return np.eye(problem.n_classes)[problem.y]


def _entropy(p):
    """Conjugate of the loss at a residual, in terms of the probability that it leaves."""
    p = p.clip(0, 1)
    return (xlogy(p, p) + (xlogy(1 - p, 1 - p) if p.shape[1] == 1 else 0)).sum(axis=1)


def _penalty(problem, coef):
    size = problem.l1_ratio * np.abs(coef) + (1 - problem.l1_ratio) / 2 * coef**2
    return size / problem.C


def _best_shift(logits, y):
    """Change of the intercepts that minimises the loss, by Newton's method."""
    n_outputs = logits.shape[1]
    target = y[:, None] if n_outputs == 1 else np.eye(n_outputs)[y]
    shift = np.zeros(n_outputs)
    for _ in range(50):
        p = _probability(logits + shift)
        gradient = (p - target).sum(axis=0)
        if n_outputs == 1:
            hessian = np.atleast_2d((p * (1 - p)).sum())
        else:
            hessian = np.diag(p.sum(axis=0)) - p.T @ p
        step = np.linalg.lstsq(hessian, -gradient, rcond=1e-12)[0]
        shift = shift + step
        if np.abs(step).max() <= 1e-14:
            break
    return shift
