"""scikit-learn's estimator checks; on its lowest supported version too."""

import warnings
from dataclasses import replace

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.solvers import SGD, Adam, AdamW, Optimizer

CONFIGURATIONS = [
    {},
    {"C": np.inf, "fit_intercept": False},
    {"l1_ratio": 1.0},
    {"l1_ratio": 0.5, "class_weight": "balanced"},
    {"solver": "liblinear"},
    {"solver": "newton-cg", "warm_start": True},
    {"threshold": 0.5, "device": "cpu"},
    {"solver": SGD(learning_rate=0.1, epochs=300)},
    {"solver": SGD(batch_size=16, epochs=20, schedule="inverse", finish="exact"), "l1_ratio": 0.5},
    {"solver": Adam(learning_rate=0.1, batch_size=16, epochs=20, shuffle=False)},
    {"solver": AdamW(learning_rate=0.1, epochs=100, clip=1.0), "class_weight": "balanced"},
    {"solver": Optimizer(torch.optim.RMSprop, lr=0.1, epochs=50)},
]


@parametrize_with_checks([TorchLogisticClassifier(**kw) for kw in CONFIGURATIONS])
def test_sklearn_checks(estimator, check):
    name = getattr(check, "func", check).__name__
    if name.startswith("check_sample_weight_equivalence"):
        if np.isinf(estimator.C):
            return  # its data are separable: without a penalty there is no minimiser
        # it compares two fits to 1e-7
        estimator.set_params(tol=1e-10, max_iter=10_000)
        if getattr(estimator.solver, "batch_size", None) is not None:  # a row twice is in two
            estimator.set_params(solver=replace(estimator.solver, finish="exact"))
    if name == "check_class_weight_classifiers" and not estimator.fit_intercept:
        return  # weights 1000 : 1e-4 of centred blobs act through the intercept alone
    with warnings.catch_warnings():
        # some checks set max_iter=1, or leave one class
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        check(estimator)
