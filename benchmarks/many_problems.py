"""Problems of many models: grids of strengths under cross-validation, and many labels.

Read by many_models.py, growth.py and linear_probe.py; not a benchmark by itself. Every generated
problem has a seed of its own and is the same on every call. `scale` shrinks rows and labels (of
text columns too), for a trial.
"""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import scipy.sparse as sp

CS = tuple(np.logspace(-4, 4, 10))
HARD = ["hard-heavy", "hard-wide", "hard-rare", "hard-breast_cancer", "hard-digits"]
_MAKERS: dict[str, Callable] = {}


@dataclass(frozen=True)
class Problem:
    """Data and what is asked of them.

    One column of y: a search, each of `Cs` in each of `n_folds` folds. An indicator y of shape
    (n_samples, n_labels): one model a label, at strength `C`.
    """

    name: str
    X: object
    y: object
    fit_intercept: bool = True
    Cs: tuple = CS
    n_folds: int = 5
    C: float = 1.0

    @property
    def labels(self):
        """Whether this asks for a model a label."""
        return self.y.ndim == 2

    @property
    def n_logits(self):
        """Logits a row of one model: 1, or the number of classes if that is three or more."""
        n_classes = 2 if self.labels else len(np.unique(self.y))
        return 1 if n_classes == 2 else n_classes

    def __str__(self):
        kind = "labels, C = 1" if self.labels else "classes"
        number = self.y.shape[1] if self.labels else len(np.unique(self.y))
        asked = "" if self.labels else f", {len(self.Cs)} C x {self.n_folds} folds"
        form = "sparse" if sp.issparse(self.X) else "dense"
        size = " x ".join(map(str, self.X.shape))
        intercept = "" if self.fit_intercept else ", no intercept"
        return f"{self.name}: {size} {form} {self.X.dtype}, {number} {kind}{asked}{intercept}"


def names():
    """Names of the generated problems."""
    return list(_MAKERS)


def load(name, scale=1.0, folder=None, fit_intercept=None):
    """Make a problem by its name, or take a set of that name from a folder's load.py.

    Dense data of a folder are standardised. `fit_intercept` None: as the problem has it.
    """
    if name in _MAKERS:
        made = _MAKERS[name](np.random.default_rng(crc32(name.encode())), scale)
    elif folder is None:
        raise KeyError(f"no problem {name!r}; there are {', '.join(names())}")
    else:
        made = _real(name, folder)
    if fit_intercept is not None:
        made["fit_intercept"] = fit_intercept
    return Problem(name, **made)


def _real(name, folder):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    data = importlib.import_module("load").load(name)
    X = sp.csr_matrix(data.X).astype(np.float64) if sp.issparse(data.X) else standardised(data.X)
    # without intercept LIBLINEAR has the same objective and may take part
    return {"X": X, "y": data.y, "fit_intercept": data.y.ndim == 1}


def standardised(X):
    """Shift columns to mean 0 and, but constant ones, scale them to deviation 1."""
    X = np.asarray(X, dtype=np.float64)
    deviation = X.std(axis=0)
    return (X - X.mean(axis=0)) / np.where(deviation > 1e-12, deviation, 1)


def noisy_labels(z, rng, deviation=3.0):
    """Draw labels from logits that are scaled to a deviation; 3: one label in seven is wrong."""
    return (z * (deviation / z.std()) > rng.logistic(size=len(z))).astype(np.int64)


def indicator(X, n_labels, rng, dtype=np.int8):
    """Draw labels of very different frequency on normal columns, of shape (n_samples, n_labels)."""
    coef = rng.standard_normal((X.shape[1], n_labels)).astype(X.dtype) * 3 / np.sqrt(X.shape[1])
    shift = rng.uniform(0, 4, n_labels)
    Y = np.empty((X.shape[0], n_labels), dtype=dtype)
    for start in range(0, n_labels, 50):
        columns = slice(start, start + 50)
        z = X @ coef[:, columns]
        z -= shift[columns]
        Y[:, columns] = z > rng.logistic(size=z.shape)
    return Y


def _rows(n_samples, scale, least=200):
    return max(int(n_samples * scale), least)


def _problem(name):
    def enter(maker):
        _MAKERS[name] = maker
        return maker

    return enter


@_problem("tiny")
def _tiny(rng, scale):
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    return {"X": X, "y": (y == 1).astype(np.int64)}


def _tall(n_samples, n_features):
    def make(rng, scale):
        X = rng.standard_normal((_rows(n_samples, scale), n_features))
        return {"X": X, "y": noisy_labels(X @ rng.standard_normal(n_features), rng)}

    return make


_MAKERS["small"] = _tall(1000, 20)
_MAKERS["medium"] = _tall(10_000, 50)
_MAKERS["large"] = _tall(100_000, 100)


def _many_labels(dtype):
    def make(_, scale):
        rng = np.random.default_rng(100)  # the same in both precisions
        X = rng.standard_normal((_rows(50_000, scale), 200))
        return {"X": X.astype(dtype), "y": indicator(X, max(int(100 * scale), 5), rng)}

    return make


_MAKERS["labels"] = _many_labels(np.float64)
_MAKERS["labels-float32"] = _many_labels(np.float32)


@_problem("text")
def _text(rng, scale):
    """Draw words of power-law frequency, rows of unit length, labels that hang on twenty words."""
    n_samples, n_words, n_labels = _rows(20_000, scale), _rows(20_000, scale), int(1000 * scale)
    share = (np.arange(n_words) + 10.0) ** -1.1
    share /= share.sum()
    words = rng.choice(n_words, size=n_samples * 60, p=share)
    ends = np.arange(0, n_samples * 60 + 1, 60)
    X = sp.csr_matrix((np.ones(len(words)), words, ends), shape=(n_samples, n_words))
    X.sum_duplicates()
    seen = np.bincount(X.indices, minlength=n_words)
    X.data = (1 + np.log(X.data)) * (1 + np.log(n_samples / np.maximum(seen, 1)))[X.indices]
    X.data /= np.repeat(np.sqrt(X.multiply(X).sum(axis=1).A1), np.diff(X.indptr))
    columns = []
    for _ in range(max(n_labels, 5)):
        coef = np.zeros(n_words)
        coef[rng.choice(n_words, size=20, replace=False, p=share)] = rng.standard_normal(20)
        z = X @ coef
        z = z * (3 / max(z.std(), 1e-12)) + rng.logistic(size=n_samples)
        present = max(int(n_samples * 10 ** rng.uniform(-2.3, -1)), 5)  # from 0.5 % to 10 %
        columns.append((z >= np.partition(z, -present)[-present]).astype(np.int8))
    Y = sp.csr_matrix(np.stack(columns, axis=1))
    return {"X": X, "y": Y, "fit_intercept": False}


@_problem("hard-heavy")
def _heavy(rng, scale):
    """Draw frequencies: mostly 0, else log-normal, tens of deviations out at times."""
    shape = _rows(5000, scale), 50
    X = np.where(rng.random(shape) < 0.3, np.exp(1.5 * rng.standard_normal(shape)), 0.0)
    return {"X": standardised(X), "y": noisy_labels(np.log1p(X) @ rng.standard_normal(50), rng)}


@_problem("hard-wide")
def _wide(rng, scale):
    """Draw far more columns than rows: separable in every fold."""
    X = rng.standard_normal((100, _rows(5000, scale)))
    return {"X": standardised(X), "y": noisy_labels(X[:, :20].sum(axis=1), rng)}


@_problem("hard-rare")
def _rare(rng, scale):
    """Draw an event that three rows in a thousand have."""
    X = rng.standard_normal((_rows(20_000, scale), 30))
    z = X @ rng.standard_normal(30) * 0.4 + rng.gumbel(size=len(X))
    present = max(int(0.003 * len(X)), 15)
    return {"X": X, "y": (z >= np.partition(z, -present)[-present]).astype(np.int64)}


def _shipped(name):
    def make(_, scale):
        from sklearn import datasets

        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        return {"X": standardised(X), "y": y}

    return make


_MAKERS["hard-breast_cancer"] = _shipped("breast_cancer")
_MAKERS["hard-digits"] = _shipped("digits")
