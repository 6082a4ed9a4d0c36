"""Small seeded data of several labels; read-only, so that a write shows."""

from functools import cache

import numpy as np


@cache
def labels(n_samples=120, n_features=4, n_labels=3):
    """Overlapping labels of different frequency."""
    rng = np.random.default_rng(2)
    X = rng.normal(size=(n_samples, n_features)) + 0.5
    signal = X @ rng.normal(size=(n_features, n_labels)) - np.linspace(0, 1.5, n_labels)
    Y = (signal + rng.logistic(size=signal.shape) > 0).astype(np.int64)
    for array in (X, Y):
        array.setflags(write=False)
    return X, Y
