"""Training in mini-batches with the optimisers of torch."""

from skorch_logreg.minibatch.in_memory import InMemoryBatches, train_in_memory
from skorch_logreg.minibatch.linear import LinearHead
from skorch_logreg.minibatch.loop import reseed, train
from skorch_logreg.minibatch.request import Batch, BatchObjective, TrainingRequest, TrainingResult

__all__ = [
    "Batch",
    "BatchObjective",
    "InMemoryBatches",
    "LinearHead",
    "TrainingRequest",
    "TrainingResult",
    "reseed",
    "train",
    "train_in_memory",
]
