"""Fits of a network: training in mini-batches, exact fits of the head, incremental fits."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.multiclass import _check_partial_fit_first_call
from torch import Tensor, nn
from torch.utils.data import DataLoader

from skorch_logreg import fitting
from skorch_logreg.checkpoint import CheckpointWriter, exclusive
from skorch_logreg.estimators import certificate, partial, validation_split
from skorch_logreg.estimators.callbacks import callback_task
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.neural.network_fit import NetworkFit, previous_network, start
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import FitResult, Params, Progress, Status
from skorch_logreg.inputs import datasets
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.datasets import Stream
from skorch_logreg.inputs.rows import validate_rows
from skorch_logreg.inputs.torch_context import seed_of, seeded_generators
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.minibatch import TrainingResult
from skorch_logreg.solvers import Adam, MiniBatch
from skorch_logreg.solvers.minibatch import trains_in_epochs

_DEFAULT = Adam(learning_rate=0.01, batch_size=200, epochs=200)  # for solver=None


def fit(model: Any, X: Any, y: Any, sample_weight: Any) -> None:
    """Fit a `NeuralLogisticClassifier`."""
    solver, seed = resolve_solver(model), seed_of(model.random_state)
    previous = previous_network(model) if model.warm_start else None
    stream = classes = task = solution = None
    trained: TrainingResult | None
    if datasets.is_streamed(X, solver):
        datasets.require_no_labels(y, sample_weight)
        if solver.finish == "exact":
            raise ParameterError(
                "polish_head=True, or finish='exact', needs rows in memory, but these stream; "
                "leave it out, or pass arrays."
            )
        makes_batches = solver is _DEFAULT and isinstance(X, DataLoader)
        own = replace(_DEFAULT, batch_size=None) if makes_batches else solver
        with seeded_generators(seed, torch.device("cpu")):
            stream = Stream.of(model, X, own)
        task = {"X": X, "y": None, "metadata": None}
        (X, y), classes = stream.first, stream.classes
    inputs = validate(X, y, sample_weight, model=model, seed=seed, classes=classes)
    rows, held_out = validation_split.split(inputs.drop_zero_weight(), solver, seed)
    model.classes_ = inputs.labels.classes
    with start(model, inputs, solver, seed=seed, previous=previous) as network_fit:
        params, attributes = network_fit.head.params, network_fit.attributes
        with callback_task(model, solver, task or inputs.task, params, attributes) as callback:
            if stream is not None:
                trained, weight = network_fit.train(stream, callback=callback), stream.weight
            elif network_fit.is_frozen:
                solution = _fit_head(network_fit, rows, held_out, callback)
                trained, weight = solution.trained, solution.total_weight
            else:
                trained, solution, weight = _fit_network(network_fit, rows, held_out, callback)
            if trains_in_epochs(solver):  # `partial_fit` has no exact head
                solver = replace(solver, finish=None)
            partial.store_training(model, trained, weight, solver)
            _finish(network_fit, trained, solution)


def partial_fit(model: Any, X: Any, y: Any, classes: Any, sample_weight: Any) -> None:
    """Train a `NeuralLogisticClassifier` for one epoch over some rows."""
    solver, seed = partial_solver(model), seed_of(model.random_state)
    first = _check_partial_fit_first_call(model, ArrayNamespace.of(X).detach(classes))
    inputs = validate(
        X, y, sample_weight, model=model, seed=seed, classes=model.classes_, reset=first
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

    The model has a frozen backbone and a reproducible `random_state`: `fit` would fit an exact head
    to these features of the training rows.
    """
    solver, seed = resolve_solver(model), seed_of(model.random_state)
    inputs = validate(X, y, model=model, seed=seed)
    with start(model, inputs, solver, seed=seed, previous=None) as network_fit:
        allow_nd = model.module is not None
        rows = [validate_rows(model, X, reset=False, allow_nd=allow_nd) for X in others]
    return [network_fit.features(each).cpu().numpy() for each in (inputs.X, *rows)]


def head_classifier(model: Any, solver: Any) -> TorchLogisticClassifier:
    """Return the classifier whose fit to the features gives the head of a frozen network."""
    shared = TorchLogisticClassifier().get_params().keys() & model.get_params(deep=False).keys()
    parameters = {name: getattr(model, name) for name in shared - {"solver", "warm_start"}}
    return TorchLogisticClassifier(solver=solver, **parameters)


def _data(network_fit: NetworkFit, rows: FitInput, *, on_features: bool) -> Any:
    targets, weight = rows.weighted_targets(network_fit.model.class_weight)
    return network_fit.data(rows.X, targets, weight, on_features=on_features)


def _fit_network(
    network_fit: NetworkFit, rows: FitInput, held_out: FitInput | None, callback: Any
) -> tuple[TrainingResult, FitResult | None, Tensor]:
    """Train the network, then fit the head exactly if the solver's `finish` is "exact"."""
    solver, solution = network_fit.solver, None
    score = validation_split.scorer(
        held_out, network_fit.model, solver, lambda: {"module_": network_fit.network}
    )
    data = _data(network_fit, rows, on_features=False)
    with exclusive(solver.checkpoint):
        trained = network_fit.train(data, held_out_score=score, callback=callback)
        ends = {trained.status}
        if solver.finish == "exact":
            solution = _solve_head(network_fit, rows, callback, trained=trained)
            ends |= {*solution.status}
        if Status.INTERRUPTED not in ends:
            CheckpointWriter(solver.checkpoint, {}).finish()
    return trained, solution, data.weight.sum(dim=0)


def _fit_head(
    network_fit: NetworkFit, rows: FitInput, held_out: FitInput | None, callback: Any
) -> FitResult:
    """Fit only the head."""
    head = nn.Sequential(OrderedDict(backbone=nn.Identity(), head=network_fit.network.head))

    def attributes(params: Params) -> dict[str, Any]:
        network_fit.head.load(params)
        return {"module_": head, "n_features_in_": network_fit.problem.n_features}

    if held_out is not None:
        held_out = replace(held_out, X=network_fit.features(held_out.X).cpu().numpy())
    score = validation_split.scorer(held_out, network_fit.model, network_fit.solver, attributes)
    return _solve_head(network_fit, rows, callback, held_out_score=score)


def _solve_head(
    network_fit: NetworkFit,
    rows: FitInput,
    callback: Any,
    *,
    trained: TrainingResult | None = None,
    held_out_score: Callable[[Params], float] | None = None,
) -> FitResult:
    """Fit the head to features that are computed once, exactly if the network was trained."""
    model, problem, solver = network_fit.model, network_fit.problem, network_fit.solver
    max_iter, n_epochs = model.max_iter, 0
    if trained is not None:
        solver, n_epochs = replace(solver, epochs=0, checkpoint=None), trained.n_epochs
        max_iter = max_iter if trained.is_complete else 0

    def report_total(progress: Progress) -> bool:
        return callback(replace(progress, n_iter=n_epochs + progress.n_iter))

    data = _data(network_fit, rows, on_features=True)
    is_warm = network_fit.is_warm or trained is not None
    solution = fitting.fit(
        data,
        problem.loss,
        problem.penalty(data.device),
        C=problem.options.C,
        solver=solver,
        tol=model.tol,
        max_iter=max_iter,
        start=network_fit.head.params() if is_warm else None,
        callback=callback and report_total,
        held_out_score=held_out_score,
        seed=network_fit.seed,
        dtype=network_fit.network.head.weight.dtype,
    )
    network_fit.head.load(solution.params)
    if trained is not None and not max_iter and solution.status[0] is Status.MAX_ITER:
        solution = replace(solution, status=(trained.status,))
    return replace(solution, n_iter=solution.n_iter + n_epochs)


def _finish(
    network_fit: NetworkFit, trained: TrainingResult | None, solution: FitResult | None
) -> None:
    """Set the fitted attributes, and delete those of another kind of fit."""
    model, namespace = network_fit.model, network_fit.problem.namespace
    model.module_ = network_fit.finished()
    if solution is not None:
        dtype = model.module_.head.weight.dtype
        certificate.set_certified(model, solution, namespace, dtype)
    elif trained is not None:
        certificate.set_uncertified(model, trained.n_epochs, namespace)
        del model.optimality_, model.duality_gap_, model.converged_, model.n_passes_
        if trained.status is Status.INTERRUPTED:
            certificate.warn_interrupted(model.solver, trained.n_epochs)


def resolve_solver(model: Any) -> Any:
    """Return the solver of a network, or of its head if the backbone is frozen.

    With `polish_head` a mini-batch solver has ``finish="exact"``.
    """
    solver = model.solver
    known = solver is None or isinstance(solver, str) or hasattr(solver, "requires")
    if isinstance(solver, type) or not known:
        raise ParameterError(
            f"solver={solver!r} is not a solver; expected an instance of a class of "
            "skorch_logreg.solvers, or None."
        )
    if solver is None:
        solver = "auto" if model.freeze_backbone else _DEFAULT
    if trains_in_epochs(solver):
        return replace(solver, finish="exact") if model.polish_head else solver
    if not model.freeze_backbone:
        raise ParameterError(
            f"solver={solver!r} is for convex problems, and a network is none; choose one of "
            "skorch_logreg.solvers.SGD, Adam, AdamW or Optimizer, or freeze_backbone=True."
        )
    return solver


def partial_solver(model: Any) -> MiniBatch:
    """Return the solver of a network for `partial_fit`."""
    resolve_solver(model)  # raises an error if the parameters cannot be combined
    return partial.partial_solver(model.solver, _DEFAULT)
