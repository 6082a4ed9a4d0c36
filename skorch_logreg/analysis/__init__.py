"""What one does with a fit."""

from skorch_logreg.analysis.path import RegularizationPath, regularization_path

__all__ = ["RegularizationPath", "regularization_path"]
