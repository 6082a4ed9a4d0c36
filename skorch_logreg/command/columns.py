"""Detection of the kind of each column of a table."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import numpy as np

from skorch_logreg.command.encoding import as_dates, as_numbers
from skorch_logreg.command.errors import CommandError, import_pandas

# kinds of columns that a model cannot learn from, with the reason that the report gives
UNUSABLE_KINDS = {
    "empty": "no value",
    "constant": "a single value",
    "identifier": "hardly a value twice",
}
DATE_FORMATS = ("ISO8601", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y")  # in order of preference
IDENTIFIER = re.compile(r"(?i:unnamed: \d+|(.*[\W_])?(id|uuid|guid|index))|.*[a-z]I[dD]")


def column_kinds(frame: Any) -> dict[str, str]:
    """Detect the kind of each column of training rows, without the target.

    A kind is "number", "boolean", "label", "text", "date FORMAT", or a key of `UNUSABLE_KINDS`.
    """
    return {name: column_kind(name, frame[name]) for name in frame.columns}


def column_kind(name: str, values: Any) -> str:
    """Detect the kind of one column from its name and values."""
    pandas = import_pandas()
    types = pandas.api.types
    present = values.dropna()
    if len(present) == 0:
        return "empty"
    is_bool, is_date = types.is_bool_dtype(present), types.is_datetime64_any_dtype(present)
    is_number = types.is_numeric_dtype(present) or types.is_timedelta64_dtype(present)
    if is_bool or is_date or is_number:
        if values.nunique(dropna=False) == 1:
            return "constant"
        if is_bool or is_date:
            return "boolean" if is_bool else "date ISO8601"
        return "identifier" if numbers_the_rows(name, as_numbers(present)) else "number"
    words = present.map(str).str.strip()
    if words.nunique() == 1 and len(present) == len(values):
        return "constant"
    if not isinstance(present.dtype, pandas.CategoricalDtype):
        if words.str.lower().isin(["true", "false"]).all():
            return "boolean"
        if np.isfinite(as_numbers(words)).mean() >= 0.95:  # other values count as missing
            return "number"
        for form in DATE_FORMATS:
            if (
                as_dates(words.iloc[:100], form).notna().all()
                and as_dates(words, form).notna().all()
            ):
                return f"date {form}"
    return label_or_text(words)


def label_or_text(words: Any) -> str:
    """Distinguish labels, text and identifiers by repeated values and numbers of words."""
    n_samples, distinct = len(words), words.nunique()
    n_words = words.str.count(r"\w+").mean()
    if distinct == 1 or distinct < n_samples and distinct <= max(20, n_samples // 20):
        return "label"
    if n_words >= 3:
        return "text"
    if distinct <= n_samples // 2:
        return "label"
    return "text" if n_words >= 1.5 else "identifier"


def numbers_the_rows(name: str, values: np.ndarray) -> bool:
    """Return True if a column of numbers only counts or identifies the rows."""
    if len(np.unique(values)) < len(values) or not np.array_equal(values, np.rint(values)):
        return False
    consecutive = len(values) >= 20 and np.ptp(values) == len(values) - 1
    return bool(consecutive or IDENTIFIER.fullmatch(name))


def target_labels(values: Any) -> np.ndarray:
    """Convert a target column without missing values to labels of type bool, int or str.

    A CommandError is raised if there is only one label, or too many for classes.
    """
    types = import_pandas().api.types
    with suppress(OverflowError):  # pandas 3.0, for integers beyond 64 bits; used as words
        values = values.infer_objects()
    simple = types.is_bool_dtype(values) or types.is_numeric_dtype(values)
    labels = values.to_numpy() if simple else np.array([str(value) for value in values])
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
