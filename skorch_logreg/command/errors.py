"""How the command says that something is wrong with what it was given."""

from __future__ import annotations

import importlib
from typing import Any


class CommandError(Exception):
    """A user's mistake, in one line; the command prints it and ends with exit code 2."""


def import_optional(module: str, purpose: str) -> Any:
    """Import a module of the extra `cli`, or say how to install it.

    Parameters
    ----------
    module : str
        Name of the module.
    purpose : str
        What it is needed for: the start of the sentence.

    Returns
    -------
    module
        The imported module.

    Raises
    ------
    CommandError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise CommandError(
            f"{purpose} needs {module.partition('.')[0]}, which is not installed: "
            'pip install "skorch-logreg[cli]"'
        ) from error


def format_names(names: list[str], n_shown: int = 20) -> str:
    """Return names in one line, the first ones where there are many."""
    more = f" and {len(names) - n_shown} more" if len(names) > n_shown else ""
    return ", ".join(map(repr, names[:n_shown])) + more
