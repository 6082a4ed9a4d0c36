"""Passes over blocks of rows by compiled kernels."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data.tensors import CACHED_ENTRIES
from skorch_logreg.data.threads import map_blocks, thread_count
from skorch_logreg.kernels import passes, products


class CompiledPasses:
    """Passes by compiled kernels; every method returns None without one.

    Attributes
    ----------
    _stored : Tensor or csr_array of shape (rows, n_features), or None
        Rows that kernels may read as they are. None if columns have to be centred before.
    _units : tuple of two Tensors of shape (n_features,), or None
        Center and scale of the columns of the design matrix; None if the rows have its units.
    _several : tuple of Tensors of shape (rows, n_features) and (n_features,), or None
        Rows that kernels of several logits may read, and the center that they subtract from them,
        or None in its place. None if products are float32.
    _largest : Tensor of shape (n_features,) or None
        Where passes with one logit store the largest distances of every column from its center.
    """

    targets: Tensor
    weight: Tensor
    _stored: Any
    _units: tuple[Tensor, Tensor] | None
    _several: tuple[Tensor, Tensor | None] | None = None
    _largest: Tensor | None = None

    def loss_terms(
        self, loss: str, params: Tensor, logits: Tensor, before: Tensor | None, second: bool
    ) -> tuple[Tensor, ...] | None:
        if self._is_single(loss, params):
            rows = self._stored, self.targets, self.weight, params
            how: Any = {"before": before, "second": second, "largest": self._largest}
            return passes.logistic_loss(*rows, units=self._units, logits=logits, **how)
        several = self._rows_of_several(params.shape[:2].numel())
        if several is None or second:
            return None
        terms: tuple[Tensor, ...] | None = products.loss_terms(
            *(loss, *several),
            targets=self.targets,
            weight=self.weight,
            affine=self._raw(params),
            logits=logits,
            before=before,
        )
        return terms and (terms[0], *map(self._standardised, terms[1:]))

    def hessian_product(self, loss: str, params: Tensor, curvature: Tensor) -> Tensor | None:
        if self._is_single(loss, params):
            own = curvature, self.weight, params, self._units
            return passes.logistic_hessian_product(self._stored, *own)
        several = self._rows_of_several(params.shape[:2].numel())
        if several is None or loss != "multinomial":
            return None
        rows = *several, curvature, self.weight
        product = products.softmax_hessian_product(*rows, self._raw(params))
        return None if product is None else self._standardised(product)

    def _is_single(self, loss: str, params: Tensor) -> bool:
        """Return True if a kernel of one logit may read the rows."""
        return self._stored is not None and loss == "logistic" and params.shape[:2].numel() == 1

    def _rows_of_several(self, n_logits: int) -> tuple[Tensor, Tensor | None] | None:
        """Return `_several` if a core's cache holds the coefficients of several logits.

        With more, products by BLAS are faster (2,000 x 500 with 300 logits: 17 and 30 ms), and
        every thread has copies of them.
        """
        several = self._several
        if several is None or not 1 < n_logits <= CACHED_ENTRIES // (several[0].shape[1] + 1):
            return None
        return several

    def takes_newton_sums(self, loss: str | None, params: Tensor) -> bool:
        rows = self._stored, self.targets, self.weight
        return passes.takes_newton_sums(*rows, params, loss)

    def newton_sums(
        self, loss: str | None, params: Tensor, logits: Tensor, *, is_rough: bool
    ) -> Tensor:
        rows = self._stored, self.targets, self.weight, params
        how: Any = {"units": self._units, "logits": logits, "is_rough": is_rough}
        return passes.newton_sums(*rows, loss=loss, **how)

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

    def _raw(self, params: Tensor) -> tuple[Tensor, Tensor]:
        """Return slopes (m, K, p) and constants (m, K) of params in the units of the rows."""
        slope, shift = params[..., :-1], params[..., -1]
        if self._units is None:
            return slope, shift
        center, scale = self._units
        slope = slope / scale
        return slope, shift - slope @ center

    def _standardised(self, sums: Tensor) -> Tensor:
        """Convert sums (..., p + 1) over the rows to sums over the design matrix, in place."""
        if self._units is not None:
            center, scale = self._units
            sums[..., :-1].addcmul_(center, sums[..., -1:], value=-1).div_(scale)
        return sums if sums.ndim == 3 else sums.view(1, 1, -1)
