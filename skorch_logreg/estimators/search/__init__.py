"""Searches whose candidates share their solves."""

from skorch_logreg.estimators.search.searches import (
    BatchedGridSearchCV,
    BatchedRandomizedSearchCV,
)

__all__ = ["BatchedGridSearchCV", "BatchedRandomizedSearchCV"]
