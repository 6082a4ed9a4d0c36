"""Race one solve of many models against as many fits: searches over C, and many labels.

    python benchmarks/many_models.py [PROBLEM ...] [--data FOLDER] [--only WORDS] [--cap SECONDS]
    python benchmarks/many_models.py --check

Problems: tiny, small, medium, large (10 values of C x 5 folds), labels, labels-float32, text (one
model a label), hard (the same grid on five sets that resist: hard-heavy, hard-wide, hard-rare,
hard-breast_cancer, hard-digits). FOLDER has a load.py whose load(name) gives X and y: any other
name is asked of it; a 2-D y is a set of labels, dense data are standardised.

Everyone runs at the loosest tolerance of 1e-1, 1e-2, ... 1e-10 that reaches the target: all mean
scores within 1e-4 of the reference's, relatively; or the objective summed over the labels within
1e-6. Each sits in a process of its own and takes its turn; a fit under 0.2 s is run five times a
turn. Start-up, warm-up and conversions to own containers are not timed, nor is judging. Where
float32 data do not let someone reach, it is tried once more on a float64 copy, made on the clock.
Columns: seconds, median (smallest to largest) and number of timed fits; error against the
reference; the start of its process, X and warm-up in. What did not reach stays in the table.
Last come the ratios: the best of each family against ours, turn by turn: median and range.
Exit status 1 if the check fails or one of ours does not reach.
"""

import argparse
import gc
import importlib.metadata
import os
import platform
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import joblib
import many_contestants
import many_problems
import numpy as np
from racing import ExpiredError, FailedError, Seat

TOLERANCES = [10.0**-k for k in range(1, 11)]
TARGETS = {"search": 1e-4, "labels": 1e-6}
QUICK, QUICK_FITS = 0.2, 5
SCALE_LIMIT = 1e-6


@dataclass
class Row:
    """What is known of a contestant."""

    contestant: many_contestants.Contestant
    seat: Seat | None = None
    setting: tuple = ()
    error: float = np.nan
    note: str = "did not reach"
    spent: float = 0.0
    last: float = 0.0
    turns: list = field(default_factory=list)

    @property
    def seconds(self):
        """All timed fits."""
        return [second for turn in self.turns for second in turn]

    @property
    def median(self):
        """The turns' median of medians."""
        return median(median(turn) for turn in self.turns)


def seated(path, name):
    """Load the problem in a contestant's own process and warm up; return what fits and times."""
    warnings.simplefilter("ignore")
    problem = joblib.load(path)
    (contestant,) = (c for c in many_contestants.contestants(problem) if c.name == name)
    small = many_contestants.warm_up(problem)
    small_X, small_y = contestant.prepare(small.X, small.y)
    X, y = contestant.prepare(problem.X, problem.y)
    contestant.fit(small_X, small_y, 1e-2)

    def answer(tol, dtype, n_fits):
        contestant.fit(small_X, small_y, 1e-2)  # workers that slept are awake again
        seconds = []
        for _ in range(n_fits):
            gc.collect()
            start = time.perf_counter()
            model = contestant.fit(X if dtype is None else X.astype(dtype), y, tol)
            seconds.append(time.perf_counter() - start)
        yield seconds
        yield many_contestants.judged(problem, contestant, model)

    return answer


def right_answer(path):
    """Make the reference in a process of its own."""
    warnings.simplefilter("ignore")
    problem = joblib.load(path)

    def answer():
        yield None
        yield many_contestants.reference(problem)

    return answer


def settle(row, problem, right, target, cap):
    """Find the loosest setting of a contestant that reaches the target."""
    copies = [None]
    if problem.X.dtype == np.float32 and row.contestant.family != many_contestants.OURS:
        copies.append(np.float64)
    for setting in [(tol, dtype) for dtype in copies for tol in TOLERANCES]:
        try:
            (seconds,), values = row.seat.ask(*setting, 1, limit=cap - row.spent)
        except ExpiredError:
            row.note = f"did not reach in {cap:g} s"
            row.setting = setting
            return
        except FailedError as failure:
            row.note = str(failure)
            return
        row.spent, row.last = row.spent + seconds, seconds
        row.setting, row.error = setting, many_contestants.error(problem, values, right)
        if abs(row.error) <= target:
            row.note = ""
            return
        if row.spent >= cap:
            row.note = f"did not reach in {cap:g} s"
            return


def take_turn(row, problem, right, target, cap, n_fits):
    """Time a contestant once; its error is the worst of its turns."""
    limit = 10 + 10 * cap
    try:
        seconds, values = row.seat.ask(*row.setting, n_fits, limit=limit)
    except (ExpiredError, FailedError) as failure:
        row.note = f"reached once, then {failure or 'did not end'}"
        return
    row.turns.append(seconds)
    row.error = max(row.error, many_contestants.error(problem, values, right), key=abs)
    if abs(row.error) > target:
        row.note = "reached once, then did not"


def race(problem, options):
    """Run all contestants on a problem; return their rows and what the reference is worth."""
    target = TARGETS["labels" if problem.labels else "search"]
    words = options.only.split(",")
    everyone = many_contestants.contestants(problem)
    rows = [Row(c) for c in everyone if any(word in c.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "problem")
        joblib.dump(problem, path)
        try:
            with Seat(right_answer, path) as seat:
                _, (right, bound) = seat.ask()
            for row in rows:
                if row.contestant.left_out:
                    row.note = row.contestant.left_out
                    continue
                row.seat = Seat(seated, path, row.contestant.name)
                try:
                    row.seat.wait()
                except (ExpiredError, FailedError) as failure:
                    row.note = f"did not start: {failure}"
                else:
                    settle(row, problem, right, target, options.cap)
                if row.note:
                    row.seat.close()
                tell(options, row)
            running = [row for row in rows if not row.note]
            n_fits = {id(r): QUICK_FITS if r.last < QUICK else 1 for r in running}
            for turn in range(options.repeat):
                first = turn % max(len(running), 1)  # the order rotates
                for row in running[first:] + running[:first]:
                    used = sum(row.seconds)
                    if row.note or (turn and used + max(row.turns[-1]) > options.cap):
                        continue
                    take_turn(row, problem, right, target, options.cap, n_fits[id(row)])
        finally:
            for row in rows:
                if row.seat is not None:
                    row.seat.close()
    return rows, bound


def tell(options, row):
    """Say on stderr how a contestant's series ended."""
    if options.verbose:
        end = row.note or f"reached at {row.setting[0]:g}"
        words = f"{row.contestant.name}: {end}, error {row.error:.1e}, {row.spent:.3g} s"
        print(words, file=sys.stderr, flush=True)


def table(problem, rows, bound):
    """Lines of the Markdown table of a race."""
    target = TARGETS["labels" if problem.labels else "search"]
    yield f"### {problem}"
    yield ""
    what = "objective summed over the labels" if problem.labels else "every mean score"
    yield f"Target: {what} within {target:g}" + (
        f"; the reference is certified to {bound:.1e}." if problem.labels else "."
    )
    yield ""
    yield "| contestant | tol | seconds | fits | error | start-up s |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in sorted(rows, key=lambda r: np.inf if r.note else r.median):
        start = row.seat.start_seconds if row.seat is not None else None
        tol = f"{row.setting[0]:g}" if row.setting else "-"
        if row.setting and row.setting[1] is not None:
            tol += ", float64 copy"
        seconds = row.seconds
        if not row.note:
            row_says = f"{row.median:.4g} ({min(seconds):.4g} to {max(seconds):.4g})"
        else:
            row_says = row.note
        error = "-" if np.isnan(row.error) else f"{row.error:.1e}"
        start = "-" if start is None else f"{start:.1f}"
        name = row.contestant.name
        yield f"| {name} | {tol} | {row_says} | {len(seconds)} | {error} | {start} |"


def ratios(rows, cap):
    """Lines that compare the best of each family with each of ours."""
    ours = [r for r in rows if r.contestant.family == many_contestants.OURS and not r.note]
    peers = [r for r in rows if r.contestant.family != many_contestants.OURS]
    for family in dict.fromkeys(r.contestant.family for r in peers):
        kin = [r for r in peers if r.contestant.family == family]
        reached = [r for r in kin if not r.note]
        for row in ours:
            if reached:
                best = min(reached, key=lambda r: r.median)
                by_turn = [
                    median(theirs) / median(mine)
                    for theirs, mine in zip(best.turns, row.turns, strict=False)
                ]
                yield (
                    f"- {best.contestant.name} / {row.contestant.name} = "
                    f"{median(by_turn):.2f} ({min(by_turn):.2f} to {max(by_turn):.2f})"
                )
            elif all(r.contestant.left_out for r in kin):
                yield f"- {family}: none took part"
            else:
                yield (
                    f"- {family}: none reached; the cap of {cap:g} s is "
                    f"{cap / row.median:.0f} times {row.contestant.name}"
                )


def check():
    """Print the error of every contestant on small problems; return how many are wrong."""
    wrong = 0
    print("| problem | contestant | error at tol 1e-9 |\n| --- | --- | --- |")
    for problem in many_contestants.small_problems():
        for contestant in many_contestants.contestants(problem):
            if contestant.left_out:
                says = contestant.left_out
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = many_contestants.check(problem, contestant)
                says = f"{found:.1e}" + ("  WRONG SCALE" if not found <= SCALE_LIMIT else "")
                wrong += not found <= SCALE_LIMIT
            print(f"| {problem.name} | {contestant.name} | {says} |", flush=True)
    return wrong


def machine():
    """Name what the seconds depend on."""
    packages = ("numpy", "scipy", "scikit-learn", "torch")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return f"{os.cpu_count()} cores ({platform.machine()}), OMP_NUM_THREADS {threads}; {versions}."


def main(arguments=None):
    """Print a table a problem; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problems", nargs="*", metavar="PROBLEM")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder of a load.py")
    parser.add_argument("--only", default="", metavar="WORDS",
                        help="contestants named by one of these words (commas)")  # fmt: skip
    parser.add_argument("--repeat", type=int, default=5, help="turns of everyone (default 5)")
    parser.add_argument("--cap", type=float, default=60, metavar="SECONDS",
                        help="of a contestant's tolerances, and of its turns")  # fmt: skip
    parser.add_argument("--scale", type=float, default=1, help="shrink the generated problems")
    parser.add_argument("--intercept", type=int, choices=(0, 1),
                        help="default: none for text and labels of FOLDER, else one")  # fmt: skip
    parser.add_argument("--check", action="store_true", help="check every contestant's scale")
    parser.add_argument("--verbose", action="store_true", help="report on stderr meanwhile")
    options = parser.parse_args(arguments)
    if options.check:
        return 1 if check() else 0
    if options.repeat < 1:
        parser.error(f"--repeat {options.repeat} is not a positive number")
    chosen = []
    for name in options.problems or ["tiny", "small", "medium"]:
        chosen += many_problems.HARD if name == "hard" else [name]
    unknown = [name for name in chosen if name not in many_problems.names()]
    if unknown and options.data is None:
        there = ", ".join([*many_problems.names(), "hard"])
        parser.error(f"no problem {unknown[0]!r}; there are {there}; others need --data FOLDER")
    status = 0
    print(machine())
    for name in chosen:
        intercept = None if options.intercept is None else bool(options.intercept)
        problem = many_problems.load(name, options.scale, options.data, intercept)
        rows, bound = race(problem, options)
        lines = [*table(problem, rows, bound), "", *ratios(rows, options.cap)]
        print("\n" + "\n".join(lines), flush=True)
        ours = [row for row in rows if row.contestant.family == many_contestants.OURS]
        status |= any(row.note for row in ours)
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
