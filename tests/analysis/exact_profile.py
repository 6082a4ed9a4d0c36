"""Profile of a logistic likelihood with 100 digits, independent of the package."""

import mpmath as mp

_GAIN = mp.mpf(10) ** -14
_FLAT = mp.mpf(10) ** -30  # curvature, relative, of directions in which nothing is to be gained


def deviance(X, y, weight, place, value):
    """Twice what the log-likelihood loses where one coefficient is held at a value.

    Parameters
    ----------
    X : array of shape (n, k)
        With a column of ones, if there is an intercept.
    y : array of shape (n,), 0 or 1
    weight : array of shape (n,)
    place : int
        Column of the coefficient that is held.
    value : float
    """
    with mp.workdps(100):
        rows = [[mp.mpf(float(entry)) for entry in row] for row in X]
        signs = [1 if label else -1 for label in y]
        weights = [mp.mpf(float(entry)) for entry in weight]
        zero = [mp.mpf(0)] * len(rows)
        free, theta = _maximum(rows, signs, weights, zero, [mp.mpf(0)] * len(rows[0]))
        logits = [mp.fdot(row, theta) for row in rows]
        held = [row[place] * mp.mpf(float(value)) for row in rows]
        others = [[*row[:place], *row[place + 1 :]] for row in rows]
        # the point whose logits are nearest to those of the free maximum
        bend = [w / (2 + mp.exp(z) + mp.exp(-z)) for w, z in zip(weights, logits, strict=True)]
        left = [z - own for z, own in zip(logits, held, strict=True)]
        pull = [b * z for b, z in zip(bend, left, strict=True)]
        start = _solved(others, bend, pull)[0]
        return float(2 * (free - _maximum(others, signs, weights, held, start)[0]))


def _solved(rows, bend, pull):
    """Solve ``X' diag(bend) X t = X' pull``; the right-hand side as well."""
    if not rows[0]:
        return [], []
    columns = list(zip(*rows, strict=True))
    k = len(columns)
    right = [mp.fdot(pull, column) for column in columns]
    matrix = mp.matrix(k)
    for a in range(k):
        scaled = [b * entry for b, entry in zip(bend, columns[a], strict=True)]
        for b in range(a, k):
            matrix[a, b] = matrix[b, a] = mp.fdot(scaled, columns[b])
        matrix[a, a] *= 1 + _FLAT
    return list(mp.lu_solve(matrix, mp.matrix(right))), right


def _maximum(rows, signs, weights, offset, theta):
    """Newton's method with halvings, which ends when the value cannot gain 1e-14."""

    def margins(theta):
        return [
            sign * (own + mp.fdot(row, theta))
            for row, sign, own in zip(rows, signs, offset, strict=True)
        ]

    def likelihood(theta):
        return -mp.fdot(weights, [mp.log1p(mp.exp(-margin)) for margin in margins(theta)])

    value = likelihood(theta)
    for _ in range(300):
        miss = [1 / (1 + mp.exp(margin)) for margin in margins(theta)]
        pull = [s * t * q for s, t, q in zip(weights, signs, miss, strict=True)]
        bend = [s * q * (1 - q) for s, q in zip(weights, miss, strict=True)]
        step, gradient = _solved(rows, bend, pull)
        gain = mp.fdot(gradient, step) / 2
        if gain < _GAIN:
            return value, theta
        length = mp.mpf(1)
        while length > _FLAT**2:
            trial = [own + length * change for own, change in zip(theta, step, strict=True)]
            new = likelihood(trial)
            if new >= value + length * gain / 1000:
                break
            length /= 2
        else:
            raise AssertionError("The judge's step does not rise.")
        theta, value = trial, new
    raise AssertionError("The judge has not converged.")
