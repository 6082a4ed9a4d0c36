"""Many labels, one model each, in one solve."""

from skorch_logreg.estimators.multilabel.classifier import MultiLabel

__all__ = ["MultiLabel"]
