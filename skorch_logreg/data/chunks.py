"""Partitions that are chunks of rows, read one after the other."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from skorch_logreg.data.first_pass import FirstPassSample, sample_and_checksum
from skorch_logreg.data.protocol import Task, add_terms

# folders that the end of a fit removes
_FOLDERS: ContextVar[list[Path] | None] = ContextVar("folders", default=None)


class Chunks(Protocol):
    """Consecutive rows of a data set, which are read in every pass."""

    def __len__(self) -> int:
        """Return the number of chunks."""

    def chunk(self, index: int) -> Any:
        """Read a chunk: Tensor or csr_array (rows, n_features), of one float type in all chunks."""


@dataclass(frozen=True)
class ChunkParts:
    """Partitions that run a task chunk by chunk, while one thread reads the next chunk.

    Values that the chunks hold are stored in memory, or in files: then nothing in memory has as
    many rows as the data.

    Parameters
    ----------
    source : Chunks
    lengths : list of int
        Number of rows of every partition.
    indices : list of int
        Index of the chunk of every partition; chunks without rows have no partition.
    home : Path or None
        Folder for the files; None: values are stored in memory. A file is removed when nothing
        refers to it.
    """

    is_read_again: ClassVar[bool] = True
    source: Chunks
    lengths: list[int]
    indices: list[int]
    home: Path | None = None
    names: Iterator[int] = field(default_factory=count)  # of files
    max_copied_bytes: int = 1 << 28  # of columns that are copied to memory

    @classmethod
    def of(cls, source: Chunks, lengths: list[int], scratch: Any = None) -> "ChunkParts":
        """Make partitions of the chunks that have rows; files go to a new folder in ``scratch``."""
        indices = [index for index, length in enumerate(lengths) if length]
        home = None
        if scratch is not None:
            folders = _FOLDERS.get()
            assert folders is not None  # every fit enters scratch_folders first
            home = Path(tempfile.mkdtemp(prefix="scratch-", dir=scratch))
            folders.append(home)
        return cls(source, [lengths[index] for index in indices], indices, home)

    def scatter(self, values: Sequence[Any]) -> Any:
        handle = self._handle()
        for value in values:
            handle.append(value)
        return handle

    def run(
        self, work: Task, held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        handles = [self._handle() for _ in range(n_kept)]
        totals: tuple[Tensor, ...] = ()
        for index, X in self._chunks(reads):
            terms, kept = work(X, index, [handle.chunk(index) for handle in held])
            del X
            for handle, value in zip(handles, kept, strict=True):
                handle.append(value)
            totals = add_terms(totals, terms)
        return totals, handles

    def collect(self, work: Task, held: Sequence[Any], reads: bool) -> list[Any]:
        return [
            work(X, index, [handle.chunk(index) for handle in held])[0]
            for index, X in self._chunks(reads)
        ]

    def holding(self, handle: Any) -> "ChunkParts":
        return replace(self, source=handle, indices=list(range(len(self.lengths))))

    def may_hold(self, n_bytes: int) -> bool:
        return self.home is not None or n_bytes <= self.max_copied_bytes

    def _chunks(self, reads: bool) -> Iterator[tuple[int, Any]]:
        if not reads:
            yield from ((index, None) for index in range(len(self.lengths)))
            return
        for place, X in enumerate(read_ahead(self.source, self.indices)):
            if int(X.shape[0]) != self.lengths[place]:
                raise ValueError(
                    f"Chunk {self.indices[place]} of X has {X.shape[0]} rows, and had "
                    f"{self.lengths[place]} when it was first read."
                )
            yield place, X
            del X  # before the chunk after the next is read

    def _handle(self) -> Any:
        if self.home is None:
            return _MemoryValues()
        return _FileValues(self.home, str(next(self.names)))


def read_ahead(source: Chunks, indices: Sequence[int]) -> Iterator[Any]:
    """Yield some chunks; the next chunk is read in a thread at the same time."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(source.chunk, indices[0])
        for after in [*indices[1:], None]:
            X = coming.result()
            if after is not None:
                coming = reader.submit(source.chunk, after)
            yield X
            del X  # before the chunk after the next is read


def look_through(source: Chunks, n_samples: int) -> tuple[list[int], FirstPassSample]:
    """Read all chunks once: count rows, compute checksums and keep a sample.

    Raises
    ------
    ValueError
        If the number of rows is not ``n_samples``.
    """
    survey, lengths, kept = FirstPassSample(), list[int](), list[Any]()
    survey.checksums = []
    for X in read_ahead(source, range(len(source))):
        length = int(X.shape[0])
        if length and not survey.checksums:
            survey.step = -(-n_samples // length)  # the sample has as many rows as the first chunk
        some, checksum = sample_and_checksum(X, survey.of_part(sum(lengths)))
        kept.append(some)
        lengths.append(length)
        if length:
            survey.checksums.append(checksum)
        del X, some
        if sum(lengths) > n_samples:
            break
    if sum(lengths) != n_samples:
        more = "more than" if sum(lengths) > n_samples else f"{sum(lengths)} and not"
        raise ValueError(f"The chunks of X have {more} {n_samples} rows, as y has.")
    survey.keep(kept)
    return lengths, survey


class _MemoryValues(list[Any]):
    """Values of all partitions in memory; also a source of chunks."""

    chunk = list.__getitem__


class _FileValues:
    """Values of all partitions in one file each; also a source of chunks."""

    def __init__(self, home: Path, name: str) -> None:
        self._home, self._name = home, name
        self._paths: list[Path] = []
        weakref.finalize(self, _remove, self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def append(self, value: Any) -> None:
        """Write the value of the next partition."""
        suffix = ".npz" if sp.issparse(value) else ".npy"
        path = self._home / f"{self._name}-{len(self._paths)}{suffix}"
        self._paths.append(path)
        if sp.issparse(value):
            sp.save_npz(path, value, compressed=False)
        else:
            np.save(path, value)

    def chunk(self, index: int) -> Any:
        """Read the value of a partition."""
        path = self._paths[index]
        return sp.load_npz(path) if path.suffix == ".npz" else np.load(path)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


@contextmanager
def scratch_folders() -> Iterator[None]:
    """Remove the folders for files of chunks that are made inside this context, at its end."""
    folders: list[Path] = []
    token = _FOLDERS.set(folders)
    try:
        yield
    finally:
        _FOLDERS.reset(token)
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
