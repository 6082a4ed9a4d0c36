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
IDENTIFIER = re.compile(r"(?i:unnamed: \d+|(.*[\W_])?(id|uuid|guid|index))|.*[a-z]I[dD]")
# kinds of amounts, with the thousands separator and the decimal sign, in order of preference
AMOUNTS = {"number 1,234.5": (",", "."), "number 1.234,5": (".", ",")}
INTEGER_AS_FLOAT = re.compile(r"^(-?\d+)\.0+$")
UNITS = "[$€£¥₹]|USD|EUR|GBP|CHF|JPY|CNY|INR|AUD|CAD|SEK|NOK|DKK|PLN|CZK|BRL|kr|zł"
# kinds of dates, in order of preference: where both are possible, the day is first
ORDERS = ("%d/%m/%Y", "%m/%d/%Y", "%d/%b/%Y", "%b/%d/%Y")
DAYS = [order.replace("/", separator) for separator in "/.-" for order in ORDERS]
DAYS += [day.replace("%Y", "%y") for day in DAYS]
DAYS += [f"{day} %Y" for month in "bB" for day in (f"%d %{month}", f"%{month} %d", f"%{month} %d,")]
DAYS_NAME = " (days)"  # end of the name of the days since 1970 of a date
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
DATES = ("date ISO8601", *(f"date {day}{time}" for day in DAYS for time in TIMES))


def column_kinds(frame: Any, decimal: str | None = None) -> dict[str, str]:
    """Detect the kind of each column of training rows, without the target."""
    return {name: column_kind(name, frame[name], decimal) for name in frame.columns}


def column_kind(name: str, values: Any, decimal: str | None = None) -> str:
    """Detect the kind of one column from its name, its values and the decimal sign, if known.

    A kind is "number", a key of `AMOUNTS`, "boolean", "categorical", "text", "date FORMAT", or a
    key of `UNUSABLE_KINDS`.
    """
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
        kind = number_kind(words, decimal) or number_kind(words)
        kind = kind or next((form for form in DATES if holds_dates(words, form)), None)
        if kind is not None:
            return kind
    n_samples, distinct = len(words), words.nunique()
    if distinct == 1 or distinct < n_samples and distinct <= max(20, n_samples // 20):
        return "categorical"
    n_words = words.str.count(r"\w+").mean()
    if n_words < 3 and distinct <= n_samples // 2:
        return "categorical"
    return "text" if n_words >= 1.5 else "identifier"


def number_kind(words: Any, decimal: str | None = None) -> str | None:
    """Return the kind of numbers that reads most of the words, None if it reads less than 95 %.

    Words that it does not read count as missing. Two kinds can read the same words differently:
    the sign in "6.630 €" separates thousands, as in other amounts of money, that in "6.630" not.
    """
    readings = {} if decimal == "," else {"number": as_numbers(words)}
    is_money = False
    for kind, (_, sign) in AMOUNTS.items():
        # most columns need no second look
        if decimal in (None, sign) and as_amounts(words.iloc[:100], kind)[0].notna().any():
            amounts, units = as_amounts(words, kind)
            if units.nunique() <= 1:
                readings[kind] = amounts.to_numpy()
                is_money |= units.notna().any()
    counts = {kind: np.isfinite(numbers).sum() for kind, numbers in readings.items()}
    most = max(counts.values(), default=0)
    if most < 0.95 * len(words):
        return None
    kinds = [kind for kind, count in counts.items() if count == most]
    return max(kinds, key=lambda kind: np.nansum(np.abs(readings[kind]))) if is_money else kinds[0]


def holds_dates(words: Any, kind: str) -> bool:
    """Return True if all words are dates of a kind."""
    if not re.search(r"\d", words.iloc[0]):
        return False
    parts = (words.iloc[:1], words.iloc[:100], words)
    return all(as_dates(part, kind).notna().all() for part in parts)


def numbers_the_rows(name: str, values: np.ndarray) -> bool:
    """Return True if a column of numbers only counts or identifies the rows."""
    if len(np.unique(values)) < len(values) or not np.array_equal(values, np.rint(values)):
        return False
    consecutive = len(values) >= 20 and np.ptp(values) == len(values) - 1
    return bool(consecutive or IDENTIFIER.fullmatch(name))


def describe(kind: str, values: Any, decimal: str | None = None) -> str:
    """Describe what became of a column, with an example where its values had to be read."""
    if kind in UNUSABLE_KINDS:
        return f"Left out ({UNUSABLE_KINDS[kind]})"
    name, _, form = kind.partition(" ")
    words = values.dropna().map(str).str.strip()
    text, types = name.capitalize(), import_pandas().api.types
    if types.is_timedelta64_dtype(values):
        return f"{text} of seconds"
    if name == "number":
        is_number = np.isfinite(as_numbers(values.dropna(), kind))
        if form:
            example = words[is_number].iloc[[words[is_number].str.len().argmax()]]
            (other,) = AMOUNTS.keys() - {kind}
            number, alternative = (as_numbers(example, form) for form in (kind, other))
            text += f" ({example.iloc[0]!r} = {number[0]:.10g}"
            is_either = np.isfinite(as_numbers(words, other)).sum() == is_number.sum()
            if decimal is None and is_either and number != alternative:
                text += f", or {alternative[0]:.10g} by --decimal {AMOUNTS[other][1]}"
            text += ")"
        if not is_number.all():
            text += f", {np.count_nonzero(~is_number)} other values count as missing"
    elif name == "date" and form != "ISO8601":
        moment = as_dates(words.iloc[:1], kind).iloc[0]
        swapped = kind.replace("%d", "%D").replace("%m", "%d").replace("%D", "%m")
        is_either = swapped in DATES and holds_dates(words, swapped)
        text += f" ({words.iloc[0]!r} = {moment.day} {moment:%B %Y}"
        text += ", or month first: both are possible)" if is_either else ")"
    return text


def clean(frame: Any, kinds: Mapping[str, str]) -> Any:
    """Convert the columns of a table to the types that the encoder was fitted on.

    The types of a column may differ between files: integers if no value is missing, or words if
    one number is mistyped. Numbers become float64, with NaN if missing, categories objects, text
    str, "" if missing, and a date seven numbers.
    """
    pandas = import_pandas()
    absent = [name for name in kinds if name not in frame.columns]
    if absent:
        plural = "s" if len(absent) > 1 else ""
        raise ValueError(f"The table lacks the column{plural} {format_names(absent)}.")
    columns: dict[str, Any] = {}
    for name, kind in kinds.items():
        values = frame[name]
        if kind.startswith("number"):
            columns[name] = as_numbers(values, kind)
        elif kind == "boolean":
            words = values.map(str).str.strip().str.lower()
            truth = {"true": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "0": 0.0, "0.0": 0.0}
            columns[name] = words.map(truth).astype(float)
        elif kind == "categorical":
            columns[name] = as_words(values, np.nan)
        elif kind == "text":
            columns[name] = as_words(values, "")
        else:
            columns |= date_parts(name, as_dates(values, kind))
    return pandas.DataFrame(columns, index=frame.index)


def unread_rows(frame: Any, cleaned: Any, kinds: Mapping[str, str]) -> dict[str, int]:
    """Count the rows of a table with values that `clean` could not read, such as "n/k" or `inf`.

    Raises a ValueError if it could read none of the values of a column.
    """
    counts: dict[str, int] = {}
    for name, kind in kinds.items():
        values, column = frame[name], name + DAYS_NAME if kind.startswith("date") else name
        if kind in ("categorical", "text"):
            continue
        present = (values.notna() & (values.map(str).str.strip() != "")).to_numpy()
        unread = present & cleaned[column].isna().to_numpy()
        if not unread.any():
            continue
        counts[name] = int(unread.sum())
        if counts[name] == present.sum():
            raise ValueError(
                f"no value of the column {name!r} is a {kind.partition(' ')[0]} as it was in the "
                f"fit, for example {str(values[unread].iloc[0])!r}; missing values are empty."
            )
    return counts


def as_numbers(values: Any, kind: str = "number") -> np.ndarray:
    """Convert a column to float64, with NaN for missing, infinite and non-numeric values."""
    pandas = import_pandas()
    if pandas.api.types.is_timedelta64_dtype(values):
        values = values.dt.total_seconds()
    elif not pandas.api.types.is_numeric_dtype(values):
        words = values.map(str).str.strip()
        amounts = as_amounts(words, kind)[0] if kind in AMOUNTS else words
        values = pandas.to_numeric(amounts, errors="coerce")
    numbers: np.ndarray = values.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def as_amounts(words: Any, kind: str) -> tuple[Any, Any]:
    """Convert words such as "-$1,234.50", "1 234,50 €", "(12)" or "5 %" to numbers, and units.

    A percentage becomes a fraction, and has no unit; what is not an amount becomes NaN.
    """
    thousands, decimal = map(re.escape, AMOUNTS[kind])
    grouped = rf"[1-9]\d{{0,2}}(?:[{thousands}'’\s]\d{{3}})+"
    digits = rf"(?:{grouped}|\d+)(?:{decimal}\d*)?|{decimal}\d+"
    sign = r"([-−(])?\+?\s*"
    parts = words.str.extract(rf"^{sign}({UNITS})?\s*{sign}({digits})\s*({UNITS}|%)?\)?$")
    plain = parts[3].str.replace(rf"[^\d{decimal}]", "", regex=True).str.replace(decimal[-1], ".")
    after = parts[4].where(parts[4] != "%")
    is_negative = parts[0].notna() | parts[2].notna()
    scale = np.where(is_negative, -1.0, 1.0) / np.where(parts[4] == "%", 100.0, 1.0)
    return plain.astype(float) * scale, parts[1].where(parts[1].notna(), after)


def as_words(values: Any, missing: Any) -> Any:
    """Convert a column to an object array of str, with `missing` for missing values.

    An integer is written alike where it is a float, as in tables with missing values: "1.0" is "1".
    """
    is_float = import_pandas().api.types.is_float_dtype(values)
    write = (lambda v: f"{v:.0f}" if float(v).is_integer() else str(v)) if is_float else str
    words = values.astype(object).map(write, na_action="ignore").astype(object)
    words = words.map(lambda word: INTEGER_AS_FLOAT.sub(r"\1", word.strip()), na_action="ignore")
    words = words.astype(object)
    return words.where(values.notna(), missing).to_numpy(dtype=object)


def as_dates(values: Any, kind: str) -> Any:
    """Convert a column to UTC timestamps, with NaT for missing values and other formats."""
    form = kind.removeprefix("date ")
    if isinstance(values.dtype, import_pandas().PeriodDtype):
        values = values.dt.to_timestamp()
    return import_pandas().to_datetime(values, format=form, errors="coerce", utc=True)


def date_parts(name: str, moments: Any) -> dict[str, Any]:
    """Convert a date to days since 1970, and sine and cosine of its position in each cycle."""
    pandas = import_pandas()
    epoch = pandas.Timestamp("1970-01-01", tz="UTC")
    days = ((moments - epoch) / pandas.Timedelta(days=1)).to_numpy(dtype=np.float64)
    # whole days have no time: a sine of exactly 0, which the encoder leaves out
    # any phase of the week will do (1970-01-01 was a Thursday): sine and cosine span all phases
    turns = {"year": days / 365.2425, "week": days / 7, "day": days}
    parts: dict[str, Any] = {f"{name}{DAYS_NAME}": days}
    for cycle, turn in turns.items():
        parts[f"{name} ({cycle}, sin)"] = np.sin(2 * np.pi * (turn % 1))
        parts[f"{name} ({cycle}, cos)"] = np.cos(2 * np.pi * (turn % 1))
    return parts
