"""Training in mini-batches with the optimisers of torch."""

from skorch_logreg.training.batches import Batch, Batches, InMemoryBatches, LoaderBatches
from skorch_logreg.training.in_memory import train_in_memory
from skorch_logreg.training.linear import LinearHead
from skorch_logreg.training.loop import reseed, train
from skorch_logreg.training.objective import BatchObjective
from skorch_logreg.training.request import TrainingRequest, TrainingResult

__all__ = [
    "Batch",
    "BatchObjective",
    "Batches",
    "InMemoryBatches",
    "LinearHead",
    "LoaderBatches",
    "TrainingRequest",
    "TrainingResult",
    "reseed",
    "train",
    "train_in_memory",
]
