"""Named, seeded problems: ordinary ones and those that break solvers.

`load(name)` gives a `Problem`; its arrays are read-only, so a fit that writes into them fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import scipy.sparse as sp

from tests.reference import Minimum, Task, minimise


@dataclass(frozen=True)
class Problem:
    """Data and the options that belong to them.

    `options` are estimator parameters (C, l1_ratio, fit_intercept) that make the problem what it
    is; `finite` says whether the minimum is attained at finite parameters, `unique` whether the
    coefficients are determined.
    """

    name: str
    X: object
    y: np.ndarray
    sample_weight: np.ndarray | None = None
    options: dict = field(default_factory=dict)
    finite: bool = True
    unique: bool = True

    @property
    def n_classes(self) -> int:
        return len(np.unique(self.y))

    def with_options(self, **options) -> Problem:
        return replace(self, options=self.options | options)

    def task(self) -> Task:
        """The same problem for tests/reference.py."""
        known = ("C", "l1_ratio", "fit_intercept")
        options = {name: self.options[name] for name in known if name in self.options}
        factor = self.options.get("penalty_factor")
        return Task(self.X, self.y, self.sample_weight, factor=factor, **options)


_MAKERS: dict[str, Callable[[], Problem]] = {}
_MINIMA: dict[tuple, tuple[Task, Minimum]] = {}


def problem(maker):
    """Enter a maker under its own name."""
    _MAKERS[maker.__name__] = maker
    return maker


def names(**wanted) -> list[str]:
    """Names of all problems, or of those whose attributes are as wanted."""
    return [name for name in _MAKERS if all(getattr(load(name), k) == v for k, v in wanted.items())]


@cache
def load(name: str) -> Problem:
    made = _MAKERS[name]()
    arrays = [made.y, made.sample_weight]
    arrays += [made.X.data, made.X.indices, made.X.indptr] if sp.issparse(made.X) else [made.X]
    for array in arrays:
        if array is not None:
            array.setflags(write=False)
    return replace(made, name=name)


def solved(name: str, **options) -> tuple[Task, Minimum]:
    """Task and minimum of a problem with further options, remembered."""
    key = (name, *sorted((k, repr(v)) for k, v in options.items()))
    if key not in _MINIMA:
        task = load(name).with_options(**options).task()
        _MINIMA[key] = task, minimise(task)
    return _MINIMA[key]


def _binary(seed, n, p, noise=1.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    signal = X @ np.linspace(1, -1, p) + 0.5
    return X, (signal + noise * rng.logistic(size=n) > 0).astype(np.int64)


def _classes(seed, n, p, k):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    scores = X @ rng.normal(size=(p, k)) + rng.gumbel(size=(n, k))
    y = scores.argmax(axis=1)
    y[:k] = np.arange(k)
    return X, y.astype(np.int64)


# ---------------------------------------------------------------- ordinary


@problem
def binary():
    return Problem("", *_binary(0, 200, 6))


@problem
def three_classes():
    return Problem("", *_classes(1, 240, 5, 3))


@problem
def ten_classes():
    return Problem("", *_classes(2, 500, 6, 10))


@problem
def one_column():
    return Problem("", *_binary(3, 100, 1))


@problem
def sparse_binary():
    """A tenth of the entries; an empty row and an empty column."""
    rng = np.random.default_rng(4)
    X, y = _binary(5, 300, 30)
    X[rng.random(X.shape) > 0.1] = 0
    X[7], X[:, 11] = 0, 0
    return Problem("", sp.csr_array(X), y)


@problem
def sparse_three_classes():
    rng = np.random.default_rng(6)
    X, y = _classes(7, 300, 12, 3)
    X[rng.random(X.shape) > 0.2] = 0
    X[0], X[:, 3] = 0, 0
    return Problem("", sp.csr_array(X), y)


@problem
def weighted():
    """Weights from 0 to 5, a third of them zero."""
    X, y = _binary(8, 200, 5)
    rng = np.random.default_rng(9)
    weight = rng.uniform(0, 5, size=200)
    weight[::3] = 0
    return Problem("", X, y, weight)


@problem
def weighted_three_classes():
    X, y = _classes(10, 200, 4, 3)
    weight = np.random.default_rng(11).uniform(0, 5, size=200)
    weight[1::3] = 0
    return Problem("", X, y, weight)


# ---------------------------------------------------------------- ugly


@problem
def scales():
    """Columns from 1e-8 to 1e8."""
    X, y = _binary(20, 300, 9)
    return Problem("", X * np.logspace(-8, 8, 9), y)


@problem
def scales_three_classes():
    X, y = _classes(21, 300, 9, 3)
    return Problem("", X * np.logspace(-8, 8, 9), y)


@problem
def scales_sparse():
    X, y = _binary(22, 300, 9)
    X[np.random.default_rng(23).random(X.shape) > 0.4] = 0
    return Problem("", sp.csr_array(X * np.logspace(-8, 8, 9)), y)


@problem
def constant_and_duplicated():
    """Two columns twice, one of ones, one of 0.1 (whose mean rounds), one of zeros."""
    X, y = _binary(24, 200, 5)
    constant = np.tile([1.0, 0.1, 0.0], (200, 1))
    return Problem("", np.c_[X, X[:, :2], constant], y)


@problem
def constant_and_duplicated_three_classes():
    X, y = _classes(25, 200, 4, 3)
    constant = np.tile([1.0, 0.1, 0.0], (200, 1))
    return Problem("", np.c_[X, X[:, :2], constant], y)


@problem
def mean_1e6():
    """Deviation 1 around 1e6."""
    X, y = _binary(26, 300, 6)
    return Problem("", X + 1e6, y)


@problem
def mean_1e6_three_classes():
    X, y = _classes(27, 300, 5, 3)
    return Problem("", X + 1e6, y)


@problem
def wide():
    """More columns than rows."""
    X, y = _binary(28, 30, 100)
    return Problem("", X, y)


@problem
def wide_three_classes():
    X, y = _classes(29, 30, 60, 3)
    return Problem("", X, y)


@problem
def one_row_per_class():
    X, _ = _classes(30, 4, 3, 4)
    return Problem("", X, np.array([2, 0, 3, 1]))


@problem
def two_rows():
    X, _ = _binary(31, 2, 3)
    return Problem("", X, np.array([1, 0]))


@problem
def rare():
    """One positive in 1e5 rows."""
    X = np.random.default_rng(32).normal(size=(100_000, 3))
    y = np.zeros(100_000, dtype=np.int64)
    y[X[:, 0].argmax()] = 1
    return Problem("", X, y)


@problem
def separable():
    """A wide margin; only the penalty keeps the coefficients finite."""
    X = np.random.default_rng(33).normal(size=(200, 5))
    signal = X[:, 0] + X[:, 1]
    keep = np.abs(signal) > 0.3
    return Problem("", X[keep], (signal[keep] > 0).astype(np.int64))


@problem
def separable_three_classes():
    X = np.random.default_rng(34).normal(size=(150, 4))
    y = np.arange(150) % 3
    X[np.arange(150), y] += 9
    return Problem("", X, y)


@problem
def quasi_separable():
    """A column that is 1 for some of the positives and 0 for everything else."""
    X, y = _binary(35, 200, 4)
    X[:, 3] = (y == 1) & (X[:, 0] > 0.8)
    return Problem("", X, y)


@problem
def huge_logits_float32():
    """float32 rows whose logits reach 1e4 at the minimum."""
    X, y = _binary(36, 200, 3)
    X[:6] = 0
    X[:6, 0] = [1e4, -1e4, 8e3, -8e3, 5e3, -5e3]
    y[:6] = X[:6, 0] > 0
    return Problem("", X.astype(np.float32), y, options={"C": 100.0})


@problem
def heavy_tails():
    """Cubes of normals, a few rows times 100, one label in 20 wrong."""
    rng = np.random.default_rng(37)
    X = rng.normal(size=(300, 5)) ** 3
    y = (X[:, 0] - X[:, 1] > 0).astype(np.int64)
    y[::20] = 1 - y[::20]
    X[::97] *= 100
    return Problem("", X, y)


@problem
def empty():
    """No information at all: every column zero."""
    y = np.arange(40) % 4 == 0
    return Problem("", np.zeros((40, 3)), y.astype(np.int64))


@problem
def weights_over_12_decades():
    X, y = _binary(38, 150, 4)
    return Problem("", X, y, np.logspace(-6, 6, 150))


ORDINARY = [
    "binary", "three_classes", "ten_classes", "one_column", "sparse_binary",
    "sparse_three_classes", "weighted", "weighted_three_classes",
]  # fmt: skip
UGLY = [name for name in _MAKERS if name not in ORDINARY]
