"""Fits of a linear classifier: to all rows, to batches as they are yielded, to some of the rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import _check_partial_fit_first_call

from skorch_logreg import fitting
from skorch_logreg.data import RankRows
from skorch_logreg.estimators import certificate, partial, persistence, validation_split
from skorch_logreg.estimators.callbacks import callback_task
from skorch_logreg.exceptions import warn_user
from skorch_logreg.fitting import Status, epoch_callback
from skorch_logreg.inputs import datasets, options, weights
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.datasets import Stream
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.out_of_core import require_in_memory
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.process_group import fit_on_all_ranks
from skorch_logreg.inputs.rows import is_large, validate_rows
from skorch_logreg.inputs.torch_context import seed_of, seeded_generators
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.minibatch import LinearHead, TrainingRequest


def fit(model: Any, X: Any, y: Any, sample_weight: Any, offset: Any = None) -> None:
    """Fit a `TorchLogisticClassifier`, on all ranks if X is `RankRows`."""
    if isinstance(X, RankRows):
        weights.require_no_offset(offset, "RankRows")

        def fit_leading(*rows: Any) -> dict[str, Any]:
            fit(model, *rows)
            return persistence.fitted_attributes(model)

        fitted = fit_on_all_ranks(X, y, sample_weight, model.get_params(), fit_leading)
        persistence.replace_fitted(model, fitted)
        return
    chosen = options.resolve(model)
    if datasets.is_streamed(X, chosen.solver):
        datasets.require_no_labels(y, sample_weight, offset)
        _fit_stream(model, X, chosen)
        return
    seed = seed_of(model.random_state) if chosen.trains or datasets.is_torch_dataset(X) else 0
    # a checkpoint is compared with the rows before their first pass
    defers = not chosen.trains and getattr(chosen.solver, "checkpoint", None) is None
    how = {"model": model, "chosen": chosen, "offset": offset, "seed": seed}
    inputs = validate(X, y, sample_weight, **how, defers=defers)
    if chosen.trains:
        weights.require_no_offset(inputs.offset, f"solver={model.solver!r}")
    rows, held_out = validation_split.split(inputs, chosen.solver, seed)
    problem, request = _prepare(model, rows, chosen, is_warm=model.warm_start)
    model.classes_ = inputs.labels.classes

    with (
        _checked_on_failure(model, inputs.X),
        callback_task(
            model,
            chosen.solver,
            inputs.task,
            lambda: request["start"] or problem.zeros(),
            problem.fitted,
        ) as callback,
    ):
        solution = fitting.fit(
            **request,
            tol=model.tol,
            max_iter=model.max_iter,
            callback=callback,
            held_out_score=validation_split.scorer(held_out, model, chosen.solver, problem.fitted),
            seed=seed,
            offset=inputs.offset,
            dtype=problem.stored_dtype,
        )
        partial.store_training(model, solution.trained, solution.total_weight, chosen.solver)
        if solution.trained is None:
            passes, reached = ([step[i] for step in solution.trace] for i in range(2))
            model.history_ = {"n_passes": passes, "optimality": reached}
        vars(model).update(problem.fitted(solution.params))
        certificate.set_certified(model, solution, problem.namespace, problem.dtype)


@contextmanager
def _checked_on_failure(model: Any, X: Any) -> Iterator[None]:
    """Raise scikit-learn's error if a fit fails because a large array is not finite."""
    try:
        yield
    except Exception:
        if is_large(X):
            try:
                validate_rows(model, X, reset=False)
            except ValueError as invalid:
                raise invalid from None
        raise


def _prepare(
    model: Any, rows: FitInput, chosen: Options, *, is_warm: bool
) -> tuple[Problem, dict[str, Any]]:
    """Return the problem of validated rows, and data, objective, solver and start of its fit."""
    problem = rows.problem(model, chosen)
    targets, weight = rows.weighted_targets(model.class_weight)
    start = None
    if is_warm and hasattr(model, "coef_"):
        start = problem.previous(model.coef_, model.intercept_)
    design = problem.design(rows.X, rows.device)
    data = problem.data(design, targets, weight, is_checked=not is_large(rows.X))
    return problem, {
        "data": data,
        "loss": problem.loss,
        "penalty": problem.penalty(data.device),
        "C": chosen.C,
        "fit_intercept": problem.has_free_intercept,
        "solver": chosen.solver,
        "start": start,
    }


def _fit_stream(model: Any, X: Any, chosen: Options) -> None:
    """Train on the batches of a loader or IterableDataset, and warn that nothing is certified."""
    device = options.resolve_device(model.device) or torch.device("cpu")
    seed = seed_of(model.random_state)
    with seeded_generators(seed, device):
        stream = Stream.of(model, X, chosen.solver)
        inputs = validate(*stream.first, model=model, chosen=chosen, classes=stream.classes)
        problem = inputs.problem(model, chosen)
        shape = (1, problem.loss.n_outputs, problem.n_features)
        head = LinearHead.zeros(shape, bias=model.fit_intercept, dtype=problem.dtype, device=device)
        if model.warm_start and hasattr(model, "coef_"):
            head.load(problem.previous(model.coef_, model.intercept_) or problem.zeros())
        model.classes_ = stream.classes
        task = {"X": X, "y": None, "metadata": None}
        with callback_task(model, chosen.solver, task, head.params, problem.fitted) as callback:
            request = TrainingRequest(
                network=head.layer,
                head=head.layer,
                loss=problem.loss,
                penalty=problem.penalty(device),
                reg_strength=torch.tensor([1 / chosen.C], dtype=torch.float64, device=device),
                solver=chosen.solver,
                callback=epoch_callback(callback, stream.weight, head.params),
                layer_seed=seed,
            )
            trained = stream.train(request)
            vars(model).update(problem.fitted(head.params()))
            certificate.set_uncertified(model, trained.n_epochs, problem.namespace)
            model.n_passes_ += 1  # the first reading, for the classes and weights
            partial.store_training(model, trained, stream.weight, chosen.solver)
            if trained.status is Status.INTERRUPTED:
                certificate.warn_interrupted(model.solver, trained.n_epochs)
            else:
                warn_user(
                    f"{type(model.solver).__name__} went through {trained.n_epochs} epoch(s) of "
                    "mini-batches that stream: nothing is proven, and optimality_ is nan. Pass "
                    "arrays, or a map-style data set, for a fit that says how exact it is.",
                    ConvergenceWarning,
                )


def partial_fit(model: Any, X: Any, y: Any, classes: Any, sample_weight: Any) -> None:
    """Update a `TorchLogisticClassifier` by one epoch over some rows."""
    chosen = options.resolve(model)
    chosen = replace(chosen, solver=partial.partial_solver(chosen.solver))
    require_in_memory(X, "partial_fit")  # before classes are asked for, which is no remedy
    first = _check_partial_fit_first_call(model, ArrayNamespace.of(X).detach(classes))
    inputs = validate(X, y, sample_weight, model=model, classes=model.classes_, reset=first)
    problem, request = _prepare(model, inputs.drop_zero_weight(), chosen, is_warm=True)
    resumed = partial.resume(model, chosen.solver, request["data"].weight)
    params, trained = fitting.train(**request, seed=seed_of(model.random_state), **resumed)
    vars(model).update(problem.fitted(params))
    certificate.set_uncertified(model, trained.n_epochs, problem.namespace)
    partial.store_training(model, trained, resumed["total_weight"], chosen.solver)
