"""Reading of tables, and writing and reading of fitted pipelines."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
from pathlib import Path
from typing import Any

from skorch_logreg.command.columns import clean
from skorch_logreg.command.errors import CommandError, import_optional, import_pandas
from skorch_logreg.estimators.classifier import TorchLogisticClassifier

SAMPLE_CHARACTERS = 1 << 16  # at the start of a file, to detect the separator
SEPARATORS = ",;\t|"  # a space is tried last, because text contains spaces
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# types of a saved pipeline that skops does not trust by default
TRUSTED = [
    "numpy.dtype",
    f"{clean.__module__}.{clean.__qualname__}",
    f"{TorchLogisticClassifier.__module__}.{TorchLogisticClassifier.__qualname__}",
]
MISSING_VALUES = ["?", "."]  # used by UCI and SAS, in addition to pandas' defaults


def read_table(path: Path) -> Any:
    """Read a CSV file or, if its name ends in `.parquet` or `.pq`, a Parquet file.

    The separator (comma, semicolon, tab, bar or space) and the decimal sign of a text file are
    detected from its first lines. Column names are strings, and rows are numbered from 0. A
    CommandError is raised if the file cannot be read or has no rows.
    """
    pandas = import_pandas()
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            import_optional("pyarrow", "Reading Parquet")
            frame = pandas.read_parquet(path)
        else:
            separator, decimal = dialect(read_head(path))
            frame = pandas.read_csv(
                path,
                sep=separator,
                decimal=decimal,
                na_values=MISSING_VALUES,
                skipinitialspace=True,
                low_memory=False,
                encoding="utf-8-sig",
            )
    except UnicodeDecodeError as error:
        raise CommandError(f"Cannot read {path}: it is not UTF-8 text.") from error
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror or error}.") from error
    # pandas' and pyarrow's parser errors are ValueErrors; pandas 3.0 has others for long integers
    except (ValueError, OverflowError) as error:
        raise CommandError(f"Cannot read {path}: {first_line(error)}") from error
    if len(frame) == 0:
        raise CommandError(f"Cannot read {path}: it has no rows.")
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame.reset_index(drop=True)


def read_head(path: Path) -> str:
    """Return the first complete lines of a text file, which may be compressed."""
    opened = OPENERS.get(path.suffix.lower(), open)
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        sample: str = file.read(SAMPLE_CHARACTERS)
    return sample if len(sample) < SAMPLE_CHARACTERS else sample[: sample.rfind("\n") + 1]


def dialect(sample: str) -> tuple[str, str]:
    """Detect the separator and the decimal sign of a text table from its first lines.

    The separator is the one that splits all lines into the same number of fields, and into the
    largest number. `csv.Sniffer` uses character frequencies, which are unreliable for text. The
    decimal sign is a comma only if the separator is another one, some field is a number with a
    comma, and no field is a number with a point.
    """

    def width(separator: str) -> int:
        try:
            rows = csv.reader(io.StringIO(sample), delimiter=separator, skipinitialspace=True)
            widths = {len(row) for row in rows if row}
        except csv.Error:  # such as a field beyond the reader's limit
            return 1
        return widths.pop() if len(widths) == 1 else 1

    separator = max(SEPARATORS, key=width)  # the comma if none splits the lines
    if width(separator) == 1 and width(" ") > 1:
        separator = " "
    bounds = (rf"(?:^|{re.escape(separator)})-?\d+", rf"\d+(?={re.escape(separator)}|\r?$)")
    commas, points = (
        re.search(bounds[0] + re.escape(sign) + bounds[1], sample, re.MULTILINE) for sign in ",."
    )
    return separator, "," if separator != "," and commas and not points else "."


def save_model(model: Any, path: Path) -> None:
    """Write a fitted pipeline with skops, whose files can be read without executing code."""
    skops = import_optional("skops.io", "Saving a model")
    try:
        skops.dump(model, path)
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {error.strerror or error}.") from error


def load_model(path: Path) -> Any:
    """Read a pipeline that `save_model` wrote.

    A CommandError is raised if the file is unreadable, does not contain such a pipeline, or
    contains types of other packages than scikit-learn and this one.
    """
    skops = import_optional("skops.io", "Loading a model")
    try:
        model = skops.load(path, trusted=TRUSTED)
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # skops raises many types for damaged files
        raise CommandError(f"Cannot read {path} as a model: {first_line(error)}") from error
    if "clean" not in getattr(model, "named_steps", {}):
        raise CommandError(f"{path} is not a model that --save has written.")
    return model


def first_line(error: Exception) -> str:
    """Return the first line of an error message, or the error's name if it is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
