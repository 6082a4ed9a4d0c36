"""Independent judges of separation: a simplex in fractions, and a linear programme of SciPy."""

from fractions import Fraction

import numpy as np
from scipy.optimize import linprog


def constraints(X, y, fit_intercept=True, weight=None):
    """Rows ``a`` such that a direction of recession has ``a w >= 0``: own class less each other."""
    X = np.asarray(X, dtype=float)
    Z = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    keep = np.ones(len(y), dtype=bool) if weight is None else np.asarray(weight) > 0
    Z, y = Z[keep], np.asarray(y)[keep]
    classes, own = np.unique(y, return_inverse=True)
    if len(classes) == 2:
        return Z * np.where(own == 1, 1.0, -1.0)[:, None]
    rows = []
    for z, c in zip(Z, own, strict=True):
        for k in range(len(classes)):
            if k != c:
                row = np.zeros((len(classes), Z.shape[1]))
                row[c], row[k] = z, -z
                rows.append(row.ravel())
    return np.array(rows)


def exact_gain(A):
    """Largest ``sum(A w)`` with ``A w >= 0`` in the box of one, by Bland's simplex in fractions."""
    A = [[Fraction(float(a)) for a in row] for row in A]
    n = len(A[0])
    # w = u - v with u, v in [0, 1]: zero is feasible, so the slack variables are a first basis
    rows = [[-a for a in row] + list(row) for row in A]
    bounds = [Fraction(0)] * len(rows)
    for j in range(2 * n):
        rows.append([Fraction(int(i == j)) for i in range(2 * n)])
        bounds.append(Fraction(1))
    gain = [sum(row[j] for row in A) for j in range(n)]
    cost = [-g for g in gain] + gain
    basis = [2 * n + i for i in range(len(rows))]
    value = Fraction(0)
    table = [row + [Fraction(int(i == k)) for k in range(len(rows))] for i, row in enumerate(rows)]
    cost += [Fraction(0)] * len(rows)
    while True:
        enter = next((j for j, c in enumerate(cost) if c < 0), None)
        if enter is None:
            return value
        ratios = [
            (bounds[i] / table[i][enter], basis[i], i)
            for i in range(len(table))
            if table[i][enter] > 0
        ]
        _, _, leave = min(ratios)
        pivot = table[leave][enter]
        table[leave] = [a / pivot for a in table[leave]]
        bounds[leave] /= pivot
        for i in range(len(table)):
            if i != leave and table[i][enter]:
                f = table[i][enter]
                table[i] = [a - f * b for a, b in zip(table[i], table[leave], strict=True)]
                bounds[i] -= f * bounds[leave]
        f = cost[enter]
        cost = [a - f * b for a, b in zip(cost, table[leave], strict=True)]
        value -= f * bounds[leave]
        basis[leave] = enter


def separable_rows(A):
    """How many rows can be above zero, by one programme with a variable for each (Meyer 2001)."""
    A = A / np.abs(A).max(axis=1, keepdims=True).clip(1e-300)
    n, p = A.shape
    found = linprog(
        np.concatenate([np.zeros(p), -np.ones(n)]),
        A_ub=np.column_stack([-A, np.eye(n)]),
        b_ub=np.zeros(n),
        bounds=[(-1e3, 1e3)] * p + [(0, 1)] * n,
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    return None if found.x is None else -found.fun


def designs(seed):
    """Draw a design that is easily separable, and says whether columns may be shifted."""
    rng = np.random.default_rng(seed)
    n_classes = int(rng.choice([2, 2, 3, 4]))
    n, p = int(rng.integers(2 * n_classes + 2, 40)), int(rng.integers(1, 4))
    kind = str(rng.choice(["integers", "bits", "normal", "twice", "rare"]))
    if kind == "integers":
        X = rng.integers(-3, 4, size=(n, p)).astype(float)
    elif kind == "bits":
        X = rng.integers(0, 2, size=(n, p)).astype(float)
    else:
        X = rng.normal(size=(n, p))
    size = rng.choice([0.3, 1, 3, 10])
    y = (X @ rng.normal(size=(p, n_classes)) * size + rng.gumbel(size=(n, n_classes))).argmax(1)
    y[:n_classes] = np.arange(n_classes)
    if kind == "twice":
        X = np.column_stack([X, 4 * X[:, 0]])
    if kind == "rare":
        X = np.column_stack([X, np.zeros(n)])
        X[np.flatnonzero(y == 0)[: rng.integers(1, 4)], -1] = 1
    X = X * 2.0 ** rng.integers(-12, 13, size=X.shape[1])
    return X, y, rng
