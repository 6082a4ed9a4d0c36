"""Reading of tables, and writing and reading of fitted pipelines."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from skorch_logreg.command.columns import clean
from skorch_logreg.command.errors import (
    CommandError,
    describe_error,
    format_names,
    import_optional,
    import_pandas,
)
from skorch_logreg.data.tensors import SAMPLE_ROWS
from skorch_logreg.estimators.classifier import TorchLogisticClassifier

SEPARATORS = ",;\t|"  # a space is tried last, because text contains spaces
POINTED = r"[1-9]\d{0,2}(?:\.\d{3})+"  # an integer whose thousands are separated by points
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# types of a saved pipeline that skops does not trust by default
TRUSTED = [
    "numpy.dtype",
    f"{clean.__module__}.{clean.__qualname__}",
    f"{TorchLogisticClassifier.__module__}.{TorchLogisticClassifier.__qualname__}",
]
MISSING_VALUES = ["?", "."]  # used by UCI and SAS, in addition to pandas' defaults


def read_table(
    path: Path,
    encoding: str | None = None,
    decimal: str | None = None,
    notify: Callable[[str], None] = lambda text: None,
    *,
    words: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> Any:
    """Read a CSV file, a Parquet file or, if the path is `-`, standard input.

    Without an `encoding` a text file is read as UTF-8, as UTF-16 if it begins so, or else as
    cp1252; without a `decimal` sign, the numbers of a text file show it. A message is passed to
    `notify` if the file is read as cp1252, or with a comma that was not named. Column names are
    strings. In a text file the columns `words` stay as they are written, such as the code "01067",
    and count as missing where they are empty, "NA" and so on. The columns `keys` are the index of
    the table as the file has them, missing or not; without them rows are numbered from 0.
    """
    pandas = import_pandas()
    is_file = str(path) != "-"
    name = path if is_file else "standard input"
    exact: Any = None
    try:
        opener = OPENERS.get(path.suffix.lower(), open)
        with opener(path, "rb") if is_file else io.BytesIO(sys.stdin.buffer.read()) as file:
            if path.suffix.lower() in {".parquet", ".pq"} or file.read(4) == b"PAR1":
                import_optional("pyarrow", "Reading Parquet")
                file.seek(0)
                frame = pandas.read_parquet(file)
                # else integers become float64 where others are missing
                exact = pandas.read_parquet(file, dtype_backend="numpy_nullable") if keys else None
            else:
                frame, exact = read_text(
                    file, encoding, decimal, notify=notify, words=words, keys=keys
                )
        frame = named_columns(frame)
        exact = named_columns(exact) if keys else None
    # pandas' and pyarrow's parser errors are ValueErrors; pandas 3.0 has others for long integers
    except (OSError, EOFError, LookupError, ValueError, OverflowError) as error:
        raise CommandError(f"Cannot read {name}: {describe_error(error)}") from error
    if len(frame) == 0:
        raise CommandError(f"Cannot read {name}: it has no rows.")
    if not keys:
        return frame
    absent = [key for key in keys if key not in frame.columns]
    if absent:
        raise CommandError(f"{path} has no column {format_names(absent)} for --key.")
    return frame.set_index([exact[key] for key in keys])


def named_columns(frame: Any) -> Any:
    """Return a table whose columns have different names of type str, a named index included."""
    if any(name is not None for name in frame.index.names):  # of a Parquet file
        frame = frame.reset_index(allow_duplicates=True)
    frame.columns = [str(name).strip() for name in frame.columns]
    check_distinct(frame.columns)
    return frame.reset_index(drop=True)


def check_distinct(names: Iterable[str]) -> None:
    """Raise a ValueError if several columns have the same name."""
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise ValueError(f"it has several columns {format_names(repeated)}.")


def read_text(
    file: Any,
    encoding: str | None,
    decimal: str | None,
    *,
    notify: Callable[[str], None],
    **columns: Any,
) -> tuple[Any, Any]:
    """Read a table of text from a binary file, and its key columns as they are written."""
    file.seek(0)
    start = file.read(4096)
    if encoding is None and start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    if encoding is None and b"\0" in start:
        raise ValueError("it is not a table of text; save a spreadsheet as CSV.")
    try:
        return parse_text(file, encoding or "utf-8-sig", decimal, notify=notify, **columns)
    except UnicodeDecodeError:
        if encoding is not None:
            raise
    tables = parse_text(file, "cp1252", decimal, notify=notify, **columns)
    notify("Not UTF-8: read as cp1252, the encoding of Windows; --encoding names another.")
    return tables


def parse_text(
    file: Any,
    encoding: str,
    decimal: str | None,
    *,
    notify: Callable[[str], None],
    words: Sequence[str],
    keys: Sequence[str],
) -> tuple[Any, Any]:
    """Read a table of text in a given encoding, and its key columns as they are written."""
    file.seek(0)
    text = io.TextIOWrapper(file, encoding, errors="replace")
    lines = list(islice(text, SAMPLE_ROWS))
    separator, detected = dialect("".join(lines), is_cut=len(lines) == SAMPLE_ROWS)
    # else pandas would take the first column for names of the rows
    ends_in_separator = all(
        line.rstrip("\r\n").endswith(separator) for line in lines[1:] if line.strip()
    )
    text.detach()  # else it would close the file
    sign = decimal or detected

    def read(**options: Any) -> Any:
        file.seek(0)
        return import_pandas().read_csv(
            file,
            sep=separator,
            decimal=sign,
            index_col=False if ends_in_separator else None,
            skipinitialspace=True,
            low_memory=False,
            encoding=encoding,
            **options,
        )

    header = read(header=None, nrows=1, dtype=str, keep_default_na=False).iloc[0].tolist()
    check_distinct([name.strip() for name in header if name.strip()])  # pandas renames others
    as_text = {name: str for name in header if name.strip() in words}
    frame = read(na_values=MISSING_VALUES, dtype=as_text)
    exact = read(dtype=str, keep_default_na=False) if keys else None
    if not frame.index.is_unique or frame.index.nlevels > 1:
        raise ValueError("its rows have more fields than its header.")
    if decimal is None and sign == ",":
        notify("Decimal sign: a comma; --decimal names another.")
    if sign == ",":  # pandas would remove the points of dates too
        frame.attrs["decimal"] = sign
        for name, values in frame.select_dtypes(exclude="number").items():
            texts = values.dropna().map(str)
            is_number = texts.str.fullmatch(rf"-?(\d+|{POINTED})").all()
            if len(texts) and is_number and name not in as_text:
                frame[name] = texts.str.replace(".", "").astype(float).reindex(frame.index)
    return frame, exact


def dialect(sample: str, is_cut: bool = False) -> tuple[str, str]:
    """Detect the separator and the decimal sign of a text table from its first lines.

    The separator is the one that splits all rows into the same and largest number of fields
    (`csv.Sniffer` counts characters, which is unreliable for text). The header may have one less:
    R writes no name for the names of rows, and some rows end in a separator. If the sample
    ``is_cut``, its last row, perhaps of several lines, does not count. The decimal sign is a comma
    if no field is a number with a point, thousands apart, and some field is one with a comma, or
    some column has integers of up to three digits and thousands such as "6.630": of decimals, its
    writer would have kept the last zero everywhere or nowhere.
    """

    def table(separator: str) -> list[list[str]]:
        try:
            reader = csv.reader(io.StringIO(sample), delimiter=separator, skipinitialspace=True)
            rows = [row for row in reader if row]
        except csv.Error:  # such as a field beyond the reader's limit
            return []
        rows = rows[: len(rows) - is_cut]
        header, others = len(rows[0]) if rows else 0, {len(row) for row in rows[1:]}
        is_table = others <= {header} or (header > 1 and others == {header + 1})
        return rows if is_table else []

    def width(separator: str) -> int:
        return max(map(len, table(separator)), default=1)

    def is_grouped(column: Sequence[str]) -> bool:
        words = {word.lstrip("-") for word in column if word}
        short = {word for word in words if re.fullmatch(r"\d{1,3}", word)}
        pointed = {word for word in words if re.fullmatch(POINTED, word)}
        ends_in_zero = any(word.endswith("0") for word in pointed)
        return bool(short) and ends_in_zero and short | pointed == words

    separator = max(SEPARATORS, key=width)  # the comma if none splits the lines
    if width(separator) == 1 and width(" ") > 1:
        separator = " "
    start, end = rf"(?:^|{re.escape(separator)})-?", rf"(?={re.escape(separator)}|\r?$)"
    commas, points = (
        re.search(start + number + end, sample, re.MULTILINE)
        for number in (rf"(?:\d+|{POINTED}),\d+", rf"(?!{POINTED}{end})\d+\.\d+")
    )
    if separator == "," or points:
        return separator, "."
    thousands = any(map(is_grouped, zip(*table(separator)[1:], strict=True)))
    return separator, "," if commas or thousands else "."


def save_model(model: Any, path: Path) -> None:
    """Write a fitted pipeline with skops, whose files can be read without executing code."""
    skops = import_optional("skops.io", "Saving a model")
    try:
        skops.dump(model, path)
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {describe_error(error)}") from error


def load_model(path: Path) -> Any:
    """Read a pipeline that `save_model` wrote, of types of scikit-learn and this package only."""
    skops = import_optional("skops.io", "Loading a model")
    try:
        model = skops.load(path, trusted=TRUSTED)
    except Exception as error:  # skops raises many types for damaged files
        raise CommandError(f"Cannot read {path} as a model: {describe_error(error)}") from error
    if "clean" not in getattr(model, "named_steps", {}):
        raise CommandError(f"{path} is not a model that --save has written.")
    return model
