"""Exceptions and warnings of the package."""

import sys
import warnings
from types import FrameType

from sklearn.exceptions import InconsistentVersionWarning

__all__ = [
    "CheckpointError",
    "ConstantLabelWarning",
    "DeviceError",
    "DivergenceError",
    "ParameterError",
    "VersionMismatchWarning",
]

_LIBRARIES = ("skorch_logreg", "sklearn")


class ParameterError(ValueError):
    """A parameter has an invalid value or does not match the data."""


class DeviceError(ParameterError):
    """A device does not exist or cannot hold the data."""


class CheckpointError(ValueError):
    """A checkpoint cannot be resumed: it is damaged, of another fit, or of a newer version."""


class DivergenceError(ValueError):
    """The loss or weights of a training loop became infinite or nan: its steps are too large."""


class ConstantLabelWarning(UserWarning):
    """A label has the same value in all rows of positive weight, so that it is constant."""


class VersionMismatchWarning(InconsistentVersionWarning):
    """A model was saved by another version of the package.

    Parameters
    ----------
    estimator_name : str
        Class name of the model.
    current_version, saved_version : str
        Version of the package that is running, and version that saved the model.
    """

    def __init__(self, *, estimator_name: str, current_version: str, saved_version: str) -> None:
        super().__init__(
            estimator_name=estimator_name,
            current_sklearn_version=current_version,
            original_sklearn_version=saved_version,
        )

    def __str__(self) -> str:
        """Format a message with both versions and the remedy."""
        return (
            f"{self.estimator_name} was saved by skorch_logreg "
            f"{self.original_sklearn_version} and is read by "
            f"{self.current_sklearn_version}; it may predict otherwise. Fit it again, or "
            "read it with the version that saved it."
        )


def warn_user(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this package, outside of it and of scikit-learn."""
    frame: FrameType | None = sys._getframe(1)
    stacklevel = 2  # of that frame
    while frame and frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)
