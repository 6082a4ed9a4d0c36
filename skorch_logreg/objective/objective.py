"""Objective of a batch of models: value, gradient and products with the Hessian.

The objective of each of m models is

    F(W, b) = sum_i s_i loss(y_i, x_i W + b) + (1/C) penalty(W)

with s_i the weight of row i.  Parameters are one array (m, K, p + 1), whose last column is the
intercept, which has no penalty.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from skorch_logreg.data import Block, Data, take_columns
from skorch_logreg.losses import Loss
from skorch_logreg.objective.intercept import best_shift, outputs_inverse
from skorch_logreg.penalties import Penalty

_EPS = torch.finfo(torch.float64).eps
LOW_PRECISION_ROUNDING = 1e-6  # relative rounding error of an objective with float32 products
SUM_ROUNDING = 128 * _EPS  # sum of residuals relative to the objective that is rounding error
_LONGEST = 0.5  # longest step of the intercepts for which shifted residuals are valid


@dataclass(frozen=True)
class Point:
    """Parameters of all models, with the value and the gradient of the objective.

    Attributes
    ----------
    params : Tensor of shape (m, K, p + 1)
        Coefficients and intercepts.
    logits : Tensor of shape (n, m, K)
        Logits of all rows, including the offset.
    value : Tensor of shape (m,)
        Objective of each model.
    gradient : Tensor of shape (m, K, p + 1)
        Gradient of the loss and of the smooth part of the penalty.
    intercept_hessian : Tensor of shape (m, 1, p + 1) or None
        Row of the loss's Hessian for the intercept of one output, if it was computed with the
        gradient.
    """

    params: Tensor
    logits: Tensor
    value: Tensor
    gradient: Tensor
    intercept_hessian: Tensor | None = None

    def select(self, models: Tensor) -> "Point":
        """Return the point of some models."""
        return Point(
            self.params[models],
            take_columns(self.logits, models),
            self.value[models],
            self.gradient[models],
            None if self.intercept_hessian is None else self.intercept_hessian[models],
        )

    def exact(self) -> "Point":
        """Return the point with float64 logits."""
        return replace(self, logits=self.logits.to(torch.float64))

    def replaced(self, models: Tensor, part: "Point") -> "Point":
        """Replace the points of some models."""
        return Point(
            self.params.index_copy(0, models, part.params),
            self.logits.index_copy_(1, models, part.logits),
            self.value.index_copy(0, models, part.value),
            self.gradient.index_copy(0, models, part.gradient),
        )


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner products (m,) of two arrays of parameters (m, K, p + 1)."""
    return (a * b).sum(dim=(1, 2))


@dataclass(frozen=True)
class Objective:
    """Objective of m models over the same rows.

    Parameters
    ----------
    data : Data
        Rows, targets and weights.
    loss : Loss
        Loss of a row as a function of its logits.
    penalty : Penalty
        Penalty of the coefficients.
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

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (m, K, p + 1) of the parameters."""
        return len(self.reg_strength), self.loss.n_outputs, self.data.n_features + 1

    def select(self, models: Tensor) -> "Objective":
        """Return the objective of some models."""
        return replace(self, data=self.data.select(models), reg_strength=self.reg_strength[models])

    @property
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
        """Return the objective with float32 products if they are faster."""
        return replace(self, data=self.data.low_precision())

    def zeros(self) -> Tensor:
        """Return parameters of zero."""
        return torch.zeros(self.shape, dtype=torch.float64, device=self.data.device)

    def prior(self) -> Tensor:
        """Return the intercepts (m, K) of the class frequencies, optimal for zero coefficients."""

        def kernel(block: Block) -> tuple[Tensor, ...]:
            return (self.loss.class_weight(block.targets, block.weight),)

        (weight,) = self.data.reduce(kernel, reads=0)
        weight = weight.expand(len(self.reg_strength), -1)
        logits = weight.clamp(min=_EPS * weight.sum(dim=-1, keepdim=True)).log()
        if self.loss.n_outputs == 1:
            return logits[:, 1:] - logits[:, :1]
        return logits - logits.mean(dim=-1, keepdim=True)

    def evaluate(self, params: Tensor, last: bool = False) -> Point:
        """Compute value and gradient in one pass over X; see `move` for ``last``."""
        terms = self._terms(last)

        def kernel(block: Block, logits: Tensor, *offset: Tensor) -> tuple[Tensor, ...]:
            block.matmul(params, out=logits)
            for constant in offset:
                logits.add_(constant)
            return terms(block, logits)

        logits = self.data.empty_rows(*self.shape[:2])
        constant = () if self.offset is None else (self.offset,)
        return self._point(params, logits, self.data.reduce(kernel, logits, *constant))

    def move(self, point: Point, direction: Tensor, last: bool = False) -> Point:
        """Evaluate the point after a full step in one pass over X.

        If it is likely to be the ``last`` point of a fit, the pass also computes
        `Point.intercept_hessian` for the dual bound.
        """
        terms = self._terms(last)

        def kernel(block: Block, old: Tensor, new: Tensor) -> tuple[Tensor, ...]:
            torch.add(block.matmul(direction), old, out=new)
            return terms(block, new)

        new = torch.empty_like(point.logits)
        found = self.data.reduce(kernel, point.logits, new)
        return self._point(point.params + direction, new, found)

    def with_offset(self, logits: Tensor) -> Tensor:
        """Add the offset to logits."""
        return logits if self.offset is None else logits + self.offset

    def without_offset(self, logits: Tensor) -> Tensor:
        """Subtract the offset from logits."""
        return logits if self.offset is None else logits - self.offset

    def logits(self, params: Tensor) -> Tensor:
        """Compute the logits (n, m, K) of parameters or of a direction, without the offset."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            block.matmul(params, out=logits)
            return ()

        logits = self.data.empty_rows(*self.shape[:2])
        self.data.reduce(kernel, logits)
        return logits

    def at_logits(self, params: Tensor, logits: Tensor) -> Point:
        """Compute value and gradient from known logits."""
        return self._point(params, logits, self.data.reduce(self._loss_terms, logits))

    def gradient_at(self, params: Tensor, logits: Tensor) -> Tensor:
        """Compute only the gradient (m, K, p + 1) from known logits."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            residual = self.loss.residual_curvature(logits, block.targets)[0]
            return (block.rmatmul(residual.mul_(block.weight[..., None])),)

        (gradient,) = self.data.reduce(kernel, logits)
        penalty_gradient = self.penalty.value_gradient(params[..., :-1])[1]
        return self.add_penalty_gradient(gradient, self._scaled(penalty_gradient))

    def along(
        self, point: Point, direction: Tensor, change: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return value, slope and curvature (m,) at ``point + step * direction`` without a pass."""

        def kernel(block: Block, logits: Tensor, change: Tensor) -> tuple[Tensor, ...]:
            z = torch.addcmul(logits, change, step[:, None].to(change.dtype))
            value, residual = self.loss.value_residual(z, block.targets)
            weight = block.weight
            curved = self._curve(z, change)
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

    def row_kernel(self, params: Tensor, low_precision: bool = False) -> tuple[Tensor, Tensor]:
        """Return ``Z P^-1 Z'`` (n, n) and the penalty's diagonal P (p,), for a strength of 1.

        P is the same for all outputs, and 1 for columns without a penalty.  With
        ``low_precision`` the product may have low precision.
        """
        diagonal = self.penalty.hess_diagonal(params[:1, :1, :-1])[0, 0]
        diagonal = torch.where(diagonal > 0, diagonal, 1.0)
        return self.data.outer(1 / diagonal, low_precision), diagonal

    def hessian_product(self, point: Point) -> Callable[[Tensor], Tensor]:
        """Return a function that multiplies with the exact Hessian; one pass over X per call."""
        diagonal, rank_one = self.loss.curvature(point.logits)
        # the curvature of the rows is stored instead of being recomputed in every product
        rows = (diagonal,) if rank_one is None or rank_one is diagonal else (diagonal, rank_one)
        hess_diagonal = self._scaled(self.penalty.hess_diagonal(point.params[..., :-1]))

        def product(vector: Tensor) -> Tensor:
            def kernel(block: Block, d: Tensor, *q: Tensor) -> tuple[Tensor, ...]:
                u = block.matmul(vector)
                h = d * u
                if rank_one is not None:
                    second = q[0] if q else d
                    h.sub_(second * (second * u).sum(dim=-1, keepdim=True))
                return (block.rmatmul(h.mul_(block.weight[..., None])),)

            (image,) = self.data.reduce(kernel, *rows)
            return self.add_penalty_gradient(image, hess_diagonal * vector[..., :-1])

        return product

    def gram(
        self, point: Point, columns: Tensor | None = None, low_precision: bool = False
    ) -> Tensor:
        """Compute the loss's Hessian (m, K, c + 1, K, c + 1) over some columns and the intercept.

        ``low_precision`` is only for one model with one output.
        """

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            diagonal, rank_one = self.loss.curvature(logits)
            weight = block.weight[..., None]
            second = None if rank_one is None else rank_one * weight.sqrt()
            return (block.gram(diagonal * weight, second, columns),)

        def low_precision_kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            diagonal = self.loss.curvature(logits)[0][:, 0]
            return (block.bfloat16_gram(diagonal * block.weight, None, columns),)

        if not low_precision:
            return self.data.reduce(kernel, point.logits)[0]
        lower = (
            self.data.reduce(low_precision_kernel, point.logits, few=True)[0]
            .tril()
            .to(torch.float64)
        )
        return (lower + lower.tril(-1).T)[None, None, :, None]

    def cross_gram(
        self, point: Point, columns: Tensor, others: Tensor, low_precision: bool = False
    ) -> Tensor:
        """Compute the block (c, o + 1) of the loss's Hessian of columns by others and intercept.

        Only for one model with one output.
        """

        def kernel(block: Block, weight: Tensor) -> tuple[Tensor, ...]:
            return (block.cross(weight, columns, others, low_precision),)

        weight = self.output_curvature(point)[:, 0, 0]
        return self.data.reduce(kernel, weight, few=low_precision)[0].to(torch.float64)

    def output_curvature(self, point: Point) -> Tensor:
        """Compute the weighted second derivatives (n, m, K) of every row's loss in each logit."""

        def kernel(block: Block, logits: Tensor, out: Tensor) -> tuple[Tensor, ...]:
            diagonal, rank_one = self.loss.curvature(logits)
            own = diagonal if rank_one is None else diagonal - rank_one.square()
            torch.mul(own, block.weight[..., None], out=out)
            return ()

        out = torch.empty_like(point.logits)
        self.data.reduce(kernel, point.logits, out, reads=0)
        return out

    def row_weight(self) -> Tensor:
        """Return the weights of the rows, (n, 1) if all models share them, else (n, m)."""

        def kernel(block: Block, out: Tensor) -> tuple[Tensor, ...]:
            out.copy_(block.weight)
            return ()

        out = self.data.empty_rows(self.data.weight.shape[1])
        self.data.reduce(kernel, out, reads=0)
        return out

    def penalty_diagonal(self, params: Tensor) -> Tensor:
        """Return the diagonal (m, K, p + 1) of the penalty's Hessian; 0 for the intercept."""
        hess_diagonal = self._scaled(self.penalty.hess_diagonal(params[..., :-1]))
        return torch.cat([hess_diagonal, torch.zeros_like(hess_diagonal[..., :1])], dim=-1)

    def loss_gradient(self, point: Point) -> Tensor:
        """Return the gradient (m, K, p + 1) of the loss without the penalty."""
        penalty_gradient = self._scaled(self.penalty.value_gradient(point.params[..., :-1])[1])
        return torch.cat(
            [point.gradient[..., :-1] - penalty_gradient, point.gradient[..., -1:]], dim=-1
        )

    def minimise_intercept(self, params: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Minimise over the intercepts by Newton's method on the logits; X is not read.

        Returns
        -------
        params, logits : Tensor
            Parameters and logits, shifted by the same constants.
        """
        if not self.fit_intercept:
            return params, logits
        terms = partial(self._intercept_terms, logits)
        shift = best_shift(terms, torch.zeros_like(params[..., -1]))
        moved = params.clone()
        moved[..., -1] += shift
        return moved, logits + shift

    def feasible_gradient(self, point: Point) -> tuple[Tensor, Tensor]:
        """Compute the gradient for dual feasible residuals, which sum to zero.

        A row's residual, probabilities ``p`` minus the target, is shifted by
        ``-(diag(p) - p p') d`` with ``d`` the Newton step of the intercepts.  For short ``d`` the
        result is still a difference of probabilities.

        Returns
        -------
        gradient : Tensor of shape (m, K, p + 1)
            Gradient with shifted residuals.
        step : Tensor of shape (m, K)
            Newton step ``d``; inf if it is too long, or if the sum remains above rounding.

        Notes
        -----
        One pass over X, unless the point has `intercept_hessian`.
        """
        slope = point.gradient[..., -1]
        if self.loss.n_outputs == 1:
            intercept_hessian = point.intercept_hessian
            if intercept_hessian is None:
                intercept_hessian = self._intercept_hessian_product(point, torch.ones_like(slope))
            step = slope * outputs_inverse(intercept_hessian[..., -1:])[..., 0]
            change = intercept_hessian * step[..., None]
        else:
            hessian = self._intercept_terms(point.logits, torch.zeros_like(slope))[1]
            step = (outputs_inverse(hessian) @ slope[..., None])[..., 0]
            change = self._intercept_hessian_product(point, step)
        gradient = point.gradient - change
        sums = gradient[..., -1].abs().amax(dim=-1)
        feasible = (step.abs().amax(dim=-1) <= _LONGEST) & (sums <= SUM_ROUNDING * point.value)
        return gradient, torch.where(feasible[:, None], step, torch.inf)

    def moved_residual(self, logits: Tensor, residual: Tensor, step: Tensor | None) -> Tensor:
        """Shift residuals (rows, m, K) by the step of `feasible_gradient`."""
        return residual if step is None else residual - self._curve(logits, step)

    def _intercept_hessian_product(self, point: Point, step: Tensor) -> Tensor:
        """Multiply the Hessian of the loss with a step (m, K) of the intercepts."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            return (block.rmatmul(self._curve(logits, step).mul_(block.weight[..., None])),)

        return self.data.reduce(kernel, point.logits)[0]

    def _intercept_terms(self, logits: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, list[float]]:
        """Return gradient and Hessian in the intercepts, and the sums (m) of |residuals|."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            z = logits + shift
            weight = block.weight[..., None]
            residual, diagonal, rank_one = self.loss.residual_curvature(z, block.targets)
            residual = residual * weight
            hessian = (diagonal * weight).sum(dim=0)[..., None]
            if rank_one is not None:  # q q' has the same row weights as d
                outer = (rank_one * weight).permute(1, 2, 0) @ rank_one.transpose(0, 1)
                hessian = torch.diag_embed(hessian[..., 0]) - outer
            return residual.sum(dim=0), hessian, residual.abs().sum(dim=(0, 2))

        gradient, hessian, size = self.data.reduce(kernel, logits, reads=0)
        return gradient, hessian, size.tolist()

    def _curve(self, logits: Tensor, change: Tensor) -> Tensor:
        """Multiply the Hessian in the logits with ``change``, row by row."""
        diagonal, rank_one = self.loss.curvature(logits)
        out = diagonal * change
        if rank_one is not None:
            out = out - rank_one * (rank_one * change).sum(dim=-1, keepdim=True)
        return out

    def _loss_terms(self, block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        value, residual = self.loss.value_residual(logits, block.targets)
        weight = block.weight
        residual = residual.mul_(weight[..., None])
        return value.mul_(weight).sum(dim=0), block.rmatmul(residual)

    def _terms(self, last: bool) -> Callable[[Block, Tensor], tuple[Tensor, ...]]:
        """Return the function that computes the sums of a pass."""
        last = (
            last and self.fit_intercept and self.loss.n_outputs == 1 and not self.is_low_precision
        )
        return self._last_terms if last else self._loss_terms

    def _last_terms(self, block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        """Return `_loss_terms` and the Hessian row of the intercept, in one product with X."""
        value, residual = self.loss.value_residual(logits, block.targets)
        weight = block.weight
        value = value.mul_(weight).sum(dim=0)
        both = torch.cat([residual, self.loss.curvature(logits)[0]], dim=1)
        del residual
        both = block.rmatmul(
            both.unflatten(1, (2, -1)).mul_(weight[:, None, :, None]).flatten(1, 2)
        )
        gradient, intercept_hessian = both.chunk(2)
        return value, gradient, intercept_hessian

    def _point(self, params: Tensor, logits: Tensor, terms: tuple[Tensor, ...]) -> Point:
        value, gradient, *intercept_hessian = terms
        penalty, penalty_gradient = self.penalty.value_gradient(params[..., :-1])
        total = torch.addcmul(value, self.reg_strength, penalty)
        gradient = self.add_penalty_gradient(gradient, self._scaled(penalty_gradient))
        return Point(params, logits, total, gradient, *intercept_hessian)

    def _scaled(self, coef: Tensor) -> Tensor:
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
