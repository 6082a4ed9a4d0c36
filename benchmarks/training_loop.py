"""Time the training loop: ours, the loop that one writes by hand, and skorch.

    python benchmarks/training_loop.py [PROBLEM ...] [--repeat N] [--profile PROBLEM]

Everyone takes SGD with momentum over mini-batches of the same size, shuffled every epoch, without
a penalty and without rows held out:

    bare loop       rows by index: ``X[order[i : i + size]]``, nn.Linear, BCEWithLogitsLoss
    bare, loader    the same with DataLoader(TensorDataset(X, y), shuffle=True)
    ours            TorchLogisticClassifier, all of it: validation, the epochs, and the proof
    ours, epochs    of that, the epochs alone, by ``history_["seconds"]``
    skorch          NeuralNetBinaryClassifier or NeuralNetClassifier, train_split=None

The bare loop is given our batches, so that its weights have to be ours: that is checked. Seconds
are medians of turns, in which everyone trains once; ratios are to the bare loop. skorch takes
part if it is installed.
"""

import argparse
import cProfile
import math
import pstats
import time
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.minibatch import InMemoryBatches
from skorch_logreg.solvers import SGD


@dataclass(frozen=True)
class Problem:
    """Rows, classes, and how they are gone through."""

    n_samples: int
    n_features: int
    n_classes: int
    batch_size: int | None
    epochs: int

    def data(self):
        """Draw normal float32 columns, and classes from a random model of them."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.n_samples, self.n_features), dtype=np.float32)
        coef = rng.standard_normal((self.n_features, self.n_classes)) / self.n_features**0.5
        return X, (X @ coef + rng.gumbel(size=(self.n_samples, self.n_classes))).argmax(axis=1)

    @property
    def n_outputs(self):
        """Logits of a row."""
        return 1 if self.n_classes == 2 else self.n_classes

    def network(self):
        """Zeros, as ours begins."""
        layer = nn.Linear(self.n_features, self.n_outputs)
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)
        return layer

    def loss(self):
        """Mean over the rows of a batch."""
        return nn.BCEWithLogitsLoss() if self.n_classes == 2 else nn.CrossEntropyLoss()

    def targets(self, y):
        """As the loss takes them."""
        y = torch.from_numpy(y)
        return y[:, None].float() if self.n_classes == 2 else y


PROBLEMS = {
    "blobs": Problem(1_000, 2, 2, None, 200),
    "small": Problem(1_000, 20, 2, 32, 20),
    "tall": Problem(100_000, 30, 2, 256, 3),
    "wide": Problem(20_000, 1_000, 2, 128, 3),
    "classes": Problem(50_000, 100, 10, 256, 3),
}
RATE, MOMENTUM = 0.1, 0.9


def _steps(network, loss, batches):
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    for X, y in batches:
        optimizer.zero_grad()
        loss(network(X), y).backward()
        optimizer.step()
    return network


def bare(problem, X, y):
    """Train by hand, on our batches."""
    X, targets = torch.from_numpy(X), problem.targets(y)
    order = InMemoryBatches(X, targets, None, problem.batch_size, True, 0)

    def batches():
        for epoch in range(problem.epochs):
            yield from ((batch.inputs, batch.targets) for batch in order.epoch(epoch))

    return _steps(problem.network(), problem.loss(), batches())


def loader(problem, X, y):
    """Train by hand, on what a loader brings."""
    rows = TensorDataset(torch.from_numpy(X), problem.targets(y))
    loader = DataLoader(rows, batch_size=problem.batch_size or len(X), shuffle=True)
    batches = (batch for _ in range(problem.epochs) for batch in loader)
    return _steps(problem.network(), problem.loss(), batches)


def ours(problem, X, y):
    """Fit."""
    solver = SGD(
        learning_rate=RATE,
        momentum=MOMENTUM,
        batch_size=problem.batch_size,
        epochs=problem.epochs,
    )
    return TorchLogisticClassifier(C=math.inf, solver=solver).fit(X, y)


def skorch(problem, X, y):
    """Fit with skorch."""
    from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier

    options = {
        "lr": RATE,
        "optimizer__momentum": MOMENTUM,
        "batch_size": problem.batch_size or len(X),
        "max_epochs": problem.epochs,
        "iterator_train__shuffle": True,
        "train_split": None,
        "verbose": 0,
    }
    if problem.n_classes == 2:
        return NeuralNetBinaryClassifier(problem.network(), **options).fit(X, y.astype(np.float32))
    net = NeuralNetClassifier(problem.network(), criterion=nn.CrossEntropyLoss, **options)
    return net.fit(X, y)


def race(problem, repeat):
    """Seconds of everyone, turn by turn, after one to warm up."""
    X, y = problem.data()
    everyone = {"bare loop": bare, "bare, loader": loader, "ours": ours}
    if find_spec("skorch") is not None:
        everyone["skorch"] = skorch
    seconds = {name: [] for name in (*everyone, "ours, epochs")}
    for turn in range(repeat + 1):
        ended = {}
        for name, train in everyone.items():
            started = time.perf_counter()
            ended[name] = train(problem, X, y)
            if turn:
                seconds[name].append(time.perf_counter() - started)
        if turn:
            seconds["ours, epochs"].append(ended["ours"].history_["seconds"][-1])
        _check(ended["ours"], ended["bare loop"])
    return seconds


def _check(model, network):
    weights = model.coef_, model.intercept_
    for got, expected in zip(weights, network.parameters(), strict=True):
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", choices=[*PROBLEMS, []], default=[])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--profile", choices=PROBLEMS, help="profile a fit of ours instead")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    if asked.profile:
        problem = PROBLEMS[asked.profile]
        X, y = problem.data()
        ours(problem, X, y)
        with cProfile.Profile() as profile:
            ours(problem, X, y)
        pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        return
    print(f"{'problem':10}{'who':14}{'seconds':>10}{'ratio':>8}", flush=True)
    for name in asked.problems or PROBLEMS:
        seconds = race(PROBLEMS[name], asked.repeat)
        base = median(seconds["bare loop"])
        for who, taken in seconds.items():
            print(f"{name:10}{who:14}{median(taken):10.3f}{median(taken) / base:8.2f}", flush=True)


if __name__ == "__main__":
    main()
