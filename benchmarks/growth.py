"""Show how the time grows with the number of models that are solved at once.

    python benchmarks/growth.py PICTURE [--cap SECONDS] [--repeat N]
    python benchmarks/growth.py --marginal

1, 2, 5, ... 1000 models on dense normal data, 20k x 50, in two kinds: labels (MultiLabel) and
strengths (BatchedGridSearchCV: values of C from 1e-4 to 1e4, each scored on one validation split
in five rows). Beside each the same models one by one: a loop of TorchLogisticClassifier and one
of scikit-learn's LogisticRegression. Everyone runs at the loosest tolerance of 1e-1, 1e-2, ...
that brings five models to the target: the objective summed over the labels to within 1e-6, every
score to within 1e-4. Seconds are medians of turns. A loop is not begun when it would take more
than the cap; its line goes on dotted, and the table has `~`, in proportion to the last point.

PICTURE is where the picture goes (its ending says how: .png, .svg, .pdf). --marginal asks instead
what one more model costs in a batch of 50 on 100k x 100, as a share of a single fit: a twentieth
of the difference between batches of 60 and of 40.
"""

import argparse
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path
from statistics import median

import many_contestants
import many_problems
import many_reference
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import PredefinedSplit

from skorch_logreg import BatchedGridSearchCV, MultiLabel, TorchLogisticClassifier

SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
TOLERANCES = [10.0**-k for k in range(1, 11)]
TARGETS = {"labels": 1e-6, "strengths": 1e-4}
TRIED_ON = 5
SINGLE, BATCH, LOOP = "TorchLogisticClassifier one by one", "batch", "LogisticRegression one by one"
FEWER, MORE = 40, 60


class Labels:
    """The first models are the first labels of an indicator."""

    kind, batch_name = "labels", "MultiLabel, one batch"

    def __init__(self, n_samples, n_features, n_models):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((n_samples, n_features))
        self.problem = many_problems.Problem("", X, many_problems.indicator(X, n_models, rng))

    def batch(self, n_models, tol):
        """Coefficients and intercepts of the first labels, solved together."""
        Y = self.problem.y[:, :n_models]
        model = MultiLabel(TorchLogisticClassifier(tol=tol)).fit(self.problem.X, Y)
        return model.coef_, model.intercept_

    def loop(self, single, n_models):
        """Coefficients and intercepts of the first labels, one after the other."""
        models = []
        for column in range(n_models):
            model = single.fit(self.problem.X, self.problem.y[:, column])
            models.append((model.coef_[0], model.intercept_[0]))
        return tuple(np.array(part) for part in zip(*models, strict=True))

    def error(self, answer, n_models):
        """How far the summed objective is from its minimum, relatively."""
        some = replace(self.problem, y=self.problem.y[:, :n_models])
        right, _ = many_reference.label_minima(some)
        values = many_reference.label_objectives(some, *answer)
        return many_contestants.error(some, values, right)


class Strengths:
    """The first models are the first values of C, in an order without order; C = 1 comes first."""

    kind, batch_name = "strengths", "BatchedGridSearchCV, one batch"

    def __init__(self, n_samples, n_features, n_models):
        rng = np.random.default_rng(1)
        self.X = rng.standard_normal((n_samples, n_features))
        self.y = many_problems.noisy_labels(self.X @ rng.standard_normal(n_features), rng)
        Cs = np.logspace(-4, 4, n_models)
        self.Cs = np.append(1.0, rng.permutation(Cs)[: n_models - 1])
        fold = np.where(np.arange(n_samples) < 0.8 * n_samples, -1, 0)
        self.split = PredefinedSplit(fold)
        ((self.train, self.test),) = self.split.split()

    def batch(self, n_models, tol):
        """Scores of the first values of C, solved together."""
        search = BatchedGridSearchCV(
            TorchLogisticClassifier(tol=tol), {"C": self.Cs[:n_models]},
            cv=self.split, scoring="neg_log_loss", refit=False,
        )  # fmt: skip
        return search.fit(self.X, self.y).cv_results_["mean_test_score"]

    def loop(self, single, n_models):
        """Scores of the first values of C, one after the other."""
        # the split is made once, as a careful user does
        X, y, held_X, held_y = (m[rows] for rows in (self.train, self.test) for m in self._data)
        scores = []
        for C in self.Cs[:n_models]:
            model = single.set_params(C=C).fit(X, y)
            scores.append(-log_loss(held_y, model.predict_proba(held_X)))
        return np.array(scores)

    @property
    def _data(self):
        return self.X, self.y

    def error(self, answer, n_models):
        """How far the worst score is from that of a tight fit of scikit-learn's, relatively."""
        tight = LogisticRegression(solver="newton-cholesky", tol=1e-10, max_iter=1000)
        return float(np.abs(answer / self.loop(tight, n_models) - 1).max())


def ways(models, solver):
    """List the ways to the models: name to function of (number of models, tol)."""

    def ours(n_models, tol):
        return models.loop(TorchLogisticClassifier(tol=tol), n_models)

    def theirs(n_models, tol):
        single = LogisticRegression(solver=solver, tol=tol, max_iter=10_000)
        return models.loop(single, n_models)

    return {BATCH: models.batch, SINGLE: ours, LOOP: theirs}


def loosest(models, way):
    """Return the loosest tolerance that reaches the target."""
    for tol in TOLERANCES:
        if abs(models.error(way(TRIED_ON, tol), TRIED_ON)) <= TARGETS[models.kind]:
            return tol
    raise RuntimeError(f"no tolerance reaches {TARGETS[models.kind]:g} of {models.kind}")


def timed(way, *arguments):
    """Return the seconds of one call."""
    start = time.perf_counter()
    way(*arguments)
    return time.perf_counter() - start


def measure(models, solver, sizes, repeat, cap):
    """Time every way at every size; seconds by way, and up to where they are measured."""
    chosen = {name: (way, loosest(models, way)) for name, way in ways(models, solver).items()}
    seconds = {name: [] for name in chosen}
    measured = dict.fromkeys(chosen, len(sizes))
    for place, size in enumerate(sizes):
        turns = {}
        for name in chosen:
            last = seconds[name][-1] * size / sizes[place - 1] if place else 0.0
            if name != BATCH and (place > measured[name] or last > cap):
                measured[name] = min(measured[name], place)
                seconds[name].append(last)
            else:
                turns[name] = []
        for turn in range(repeat):
            for name in turns:
                way, tol = chosen[name]
                if turn and sum(turns[name]) + turns[name][-1] > cap:
                    continue
                turns[name].append(timed(way, size, tol))
        for name in turns:
            seconds[name].append(median(turns[name]))
    return seconds, measured, {name: tol for name, (_, tol) in chosen.items()}


def show(models, sizes, seconds, measured, tolerances):
    """Print a table of one kind."""
    print(f"\n### {models.kind}, by number of models; seconds\n")
    names = [models.batch_name, SINGLE, LOOP]
    print("| models | " + " | ".join(names) + " | LogisticRegression / batch |")
    print("| --- " * 5 + "|")
    print("| tol | " + " | ".join(f"{tolerances[name]:g}" for name in seconds) + " | |")
    for place, size in enumerate(sizes):
        cells = [
            ("~ " if place >= measured[name] else "") + f"{seconds[name][place]:.3g}"
            for name in seconds
        ]
        ratio = seconds[LOOP][place] / seconds[BATCH][place]
        print(f"| {size} | " + " | ".join(cells) + f" | {ratio:.1f} |", flush=True)


def picture(path, results, sizes, shape):
    """Draw both kinds: log-log, lines named where they end."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import FuncFormatter

    figure, panels = plt.subplots(
        1, len(results), figsize=(11, 4.6), sharey=True, layout="constrained", squeeze=False
    )
    looks = {
        BATCH: {"color": "black", "linewidth": 2.4, "marker": "o"},
        SINGLE: {"color": "0.25", "linewidth": 1.4, "linestyle": "--", "marker": "s"},
        LOOP: {"color": "0.45", "linewidth": 1.4, "marker": "^"},
    }
    for panel, (models, seconds, measured) in zip(panels[0], results, strict=True):
        for name, look in looks.items():
            known = measured[name]
            panel.plot(sizes[:known], seconds[name][:known], markersize=4, **look)
            if known < len(sizes):  # extended in proportion
                more = slice(known - 1, None)
                plain = {"color": look["color"], "linewidth": 1.4, "linestyle": ":"}
                panel.plot(sizes[more], seconds[name][more], **plain)
        panel.set(xscale="log", yscale="log", xlabel=f"number of {models.kind}")
        panel.set_xlim(sizes[0] * 0.8, sizes[-1] * (sizes[-1] / sizes[0]) ** 0.55)
        panel.set_xticks([10**k for k in range(4) if sizes[0] <= 10**k <= sizes[-1]])
        panel.minorticks_off()
        panel.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        panel.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} s"))
        panel.spines[["top", "right"]].set_visible(False)
        grown = {name: seconds[name][-1] / seconds[name][0] for name in looks}
        panel.set_title(
            f"{sizes[-1]} {models.kind} take {grown[BATCH]:.3g} times the time of one;\n"
            f"one by one in scikit-learn {grown[LOOP]:.3g} times",
            loc="left", fontsize=10,
        )  # fmt: skip
    for panel, (models, seconds, _) in zip(panels[0], results, strict=True):
        texts = {BATCH: models.batch_name.replace(", ", ",\n")}
        texts |= {name: name.replace(" ", "\n", 1) for name in (SINGLE, LOOP)}
        ends = _apart({name: np.log10(seconds[name][-1]) for name in looks}, panel)
        for name, end in ends.items():
            panel.annotate(
                texts[name], (sizes[-1], 10**end), (6, 0), textcoords="offset points",
                va="center", fontsize=8, color=looks[name]["color"],
            )  # fmt: skip
    rows, columns = shape
    dotted = any(min(measured.values()) < len(sizes) for _, _, measured in results)
    figure.suptitle(
        f"Time to solve many models on {rows} x {columns}"
        + ("   (dotted: not run, in proportion)" if dotted else ""),
        x=0.01, ha="left", fontsize=11,
    )  # fmt: skip
    figure.savefig(path, dpi=160)


def _apart(ends, panel):
    """Move labels that would touch: an eleventh of the axis each."""
    low, high = np.log10(panel.get_ylim())
    gap, previous = (high - low) / 11, -np.inf
    moved = {}
    for name in sorted(ends, key=ends.get):
        previous = moved[name] = max(ends[name], previous + gap)
    return moved


def marginal(models, repeat):
    """Print what one more model costs in a batch of 50, as a share of a single fit."""
    way, single = models.batch, ways(models, "")[SINGLE]
    tol, single_tol = loosest(models, way), loosest(models, single)
    runs = {(way, n, tol): [] for n in (FEWER, MORE)} | {(single, 1, single_tol): []}
    for _ in range(repeat):
        for run, seconds in runs.items():
            seconds.append(timed(*run))
    fewer, more, one = runs.values()
    # turn by turn, so that a slow spell of the machine hits both sides
    each = [(b - a) / (MORE - FEWER) for a, b in zip(fewer, more, strict=True)]
    shares = [cost / alone for cost, alone in zip(each, one, strict=True)]
    cells = [median(one), median(fewer), median(more), median(each)]
    print(
        f"| {models.kind} | " + " | ".join(f"{cell:.3g}" for cell in cells)
        + f" | {median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%}) |", flush=True,
    )  # fmt: skip


def main(arguments=None):
    """Print the tables and draw; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", type=Path, nargs="?", metavar="PICTURE")
    parser.add_argument("--marginal", action="store_true", help="one more model in a batch of 50")
    parser.add_argument("--only", choices=["labels", "strengths"], help="one kind")
    parser.add_argument("--solver", default="newton-cholesky", help="of LogisticRegression")
    parser.add_argument("--repeat", type=int, default=3, help="turns (default 3)")
    parser.add_argument("--cap", type=float, default=60, metavar="SECONDS", help="of a point")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="most models")
    parser.add_argument("--scale", type=float, default=1, help="shrink the rows")
    options = parser.parse_args(arguments)
    if not options.marginal and options.picture is None:
        parser.error("say where the picture goes, or --marginal")
    kinds = [kind for kind in (Labels, Strengths) if options.only in (None, kind.kind)]
    shape = (100_000, 100) if options.marginal else (20_000, 50)
    shape = max(int(shape[0] * options.scale), 300), shape[1]
    sizes = [size for size in SIZES if size <= options.largest]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if options.marginal:
            print(f"One more model in a batch of 50, on {shape[0]} x {shape[1]}; seconds\n")
            print(f"| models | single fit | {FEWER} | {MORE} | one more | its share |")
            print("| --- " * 6 + "|")
            for kind in kinds:
                marginal(kind(*shape, MORE), options.repeat)
            return 0
        results = []
        for kind in kinds:
            models = kind(*shape, max(sizes[-1], TRIED_ON))
            seconds, measured, tolerances = measure(
                models, options.solver, sizes, options.repeat, options.cap
            )
            show(models, sizes, seconds, measured, tolerances)
            results.append((models, seconds, measured))
    picture(options.picture, results, sizes, shape)
    return 0


if __name__ == "__main__":
    sys.exit(main())
