"""Time a linear probe: 20 strengths on the features of a frozen network, one validation split.

    python benchmarks/linear_probe.py [--scale S] [--cap SECONDS] [--only WORDS]

The features are made: 100 classes around centres in 64 dimensions, sent through two random layers
(tanh, then ReLU) to 768 columns of float32, standardised; 50,000 images of which every fifth
validates. 20 values of C from 1e-6 to 1e2, scored by log-loss:

    BatchedGridSearchCV        TorchLogisticClassifier over PredefinedSplit, no refit
    TorchLogisticClassifierCV  the same, and a refit of the best C on all rows
    LogisticRegression         scikit-learn's lbfgs, a loop over C from the strongest penalty on;
                               --warm-start: each from the last

X is float32 for all. Everyone runs at the loosest tolerance of 1e-2, 1e-3, ... that brings the
log-losses within 1e-4, relatively, of those of a run of ours at 1e-6; the loop chooses for every
C anew, and only the fits that reach are counted. That it gets there confirms the reference. With
--defaults everyone has tol=1e-4, reached or not: what people run; mind the error then.

The loop has a process of its own and is stopped when its fits, all of them, have taken --cap
seconds. What it would have taken is then estimated as if the values of C that are left took as
long as the last: weak penalties take longer, so that is too little rather than too much.
Besides, --scale 0.1 takes a tenth of the rows, where the loop may end.
"""

import argparse
import sys
import time
import warnings
from dataclasses import dataclass

import numpy as np
from racing import ExpiredError, FailedError, Seat

N_SAMPLES, N_FEATURES, N_LATENT = 50_000, 768, 64
CS = np.logspace(-6, 2, 20)
TOLERANCES = [10.0**-k for k in range(2, 9)]
TARGET, REFERENCE_TOL, DEFAULT_TOL = 1e-4, 1e-6, 1e-4
LOOP = "LogisticRegression lbfgs, loop"


@dataclass
class Row:
    """What a way took: over all values of C for ours, by value of C for the loop."""

    scores: np.ndarray
    seconds: list
    tolerances: list


def features(scale, n_classes):
    """Return X, y and the fold of every row: -1 trains, 0 validates."""
    rng = np.random.default_rng(768)
    n_samples = max(int(N_SAMPLES * scale), 10 * n_classes)
    place = rng.permutation(n_samples)
    y = place % n_classes
    fold = np.where(place // n_classes % 5 == 0, 0, -1)  # a fifth of every class

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    latent = (normal(n_classes, N_LATENT) * 0.5)[y] + normal(n_samples, N_LATENT)
    hidden = np.tanh(latent @ normal(N_LATENT, 256) / 8)
    X = np.maximum(hidden @ normal(256, N_FEATURES) / 16 + np.float32(0.2), 0)
    X -= X.mean(axis=0)
    X /= X.std(axis=0)
    return X, y, fold


def loop(scale, n_classes, warm_start):
    """Prepare scikit-learn's loop in a process of its own: one fit a request."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    warnings.simplefilter("ignore")
    X, y, fold = features(scale, n_classes)
    train, held = fold == -1, fold == 0
    X, y, held_X, held_y = X[train], y[train], X[held], y[held]
    model = LogisticRegression(max_iter=10_000, warm_start=warm_start)

    def answer(C, tol):
        start = time.perf_counter()
        model.set_params(C=C, tol=tol).fit(X, y)
        score = -log_loss(held_y, model.predict_proba(held_X))
        yield time.perf_counter() - start
        yield score

    return answer


def run_loop(right, tolerances, cap, *arguments):
    """Take C after C until the cap; a C ends at the first tolerance that reaches, or the last."""
    row, spent, first = Row(np.empty(0), [], []), 0.0, 0
    with Seat(loop, *arguments) as seat:
        seat.wait()
        for C, wanted in zip(CS, right, strict=True):
            for place in range(first, len(tolerances)):
                try:
                    second, score = seat.ask(C, tolerances[place], limit=max(cap - spent, 0))
                except ExpiredError:
                    return row
                spent += second
                if abs(score / wanted - 1) <= TARGET:
                    break
            first = place  # the next C needs no looser one
            row.scores = np.append(row.scores, score)
            row.seconds.append(second)
            row.tolerances.append(tolerances[place])
    return row


def ours():
    """List our two ways: name to function of (X, y, fold, tol) that gives scores."""
    from sklearn.model_selection import PredefinedSplit

    from skorch_logreg import (
        BatchedGridSearchCV,
        TorchLogisticClassifier,
        TorchLogisticClassifierCV,
    )

    def search(X, y, fold, tol):
        model = BatchedGridSearchCV(
            TorchLogisticClassifier(tol=tol), {"C": CS},
            cv=PredefinedSplit(fold), scoring="neg_log_loss", refit=False,
        )  # fmt: skip
        return model.fit(X, y).cv_results_["mean_test_score"]

    def path(X, y, fold, tol):
        model = TorchLogisticClassifierCV(
            Cs=CS, cv=PredefinedSplit(fold), scoring="neg_log_loss", tol=tol, l1_ratios=(0,),
            use_legacy_attributes=False,
        )  # fmt: skip
        return model.fit(X, y).scores_[:, 0].mean(axis=0)

    return {"BatchedGridSearchCV": search, "TorchLogisticClassifierCV": path}


def run_ours(way, right, tolerances, *data):
    """Take one tolerance after the other until all scores are right; the last run counts."""
    for tol in tolerances:
        start = time.perf_counter()
        scores = way(*data, tol)
        seconds = time.perf_counter() - start
        if np.abs(scores / right - 1).max() <= TARGET:
            break
    return Row(scores, [seconds], [tol])


def report(name, row, right):
    """Print a row of the table."""
    if not len(row.scores):
        print(f"| {name} | - | no C ended | 0 | - | - | - |", flush=True)
        return
    error = np.abs(row.scores / right[: len(row.scores)] - 1)
    best = row.scores.argmax()
    tol = f"{max(row.tolerances):g}"
    if min(row.tolerances) < max(row.tolerances):
        tol += f" to {min(row.tolerances):g}"
    print(
        f"| {name} | {tol} | {sum(row.seconds):.3g} | {(error <= TARGET).sum()} of {len(CS)} "
        f"| {error.max():.1e} | {CS[best]:.3g} | {-row.scores[best]:.5f} |", flush=True,
    )  # fmt: skip


def compare(rows, right, cap):
    """Print the ratio of the loop to each of ours, measured or estimated."""
    row = rows[LOOP]
    missing, total = len(CS) - len(row.seconds), sum(row.seconds)
    print()
    if missing and row.seconds:
        last = row.seconds[-1]
        total += missing * last
        print(
            f"The loop was stopped after {cap:g} s with {missing} values of C to go. If these took "
            f"as long as the last one ({last:.3g} s), all would take {total:.3g} s: an estimate."
        )
    short = (np.abs(row.scores / right[: len(row.scores)] - 1) > TARGET).sum()
    if short:
        print(f"At {short} values of C the loop did not reach; it would need longer, or cannot.")
    word = "estimated" if missing else "measured"
    for name in rows:
        if name != LOOP and row.seconds:
            print(f"- {LOOP} / {name} = {total / sum(rows[name].seconds):.2f} ({word})")


def main(arguments=None):
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1, help="share of the rows")
    parser.add_argument("--classes", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--cap", type=float, default=600, metavar="SECONDS", help="of the loop")
    parser.add_argument("--defaults", action="store_true", help="tol=1e-4 for everyone")
    parser.add_argument("--warm-start", action="store_true", help="of the loop")
    parser.add_argument("--only", default="", metavar="WORDS",
                        help="ways named by one of these words (commas)")  # fmt: skip
    options = parser.parse_args(arguments)
    words = options.only.split(",")
    X, y, fold = features(options.scale, options.classes)
    print(
        f"{X.shape[0]} x {X.shape[1]} {X.dtype}, {options.classes} classes, {(fold == 0).sum()} "
        f"rows validate; {len(CS)} values of C from {CS[0]:g} to {CS[-1]:g}\n"
    )
    warnings.simplefilter("ignore")
    tolerances = [DEFAULT_TOL] if options.defaults else TOLERANCES
    right = ours()["BatchedGridSearchCV"](X, y, fold, REFERENCE_TOL)
    print("| way | tol | seconds | values of C that reach | error | best C | log-loss there |")
    print("| --- " * 7 + "|")
    rows = {}
    for name, way in ours().items():
        if any(word in name for word in words):
            rows[name] = run_ours(way, right, tolerances, X, y, fold)
            report(name, rows[name], right)
    if any(word in LOOP for word in words):
        try:
            rows[LOOP] = run_loop(
                right, tolerances, options.cap, options.scale, options.classes, options.warm_start
            )
        except FailedError as failure:
            print(f"| {LOOP} | - | failed: {failure} | 0 | - | - | - |")
            return 1
        report(LOOP, rows[LOOP], right)
        compare(rows, right, options.cap)
    return 0


if __name__ == "__main__":
    sys.exit(main())
