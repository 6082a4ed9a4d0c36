"""A linear model fitted to rows that stream."""

import warnings
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data

from skorch_logreg.estimators import convergence, options, partial, streams, weights
from skorch_logreg.estimators.arrays import NUMPY
from skorch_logreg.estimators.callbacks import IterationReporter
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.fitting import Params, Progress
from skorch_logreg.training import (
    BatchObjective,
    Epoch,
    LinearHead,
    LoaderBatches,
    train,
)

__all__ = ["fit_stream"]


def fit_stream(model: Any, X: Any, chosen: options.Options, seed: int) -> None:
    """Train a `TorchLogisticClassifier` on the batches of a data set or loader; nothing is proven.

    Parameters
    ----------
    model : TorchLogisticClassifier
    X : DataLoader or IterableDataset
    chosen : Options
        With a solver of mini-batches.
    seed : int

    Warns
    -----
    ConvergenceWarning
        That nothing is proven.
    """
    loader = streams.loader_of(X, chosen.solver)
    device = options.resolve_device(model.device) or torch.device("cpu")
    survey = streams.Survey.of(loader, model.soft_labels)
    encode, total = streams.targets_of(
        survey, model.class_weight, model.soft_labels, model.label_smoothing
    )
    first = validate_data(model, survey.first, dtype=NUMPY.float_dtypes)
    model._check_classes(survey.classes, chosen)
    problem = Problem(
        options=chosen,
        home=NUMPY,
        dtype=torch.from_numpy(first).dtype,
        n_classes=len(survey.classes),
        n_features=first.shape[1],
        fit_intercept=model.fit_intercept,
        intercept_scaling=float(model.intercept_scaling),
        is_soft=bool(model.soft_labels or model.label_smoothing),
    )
    n_outputs = problem.loss.n_outputs
    factor = weights.check_penalty_factor(model.penalty_factor, problem.n_features)
    head = LinearHead.of(
        problem.n_features, 1, n_outputs, model.fit_intercept, problem.dtype, device
    )
    start = problem.zeros()
    if model.warm_start and hasattr(model, "coef_"):
        start = problem.previous(model.coef_, model.intercept_) or start
        head.load(start.coef, start.intercept)
    model.classes_ = survey.classes

    task = {"X": X, "y": None, "metadata": None}
    n_tasks = convergence.most_iterations(chosen.solver, model.max_iter)
    context = model._init_callback_context(max_subtasks=n_tasks)
    context.call_on_fit_task_begin(estimator=model, **task)
    reporter = IterationReporter(context, model, task, start, problem.fitted, n_tasks)

    def report(epoch: Epoch) -> bool:
        unknown = torch.full_like(epoch.loss, torch.nan)
        params = lambda: Params(*head.params())  # noqa: E731 - built only where it is asked for
        return reporter(Progress(epoch.n_epochs, epoch.loss * total, unknown, params))

    trained = train(
        head.layer,
        head.layer,
        LoaderBatches(loader, encode, problem.dtype, device),
        BatchObjective.of(
            1,
            n_outputs,
            survey.n_samples,
            total,
            survey.weighted or encode.by_class is not None,
            problem.penalty(factor, device),
            torch.tensor([1 / chosen.C], dtype=torch.float64),
            problem.dtype,
        ),
        chosen.solver,
        callback=report,
        seed=seed,
    )
    reporter.close()
    for name, value in problem.fitted(Params(*head.params())).items():
        setattr(model, name, value)
    partial.unproven(model, trained.n_epochs)
    model.n_passes_ += 1  # the survey
    partial.remember(model, trained, total)
    warnings.warn(
        convergence.message_of_stream(model.solver, trained.n_epochs),
        ConvergenceWarning,
        stacklevel=5,
    )
    context.call_on_fit_task_end(estimator=model, **task, reconstruction_attributes={})
