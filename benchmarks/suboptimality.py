"""Show how far from the certified optimum a fit ends, and how long it takes.

    python benchmarks/suboptimality.py FOLDER [--only TEXT] [--quick] [--l1 | --l2] [--peers]

FOLDER holds data sets with certified optima: load.py, make_ugly.py, objective.py and
reference.json. Every binary and multinomial entry is fitted at default settings, at tol=1e-8, and
on float32 data; its coefficients are judged by FOLDER's objective in extended precision on the
reference's own float64 X, so that `(F - F*) / F*` means the same in every column. Columns:

    default, tight, float32   relative suboptimality; limits 1e-7, 1e-12, 1e-6
    w, E behind a figure      the fit warned; it raised (the error stands in the line's end)
    x behind float32          float32 cannot hold this X: the cast moves some column by more than
                              1e-3 of its deviation; the figure is shown, no limit holds it
    optimality iter passes    optimality_, n_iter_, n_passes_ of the default fit
    seconds                   of the default fit; the median of three where it is under a second
    peer, peer s              with --peers: scikit-learn's default LogisticRegression (L2 only),
                              on the same arrays, fits taken in turn

Exit status 1 if a limit is missed or a fit raises.
"""

import argparse
import importlib
import json
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from skorch_logreg import TorchLogisticClassifier

LIMITS = {"default": 1e-7, "tight": 1e-12, "float32": 1e-6}
# beyond these sizes --quick leaves an entry out
QUICK_ENTRIES, QUICK_STRENGTHS = 2_000_000, (0.1, 100.0)


@dataclass(frozen=True)
class Entry:
    """One problem: data, strength, and the certified minimum."""

    name: str
    X: object
    y: np.ndarray
    C: float
    l1_ratio: float
    minimum: float


@dataclass
class Run:
    """One fit: its model or its error, its warnings and its seconds."""

    model: object
    error: str
    warned: bool
    seconds: float


def entries(folder, only, quick, l1, l2):
    """Yield the entries of reference.json, set by set."""
    load, make_ugly, objective = (
        importlib.import_module(name) for name in ("load", "make_ugly", "objective")
    )
    reference = json.loads((folder / "reference.json").read_text())
    generated = set(make_ugly.names())
    for made in reference["sets"]:
        name = made["name"]
        if only not in name or made["task"] == "multilabel":
            continue
        chosen = [e for e in made["entries"] if _wanted(e, made, quick, l1, l2)]
        if not chosen:
            continue
        data = make_ugly.load(name) if name in generated else load.load(name)
        X = data.X if name in generated else objective.reference_X(data)
        for e in chosen:
            yield Entry(name, X, data.y, e["C"], e["l1_ratio"], e["F"])


def _wanted(entry, made, quick, l1, l2):
    if (l1 and not entry["l1_ratio"]) or (l2 and entry["l1_ratio"]):
        return False
    if quick:
        small = made["n"] * made["d"] * made["K"] <= QUICK_ENTRIES
        return small and (bool(entry["l1_ratio"]) or entry["C"] in QUICK_STRENGTHS)
    return True


def fit(estimator, X, y):
    """Fit once, whatever happens."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        try:
            estimator.fit(X, y)
            error = ""
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}".splitlines()[0]
        seconds = time.perf_counter() - start
    return Run(estimator, error, bool(caught), seconds)


def timed(makers, X, y):
    """Fit each in turn, three rounds where a round is short; the first run of each, its median."""
    runs = [[fit(make(), X, y)] for make in makers]
    if max(own[0].seconds for own in runs) < 1:
        for _ in range(2):
            for own, make in zip(runs, makers, strict=True):
                own.append(fit(make(), X, y))
    for own in runs:
        own[0].seconds = statistics.median(run.seconds for run in own)
    return [own[0] for own in runs]


def judge(entry, run, objective):
    """Relative suboptimality of a run, nan where it raised."""
    if run.error:
        return np.nan
    model = run.model
    value = objective.objective(
        entry.X, entry.y, np.asarray(model.coef_, dtype=np.float64),
        np.asarray(model.intercept_, dtype=np.float64), entry.C, entry.l1_ratio,
    )  # fmt: skip
    return (value - entry.minimum) / entry.minimum


def holds(X):
    """Whether float32 holds X: no column moves by more than 1e-3 of its deviation."""
    if sp.issparse(X):
        return True
    deviation = X.std(axis=0)
    moved = np.abs(X.astype(np.float32) - X).max(axis=0)
    return bool((moved <= 1e-3 * deviation)[deviation > 0].all())


def cell(figure, run, letter=" "):
    """Print a suboptimality with its letter."""
    letter = "E" if run.error else "w" if run.warned else letter
    return f"{figure:9.1e}{letter}"


def main(arguments=None):
    """Print the table and its summary; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", metavar="TEXT", help="sets whose name holds TEXT")
    parser.add_argument("--quick", action="store_true", help="small sets, a few strengths")
    parser.add_argument("--l1", action="store_true", help="L1 and elastic net only")
    parser.add_argument("--l2", action="store_true", help="L2 only")
    parser.add_argument("--peers", action="store_true", help="scikit-learn beside it")
    options = parser.parse_args(arguments)
    if not (options.folder / "reference.json").is_file():
        parser.error(f"{options.folder} has no reference.json")
    sys.path.insert(0, str(options.folder))
    objective = importlib.import_module("objective")

    head = f"{'set':22}{'C':>10}{'l1':>4} {'default':>9}  {'tight':>8}  {'float32':>8}  "
    head += f"{'optimality':>10}{'iter':>5}{'passes':>7}{'seconds':>9}"
    print(head + (f"{'peer':>10} {'peer s':>9}" if options.peers else ""))
    worst = dict.fromkeys(LIMITS, -np.inf)
    missed, errors, n_warned, n_entries, slower = 0, 0, 0, 0, 0.0
    for entry in entries(options.folder, options.only, options.quick, options.l1, options.l2):
        settings = {"C": entry.C, "l1_ratio": entry.l1_ratio}

        def ours(settings=settings, **more):
            return TorchLogisticClassifier(**settings, **more)

        def peer(settings=settings):
            return LogisticRegression(C=settings["C"])

        beside = options.peers and not entry.l1_ratio
        default, *others = timed([ours, peer] if beside else [ours], entry.X, entry.y)
        runs = {
            "default": default,
            "tight": fit(ours(tol=1e-8, max_iter=1000), entry.X, entry.y),
            "float32": fit(ours(), entry.X.astype(np.float32), entry.y),
        }
        figures = {kind: judge(entry, run, objective) for kind, run in runs.items()}
        line = f"{entry.name:22}{entry.C:10.3g}{entry.l1_ratio:4g} "
        held = holds(entry.X)
        line += cell(figures["default"], default) + " " + cell(figures["tight"], runs["tight"])
        line += " " + cell(figures["float32"], runs["float32"], " " if held else "x")
        if default.error:
            line += f" {'':10}{'':5}{'':7}{default.seconds:9.3f}"
        else:
            model = default.model
            line += f" {model.optimality_:10.1e}{int(model.n_iter_[0]):5}"
            line += f"{model.n_passes_:7}{default.seconds:9.3f}"
        if others:
            line += f"{cell(judge(entry, others[0], objective), others[0])}"
            line += f" {others[0].seconds:9.3f}"
            slower = max(slower, default.seconds / others[0].seconds)
        judged = [kind for kind in LIMITS if held or kind != "float32"]
        bad = [kind for kind in judged if not figures[kind] <= LIMITS[kind]]
        line += f"  MISSED {', '.join(bad)}" if bad else ""
        line += "".join(f"  {kind}: {run.error}" for kind, run in runs.items() if run.error)
        print(line, flush=True)
        n_entries += 1
        missed += bool(bad)
        errors += sum(bool(run.error) for run in runs.values())
        n_warned += sum(run.warned for run in runs.values())
        for kind in judged:
            worst[kind] = max(worst[kind], figures[kind])
    if not n_entries:
        print("no entry was chosen", file=sys.stderr)
        return 1
    print(
        "worst: "
        + ", ".join(f"{kind} {worst[kind]:.1e} (limit {LIMITS[kind]:g})" for kind in LIMITS)
        + f"; {n_entries} entries, {missed} missed a limit, {n_warned} fits warned, "
        + f"{errors} raised"
        + (f"; at most {slower:.2f} x the peer's seconds" if options.peers else "")
    )
    return 1 if missed or errors else 0


if __name__ == "__main__":
    sys.exit(main())
