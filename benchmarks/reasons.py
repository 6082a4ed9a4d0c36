"""The figures of the README's first screen: counts, distances and CPU time, on bundled data.

``python -m benchmarks.reasons`` prints them in about a minute.
"""

import tempfile
import time
import warnings
from pathlib import Path

import dask.array as da
import numpy as np
import statsmodels.api as sm
from sklearn.datasets import load_breast_cancer, load_digits, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

from skorch_logreg import (
    BatchedGridSearchCV,
    TorchLogisticClassifier,
    bootstrap,
    summary,
    tune_threshold,
)
from skorch_logreg.data import ArrayChunks
from skorch_logreg.penalties import GroupL2, SparseGroupLasso


def unscaled():
    """Compare fits of columns from 1e-3 to 1e3 with the minimum, at default settings."""
    X, y = load_breast_cancer(return_X_y=True)

    def objective(model):
        logits = np.where(y == 1, 1, -1) * model.decision_function(X)
        return np.logaddexp(0, -logits).sum() + (model.coef_**2).sum() / 2

    best = objective(TorchLogisticClassifier(tol=1e-8).fit(X, y))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        theirs = LogisticRegression().fit(X, y)
    warned = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    ours = TorchLogisticClassifier().fit(X, y)
    for name, model in (("scikit-learn", theirs), ("ours", ours)):
        above = objective(model) / best - 1
        print(f"  {name}: {model.n_iter_[0]} iterations, {above:.1e} above the minimum")
    print(f"  scikit-learn warned {len(warned)} times; ours proves {ours.duality_gap_:.1e}")


def penalties():
    """Fit every penalty with the default solver, and print the largest proven distance."""
    X, y = load_breast_cancer(return_X_y=True)
    pairs = np.arange(30) // 3
    settings = [
        {"l1_ratio": 0.0},
        {"l1_ratio": 1.0},
        {"l1_ratio": 0.5},
        {"l1_ratio": 0.5, "penalty_factor": np.arange(1, 31)},
        {"bounds": (0, None)},
        {"penalty": GroupL2(pairs)},
        {"penalty": SparseGroupLasso(pairs)},
    ]
    models = [TorchLogisticClassifier(**given).fit(scale(X), y) for given in settings]
    largest = max(model.duality_gap_ for model in models)
    assert all(model.converged_ for model in models)
    print(f"  {len(models)} penalties, each within {largest:.1e} of its minimum, proven")


def search():
    """Search 10 values of C in 5 folds, and print CPU time and scores of both searches."""
    grid = {"C": np.logspace(-4, 4, 10)}
    made = make_classification(20_000, 50, n_informative=20, random_state=0)
    for problem, (X, y) in {"20,000 x 50": made, "digits": load_digits(return_X_y=True)}.items():
        print(f" {problem}")
        compare_searches(scale(X), y, grid)


def compare_searches(X, y, grid):
    """Time both searches in turns, three times, and print the medians."""
    searches = {
        "GridSearchCV": GridSearchCV(LogisticRegression(max_iter=10_000), grid, cv=5),
        "BatchedGridSearchCV": BatchedGridSearchCV(TorchLogisticClassifier(), grid, cv=5),
    }
    seconds = {name: [] for name in searches}
    for _ in range(3):
        for name, model in searches.items():
            start = time.process_time()
            model.fit(X, y)
            seconds[name].append(time.process_time() - start)
    for name, model in searches.items():
        print(f"  {name}: {np.median(seconds[name]):.2f} s of CPU time, {model.best_score_:.4f}")


def decisions():
    """Print what one fit gives: standard errors, resampled intervals and the cheapest threshold."""
    X, y = load_breast_cancer(return_X_y=True)
    few = scale(X[:, [0, 1, 4]])
    free = TorchLogisticClassifier(C=np.inf, tol=1e-8).fit(few, y)
    theirs = sm.Logit(y, np.c_[few, np.ones(len(y))]).fit(disp=False).bse
    apart = np.abs(summary(free, few, y).standard_error / theirs - 1).max()
    print(f"  standard errors differ from statsmodels' by {apart:.0e}, relatively")
    ridge = TorchLogisticClassifier(C=0.1).fit(few, y)
    start = time.process_time()
    bootstrap(ridge, few, y, n_resamples=1000, random_state=0)
    print(f"  1000 refits to resampled rows: {time.process_time() - start:.1f} s of CPU time")
    cost = [[0, 10], [1, 0]]
    tuned = tune_threshold(TorchLogisticClassifier(), scale(X), y, cost_matrix=cost)
    at_half = tuned.scores[np.abs(tuned.thresholds - 0.5).argmin()]
    print(f"  {len(tuned.thresholds)} thresholds: cost {-at_half:.3f} at 0.5, {-tuned.score:.3f}")


def places():
    """Fit the same rows in memory, from disk and as Dask blocks, and compare coefficients."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 20))
    y = X[:, 0] + rng.logistic(size=len(X)) > 0
    model = TorchLogisticClassifier(tol=1e-8)
    memory = model.fit(X, y).coef_
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, X)
        rows = ArrayChunks(np.load(path, mmap_mode="r"), 20_000)
        disk = model.fit(rows, y).coef_
        n_passes = TorchLogisticClassifier().fit(rows, y).n_passes_
    dask = model.fit(da.from_array(X, chunks=(50_000, 20)), da.from_array(y, chunks=50_000)).coef_
    apart = max(np.abs(memory - disk).max(), np.abs(memory - dask).max())
    print(f"  coefficients differ by {apart:.0e}; {n_passes} passes over the file at default tol")


if __name__ == "__main__":
    for question in (unscaled, penalties, search, decisions, places):
        print(f"{question.__name__}:")
        question()
