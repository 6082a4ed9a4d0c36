"""Temporary folders for files of a fit, inside folders that the user names."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

_FOLDERS: ContextVar[list[Path] | None] = ContextVar("folders", default=None)


@contextmanager
def scratch_folders() -> Iterator[None]:
    """Remove the folders that `scratch_folder` makes inside this context, at its end."""
    folders: list[Path] = []
    token = _FOLDERS.set(folders)
    try:
        yield
    finally:
        _FOLDERS.reset(token)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def scratch_folder(within: Any) -> Path:
    """Make an empty folder; only inside the context `scratch_folders`."""
    folders = _FOLDERS.get()
    assert folders is not None  # every fit enters scratch_folders first
    folders.append(Path(tempfile.mkdtemp(prefix="scratch-", dir=within)))
    return folders[-1]
