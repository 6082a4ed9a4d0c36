"""Arguments of the command line."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from skorch_logreg import __version__

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
n_folds = _checked("number of folds", int, lambda n: n >= 2, "is not at least 2")
skops_file = _checked("file", Path, lambda path: path.suffix == ".skops", "does not end in .skops")
html_file = _checked("file", Path, lambda path: path.suffix == ".html", "does not end in .html")


def build_parser() -> argparse.ArgumentParser:
    """Build the parser, with an argument group for each of the command's steps."""
    parser = argparse.ArgumentParser(
        prog="skorch-logreg",
        usage="%(prog)s [FILE --target COLUMN] [options]\n"
        "       %(prog)s --model MODEL --predict OTHER [options]",
        description="Fit a logistic regression to a table, compare it with scikit-learn's, and "
        "print time, objective, held-out scores and the largest coefficients.",
        epilog="Without FILE: the breast cancer data that scikit-learn ships. Columns of "
        "numbers are standardised, categories one-hot encoded, dates and texts (TF-IDF) turned "
        "into numbers, missing values imputed; rows without a target are left out. The output "
        "lists what each column became. A name that begins with a dash is written --drop=-NAME.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    names: dict[str, Any] = {"metavar": "COLUMN", "nargs": "+", "action": "extend", "default": []}
    number: dict[str, Any] = {"metavar": "NUMBER"}

    add = parser.add_argument_group("table").add_argument
    learn = "CSV or Parquet file to learn from; - is standard input"
    add("file", nargs="?", type=Path, metavar="FILE", help=learn)
    add("--target", metavar="COLUMN", help="the column of FILE to predict")
    add("--drop", help="columns to leave out", **names)
    add("--categorical", help="columns of categories, such as codes written as numbers", **names)
    add("--weight", metavar="COLUMN", help="weights of the rows, in the fit and the scores")
    add("--encoding", metavar="NAME", help="of text files (default UTF-8, else cp1252)")
    add("--decimal", choices=".,", help="decimal sign of text (default: as the numbers show)")

    add = parser.add_argument_group("model").add_argument
    add("--C", type=positive, help="inverse penalty, inf: none (default 1)", **number)
    add("--cv", type=n_folds, metavar="K", help="choose C by K folds, for the best log loss")
    add("--l1-ratio", type=fraction, default=0.0, help="0: L2 (default), 1: L1", **number)
    balanced = "'balanced', or LABEL=NUMBER for some classes"
    add("--class-weight", nargs="+", metavar="WEIGHT", help=balanced)
    add("--test-size", type=fraction, default=0.25, help="part held out (default 0.25)", **number)
    add("--seed", type=seed, default=0, help="of the split and folds (default 0)", **number)

    add = parser.add_argument_group("output").add_argument
    add("--positive", metavar="LABEL", help="class that the results of two classes refer to")
    add("--summary", action="store_true", help="print standard errors, tests and odds ratios")
    add("--baseline", action="store_true", help="compare with the majority class, for rare classes")
    add("--report", type=html_file, metavar="HTML", help="write all results and figures to a page")
    add("--save", type=skops_file, metavar="MODEL", help="write the pipeline to a .skops file")

    add = parser.add_argument_group("predictions").add_argument
    add("--model", type=Path, metavar="MODEL", help="read a saved model instead of fitting")
    add("--predict", type=Path, metavar="OTHER", help="a second table: predict its classes")
    add("--key", help="columns of OTHER to copy in front of the predictions", **names)
    add("--output", type=Path, metavar="CSV", help="where --predict writes (standard output)")
    return parser


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments, and exit with code 2 if they are inconsistent."""
    parser = build_parser()
    options = parser.parse_args(argv)
    given = {name for name, value in vars(options).items() if value != parser.get_default(name)}
    fits, predicts, loads = (name in given for name in ("file", "predict", "model"))
    for_tables = given & {"encoding", "decimal"}
    for_fits = given - {"file", "target", "model", "predict", "key", "output"} - for_tables
    for_fits = {f"--{name.replace('_', '-')}" for name in for_fits}
    errors = [
        (fits and loads, "give either FILE or --model, not both"),
        (fits != ("target" in given), "FILE and --target COLUMN go together; give FILE first"),
        (predicts and not (fits or loads), "--predict needs FILE or --model"),
        (loads and not predicts, "--model needs --predict"),
        (loads and for_fits, f"{', '.join(sorted(for_fits))}: --model does not fit"),
        ({"C", "cv"} <= given, "give either --C or --cv, which chooses it"),
        (options.summary and options.l1_ratio > 0, "--summary needs an L2 penalty or none"),
        (options.summary and options.class_weight, "--summary takes no --class-weight"),
        (options.test_size == 1, "--test-size must be below 1"),
        (options.baseline and options.test_size == 0, "--baseline needs rows that are held out"),
        (str(options.file) == str(options.predict) == "-", "standard input can be read once only"),
    ]
    for needed, names in [
        ("file", ["save", "drop", "categorical", "weight"]),
        ("predict", ["output", "key"]),
    ]:
        label = "FILE" if needed == "file" else "--predict"
        errors += [(n in given and needed not in given, f"--{n} needs {label}") for n in names]
    for name in ("save", "report", "output"):
        path = getattr(options, name)
        is_lost = path is not None and not path.parent.is_dir()
        errors.append((is_lost, f"--{name}: there is no folder {path and path.parent}"))
    errors += [(not (fits or predicts), f"--{name} needs a table") for name in for_tables]
    for is_wrong, message in errors:
        if is_wrong:
            parser.error(message)
    return options
