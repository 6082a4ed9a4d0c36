"""The compiled kernels are found, and can be turned off."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

from skorch_logreg.kernels.library import VARIABLE, library, status

COMPILER = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
STATUS = "from skorch_logreg.kernels import library as l; print(l.library() is None, l.status())"


@pytest.mark.skipif(os.environ.get(VARIABLE) == "0", reason="turned off")
@pytest.mark.skipif(shutil.which(COMPILER.split()[0]) is None, reason="no compiler")
def test_they_are_in_use_where_a_compiler_is():
    """Otherwise tests and races would measure torch without a word."""
    assert library() is not None, f"{status()}; pip install -e . builds them in place"


def test_a_variable_turns_them_off():
    done = subprocess.run(
        [sys.executable, "-c", STATUS],
        env={**os.environ, VARIABLE: "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"True off, because {VARIABLE}=0\n"
