"""Validation split of training in epochs, and scores of the held-out rows."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_tensor
from skorch_logreg.inputs.labels import class_probabilities
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.solvers.minibatch import trains_in_epochs


def split(rows: FitInput, solver: Any, seed: int) -> tuple[FitInput, FitInput | None]:
    """Split off the ``validation_fraction`` of a mini-batch solver, stratified by class.

    All rows are returned for other solvers, and those of positive weight for mini-batches; the
    held-out rows are None if there are none.
    """
    if not trains_in_epochs(solver):
        return rows, None
    rows = rows.drop_zero_weight()
    if not solver.validation_fraction:
        return rows, None
    index = rows.labels.index  # None for probabilities
    if solver.scoring is not None and index is None:
        raise ParameterError(
            f"scoring={solver.scoring!r} scores classes, but y holds probabilities; leave "
            "scoring=None, which is the log-likelihood."
        )
    from sklearn.model_selection import train_test_split  # slow to import

    try:
        train, held_out = train_test_split(
            np.arange(rows.X.shape[0]),
            test_size=solver.validation_fraction,
            random_state=seed,
            stratify=None if index is None else index.cpu().numpy(),
        )
    except ValueError as error:
        raise ParameterError(
            f"validation_fraction={solver.validation_fraction} does not go with these rows: {error}"
        ) from error
    return rows.take(np.sort(train)), rows.take(np.sort(held_out))


def scorer(
    rows: FitInput | None, estimator: Any, solver: Any, attributes: Callable[..., dict[str, Any]]
) -> Callable[..., float] | None:
    """Return a function that scores the model of some parameters on held-out rows, if any.

    ``attributes`` returns the fitted attributes at parameters; the estimator, which has `classes_`,
    is not modified. A scorer given by name gets the weights; None is the mean log-likelihood.
    """
    if rows is None:
        return None
    from sklearn.metrics import get_scorer  # slow to import, and few fits are scored

    model = copy.copy(estimator)
    vars(model).pop("feature_names_in_", None)  # validated rows have no column names
    weighted = rows.weight is not None and isinstance(solver.scoring, str)
    params = {"sample_weight": rows.sample_weight} if weighted else {}
    scores = None if solver.scoring is None else get_scorer(solver.scoring)

    def score(*parameters: Any) -> float:
        vars(model).update(attributes(*parameters))
        if scores is None:
            return _log_likelihood(rows, to_tensor(model.predict_log_proba(rows.X)))
        return float(scores(model, rows.X, rows.y, **params))

    return score


def _log_likelihood(rows: FitInput, log_proba: Tensor) -> float:
    """Compute the weighted mean log-probability of the labels."""
    if not rows.is_soft:
        each = log_proba.gather(1, rows.labels.index[:, None].to(log_proba.device))[:, 0]
    else:
        class_probability = class_probabilities(rows.labels.class_probability.to(log_proba))
        each = (class_probability * log_proba).sum(dim=1)
    if rows.weight is None:
        return float(each.mean())
    weight = rows.weight.to(each)
    return float((each * weight).sum() / weight.sum())
