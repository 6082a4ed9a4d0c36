"""Progress bars of fits that take long, and objectives."""

import sys

import numpy as np
import pytest
import skops.io

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.command import comparison
from skorch_logreg.command.files import TRUSTED


@pytest.mark.parametrize(("long", "l1_ratio", "n_bars"), [(0, 0, 2), (0, 0.5, 1), (1e9, 0, 0)])
def test_long_fits_show_scikit_learns_progress_bar(rng, monkeypatch, long, l1_ratio, n_bars):
    """One for each model that can have it; saga cannot, and a short fit needs none."""
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.8 has no callbacks")
    fits = []

    class Bar(callback.ProgressBar):
        def setup(self, estimator, context):
            fits.append(type(estimator).__name__)
            super().setup(estimator, context)

    monkeypatch.setattr(callback, "ProgressBar", Bar)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    X, y = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    problem = comparison.Problem(X, y, X, y, ["a", "b"])
    results = comparison.compare(
        problem, {"C": 1.0, "l1_ratio": l1_ratio, "random_state": 0}, bar_size=long
    )
    assert fits == ["TorchLogisticClassifier", "LogisticRegression"][:n_bars]
    assert skops.io.loads(skops.io.dumps(results[0].model), TRUSTED).C == 1.0


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_the_objective_balances_sample_weights(rng, class_weight):
    X = rng.normal(size=(60, 2))
    y = X[:, 0] + rng.logistic(size=60) > 1
    weight = np.where(y, 1, rng.integers(5, 40, size=60))
    model = TorchLogisticClassifier(class_weight=class_weight).fit(X, y, weight)
    totals = np.where(y, weight[y].sum(), weight[~y].sum())
    own = weight if class_weight is None else weight * weight.sum() / (2 * totals)
    z = X @ model.coef_[0] + model.intercept_
    expected = own @ (np.logaddexp(0, z) - y * z) + np.square(model.coef_).sum() / 2
    assert comparison.objective(model, X, y, weight) == pytest.approx(expected, rel=1e-12)
