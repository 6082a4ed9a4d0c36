"""Show that what `solvers.choose` picks is never much worse than the best it could have picked.

    python -m benchmarks.choose [--case NAME ...] [--limit 1.3] [--output FILE.json]

Over a range of shapes, ``solver="auto"`` races its own alternatives to 1e-6, in turns: each solver
by its public name, L-BFGS on each curvature, and a start without a sample of the rows. A line a
case: what was picked, its seconds, those of the best alternative, their ratio; seconds are the
least of all rounds, for what else the machine does only adds, and with OMP_NUM_THREADS=1 those of
the processor. The exit status is 1 if a ratio is above the limit.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks import race
from benchmarks.curves import add_rules, write
from benchmarks.peers import THREADS, Ours
from benchmarks.problems import Recipe, Shape
from benchmarks.timing import Here
from skorch_logreg import TorchLogisticClassifier, curvature
from skorch_logreg.objective import on_sample
from skorch_logreg.solvers import LBFGS, NewtonCG, NewtonCholesky
from skorch_logreg.solvers.choose import CurvaturePlan, allows_dual, choose_curvature

TARGET = 1e-6
CLOCK = "cpu" if THREADS == 1 else "seconds"
MOST = 3000  # side of a matrix that an alternative may factor
CASES = {
    "iris": Recipe("iris"),
    "cancer": Recipe("cancer"),
    "1000 x 20": Shape(1000, 20),
    "10000 x 50": Shape(10_000, 50),
    "200000 x 30": Shape(200_000, 30),
    "50000 x 100": Shape(50_000, 100),
    "20000 x 300": Shape(20_000, 300),
    "5000 x 1000": Shape(5000, 1000),
    "500 x 5000": Shape(500, 5000),
    "wine, raw": Recipe("wine-raw"),
    "digits": Recipe("digits"),
    "20000 x 100 x 10": Recipe("classes", 0.2),
    "text 20000 x 20000": Recipe("text", 0.2),
    "text, C = 100": Recipe("text-C100", 0.2),
    "one-hot 50000 x 5000": Recipe("one-hot", 0.1),
}


def _price(objective) -> Callable[[int], float]:
    """Price a Hessian of all coefficients in passes, roughly: arithmetic against memory."""
    _, n_outputs, side = objective.shape
    return lambda m: 1 + n_outputs * side / 20


def _exact(objective):
    _, n_outputs, side = objective.shape
    if n_outputs * side > MOST:
        return None
    return CurvaturePlan(curvature.ExactHessian.build, True, _price(objective), 0.3)


def _on_sample(objective, point, n_rows):
    part = on_sample(objective, n_rows)
    return curvature.ExactHessian.build(part, part.evaluate(point.params))


def _sampled(objective):
    whole = _exact(objective)
    n_rows = max(10_000, 100 * objective.shape[1] * objective.shape[2])
    if whole is None or 2 * n_rows > objective.data.n_samples:
        return None
    return CurvaturePlan(partial(_on_sample, n_rows=n_rows), False, whole.cost, 0.1, whole)


def _dual(objective):
    if objective.data.n_samples * objective.shape[1] > MOST or not allows_dual(objective):
        return None
    return CurvaturePlan(curvature.DualHessian.build, True, _price(objective), 0.3)


def _uncorrelated(objective):
    build = curvature.UncorrelatedColumns.build
    return CurvaturePlan(build, False, lambda m: 1.0, 0.0, is_adaptive=True)


def _classes(objective):
    if objective.shape[1] == 1:
        return None
    return CurvaturePlan(curvature.ClassBlocks.build, False, _price(objective), 0.0)


CURVATURES: dict[str, Callable[[Any], CurvaturePlan | None]] = {
    "exact": _exact,
    "exact on a sample": _sampled,
    "dual": _dual,
    "classes": _classes,
    "uncorrelated": _uncorrelated,
}


class UnfitError(Exception):
    """An alternative does not fit a problem."""


@dataclass(frozen=True)
class Forced(Ours):
    """As `Ours`, C as it is, with functions of the package replaced by name while it solves."""

    replaced: dict[str, Callable[..., Any]] = field(default_factory=dict, hash=False)

    def solve(self, X, y, problem, setting):
        """Fit under the replacements."""
        with replacing(self.replaced):
            return super().solve(X, y, problem, setting)


def replacing(names) -> ExitStack:
    """Put functions in the place of those of some names, wherever the package has imported them."""
    stack = ExitStack()
    for module in [m for name, m in sys.modules.items() if name.startswith("skorch_logreg")]:
        for name, function in names.items():
            if hasattr(module, name):
                stack.enter_context(mock.patch.object(module, name, function))
    return stack


def _forced(objective, key):
    model = CURVATURES[key](objective)
    if model is None:
        raise UnfitError(f"no curvature {key!r} here")
    return model


def _no_sample(objective, n_models=None):
    return ()


ALTERNATIVES: dict[str, Ours] = {
    "lbfgs": Ours(LBFGS(), "lbfgs"),
    "newton-cholesky": Ours(NewtonCholesky(), "newton-cholesky"),
    "newton-cg": Ours(NewtonCG(), "newton-cg"),
    "no sample to start from": Forced(label="no sample", replaced={"sample_sizes": _no_sample}),
    **{
        f"lbfgs, {key}": Forced(
            LBFGS(), f"lbfgs, {key}", {"choose_curvature": partial(_forced, key=key)}
        )
        for key in CURVATURES
    },
}


def picked(problem) -> str:
    """Name the curvature that is chosen for all rows of a problem."""
    seen = {}

    def recording(objective):
        model = choose_curvature(objective)
        seen.setdefault(objective.data.n_samples, model)
        return model

    model = TorchLogisticClassifier(
        C=problem.C, l1_ratio=problem.l1_ratio, fit_intercept=problem.intercept, max_iter=1
    )
    with replacing({"choose_curvature": recording}):
        model.fit(problem.X, problem.y)
    build = seen[max(seen)].build
    settings = [f"{key}={what}" for key, what in getattr(build, "keywords", {}).items()]
    name = getattr(build, "func", build).__qualname__.removesuffix(".build").strip("_")
    return f"{name}({', '.join(settings)})"


def compare(result):
    """Least seconds of what is picked, the best alternative and its least seconds.

    Whoever does not reach 1e-6 took for ever.
    """
    least = {}
    for entry in result["peers"]:
        reached = [step for step in entry["ladder"] if max(step["suboptimality"]) <= TARGET]
        times = [min(step[CLOCK]) for step in reached]
        least[entry["name"]] = min(times, default=float("inf"))
    ours = least.pop("ours")
    best = min(least, key=least.get)
    return ours, best, least[best]


def main(arguments=None):
    """Race each case; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", nargs="+", choices=CASES, metavar="NAME", default=list(CASES))
    parser.add_argument("--limit", type=float, default=1.3, help="largest ratio")
    add_rules(parser, cap=2.0, rounds=5, prune=2.0)
    parser.add_argument("--output", type=Path, default=Path("choose.json"), metavar="FILE")
    options = parser.parse_args(arguments)
    rules = race.Rules((TARGET,), rounds=options.rounds, cap=options.cap, prune=options.prune)
    peers = [Ours(), *ALTERNATIVES.values()]
    results, status = [], 0
    print("| case | picked | seconds | best alternative | seconds | ratio |")
    print("| --- " * 6 + "|")
    with race.field(peers, Here) as (contestants, references), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of alternatives that do not converge
        for name in options.case:
            result = race.race(CASES[name], contestants, references[:1], rules)
            result |= {"case": name, "picked": picked(CASES[name].make())}
            results.append(result)
            ours, best, least = compare(result)
            missed = ours > options.limit * least
            status |= missed
            print(
                f"| {name} | {result['picked']} | {ours:.3g} | {best} | {least:.3g} "
                f"| {ours / least:.2f}{' MISSED' if missed else ''} |", flush=True,
            )  # fmt: skip
            write(options.output, peers, options, results)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
