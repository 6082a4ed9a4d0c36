"""Errors of the command line and their messages."""

from __future__ import annotations

import importlib
from typing import Any


class CommandError(Exception):
    """A one-line error message about the input, which the command prints before exit code 2."""


def describe_error(error: Exception) -> str:
    """Return the reason in one line, or the error's name if it has none."""
    if isinstance(error, UnicodeError):
        return f"{error}; --encoding names another.".replace("codec can't decode", "cannot read")
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    return str(error).strip().partition("\n")[0] or type(error).__name__


def import_optional(module: str, purpose: str) -> Any:
    """Import a module of the extra `cli`, or raise a CommandError that begins with ``purpose``."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed: "
            'pip install "skorch-logreg[cli]"'
        ) from error


def import_pandas() -> Any:
    """Import pandas, as `import_optional` does."""
    return import_optional("pandas", "Reading a table")


def format_names(names: list[str], n_shown: int = 20) -> str:
    """Format names in one line, at most the first `n_shown`."""
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(map(repr, names[:n_shown])) + more
