"""Errors of the command line and their messages."""

from __future__ import annotations

import importlib
from typing import Any


class CommandError(Exception):
    """A one-line error message about the input, which the command prints before exit code 2."""


def import_optional(module: str, purpose: str) -> Any:
    """Import a module of the extra `cli`.

    Parameters
    ----------
    module : str
        Name of the module.
    purpose : str
        Purpose of the module, which starts the sentence of the error message.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    CommandError
        If the module is not installed. The message contains the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed: "
            'pip install "skorch-logreg[cli]"'
        ) from error


def format_names(names: list[str], n_shown: int = 20) -> str:
    """Format names in one line, at most the first `n_shown`."""
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(map(repr, names[:n_shown])) + more
