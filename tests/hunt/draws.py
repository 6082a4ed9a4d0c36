"""Random problems over everything that the estimators accept, one a seed."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import scipy.sparse as sp

from skorch_logreg import OffsetLogisticClassifier, TorchLogisticClassifier, solvers
from skorch_logreg.data import ArrayChunks
from skorch_logreg.penalties import GroupL2
from tests.hunt.objective import LD, Task

SEPARATED = 10_000_000  # first seed of separated rows
SMOOTH = ("auto", "lbfgs", "newton-cg", "newton-cholesky", "sag", "saga", "liblinear")
CONTAINERS = {
    "c": np.ascontiguousarray,
    "f": np.asfortranarray,
    "strided": lambda X: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2],
    "csr": sp.csr_array,
    "csc": sp.csc_array,
    "csr with zeros": lambda X: _with_zeros(X),
    "chunks": lambda X: ArrayChunks(X, rows=max(len(X) // 3, 1)),
    "frame": lambda X: pd.DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])]),
}


@dataclass(frozen=True)
class Problem:
    """What a fit is given, and what it minimises.

    Parameters
    ----------
    seed : int
    X : float32 or float64 array of shape (n, p)
    y : array
        Labels or probabilities.
    container : str
    options : dict
        Parameters of the estimator.
    sample_weight, offset : array or None
    """

    seed: int
    X: np.ndarray
    y: np.ndarray
    container: str = "c"
    options: dict = field(default_factory=dict)
    sample_weight: np.ndarray | None = None
    offset: np.ndarray | None = None

    def model(self, **options):
        """The estimator, not fitted."""
        kind = TorchLogisticClassifier if self.offset is None else OffsetLogisticClassifier
        return kind(**self.options | options)

    def fit(self, **options):
        """The estimator, fitted."""
        extra = {} if self.offset is None else {"offset": self.offset}
        X = CONTAINERS[self.container](self.X)
        return self.model(**options).fit(X, self.y, sample_weight=self.sample_weight, **extra)

    def get(self, name):
        """Parameter of the estimator."""
        return getattr(self.model(), name)

    @property
    def has_column(self):
        """Whether the intercept is the weight of a penalised column."""
        return self.get("solver") == "liblinear" and self.get("fit_intercept")

    @property
    def keeps_means(self):
        """Whether columns are multiplied as they are, with their means."""
        sparse = self.container.startswith("cs")
        return sparse or self.has_column or not self.get("fit_intercept")

    def mass(self):
        """Weight (n, n_classes) of every row in every class."""
        if self.get("soft_labels"):
            y = np.asarray(self.y, dtype=LD)
            if y.ndim == 2 and y.shape[1] == 2:  # one number of float64 holds both
                y = (self.y[:, 1] / self.y.sum(axis=1)).astype(LD)
            share = np.stack([1 - y, y], axis=1) if y.ndim == 1 else y / y.sum(axis=1)[:, None]
        else:
            share = (self.y[:, None] == np.unique(self.y)).astype(LD)
        k, smoothing = share.shape[1], self.get("label_smoothing")
        if k == 2 and smoothing:  # as for soft labels, one number of float64 holds both
            second = share[:, 1].astype(np.float64) * (1 - smoothing) + smoothing / k
            share = np.stack([1 - second.astype(LD), second.astype(LD)], axis=1)
        elif smoothing:
            share = share * (1 - LD(smoothing)) + LD(smoothing) / k
        weight = 1 if self.sample_weight is None else self.sample_weight.astype(LD)[:, None]
        mass, by_class = share * weight, self.get("class_weight")
        if isinstance(by_class, str):
            total = mass.sum(axis=0)
            return mass * np.where(total > 0, total.sum() / (k * np.where(total > 0, total, 1)), 0)
        classes = range(k) if self.get("soft_labels") else np.unique(self.y)
        return mass * np.array([(by_class or {}).get(c, 1.0) for c in classes], dtype=LD)

    def task(self):
        """The objective, for `minimum.minimise`."""
        X = self.X.astype(np.float64)
        if self.has_column:
            X = np.c_[X, np.full(len(X), float(self.get("intercept_scaling")))]
        p = X.shape[1]
        factor = np.ones(p) if (f := self.get("penalty_factor")) is None else np.asarray(f, float)
        factor = np.append(factor, np.ones(p - len(factor)))
        excluded = np.isinf(factor)
        factor = np.where(excluded, 1.0, factor).astype(LD)
        strength = LD(0) if np.isinf(self.get("C")) else 1 / LD(self.get("C"))
        low, high = np.full(p, -np.inf), np.full(p, np.inf)
        if self.get("bounds") is not None:
            low, high = (
                np.full(p, end) if each is None else np.broadcast_to(np.asarray(each, float), p)
                for each, end in zip(self.get("bounds"), (-np.inf, np.inf), strict=True)
            )
        low, high = np.where(excluded, 0.0, low), np.where(excluded, 0.0, high)
        ratio, groups, weight = LD(self.get("l1_ratio")), None, None
        if isinstance(self.get("penalty"), GroupL2):
            groups = np.where((factor == 0) | excluded, -1, np.asarray(self.get("penalty").groups))
            size = np.array([(groups == g).sum() for g in groups]).astype(LD)
            weight, ratio = strength * factor * np.sqrt(size), LD(0)
            groups = np.where(strength == 0, -1, groups)
            strength = LD(0)
        offset = self.offset
        if offset is not None and offset.ndim == 1:
            offset = offset[:, None]
        return Task(
            X, self.mass(), strength * factor * (1 - ratio), strength * factor * ratio, low, high,
            groups, weight, offset, self.get("fit_intercept") and not self.has_column,
        )  # fmt: skip

    def parameters(self, model):
        """Coefficients and intercepts of a fitted model, as its task has them."""
        coef, intercept = np.asarray(model.coef_), np.asarray(model.intercept_)
        if not self.has_column:
            return coef, intercept
        own = intercept[:, None].astype(LD) / LD(self.get("intercept_scaling"))
        return np.c_[coef.astype(LD), own], np.zeros(1)


def draw(seed: int) -> Problem:
    """Draw a problem; from `SEPARATED` on, one whose rows columns separate in part, or nearly."""
    rng = np.random.default_rng([seed, 24])
    if seed >= SEPARATED:
        return _draw_separated(seed, rng)
    n_classes = 2 if rng.random() < 0.6 else int(rng.integers(3, 9))
    n = max(int(2 * 150 ** rng.random()), n_classes)
    p = int(np.ceil(60 ** rng.random()))
    low = rng.random() < 0.15
    X = _columns(rng, n, p, low)
    y = _labels(rng, X, n_classes)
    options = _options(rng, X, n_classes)
    if rng.random() < 0.12:
        options["soft_labels"] = True
        y = _probabilities(rng, y, n_classes)
    if rng.random() < 0.08:
        options["label_smoothing"] = float(rng.choice([1e-6, 0.01, 0.1, 0.5]))
    weight = _weights(rng, y, options)
    offset = None
    if rng.random() < 0.1 and "solver" not in options:
        offset = float(10 ** rng.uniform(-1, 2.5)) * rng.normal(size=(n, n_classes))
        offset = offset[:, 0] if n_classes == 2 else offset
    container = str(rng.choice(list(CONTAINERS), p=[0.3, 0.1, 0.08, 0.17, 0.1, 0.05, 0.1, 0.1]))
    if container == "chunks" and options.get("solver") == "liblinear":
        container = "c"  # which needs rows in memory
    return Problem(seed, X, y, container, options, weight, offset)


def _draw_separated(seed, rng):
    """Rows that are separated along differences of columns that nearly repeat each other."""
    n_classes = 2 if rng.random() < 0.6 else int(rng.integers(3, 6))
    n, p = int(rng.integers(3 * n_classes, 150)), int(rng.integers(2, 9))
    X, y = np.round(rng.normal(size=(n, p)) * 1024) / 1024, rng.integers(0, n_classes, n)
    y[:n_classes] = np.arange(n_classes)
    own = rng.integers(n_classes)
    rare = np.zeros(n)
    rare[rng.permutation(np.flatnonzero(y == own))[: rng.integers(1, 6)]] = 1
    if rng.random() < 0.3:  # one row of another class, and there is a minimiser
        rare[rng.permutation(np.flatnonzero(y != own))[0]] = 1
    options = _options(rng, X, n_classes) | {"max_iter": 1000}
    if rng.random() < 0.3:
        X[:, 0] = 2.0 ** rng.integers(0, 17)
        options["fit_intercept"] = rng.random() < 0.2
    X[:, 1] = X[:, 0] + 2.0 ** -rng.integers(0, 21) * rng.choice([-1, 1]) * rare
    if rng.random() < 0.3 and p > 2:
        X[:, 2] = X[:, 0] * rng.choice([1, 2]) + X[:, 1] + (rng.random(n) < 0.5) / 1024
    if "penalty" not in options and rng.random() < 0.5:
        options["C"] = np.inf
        if options.get("l1_ratio", 0.0) not in (0.0, 1.0):
            options["l1_ratio"] = 1.0
    else:
        factor = np.ones(p)
        factor[:2] = 0
        options["penalty_factor"] = factor
    if options.get("solver") == "liblinear":
        del options["solver"]
    weight = _weights(rng, y, options)
    order = rng.permutation(p)
    if options.get("penalty_factor") is not None:
        options["penalty_factor"] = options["penalty_factor"][order]
    container = str(rng.choice(["c", "f", "csr", "csc", "chunks"], p=[0.6, 0.1, 0.1, 0.1, 0.1]))
    return Problem(seed, np.ascontiguousarray(X[:, order]), y, container, options, weight)


def _columns(rng, n, p, low):
    """Columns of every kind, each with a unit and a mean of its own."""
    dyadic = 2.0 ** (-4 if low else -10)  # collinear ones shall be so to the last bit
    X = np.round(rng.normal(size=(n, p)) / dyadic) * dyadic
    ugly = rng.random() < 0.6
    unit = 2.0 ** rng.integers(-26, 27, p) if ugly and rng.random() < 0.4 else np.ones(p)
    mean = np.zeros(p)
    if rng.random() < 0.3:
        mean = np.round(rng.choice([0, 1, 100, 1e4, 1e6], p) * rng.choice([-1, 1], p))
    if rng.random() < 0.3:
        X[rng.random((n, p)) < rng.uniform(0.3, 0.95)] = 0
    kinds = rng.choice(
        ["plain", "heavy", "cauchy", "constant", "twice", "sum", "binary", "zero"], p,
        p=[0.4, 0.1, 0.05, 0.06, 0.1, 0.09, 0.15, 0.05]
        if ugly
        else [0.9, 0.05, 0, 0, 0, 0, 0.05, 0],
    )  # fmt: skip
    for j, kind in enumerate(kinds):
        if kind == "heavy":
            X[:, j] = X[:, j] ** 3
        elif kind == "cauchy":
            X[:, j] = rng.standard_t(1.2, n)
        elif kind == "constant":
            X[:, j] = float(rng.choice([1.0, 0.1, -3.0]))
        elif kind == "twice" and j:
            X[:, j] = X[:, rng.integers(j)]
        elif kind == "sum" and j > 1:
            a, b = rng.integers(j, size=2)
            if {kinds[a], kinds[b]} <= {"plain", "binary"}:
                X[:, j] = X[:, a] + X[:, b]
        elif kind == "binary":
            X[:, j] = rng.random(n) < rng.choice([0.02, 0.2, 0.5])
        elif kind == "zero":
            X[:, j], mean[j] = 0, 0
    X = (X + mean) * unit
    return X.astype(np.float32 if low else np.float64)


def _labels(rng, X, n_classes):
    """Classes that follow the columns more or less, or not at all; every one has a row."""
    n, p = X.shape
    Z = X.astype(np.float64) - X.mean(axis=0, dtype=np.float64)
    size = np.abs(Z).max(axis=0)
    Z = Z / np.where(size > 0, size, 1)
    signal = Z @ (rng.normal(size=(p, n_classes)) * (rng.random((p, 1)) < 0.5))
    noise = float(rng.choice([0, 0.05, 1, 1, 10])) * rng.gumbel(size=(n, n_classes))
    rarity = float(rng.choice([0, 0, 2])) * np.arange(n_classes)
    y = (3 * signal + noise - rarity).argmax(axis=1)
    y[rng.permutation(n)[:n_classes]] = np.arange(n_classes)
    return y


def _probabilities(rng, y, n_classes):
    share = rng.dirichlet(np.full(n_classes, float(rng.choice([0.1, 1.0]))), len(y))
    certain = rng.random(len(y)) < 0.3
    share[certain] = np.eye(n_classes)[y[certain]]
    share[0] = 1 / n_classes
    return share[:, 1] if n_classes == 2 and rng.random() < 0.5 else share


def _weights(rng, y, options):
    """Weights of rows, and of classes."""
    n, kind = len(y), rng.random()
    hard = not options.get("soft_labels")
    if rng.random() < 0.15:
        options["class_weight"] = "balanced"
    elif rng.random() < 0.1:
        classes = np.unique(y) if hard else range(2 if y.ndim == 1 else y.shape[1])
        options["class_weight"] = {int(c): float(10 ** rng.uniform(-2, 2)) for c in classes}
    if kind < 0.6:
        return None
    if kind < 0.7:
        weight = rng.integers(1, 6, n).astype(float)
    elif kind < 0.8:
        weight = rng.uniform(0.2, 2, n)
    elif kind < 0.9:
        weight = 10 ** rng.uniform(-3, 3, n)
    else:
        weight = np.full(n, 10.0 ** float(rng.integers(-12, 13)))
    if rng.random() < 0.3:
        keep = np.zeros(n, dtype=bool)  # every class keeps a row
        if hard:
            keep[[np.flatnonzero(y == c)[0] for c in np.unique(y)]] = True
        else:
            keep[rng.integers(n)] = True
        weight[~keep & (rng.random(n) < 0.4)] = 0
    return weight


def _options(rng, X, n_classes):
    """Parameters that go together, by the estimators' own table."""
    p = X.shape[1]
    options = {"C": float(rng.choice([1.0, 10 ** rng.uniform(-6, 9), 10 ** rng.uniform(-2, 3)]))}
    if rng.random() < 0.15:
        options["C"] = np.inf
    options["tol"] = float(10 ** -rng.uniform(1, 9)) if rng.random() < 0.7 else 1e-4
    options["max_iter"] = int(rng.choice([0, 1, 3, 10])) if rng.random() < 0.1 else 1000
    if rng.random() < 0.2:
        options["fit_intercept"] = False
    factor = None
    if rng.random() < 0.2:
        factor = 10 ** rng.uniform(-2, 2, p)
        factor[rng.random(p) < 0.2] = 0
        factor[rng.random(p) < 0.1] = np.inf
        options["penalty_factor"] = factor
    kind = rng.random()
    if kind < 0.1:
        options["penalty"] = GroupL2(rng.integers(0, max(p // 3, 1), p))
    elif kind < 0.4:
        options["l1_ratio"] = 1.0 if options["C"] == np.inf else float(rng.choice([0.1, 0.5, 1.0]))
    plain = options.get("l1_ratio", 0.0) in (0.0, 1.0) and "penalty" not in options
    if rng.random() < 0.12 and "penalty" not in options:
        size = 2.0 ** float(rng.integers(-6, 4))  # a number of float32 as well
        low = np.where(rng.random(p) < 0.5, -size, 0.0)
        low = np.where(rng.random(p) < 0.3, -np.inf, low)
        high = np.where(rng.random(p) < 0.5, np.inf, size)
        if factor is None and rng.random() < 0.3:
            low, high = low + size / 2, high + size / 2
        options["bounds"] = (None, 0.5) if rng.random() < 0.1 else (low, high)
    elif plain and options.get("l1_ratio", 0.0) == 0 and rng.random() < 0.6:
        solver = str(rng.choice(SMOOTH))
        if solver != "liblinear" or (n_classes == 2 and options["C"] < np.inf):
            options["solver"] = solver
        if rng.random() < 0.1:
            options["solver"] = rng.choice(
                [solvers.LBFGS(memory=3), solvers.NewtonCG(), solvers.ProximalNewton()]
            )
    elif rng.random() < 0.2:
        options["solver"] = "saga"
        if plain and "penalty" not in options and n_classes == 2 and options["C"] < np.inf:
            options["solver"] = "liblinear"
    if options.get("solver") == "liblinear" and rng.random() < 0.5:
        options["intercept_scaling"] = float(10 ** rng.uniform(-1, 2))
    return options


def _with_zeros(X):
    """CSR in which a fifth of the zeros is stored."""
    stored = X != 0
    stored.ravel()[::5] = True
    rows, columns = np.nonzero(stored)
    indptr = np.r_[0, np.cumsum(stored.sum(axis=1))].astype(np.int32)
    return sp.csr_array((X[rows, columns], columns.astype(np.int32), indptr), shape=X.shape)
