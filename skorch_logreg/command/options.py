"""Arguments of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

Value = TypeVar("Value")


def _checked(
    name: str, kind: Callable[[str], Value], is_valid: Callable[[Value], bool], reason: str
) -> Callable[[str], Value]:
    """Return a function that parses an argument; ``name`` stands in argparse's messages."""

    def parse(text: str) -> Value:
        value = kind(text)
        if not is_valid(value):
            raise argparse.ArgumentTypeError(f"{text} {reason}")
        return value

    parse.__name__ = name
    return parse


positive = _checked("positive", float, lambda C: C > 0, "is not above 0")
fraction = _checked("fraction", float, lambda part: 0 <= part <= 1, "is not between 0 and 1")
seed = _checked("seed", int, lambda seed: 0 <= seed < 2**32, "is not between 0 and 2**32 - 1")
skops_file = _checked(
    "skops_file", Path, lambda path: path.name.endswith(".skops"), "does not end in .skops"
)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments, and exit with code 2 if they are inconsistent."""
    parser = argparse.ArgumentParser(
        prog="python -m skorch_logreg",
        description="Fit a logistic regression to a table, beside scikit-learn's, and print "
        "time, objective, held-out scores and the largest coefficients.",
        epilog="Without FILE: the breast cancer data that scikit-learn ships. Columns of "
        "numbers are standardised, labels one-hot encoded, dates and texts (TF-IDF) turned "
        "into numbers, missing values imputed; rows without a target are left out.",
    )
    add = parser.add_argument
    add("file", nargs="?", type=Path, metavar="FILE", help="CSV or Parquet file to learn from")
    add("--target", metavar="COLUMN", help="the column of FILE to predict")
    number: dict[str, Any] = {"metavar": "NUMBER"}
    add("--C", type=positive, default=1.0, help="inverse penalty, inf: none (default 1)", **number)
    add("--l1-ratio", type=fraction, default=0.0, help="0: L2 (default), 1: L1", **number)
    add("--test-size", type=fraction, default=0.25, help="part held out (default 0.25)", **number)
    add("--seed", type=seed, default=0, help="of the split (default 0)", **number)
    add("--save", type=skops_file, metavar="MODEL", help="write the pipeline to a .skops file")
    add("--model", type=Path, metavar="MODEL", help="read such a file instead of fitting")
    add("--predict", type=Path, metavar="OTHER", help="a second table: write its probabilities")
    add("--output", type=Path, metavar="CSV", help="where --predict writes (standard output)")
    options = parser.parse_args(argv)
    fits, predicts = options.file is not None, options.predict is not None
    loads = options.model is not None
    for is_wrong, message in [
        (fits and loads, "give either FILE or --model, not both"),
        (fits != (options.target is not None), "FILE and --target COLUMN go together"),
        (options.save is not None and not fits, "--save needs FILE"),
        (predicts and not (fits or loads), "--predict needs FILE or --model"),
        (loads and not predicts, "--model needs --predict"),
        (options.output is not None and not predicts, "--output needs --predict"),
        (options.test_size == 1, "--test-size must be below 1"),
    ]:
        if is_wrong:
            parser.error(message)
    return options
