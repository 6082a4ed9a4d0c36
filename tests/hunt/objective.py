"""The objective of any fit in extended precision: NumPy's longdouble, and nothing of ours.

    F(W, b) = sum_ic mass_ic loss_c(o_i + W x_i + b) + sum_kj [ridge_j W_kj^2 / 2 + lasso_j |W_kj|]
              + sum_g |D_g W_g|    with low_j <= W_kj <= high_j

``mass_ic`` is the weight that row i has in class c: hard, soft and smoothed labels, sample weights
and class weights are all of this form.  Two classes have one row of W, whose logits are those of
the second class.  Values, gradients and Hessians are sums without a cancellation of their own.
"""

from dataclasses import dataclass, field

import mpmath
import numpy as np

LD = np.longdouble


@dataclass(frozen=True)
class Task:
    """A problem to minimise.

    Parameters
    ----------
    X : float64 array of shape (n, p)
    mass : longdouble array of shape (n, n_classes)
    ridge, lasso : longdouble array of shape (p,)
    low, high : float64 array of shape (p,)
    groups : int array of shape (p,) or None
        Features of one number share a norm; -1: in no group.
    group_weight : longdouble array of shape (p,) or None
        ``D``, as the norm counts each coefficient.
    offset : float64 array of shape (n, K) or None
    fit_intercept : bool
    """

    X: np.ndarray
    mass: np.ndarray
    ridge: np.ndarray
    lasso: np.ndarray
    low: np.ndarray
    high: np.ndarray
    groups: np.ndarray | None = None
    group_weight: np.ndarray | None = None
    offset: np.ndarray | None = None
    fit_intercept: bool = True
    rows: np.ndarray = field(init=False, repr=False)
    center: np.ndarray = field(init=False, repr=False)
    scale: np.ndarray = field(init=False, repr=False)
    total: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        n, p = self.X.shape
        total = self.mass.sum(axis=1)
        counted = self.X[total > 0]
        center = np.zeros(p)
        if self.fit_intercept:
            mean = (total[total > 0] @ counted.astype(LD) / total.sum()).astype(np.float64)
            center = np.clip(mean, counted.min(axis=0), counted.max(axis=0))
        rows = np.ones((n, p + 1), dtype=LD)
        # a row without weight may hold anything, and takes no part
        rows[:, :-1] = np.where((total > 0)[:, None], self.X, center).astype(LD) - center
        scale = np.sqrt(total @ rows[:, :-1] ** 2 / total.sum())
        scale[scale == 0] = 1
        rows[:, :-1] /= scale
        rows[:, -1] = self.fit_intercept
        for name, value in zip(
            ("rows", "center", "scale", "total"), (rows, center, scale, total), strict=True
        ):
            object.__setattr__(self, name, value)

    @property
    def n_outputs(self) -> int:
        return 1 if self.mass.shape[1] == 2 else self.mass.shape[1]

    def inward(self, coef, intercept):
        """Parameters (K, p + 1) over `rows`, from those over X."""
        coef = np.atleast_2d(np.asarray(coef)).astype(LD)
        intercept = np.atleast_1d(np.asarray(intercept))
        if self.fit_intercept and self.center.any():
            # of a large mean the intercept cancels all but a few digits
            with mpmath.workdps(60):
                pairs = [list(zip(row, self.center, strict=True)) for row in coef]
                moved = [
                    _exact(b) + mpmath.fsum(_exact(w) * mpmath.mpf(float(c)) for w, c in row)
                    for b, row in zip(intercept, pairs, strict=True)
                ]
                intercept = [LD(mpmath.nstr(b, 30)) for b in moved]
        return np.c_[coef * self.scale, np.asarray(intercept).astype(LD)]

    def outward(self, theta):
        """Coefficients and intercepts over X, in longdouble."""
        coef = theta[:, :-1] / self.scale
        return coef, theta[:, -1] - coef @ self.center.astype(LD)

    def logits(self, theta):
        """All classes' logits (n, n_classes)."""
        z = self.rows @ theta.T
        if self.offset is not None:
            z = z + self.offset
        return np.c_[np.zeros_like(z), z] if self.n_outputs == 1 else z

    def value(self, theta):
        """F at parameters over `rows`."""
        z = self.logits(theta)
        loss = sum(self.mass[:, c] @ _row_loss(z, c) for c in range(z.shape[1]))
        return loss + self.penalty(theta[:, :-1] / self.scale)

    def change(self, theta, new):
        """F at ``new`` less F at ``theta``, without a cancellation of their values.

        Of a row of class c it is ``log sum_k p_k exp(d_k - d_c)`` where ``d`` are the changes of
        its logits, and ``p`` its probabilities at ``theta``.
        """
        z, moved = self.logits(theta), self.rows @ (new - theta).T
        d = np.c_[np.zeros_like(moved), moved] if self.n_outputs == 1 else moved
        share, _ = probabilities(z)
        near = np.abs(d).max(axis=1) <= 1
        loss = LD(0)
        for c in range(z.shape[1]):
            grown = (share * np.expm1(np.where(near[:, None], d - d[:, c : c + 1], 0))).sum(axis=1)
            far = _row_loss(z + d, c) - _row_loss(z, c)
            loss += self.mass[:, c] @ np.where(near, np.log1p(grown), far)
        return loss + self._penalty_change(theta[:, :-1] / self.scale, new[:, :-1] / self.scale)

    def _penalty_change(self, coef, new):
        moved = new - coef
        same = np.sign(coef) * np.sign(new) > 0
        out = (self.ridge * moved * (new + coef)).sum() / 2
        sizes = np.where(same, np.sign(coef) * moved, np.abs(new) - np.abs(coef))
        out += (self.lasso * sizes).sum()
        if self.groups is not None:
            both = self.norms(coef) + self.norms(new)
            squares = (self.group_weight**2 * moved * (new + coef)).sum(axis=0)
            squares = np.array([squares[self.groups == g].sum() for g in self.numbers])
            out += (squares / np.where(both > 0, both, 1)).sum()
        return out

    def penalty(self, coef):
        """Penalty of coefficients over X; bounds are not looked at."""
        out = (self.ridge * coef**2).sum() / 2 + (self.lasso * np.abs(coef)).sum()
        if self.groups is not None:
            out += self.norms(coef).sum()
        return out

    def norms(self, coef):
        """Norm of every group."""
        squares = ((self.group_weight * coef) ** 2).sum(axis=0)
        return np.sqrt([squares[self.groups == g].sum() for g in self.numbers])

    @property
    def numbers(self):
        """Numbers of the groups."""
        return np.unique(self.groups[self.groups >= 0])

    def gradient(self, theta):
        """Gradient (K, p + 1) of the loss and the ridge over `rows`, and the probabilities."""
        z = self.logits(theta)
        share, other = probabilities(z)
        # the mass of the others times p_k, less the own times 1 - p_k
        residual = (self.total[:, None] - self.mass) * share - self.mass * other
        residual = residual[:, 1:] if self.n_outputs == 1 else residual
        gradient = residual.T @ self.rows
        if self.n_outputs > 1:  # a constant for all classes has no slope, but rounding has
            gradient -= gradient.mean(axis=0)
        gradient[:, :-1] += self.ridge / self.scale**2 * theta[:, :-1]
        return gradient, share, other

    def hessian(self, share, other):
        """Hessian (K (p + 1), K (p + 1)) of the loss and the ridge over `rows`, in their type."""
        d, k = self.rows.shape[1], self.n_outputs
        rows, total = self.rows.astype(share.dtype), self.total.astype(share.dtype)
        out = np.empty((k, d, k, d), dtype=share.dtype)
        outputs = [1] if k == 1 else range(k)
        for a, first in enumerate(outputs):
            for b, second in enumerate(outputs):
                if b < a:
                    out[a, :, b, :] = out[b, :, a, :].T
                    continue
                bend = share[:, first] * (other[:, first] if a == b else -share[:, second])
                out[a, :, b, :] = (rows * (total * bend)[:, None]).T @ rows
            at = np.arange(d - 1)
            out[a, at, a, at] += self.ridge / self.scale**2
        return out.reshape(k * d, k * d)


def _exact(number):
    """Any float of NumPy's as an mpmath number, without rounding."""
    high = float(number)
    return mpmath.mpf(high) + mpmath.mpf(float(number - type(number)(high)))


def _row_loss(z, c):
    """``log sum_k exp(z_k - z_c)`` (n,), accurate where it is tiny."""
    apart = np.delete(z - z[:, c : c + 1], c, axis=1)
    top = np.maximum(apart.max(axis=1), 0)
    rest = np.exp(apart - top[:, None]).sum(axis=1)
    return top + np.where(top == 0, np.log1p(rest), np.log(rest + np.exp(-top)))


def probabilities(z):
    """Probabilities and those of all other classes together, both (n, n_classes)."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    others = np.stack([np.delete(e, k, axis=1).sum(axis=1) for k in range(z.shape[1])], axis=1)
    total = e.sum(axis=1, keepdims=True)
    return e / total, others / total
