"""Parts of rows that are chunks, with what is as long as the data in files beside them."""

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from torch import Tensor

from skorch_logreg.data.remote import Work


@dataclass(frozen=True)
class ScratchParts:
    """A piece of work is done chunk by chunk, and what a chunk holds is a file.

    Memory has two chunks, and what belongs to their rows: nothing is as long as the data. One
    thread reads the next chunk meanwhile.

    Parameters
    ----------
    source : Chunks
    lengths : list of int
        Rows of every part.
    indices : list of int
        Which chunk that is.
    home : TemporaryDirectory
        Of the files, each of which is gone when nothing needs it any more.
    """

    source: Any
    lengths: list[int]
    indices: list[int]
    home: Any
    names: Iterator[int] = field(default_factory=count)

    @classmethod
    def within(cls, source: Any, lengths: list[int], folder: Any) -> Self:
        """Make a folder of its own inside the one that was named; chunks without rows are none."""
        indices = [index for index, length in enumerate(lengths) if length]
        home = tempfile.TemporaryDirectory(prefix="scratch-", dir=folder)
        return cls(source, [lengths[index] for index in indices], indices, home)

    def scatter(self, values: Sequence[Any]) -> Any:
        """Hand every part something to hold, and return the handle."""
        handle = self._handle()
        for index, value in enumerate(values):
            handle.write(index, value)
        return handle

    def run(
        self, work: Work, held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        """Sum the terms of work over all parts."""
        handles = [self._handle() for _ in range(n_kept)]
        totals: tuple[Tensor, ...] | None = None
        for index, X in self._chunks(reads):
            terms, kept = work(X, index, [handle.read(index) for handle in held])
            del X
            for handle, value in zip(handles, kept, strict=True):
                handle.write(index, value)
            if totals is None:
                totals = terms
                continue
            for total, term in zip(totals, terms, strict=True):
                total.add_(term)
        return totals or (), handles

    def collect(self, work: Work, held: Sequence[Any], reads: bool) -> list[Any]:
        """Return the terms of every part, in their order."""
        return [
            work(X, index, [handle.read(index) for handle in held])[0]
            for index, X in self._chunks(reads)
        ]

    def holding(self, handle: Any) -> "ScratchParts":
        """Put something that the parts hold in the place of X."""
        places = list(range(len(self.lengths)))
        return ScratchParts(handle, self.lengths, places, self.home, self.names)

    def _chunks(self, reads: bool) -> Iterator[tuple[int, Any]]:
        if not reads:
            yield from ((index, None) for index in range(len(self.lengths)))
            return
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(self.source.chunk, self.indices[0])
            for place in range(len(self.indices)):
                X = coming.result()
                if place + 1 < len(self.indices):
                    coming = reader.submit(self.source.chunk, self.indices[place + 1])
                yield place, X
                del X  # before the chunk after the next is read

    def _handle(self) -> "_Files":
        return _Files(self.home, f"{next(self.names)}")


class _Files:
    """Values of all parts, a file each; a source of chunks as well."""

    def __init__(self, home: Any, name: str) -> None:
        self._home, self._name = home, name
        self._written: list[Path] = []
        weakref.finalize(self, _remove, self._written)

    def write(self, index: int, value: Any) -> None:
        """Write the value of a part."""
        path = Path(self._home.name) / f"{self._name}-{index}"
        if sp.issparse(value):
            path = path.with_suffix(".npz")
            sp.save_npz(path, value, compressed=False)
        else:
            path = path.with_suffix(".npy")
            np.save(path, value)
        self._written.append(path)

    def read(self, index: int) -> Any:
        """Read it."""
        path = self._written[index]
        return sp.load_npz(path) if path.suffix == ".npz" else np.load(path)

    chunk = read


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
