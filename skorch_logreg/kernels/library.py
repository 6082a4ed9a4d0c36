"""Find and load the shared library of compiled kernels."""

import os
from ctypes import CDLL, c_char_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path

MODULE = "skorch_logreg.kernels._compiled"
SOURCES = [*Path(__file__).parent.glob("*.[ch]")]  # a checkout has them, a wheel does not
VARIABLE = "SKORCH_LOGREG_KERNELS"


def library() -> CDLL | None:
    """Return the compiled kernels, or None where torch takes their place."""
    return _load()[0]


def status() -> str:
    """Return the instruction set that the kernels use, or why there are none."""
    return _load()[1]


@cache
def _load() -> tuple[CDLL | None, str]:
    """Load the library once, and return it with its status."""
    if os.environ.get(VARIABLE) == "0":
        return None, f"off, because {VARIABLE}=0"
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        return None, "not built, because no C compiler was found or it failed"
    newest = max(SOURCES, key=lambda path: path.stat().st_mtime, default=None)
    if newest is not None and newest.stat().st_mtime > Path(spec.origin).stat().st_mtime:
        return None, f"older than {newest.name}; to build them again: pip install -e ."
    try:
        loaded = CDLL(spec.origin)
    except OSError as error:
        return None, f"not loaded: {error}"
    loaded.skorch_logreg_instruction_set.restype = c_char_p
    return loaded, loaded.skorch_logreg_instruction_set().decode()
