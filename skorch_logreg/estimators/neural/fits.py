"""Fits of a network: training in mini-batches, exact fits of the head, incremental fits."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import _check_partial_fit_first_call
from torch import Tensor, nn

from skorch_logreg import fitting
from skorch_logreg.checkpoint import CheckpointWriter, exclusive
from skorch_logreg.data import Data
from skorch_logreg.estimators import convergence_messages, partial, validation_split
from skorch_logreg.estimators.callbacks import callback_task
from skorch_logreg.estimators.neural import networks
from skorch_logreg.estimators.neural.network_fit import NetworkFit, previous_network, start
from skorch_logreg.estimators.neural.solver import (
    partial_solver,
    resolve_solver,
    stream_solver,
)
from skorch_logreg.estimators.streamed import Stream
from skorch_logreg.exceptions import warn_user
from skorch_logreg.fitting import FitResult, Params, Progress, Status
from skorch_logreg.inputs import datasets
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.torch_context import seed_of, seeded_generators
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.solvers.minibatch import trains_in_epochs
from skorch_logreg.training import TrainingResult

__all__ = ["fit", "frozen_features", "partial_fit"]

# attributes of an exact fit of the head
_CERTIFIED = ("optimality_", "duality_gap_", "converged_", "n_passes_")


def fit(model: Any, X: Any, y: Any, sample_weight: Any) -> None:
    """Fit a `NeuralLogisticClassifier`."""
    solver, seed = resolve_solver(model), seed_of(model.random_state)
    previous = previous_network(model) if model.warm_start else None
    stream = classes = task = None
    if datasets.is_streamed(X, solver):
        datasets.require_no_labels(y, sample_weight)
        with seeded_generators(seed, torch.device("cpu")):
            stream = Stream.of(model, X, stream_solver(solver, X))
        task = {"X": X, "y": None, "metadata": None}
        (X, y), classes = stream.summary.first, stream.summary.classes
    inputs = _validate(model, X, y, sample_weight, seed=seed, classes=classes)
    rows, held_out = inputs.drop_zero_weight(), None
    if trains_in_epochs(solver):
        rows, held_out = validation_split.split(rows, solver, seed)
    model.classes_ = inputs.labels.classes
    n_tasks = convergence_messages.iteration_limit(solver, model.max_iter)
    with (
        start(model, inputs, solver, seed=seed, previous=previous) as network_fit,
        callback_task(
            model, task or inputs.task, lambda: None, network_fit.reconstruct, n_tasks=n_tasks
        ) as reporter,
    ):
        if stream is None:
            fit_rows = _fit_head if network_fit.is_frozen else _fit_network
            trained, solution, weight = fit_rows(network_fit, rows, held_out, reporter)
        else:
            trained, solution = network_fit.train(stream, callback=reporter), None
            weight = stream.weight
        partial.store_training(model, trained, weight, solver)
        _finish(network_fit, trained, solution)


def partial_fit(model: Any, X: Any, y: Any, classes: Any, sample_weight: Any) -> None:
    """Train a `NeuralLogisticClassifier` for one epoch over some rows."""
    solver, seed = partial_solver(model), seed_of(model.random_state)
    first = _check_partial_fit_first_call(model, ArrayNamespace.of(X).detach(classes))
    inputs = _validate(
        model, X, y, sample_weight, seed=seed, classes=model.classes_, reset=first
    ).drop_zero_weight()
    previous = None if first else previous_network(model)
    with start(model, inputs, solver, seed=seed, previous=previous) as network_fit:
        data = _data(network_fit, inputs, on_features=network_fit.is_frozen)
        resumed = partial.resume(model, solver, data.weight)
        trained = network_fit.train(data, **resumed)
    partial.store_training(model, trained, resumed["total_weight"], solver)
    _finish(network_fit, trained, None)


def frozen_features(model: Any, X: Any, y: Any, *others: Any) -> list[np.ndarray]:
    """Compute the features (n_rows, n_features) of training rows and of other rows.

    `fit` would fit an exact head to the features of the training rows.

    Parameters
    ----------
    model : NeuralLogisticClassifier
        Model with a frozen backbone, and a `random_state` that is reproducible.
    X, y : array-like
        Training rows and labels, as in `fit`.
    *others : array-like
        Other rows.
    """
    solver, seed = resolve_solver(model), seed_of(model.random_state)
    inputs = _validate(model, X, y, None, seed=seed)
    with start(model, inputs, solver, seed=seed, previous=None) as network_fit:
        rows = [inputs.X, *(networks.rows_like_before(model, each) for each in others)]
    return [network_fit.features(each).cpu().numpy() for each in rows]


def _validate(model: Any, X: Any, y: Any, sample_weight: Any, **options: Any) -> FitInput:
    """Validate the input of a fit; ``options`` are those of `validate`."""
    networks.check_sizes(model)
    allow_nd = model.module is not None
    return validate(X, y, sample_weight, model=model, allow_nd=allow_nd, **options)


def _data(network_fit: NetworkFit, rows: FitInput, *, on_features: bool) -> Any:
    targets, weight = rows.weighted_targets(network_fit.model.class_weight)
    return network_fit.data(rows.X, targets, weight, on_features=on_features)


def _fit_network(
    network_fit: NetworkFit,
    rows: FitInput,
    held_out: FitInput | None,
    callback: Any,
) -> tuple[TrainingResult, FitResult | None, Tensor]:
    """Train the network, then fit the head exactly if the solver's `finish` is "exact"."""
    solver, held_out_score = network_fit.solver, None
    if held_out is not None:
        score = validation_split.scorer(held_out, network_fit.model, solver.scoring)

        def held_out_score() -> float:
            return score({"module_": network_fit.network})

    data, solution = _data(network_fit, rows, on_features=False), None
    with exclusive(solver.checkpoint):
        trained = network_fit.train(data, held_out_score=held_out_score, callback=callback)
        ends = {trained.status}
        if solver.finish == "exact":
            solution = _polish(network_fit, rows, trained, callback)
            ends |= {*solution.status}
        if Status.INTERRUPTED not in ends:
            CheckpointWriter(solver.checkpoint, {}).finish()
    return trained, solution, data.weight.sum(dim=0)


def _polish(
    network_fit: NetworkFit,
    rows: FitInput,
    trained: TrainingResult,
    callback: Any,
) -> FitResult:
    """Fit the head of a trained network exactly."""
    max_iter = network_fit.model.max_iter if trained.is_complete else 0

    def report_total(progress: Progress) -> bool:
        return callback(replace(progress, n_iter=trained.n_epochs + progress.n_iter))

    solution = _solve(
        network_fit,
        _data(network_fit, rows, on_features=True),
        replace(network_fit.solver, epochs=0, checkpoint=None),
        max_iter=max_iter,
        start=network_fit.head.params(),
        callback=None if callback is None else report_total,
    )
    solution = replace(solution, n_iter=solution.n_iter + trained.n_epochs)
    if not max_iter and solution.status[0] is Status.MAX_ITER:
        solution = replace(solution, status=(trained.status,))
    return solution


def _fit_head(
    network_fit: NetworkFit,
    rows: FitInput,
    held_out: FitInput | None,
    callback: Any,
) -> tuple[TrainingResult | None, FitResult, Tensor]:
    """Fit only the head, to features that are computed once."""
    model = network_fit.model
    held_out_score: Callable[[Params], float] | None = None
    if held_out is not None:
        held_out = replace(held_out, X=network_fit.features(held_out.X).cpu().numpy())
        score = validation_split.scorer(held_out, model, network_fit.solver.scoring)
        n_features = network_fit.problem.n_features

        def held_out_score(params: Params) -> float:
            head = network_fit.reconstruct(params)["module_"].head
            alone = nn.Sequential(OrderedDict(backbone=nn.Identity(), head=head))
            return score({"module_": alone, "n_features_in_": n_features})

    solution = _solve(
        network_fit,
        _data(network_fit, rows, on_features=True),
        network_fit.solver,
        max_iter=model.max_iter,
        start=network_fit.head.params() if network_fit.is_warm else None,
        callback=callback,
        held_out_score=held_out_score,
    )
    return solution.trained, solution, solution.total_weight


def _solve(network_fit: NetworkFit, data: Data, solver: Any, **options: Any) -> FitResult:
    """Fit the head to features with `fitting.fit`, and set its weights."""
    problem = network_fit.problem
    solution = fitting.fit(
        data,
        problem.loss,
        problem.penalty(data.device),
        C=problem.options.C,
        solver=solver,
        tol=network_fit.model.tol,
        seed=network_fit.seed,
        dtype=network_fit.network.head.weight.dtype,
        **options,
    )
    network_fit.head.load(solution.params)
    return solution


def _finish(
    network_fit: NetworkFit, trained: TrainingResult | None, solution: FitResult | None
) -> None:
    """Set the fitted attributes, and delete those of another kind of fit."""
    model = network_fit.model
    model.module_ = network_fit.finished()
    n_iter = torch.tensor([0 if trained is None else trained.n_epochs])
    if solution is not None:
        n_iter = solution.n_iter.cpu()
    model.n_iter_ = network_fit.problem.namespace.from_tensor(n_iter.to(torch.int32))
    if solution is None:
        for name in _CERTIFIED:
            vars(model).pop(name, None)
        if trained is not None and trained.status is Status.INTERRUPTED:
            text = convergence_messages.message_for_interrupted(model.solver, trained.n_epochs)
            warn_user(text, ConvergenceWarning)
        return
    (status,) = solution.status
    model.optimality_ = float(solution.optimality[0])
    model.duality_gap_ = float(solution.duality_gap[0])
    model.converged_ = status is Status.CONVERGED
    model.n_passes_ = int(solution.n_passes)
    if not convergence_messages.ended_as_requested(status):
        text = convergence_messages.message(
            status,
            solver="auto" if model.solver is None else model.solver,
            n_iter=int(n_iter[0]),
            max_iter=model.max_iter,
            optimality=model.optimality_,
            tol=model.tol,
            dtype=str(model.module_.head.weight.dtype).removeprefix("torch."),
        )
        warn_user(text, ConvergenceWarning)
