"""Show where the time of a fit goes: seconds, passes, the time of their reads, and a profile.

    OMP_NUM_THREADS=2 python -m benchmarks.parts [--problem NAME ...]

The floor is the time of one read of X a pass at the bandwidth that a plain sum reaches in the same
run. The profile lists functions of the package by the share of the time that they and all that
they call take.
"""

import argparse
import cProfile
import pstats
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import scipy.sparse as sp

import skorch_logreg
from benchmarks import machine
from benchmarks.peers import Ours
from benchmarks.problems import PROBLEMS, Recipe

RACE = ("iris", "small", "tall", "square", "wide", "classes", "text", "lasso")
SHARES = (0.04, 0.7)  # of the functions that are listed
FOLDER = Path(skorch_logreg.__file__).parent


def size(X):
    """Bytes of X."""
    return sum(a.nbytes for a in (X.data, X.indices, X.indptr)) if sp.issparse(X) else X.nbytes


def shares(solve):
    """Profile a call; return functions of the package and their shares of the time."""
    profile = cProfile.Profile()
    profile.runcall(solve)
    statistics = pstats.Stats(profile)
    found = {}
    for (file, _, name), (_, _, _, cumulative, _) in statistics.stats.items():
        if Path(file).is_relative_to(FOLDER) and name.isidentifier():
            key = f"{Path(file).relative_to(FOLDER).with_suffix('')}.{name}"
            found[key] = max(found.get(key, 0.0), cumulative / statistics.total_tt)
    low, high = SHARES
    return sorted(((s, f) for f, s in found.items() if low <= s <= high), reverse=True)


def main(arguments=None):
    """Fit, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problem", nargs="+", default=RACE, choices=PROBLEMS, metavar="NAME")
    parser.add_argument("--scale", type=float, default=1.0, help="of the rows")
    parser.add_argument("--repeat", type=int, default=5, help="fits, of which the median is shown")
    options = parser.parse_args(arguments)
    bandwidth = machine.read_bandwidth()
    print(f"a sum reads {bandwidth / 1e9:.3g} GB/s")
    for name in options.problem:
        problem, seconds = Recipe(name, options.scale).make(), []

        def solve(problem=problem):
            return Ours().solve(problem.X, problem.y, problem, 1e-3)

        for _ in range(options.repeat + 1):  # the first is a warm-up
            begin = perf_counter()
            answer = solve()
            seconds.append(perf_counter() - begin)
        floor = answer.passes * size(problem.X) / bandwidth
        print(
            f"\n{name}: {median(seconds[1:]):.3g} s, {answer.passes} passes, floor {floor:.2g} s",
            *(f"{share:6.0%}  {function}" for share, function in shares(solve)),
            sep="\n",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
