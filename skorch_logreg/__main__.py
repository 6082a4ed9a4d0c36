"""Command line: fit a table, compare with scikit-learn's LogisticRegression, and predict.

python -m skorch_logreg                                  example data of scikit-learn
python -m skorch_logreg FILE --target COLUMN             your own CSV or Parquet file
python -m skorch_logreg FILE --target COLUMN --save model.skops
python -m skorch_logreg --model model.skops --predict OTHER.csv > probabilities.csv
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skorch_logreg.command import comparison, encoding, files
from skorch_logreg.command.comparison import Problem
from skorch_logreg.command.errors import CommandError, format_names

Value = TypeVar("Value")


def _checked(
    name: str, kind: Callable[[str], Value], is_valid: Callable[[Value], bool], reason: str
) -> Callable[[str], Value]:
    """Return a function that parses an argument; ``name`` stands in argparse's messages."""

    def parse(text: str) -> Value:
        value = kind(text)
        if not is_valid(value):
            raise argparse.ArgumentTypeError(f"{text} {reason}")
        return value

    parse.__name__ = name
    return parse


positive = _checked("positive", float, lambda C: C > 0, "is not above 0")
fraction = _checked("fraction", float, lambda part: 0 <= part <= 1, "is not between 0 and 1")
seed = _checked("seed", int, lambda seed: 0 <= seed < 2**32, "is not between 0 and 2**32 - 1")
skops_file = _checked(
    "skops_file", Path, lambda path: path.name.endswith(".skops"), "does not end in .skops"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv`` or the arguments of the process, and return its exit code.

    The code is 0, 2 for an error in the input, with a message on stderr, or 130 if interrupted.
    """
    options = parse(argv)
    try:
        if options.model is not None:
            model = files.load_model(options.model)
        elif options.file is not None:
            model = fit_table(options)
        else:
            model = fit_example(options)
        if options.predict is not None:
            write_probabilities(model, options.predict, options.output)
        sys.stdout.flush()
    except CommandError as error:
        print(f"skorch_logreg: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of the pipe, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("skorch_logreg: interrupted", file=sys.stderr)
        return 130
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments, and exit with code 2 if they are inconsistent."""
    parser = argparse.ArgumentParser(
        prog="python -m skorch_logreg",
        description="Fit a logistic regression to a table, beside scikit-learn's, and print "
        "time, objective, held-out scores and the largest coefficients.",
        epilog="Without FILE: the breast cancer data that scikit-learn ships. Columns of "
        "numbers are standardised, labels one-hot encoded, dates and texts (TF-IDF) turned "
        "into numbers, missing values imputed; rows without a target are left out.",
    )
    add = parser.add_argument
    add("file", nargs="?", type=Path, metavar="FILE", help="CSV or Parquet file to learn from")
    add("--target", metavar="COLUMN", help="the column of FILE to predict")
    number: dict[str, Any] = {"metavar": "NUMBER"}
    add("--C", type=positive, default=1.0, help="inverse penalty, inf: none (default 1)", **number)
    add("--l1-ratio", type=fraction, default=0.0, help="0: L2 (default), 1: L1", **number)
    add("--test-size", type=fraction, default=0.25, help="part held out (default 0.25)", **number)
    add("--seed", type=seed, default=0, help="of the split (default 0)", **number)
    add("--save", type=skops_file, metavar="MODEL", help="write the pipeline to a .skops file")
    add("--model", type=Path, metavar="MODEL", help="read such a file instead of fitting")
    add("--predict", type=Path, metavar="OTHER", help="a second table: write its probabilities")
    add("--output", type=Path, metavar="CSV", help="where --predict writes (standard output)")
    options = parser.parse_args(argv)
    fits, predicts = options.file is not None, options.predict is not None
    loads = options.model is not None
    for is_wrong, message in [
        (fits and loads, "give either FILE or --model, not both"),
        (fits != (options.target is not None), "FILE and --target COLUMN go together"),
        (options.save is not None and not fits, "--save needs FILE"),
        (predicts and not (fits or loads), "--predict needs FILE or --model"),
        (loads and not predicts, "--model needs --predict"),
        (options.output is not None and not predicts, "--output needs --predict"),
        (options.test_size == 1, "--test-size must be below 1"),
    ]:
        if is_wrong:
            parser.error(message)
    return options


def fit_example(options: argparse.Namespace) -> Any:
    """Fit the breast cancer data, print the report and return the fitted pipeline."""
    data = load_breast_cancer()
    labels = data.target_names[data.target]
    train, test = split(labels, options)
    scaler = StandardScaler().fit(data.data[train])
    X_train, X_test = (
        scaler.transform(data.data[rows]) if len(rows) else None for rows in (train, test)
    )
    problem = Problem(X_train, labels[train], X_test, labels[test], list(data.feature_names))
    print_report(options, "Breast cancer (Wisconsin), as scikit-learn ships it")
    return fit(problem, [("scale", scaler)], options)


def fit_table(options: argparse.Namespace) -> Any:
    """Fit a user's table, print the report and return the fitted pipeline."""
    frame = files.read_table(options.file)
    print_report(options, str(options.file))
    if options.target not in frame.columns:
        known = format_names(list(frame.columns))
        raise CommandError(f"{options.file} has no column {options.target!r}; it has {known}.")
    frame = drop_unusable_targets(frame, options)
    labels = encoding.target_labels(frame.pop(options.target))
    train, test = split(labels, options)

    kinds = encoding.column_kinds(frame.iloc[train])
    for kind, reason in encoding.UNUSABLE_KINDS.items():
        useless = [name for name in kinds if kinds[name] == kind]
        if useless:
            print_report(options, f"Left out ({reason}): {format_names(useless)}")
    kinds = {name: kind for name, kind in kinds.items() if kind not in encoding.UNUSABLE_KINDS}
    if not kinds:
        raise CommandError(f"{options.file} has no column to learn from.")
    counts = Counter(kind.partition(" ")[0] for kind in kinds.values())
    print_report(options, "Columns: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))

    cleaner = FunctionTransformer(encoding.clean, kw_args={"kinds": kinds})
    cleaned = cleaner.fit_transform(frame.iloc[train])
    encoder = encoding.encoder(cleaned, kinds)
    X_train = encoder.fit_transform(cleaned)
    X_test = encoder.transform(cleaner.transform(frame.iloc[test])) if len(test) else None
    names = encoding.feature_names(encoder)
    problem = Problem(X_train, labels[train], X_test, labels[test], names)
    model = fit(problem, [("clean", cleaner), ("encode", encoder)], options)
    if options.save is not None:
        files.save_model(model, options.save)
        print_report(options, f"\nSaved to {options.save}")
    return model


def drop_unusable_targets(frame: Any, options: argparse.Namespace) -> Any:
    """Drop rows whose target is missing or the only one of its class, and report it."""
    target = frame[options.target]
    present = target.notna()
    if not present.any():
        raise CommandError(f"The target {options.target!r} has no value in any row.")
    if not present.all():
        print_report(options, f"Left out: {(~present).sum()} rows without a target")
    is_single = present & ~target.map(str).duplicated(keep=False)
    if is_single.any() and options.test_size > 0 and is_single.sum() < present.sum() // 2:
        classes = format_names([str(label) for label in target[is_single]])
        print_report(options, f"Left out: classes of a single row, {classes}")
        present &= ~is_single
    return frame[present].reset_index(drop=True)


def split(labels: np.ndarray, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training rows and of the held-out rows."""
    rows = np.arange(len(labels))
    if options.test_size == 0:
        return rows, rows[:0]
    try:
        train, test = train_test_split(
            rows, test_size=options.test_size, random_state=options.seed, stratify=labels
        )
    except ValueError as error:
        raise CommandError(f"Cannot hold rows out: {error}") from error
    return train, test


def fit(problem: Problem, steps: list[tuple[str, Any]], options: argparse.Namespace) -> Any:
    """Fit both models, print the report, and return our model in a pipeline after `steps`."""
    classes, n_rows = np.unique(problem.y_train, return_counts=True)
    shown = ", ".join(f"{label} ({n})" for label, n in zip(classes[:10], n_rows[:10], strict=True))
    print_report(
        options,
        f"{len(problem.y_train)} rows to learn from, {len(problem.y_test)} held out, "
        f"{problem.X_train.shape[1]} columns after encoding\n"
        f"{len(classes)} classes: {shown}{', ...' if len(classes) > 10 else ''}\n",
    )
    results = comparison.compare(problem, options.C, options.l1_ratio, options.seed)
    print_report(options, comparison.report(results, problem.names))
    return Pipeline([*steps, ("classify", results[0].model)])


def write_probabilities(model: Any, table: Path, output: Path | None) -> None:
    """Write the class probabilities of the rows of a table to a CSV file or stdout."""
    frame = files.read_table(table)
    try:
        proba = model.predict_proba(frame)
    except ValueError as error:
        raise CommandError(f"Cannot predict {table}: {error}") from error
    # a DataFrame, without an import of pandas here
    probabilities = type(frame)(proba, columns=model.classes_)
    try:
        probabilities.to_csv(sys.stdout if output is None else output, index=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"Cannot write {output}: {error.strerror or error}.") from error


def print_report(options: argparse.Namespace, text: str) -> None:
    """Print a line of the report, on stderr if probabilities go to stdout."""
    to_stdout = options.predict is None or options.output is not None
    print(text, file=sys.stdout if to_stdout else sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
