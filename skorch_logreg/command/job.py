"""Fit of a table, its report, and predictions for another table."""

from __future__ import annotations

import argparse
import sys
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skorch_logreg.command import columns, comparison, encoding, evaluation, files
from skorch_logreg.command.comparison import Problem
from skorch_logreg.command.errors import CommandError, describe_error, format_names, import_optional
from skorch_logreg.command.report import Report, add_figures


def fit_example(options: argparse.Namespace, report: Report) -> Any:
    """Fit the breast cancer data, print the report and return the fitted pipeline."""
    data = load_breast_cancer()
    labels = data.target_names[data.target]
    train, test = split(labels, options)
    scaler = StandardScaler().fit(data.data[train])
    X_train, X_test = (
        scaler.transform(data.data[rows]) if len(rows) else None for rows in (train, test)
    )
    positive = encoding.positive_label(options.positive, labels)
    problem = Problem(
        X_train, labels[train], X_test, labels[test], list(data.feature_names), positive=positive
    )
    report.add("Breast cancer (Wisconsin), as scikit-learn ships it")
    return fit(problem, [("scale", scaler)], options, report)


def fit_table(options: argparse.Namespace, report: Report) -> Any:
    """Fit a user's table, print the report and return the fitted pipeline."""
    frame = files.read_table(
        options.file, options.encoding, options.decimal, report.add, words=options.categorical
    )
    decimal = options.decimal or frame.attrs.get("decimal")
    report.add("Standard input" if str(options.file) == "-" else str(options.file))
    check_columns(frame, options)
    frame = drop_unusable_targets(frame, options, report).drop(columns=options.drop)
    labels = encoding.target_labels(frame.pop(options.target))
    weight = None
    if options.weight is not None:
        weight = encoding.row_weights(frame.pop(options.weight))
    positive = encoding.positive_label(options.positive, labels)
    train, test = split(labels, options)

    kinds = choose_kinds(frame.iloc[train], decimal, options, report)
    cleaner = FunctionTransformer(columns.clean, kw_args={"kinds": kinds})
    cleaner.decimal_ = decimal  # for tables to predict whose numbers do not show it
    cleaned = cleaner.fit_transform(frame.iloc[train])
    encoder = encoding.encoder(cleaned, kinds, is_unpenalized=options.C == np.inf)
    X_train = encoder.fit_transform(cleaned)
    steps = [("clean", cleaner), ("encode", encoder)]
    X_test = encode(encoder, cleaner.transform(frame.iloc[test])) if len(test) else None
    problem = Problem(
        X_train,
        labels[train],
        X_test,
        labels[test],
        encoding.feature_names(encoder),
        None if weight is None else weight[train],
        None if weight is None else weight[test],
        positive,
    )
    return fit(problem, steps, options, report)


def check_columns(frame: Any, options: argparse.Namespace) -> None:
    """Raise a CommandError if a named column does not exist, or is named for two purposes."""
    purposes: dict[str, str] = {}
    for option in ("target", "weight", "drop", "categorical"):
        names = getattr(options, option) or []
        for name in [names] if isinstance(names, str) else names:
            if name not in frame.columns:
                known = format_names(list(frame.columns))
                raise CommandError(f"{options.file} has no column {name!r}; it has {known}.")
            if purposes.setdefault(name, option) != option:
                raise CommandError(f"{name!r} is named by --{purposes[name]} and --{option}.")


def choose_kinds(
    frame: Any, decimal: str | None, options: argparse.Namespace, report: Report
) -> dict[str, str]:
    """Return the kinds of the columns to learn from, and report what each column became."""
    kinds = columns.column_kinds(frame, decimal)
    for name in options.categorical:
        if kinds[name] not in ("empty", "constant"):
            kinds[name] = "categorical"
    described: dict[str, list[str]] = {}
    for name, kind in kinds.items():
        text = columns.describe(kind, frame[name], decimal)
        described.setdefault(text, []).append(name)
    lines = [f"{text}: {format_names(names)}" for text, names in sorted(described.items())]
    kinds = {name: kind for name, kind in kinds.items() if kind not in columns.UNUSABLE_KINDS}
    report.add("\n".join(lines), "Columns")
    if not kinds:
        raise CommandError(f"{options.file} has no column to learn from.")
    return kinds


def drop_unusable_targets(frame: Any, options: argparse.Namespace, report: Report) -> Any:
    """Drop rows whose target is missing or the only one of its class, and report it."""
    target = frame[options.target]
    present = target.notna()
    if not present.any():
        raise CommandError(f"The target {options.target!r} has no value in any row.")
    if not present.all():
        report.add(f"Left out: {(~present).sum()} rows without a target")
    is_single = present & ~target.map(str).str.strip().duplicated(keep=False)
    if is_single.any() and options.test_size > 0 and is_single.sum() < present.sum() // 2:
        classes = format_names([str(label) for label in target[is_single]])
        report.add(f"Left out: classes of a single row, {classes}")
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


def fit(
    problem: Problem, steps: list[tuple[str, Any]], options: argparse.Namespace, report: Report
) -> Any:
    """Fit both models, save ours in a pipeline after `steps`, print the report, and return it."""
    # before a fit that may take long
    if options.report is not None:
        import_optional("matplotlib", "A report").use("Agg")
    if options.save is not None:
        import_optional("skops.io", "Saving a model")
    classes, n_rows = np.unique(problem.y_train, return_counts=True)
    shown = ", ".join(f"{label} ({n})" for label, n in zip(classes[:10], n_rows[:10], strict=True))
    report.add(
        f"{len(problem.y_train)} rows to learn from, {len(problem.y_test)} held out, "
        f"{problem.X_train.shape[1]} columns after encoding\n"
        f"{len(classes)} classes: {shown}{', ...' if len(classes) > 10 else ''}",
        "Rows",
    )
    settings = {
        "C": options.C or 1.0,
        "l1_ratio": options.l1_ratio,
        "class_weight": encoding.class_weights(options.class_weight, classes),
        "random_state": options.seed,
    }
    choice = inference = None
    try:
        if options.cv is not None:
            choice = evaluation.cross_validate(problem, settings, options.cv)
            settings["C"] = choice.C_
            report.add(evaluation.choice_report(choice), "Cross-validation")
        results = comparison.compare(problem, settings)
    except ValueError as error:
        raise CommandError(f"Cannot fit: {error}") from error
    model = results[0].model
    pipeline = Pipeline([*steps, ("classify", model)])
    if options.save is not None:
        files.save_model(pipeline, options.save)
        report.add(f"Saved to {options.save}")
    if options.baseline:
        results = (*results, comparison.baseline(problem))
    report.add(comparison.report(results), "Comparison")
    if options.baseline:
        report.add(comparison.confusion_report(model, problem), "Confusion matrix of held-out rows")
    report.add(*comparison.coefficient_report(model, problem))
    if options.summary:
        inference = evaluation.infer(model, problem)
        report.add(evaluation.summary_report(inference, problem), "Standard errors")
    if options.report is not None:
        add_figures(report, model, problem, inference, choice)
        report.write(options.report, f"Logistic regression of {options.target or 'diagnosis'}")
    return pipeline


def encode(encoder: Any, cleaned: Any) -> Any:
    """Transform rows that need not be those of the fit."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Found unknown categories")  # all zeros
        return encoder.transform(cleaned)


def write_predictions(model: Any, options: argparse.Namespace, report: Report) -> None:
    """Write key columns, classes and probabilities of a table to a CSV file or stdout."""
    given = options.encoding if options.file is None else None  # with FILE it is that of FILE
    decimal = options.decimal or getattr(model["clean"], "decimal_", None)
    kinds = model["clean"].kw_args["kinds"]
    words = [name for name, kind in kinds.items() if kind in ("categorical", "text")]
    names = list(dict.fromkeys(options.key))
    frame = files.read_table(options.predict, given, decimal, report.add, words=words, keys=names)
    keys, frame = frame.index, frame.reset_index(drop=True)
    try:
        cleaned = model["clean"].transform(frame)
        for text, rows in [
            ("Other values count as missing", columns.unread_rows(frame, cleaned, kinds)),
            ("Categories that the model does not know", encoding.unknown_rows(model, cleaned)),
        ]:
            if rows:
                counts = [f"{name!r} in {n} of {len(frame)} rows" for name, n in rows.items()]
                report.add(f"{text}: {', '.join(counts)}")
        X = encode(model["encode"], cleaned)
        predicted, proba = model[-1].predict(X), model[-1].predict_proba(X)
    except ValueError as error:
        raise CommandError(f"Cannot predict {options.predict}: {error}") from error
    table = keys.to_frame(index=False)[names]
    table.insert(len(names), "predicted", predicted, allow_duplicates=True)
    for label, column in zip(model.classes_, proba.T, strict=True):
        table.insert(table.shape[1], f"P({label})", column, allow_duplicates=True)
    if options.output is None:
        table.to_csv(sys.stdout, index=False)
        return
    try:
        table.to_csv(options.output, index=False)
    except OSError as error:
        raise CommandError(f"Cannot write {options.output}: {describe_error(error)}") from error
