"""Grid and random search whose candidates are solved together."""

from skorch_logreg.estimators.search.searches import BatchedGridSearchCV, BatchedRandomizedSearchCV

__all__ = ["BatchedGridSearchCV", "BatchedRandomizedSearchCV"]
