"""Requirements on mini-batch solvers that train many labels."""

from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skorch_logreg.checkpoint import require_no_checkpoint
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = ["check_solver", "can_train_together"]

# optimisers whose update of an entry depends only on the gradients of that entry
_ELEMENTWISE_OPTIMIZERS = (
    torch.optim.ASGD,
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.Rprop,
    torch.optim.SGD,
)


def check_solver(solver: Any) -> None:
    """Refuse settings of a solver that are only supported for a single model.

    Raises
    ------
    ParameterError
        If it holds out rows, has a checkpoint or keeps the result of an interrupted fit.
    """
    require_no_checkpoint(solver)
    if getattr(solver, "validation_fraction", 0.0):
        raise ParameterError(
            f"validation_fraction={solver.validation_fraction} of {type(solver).__name__} holds "
            "out rows of one model, and MultiLabel has one a label: leave "
            "validation_fraction=0.0; or fit a TorchLogisticClassifier, which is one."
        )


def can_train_together(solver: Any) -> bool:
    """Return True if labels can be trained in one call without an effect on each other."""
    if not trains_in_epochs(solver):
        return True
    optimizer = solver.optimizer([torch.nn.Parameter(torch.zeros(1, device="cpu"))])
    scheduler = solver.scheduler(optimizer)
    return type(optimizer) in _ELEMENTWISE_OPTIMIZERS and not isinstance(
        scheduler, ReduceLROnPlateau
    )
