"""The problems of the races: generated data, scikit-learn's bundled sets, and one's own.

A `Recipe` is small and makes the same `Problem` in every process. Dense bundled sets are
standardised unless their name ends in ``-raw``. Nothing is downloaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.special import expit
from sklearn import datasets
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import scale
from sklearn.svm import l1_min_c

from benchmarks import folder


@dataclass(frozen=True)
class Problem:
    """Minimise ``sum_i loss(y_i, x_i W + b) + pen(W) / C``, b not penalised.

    ``pen(W) = l1_ratio |W|_1 + (1 - l1_ratio) / 2 |W|^2``; binary, or softmax over K classes.

    Attributes
    ----------
    name : str
    X : ndarray or csr_matrix of shape (n, p)
    y : ndarray of shape (n,)
        Codes 0 to K - 1.
    C, l1_ratio : float
    intercept : bool
    """

    name: str
    X: Any
    y: np.ndarray
    C: float = 1.0
    l1_ratio: float = 0.0
    intercept: bool = True

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1

    @property
    def penalty(self) -> str:
        """Name of the penalty: "l2", "l1" or "elasticnet"."""
        return {0.0: "l2", 1.0: "l1"}.get(self.l1_ratio, "elasticnet")

    def head(self, rows: int) -> "Problem":
        """First rows and one more of each class, as strongly penalised as the whole."""
        first = np.unique(self.y, return_index=True)[1]
        keep = np.union1d(np.arange(min(rows, len(self.y))), first)
        C = self.C * len(self.y) / len(keep)
        return Problem(self.name, self.X[keep], self.y[keep], C, self.l1_ratio, self.intercept)

    def describe(self) -> dict[str, Any]:
        """Describe it for a result file."""
        return {
            "name": self.name,
            "shape": list(self.X.shape),
            "classes": self.n_classes,
            "sparse": sp.issparse(self.X),
            "dtype": str(self.X.dtype),
            "C": self.C,
            "l1_ratio": self.l1_ratio,
            "intercept": self.intercept,
        }


@dataclass(frozen=True)
class Recipe:
    """How a problem is made: a name of `PROBLEMS` (or a file), and its size."""

    name: str
    scale: float = 1.0
    file: Path | None = None

    def make(self) -> Problem:
        """Make it, the same on every call."""
        if self.file is not None:
            return Problem(self.name, *folder.load(self.file))
        rng = np.random.default_rng(12345)
        return Problem(self.name, **PROBLEMS[self.name](rng, self.scale))


@dataclass(frozen=True)
class Shape:
    """Recipe of dense data of any shape, without a penalty to speak of: C is 1."""

    n_samples: int
    n_features: int

    @property
    def name(self) -> str:
        """Its shape."""
        return f"{self.n_samples}x{self.n_features}"

    def make(self) -> Problem:
        """Make it, the same on every call."""
        rng = np.random.default_rng(12345)
        return Problem(self.name, **_dense(rng, self.n_samples, self.n_features))


def _rows(n: int, size: float) -> int:
    return max(int(n * size), 100)


def _factors(rng, n, p, dtype=np.float64):
    """Columns of deviation about 1 that five common factors tie together."""
    X = rng.standard_normal((n, p), dtype=dtype)
    loadings = rng.standard_normal((5, p), dtype=dtype) / np.array([[2], [3], [4], [6], [9]], dtype)
    factors = rng.standard_normal((n, 5), dtype=dtype)
    for start in range(0, n, 10_000):  # no second array of this size
        X[start : start + 10_000] += factors[start : start + 10_000] @ loadings
    return X


def _labels(rng, logits, deviation=2.5):
    """Binary labels, right four times in five or so."""
    z = (logits - logits.mean()) * (deviation / logits.std())
    return (rng.random(len(z)) < expit(z - 0.3)).astype(np.int64)


def _dense(rng, n, p, relevant=100, dtype=np.float64, **settings):
    X = _factors(rng, n, p, dtype)
    coef = np.zeros(p, dtype)
    chosen = rng.choice(p, min(relevant, p), replace=False)
    coef[chosen] = rng.laplace(size=len(chosen))
    return {"X": X, "y": _labels(rng, X @ coef), **settings}


def _classes(rng, n, p, n_classes):
    X = _factors(rng, n, p)
    logits = X @ rng.standard_normal((p, n_classes)) / 2
    return {"X": X, "y": (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)}


def _clusters(rng, n, p, n_classes, dtype=np.float64, **settings):
    """Embeddings: classes around centres, columns of deviations that fall as ``1 / sqrt(rank)``."""
    deviation = np.arange(1, p + 1, dtype=dtype) ** -0.5
    n_classes = min(n_classes, n // 3)
    centers = rng.standard_normal((n_classes, p), dtype=dtype) / 2
    y = rng.permutation(np.arange(n) % n_classes)
    X = rng.standard_normal((n, p), dtype=dtype)
    for start in range(0, n, 10_000):  # no second array of this size
        rows = slice(start, start + 10_000)
        X[rows] = (X[rows] + centers[y[rows]]) * deviation
    return {"X": X, "y": y, **settings}


def _relu(rng, load, width, **settings):
    """One of scikit-learn's sets through a random layer."""
    X, y = load(return_X_y=True)
    X = scale(X)
    weights = rng.standard_normal((X.shape[1], width)) / np.sqrt(X.shape[1])
    return {"X": np.maximum(X @ weights, 0), "y": y.astype(np.int64), **settings}


def _zipf(rng, size, n_values):
    """Values whose frequency falls with their rank."""
    share = np.cumsum(1 / (np.arange(n_values) + 8.0))
    return np.searchsorted(share / share[-1], rng.random(size)).clip(max=n_values - 1)


def _text(rng, n, p, words=60, **settings):
    """Documents of so many words, as tf-idf."""
    column = rng.permutation(p)[_zipf(rng, n * words, p)]
    row = np.repeat(np.arange(n), words)
    counts = sp.csr_matrix((np.ones(n * words), (row, column)), shape=(n, p))
    X = sp.csr_matrix(TfidfTransformer(sublinear_tf=True).fit_transform(counts))
    y = _labels(rng, X @ rng.standard_normal(p))
    return {"X": X, "y": y, "intercept": False, **settings}


def _one_hot(rng, n, p, variables=20):
    levels = p // variables
    column = _zipf(rng, (n, variables), levels) + levels * np.arange(variables)
    indptr = np.arange(0, n * variables + 1, variables)
    X = sp.csr_matrix((np.ones(n * variables), column.ravel(), indptr), (n, levels * variables))
    return {"X": X, "y": _labels(rng, X @ rng.standard_normal(X.shape[1])), "intercept": False}


def _lasso(made, ratio):
    """Put the strength `ratio` times below the one at which all coefficients vanish."""
    smallest = l1_min_c(made["X"], made["y"], loss="log", fit_intercept=False)
    return {**made, "C": float(smallest) * ratio, "l1_ratio": 1.0, "intercept": False}


def _bundled(load: Callable[..., Any], raw=False, target=None, **settings):
    """One of scikit-learn's sets; `target`: that class against the rest."""

    def make(rng, size):
        X, y = load(return_X_y=True)
        y = y if target is None else y == target
        return {"X": X if raw else scale(X), "y": y.astype(np.int64), **settings}

    return make


PROBLEMS: dict[str, Callable[..., dict[str, Any]]] = {
    "iris": _bundled(datasets.load_iris, raw=True, target=1),
    "cancer": _bundled(datasets.load_breast_cancer),
    "cancer-raw": _bundled(datasets.load_breast_cancer, raw=True, C=100.0),
    "wine": _bundled(datasets.load_wine),
    "wine-raw": _bundled(datasets.load_wine, raw=True, C=100.0),
    "digits": _bundled(datasets.load_digits),
    "small": lambda rng, s: _dense(rng, _rows(10_000, s), 50),
    "tall": lambda rng, s: _dense(rng, _rows(1_000_000, s), 30),
    "tall-float32": lambda rng, s: _dense(rng, _rows(1_000_000, s), 30, dtype=np.float32),
    "tall100": lambda rng, s: _dense(rng, _rows(500_000, s), 100),
    "tall100-float32": lambda rng, s: _dense(rng, _rows(500_000, s), 100, dtype=np.float32),
    "square": lambda rng, s: _dense(rng, _rows(20_000, s), _rows(2000, s)),
    "wide": lambda rng, s: _dense(rng, 500, _rows(20_000, s), C=1e-3, intercept=False),
    "classes": lambda rng, s: _classes(rng, _rows(100_000, s), 100, 10),
    "clusters": lambda rng, s: _clusters(rng, _rows(20_000, s), 64, 100),
    "clusters-C100": lambda rng, s: _clusters(rng, _rows(20_000, s), 64, 100, C=100.0),
    "clusters-300": lambda rng, s: _clusters(rng, _rows(20_000, s), 48, 300),
    "embeddings": lambda rng, s: _clusters(rng, _rows(20_000, s), 256, 200),
    "embeddings-1000": lambda rng, s: _clusters(rng, _rows(50_000, s), 384, 1000, np.float32),
    "relu": lambda rng, s: _relu(rng, datasets.load_digits, 512),
    "text": lambda rng, s: _text(rng, _rows(100_000, s), _rows(100_000, s)),
    "text-C100": lambda rng, s: _text(rng, _rows(100_000, s), _rows(100_000, s), C=100.0),
    "one-hot": lambda rng, s: _one_hot(rng, _rows(500_000, s), _rows(50_000, s)),
    "lasso": lambda rng, s: _lasso(_dense(rng, _rows(10_000, s), _rows(2000, s)), 20),
    "lasso-100": lambda rng, s: _lasso(_dense(rng, _rows(10_000, s), _rows(2000, s)), 100),
    "lasso-text": lambda rng, s: _lasso(_text(rng, _rows(50_000, s), _rows(50_000, s)), 20),
}
