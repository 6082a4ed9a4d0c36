"""The compiled kernels are found, and can be turned off."""

import os
import subprocess
import sys

from skorch_logreg.kernels.library import SOURCES, VARIABLE, library, status
from tests.kernels.compiler import COMPILER, needs_compiler, needs_kernels_on


@needs_compiler
@needs_kernels_on
def test_they_are_in_use_where_a_compiler_is():
    """Otherwise tests and races would measure torch without a word."""
    assert library() is not None, f"{status()}; pip install -e . builds them in place"


def test_a_variable_turns_them_off():
    code = "from skorch_logreg.kernels.library import *; print(library(), status(), sep='; ')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, VARIABLE: "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"None; off, because {VARIABLE}=0\n"


@needs_compiler
def test_the_source_is_c99_without_warnings():
    flags = ["-std=c99", "-fopenmp-simd", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    sources = [path for path in SOURCES if path.suffix == ".c"]
    subprocess.run([COMPILER, *flags, "-fsyntax-only", *sources], check=True)
