"""Estimators: the faces; only here are validation, labels, warnings and fitted attributes."""

from skorch_logreg.estimators.classifier import TorchLogisticClassifier

__all__ = ["TorchLogisticClassifier"]
