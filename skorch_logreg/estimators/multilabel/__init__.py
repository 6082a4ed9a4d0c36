"""Multi-label classification, one binary model per label."""

from skorch_logreg.estimators.multilabel.classifier import MultiLabel

__all__ = ["MultiLabel"]
