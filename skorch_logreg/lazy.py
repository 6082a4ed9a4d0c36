"""Names that are imported when they are first asked for."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_getattr(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__``: what takes long to import is imported on demand.

    Parameters
    ----------
    package : str
        Its name.
    modules : dict of str to str
        Names, and the module below the package that each is from.

    References
    ----------
    PEP 562, Module ``__getattr__`` and ``__dir__``.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
