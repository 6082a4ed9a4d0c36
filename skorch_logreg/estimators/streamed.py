"""Training on batches that a data set or loader yields, without keeping them in memory."""

from dataclasses import dataclass
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import validate_data
from torch import Tensor
from torch.utils.data import DataLoader

from skorch_logreg.estimators import convergence_messages, partial
from skorch_logreg.estimators.callbacks import IterationReporter
from skorch_logreg.exceptions import warn_user
from skorch_logreg.fitting import Status, epoch_callback
from skorch_logreg.inputs import datasets, options, weights
from skorch_logreg.inputs.arrays import NUMPY
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.solvers import MiniBatch
from skorch_logreg.training import (
    LinearHead,
    LoaderBatches,
    TrainingRequest,
    TrainingResult,
    train,
)

__all__ = ["Stream", "fit_stream"]


@dataclass(frozen=True)
class Stream:
    """Batches of a loader, with the summary and label encoding from a first reading.

    Parameters
    ----------
    loader : DataLoader
    summary : DatasetSummary
    encode : BatchEncoder
    weight : Tensor of shape (1,), float64
        Total weight of all rows.
    """

    loader: DataLoader[Any]
    summary: datasets.DatasetSummary
    encode: datasets.BatchEncoder
    weight: Tensor

    @classmethod
    def of(cls, model: Any, X: Any, solver: MiniBatch) -> "Stream":
        """Read all batches of a data set or loader once, with the parameters of a classifier."""
        loader = datasets.make_loader(X, solver)
        summary = datasets.DatasetSummary.of(loader, model.soft_labels)
        encode, weight = datasets.make_encoder(
            summary, model.class_weight, model.soft_labels, model.label_smoothing
        )
        return cls(loader, summary, encode, weight)

    def train(self, request: TrainingRequest) -> TrainingResult:
        """Train a network on the batches of the loader."""
        weight, mean_weight = request.head.weight, self.weight / self.summary.n_samples
        batches = LoaderBatches(self.loader, self.encode, mean_weight, weight.dtype, weight.device)
        return train(request, batches, request.objective(self.weight.to(weight.device)))


def fit_stream(
    model: Any, X: Any, chosen: options.Options, device: torch.device, seed: int
) -> None:
    """Train a `TorchLogisticClassifier` on batches as they are yielded, without certificate.

    Parameters
    ----------
    model : TorchLogisticClassifier
    X : DataLoader or IterableDataset
    chosen : Options
        Options with a mini-batch solver.
    device : torch.device
    seed : int

    Warns
    -----
    ConvergenceWarning
        Always, because the result is not certified.
    """
    stream = Stream.of(model, X, chosen.solver)
    classes = stream.summary.classes
    first = validate_data(model, stream.summary.first[0], dtype=NUMPY.float_dtypes)
    model._check_classes(classes, chosen)
    problem = Problem.of(
        model,
        chosen,
        NUMPY,
        first,
        len(classes),
        is_soft=bool(model.soft_labels or model.label_smoothing),
    )
    factor = weights.check_penalty_factor(model.penalty_factor, problem.n_features)
    start = problem.zeros()
    shape = (1, problem.loss.n_outputs, problem.n_features)
    head = LinearHead.zeros(shape, bias=model.fit_intercept, dtype=problem.dtype, device=device)
    if model.warm_start and hasattr(model, "coef_"):
        start = problem.previous(model.coef_, model.intercept_) or start
        head.load(start)
    model.classes_ = classes

    task = {"X": X, "y": None, "metadata": None}
    n_tasks = convergence_messages.iteration_limit(chosen.solver, model.max_iter)
    context = model._init_callback_context(max_subtasks=n_tasks)
    context.call_on_fit_task_begin(estimator=model, **task)
    reporter = IterationReporter(context, model, task, start, problem.fitted, n_tasks=n_tasks)

    request = TrainingRequest(
        network=head.layer,
        head=head.layer,
        loss=problem.loss,
        penalty=problem.penalty(factor, device),
        reg_strength=torch.tensor([1 / chosen.C], dtype=torch.float64, device=device),
        solver=chosen.solver,
        callback=epoch_callback(reporter, stream.weight, head.params),
        layer_seed=seed,
    )
    trained = stream.train(request)
    reporter.close()
    for name, value in problem.fitted(head.params()).items():
        setattr(model, name, value)
    partial.set_uncertified(model, trained.n_epochs)
    model.n_passes_ += 1  # the first reading, for the summary
    partial.store_training(model, trained, stream.weight)
    cut = trained.status is Status.INTERRUPTED
    word = (
        convergence_messages.message_for_interrupted
        if cut
        else convergence_messages.message_for_stream
    )
    warn_user(word(model.solver, trained.n_epochs), ConvergenceWarning)
    context.call_on_fit_task_end(estimator=model, **task, reconstruction_attributes={})
