"""From the columns of a table to the numbers of a model, by scikit-learn's transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skorch_logreg.command.errors import format_names, import_optional

MAX_LABELS = 1000  # columns that one column of labels may become; rarer ones share one
MAX_WORDS = 20_000


def clean(frame: Any, kinds: Mapping[str, str]) -> Any:
    """Bring the columns of any table to the types that the encoder was fitted on.

    A column may have other types in another file: integers, where nothing is missing there;
    words, where one number is mistyped.

    Parameters
    ----------
    frame : pandas.DataFrame
        A table that has the columns of `kinds`; others are ignored.
    kinds : mapping of str to str
        Kind of each column, as from `column_kinds`.

    Returns
    -------
    pandas.DataFrame
        float64 columns with NaN where missing; labels as objects; text as str, "" where
        missing; a date as seven numbers: days since 1970, and where it lies in the year, the
        week and the day, as sine and cosine.

    Raises
    ------
    ValueError
        If columns are missing.
    """
    pandas = import_optional("pandas", "Reading a table")
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
    """Return a column as float64, NaN where it is missing, infinite or no number."""
    pandas = import_optional("pandas", "Reading a table")
    if pandas.api.types.is_timedelta64_dtype(values):
        values = values.dt.total_seconds()
    elif not pandas.api.types.is_numeric_dtype(values):
        values = pandas.to_numeric(values.map(str), errors="coerce")
    numbers: np.ndarray = values.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def as_words(values: Any, missing: Any) -> Any:
    """Return a column as an object array of str, with `missing` where it is missing."""
    words = values.map(str).str.strip().astype(object)
    return words.where(values.notna(), missing).to_numpy(dtype=object)


def as_dates(values: Any, form: str) -> Any:
    """Return a column as moments in UTC, NaT where it is missing or not in this format."""
    pandas = import_optional("pandas", "Reading a table")
    return pandas.to_datetime(values, format=form, errors="coerce", utc=True)


def date_parts(name: str, moments: Any) -> dict[str, Any]:
    """Return a date as numbers: how long ago, and sine and cosine of its place in each cycle."""
    pandas = import_optional("pandas", "Reading a table")
    epoch = pandas.Timestamp("1970-01-01", tz="UTC")
    days = ((moments - epoch) / pandas.Timedelta(days=1)).to_numpy(dtype=np.float64)
    # 1970-01-01 was a Thursday; any fixed phase will do, since sine and cosine span them all
    turns = {"year": days / 365.2425, "week": days / 7, "day": days}
    parts: dict[str, Any] = {f"{name} (days)": days}
    for cycle, turn in turns.items():
        parts[f"{name} ({cycle}, sin)"] = np.sin(2 * np.pi * turn)
        parts[f"{name} ({cycle}, cos)"] = np.cos(2 * np.pi * turn)
    return parts


def encoder(cleaned: Any, kinds: Mapping[str, str]) -> ColumnTransformer:
    """Build the unfitted transformer of a cleaned table.

    Parameters
    ----------
    cleaned : pandas.DataFrame
        From `clean`.
    kinds : mapping of str to str
        Kind of each column, as given to `clean`.

    Returns
    -------
    sklearn.compose.ColumnTransformer
        Numbers: median for what is missing, with an indicator, then standardised. Labels:
        one-hot, missing being a label of its own, unknown ones at prediction all zeros or the
        rare ones' column. Text: TF-IDF of its words.
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
    """Return a readable name of each encoded column: `age`, `city = Paris`, `review: good`."""
    names = []
    sources = {part: columns for part, _, columns in fitted.transformers}
    for full in fitted.get_feature_names_out():
        part, _, rest = full.partition("__")
        if part == "labels":
            # the longest that fits: a column's name may start with another's
            column = max((c for c in sources[part] if rest.startswith(f"{c}_")), key=len)
            label = rest[len(column) + 1 :]
            names.append(f"{column} is missing" if label == "nan" else f"{column} = {label}")
        elif part == "numbers":
            missing = rest.removeprefix("missingindicator_")
            names.append(rest if missing == rest else f"{missing} is missing")
        else:
            names.append(f"{sources[part]}: {rest}")
    return names
