"""Encoding of a table with scikit-learn's transformers, and labels of its target."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from copy import copy
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skorch_logreg.command.columns import DAYS_NAME, as_numbers
from skorch_logreg.command.errors import CommandError, format_names, import_pandas

MAX_CATEGORIES = 1000  # one-hot columns of a column; rarer categories share the last one
MAX_WORDS = 20_000  # TF-IDF columns of a column of text


def encoder(cleaned: Any, kinds: Mapping[str, str], is_unpenalized: bool = False) -> Any:
    """Build the unfitted transformer of a table that `clean` returned.

    Missing categories are a category of their own, and unknown ones at prediction give all zeros
    or the column of rare categories. Without a penalty the first category has no column, so that
    the coefficients are unique. A number or date with missing values has one further column, the
    indicator of these.
    """
    categories = [name for name, kind in kinds.items() if kind == "categorical"]
    texts = [name for name, kind in kinds.items() if kind == "text"]
    plain = [name for name in cleaned.columns if name not in {*categories, *texts}]
    cycles = [name for name in plain if name not in kinds and not name.endswith(DAYS_NAME)]
    numbers = [name for name in plain if name not in cycles]
    fill = SimpleImputer(strategy="median", keep_empty_features=True)
    impute = ColumnTransformer(
        [
            ("numbers", clone(fill).set_params(add_indicator=True), numbers),
            ("cycles", fill, cycles),
        ]
    )
    onehot = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MAX_CATEGORIES,
        drop="first" if is_unpenalized else None,
    )
    parts: list[tuple[str, Any, Any]] = [
        ("numbers", make_pipeline(impute, VarianceThreshold(), StandardScaler()), plain),
        ("categories", onehot, categories),
    ]
    for index, name in enumerate(texts):
        words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", max_features=MAX_WORDS)
        parts.append((f"text{index}", words, name))
    return ColumnTransformer([part for part in parts if len(part[2])])


def feature_names(fitted: ColumnTransformer) -> list[str]:
    """Return readable names of the encoded columns: `age`, `city = Paris`, `review: good`."""
    names: list[str] = []
    for part, transformer, columns in fitted.transformers_:
        if part == "numbers":
            impute, vary = transformer[0], transformer[1]
            given: list[str] = []
            for _, fill, own in impute.transformers_:
                given += own
                if getattr(fill, "indicator_", None) is not None:
                    incomplete = [own[j].removesuffix(DAYS_NAME) for j in fill.indicator_.features_]
                    given += [f"{name} is missing" for name in incomplete]
            names += np.array(given, dtype=object)[vary.get_support()].tolist()
        elif part == "categories":
            named = copy(transformer).set_params(feature_name_combiner=_category_name)
            names += named.get_feature_names_out(columns).tolist()
        elif part.startswith("text"):
            names += [f"{columns}: {word}" for word in transformer.get_feature_names_out()]
    return names


def unknown_rows(model: Any, cleaned: Any) -> dict[str, int]:
    """Count the rows of a table with categories that a pipeline's encoder has not seen."""
    counts: dict[str, int] = {}
    for part, transformer, columns in model["encode"].transformers_:
        if part == "categories":
            for name, known in zip(columns, transformer.categories_, strict=True):
                counts[name] = int((~cleaned[name].isin(known)).sum())
    return {name: count for name, count in counts.items() if count}


def _category_name(column: str, category: Any) -> str:
    is_missing = category is None or category != category
    return f"{column} is missing" if is_missing else f"{column} = {category}"


def row_weights(values: Any) -> np.ndarray:
    """Convert a column to weights of rows; raise a CommandError if one is not a weight."""
    weight = as_numbers(values)
    n_wrong = np.count_nonzero(~(weight >= 0))
    if n_wrong or not weight.any():
        reason = f"missing, negative or not numbers in {n_wrong} rows" if n_wrong else "all zero"
        raise CommandError(f"The weights {values.name!r} are {reason}.")
    return weight


def positive_label(text: str | None, labels: np.ndarray) -> Any:
    """Return the label that --positive names, else the last of two; None if there are more."""
    classes = np.unique(labels)
    if text is None:
        return classes[-1] if len(classes) == 2 else None
    if len(classes) != 2:
        raise CommandError(f"--positive is for two classes, and the target has {len(classes)}.")
    return find_label(text, classes, "--positive")


def class_weights(given: list[str] | None, classes: np.ndarray) -> Any:
    """Return the estimator's parameter from the values of --class-weight."""
    if given is None or given == ["balanced"]:
        return None if given is None else "balanced"
    try:
        parts = [text.rpartition("=") for text in given]
        pairs = [(label, float(number if sign else "")) for label, sign, number in parts]
    except ValueError as error:
        raise CommandError("--class-weight is 'balanced' or some LABEL=NUMBER.") from error
    return {find_label(label, classes, "--class-weight"): number for label, number in pairs}


def find_label(text: str, classes: np.ndarray, option: str) -> Any:
    """Return the label that is written as `text`; raise a CommandError if there is none."""
    for label in classes.tolist():
        if str(label) == text:
            return label
    known = format_names([str(label) for label in classes])
    raise CommandError(f"{option} names {text!r}; the classes of the target are {known}.")


def target_labels(values: Any) -> np.ndarray:
    """Convert a target column without missing values to labels of type bool, int or str."""
    types = import_pandas().api.types
    with suppress(OverflowError):  # pandas 3.0, for integers beyond 64 bits; used as words
        values = values.infer_objects()
    simple = types.is_bool_dtype(values) or types.is_numeric_dtype(values)
    labels = values.to_numpy() if simple else np.array([str(value).strip() for value in values])
    if labels.dtype.kind == "O":  # pandas 2, for its extension types of numbers
        labels = np.array(values.tolist())
    fractions = labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels))
    if labels.dtype.kind == "f":
        fit_int64 = not fractions and np.abs(labels).max() < 2.0**63
        labels = labels.astype(np.int64 if fit_int64 else str)
    distinct = np.unique(labels)
    if len(distinct) == 1:
        raise CommandError(
            f"The target {values.name!r} has a single value, {distinct[0]}: nothing to tell apart."
        )
    if len(distinct) > max(20, 0 if fractions else len(labels) // 3):
        raise CommandError(
            f"The target {values.name!r} has {len(distinct)} different values in {len(labels)} "
            "rows: name a column of classes."
        )
    return labels
