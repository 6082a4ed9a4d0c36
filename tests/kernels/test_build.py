"""The package builds and works with a compiler, without one, and on each instruction set."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from skorch_logreg.kernels.library import VARIABLE, status
from tests.kernels.compiler import COMPILER, needs_compiler, needs_kernels_on

pytest.importorskip("setuptools", minversion="77")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
IN_PLACE = ["-c", "import setuptools; setuptools.setup()", "build_ext", "--inplace"]
FIT = """
import os
from sklearn.datasets import load_iris
import skorch_logreg
assert skorch_logreg.__file__.startswith(os.getcwd())
assert skorch_logreg.TorchLogisticClassifier().fit(*load_iris(return_X_y=True)).converged_
skorch_logreg.show_versions()
"""


def python(*arguments, folder, **variables):
    """Run Python in a folder that is first on its path, and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTEST_ADDOPTS": "", **variables}
    environment.pop(VARIABLE, None)
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(kind, folder, **variables):
    """Build an sdist or a wheel, and return its path."""
    target = folder / "dist"
    target.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    python("-c", code, folder=folder, **variables)
    (path,) = target.iterdir()
    return path


@pytest.fixture
def checkout(tmp_path):
    """A copy of the checkout; what is built in place stays behind where it is ignored."""
    ignored = shutil.ignore_patterns("__pycache__", ".*", "build", "*.egg-info", "*.so")
    shutil.copytree(ROOT, tmp_path / "checkout", ignore=ignored)
    return tmp_path / "checkout"


@needs_compiler
@needs_kernels_on
def test_a_wheel_of_the_sdist_works_away_from_the_checkout(checkout, tmp_path):
    (checkout / "skorch_logreg/kernels/_compiled.abi3.so").touch()
    with tarfile.open(build("sdist", checkout)) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("skorch_logreg-*")
    assert not list(source.rglob("*.so"))
    wheel = build("wheel", source)
    assert "-cp311-abi3-" in wheel.name
    with ZipFile(wheel) as files:
        names = set(files.namelist())
        files.extractall(tmp_path / "site")
    assert "skorch_logreg/py.typed" in names
    assert not [n for n in names if n.endswith(".c") or not n.startswith("skorch_logreg")]
    assert f"kernels: {status()}\n" in python("-c", FIT, folder=tmp_path / "site")


def test_without_a_compiler_the_install_goes_on(checkout, tmp_path):
    with ZipFile(build("wheel", checkout, CC="false")) as files:
        files.extractall(tmp_path / "site")
    assert "kernels: not built" in python("-c", FIT, folder=tmp_path / "site")


@needs_compiler
def test_a_build_older_than_its_source_is_not_used(checkout):
    python(*IN_PLACE, folder=checkout, CFLAGS="-DSKORCH_LOGREG_NO_CLONES")
    (checkout / "skorch_logreg/kernels/kernels.c").touch()
    assert "kernels: older than kernels.c" in python("-c", FIT, folder=checkout)


def run_kernel_tests(checkout, flags, **variables):
    """Run all other tests of kernels on a build with the given flags of the compiler."""
    python(*IN_PLACE, folder=checkout, CFLAGS=flags)
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/kernels"]
    python(*command, folder=checkout, **variables)


@needs_compiler
@pytest.mark.skipif(not status().startswith("x86-64"), reason="one instruction set")
@pytest.mark.parametrize("instruction_set", ["x86-64", "x86-64-v3"])
def test_kernels_hold_on_lower_instruction_sets(instruction_set, checkout):
    """The dynamic linker chooses the highest, so that the others run nowhere else."""
    run_kernel_tests(checkout, f"-DSKORCH_LOGREG_NO_CLONES -march={instruction_set}")


@needs_compiler
def test_kernels_stay_within_their_arrays_and_types(checkout):
    """Under the sanitizers of addresses and of undefined behaviour."""
    runtimes = [
        subprocess.run(
            [COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libstdc++.so")  # the second for exceptions of torch
    ]
    if not all(map(os.path.isabs, runtimes)):
        pytest.skip("no sanitizers")
    # of one instruction set: its compilation takes a third of the time; with the blocks of AVX-512
    flags = "-DSKORCH_LOGREG_NO_CLONES -DSKORCH_LOGREG_WIDE_BLOCKS"
    flags += " -fsanitize=address,undefined -fno-sanitize-recover=all -g"
    preload = {"LD_PRELOAD": " ".join(runtimes), "ASAN_OPTIONS": "detect_leaks=0"}
    run_kernel_tests(checkout, flags, **preload)
    (built,) = (checkout / "skorch_logreg/kernels").glob("*.so")
    assert b"__asan_init" in built.read_bytes()
