"""Measure how much memory a fit takes, X included.

    python benchmarks/memory.py [--only TEXT]

Each fit runs in a process of its own (Linux: the peak is VmHWM of /proc/self/status). `start` is
what that process holds after a small fit, before X exists; y and all else is counted. Columns in
MB: X, the peak beyond `start`, their ratio, the limit. Exit status 1 if a limit is missed.
"""

import argparse
import json
import subprocess
import sys
import time

import numpy as np
import scipy.sparse as sp

MB = 1e6
CASES = {  # name: (how X is made, limit in multiples of X or in bytes)
    "1M x 100 float32 C order": (("dense", 1_000_000, 100, "float32", "C"), "1.3 X"),
    "1M x 100 float32 F order": (("dense", 1_000_000, 100, "float32", "F"), "1.3 X"),
    "1M x 100 float64 C order": (("dense", 1_000_000, 100, "float64", "C"), "1.3 X"),
    "1M x 100 float64 F order": (("dense", 1_000_000, 100, "float64", "F"), "1.3 X"),
    "CSR 500k x 20k, 2e7 entries": (("sparse", 500_000, 20_000, "float64", 40), "3.2 X"),
    "CSR 1M x 1M, 1e7 entries": (("sparse", 1_000_000, 1_000_000, "float64", 10), 3e9),
}
BLOCK = 20_000


def memory(field):
    """Bytes of a field of /proc/self/status."""
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith(field)]
    return int(line.split()[1]) * 1024


def dense(n_samples, n_features, dtype, order):
    """Fill X block by block, so that making it needs no second copy."""
    X = np.empty((n_samples, n_features), dtype=dtype, order=order)
    rng = np.random.default_rng(0)
    for start in range(0, n_samples, BLOCK):
        rows = X[start : start + BLOCK]
        rows[...] = rng.standard_normal(rows.shape, dtype=dtype)
    return X


def sparse(n_samples, n_features, dtype, per_row):
    """`per_row` entries a row, spread over the columns."""
    rng = np.random.default_rng(0)
    indices = np.empty(n_samples * per_row, dtype=np.int32)
    for start in range(0, n_samples, BLOCK):
        rows = min(BLOCK, n_samples - start)
        drawn = rng.integers(0, n_features // per_row, size=(rows, per_row)) * per_row
        indices[start * per_row : (start + rows) * per_row] = (drawn + np.arange(per_row)).ravel()
    data = rng.standard_normal(len(indices), dtype=dtype)
    indptr = np.arange(0, len(indices) + 1, per_row, dtype=np.int32)
    return sp.csr_array((data, indices, indptr), shape=(n_samples, n_features))


def labels(X):
    """Labels that fifty columns bear on."""
    rng = np.random.default_rng(1)
    weight = np.zeros(X.shape[1], dtype=X.dtype)
    weight[:50] = rng.standard_normal(min(50, X.shape[1])) / 5
    y = np.empty(X.shape[0], dtype=np.int64)
    for start in range(0, X.shape[0], BLOCK):
        z = X[start : start + BLOCK] @ weight
        y[start : start + BLOCK] = z + rng.logistic(size=z.shape) > 0
    return y


def measure(kind, *arguments):
    """Fit in this process; print what it took."""
    from skorch_logreg import TorchLogisticClassifier

    make = {"dense": dense, "sparse": sparse}[kind]
    small = make(500, 200, *arguments[2:])
    TorchLogisticClassifier().fit(small, labels(small))
    start = memory("VmRSS")
    X = make(*arguments)
    y = labels(X)
    with open("/proc/self/clear_refs", "w") as peak:
        peak.write("5")  # forget the peak so far
    began = time.perf_counter()
    model = TorchLogisticClassifier().fit(X, y)
    seconds = time.perf_counter() - began
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if kind == "sparse" else X.nbytes
    print(json.dumps({
        "X": size, "peak": memory("VmHWM") - start, "seconds": seconds,
        "converged": model.converged_,
    }))  # fmt: skip


def main(arguments=None):
    """Print the table; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds TEXT")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        measure(*json.loads(options.measure))
        return 0
    print(f"{'fit':30}{'X':>8}{'peak':>8}{'ratio':>7}{'limit':>8}{'seconds':>9}")
    status = 0
    for name, (make, limit) in CASES.items():
        if options.only not in name:
            continue
        done = subprocess.run(
            [sys.executable, __file__, "--measure", json.dumps(make)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"{name:30} failed: {done.stderr.strip().splitlines()[-1]}")
            status = 1
            continue
        seen = json.loads(done.stdout)
        bytes_allowed = float(limit.split()[0]) * seen["X"] if isinstance(limit, str) else limit
        line = f"{name:30}{seen['X'] / MB:8.0f}{seen['peak'] / MB:8.0f}"
        line += f"{seen['peak'] / seen['X']:7.2f}{bytes_allowed / MB:8.0f}{seen['seconds']:9.2f}"
        if seen["peak"] > bytes_allowed:
            line, status = line + "  MISSED", 1
        print(line + ("" if seen["converged"] else "  not converged"), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
