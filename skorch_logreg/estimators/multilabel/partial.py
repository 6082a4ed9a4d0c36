"""Incremental fits of all labels, on some of the rows at a time."""

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.utils.multiclass import _check_partial_fit_first_call
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.checkpoint import stable_repr
from skorch_logreg.data import from_arrays
from skorch_logreg.estimators import partial
from skorch_logreg.estimators.multilabel import validation
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem, TrainedGroup
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.fitting import Params
from skorch_logreg.fitting.batch import Models
from skorch_logreg.inputs.indicator import COLUMN_KINDS, check_label_names
from skorch_logreg.inputs.labels import Targets, encode
from skorch_logreg.inputs.torch_context import seed_of
from skorch_logreg.inputs.validate import FitInput


def has_partial_fit(model: Any) -> bool:
    """Return True if `MultiLabel` supports `partial_fit` with its estimator and class weights."""
    estimator = validation.checked_estimator(model, NeuralLogisticClassifier)
    own = model.class_weight
    each = own if isinstance(own, (list, tuple)) else [own]
    each = [estimator.class_weight if entry is None else entry for entry in each]
    named = next((entry for entry in each if isinstance(entry, str)), None)
    bounds = getattr(estimator, "bounds", None)
    return partial.supports_partial_fit(
        SimpleNamespace(solver=estimator.solver, class_weight=named, bounds=bounds)
    )


def partial_fit(
    model: Any, X: Any, y: Any, classes: Any, sample_weight: Any, *, label_mask: Any
) -> None:
    """Train every label for one epoch over some rows."""
    estimator = validation.checked_estimator(model)
    resolved = validation.resolve_for_labels(estimator, model.C)
    resolved = replace(resolved, solver=partial.partial_solver(resolved.solver))
    inputs = validate_part(
        model, estimator, X, y, classes, sample_weight=sample_weight, label_mask=label_mask
    ).drop_zero_weight()
    n_labels = inputs.labels.n_labels
    label_problem = LabelProblem.of(model, inputs, estimator, resolved, part=True)
    C = validation.c_per_label(model.C, estimator, resolved, n_labels)
    start = model._warm_start_params(label_problem.problem, n_labels)
    previous = getattr(model, TRAINING, None) if start is not None else None
    start = start or label_problem.problem.zeros(n_labels)
    total_weight = torch.zeros_like(C)
    if previous is not None:
        total_weight += torch.tensor(previous["weight"], dtype=torch.float64)
    so_far: dict[str, Any] = {"C": C, "params": start, "total_weight": total_weight}
    groups = list(_groups(label_problem, C, previous))
    trained = [g for group in groups for g in _train(label_problem, *group, **so_far)]
    n_iter = torch.zeros(n_labels, dtype=torch.int32)
    for labels, state in trained:
        n_iter[labels] = state["n_epochs"]
    found: dict[str, Any] = {
        "n_iter_": n_iter,
        "optimality_": torch.full((n_labels,), torch.nan, dtype=torch.float64),
        "converged_": torch.zeros(n_labels, dtype=torch.bool),
    }
    found = {name: inputs.namespace.from_tensor(value) for name, value in found.items()}
    found["n_passes_"] = getattr(model, "n_passes_", 0) + len(groups)
    found |= label_problem.problem.fitted(
        Params(start.coef[None, :, 0], start.intercept[None, :, 0])
    )
    model._set_fitted(found, inputs.labels)
    setattr(model, TRAINING, training_state(total_weight, resolved.solver, trained))


def training_state(
    total_weight: Tensor, solver: Any, trained: list[TrainedGroup]
) -> dict[str, Any]:
    """Return the state from which `partial_fit` continues.

    ``trained`` holds groups of labels that were trained together with the state of their optimiser,
    ``total_weight`` (n_labels,) the weight of all rows so far.
    """
    groups = [{"labels": labels.tolist(), "state": state} for labels, state in trained]
    return {"weight": total_weight.tolist(), "solver": stable_repr(solver), "groups": groups}


def validate_part(
    model: Any, estimator: Any, X: Any, y: Any, classes: Any, *, sample_weight: Any, label_mask: Any
) -> FitInput:
    """Validate some of the rows, whose labels must be those of earlier calls."""
    kind = getattr(model, "target_kind_", None)
    n_before = getattr(model, "n_labels_", None)

    def column(y: Any) -> Targets:
        if kind not in (None, *COLUMN_KINDS):
            raise ValueError(
                f"y is one column of classes, but it was an indicator of {n_before} labels before."
            )
        _check_partial_fit_first_call(model, classes)
        if len(model.classes_) < 2:
            raise ValueError(f"classes must be at least 2, got {classes!r}.")
        return encode(y, model.classes_)

    inputs = validation.validate_labels(
        model, estimator, X, y, sample_weight, label_mask=label_mask,
        column=column, reset=kind is None,
    )  # fmt: skip
    labels = inputs.labels
    if not labels.is_column:
        if kind in COLUMN_KINDS:
            raise ValueError("y is an indicator, but it was one column of classes before.")
        if n_before not in (None, labels.n_labels):
            raise ValueError(f"y has {labels.n_labels} labels, but it had {n_before} before.")
        each = [] if classes is None else [np.asarray(entry).tolist() for entry in classes]
        of_outputs = len(each) == labels.n_labels and all(e in ([0], [1], [0, 1]) for e in each)
        if classes is not None and each != list(range(labels.n_labels)) and not of_outputs:
            raise ValueError(
                f"classes={classes!r} are not those of an indicator of {labels.n_labels} labels: "
                f"leave them out, or give numpy.arange({labels.n_labels})."
            )
    if kind is None:
        return inputs
    names = getattr(model, "label_names_", None)
    check_label_names(y, names)
    labels = replace(
        labels, kind=kind, dtype=model.target_dtype_, classes=model.classes_, names=names
    )
    return replace(inputs, labels=labels)


def _groups(
    label_problem: LabelProblem, C: Tensor, previous: dict[str, Any] | None
) -> Iterator[tuple[np.ndarray, dict[str, Any] | None]]:
    """Yield the labels to train together, with their optimiser state.

    Labels that were trained together stay together; new labels have no state.
    """
    new = np.ones(len(C), dtype=bool)
    solver = stable_repr(label_problem.problem.options.solver)
    if previous is not None and previous["solver"] == solver:
        for group in previous["groups"]:
            labels = np.array(group["labels"])
            new[labels] = False
            yield labels, group["state"]
    labels = np.flatnonzero(new)
    for part in label_problem.fitter().batches(Models(labels, C[labels])):
        yield labels[part], None


def _train(
    label_problem: LabelProblem,
    labels: np.ndarray,
    state: dict[str, Any] | None,
    *,
    C: Tensor,
    params: Params,
    total_weight: Tensor,
) -> list[TrainedGroup]:
    """Train a group of labels; labels without a known target among these rows are unchanged.

    The parameters (n_labels, 1, n_features) and (n_labels, 1) of all labels, and the total weights
    (n_labels,) of all rows so far are updated in place.
    """
    problem, device = label_problem.problem, label_problem.device
    targets, weight = label_problem.targets_and_weights(labels)
    part_weight = torch.full((len(labels),), float(len(targets)), dtype=torch.float64)
    if weight is not None:
        part_weight = weight.sum(dim=0).expand(len(labels)).cpu()
    own, groups = part_weight > 0, []
    if weight is not None and not bool(own.all()):
        if state is not None:
            groups.append((labels[~own.numpy()], _select_labels(state, ~own)))
            state = _select_labels(state, own)
        labels, part_weight = labels[own.numpy()], part_weight[own]
        targets, weight = (part[:, own.to(device)] for part in (targets, weight))
    if not len(labels):
        return groups
    total_weight[labels] += part_weight
    start = Params(params.coef[labels], params.intercept[labels])
    found, trained = fitting.train(
        from_arrays(label_problem.design, targets, weight),
        problem.loss,
        problem.penalty(device),
        C=C[labels].to(device),
        fit_intercept=problem.has_free_intercept,
        solver=problem.options.solver,
        start=start,
        seed=seed_of(label_problem.estimator.random_state),
        state=state,
        epochs=1 if state is None else state["n_epochs"] + 1,
        total_weight=total_weight[labels].to(device),
    )
    params.coef[labels] = found.coef.cpu()
    params.intercept[labels] = found.intercept.cpu()
    return [*groups, (labels, trained.state)]


def _select_labels(state: dict[str, Any], which: Tensor) -> dict[str, Any]:
    """Return the optimiser state of the labels that a mask (m,) selects."""

    def part(value: Any) -> Any:
        by_label = isinstance(value, Tensor) and value.ndim and len(value) == len(which)
        return value[which.to(value.device)] if by_label else value

    moments = {
        number: {name: part(value) for name, value in of_parameter.items()}
        for number, of_parameter in state["optimizer"]["state"].items()
    }
    return state | {"optimizer": state["optimizer"] | {"state": moments}}
