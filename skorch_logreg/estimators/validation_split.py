"""Validation split, held-out scores, seed and solver of training in epochs."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import to_tensor
from skorch_logreg.inputs.labels import SoftTargets, Targets
from skorch_logreg.solvers import Adam, MiniBatch
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = ["LabelledRows", "partial_solver", "seed_of", "split"]

_ONLINE = Adam(learning_rate=0.01, batch_size=32)  # solver of partial_fit for solver="auto"


@dataclass(frozen=True)
class LabelledRows:
    """Validated rows with their labels and weights.

    Parameters
    ----------
    X : array of shape (n_samples, n_features)
    y : array of shape (n_samples,) or (n_samples, n_classes)
    labels : Targets or SoftTargets
    weight : array of shape (n_samples,) or None
    """

    X: Any
    y: Any
    labels: Targets | SoftTargets
    weight: Any

    def take(self, index: np.ndarray) -> "LabelledRows":
        """Copy some rows."""
        if isinstance(self.labels, Targets):
            labels: Any = replace(self.labels, index=self.labels.index[index])
        else:
            labels = replace(self.labels, class_probability=self.labels.class_probability[index])
        X, y = _safe_indexing(self.X, index), _safe_indexing(self.y, index)
        return LabelledRows(X, y, labels, None if self.weight is None else self.weight[index])

    def drop_zero_weight(self) -> "LabelledRows":
        """Return the rows of positive weight; mini-batches are made of these only."""
        if self.weight is None:
            return self
        counts = (to_tensor(self.weight) > 0).cpu().numpy()
        return self if counts.all() else self.take(np.flatnonzero(counts))

    def scorer(self, estimator: Any, scoring: Any) -> Callable[[dict[str, Any]], float]:
        """Return a function that scores given fitted attributes of an estimator on these rows.

        Parameters
        ----------
        estimator : classifier
            Estimator with `classes_`; not modified.
        scoring : str, callable or None
            Scorer; one given by name gets the weights. None: the mean log-likelihood.
        """
        from sklearn.metrics import get_scorer  # slow to import, and few fits are scored

        model = copy.copy(estimator)
        vars(model).pop("feature_names_in_", None)  # validated rows have no column names
        weighted = self.weight is not None and isinstance(scoring, str)
        params = {"sample_weight": self.weight} if weighted else {}
        scorer = None if scoring is None else get_scorer(scoring)

        def score(fitted: dict[str, Any]) -> float:
            vars(model).update(fitted)
            if scorer is None:
                return self._log_likelihood(to_tensor(model.predict_log_proba(self.X)))
            return float(scorer(model, self.X, self.y, **params))

        return score

    def _log_likelihood(self, log_proba: Tensor) -> float:
        """Compute the weighted mean log-probability of the labels."""
        if isinstance(self.labels, Targets):
            rows = log_proba.gather(1, self.labels.index[:, None].to(log_proba.device))[:, 0]
        elif self.labels.class_probability.ndim == 1:
            class_probability = self.labels.class_probability.to(log_proba)
            rows = class_probability * log_proba[:, 1] + (1 - class_probability) * log_proba[:, 0]
        else:
            rows = (self.labels.class_probability.to(log_proba) * log_proba).sum(dim=1)
        if self.weight is None:
            return float(rows.mean())
        weight = to_tensor(self.weight).to(rows)
        return float((rows * weight).sum() / weight.sum())


def split(
    rows: LabelledRows, solver: MiniBatch, seed: int
) -> tuple[LabelledRows, LabelledRows | None]:
    """Split off the solver's ``validation_fraction`` of the rows, stratified by class.

    Returns
    -------
    train, held_out : LabelledRows
        Rows of positive weight; ``held_out`` is None if the fraction is 0.

    Raises
    ------
    ParameterError
        If the fraction is too small or too large for the classes, or the scorer needs classes but
        y holds probabilities.
    """
    from sklearn.model_selection import train_test_split  # slow to import

    rows = rows.drop_zero_weight()
    if not solver.validation_fraction:
        return rows, None
    labels = rows.labels
    if solver.scoring is not None and not isinstance(labels, Targets):
        raise ParameterError(
            f"scoring={solver.scoring!r} scores classes, but y holds probabilities; leave "
            "scoring=None, which is the log-likelihood."
        )
    try:
        train, held_out = train_test_split(
            np.arange(rows.X.shape[0]),
            test_size=solver.validation_fraction,
            random_state=seed,
            stratify=labels.index.cpu().numpy() if isinstance(labels, Targets) else None,
        )
    except ValueError as error:
        raise ParameterError(
            f"validation_fraction={solver.validation_fraction} does not go with these rows: {error}"
        ) from error
    return rows.take(np.sort(train)), rows.take(np.sort(held_out))


def seed_of(random_state: Any) -> int:
    """Return the seed of a fit; None gives 0, so that fits are reproducible."""
    if random_state is None:
        return 0
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def is_auto(solver: Any) -> bool:
    """Return True if the solver is "auto"."""
    return isinstance(solver, str) and solver == "auto"


def partial_solver(solver: Any, default: MiniBatch = _ONLINE) -> MiniBatch:
    """Return the mini-batch solver of `partial_fit`, which trains for one epoch a call.

    Raises
    ------
    ParameterError
        If a setting of the solver needs all rows at once.
    """
    if not trains_in_epochs(solver):
        return default
    for name, plain in (
        ("validation_fraction", 0.0),
        ("finish", None),
        ("checkpoint", None),
        ("on_interrupt", "raise"),
    ):
        if getattr(solver, name) != plain:
            raise ParameterError(
                f"{name}={getattr(solver, name)!r} needs all rows at once, or a fit from its "
                f"beginning to its end; with partial_fit leave {name}={plain!r}."
            )
    return solver
