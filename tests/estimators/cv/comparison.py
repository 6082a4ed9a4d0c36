"""Ours and scikit-learn's cross-validated fits, side by side."""

import numpy as np
from sklearn.linear_model import LogisticRegressionCV

from skorch_logreg import TorchLogisticClassifierCV as OursCV
from tests.estimators.data import binary, multi

# the values that scikit-learn recommends; it warns of others, and of their defaults
NEW = {"l1_ratios": (0,), "scoring": "neg_log_loss", "use_legacy_attributes": False}
TIGHT = {"tol": 1e-10, "max_iter": 1000}
GRID = {"Cs": [0.03, 1.0, 10.0], "cv": 3}


def sklearns(**options):
    """Solved tightly; newton-cholesky, of all solvers, gets to 1e-10."""
    solver = {"solver": "newton-cholesky"} | TIGHT
    return LogisticRegressionCV(**(solver | NEW | GRID | options))


def ours(**options):
    return OursCV(**(TIGHT | NEW | GRID | options))


def data(n_classes, labels=False):
    X, y = binary(90) if n_classes == 2 else multi(90)
    return X, np.array(["ant", "bee", "cow"])[y] if labels else y


def sample_weight(n=90):
    weight = np.random.default_rng(3).uniform(0, 3, n)
    weight[::7] = 0
    return weight


def assert_close(got, expected, rtol=1e-6, atol=1e-6):
    """Compare attributes of either layout."""
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        got, expected = list(got.values()), list(expected.values())
    assert np.shape(got) == np.shape(expected)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=atol)
