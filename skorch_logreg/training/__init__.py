"""Training in mini-batches with the optimisers of torch."""

from skorch_logreg.training.batches import Batch, Batches, InMemoryBatches
from skorch_logreg.training.linear import LinearHead, train_linear
from skorch_logreg.training.loaders import LoaderBatches
from skorch_logreg.training.loop import EpochProgress, TrainingResult, reseed, train
from skorch_logreg.training.network import train_network
from skorch_logreg.training.objective import BatchObjective

__all__ = [
    "Batch",
    "BatchObjective",
    "Batches",
    "EpochProgress",
    "InMemoryBatches",
    "LinearHead",
    "LoaderBatches",
    "TrainingResult",
    "reseed",
    "train",
    "train_linear",
    "train_network",
]
