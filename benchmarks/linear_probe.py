"""Time a linear probe: 20 strengths on the features of a frozen network, one validation split.

    python benchmarks/linear_probe.py [--scale S] [--cap SECONDS] [--only WORDS]

The features are made: 100 classes around centres in 64 dimensions, sent through two random layers
(tanh, then ReLU) to 768 columns of float32, standardised; 50,000 images of which every fifth
validates. 20 values of C from 1e-6 to 1e2, scored by log-loss:

    BatchedGridSearchCV        TorchLogisticClassifier over PredefinedSplit, no refit
    TorchLogisticClassifierCV  the same, and a refit of the best C on all rows
    LogisticRegression         scikit-learn's lbfgs, a loop over C from the strongest penalty on;
                               --warm-start: each from the last

Everyone has the tolerance that --tol and --peer-tol say (1e-3 and 1e-4: the log-losses then agree
to about 1e-4, and the table shows how well); X is float32 for all. The loop runs in a process of
its own and is stopped after --cap seconds. What it would have taken is then estimated from the
values that it finished, as if the others took as long as the last of these: weak penalties take
longer, so that is too little rather than too much. Besides, --scale 0.1 runs all on a tenth of
the rows, where the loop may end: the ratio there is measured, not estimated.
"""

import argparse
import sys
import time
import warnings

import numpy as np
from racing import ExpiredError, FailedError, Seat

N_SAMPLES, N_FEATURES, N_LATENT = 50_000, 768, 64
CS = np.logspace(-6, 2, 20)
LOOP = "LogisticRegression lbfgs, loop"


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


def loop(scale, n_classes, tol, warm_start):
    """Prepare scikit-learn's loop in a process of its own: one value of C a request."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    warnings.simplefilter("ignore")
    X, y, fold = features(scale, n_classes)
    train, held = fold == -1, fold == 0
    X, y, held_X, held_y = X[train], y[train], X[held], y[held]
    model = LogisticRegression(tol=tol, max_iter=10_000, warm_start=warm_start)

    def answer(C):
        start = time.perf_counter()
        model.set_params(C=C).fit(X, y)
        score = -log_loss(held_y, model.predict_proba(held_X))
        yield time.perf_counter() - start
        yield score

    return answer


def run_loop(cap, *arguments):
    """Return the scores of the values of C that end before the cap, and the seconds of each."""
    scores, seconds = [], []
    with Seat(loop, *arguments) as seat:
        seat.wait()
        for C in CS:
            try:
                second, score = seat.ask(C, limit=cap - sum(seconds))
            except ExpiredError:
                break
            seconds.append(second)
            scores.append(score)
            if sum(seconds) >= cap:
                break
    return np.array(scores), seconds


def ours(tol):
    """List our two ways: name to function of (X, y, fold) that gives scores."""
    from sklearn.model_selection import PredefinedSplit

    from skorch_logreg import (
        BatchedGridSearchCV,
        TorchLogisticClassifier,
        TorchLogisticClassifierCV,
    )

    def search(X, y, fold):
        model = BatchedGridSearchCV(
            TorchLogisticClassifier(tol=tol), {"C": CS},
            cv=PredefinedSplit(fold), scoring="neg_log_loss", refit=False,
        )  # fmt: skip
        return model.fit(X, y).cv_results_["mean_test_score"]

    def path(X, y, fold):
        model = TorchLogisticClassifierCV(
            Cs=CS, cv=PredefinedSplit(fold), scoring="neg_log_loss", tol=tol, l1_ratios=(0,),
            use_legacy_attributes=False,
        )  # fmt: skip
        return model.fit(X, y).scores_[:, 0].mean(axis=0)

    return {"BatchedGridSearchCV": search, "TorchLogisticClassifierCV": path}


def main(arguments=None):
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scale", type=float, default=1, help="share of the rows")
    parser.add_argument("--classes", type=int, default=100, help="how many (default 100)")
    parser.add_argument("--cap", type=float, default=600, metavar="SECONDS", help="of the loop")
    parser.add_argument("--tol", type=float, default=1e-3, help="of ours")
    parser.add_argument("--peer-tol", type=float, default=1e-4, help="of the loop")
    parser.add_argument("--warm-start", action="store_true", help="of the loop")
    parser.add_argument("--only", default="", metavar="WORDS",
                        help="ways named by one of these words (commas)")  # fmt: skip
    options = parser.parse_args(arguments)
    words = options.only.split(",")
    X, y, fold = features(options.scale, options.classes)
    print(
        f"{X.shape[0]} x {X.shape[1]} {X.dtype}, {options.classes} classes, {(fold == 0).sum()} rows "
        f"validate; {len(CS)} values of C from {CS[0]:g} to {CS[-1]:g}\n"
    )
    print("| way | seconds | values of C | best C | log-loss there | away from the first row |")
    print("| --- | --- | --- | --- | --- | --- |")
    warnings.simplefilter("ignore")
    scores, seconds = {}, {}
    for name, way in ours(options.tol).items():
        if any(word in name for word in words):
            start = time.perf_counter()
            scores[name] = way(X, y, fold)
            seconds[name] = [time.perf_counter() - start]
            report(name, scores, seconds)
    if any(word in LOOP for word in words):
        try:
            scores[LOOP], seconds[LOOP] = run_loop(
                options.cap, options.scale, options.classes, options.peer_tol, options.warm_start
            )
        except FailedError as failure:
            print(f"| {LOOP} | failed: {failure} | 0 | - | - | - |")
            return 1
        report(LOOP, scores, seconds)
        compare(scores, seconds, options.cap)
    return 0


def report(name, scores, seconds):
    """Print a row; differences are relative, over the values of C that both finished."""
    own, total = scores[name], sum(seconds[name])
    first = next(iter(scores.values()))
    if not len(own):
        print(f"| {name} | none ended | 0 | - | - | - |", flush=True)
        return
    away = np.abs(own / first[: len(own)] - 1).max()
    best = own.argmax()
    print(
        f"| {name} | {total:.3g} | {len(own)} of {len(CS)} | {CS[best]:.3g} | {-own[best]:.5f} "
        f"| {away:.1e} |", flush=True,
    )  # fmt: skip


def compare(scores, seconds, cap):
    """Print the ratio of the loop to each of ours, measured or a lower estimate."""
    done, spent = len(scores[LOOP]), sum(seconds[LOOP])
    missing = len(CS) - done
    print()
    if missing and done:
        total = spent + missing * seconds[LOOP][-1]
        print(
            f"The loop was stopped at {cap:g} s with {missing} values of C to go. If these took as "
            f"long as the last one ({seconds[LOOP][-1]:.3g} s), it would need {total:.3g} s: an "
            "estimate, not a measurement."
        )
    else:
        total = spent if done else cap
    word = "estimated" if missing else "measured"
    for name, own in seconds.items():
        if name != LOOP:
            print(f"- {LOOP} / {name} = {total / sum(own):.1f} ({word})")


if __name__ == "__main__":
    sys.exit(main())
