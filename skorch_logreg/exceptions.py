"""Errors and warnings of this package."""

from sklearn.exceptions import InconsistentVersionWarning

__all__ = [
    "CheckpointError",
    "ConstantLabelWarning",
    "DeviceError",
    "DivergenceError",
    "ParameterError",
    "VersionMismatchWarning",
]


class ParameterError(ValueError):
    """A parameter of the right kind that does not go with the data."""


class DeviceError(ParameterError):
    """A device that does not exist here, or that cannot hold the data."""


class CheckpointError(ValueError):
    """A checkpoint that this fit cannot go on from: damaged, of another fit, or too new."""


class DivergenceError(ValueError):
    """A training loop whose loss is no longer finite: its steps are too large for the data."""


class ConstantLabelWarning(UserWarning):
    """A label has one value in all rows that count, so that there is nothing to learn."""


class VersionMismatchWarning(InconsistentVersionWarning):
    """A model was saved by another version of this package.

    Parameters
    ----------
    estimator_name : str
        Class of the model.
    current_version, saved_version : str
        Versions of this package: the running one, and the one that saved the model.
    """

    def __init__(self, *, estimator_name: str, current_version: str, saved_version: str) -> None:
        super().__init__(
            estimator_name=estimator_name,
            current_sklearn_version=current_version,
            original_sklearn_version=saved_version,
        )

    def __str__(self) -> str:
        """Name both versions and the way out."""
        return (
            f"{self.estimator_name} was saved by skorch_logreg "
            f"{self.original_sklearn_version} and is read by "
            f"{self.current_sklearn_version}; it may predict otherwise. Fit it again, or "
            "read it with the version that saved it."
        )
