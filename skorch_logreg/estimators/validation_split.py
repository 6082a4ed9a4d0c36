"""Validation split, held-out scores and solver of training in epochs."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_tensor
from skorch_logreg.inputs.labels import class_probabilities
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.solvers import Adam, MiniBatch
from skorch_logreg.solvers.minibatch import changed_settings, trains_in_epochs

__all__ = ["partial_solver", "scorer", "split"]

_ONLINE = Adam(learning_rate=0.01, batch_size=32)  # solver of partial_fit for solver="auto"


def scorer(rows: FitInput, estimator: Any, scoring: Any) -> Callable[[dict[str, Any]], float]:
    """Return a function that scores given fitted attributes of an estimator on some rows.

    The estimator has `classes_` and is not modified. A scorer given by name gets the weights; None
    is the mean log-likelihood.
    """
    from sklearn.metrics import get_scorer  # slow to import, and few fits are scored

    model = copy.copy(estimator)
    vars(model).pop("feature_names_in_", None)  # validated rows have no column names
    weighted = rows.weight is not None and isinstance(scoring, str)
    params = {"sample_weight": rows.sample_weight} if weighted else {}
    scores = None if scoring is None else get_scorer(scoring)

    def score(fitted: dict[str, Any]) -> float:
        vars(model).update(fitted)
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


def split(rows: FitInput, solver: MiniBatch, seed: int) -> tuple[FitInput, FitInput | None]:
    """Split off the solver's ``validation_fraction`` of the rows, stratified by class.

    Returns
    -------
    train, held_out : FitInput
        Rows of positive weight; ``held_out`` is None if the fraction is 0.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    rows = rows.drop_zero_weight()
    if not solver.validation_fraction:
        return rows, None
    if solver.scoring is not None and rows.is_soft:
        raise ParameterError(
            f"scoring={solver.scoring!r} scores classes, but y holds probabilities; leave "
            "scoring=None, which is the log-likelihood."
        )
    try:
        train, held_out = train_test_split(
            np.arange(rows.X.shape[0]),
            test_size=solver.validation_fraction,
            random_state=seed,
            stratify=None if rows.is_soft else rows.labels.index.cpu().numpy(),
        )
    except ValueError as error:
        raise ParameterError(
            f"validation_fraction={solver.validation_fraction} does not go with these rows: {error}"
        ) from error
    return rows.take(np.sort(train)), rows.take(np.sort(held_out))


def is_auto(solver: Any) -> bool:
    """Return True if the solver is "auto"."""
    return isinstance(solver, str) and solver == "auto"


def partial_solver(solver: Any, default: MiniBatch = _ONLINE) -> MiniBatch:
    """Return the mini-batch solver of `partial_fit`, which trains for one epoch a call."""
    if not trains_in_epochs(solver):
        return default
    whole_fit = ("validation_fraction", "finish", "checkpoint", "on_interrupt")
    for name, value, plain in changed_settings(solver, *whole_fit):
        raise ParameterError(
            f"{name}={value!r} needs all rows at once, or a fit from its beginning to its end; "
            f"with partial_fit leave {name}={plain!r}."
        )
    return solver
