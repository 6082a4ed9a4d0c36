"""Who can solve a problem of many_problems.py, how each is called, and a check of its scale.

A contestant is fitted to a tolerance and gives back what is judged: the mean scores of a search,
or the coefficients of all labels. What it needs beforehand (a container of its own) is made off
the clock. All minimise ``C sum_i loss(y_i, x_i w + b) + ||w||^2 / 2``:

    scikit-learn, ours          C as it is; the intercept is free
    liblinear in scikit-learn   C as it is; penalises the intercept: only where there is none
    LibMultiLabel -s 0          -c C; no -B: a bias would be penalised; only where there is none
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

import many_reference
import numpy as np
import scipy.sparse as sp
from many_problems import Problem, indicator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier

MAX_ITER = 10_000  # of the peers; never what stops them
OURS = "ours"


@dataclass(frozen=True)
class Contestant:
    """One way to solve a problem.

    `fit(X, y, tol)` is timed. `prepare(X, y)`, before it, and `read(model)`, after it, are not;
    the latter gives the mean scores, or (coef, intercept). `left_out` says why it cannot take
    part. Ours are imported where they are called: a peer's process has no torch.
    """

    name: str
    family: str
    fit: Callable
    read: Callable
    prepare: Callable = lambda X, y: (X, y)
    left_out: str = ""


def contestants(problem, n_jobs=(1, 2)):
    """List the contestants of a problem, those that are left out among them."""
    return list(_labels(problem, n_jobs) if problem.labels else _searches(problem, n_jobs))


def _why_not(problem, solver):
    if solver == "newton-cholesky":
        size = problem.X.shape[1] * problem.n_logits
        if size > many_reference.LARGEST_HESSIAN:
            return f"left out: a dense Hessian of {size} x {size}"
    if solver == "liblinear" and problem.fit_intercept:
        return "left out: penalises the intercept"
    return ""


def _searches(problem, n_jobs):
    grid, intercept = {"C": problem.Cs}, problem.fit_intercept
    how = {"cv": StratifiedKFold(problem.n_folds), "scoring": "neg_log_loss"}
    path = {
        "Cs": problem.Cs, "fit_intercept": intercept, "l1_ratios": (0,),
        "use_legacy_attributes": False, **how,
    }  # fmt: skip

    def searched(model):
        return model.cv_results_["mean_test_score"]

    def along_path(model):
        return model.scores_[:, 0].mean(axis=0)

    for solver in ("lbfgs", "newton-cholesky", "newton-cg"):
        for jobs in n_jobs:

            def search(X, y, tol, solver=solver, jobs=jobs):
                single = LogisticRegression(
                    solver=solver, tol=tol, max_iter=MAX_ITER, fit_intercept=intercept
                )
                return GridSearchCV(single, grid, n_jobs=jobs, **how).fit(X, y)

            def cv(X, y, tol, solver=solver, jobs=jobs):
                return LogisticRegressionCV(
                    solver=solver, tol=tol, max_iter=MAX_ITER, n_jobs=jobs, **path
                ).fit(X, y)

            why_not = _why_not(problem, solver)
            for family, fit, read in (
                ("GridSearchCV", search, searched),
                ("LogisticRegressionCV", cv, along_path),
            ):
                name = f"{family} {solver} n_jobs={jobs}"
                yield Contestant(name, family, fit, read, left_out=why_not)

    def our_search(X, y, tol):
        from skorch_logreg import BatchedGridSearchCV, TorchLogisticClassifier

        single = TorchLogisticClassifier(tol=tol, fit_intercept=intercept)
        return BatchedGridSearchCV(single, grid, **how).fit(X, y)

    def our_cv(X, y, tol):
        from skorch_logreg import TorchLogisticClassifierCV

        return TorchLogisticClassifierCV(tol=tol, **path).fit(X, y)

    yield Contestant("ours BatchedGridSearchCV", OURS, our_search, searched)
    yield Contestant("ours TorchLogisticClassifierCV", OURS, our_cv, along_path)


def _labels(problem, n_jobs):
    options = {"C": problem.C, "fit_intercept": problem.fit_intercept}

    def stacked(model):
        coef = np.concatenate([single.coef_ for single in model.estimators_])
        return coef, np.concatenate([np.ravel(single.intercept_) for single in model.estimators_])

    def dense_labels(X, y):
        return X, (y.toarray() if sp.issparse(y) else y)

    for solver in ("lbfgs", "newton-cholesky", "liblinear"):
        for cls in (OneVsRestClassifier, MultiOutputClassifier):
            for jobs in n_jobs:

                def fit(X, y, tol, solver=solver, cls=cls, jobs=jobs):
                    single = LogisticRegression(
                        solver=solver, tol=tol, max_iter=MAX_ITER, random_state=0, **options
                    )
                    return cls(single, n_jobs=jobs).fit(X, y)

                yield Contestant(
                    f"{cls.__name__} {solver} n_jobs={jobs}", cls.__name__, fit, stacked,
                    dense_labels if cls is MultiOutputClassifier else lambda X, y: (X, y),
                    _why_not(problem, solver),
                )  # fmt: skip

    def libmultilabel(X, y, tol):
        from libmultilabel.linear import train_1vsrest

        return train_1vsrest(y, X, False, f"-s 0 -c {problem.C} -e {tol}", False)

    def weights(model):
        W = model.weights
        W = W.toarray() if sp.issparse(W) else np.asarray(W)
        return W.T, 0.0

    why_not = "left out: penalises the intercept" if problem.fit_intercept else ""
    if not why_not and find_spec("libmultilabel") is None:
        why_not = "left out: not installed"
    yield Contestant(
        "LibMultiLabel 1vsrest -s 0, all cores", "LibMultiLabel", libmultilabel, weights,
        lambda X, y: (sp.csr_matrix(X), sp.csr_matrix(y)), why_not,
    )  # fmt: skip

    def ours(X, y, tol):
        from skorch_logreg import MultiLabel, TorchLogisticClassifier

        return MultiLabel(TorchLogisticClassifier(tol=tol, **options)).fit(X, y)

    yield Contestant("ours MultiLabel", OURS, ours, lambda model: (model.coef_, model.intercept_))


def judged(problem, contestant, model):
    """Work out an answer's worth: mean scores by candidate, or objectives by label."""
    answer = contestant.read(model)
    if problem.labels:
        return many_reference.label_objectives(problem, *answer)
    return np.asarray(answer)


def reference(problem):
    """Work out what `judged` should give, and a bound of its own error (0: none is known)."""
    if problem.labels:
        value, bound = many_reference.label_minima(problem)
        return value, float(bound.sum() / value.sum())
    return many_reference.search_scores(problem), 0.0


def error(problem, values, right):
    """Compare, relatively: the worst score, or the objective summed over the labels."""
    if problem.labels:
        return float((values.sum() - right.sum()) / right.sum())
    return float(np.abs(values / right - 1).max())


def warm_up(problem):
    """Shrink a problem to 200 rows and few models, to bring code and processes awake."""
    few = replace(problem, Cs=(0.1, 1.0))
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5)).astype(problem.X.dtype)
    y = indicator(X, 3, rng) if problem.labels else rng.integers(0, max(2, few.n_logits), 200)
    X, y = (m if not sp.issparse(k) else sp.csr_matrix(m) for m, k in ((X, problem.X), (y, few.y)))
    return replace(few, X=X, y=y)


def small_problems():
    """Yield problems of a few milliseconds, of every kind."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 6))
    Y = indicator(X, 3, rng)
    Cs = (0.01, 1.0)
    three = Y[:, 0] + (X[:, 0] > 0)
    yield Problem("check-search", X, Y[:, 0].astype(np.int64), Cs=Cs)
    yield Problem("check-search-classes", X, three.astype(np.int64), Cs=Cs)
    yield Problem("check-labels", X, Y, C=0.3)
    sparse = sp.csr_matrix(np.where(X > 0, X, 0))
    yield Problem("check-labels-sparse", sparse, sp.csr_matrix(Y), fit_intercept=False, C=0.3)


def check(problem, contestant, tol=1e-9):
    """Work out the error at a tight tolerance; above 1e-6 the scale is wrong."""
    right, bound = reference(problem)
    model = contestant.fit(*contestant.prepare(problem.X, problem.y), tol)
    return max(abs(error(problem, judged(problem, contestant, model), right)), bound)
