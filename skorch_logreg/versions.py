"""Versions, threads, BLAS and kernels in use."""

import sklearn
import torch

import skorch_logreg
from skorch_logreg.kernels import library


def show_versions() -> None:
    """Print the versions, threads, BLAS and kernels in use.

    It prints what `sklearn.show_versions` does, the versions of this package and of torch, the
    instruction set of the compiled kernels, or why torch takes their place, and torch's threads
    and BLAS.

    Examples
    --------
    >>> from skorch_logreg import show_versions
    >>> show_versions()  # doctest: +SKIP
    """
    sklearn.show_versions()
    print("\nskorch_logreg:")
    print(f"      version: {skorch_logreg.__version__}")
    print(f"        torch: {torch.__version__}")
    print(f"      kernels: {library.status()}")
    print(f"\n{torch.__config__.parallel_info()}")
