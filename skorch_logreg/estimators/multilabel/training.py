"""What training in epochs asks of labels, and which optimisers take many labels at once."""

from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skorch_logreg.checkpoint import require_no_checkpoint
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import MiniBatch

__all__ = ["check_solver", "can_train_together"]

# what they do to a number depends on its own gradients alone
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
    """Refuse what a solver asks for that is one model's.

    Raises
    ------
    ParameterError
        If it holds rows out, has a checkpoint or keeps what an interrupted fit has reached.
    """
    require_no_checkpoint(solver)
    if isinstance(solver, MiniBatch) and solver.validation_fraction:
        raise ParameterError(
            f"validation_fraction={solver.validation_fraction} of {type(solver).__name__} holds "
            "out rows of one model, and MultiLabel has one a label: leave "
            "validation_fraction=0.0; or fit a TorchLogisticClassifier, which is one."
        )


def can_train_together(solver: Any) -> bool:
    """Whether many labels can be trained at once, and none knows of the others."""
    if not isinstance(solver, MiniBatch):
        return True
    optimizer = solver.optimizer([torch.nn.Parameter(torch.zeros(1, device="cpu"))])
    scheduler = solver.scheduler(optimizer)
    return type(optimizer) in _ELEMENTWISE_OPTIMIZERS and not isinstance(
        scheduler, ReduceLROnPlateau
    )
