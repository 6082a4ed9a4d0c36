"""Show what a fit of rows on disk costs beside reading them.

    python -m benchmarks.from_disk [--rows 10000000] [--columns 30] [--dtype float32]
        [--folder .] [--scratch]

Rows are generated into a file, read in chunks of 64 MiB and fitted to ``tol=1e-3``, three times.
Before every pass the file leaves the page cache, where the system can be asked for that; the raw
rate is that of reading all chunks and doing nothing, between the fits.  A line a fit: seconds,
passes, the share of the raw rate at which each reads, the process's peak beyond its start.
"""

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import chunks

_BYTES = 64 << 20
_WRITTEN = 200_000


class Rows:
    """Chunks of a file of rows."""

    def __init__(self, path, n_columns, dtype):
        self.path, self.n_columns, self.dtype = path, n_columns, np.dtype(dtype)
        self.length = _BYTES // (n_columns * self.dtype.itemsize)
        self.passes = []
        self.scratch = None

    @property
    def size(self):
        """Bytes of the file."""
        return self.path.stat().st_size

    def __len__(self):
        return -(-self.size // (self.length * self.n_columns * self.dtype.itemsize))

    def chunk(self, index):
        """Read rows from where they lie."""
        count = self.length * self.n_columns
        offset = index * count * self.dtype.itemsize
        read = np.fromfile(self.path, self.dtype, count, offset=offset)
        return read.reshape(-1, self.n_columns)

    def forget(self):
        """Take the file out of the page cache, where that is possible."""
        if hasattr(os, "posix_fadvise"):
            descriptor = os.open(self.path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)

    def raw_seconds(self):
        """Seconds of reading all chunks."""
        self.forget()
        begun = perf_counter()
        for index in range(len(self)):
            self.chunk(index)
        return perf_counter() - begun


def written(path, n_rows, n_columns, dtype):
    """Write rows, and return their labels."""
    rng, labels = np.random.default_rng(0), []
    slope = rng.normal(size=n_columns) / np.sqrt(n_columns)
    with path.open("wb") as file:
        for start in range(0, n_rows, _WRITTEN):
            part = rng.standard_normal((min(_WRITTEN, n_rows - start), n_columns))
            labels.append(part @ slope + rng.logistic(size=len(part)) > 0)
            file.write(part.astype(dtype).tobytes())
    return np.concatenate(labels)


def watched(rows, read_ahead=chunks.read_ahead):
    """Return a pass that begins with a cold file and notes its seconds."""

    def read(source, indices):
        rows.forget()
        begun = perf_counter()
        yield from read_ahead(source, indices)
        rows.passes.append(perf_counter() - begun)

    return read


def main(arguments=None):
    """Fit and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--folder", type=Path, default=None, help="on the disk that is to be read")
    parser.add_argument("--scratch", action="store_true", help="keep logits in files as well")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "rows.bin"
        y = written(path, options.rows, options.columns, options.dtype)
        rows = Rows(path, options.columns, options.dtype)
        chunks.read_ahead = watched(rows)
        rows.scratch = folder if options.scratch else None
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print("| seconds | passes | raw GB/s | share of it, pass by pass | median | peak MB |")
        print("| --- " * 6 + "|")
        for _ in range(3):
            raw = rows.raw_seconds()
            rows.passes.clear()
            begun = perf_counter()
            model = TorchLogisticClassifier(tol=1e-3).fit(rows, y)
            seconds = perf_counter() - begun
            peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            shares = [raw / taken for taken in rows.passes]
            print(
                f"| {seconds:.3g} | {model.n_passes_} | {rows.size / raw / 1e9:.3g} "
                f"| {', '.join(f'{s:.0%}' for s in shares)} | {median(shares):.0%} | {peak:.0f} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
