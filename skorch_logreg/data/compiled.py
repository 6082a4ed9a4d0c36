"""Passes over blocks of rows by compiled kernels."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.kernels import passes


class CompiledPasses:
    """Passes of one model with logistic loss; every method returns None without a kernel.

    Attributes
    ----------
    _stored : Tensor or csr_array of shape (rows, n_features), or None
        Rows that kernels may read as they are. None if columns have to be centred before.
    _units : tuple of two Tensors of shape (n_features,), or None
        Center and scale of the columns of the design matrix; None if the rows have its units.
    """

    targets: Tensor
    weight: Tensor
    _stored: Any
    _units: tuple[Tensor, Tensor] | None

    def logistic_terms(
        self, params: Tensor, logits: Tensor, before: Tensor | None, second: bool
    ) -> tuple[Tensor, ...] | None:
        if self._stored is None or params.shape[:2].numel() != 1:
            return None
        slope, shift = self._raw(params)
        terms = passes.logistic_loss(
            self._stored,
            self.targets,
            self.weight,
            slope,
            shift,
            logits=logits,
            before=before,
            second=second,
        )
        return terms and (terms[0], *map(self._standardised, terms[1:]))

    def logistic_hessian_product(self, params: Tensor, curvature: Tensor) -> Tensor | None:
        if self._stored is None or params.shape[:2].numel() != 1:
            return None
        product = passes.logistic_hessian_product(
            self._stored, curvature, self.weight, *self._raw(params)
        )
        return None if product is None else self._standardised(product)

    def newton_step(
        self, loss: str | None, params: Tensor, ridge: Tensor, **options: Any
    ) -> tuple[Tensor, ...] | None:
        if not isinstance(self._stored, Tensor) or params.shape[0] > 1:
            return None
        rows = self._stored, self.targets, self.weight
        return passes.newton_step(*rows, params, ridge, loss=loss, units=self._units, **options)

    def newton_steps(
        self, loss: str | None, params: Tensor, ridge: Tensor, **options: Any
    ) -> tuple[Tensor, Tensor] | None:
        if not isinstance(self._stored, Tensor) or loss != "logistic":
            return None

        def steps(models: slice) -> tuple[Tensor, Tensor] | None:
            targets, weight = (
                of if of.shape[1] == 1 else of[:, models] for of in (self.targets, self.weight)
            )
            own = targets, weight, params[models], ridge[models]
            return passes.newton_steps(self._stored, *own, units=self._units, **options)

        found = [part for part in map_blocks(steps, self._parts(len(params))) if part is not None]
        if not found:
            return None
        return torch.cat([part[0] for part in found]), torch.cat([part[1] for part in found])

    def _parts(self, n_models: int) -> list[slice]:
        """Divide models among the threads; those with the same columns stay together."""
        new = torch.zeros(n_models, dtype=torch.bool)
        new[0] = True
        for columns in (self.targets[..., 0], self.weight):
            if columns.shape[1] > 1:  # else all models have the same
                new[1:] |= (columns[:, 1:] != columns[:, :-1]).any(dim=0)
        first = new.nonzero()[:, 0].tolist()
        bounds = [*first[:: -(-len(first) // thread_count())], n_models]
        return [slice(*ends) for ends in pairwise(bounds)]

    def _raw(self, params: Tensor) -> tuple[Tensor, float]:
        """Return the slope and the constant of params (1, 1, p + 1) in the units of the rows."""
        flat = params.reshape(-1)
        if self._units is None:
            return flat[:-1], flat[-1].item()
        center, scale = self._units
        slope = flat[:-1] / scale
        return slope, (flat[-1] - slope @ center).item()

    def _standardised(self, sums: Tensor) -> Tensor:
        """Convert sums (p + 1,) over the rows to sums (1, 1, p + 1) over the design matrix."""
        if self._units is not None:
            center, scale = self._units
            sums[:-1].addcmul_(center, sums[-1], value=-1).div_(scale)
        return sums.view(1, 1, -1)
