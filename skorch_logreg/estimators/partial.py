"""Incremental fits of some of the rows at a time: their solver, and the state of the training."""

from collections.abc import Callable
from typing import Any, Self

import torch
from sklearn.base import _fit_context
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from skorch_logreg.checkpoint import stable_repr
from skorch_logreg.estimators import persistence
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.minibatch import TrainingResult
from skorch_logreg.solvers import Adam, MiniBatch
from skorch_logreg.solvers.minibatch import changed_settings, trains_in_epochs

_ONLINE = Adam(learning_rate=0.01, batch_size=32)  # solver for solver="auto"


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


def resume(model: Any, solver: Any, weight: Tensor) -> dict[str, Any]:
    """Return `state`, `epochs` and `total_weight`, with which training resumes for one epoch.

    ``model`` may be None. The state is None if the solver differs from that of the last call. The
    total weight of all rows includes ``weight``, (n_samples, 1) or (n_samples, m), of the new ones.
    """
    before, total = getattr(model, TRAINING, None), weight.sum(dim=0)
    state = None
    if before is not None:
        total = total + torch.tensor(before["weight"], dtype=torch.float64, device=total.device)
        state = before["state"] if before["solver"] == stable_repr(solver) else None
    epochs = 1 if state is None else state["n_epochs"] + 1
    return {"state": state, "epochs": epochs, "total_weight": total}


def store_training(model: Any, trained: TrainingResult | None, weight: Tensor, solver: Any) -> None:
    """Store the state from which `partial_fit` resumes, and the history of epochs, if any.

    ``weight`` (m,) is the total weight of all rows so far.
    """
    setattr(model, TRAINING, training_state(weight, trained, solver))
    vars(model).pop("history_", None)
    if trained is not None:
        model.history_ = trained.history


def training_state(
    weight: Tensor, trained: TrainingResult | None = None, solver: Any = None
) -> dict[str, Any]:
    """Return the state from which `partial_fit` resumes, as it is stored in the model."""
    state, settings = (None, None) if trained is None else (trained.state, stable_repr(solver))
    return {"weight": weight.tolist(), "state": state, "solver": settings}


def supports_partial_fit(model: Any) -> bool:
    """Return True if a model's parameters support `partial_fit`, else raise a ParameterError."""
    solver = model.solver
    if not (solver is None or trains_in_epochs(solver) or solver == "auto"):
        raise ParameterError(
            f"partial_fit sees a part of the rows, which solver={solver!r} cannot do with; "
            "choose one of skorch_logreg.solvers.SGD, Adam, AdamW or Optimizer, or leave the "
            "default."
        )
    partial_solver(solver)
    if getattr(model, "bounds", None) is not None:
        raise ParameterError(
            "partial_fit trains on mini-batches, which know no bounds; fit all rows at once, or "
            "leave bounds=None."
        )
    if isinstance(model.class_weight, str):
        raise ParameterError(
            "partial_fit does not see how frequent the classes are in all rows, which "
            f"class_weight={model.class_weight!r} needs; pass a dict, such as that of "
            "sklearn.utils.compute_class_weight on a large sample."
        )
    return True


class PartialFitMixin:
    """Mixin of `partial_fit`; ``_run_epoch`` trains for one epoch."""

    _run_epoch: Callable[..., None]

    @available_if(supports_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Update the model by one epoch over some of the rows.

        The optimiser, its learning rate and its schedule are those of `solver`, which must be a
        mini-batch solver; the default stands for ``Adam(learning_rate=0.01)`` in mini-batches of
        32 rows, or of 200 for a network. Their state is kept from call to call, and taken over from
        a previous `fit`. The penalty is relative to the total weight of all rows seen so far,
        including those of a previous `fit`; a row passed twice counts twice.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training rows.
        y : array-like of shape (n_samples,)
            Labels of one class or more.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes; required in the first call if `fit` was not called before.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in `fit`, or if labels are not among the classes, or these differ from the previous.
        ParameterError
            If the solver does not support it, or has a setting that needs all rows.

        Notes
        -----
        The result is not certified: `optimality_` and `duality_gap_` are nan and `converged_` is
        False, and a network has none of them. `polish_head` of a network has no effect, and
        callbacks are not called.
        """
        with persistence.isolated_fit(self):
            self._run_epoch(X, y, classes, sample_weight)
        return self
