"""The compiler that builds the kernels, and marks of tests that need it."""

import os
import shutil
import sysconfig
from contextlib import contextmanager
from unittest import mock

import pytest

from skorch_logreg.kernels import library, passes
from skorch_logreg.kernels.library import VARIABLE

COMPILER = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]

needs_compiler = pytest.mark.skipif(shutil.which(COMPILER) is None, reason="no compiler")
needs_kernels_on = pytest.mark.skipif(os.environ.get(VARIABLE) == "0", reason="turned off")


@contextmanager
def without_kernels():
    """Leave everything to torch."""
    off = {"library": lambda: None}
    with mock.patch.multiple(library, **off), mock.patch.multiple(passes, **off):
        library.compiled.cache_clear()
        try:
            yield
        finally:
            library.compiled.cache_clear()
