"""Logistic regression on the features of a neural network."""

from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier

__all__ = ["NeuralLogisticClassifier"]
