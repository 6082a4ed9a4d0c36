"""Folders for files that are needed for a while, inside those that a user has named."""

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
    """Remove at the end what `scratch_folder` has made."""
    folders: list[Path] = []
    token = _FOLDERS.set(folders)
    try:
        yield
    finally:
        _FOLDERS.reset(token)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def scratch_folder(within: Any) -> Path:
    """Make an empty folder, to be used inside `scratch_folders`."""
    folders = _FOLDERS.get()
    assert folders is not None  # every fit has one around it
    folders.append(Path(tempfile.mkdtemp(prefix="scratch-", dir=within)))
    return folders[-1]
