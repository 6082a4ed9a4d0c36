"""Rows, scorer and metadata of a search."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples, column_or_1d

from skorch_logreg.inputs.labels import Targets, encode

__all__ = ["SearchData"]


@dataclass(frozen=True)
class SearchData:
    """Search with its rows, scorer and routed metadata.

    ``scorer`` is scikit-learn's, which returns a number or a dict of numbers, and ``routed`` the
    metadata of splitter, fits and scorer, of which values as long as X are split like it.
    """

    search: Any
    X: Any
    y: Any
    scorer: Any
    routed: Any

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(_num_samples(self.X))

    @cached_property
    def targets(self) -> Targets:
        """Classes of all rows."""
        return encode(column_or_1d(self.y))

    def rows(self, indices: Any, train: Any = None) -> tuple[Any, Any]:
        """Select rows of X and y, as scikit-learn does, which needs ``train`` for test rows."""
        X, y = _safe_split(self.search.estimator, self.X, self.y, indices, train)
        return X, y

    def fit_params(self, indices: Any) -> dict[str, Any]:
        """Return the metadata of fits for some rows."""
        params: dict[str, Any]
        params = _check_method_params(self.X, self.routed.estimator.fit, indices=indices)
        return params

    @property
    def needs_only_predictions(self) -> bool:
        """True for scikit-learn's scorers; False for a callable, which may inspect a pipeline."""
        scorers = getattr(self.scorer, "_scorers", {"": self.scorer}).values()
        by_response = all(hasattr(scorer, "_response_method") for scorer in scorers)
        return self.search.scoring is None or by_response
