"""Look-up of features, classes and labels by their names."""

from typing import Any

import numpy as np

from skorch_logreg.exceptions import ParameterError


def index_of(name: Any, names: np.ndarray, parameter: str) -> int:
    """Return the index of a class or label among the names; raise a ParameterError without it."""
    found = np.flatnonzero(np.asarray(names) == name)
    if not len(found):
        known = ", ".join(map(repr, names.tolist()[:10])) + (", ..." if len(names) > 10 else "")
        raise ParameterError(f"{parameter} is {name!r}; it must be one of {known}.")
    return int(found[0])
