"""Encoding of the columns of a table as numbers with scikit-learn's transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skorch_logreg.command.errors import format_names, import_pandas

MAX_LABELS = 1000  # one-hot columns of a column of labels; rarer labels share the last one
MAX_WORDS = 20_000  # TF-IDF columns of a column of text


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


def encoder(cleaned: Any, kinds: Mapping[str, str]) -> ColumnTransformer:
    """Build the unfitted transformer of a table that `clean` returned.

    Numbers are imputed by the median, with a missing indicator, and standardised. Labels are
    one-hot encoded; missing values are a separate label, and unknown labels at prediction
    give all zeros or the column of rare labels. Text becomes TF-IDF weights of its words.
    """
    labels = [name for name, kind in kinds.items() if kind == "label"]
    texts = [name for name, kind in kinds.items() if kind == "text"]
    numbers = [name for name in cleaned.columns if name not in {*labels, *texts}]
    impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    onehot = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=MAX_LABELS)
    parts: list[tuple[str, Any, Any]] = [
        ("numbers", make_pipeline(impute, StandardScaler()), numbers),
        ("labels", onehot, labels),
    ]
    for index, name in enumerate(texts):
        words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", max_features=MAX_WORDS)
        parts.append((f"text{index}", words, name))
    return ColumnTransformer([part for part in parts if len(part[2])])


def feature_names(fitted: ColumnTransformer) -> list[str]:
    """Return readable names of the encoded columns: `age`, `city = Paris`, `review: good`."""
    names = []
    sources = {part: columns for part, _, columns in fitted.transformers}
    for full in fitted.get_feature_names_out():
        part, _, rest = full.partition("__")
        if part == "labels":
            # the longest match, because one column name may be a prefix of another
            column = max((c for c in sources[part] if rest.startswith(f"{c}_")), key=len)
            label = rest[len(column) + 1 :]
            names.append(f"{column} is missing" if label == "nan" else f"{column} = {label}")
        elif part == "numbers":
            missing = rest.removeprefix("missingindicator_")
            names.append(rest if missing == rest else f"{missing} is missing")
        else:
            names.append(f"{sources[part]}: {rest}")
    return names
