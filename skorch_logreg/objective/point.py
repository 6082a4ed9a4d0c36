"""Parameters with the value and the gradient of an objective."""

from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from skorch_logreg.data.tensors import take_models


@dataclass(frozen=True)
class Point:
    """Parameters of all models, with the value and the gradient of the objective.

    Attributes
    ----------
    params : Tensor of shape (m, K, p + 1)
    logits : Tensor of shape (n, m, K)
        Logits of all rows, including the offset.
    value : Tensor of shape (m,)
    gradient : Tensor of shape (m, K, p + 1)
        Gradient of the loss and of the smooth part of the penalty.
    intercept_hessian : Tensor of shape (m, 1, p + 1) or None
        Row of the loss's Hessian for the intercept of one output, if it was computed with the
        gradient.
    nuisance : Tensor of shape (m, T) or None
        Best values of the parameters of the loss itself, if it has some.
    """

    params: Tensor
    logits: Tensor
    value: Tensor
    gradient: Tensor
    intercept_hessian: Tensor | None = None
    nuisance: Tensor | None = None

    def select(self, models: Tensor) -> "Point":
        """Return the point of some models."""
        if len(models) == len(self.value) and bool((models.diff() > 0).all()):
            return self
        return Point(
            self.params[models],
            take_models(self.logits, models),
            self.value[models],
            self.gradient[models],
            None if self.intercept_hessian is None else self.intercept_hessian[models],
            None if self.nuisance is None else self.nuisance[models],
        )

    def exact(self) -> "Point":
        """Return the point with float64 logits."""
        return replace(self, logits=self.logits.to(torch.float64))

    def replaced(self, models: Tensor, part: "Point") -> "Point":
        """Replace the points of some models."""
        nuisance = self.nuisance
        if nuisance is not None:
            nuisance = nuisance.index_copy(0, models, cast(Tensor, part.nuisance))
        return Point(
            self.params.index_copy(0, models, part.params),
            self.logits.index_copy_(1, models, part.logits),
            self.value.index_copy(0, models, part.value),
            self.gradient.index_copy(0, models, part.gradient),
            nuisance=nuisance,
        )
