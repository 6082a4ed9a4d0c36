"""Test that the analysis functions accept tensors without any configuration (promise 7)."""

import numpy as np
import pytest
import torch

from skorch_logreg import (
    TorchLogisticClassifier,
    bootstrap,
    firth,
    influence,
    marginal_effects,
    profile_intervals,
    separation,
    summary,
    tune_threshold,
)
from tests.containers import CONTAINERS
from tests.estimators.data import binary

FUNCTIONS = {
    "summary": lambda m, X, y, w: summary(m, X, y, sample_weight=w).standard_error,
    "marginal effects": lambda m, X, y, w: marginal_effects(m, X, y, sample_weight=w).effect,
    "influence": lambda m, X, y, w: influence(m, X, y, sample_weight=w).leverage,
    "profile": lambda m, X, y, w: profile_intervals(m, X, y, sample_weight=w).interval,
    "firth": lambda m, X, y, w: firth(X, y, sample_weight=w).coef,
    "separation": lambda m, X, y, w: separation(X, y).is_separated,
    "bootstrap": lambda m, X, y, w: (
        bootstrap(m, X, y, sample_weight=w, n_resamples=5, random_state=0).coefs
    ),
    "threshold": lambda m, X, y, w: tune_threshold(m, X, y, sample_weight=w).threshold,
}


@pytest.mark.parametrize("container", ["torch_requires_grad", "torch_coo", "bfloat16"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_07_analysis_takes_tensors(name, container):
    X, y = binary()
    X, weight = X.astype(np.float32).round(1), 1.0 + np.arange(len(y)) % 2
    made = torch.tensor(X, dtype=torch.bfloat16)
    if container == "bfloat16":
        X = made.float().numpy()
    else:
        made = CONTAINERS[container](X)
    model = TorchLogisticClassifier(C=1e6 if name == "bootstrap" else np.inf, tol=1e-8)
    model.fit(X, y, sample_weight=weight)
    labels = torch.tensor(y, dtype=torch.float32, requires_grad=True)
    found = FUNCTIONS[name](model, made, labels, torch.tensor(weight, requires_grad=True))
    expected = FUNCTIONS[name](model, X, y, weight)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
