"""Metadata routing of an estimator with a splitter and a scorer."""

from typing import Any, ClassVar

from sklearn.linear_model import LogisticRegressionCV
from sklearn.utils import Bunch
from sklearn.utils.metadata_routing import UNUSED, _routing_enabled, process_routing
from sklearn.utils.validation import _deprecate_positional_args

from skorch_logreg.inputs.arrays import ArrayNamespace


class RoutesToScorer:
    """Mixin that routes metadata to `cv` and `scoring`, as `LogisticRegressionCV` does."""

    cv: Any
    scoring: Any

    # requests for `score` belong to the scorer; obsolete with scikit-learn 1.11
    __metadata_request__score: ClassVar[dict[str, Any]] = {"sample_weight": UNUSED}

    @_deprecate_positional_args(version="1.11")
    def score(self, X: Any, y: Any, *, sample_weight: Any = None, **score_params: Any) -> float:
        """Compute the score `scoring` of predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights for the scorer.
        **score_params
            Other metadata for the scorer, if metadata routing is enabled.

        Returns
        -------
        score : float
        """
        namespace = ArrayNamespace.of(X)
        y, sample_weight = namespace.detach(y), namespace.detach(sample_weight)
        score = LogisticRegressionCV.score
        result: float = score(self, X, y, sample_weight=sample_weight, **score_params)
        return result

    get_metadata_routing = LogisticRegressionCV.get_metadata_routing
    _get_scorer = LogisticRegressionCV._get_scorer

    def _routed(self, sample_weight: Any, params: dict[str, Any]) -> Bunch:
        """Return the metadata of splitter and scorer; without routing, the scorer gets weights."""
        if _routing_enabled():
            return process_routing(self, "fit", sample_weight=sample_weight, **params)
        score = {} if sample_weight is None else {"sample_weight": sample_weight}
        return Bunch(splitter=Bunch(split={}), scorer=Bunch(score=score))
