"""How the promises' tests fit and compare."""

import os
import subprocess
import sys

import numpy as np

from skorch_logreg import TorchLogisticClassifier
from tests.problems import Problem

TIGHT = 1e-10

PENALTIES = {
    "l2": {},
    "none": {"C": np.inf},
    "l1": {"l1_ratio": 1.0, "C": 0.5},
    "elastic net": {"l1_ratio": 0.5, "C": 0.5},
}


def fit(problem: Problem, **options) -> TorchLogisticClassifier:
    """Fit a problem; pytest turns any warning into an error."""
    model = TorchLogisticClassifier(**problem.options | options)
    return model.fit(problem.X, problem.y, sample_weight=problem.sample_weight)


def tight(X, y, sample_weight=None, **options) -> TorchLogisticClassifier:
    """Fit far beyond what a comparison to 1e-8 can see."""
    model = TorchLogisticClassifier(**{"tol": TIGHT, "max_iter": 1000} | options)
    return model.fit(X, y, sample_weight=sample_weight)


def parameters(model) -> np.ndarray:
    """Coefficients and intercepts, (K, p + 1), float64."""
    coef, intercept = np.asarray(model.coef_), np.asarray(model.intercept_)
    return np.c_[coef, intercept].astype(np.float64)


def assert_same(got, expected, tolerance):
    """Compare arrays relative to the largest entry of the second."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    scale = max(np.abs(expected).max(initial=0), 1e-300)
    np.testing.assert_allclose(got / scale, expected / scale, rtol=0, atol=tolerance)


def assert_same_model(got, expected, tolerance=1e-8):
    assert_same(parameters(got), parameters(expected), tolerance)


def assert_sound(model, X):
    """Promise 3: everything finite, probabilities proper."""
    for name, attribute in vars(model).items():
        if name.endswith("_") and name not in ("classes_", "feature_names_in_", "duality_gap_"):
            values = list(attribute.values()) if isinstance(attribute, dict) else attribute
            assert np.isfinite(np.asarray(values, dtype=float)).all(), name
    # nan says that there is no finite bound
    assert not np.isinf(model.duality_gap_)
    z = model.decision_function(X)
    assert np.isfinite(z).all()
    p, log_p = model.predict_proba(X), model.predict_log_proba(X)
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=8 * np.finfo(p.dtype).eps)
    assert np.isfinite(log_p).all()
    assert np.isin(model.predict(X), model.classes_).all()


def run_python(code: str, *arguments, **environment) -> str:
    """Run code in a fresh interpreter with this one's import path; returns its output.

    Warnings are errors there too, and a crash or traceback fails the test with the text.
    """
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    env |= {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=env, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
