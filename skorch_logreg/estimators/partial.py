"""Incremental fits of some of the rows at a time, and the state that they resume from."""

from dataclasses import replace
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import _check_partial_fit_first_call
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.checkpoint import stable_repr
from skorch_logreg.estimators import convergence_messages, validation_split
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.inputs import options
from skorch_logreg.inputs.arrays import NUMPY, ArrayNamespace
from skorch_logreg.inputs.out_of_core import require_in_memory
from skorch_logreg.inputs.torch_context import seed_of
from skorch_logreg.inputs.validate import validate
from skorch_logreg.minibatch import TrainingResult
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = [
    "partial_fit",
    "resume",
    "set_certified",
    "set_uncertified",
    "store_training",
    "supports_partial_fit",
    "training_state",
]


def partial_fit(model: Any, X: Any, y: Any, classes: Any, sample_weight: Any) -> None:
    """Update a `TorchLogisticClassifier` by one epoch over some rows."""
    chosen = options.resolve(model)
    solver = validation_split.partial_solver(chosen.solver)
    require_in_memory(X, "partial_fit")  # before classes are asked for, which is no remedy
    namespace = ArrayNamespace.of(X)
    first = _check_partial_fit_first_call(model, namespace.detach(classes))
    inputs = validate(
        X, y, sample_weight, model=model, caller="partial_fit", classes=model.classes_, reset=first
    )
    problem = inputs.problem(model, replace(chosen, solver=solver))
    rows = inputs.drop_zero_weight()
    targets, weight = rows.weighted_targets(model.class_weight)
    start = problem.previous(model.coef_, model.intercept_) if hasattr(model, "coef_") else None
    data = problem.data(problem.design(rows.X, inputs.device), targets, weight)
    resumed = resume(model, solver, data.weight)
    params, trained = fitting.train(
        data,
        problem.loss,
        problem.penalty(data.device),
        C=chosen.C,
        fit_intercept=problem.has_free_intercept,
        solver=solver,
        start=None if start is None else problem.to_device(data.device, start),
        seed=seed_of(model.random_state),
        **resumed,
    )
    for name, value in problem.fitted(params).items():
        setattr(model, name, value)
    set_uncertified(model, trained.n_epochs, namespace)
    store_training(model, trained, resumed["total_weight"], solver)


def set_certified(
    model: Any,
    solution: fitting.FitResult,
    namespace: ArrayNamespace,
    dtype: torch.dtype,
    *,
    of_features: bool = False,
) -> None:
    """Set the fitted attributes of a fit's certificate, and warn if it did not converge.

    ``dtype`` is that of the data. ``of_features`` means a fit to the features of a network, of
    which the warning does not name columns.
    """
    (status,) = solution.status
    model.n_iter_ = namespace.from_tensor(solution.n_iter.to(torch.int32))
    model.n_passes_ = int(solution.n_passes)
    model.optimality_ = float(solution.optimality[0])
    model.duality_gap_ = float(solution.duality_gap[0])
    model.converged_ = status is fitting.Status.CONVERGED
    if convergence_messages.ended_as_requested(status):
        return
    columns = ""
    if not of_features:
        names = getattr(model, "feature_names_in_", None)
        columns = convergence_messages.columns_to_infinity(solution.directions[0], names)
    text = convergence_messages.message(
        status,
        solver="auto" if model.solver is None else model.solver,
        n_iter=int(model.n_iter_[0]),
        max_iter=model.max_iter,
        optimality=model.optimality_,
        tol=model.tol,
        dtype=str(dtype).removeprefix("torch."),
        columns=columns,
    )
    warn_user(text, ConvergenceWarning)


def set_uncertified(model: Any, n_epochs: int, namespace: ArrayNamespace = NUMPY) -> None:
    """Set the fitted attributes of training whose result is not certified."""
    model.n_iter_ = namespace.from_tensor(torch.tensor([n_epochs], dtype=torch.int32))
    model.n_passes_ = n_epochs
    model.optimality_ = model.duality_gap_ = float("nan")
    model.converged_ = False


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


def store_training(
    model: Any, trained: TrainingResult | None, weight: Tensor, solver: Any = None
) -> None:
    """Store the state from which `partial_fit` resumes, and the history of epochs, if any.

    ``weight`` (m,) is the total weight of all rows so far.
    """
    setattr(
        model, TRAINING, training_state(weight, trained, model.solver if solver is None else solver)
    )
    if trained is not None:
        model.history_ = trained.history
    elif hasattr(model, "history_"):
        del model.history_


def training_state(
    weight: Tensor, trained: TrainingResult | None = None, solver: Any = None
) -> dict[str, Any]:
    """Return the state from which `partial_fit` resumes, as it is stored in the model."""
    if trained is None:
        return {"weight": weight.tolist(), "state": None, "solver": None}
    return {"weight": weight.tolist(), "state": trained.state, "solver": stable_repr(solver)}


def supports_partial_fit(model: Any) -> bool:
    """Return True if a model's parameters support `partial_fit`, else raise a ParameterError."""
    solver = model.solver
    if not (solver is None or trains_in_epochs(solver) or validation_split.is_auto(solver)):
        raise ParameterError(
            f"partial_fit sees a part of the rows, which solver={solver!r} cannot do with; "
            "choose one of skorch_logreg.solvers.SGD, Adam, AdamW or Optimizer, or leave the "
            "default."
        )
    validation_split.partial_solver(solver)
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
