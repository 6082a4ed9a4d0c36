"""Promise 9: the same call twice gives the same bits."""

import random

import numpy as np
import pytest
import torch

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.solvers import ProximalNewton
from tests.problems import load
from tests.promises.models import PENALTIES, fit, run_python

NAMES = ["binary", "ten_classes", "sparse_binary", "sparse_three_classes", "wide", "scales"]


def bits(model):
    return [model.coef_.tobytes(), model.intercept_.tobytes(), model.n_iter_.tobytes(),
            model.n_passes_, model.optimality_, repr(model.duality_gap_)]  # fmt: skip


@pytest.mark.parametrize("penalty", ["l2", "l1"])
@pytest.mark.parametrize("name", NAMES)
def test_9_twice_the_same_bits(name, penalty):
    case = load(name)
    assert bits(fit(case, **PENALTIES[penalty])) == bits(fit(case, **PENALTIES[penalty]))


def test_9_global_generators_do_not_matter():
    """Only `random_state` may."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30_000, 20))
    y = (X[:, 0] + rng.logistic(size=30_000) > 0).astype(int)
    results = []
    for seed in (0, 1):
        states = np.random.get_state(), torch.get_rng_state(), random.getstate()
        try:
            np.random.seed(seed)
            torch.manual_seed(seed)
            random.seed(seed)
            results.append(bits(TorchLogisticClassifier().fit(X, y)))
        finally:
            np.random.set_state(states[0])
            torch.set_rng_state(states[1])
            random.setstate(states[2])
    assert results[0] == results[1]
    again = [bits(TorchLogisticClassifier(random_state=3).fit(X, y)) for _ in range(2)]
    assert again[0] == again[1]


CODE = """
import numpy as np, scipy.sparse as sp, torch
torch.set_num_threads(1)
from skorch_logreg import TorchLogisticClassifier
rng = np.random.default_rng(0)
X = rng.normal(size=(300, 8))
y = np.array(["b", "a", "c"])[(X[:, :3] + rng.gumbel(size=(300, 3))).argmax(axis=1)]
for Z in (X, sp.csr_array(np.where(X > 0.5, X, 0))):
    for l1_ratio in (0.0, 1.0):
        model = TorchLogisticClassifier(l1_ratio=l1_ratio, class_weight={"a": 2}).fit(Z, y)
        print(model.coef_.tobytes().hex(), model.intercept_.tobytes().hex(), model.n_passes_)
"""


@pytest.mark.slow
def test_9_hash_seed_does_not_matter():
    outputs = [run_python(CODE, PYTHONHASHSEED=str(seed)) for seed in (0, 1)]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 4


def test_9_proximal_newton_under_a_ridge():
    """Eight calls: a pivoted QR of LAPACK begins with what its memory holds."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 6)), np.arange(40) % 4
    X[:, 5] = X[:, 4]
    model = TorchLogisticClassifier(C=100.0, solver=ProximalNewton())
    first = bits(model.fit(X, y))
    assert all(bits(model.fit(X, y)) == first for _ in range(8))
