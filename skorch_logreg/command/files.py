"""Read a table, write and read a fitted pipeline."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import re
from pathlib import Path
from typing import Any

from skorch_logreg.command.encoding import clean
from skorch_logreg.command.errors import CommandError, import_optional
from skorch_logreg.estimators.classifier import TorchLogisticClassifier

SAMPLE_CHARACTERS = 1 << 16  # characters from which the separator is found
SEPARATORS = ",;\t|"  # then the space, which texts have too
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# pandas' own list has neither; the first is UCI's, the second SAS's
TRUSTED = [
    "numpy.dtype",
    f"{clean.__module__}.{clean.__qualname__}",
    f"{TorchLogisticClassifier.__module__}.{TorchLogisticClassifier.__qualname__}",
]
MISSING_VALUES = ["?", "."]


def read_table(path: Path) -> Any:
    """Read a CSV or Parquet file.

    Parameters
    ----------
    path : Path
        Parquet where the name ends in `.parquet` or `.pq`; else text, of which the separator
        (comma, semicolon, tab, bar or space) and the decimal sign are found from its first lines.

    Returns
    -------
    pandas.DataFrame
        At least one row; column names are strings, rows are numbered from 0.

    Raises
    ------
    CommandError
        If the file cannot be read, has no rows, or pandas or pyarrow is missing.
    """
    pandas = import_optional("pandas", "Reading a table")
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
    """Return the first whole lines of a text file, compressed or not."""
    opened = OPENERS.get(path.suffix.lower(), open)
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        sample: str = file.read(SAMPLE_CHARACTERS)
    return sample if len(sample) < SAMPLE_CHARACTERS else sample[: sample.rfind("\n") + 1]


def dialect(sample: str) -> tuple[str, str]:
    """Find the separator and the decimal sign of a text table.

    The separator is the one that cuts every line into the same number of fields, and into
    most of them. `csv.Sniffer` looks at letter frequencies instead and is led astray by text.

    Parameters
    ----------
    sample : str
        The first lines.

    Returns
    -------
    separator, decimal : str
        A comma is a decimal sign only in a file with another separator, where some field is
        a number with a comma and none is a number with a point.
    """

    def width(separator: str) -> int:
        try:
            rows = csv.reader(io.StringIO(sample), delimiter=separator, skipinitialspace=True)
            widths = {len(row) for row in rows if row}
        except csv.Error:  # such as a field beyond the reader's limit
            return 1
        return widths.pop() if len(widths) == 1 else 1

    separator = max(SEPARATORS, key=width)  # the comma, where none cuts anything
    if width(separator) == 1 and width(" ") > 1:
        separator = " "
    bounds = (rf"(?:^|{re.escape(separator)})-?\d+", rf"\d+(?={re.escape(separator)}|\r?$)")
    commas, points = (
        re.search(bounds[0] + re.escape(sign) + bounds[1], sample, re.MULTILINE) for sign in ",."
    )
    return separator, "," if separator != "," and commas and not points else "."


def save_model(model: Any, path: Path) -> None:
    """Write a fitted pipeline with skops, which can be read without running any code."""
    skops = import_optional("skops.io", "Saving a model")
    try:
        skops.dump(model, path)
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {error.strerror or error}.") from error


def load_model(path: Path) -> Any:
    """Read a pipeline that `save_model` wrote.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    sklearn.pipeline.Pipeline
        The fitted pipeline.

    Raises
    ------
    CommandError
        If the file is unreadable, holds no such pipeline, or names types that are neither
        scikit-learn's nor ours.
    """
    skops = import_optional("skops.io", "Loading a model")
    try:
        model = skops.load(path, trusted=TRUSTED)
    except OSError as error:
        raise CommandError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # a broken file meets skops' parser anywhere
        raise CommandError(f"Cannot read {path} as a model: {first_line(error)}") from error
    if "clean" not in getattr(model, "named_steps", {}):
        raise CommandError(f"{path} is not a model that --save has written.")
    return model


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its name where it has none."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
