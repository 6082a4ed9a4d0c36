"""Training on batches that a data set or loader yields, without keeping them in memory."""

from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.estimators import convergence_messages, partial
from skorch_logreg.estimators.callbacks import callback_task
from skorch_logreg.exceptions import warn_user
from skorch_logreg.fitting import Status, epoch_callback
from skorch_logreg.inputs import options
from skorch_logreg.inputs.streams import Stream
from skorch_logreg.inputs.torch_context import seed_of, seeded_generators
from skorch_logreg.inputs.validate import validate
from skorch_logreg.minibatch import LinearHead, TrainingRequest
from skorch_logreg.solvers.minibatch import iteration_limit

__all__ = ["fit_stream"]


def fit_stream(model: Any, X: Any, chosen: options.Options) -> None:
    """Train a `TorchLogisticClassifier` on batches as they are yielded, without certificate.

    X is a DataLoader or an IterableDataset. The fit always warns that its result is not certified.
    """
    device = options.resolve_device(model.device) or torch.device("cpu")
    seed = seed_of(model.random_state)
    with seeded_generators(seed, device):
        stream = Stream.of(model, X, chosen.solver)
        classes = stream.classes
        inputs = validate(*stream.first, model=model, chosen=chosen, classes=classes)
        problem = inputs.problem(model, chosen)
        start = problem.zeros()
        shape = (1, problem.loss.n_outputs, problem.n_features)
        head = LinearHead.zeros(shape, bias=model.fit_intercept, dtype=problem.dtype, device=device)
        if model.warm_start and hasattr(model, "coef_"):
            start = problem.previous(model.coef_, model.intercept_) or start
            head.load(start)
        model.classes_ = classes
        task = {"X": X, "y": None, "metadata": None}
        n_tasks = iteration_limit(chosen.solver, model.max_iter)
        with callback_task(model, task, lambda: start, problem.fitted, n_tasks=n_tasks) as reporter:
            request = TrainingRequest(
                network=head.layer,
                head=head.layer,
                loss=problem.loss,
                penalty=problem.penalty(device),
                reg_strength=torch.tensor([1 / chosen.C], dtype=torch.float64, device=device),
                solver=chosen.solver,
                callback=epoch_callback(reporter, stream.weight, head.params),
                layer_seed=seed,
            )
            trained = stream.train(request)
            for name, value in problem.fitted(head.params()).items():
                setattr(model, name, value)
            partial.set_uncertified(model, trained.n_epochs)
            model.n_passes_ += 1  # the first reading, for the summary
            partial.store_training(model, trained, stream.weight)
            word = (
                convergence_messages.message_for_interrupted
                if trained.status is Status.INTERRUPTED
                else convergence_messages.message_for_stream
            )
            warn_user(word(model.solver, trained.n_epochs), ConvergenceWarning)
