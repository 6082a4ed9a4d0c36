"""File locks that prevent two fits from writing to one file."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from skorch_logreg.exceptions import CheckpointError

if sys.platform == "win32":
    import msvcrt

    def _acquire(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

    def _release(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _acquire(file: IO[bytes]) -> None:
        # flock locks the open file, not the process, so that threads exclude each other as well
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)  # unlocks inherited copies in forked processes as well


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Lock a path against other fits of any thread or process.

    The file ``path.lock`` exists while the lock is held. The operating system releases the lock of
    a process that dies. Raises a `CheckpointError` if another fit holds the lock.
    """
    name = path.with_name(path.name + ".lock")
    file = _locked(path, name)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove open files
            name.unlink()
        with suppress(OSError):
            _release(file)
        file.close()
        if sys.platform == "win32":
            with suppress(OSError):
                name.unlink()


def _locked(path: Path, name: Path) -> IO[bytes]:
    while True:
        try:
            file = name.open("ab")
        except OSError as error:
            raise CheckpointError(
                f"The checkpoint {str(path)!r} cannot be written: {error}."
            ) from error
        try:
            _acquire(file)
        except (BlockingIOError, PermissionError) as error:
            file.close()
            raise CheckpointError(
                f"The checkpoint {str(path)!r} is in use by another fit that is running. Wait "
                "until it has ended, or name another file."
            ) from error
        except OSError:  # a file system without locks
            return file
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), name.stat()):
                return file
        file.close()  # another fit removed the file between open and lock
