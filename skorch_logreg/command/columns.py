"""Kinds of the columns of a table, and their conversion to numbers, words and dates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from skorch_logreg.command.errors import format_names, import_pandas

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
            if all(as_dates(part, form).notna().all() for part in (words.iloc[:100], words)):
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


def clean(frame: Any, kinds: Mapping[str, str]) -> Any:
    """Convert the columns of a table to the types that the encoder was fitted on.

    The types of a column may differ between files: integers if no value is missing, or words if
    one number is mistyped. Columns that are not in ``kinds`` are ignored; a ValueError is raised
    if one of them is missing.

    Returns
    -------
    cleaned : pandas.DataFrame
        Numbers as float64, with NaN if missing; labels as objects; text as str, "" if missing; a
        date as seven numbers: days since 1970, and sine and cosine of its position in the year,
        the week and the day.
    """
    pandas = import_pandas()
    absent = [name for name in kinds if name not in frame.columns]
    if absent:
        plural = "s" if len(absent) > 1 else ""
        raise ValueError(f"The table lacks the column{plural} {format_names(absent)}.")
    columns: dict[str, Any] = {}
    for name, kind in kinds.items():
        values = frame[name]
        if kind == "number":
            columns[name] = as_numbers(values)
        elif kind == "boolean":
            words = values.map(str).str.strip().str.lower()
            truth = {"true": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "0": 0.0, "0.0": 0.0}
            columns[name] = words.map(truth).astype(float)
        elif kind == "label":
            columns[name] = as_words(values, np.nan)
        elif kind == "text":
            columns[name] = as_words(values, "")
        else:
            columns |= date_parts(name, as_dates(values, kind.removeprefix("date ")))
    return pandas.DataFrame(columns, index=frame.index)


def as_numbers(values: Any) -> np.ndarray:
    """Convert a column to float64, with NaN for missing, infinite and non-numeric values."""
    pandas = import_pandas()
    if pandas.api.types.is_timedelta64_dtype(values):
        values = values.dt.total_seconds()
    elif not pandas.api.types.is_numeric_dtype(values):
        values = pandas.to_numeric(values.map(str), errors="coerce")
    numbers: np.ndarray = values.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def as_words(values: Any, missing: Any) -> Any:
    """Convert a column to an object array of str, with `missing` for missing values."""
    words = values.map(str).str.strip().astype(object)
    return words.where(values.notna(), missing).to_numpy(dtype=object)


def as_dates(values: Any, form: str) -> Any:
    """Convert a column to UTC timestamps, with NaT for missing values and other formats."""
    pandas = import_pandas()
    return pandas.to_datetime(values, format=form, errors="coerce", utc=True)


def date_parts(name: str, moments: Any) -> dict[str, Any]:
    """Convert a date to days since 1970, and sine and cosine of its position in each cycle."""
    pandas = import_pandas()
    epoch = pandas.Timestamp("1970-01-01", tz="UTC")
    days = ((moments - epoch) / pandas.Timedelta(days=1)).to_numpy(dtype=np.float64)
    # any phase of the week will do (1970-01-01 was a Thursday): sine and cosine span all phases
    turns = {"year": days / 365.2425, "week": days / 7, "day": days}
    parts: dict[str, Any] = {f"{name} (days)": days}
    for cycle, turn in turns.items():
        parts[f"{name} ({cycle}, sin)"] = np.sin(2 * np.pi * turn)
        parts[f"{name} ({cycle}, cos)"] = np.cos(2 * np.pi * turn)
    return parts
