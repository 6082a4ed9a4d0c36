"""What training in epochs needs of an estimator: rows held out, their score, a seed, a past."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_random_state
from torch import Tensor

from skorch_logreg.estimators.arrays import to_tensor
from skorch_logreg.estimators.soft import SoftTargets
from skorch_logreg.estimators.targets import Targets
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import Adam, MiniBatch

__all__ = ["Rows", "partial_solver", "seed_of", "split"]

_ONLINE = Adam(learning_rate=0.01, batch_size=32)  # where partial_fit is not told how


@dataclass(frozen=True)
class Rows:
    """Validated rows with what they are labelled and what they count.

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

    def take(self, index: np.ndarray) -> "Rows":
        """Copy some rows."""
        if isinstance(self.labels, Targets):
            labels: Any = replace(self.labels, index=self.labels.index[index])
        else:
            labels = replace(self.labels, share=self.labels.share[index])
        X, y = _safe_indexing(self.X, index), _safe_indexing(self.y, index)
        return Rows(X, y, labels, None if self.weight is None else self.weight[index])

    def counting(self) -> "Rows":
        """Rows of a weight above 0: others would take part in the making of mini-batches."""
        if self.weight is None:
            return self
        counts = (to_tensor(self.weight) > 0).cpu().numpy()
        return self if counts.all() else self.take(np.flatnonzero(counts))

    def score_function(self, estimator: Any, scoring: Any) -> Callable[[dict[str, Any]], float]:
        """Return what scores an estimator with given fitted attributes on these rows.

        Parameters
        ----------
        estimator : classifier
            Whose `classes_` are known.
        scoring : str, callable or None
            Named scorers are given the weights; None: the mean log-likelihood.
        """
        from sklearn.metrics import get_scorer  # takes long to import, and few fits are scored

        model = copy.copy(estimator)
        vars(model).pop("feature_names_in_", None)  # the rows are arrays by now
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
        """Weighted mean log-probability of the labels."""
        if isinstance(self.labels, Targets):
            rows = log_proba.gather(1, self.labels.index[:, None].to(log_proba.device))[:, 0]
        elif self.labels.share.ndim == 1:
            share = self.labels.share.to(log_proba)
            rows = share * log_proba[:, 1] + (1 - share) * log_proba[:, 0]
        else:
            rows = (self.labels.share.to(log_proba) * log_proba).sum(dim=1)
        if self.weight is None:
            return float(rows.mean())
        weight = to_tensor(self.weight).to(rows)
        return float((rows * weight).sum() / weight.sum())


def split(rows: Rows, solver: MiniBatch, seed: int) -> tuple[Rows, Rows | None]:
    """Hold out the share of the rows that the solver asks for, stratified by class.

    Returns
    -------
    train, held_out : Rows
        Of a weight above 0; the latter None where nothing is asked for.

    Raises
    ------
    ParameterError
        If the share is too small or too large for the classes, or scores have no classes.
    """
    from sklearn.model_selection import train_test_split  # takes long to import

    rows = rows.counting()
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
    """Return the seed of a fit; None is 0: the same call twice gives the same bits."""
    if random_state is None:
        return 0
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def is_auto(solver: Any) -> bool:
    """Whether the choice of a solver is left to the package."""
    return isinstance(solver, str) and solver == "auto"


def partial_solver(solver: Any, default: MiniBatch = _ONLINE) -> MiniBatch:
    """Return the solver of a `partial_fit`, of which a call is an epoch.

    Raises
    ------
    ParameterError
        If it asks for what needs all rows at once.
    """
    if not isinstance(solver, MiniBatch):
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
