"""Small seeded data for the estimator's own tests; read-only, so that a write shows."""

from functools import cache

import numpy as np


@cache
def binary(n_samples=120, n_features=4):
    """Overlapping classes 0 and 1."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, n_features))
    y = (X[:, 0] - X[:, 1] + 0.5 + rng.logistic(size=n_samples) > 0).astype(int)
    return _frozen(X, y)


@cache
def multi(n_samples=150, n_features=4):
    """Overlapping classes 0, 1 and 2."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n_samples, n_features))
    y = (X[:, :3] + rng.gumbel(size=(n_samples, 3))).argmax(axis=1)
    return _frozen(X, y)


def _frozen(*arrays):
    for array in arrays:
        array.setflags(write=False)
    return arrays


def state(model):
    """Fitted attributes, to compare before and after."""
    return {
        name: np.array(value) if isinstance(value, np.ndarray) else value
        for name, value in vars(model).items()
        if name.endswith("_")
    }


def assert_same_state(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
