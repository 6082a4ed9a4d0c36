"""Fit of a table, its report, and predictions for another table."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skorch_logreg.command import columns, comparison, encoding, files
from skorch_logreg.command.comparison import Problem
from skorch_logreg.command.errors import CommandError, format_names


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

    kinds = columns.column_kinds(frame.iloc[train])
    for kind, reason in columns.UNUSABLE_KINDS.items():
        useless = [name for name in kinds if kinds[name] == kind]
        if useless:
            print_report(options, f"Left out ({reason}): {format_names(useless)}")
    kinds = {name: kind for name, kind in kinds.items() if kind not in columns.UNUSABLE_KINDS}
    if not kinds:
        raise CommandError(f"{options.file} has no column to learn from.")
    counts = Counter(kind.partition(" ")[0] for kind in kinds.values())
    print_report(options, "Columns: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))

    cleaner = FunctionTransformer(columns.clean, kw_args={"kinds": kinds})
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
