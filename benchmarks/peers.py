"""Who takes part: a small class for each library, with the scale of its objective.

Everyone minimises a `problems.Problem`, in our terms
``F = sum_i loss_i + [l1_ratio |W|_1 + (1 - l1_ratio) / 2 |W|^2] / C``, b not penalised; a class
says what its library minimises instead and how C becomes its strength. Where that cannot be F
(a penalised intercept, another penalty), the peer refuses the problem.

`convert` is what a user of the library does once: memory order, native containers. It is timed
apart. `solve` is the fit. `settings` go from loose to tight.
"""

import importlib
import os
from dataclasses import dataclass
from importlib import metadata, util
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from benchmarks.problems import Problem

THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
TOLERANCES = tuple(10.0**-k for k in range(1, 13))
ITERATIONS = (3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1000, 2000, 5000)
ALL = frozenset({"l2", "l1", "elasticnet"})
MANY = 100_000  # iterations: a limit that never binds


@dataclass(frozen=True)
class Answer:
    """Coefficients and intercepts, with the passes over X where they are known."""

    coef: Any
    intercept: Any = 0.0
    passes: int | None = None


class Peer:
    """A contestant; a subclass names its library and overrides what differs."""

    library: ClassVar[str] = "sklearn"
    distribution: ClassVar[str] = "scikit-learn"
    penalties: ClassVar[frozenset[str]] = frozenset({"l2"})
    takes_intercept: ClassVar[bool] = True  # and leaves it unpenalised
    takes_sparse: ClassVar[bool] = True
    takes_classes: ClassVar[bool] = False
    setting: ClassVar[str] = "tol"
    settings: ClassVar[tuple[float, ...]] = TOLERANCES
    most_coefficients: float = np.inf

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.library

    @property
    def version(self) -> str | None:
        """Version of the library; None where it is not installed."""
        try:
            return metadata.version(self.distribution) if util.find_spec(self.library) else None
        except metadata.PackageNotFoundError:
            return "unknown"

    def refuses(self, problem: Problem) -> str | None:
        """Why it does not take part, or None."""
        n_coefficients = problem.X.shape[1] * problem.n_classes
        reasons = [
            (self.version is None, "not installed"),
            (problem.penalty not in self.penalties, f"no {problem.penalty} penalty"),
            (problem.intercept and not self.takes_intercept, "penalises an intercept or has none"),
            (sp.issparse(problem.X) and not self.takes_sparse, "no sparse X"),
            (problem.n_classes > 2 and not self.takes_classes, "no softmax"),
            (n_coefficients > self.most_coefficients, "a dense Hessian of this size"),
        ]
        return next((text for applies, text in reasons if applies), None)

    def convert(self, problem: Problem) -> tuple[Any, Any]:
        """X and y in the library's own containers; by default rows one after the other."""
        return problem.X, problem.y

    def solve(self, X: Any, y: Any, problem: Problem, setting: float) -> Answer:
        """Fit once."""
        raise NotImplementedError


def mean_strength(problem: Problem) -> float:
    """Weight of the penalty where the loss is a mean over rows."""
    return 1 / (problem.C * len(problem.y))


def by_columns(problem: Problem) -> tuple[Any, Any]:
    """X column by column: Fortran order or CSC."""
    X = problem.X
    return X.tocsc() if sp.issparse(X) else np.asfortranarray(X), problem.y


@dataclass(frozen=True)
class Ours(Peer):
    """``F``: C and l1_ratio as they are."""

    library: ClassVar[str] = "skorch_logreg"
    distribution: ClassVar[str] = "skorch-logreg"
    penalties: ClassVar[frozenset[str]] = ALL
    takes_classes: ClassVar[bool] = True
    solver: Any = "auto"
    label: str = "ours"

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.label

    @property
    def version(self) -> str:
        """Version of the package that is imported, installed or not."""
        return importlib.import_module(self.library).__version__

    def solve(self, X, y, problem, setting):
        """Everything but tol at its default."""
        from skorch_logreg import TorchLogisticClassifier

        model = TorchLogisticClassifier(
            C=problem.C, l1_ratio=problem.l1_ratio, fit_intercept=problem.intercept,
            tol=setting, solver=self.solver,
        ).fit(X, y)  # fmt: skip
        return Answer(model.coef_, model.intercept_, int(np.max(model.n_passes_)))


@dataclass(frozen=True)
class ScikitLearn(Peer):
    """``C sum_i loss_i + pen(W)``: C and l1_ratio as they are."""

    takes_classes: ClassVar[bool] = True
    module: ClassVar[str] = "sklearn.linear_model"
    solver: str
    most_coefficients: float = np.inf

    @property
    def name(self):
        """Name in tables."""
        return f"{self.distribution} {self.solver}"

    def solve(self, X, y, problem, setting):
        """Fit LogisticRegression."""
        model = importlib.import_module(self.module).LogisticRegression(
            C=problem.C, l1_ratio=problem.l1_ratio, fit_intercept=problem.intercept,
            tol=setting, solver=self.solver, max_iter=MANY, random_state=0,
        ).fit(X, y)  # fmt: skip
        return Answer(model.coef_, model.intercept_)


class ScikitLearnSaga(ScikitLearn):
    """As `ScikitLearn`; the one of its solvers with every penalty."""

    penalties = ALL


class ScikitLearnLiblinear(ScikitLearn):
    """As `ScikitLearn`, but an intercept would be penalised."""

    penalties = frozenset({"l2", "l1"})
    takes_intercept = False
    takes_classes = False


class Intelex(ScikitLearn):
    """scikit-learn's estimator with oneDAL inside: the same C.

    Its tol is of the gradient of the sum, not of the mean over rows, hence the loose settings.
    """

    library = "sklearnex"
    distribution = "scikit-learn-intelex"
    module = "sklearnex.linear_model"
    takes_sparse = False
    settings = (1e4, 1e3, 1e2, 1e1, 1.0, *TOLERANCES)

    def convert(self, problem):
        """Set the number of threads, which OMP_NUM_THREADS does not."""
        import daal4py

        daal4py.daalinit(nthreads=THREADS)
        return problem.X, problem.y


@dataclass(frozen=True)
class Liblinear(Peer):
    """``C sum_i loss_i + pen(w)``, solvers 0 (L2), 7 (L2, dual) and 6 (L1).

    ``-B 1`` appends a column of ones, and ``-R`` leaves it unpenalised where a solver can.
    """

    library: ClassVar[str] = "liblinear"
    distribution: ClassVar[str] = "liblinear-multicore"
    number: int

    @property
    def name(self):
        """Name in tables."""
        return f"liblinear -s {self.number}"

    @property
    def penalties(self):
        """One a solver."""
        return frozenset({"l1" if self.number == 6 else "l2"})

    @property
    def takes_intercept(self):
        """The dual solver knows no -R."""
        return self.number != 7

    def convert(self, problem):
        """Build its array of index-value pairs."""
        from liblinear.liblinear import problem as Pairs  # noqa: N812

        X = sp.csr_matrix(problem.X, dtype=np.float64)
        return Pairs(problem.y.astype(float), X, bias=1 if problem.intercept else -1), problem.y

    def solve(self, X, y, problem, setting):
        """Train; its first label is the positive one."""
        from liblinear.liblinear import parameter
        from liblinear.liblinearutil import train

        options = f"-s {self.number} -c {problem.C!r} -e {setting!r} -q"
        options += " -B 1 -R" if problem.intercept else ""
        options += f" -m {THREADS}" if THREADS > 1 and self.number != 7 else ""
        model = train(X, parameter(options))
        found = np.ctypeslib.as_array(model.w, (model.nr_feature + problem.intercept,)).copy()
        found *= 1 if model.get_labels()[0] == 1 else -1
        return Answer(found[:-1], found[-1]) if problem.intercept else Answer(found)


@dataclass(frozen=True)
class SnapML(Peer):
    """``sum_i loss_i + regularizer (|w|^2 / 2 or |w|_1)``: regularizer = 1 / C."""

    library: ClassVar[str] = "snapml"
    distribution: ClassVar[str] = "snapml"
    takes_intercept: ClassVar[bool] = False
    penalty: str
    dual: bool

    @property
    def name(self):
        """Name in tables."""
        return f"snapml {self.penalty} {'dual' if self.dual else 'primal'}"

    @property
    def penalties(self):
        """Each has its own."""
        return frozenset({self.penalty})

    def solve(self, X, y, problem, setting):
        """Fit its LogisticRegression."""
        from snapml import LogisticRegression

        model = LogisticRegression(
            regularizer=1 / problem.C, penalty=self.penalty, dual=self.dual, tol=setting,
            n_jobs=THREADS, max_iter=MANY, fit_intercept=False, random_state=0,
        ).fit(X, y)  # fmt: skip
        return Answer(model.coef_)


class Celer(Peer):
    """``sum_i loss_i + |w|_1 / C``: C as it is."""

    library = distribution = "celer"
    penalties = frozenset({"l1"})
    takes_intercept = False

    def convert(self, problem):
        """Columns one after the other."""
        return by_columns(problem)

    def solve(self, X, y, problem, setting):
        """Fit its LogisticRegression."""
        from celer import LogisticRegression

        model = LogisticRegression(C=problem.C, tol=setting, fit_intercept=False, max_iter=1000)
        return Answer(model.fit(X, y).coef_)


class Skglm(Peer):
    """``mean_i loss_i + alpha pen(w)``: alpha = 1 / (C n)."""

    library = distribution = "skglm"
    penalties = frozenset({"l1", "elasticnet"})

    def convert(self, problem):
        """Columns one after the other."""
        return by_columns(problem)

    def solve(self, X, y, problem, setting):
        """Fit SparseLogisticRegression."""
        from skglm import SparseLogisticRegression

        model = SparseLogisticRegression(
            alpha=mean_strength(problem), l1_ratio=problem.l1_ratio, tol=setting,
            fit_intercept=problem.intercept, max_iter=1000,
        ).fit(X, y)  # fmt: skip
        return Answer(model.coef_, model.intercept_)


class SkglmLBFGS(Peer):
    """``mean_i loss_i + alpha |w|^2 / 2``: alpha = 1 / (C n)."""

    library = distribution = "skglm"
    name = "skglm lbfgs"
    takes_intercept = False

    def convert(self, problem):
        """Columns one after the other, labels -1 and 1."""
        X, y = by_columns(problem)
        return X, 2.0 * y - 1

    def solve(self, X, y, problem, setting):
        """Run its solver by itself: no estimator of it takes this one."""
        from skglm.datafits import Logistic
        from skglm.penalties import L2
        from skglm.solvers import LBFGS

        solver = LBFGS(max_iter=MANY, tol=setting)
        return Answer(solver.solve(X, y, Logistic(), L2(mean_strength(problem)))[0])


class Adelie(Peer):
    """``mean_i loss_i + lmda sum_g penalty_g pen(w_g)``: lmda = 1 / (C n).

    Over K classes its loss carries 1 / K, a group is the K coefficients of a feature, and
    penalty_g is sqrt(K) unless it is given.
    """

    library = distribution = "adelie"
    penalties = ALL
    takes_classes = True

    def refuses(self, problem):
        """Its lasso over classes is a group lasso."""
        groups = problem.n_classes > 2 and problem.l1_ratio > 0
        return super().refuses(problem) or ("a penalty of groups" if groups else None)

    def convert(self, problem):
        """Columns one after the other; sparse ones in its own container."""
        import adelie

        X, y = by_columns(problem)
        y = y if problem.n_classes == 2 else np.eye(problem.n_classes)[y]
        X = adelie.matrix.sparse(X, n_threads=THREADS) if sp.issparse(X) else X
        return X, y.astype(problem.X.dtype)

    def solve(self, X, y, problem, setting):
        """Solve at one point of the path, with its tolerances all at the setting."""
        import adelie

        binary = problem.n_classes == 2
        n_outputs = 1 if binary else problem.n_classes
        state = adelie.grpnet(
            X, (adelie.glm.binomial if binary else adelie.glm.multinomial)(y),
            alpha=problem.l1_ratio, penalty=np.ones(problem.X.shape[1]),
            lmda_path=np.array([mean_strength(problem) / n_outputs]),
            tol=setting, irls_tol=setting, irls_max_iters=MANY, max_iters=100 * MANY,
            intercept=problem.intercept, n_threads=THREADS, early_exit=False, progress_bar=False,
        )  # fmt: skip
        coef = state.betas.toarray().reshape(-1, n_outputs).T
        return Answer(coef, state.intercepts[0])


class Cyanure(Peer):
    """``mean_i loss_i + lambda_1 |w|_1 + lambda_2 / 2 |w|^2``, sum = 1 / (C n).

    With one of the two penalties alone lambda_1 is its strength.
    """

    library = distribution = "cyanure"
    penalties = ALL
    takes_classes = True

    def solve(self, X, y, problem, setting):
        """Fit its Classifier."""
        from cyanure.estimators import Classifier

        strength, share = mean_strength(problem), problem.l1_ratio
        mixed = {"lambda_1": strength * share, "lambda_2": strength * (1 - share)}
        classes = problem.n_classes > 2
        model = Classifier(
            loss="multiclass-logistic" if classes else "logistic", penalty=problem.penalty,
            tol=setting, max_iter=MANY, n_threads=THREADS, fit_intercept=problem.intercept,
            verbose=False, **(mixed if 0 < share < 1 else {"lambda_1": strength}),
        ).fit(X, y)  # fmt: skip
        coef = np.asarray(model.coef_)
        coef = coef.reshape(-1, problem.n_classes).T if classes else coef.reshape(1, -1)
        return Answer(coef, model.intercept_ if problem.intercept else 0.0)


@dataclass(frozen=True)
class Glum(Peer):
    """Half the mean deviance + alpha pen(w): alpha = 1 / (C n)."""

    library: ClassVar[str] = "glum"
    distribution: ClassVar[str] = "glum"
    solver: str
    most_coefficients: float = np.inf

    @property
    def name(self):
        """Name in tables."""
        return f"glum {self.solver}"

    @property
    def penalties(self):
        """Coordinate descent has all of them."""
        return ALL if self.solver == "irls-cd" else Peer.penalties

    def convert(self, problem):
        """Columns one after the other, labels of X's type."""
        X, y = by_columns(problem)
        return X, y.astype(X.dtype)

    def solve(self, X, y, problem, setting):
        """Fit its regressor."""
        from glum import GeneralizedLinearRegressor

        model = GeneralizedLinearRegressor(
            family="binomial", alpha=mean_strength(problem), l1_ratio=problem.l1_ratio,
            solver=self.solver, gradient_tol=setting, fit_intercept=problem.intercept,
            max_iter=MANY,
        ).fit(X, y)  # fmt: skip
        return Answer(model.coef_, model.intercept_)


class TorchLBFGS(Peer):
    """``mean_i loss_i + |W|^2 / (2 C n)``: what one writes by hand around torch.optim.LBFGS."""

    library = distribution = "torch"
    name = "torch L-BFGS"
    takes_sparse = False
    takes_classes = True
    setting = "iterations"
    settings = ITERATIONS

    def convert(self, problem):
        """Share memory with torch."""
        import torch

        y = torch.from_numpy(problem.y)
        X = torch.from_numpy(problem.X)
        return X, y if problem.n_classes > 2 else y.to(X.dtype)

    def solve(self, X, y, problem, setting):
        """Take so many steps from zero; each evaluation reads X twice, which is one pass."""
        import torch
        from torch.nn import functional

        n_outputs = 1 if problem.n_classes == 2 else problem.n_classes
        coef = torch.zeros(n_outputs, X.shape[1], dtype=X.dtype, requires_grad=True)
        intercept = torch.zeros(n_outputs, dtype=X.dtype, requires_grad=problem.intercept)
        params = [coef, intercept] if problem.intercept else [coef]
        optimizer = torch.optim.LBFGS(
            params, max_iter=int(setting), max_eval=10 * int(setting), history_size=10,
            tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe",
        )  # fmt: skip
        strength, passes = mean_strength(problem), 0

        def closure():
            nonlocal passes
            passes += 1
            optimizer.zero_grad()
            logits = X @ coef.T + intercept
            if n_outputs == 1:
                loss = functional.binary_cross_entropy_with_logits(logits[:, 0], y)
            else:
                loss = functional.cross_entropy(logits, y)
            loss = loss + strength / 2 * coef.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return Answer(coef.detach().numpy(), intercept.detach().numpy(), passes)


PEERS: tuple[Peer, ...] = (
    Ours(),
    ScikitLearn("lbfgs"),
    ScikitLearn("newton-cholesky", most_coefficients=3000),
    ScikitLearn("newton-cg"),
    ScikitLearnSaga("saga"),
    ScikitLearnLiblinear("liblinear"),
    Intelex("lbfgs"),
    TorchLBFGS(),
    Liblinear(0),
    Liblinear(7),
    Liblinear(6),
    SnapML("l2", dual=False),
    SnapML("l2", dual=True),
    SnapML("l1", dual=False),
    Celer(),
    Skglm(),
    SkglmLBFGS(),
    Adelie(),
    Cyanure(),
    Glum("irls-ls", most_coefficients=3000),
    Glum("irls-cd", most_coefficients=3000),
    Glum("lbfgs"),
)


def named(names) -> list[Peer]:
    """Peers whose names hold one of some texts, ours included; all where there is none."""
    return [p for p in PEERS if not names or any(text in p.name for text in ("ours", *names))]
