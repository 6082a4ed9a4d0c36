"""Tables, column kinds, model files and model comparison for the command line."""

from skorch_logreg.command.comparison import Problem, compare, report
from skorch_logreg.command.encoding import (
    UNUSABLE_KINDS,
    clean,
    column_kinds,
    encoder,
    feature_names,
    target_labels,
)
from skorch_logreg.command.errors import CommandError, format_names
from skorch_logreg.command.files import load_model, read_table, save_model

__all__ = [
    "UNUSABLE_KINDS",
    "CommandError",
    "Problem",
    "clean",
    "column_kinds",
    "compare",
    "encoder",
    "feature_names",
    "format_names",
    "load_model",
    "read_table",
    "report",
    "save_model",
    "target_labels",
]
