"""On what a race was run: the machine, its versions, its memory."""

import os
import platform
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from skorch_logreg.kernels import library

LIBRARIES = ("numpy", "scipy", "torch", "numba")
STATUS, PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def describe(peers, threads: int) -> dict:
    """State the machine and the versions of whoever takes part."""
    names = {peer.distribution: peer.version for peer in peers}
    names |= {name: _version(name) for name in LIBRARIES}
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name") or platform.processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "kernels": library.status(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: names[name] for name in sorted(names) if names[name]},
    }


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _field(path, name):
    """Look a name up in a file of lines ``name: what``; None where it is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)


def resident_bytes() -> int | None:
    """Memory that this process holds; None where the system does not tell."""
    return _bytes("VmRSS")


def peak_bytes() -> int | None:
    """Most memory that it held since `forget_peak`."""
    return _bytes("VmHWM")


def forget_peak() -> bool:
    """Start the peak anew; false where the system cannot."""
    try:
        PEAK.write_text("5")
    except OSError:
        return False
    return True


def _bytes(field):
    text = _field(STATUS, field)
    return None if text is None else int(text.split()[0]) * 1024


def read_bandwidth(n_bytes: int = 1 << 28, repeat: int = 7) -> float:
    """Bytes a second at which a sum reads memory beyond the caches; the best of some."""
    import torch

    numbers = torch.ones(n_bytes // 8, dtype=torch.float64)
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        numbers.sum()
        seconds.append(time.perf_counter() - start)
    return n_bytes / float(np.min(seconds))
