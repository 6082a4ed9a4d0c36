"""Objective of a batch of models: value and gradient.

The objective of each of m models is::

    F(W, b) = sum_i s_i loss(y_i, x_i W + b) + (1/C) penalty(W)

with s_i the weight of row i.  Parameters are one array (m, K, p + 1), whose last column is the
intercept, which has no penalty.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor

from skorch_logreg.data import Block, ComputedRows, Data
from skorch_logreg.kernels.logits import loss_along, weighted_loss
from skorch_logreg.losses import Loss, NuisanceLoss, class_weight
from skorch_logreg.objective.nuisance import best_nuisance
from skorch_logreg.objective.point import Point
from skorch_logreg.penalties import Penalty

_EPS = torch.finfo(torch.float64).eps
VALUE_ROUNDING = 2 * _EPS  # relative rounding error of an objective, at least
# relative suboptimality that rounding may leave, and violation of a condition relative to the
# largest slope
ROUNDING_DISTANCE = 1e-13
# largest suboptimality of a converged model in units of tol^2, a promise of `notebooks/promises.md`
MAX_EXCESS = 10.0
SUM_RTOL = 1e-12  # relative rounding error of sums over up to 1e8 rows, at most
# relative rounding error of an objective with float32 products
LOW_PRECISION_ROUNDING = 8 * torch.finfo(torch.float32).eps


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products (m,) of two arrays of parameters (m, K, p + 1)."""
    return (a * b).sum(dim=(1, 2))


def multiply_curvature(diagonal: Tensor, rank_one: Tensor | None, change: Tensor) -> Tensor:
    """Multiply the Hessians of rows, ``diag(d)`` or ``diag(d) - q q'`` with d = q, with a change.

    The mean of a change is subtracted twice: where a probability is close to one, the rounding
    error of the first mean would be larger than what is left.
    """
    if rank_one is not None:
        for _ in range(2):
            change = change - (rank_one * change).sum(dim=-1, keepdim=True)
    return diagonal * change


@dataclass(frozen=True)
class Objective:
    """Objective of m models over the same rows.

    Parameters
    ----------
    data : Data
    loss : Loss
    penalty : Penalty
    reg_strength : Tensor of shape (m,)
        Regularization strength ``1 / C`` of each model; 0 means no penalty.
    fit_intercept : bool
        Whether the models have an intercept.
    offset : Tensor of shape (n, 1, 1) or (n, 1, K), or None
        Offset that is added to the logits of every row.
    """

    data: Data
    loss: Loss
    penalty: Penalty
    reg_strength: Tensor
    fit_intercept: bool
    offset: Tensor | None = None

    @cached_property
    def _lambda(self) -> Tensor:
        return self.reg_strength[:, None, None]

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Shape (m, K, p + 1) of the parameters."""
        return self.reg_strength.shape[0], self.loss.n_outputs, self.data.n_features + 1

    def select(self, models: Tensor) -> "Objective":
        """Return the objective of some models."""
        loss, start = self.loss, self.loss.nuisance
        if start is not None and len(start) > 1:
            loss = self._loss_with(start[models])
        strength = self.reg_strength[models]
        return replace(self, data=self.data.select(models), loss=loss, reg_strength=strength)

    @cached_property
    def is_low_precision(self) -> bool:
        """True if products are float32, which is enough for directions but not for certificates."""
        return self.data.exact is not self.data

    @property
    def exact(self) -> "Objective":
        """The same objective with float64 products."""
        return replace(self, data=self.data.exact) if self.is_low_precision else self

    @property
    def rounding(self) -> float:
        """Relative rounding error of a value."""
        return LOW_PRECISION_ROUNDING if self.is_low_precision else 1e-14

    @property
    def logits_dtype(self) -> torch.dtype:
        """Type of the logits of points of this objective."""
        return torch.float32 if self.is_low_precision else torch.float64

    def low_precision(self) -> "Objective":
        """Return the objective with float32 products if they are faster.

        50 models of 10k x 50 take 0.64 of the time with them.
        """
        if self.loss.nuisance is not None:
            return self
        data = self.data.low_precision(has_kernel=self.loss.kernel is not None)
        return self if data is self.data else replace(self, data=data)

    def at(self, point: Point) -> "Objective":
        """Return the objective whose loss has the nuisance parameters of a point."""
        if point.nuisance is None:
            return self
        return replace(self, loss=self._loss_with(point.nuisance))

    def zeros(self) -> Tensor:
        """Return parameters of zero."""
        return torch.zeros(self.shape, dtype=torch.float64, device=self.data.device)

    def class_weight(self) -> Tensor:
        """Return the total weights (m, classes) of the classes."""

        def kernel(block: Block) -> tuple[Tensor, ...]:
            return (class_weight(self.loss, block.targets, block.weight),)

        (weight,) = self.data.reduce(kernel, reads=0, few=True)
        return weight.expand(len(self.reg_strength), -1)

    def prior(self) -> Tensor:
        """Return the intercepts (m, K) of the class frequencies, optimal for zero coefficients."""
        weight = self.class_weight()
        logits = weight.clamp(min=_EPS * weight.sum(dim=-1, keepdim=True)).log()
        if self.loss.n_outputs == 1:
            return logits[:, 1:] - logits[:, :1]
        return logits - logits.mean(dim=-1, keepdim=True)

    def evaluate(self, params: Tensor, last: bool = False) -> Point:
        """Compute value and gradient in one pass over X; see `move` for ``last``.

        The best nuisance parameters depend on the logits of all rows: with some, X is read twice.
        """
        if self.loss.nuisance is not None:
            return self.at_logits(params, self.with_offset(self.logits(params)))
        logits = self.data.empty_rows(*self.shape[:2])
        constant = () if self.offset is None else (self.offset,)
        found = self.data.reduce(self._terms(params, last), logits, *constant)
        if isinstance(logits, ComputedRows):
            logits = logits.product(self.data, params, self.offset)
        return self._point(params, logits, found)

    def evaluate_block(self, params: Tensor, block: Block) -> Point:
        """Compute value and gradient over the rows of a block, without nuisance and offset."""
        logits = block.matmul(params)
        return self._point(params, logits, self._loss_terms(block, logits))

    def move(self, point: Point, direction: Tensor, last: bool = False) -> Point:
        """Evaluate the point after a full step in one pass over X.

        If it is likely to be the ``last`` point of a fit, the pass also computes
        `Point.intercept_hessian` for the dual bound.
        """
        if point.nuisance is not None:
            logits = self.logits(direction).add_(point.logits)
            return self.at_logits(point.params + direction, logits, point.nuisance)
        if isinstance(point.logits, ComputedRows):
            return self.evaluate(point.params + direction, last)
        new = torch.empty_like(point.logits)
        found = self.data.reduce(self._terms(direction, last), new, point.logits)
        return self._point(point.params + direction, new, found)

    def with_offset(self, logits: Tensor) -> Tensor:
        """Add the offset to logits."""
        return logits if self.offset is None else logits + self.offset

    def without_offset(self, logits: Any) -> Tensor:
        """Subtract the offset from logits."""
        offset: Any = self.offset
        if offset is not None and isinstance(logits, ComputedRows):
            offset = logits.beside(offset)
        return logits if offset is None else logits - offset

    def logits(self, params: Tensor) -> Any:
        """Compute the logits (n, m, K) of parameters or of a direction, without the offset."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            block.matmul(params, out=logits)
            return ()

        logits: Any = self.data.empty_rows(*self.shape[:2])
        if isinstance(logits, ComputedRows):
            return logits.product(self.data, params)
        self.data.reduce(kernel, logits)
        return logits

    def at_logits(self, params: Tensor, logits: Tensor, nuisance: Tensor | None = None) -> Point:
        """Compute value and gradient from known logits.

        The search for the best nuisance parameters starts at ``nuisance``, or at those of the loss.
        """
        at = self
        if self.loss.nuisance is not None:
            nuisance = self._best_nuisance(logits, nuisance)
            at = replace(self, loss=self._loss_with(nuisance))
        point = self._point(params, logits, self.data.reduce(at._loss_terms, logits))
        return replace(point, nuisance=nuisance)

    def _loss_with(self, nuisance: Tensor) -> Loss:
        return cast(NuisanceLoss, self.loss).with_nuisance(nuisance)

    def _best_nuisance(self, logits: Tensor, start: Tensor | None) -> Tensor:
        loss = cast(NuisanceLoss, self.loss)
        start = loss.nuisance if start is None else start
        return best_nuisance(self.data.reduce, loss, logits, cast(Tensor, start))

    def along(
        self, point: Point, direction: Tensor, change: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return value, slope and curvature (m,) at ``point + step * direction`` without a pass.

        The curvature is that for fixed nuisance parameters.
        """
        loss = self.loss
        if point.nuisance is not None:
            ahead = torch.addcmul(point.logits, change, step[:, None])
            loss = self._loss_with(self._best_nuisance(ahead, point.nuisance))

        def kernel(block: Block, logits: Tensor, change: Tensor) -> tuple[Tensor, ...]:
            rows = {"targets": block.targets, "weight": block.weight}
            found = loss_along(loss.kernel, logits, change, step, **rows)
            if found is not None:
                return found
            z = torch.addcmul(logits, change, step[:, None].to(change.dtype))
            value, residual = loss.value_residual(z, block.targets)
            weight = block.weight
            curved = multiply_curvature(*loss.curvature(z, block.targets), change)
            return (
                (value * weight).sum(dim=0),
                ((residual * change).sum(dim=-1) * weight).sum(dim=0),
                ((curved * change).sum(dim=-1) * weight).sum(dim=0),
            )

        value, slope, curvature = self.data.reduce(kernel, point.logits, change, reads=0)
        move = direction[..., :-1]
        coef = point.params[..., :-1]
        coef = self.penalty.feasible(coef + step[:, None, None] * move, coef)
        penalty, penalty_gradient = self.penalty.value_gradient(coef)
        return (
            value + self.reg_strength * penalty,
            slope + self.reg_strength * inner(penalty_gradient, move),
            curvature + self.reg_strength * inner(self.penalty.hess_diagonal(coef), move.square()),
        )

    def row_weight(self) -> Tensor:
        """Return the weights of the rows, (n, 1) if all models share them, else (n, m)."""

        def kernel(block: Block, out: Tensor) -> tuple[Tensor, ...]:
            out.copy_(block.weight)
            return ()

        out = self.data.empty_rows(self.data.weight.shape[1])
        self.data.reduce(kernel, out, reads=0)
        return out

    def loss_gradient(self, point: Point) -> Tensor:
        """Return the gradient (m, K, p + 1) of the loss without the penalty."""
        penalty_gradient = self.scaled(self.penalty.value_gradient(point.params[..., :-1])[1])
        return torch.cat(
            [point.gradient[..., :-1] - penalty_gradient, point.gradient[..., -1:]], dim=-1
        )

    def _weighted_loss(self, block: Block, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the sums (m,) of the weighted losses, and weighted residuals (rows, m, K)."""
        found = weighted_loss(self.loss.kernel, logits, block.targets, block.weight)
        if found is None and self.loss.nuisance is not None:
            loss = cast(NuisanceLoss, self.loss)
            found = loss.weighted(logits, block.targets, block.weight)
        if found is not None:
            return found
        value, residual = self.loss.value_residual(logits, block.targets)
        return value.mul_(block.weight).sum(dim=0), residual.mul_(block.weight[..., None])

    def _loss_terms(self, block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        value, residual = self._weighted_loss(block, logits)
        return value, block.rmatmul(residual)

    def _terms(self, params: Tensor, last: bool) -> Callable[..., tuple[Tensor, ...]]:
        """Return the function that computes logits and sums of a pass.

        It takes a block, the array for its logits, and optionally logits to add.
        """
        last = (
            last and self.fit_intercept and self.loss.n_outputs == 1 and not self.is_low_precision
        )
        sums = self._last_terms if last else self._loss_terms

        def terms(block: Block, logits: Tensor, before: Tensor | None = None) -> tuple[Tensor, ...]:
            if self.loss.kernel is not None:
                found = block.loss_terms(self.loss.kernel, params, logits, before, last)
                if found is not None:
                    return found
            block.matmul(params, out=logits)
            if before is not None:
                logits.add_(before)
            return sums(block, logits)

        return terms

    def _last_terms(self, block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        """Return `_loss_terms` and the Hessian row of the intercept, in one product with X."""
        value, residual = self._weighted_loss(block, logits)
        curvature = self.loss.curvature(logits, block.targets)[0].mul_(block.weight[..., None])
        return value, *block.rmatmul(torch.cat([residual, curvature], dim=1)).chunk(2)

    def _point(self, params: Tensor, logits: Tensor, terms: tuple[Tensor, ...]) -> Point:
        value, gradient, *intercept_hessian = terms
        penalty, penalty_gradient = self.penalty.value_gradient(params[..., :-1])
        total = torch.addcmul(value, self.reg_strength, penalty)
        gradient = self.add_penalty_gradient(gradient, self.scaled(penalty_gradient))
        return Point(params, logits, total, gradient, *intercept_hessian)

    @cached_property
    def ridge(self) -> Tensor:
        """Diagonal (m, K, p + 1) of the Hessian of a quadratic penalty; 0 for the intercept."""
        return self.ridge_at(self.zeros())

    def ridge_at(self, params: Tensor) -> Tensor:
        """Return the diagonal (m, K, p + 1) of the penalty's Hessian."""
        ridge = self.scaled(self.penalty.hess_diagonal(params[..., :-1]))
        return torch.cat([ridge, torch.zeros_like(ridge[..., :1])], dim=-1)

    def scaled(self, coef: Tensor) -> Tensor:
        """Multiply coefficients (m, K, p) with the regularization strengths."""
        return coef * self._lambda

    def add_penalty_gradient(self, gradient: Tensor, penalty_gradient: Tensor) -> Tensor:
        """Add the penalty's gradient (m, K, p) to the loss's (m, K, p + 1), in place.

        With several classes, the rounding error of the loss along a constant for all of them is
        removed, because the loss has no slope there.
        """
        if self.loss.n_outputs > 1:
            free = gradient if self.penalty.smooth else gradient[..., -1:]
            free -= free.mean(dim=1, keepdim=True)
        gradient[..., :-1].add_(penalty_gradient)
        if not self.fit_intercept:
            gradient[..., -1] = 0.0
        return gradient


def on_sample(objective: Objective, n_rows: int) -> Objective:
    """Return the objective over evenly spaced rows, scaled to the weight of all rows."""
    offset = objective.offset
    if offset is not None:
        offset = offset[objective.data.sampled(n_rows)]
    return replace(objective, data=objective.data.sample(n_rows), offset=offset)


def sampled_at(objective: Objective, point: Point, n_rows: int | None) -> tuple[Objective, Point]:
    """Return the objective and a point over a sample of rows; None means all rows."""
    if n_rows is None:
        return objective, point
    logits = point.logits[objective.data.sampled(n_rows)]
    return on_sample(objective, n_rows), replace(point, logits=logits)
