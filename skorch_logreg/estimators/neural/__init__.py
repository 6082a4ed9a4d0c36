"""Logistic regression on what a network makes of the rows."""

from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier

__all__ = ["NeuralLogisticClassifier"]
