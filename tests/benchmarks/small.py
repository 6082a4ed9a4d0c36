"""Small problems of every kind, and contestants that are known to be wrong or slow."""

import time
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from benchmarks.peers import Answer, ScikitLearn
from benchmarks.problems import Problem

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 6))
LOGITS = X @ RNG.standard_normal((6, 3))
BINARY = (LOGITS[:, 0] + RNG.logistic(size=120) > 0).astype(np.int64)
THREE = (LOGITS + RNG.gumbel(size=LOGITS.shape)).argmax(axis=1)
SPARSE = sp.csr_matrix(X * (RNG.random(X.shape) < 0.5))

PROBLEMS = (
    Problem("l2", X, BINARY, 0.7),
    Problem("l2-no-intercept", X, BINARY, 0.7, intercept=False),
    Problem("l2-classes", X, THREE, 0.5),
    Problem("l2-sparse", SPARSE, BINARY, 0.5, intercept=False),
    Problem("l1", X, BINARY, 0.2, 1.0),
    Problem("l1-no-intercept", X, BINARY, 0.2, 1.0, intercept=False),
    Problem("l1-classes", X, THREE, 0.2, 1.0),
    Problem("elasticnet", X, BINARY, 0.2, 0.5),
)


@dataclass(frozen=True)
class Recipe:
    """One of them, or the first with C off by a factor."""

    place: int = 0
    factor: float = 1.0

    @property
    def name(self):
        return PROBLEMS[self.place].name

    def make(self):
        problem = PROBLEMS[self.place]
        return replace(problem, C=problem.C * self.factor)


@dataclass(frozen=True)
class Off(ScikitLearn):
    """Coefficients that are one per cent too large."""

    @property
    def name(self):
        return "off"

    def solve(self, X, y, problem, setting):
        found = super().solve(X, y, problem, setting)
        return Answer(1.01 * found.coef, found.intercept)


@dataclass(frozen=True)
class Slow(ScikitLearn):
    """Asleep for a known time in each fit but those of the loosest setting."""

    nap: float = 0.2

    @property
    def name(self):
        return f"slow {self.nap}"

    def solve(self, X, y, problem, setting):
        if setting < self.settings[0]:
            time.sleep(self.nap)
        return super().solve(X, y, problem, setting)


@dataclass(frozen=True)
class Broken(ScikitLearn):
    """Raises in its third setting."""

    @property
    def name(self):
        return "broken"

    def solve(self, X, y, problem, setting):
        if setting < 5e-3:
            raise MemoryError("no more")
        return super().solve(X, y, problem, setting)
