"""Fit one network to all labels: a backbone and a head with one logit per label."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import _safe_indexing

from skorch_logreg.checkpoint import stable_repr
from skorch_logreg.data import InMemory
from skorch_logreg.estimators import partial as parts
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel import validation
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem, attributes
from skorch_logreg.estimators.multilabel.partial import validate_part
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.neural.fits import head_classifier, partial_solver, resolve_solver
from skorch_logreg.estimators.neural.network_fit import NetworkFit, previous_network, start
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.fitting.batch import is_saturated
from skorch_logreg.inputs.torch_context import seed_of
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.minibatch import TrainingResult
from skorch_logreg.solvers.minibatch import trains_in_epochs


def fit(model: Any, estimator: Any, X: Any, y: Any, sample_weight: Any, *, label_mask: Any) -> None:
    """Fit the network of a `MultiLabel` whose estimator is a `NeuralLogisticClassifier`."""
    solver = resolve_solver(estimator)
    validation.check_solver(solver)
    previous = previous_network(model) if estimator.warm_start else None
    inputs = validation.validate_labels(
        model, estimator, X, y, sample_weight, label_mask=label_mask
    )
    if trains_in_epochs(solver):
        inputs = inputs.drop_zero_weight()
    trained = state = label_problem = None
    certified: dict[str, Any] = {}
    with _start(model, estimator, inputs, solver, previous) as (network_fit, head):
        C, resolved = network_fit.C, network_fit.problem.options
        if not network_fit.is_frozen:
            problems = LabelProblem.of(model, inputs, head, resolved, device=network_fit.device)
            report = LabelProblem.report(np.arange(len(C))) if estimator.verbose else None
            data = _data(network_fit, inputs.X, problems, on_features=False)
            trained = network_fit.train(data, callback=report)
            state = trained.state
        if network_fit.is_frozen or solver.finish == "exact":
            # every label is fitted to the features as a classifier fits it to rows
            features = replace(inputs, X=network_fit.features(inputs.X))
            problems = label_problem = LabelProblem.of(model, features, head, resolved)
            is_warm = network_fit.is_warm or not network_fit.is_frozen
            first = network_fit.head.params() if is_warm else None
            fits, groups = label_problem.fit(C, first, verbose=bool(head.verbose))
            network_fit.head.load(fits.params)
            certified = attributes(label_problem.problem, fits)
            if network_fit.is_frozen and groups and len(groups[0][0]) == len(C):
                state = groups[0][1]  # of the optimiser that trained all labels together
    model._set_fitted(_attributes(network_fit, trained, certified), inputs.labels)
    weight, settings = problems.total_weight.tolist(), stable_repr(solver)
    setattr(model, TRAINING, {"weight": weight, "state": state, "solver": settings})
    if label_problem is not None:
        label_problem.warn(label_problem.outcomes(fits))


def partial_fit(
    model: Any, X: Any, y: Any, classes: Any, sample_weight: Any, *, label_mask: Any
) -> None:
    """Train the network for one epoch over some rows."""
    estimator = validation.checked_estimator(model, NeuralLogisticClassifier)
    solver, previous = partial_solver(estimator), previous_network(model)
    inputs = validate_part(
        model, estimator, X, y, classes, sample_weight=sample_weight, label_mask=label_mask
    ).drop_zero_weight()
    with _start(model, estimator, inputs, solver, previous) as (network_fit, head):
        resolved, device = network_fit.problem.options, network_fit.device
        problems = LabelProblem.of(model, inputs, head, resolved, device=device, part=True)
        data = _data(network_fit, inputs.X, problems, on_features=network_fit.is_frozen)
        resumed = parts.resume(None if previous is None else model, solver, data.weight)
        trained = network_fit.train(data, **resumed)
    model._set_fitted(_attributes(network_fit, trained, {}), inputs.labels)
    total_weight = resumed["total_weight"].expand(len(network_fit.C))
    setattr(model, TRAINING, parts.training_state(total_weight, trained, solver))


@contextmanager
def _start(
    model: Any, estimator: Any, inputs: FitInput, solver: Any, previous: Any
) -> Iterator[tuple[NetworkFit, TorchLogisticClassifier]]:
    """Create the network to train, and the classifier of its features if the backbone is frozen.

    Labels that were constant in a previous fit start from zero.
    """
    head = head_classifier(estimator, solver if estimator.freeze_backbone else "auto")
    resolved = validation.resolve_for_labels(head, model.C)
    C = validation.c_per_label(model.C, head, resolved, inputs.labels.n_labels)
    seed = seed_of(estimator.random_state)
    with start(
        estimator, inputs, solver, seed=seed, previous=previous, options=resolved, C=C
    ) as network_fit:
        with torch.no_grad():
            network_fit.network.head.bias[is_saturated(network_fit.head.params())] = 0
        yield network_fit, head


def _data(
    network_fit: NetworkFit, X: Any, problems: LabelProblem, *, on_features: bool
) -> InMemory:
    """Return the rows that have a target of positive weight, or their features."""
    targets, weight = problems.targets_and_weights(np.arange(len(network_fit.C)))
    if weight is not None:
        has_weight = weight > 0 if weight.ndim == 1 else (weight > 0).any(dim=1)
        if not bool(has_weight.any()):
            raise ValueError("No cell of y is known and counts: there is nothing to fit to.")
        if not bool(has_weight.all()):
            X = _safe_indexing(X, has_weight.nonzero()[:, 0].cpu().numpy())
            targets, weight = targets[has_weight], weight[has_weight]
    return network_fit.data(X, targets, weight, on_features=on_features)


def _attributes(
    network_fit: NetworkFit, trained: TrainingResult | None, certified: dict[str, Any]
) -> dict[str, Any]:
    """Return the fitted attributes; ``certified`` are those of an exact fit of the head."""
    n_epochs = 0 if trained is None else trained.n_epochs
    found = {k: v for k, v in certified.items() if k not in ("coef_", "intercept_")}
    if certified:
        found["n_iter_"] = found["n_iter_"] + n_epochs
    else:
        n_iter = torch.full((len(network_fit.C),), n_epochs, dtype=torch.int32)
        found["n_iter_"] = network_fit.problem.namespace.from_tensor(n_iter)
    if trained is not None:
        found["history_"] = trained.history
    return found | {"module_": network_fit.finished()}
