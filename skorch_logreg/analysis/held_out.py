"""Cross-validated probabilities, and routing of metadata to fits and scorers."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import _safe_indexing, check_consistent_length
from sklearn.utils.metadata_routing import (
    MetadataRequest,
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import _check_method_params

from skorch_logreg.pipelines import final_step, is_multilabel, to_dense_numpy


def _positive_proba(model: Any, X: Any) -> np.ndarray:
    """Predict the probabilities (n_rows,) of the second class, or (n_rows, n_labels) of labels."""
    found = to_dense_numpy(model.predict_proba(X)).astype(np.float64)
    return found if is_multilabel(model) else found[:, 1]


def prefit_proba(model: Any, X: Any, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities and indices of all rows, by a fitted model."""
    if model is None:
        raise NotFittedError('estimator is not fitted; with cv="prefit" it must be.')
    proba = _positive_proba(model, X)
    check_consistent_length(proba, targets)
    return proba, np.arange(len(targets))


def cross_validate_proba(
    estimator: Any,
    X: Any,
    y: Any,
    splits: Iterable[tuple[np.ndarray, np.ndarray]],
    params: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    """Fit clones on the training rows, and return probabilities and indices of all test rows."""
    parts, rows = [], []
    for train, test in splits:
        model = clone(estimator).fit(
            _safe_indexing(X, train),
            _safe_indexing(y, train),
            **_check_method_params(X, params, indices=train),
        )
        parts.append(_positive_proba(model, _safe_indexing(X, test)))
        rows.append(test)
    return np.concatenate(parts), np.concatenate(rows)


def route_params(
    estimator: Any, scorer: Any, sample_weight: np.ndarray | None, params: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split metadata into parameters of `fit` and parameters of the scorer.

    With scikit-learn's metadata routing, each receives what it requests. Otherwise `fit` receives
    everything, and the scorer receives the sample weights. Costs, for which `scorer` is None,
    always receive these.
    """
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    if not get_config()["enable_metadata_routing"]:
        prefix, _ = final_step(estimator)
        return params | {f"{prefix}{name}": value for name, value in weight.items()}, weight
    router = MetadataRouter(owner="tune_threshold").add(
        estimator=estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit")
    )
    if scorer is None:
        scorer = MetadataRequest(owner="cost_matrix")
        scorer.score.add_request(param="sample_weight", alias=True)
    router.add(scorer=scorer, method_mapping=MethodMapping().add(caller="fit", callee="score"))
    found = process_routing(router, "fit", **(params | weight))
    return found.estimator.fit, found.scorer.score
