"""Value, gradient and curvature products of a batch of models.

The objective of each of m models is

    F(W, b) = sum_i s_i loss(y_i, x_i W + b) + (1/C) penalty(W)

with s_i the weight of row i.  This is the only file that knows the intercept: parameters are one
array (m, K, p + 1), whose last column is the intercept and has no penalty.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from skorch_logreg.data import Block, Data, take_columns
from skorch_logreg.intercepts import best_shift, outputs_inverse
from skorch_logreg.losses import Loss
from skorch_logreg.penalties import Penalty

_EPS = torch.finfo(torch.float64).eps
LOW_PRECISION_ROUNDING = 1e-6
SUM_ROUNDING = 128 * _EPS  # sum of residuals, relative to the value, that counts as none
_LONGEST = 0.5  # step of the intercepts whose residuals are differences of probabilities for sure


@dataclass(frozen=True)
class Point:
    """Where the models stand.

    Attributes
    ----------
    params : Tensor of shape (m, K, p + 1)
    logits : Tensor of shape (n, m, K)
    value : Tensor of shape (m,)
    gradient : Tensor of shape (m, K, p + 1)
        Of the loss and of the smooth part of the penalty.
    coupling : Tensor of shape (m, 1, p + 1) or None
        The loss's Hessian in the intercept of one output, where it came with the gradient.
    """

    params: Tensor
    logits: Tensor
    value: Tensor
    gradient: Tensor
    intercept_hessian: Tensor | None = None

    def select(self, models: Tensor) -> "Point":
        """Keep some models."""
        return Point(
            self.params[models],
            take_columns(self.logits, models),
            self.value[models],
            self.gradient[models],
            None if self.intercept_hessian is None else self.intercept_hessian[models],
        )

    def exact(self) -> "Point":
        """Return the point with float64 logits, as a curvature is built from."""
        return replace(self, logits=self.logits.to(torch.float64))

    def replaced(self, models: Tensor, part: "Point") -> "Point":
        """Put the points of some models in their places."""
        return Point(
            self.params.index_copy(0, models, part.params),
            self.logits.index_copy_(1, models, part.logits),
            self.value.index_copy(0, models, part.value),
            self.gradient.index_copy(0, models, part.gradient),
        )


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product (m,) of two arrays of parameters (m, K, p + 1)."""
    return (a * b).sum(dim=(1, 2))


@dataclass(frozen=True)
class Objective:
    """The objective of m models over the same rows.

    Parameters
    ----------
    data : Data
    loss : Loss
    penalty : Penalty
    reg_strength : Tensor of shape (m,)
        ``1 / C``; 0 for no penalty.
    fit_intercept : bool
    offset : Tensor of shape (n, 1, 1) or (n, 1, K), or None
        What is added to the logits of every row, as it is.
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
        """Keep some models."""
        return replace(self, data=self.data.select(models), reg_strength=self.reg_strength[models])

    @property
    def is_low_precision(self) -> bool:
        """Whether products are float32: good for a direction, not for a proof."""
        return self.data.exact is not self.data

    @property
    def exact(self) -> "Objective":
        """The same objective with float64 products."""
        return replace(self, data=self.data.exact) if self.is_low_precision else self

    @property
    def rounding(self) -> float:
        """What rounding alone may add to a value, relative to it."""
        return LOW_PRECISION_ROUNDING if self.is_low_precision else 1e-14

    @property
    def logits_dtype(self) -> torch.dtype:
        """Type of the logits of its points."""
        return torch.float32 if self.is_low_precision else torch.float64

    def low_precision(self) -> "Objective":
        """Take float32 products, where those are faster."""
        return replace(self, data=self.data.low_precision())

    def zeros(self) -> Tensor:
        """Parameters of zero."""
        return torch.zeros(self.shape, dtype=torch.float64, device=self.data.device)

    def prior(self) -> Tensor:
        """Find the intercepts (m, K) of the class frequencies, the best without coefficients."""

        def kernel(block: Block) -> tuple[Tensor, ...]:
            return (self.loss.class_weight(block.targets, block.weight),)

        (weight,) = self.data.reduce(kernel, reads=0)
        weight = weight.expand(len(self.reg_strength), -1)
        logits = weight.clamp(min=_EPS * weight.sum(dim=-1, keepdim=True)).log()
        if self.loss.n_outputs == 1:
            return logits[:, 1:] - logits[:, :1]
        return logits - logits.mean(dim=-1, keepdim=True)

    def evaluate(self, params: Tensor, last: bool = False) -> Point:
        """Value and gradient in one pass over X; for ``last`` see `move`."""
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
        """Go the whole direction in one pass over X.

        Where that leads to the ``last`` point of a fit, what its dual bound needs of X is taken
        along.
        """
        terms = self._terms(last)

        def kernel(block: Block, old: Tensor, new: Tensor) -> tuple[Tensor, ...]:
            torch.add(block.matmul(direction), old, out=new)
            return terms(block, new)

        new = torch.empty_like(point.logits)
        found = self.data.reduce(kernel, point.logits, new)
        return self._point(point.params + direction, new, found)

    def with_offset(self, logits: Tensor) -> Tensor:
        """Add the offset to logits of parameters."""
        return logits if self.offset is None else logits + self.offset

    def without_offset(self, logits: Tensor) -> Tensor:
        """Take it off, so that they are those of parameters."""
        return logits if self.offset is None else logits - self.offset

    def logits(self, params: Tensor) -> Tensor:
        """Logits (n, m, K) of parameters, or of a direction; without the offset."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            block.matmul(params, out=logits)
            return ()

        logits = self.data.empty_rows(*self.shape[:2])
        self.data.reduce(kernel, logits)
        return logits

    def at_logits(self, params: Tensor, logits: Tensor) -> Point:
        """Value and gradient where the logits are known already."""
        return self._point(params, logits, self.data.reduce(self._loss_terms, logits))

    def gradient_at(self, params: Tensor, logits: Tensor) -> Tensor:
        """Gradient (m, K, p + 1) alone, where the logits are known already."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            residual = self.loss.residual_curvature(logits, block.targets)[0]
            return (block.rmatmul(residual.mul_(block.weight[..., None])),)

        (gradient,) = self.data.reduce(kernel, logits)
        penalty_gradient = self.penalty.value_gradient(params[..., :-1])[1]
        return self.add_penalty_gradient(gradient, self._scaled(penalty_gradient))

    def along(
        self, point: Point, direction: Tensor, change: Tensor, step: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, slope and curvature (m,) at ``point + step * direction``; X is not read."""

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
        """``Z P^-1 Z'`` (n, n) and the penalty's diagonal P (p,), of any output at strength 1.

        Columns without a penalty, which take no part, have 1.  With ``low_precision`` the first may
        be of low precision.
        """
        diagonal = self.penalty.hess_diagonal(params[:1, :1, :-1])[0, 0]
        diagonal = torch.where(diagonal > 0, diagonal, 1.0)
        return self.data.outer(1 / diagonal, low_precision), diagonal

    def hessian_product(self, point: Point) -> Callable[[Tensor], Tensor]:
        """Exact Hessian at a point, as a function of parameters; one pass over X a call."""
        diagonal, rank_one = self.loss.curvature(point.logits)
        # what multiplies the rows is kept, rather than made anew in every product
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
        """Hessian of the loss over some columns and the intercept, (m, K, c + 1, K, c + 1).

        A rough one is of low precision, of one model with one output.
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
        """Block (c, o + 1) of the loss's Hessian: columns by others and the intercept.

        Of one model with one output; a rough one is of low precision.
        """

        def kernel(block: Block, weight: Tensor) -> tuple[Tensor, ...]:
            return (block.cross(weight, columns, others, low_precision),)

        weight = self.output_curvature(point)[:, 0, 0]
        return self.data.reduce(kernel, weight, few=low_precision)[0].to(torch.float64)

    def output_curvature(self, point: Point) -> Tensor:
        """Weighted curvature (n, m, K) of every row in each of its logits alone."""

        def kernel(block: Block, logits: Tensor, out: Tensor) -> tuple[Tensor, ...]:
            diagonal, rank_one = self.loss.curvature(logits)
            own = diagonal if rank_one is None else diagonal - rank_one.square()
            torch.mul(own, block.weight[..., None], out=out)
            return ()

        out = torch.empty_like(point.logits)
        self.data.reduce(kernel, point.logits, out, reads=0)
        return out

    def row_weight(self) -> Tensor:
        """Weights (n, 1) of all models, or (n, m)."""

        def kernel(block: Block, out: Tensor) -> tuple[Tensor, ...]:
            out.copy_(block.weight)
            return ()

        out = self.data.empty_rows(self.data.n_weights)
        self.data.reduce(kernel, out, reads=0)
        return out

    def penalty_diagonal(self, params: Tensor) -> Tensor:
        """Diagonal (m, K, p + 1) of the penalty's Hessian; 0 for the intercept."""
        hess_diagonal = self._scaled(self.penalty.hess_diagonal(params[..., :-1]))
        return torch.cat([hess_diagonal, torch.zeros_like(hess_diagonal[..., :1])], dim=-1)

    def loss_gradient(self, point: Point) -> Tensor:
        """Gradient (m, K, p + 1) of the loss alone."""
        penalty_gradient = self._scaled(self.penalty.value_gradient(point.params[..., :-1])[1])
        return torch.cat(
            [point.gradient[..., :-1] - penalty_gradient, point.gradient[..., -1:]], dim=-1
        )

    def minimise_intercept(self, params: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Best intercept for given coefficients, by Newton's method on the logits.

        Returns
        -------
        params, logits : Tensor
            Moved by the same constants; X is not read.
        """
        if not self.fit_intercept:
            return params, logits
        terms = partial(self._intercept_terms, logits)
        shift = best_shift(terms, torch.zeros_like(params[..., -1]))
        moved = params.clone()
        moved[..., -1] += shift
        return moved, logits + shift

    def feasible_gradient(self, point: Point) -> tuple[Tensor, Tensor]:
        """Gradient with residuals that sum to zero, as a dual point's have to.

        A row's residual, probabilities ``p`` less the target, moves by ``-(diag(p) - p p') d``
        with ``d`` the Newton step of the intercepts, and remains one where ``d`` is short.

        Returns
        -------
        gradient : Tensor of shape (m, K, p + 1)
        step : Tensor of shape (m, K)
            ``d``; inf where it is too long for residuals, or leaves a sum beyond rounding.

        Notes
        -----
        One pass over X, unless the point brings it along.
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
        """Residuals (rows, m, K) that sum to zero, of those and the step of `feasible_gradient`."""
        return residual if step is None else residual - self._curve(logits, step)

    def _intercept_hessian_product(self, point: Point, step: Tensor) -> Tensor:
        """Hessian of the loss times a step (m, K) of the intercepts."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            return (block.rmatmul(self._curve(logits, step).mul_(block.weight[..., None])),)

        return self.data.reduce(kernel, point.logits)[0]

    def _intercept_terms(self, logits: Tensor, shift: Tensor) -> tuple[Tensor, Tensor, list[float]]:
        """Gradient (m, K) and Hessian (m, K, K) in the intercepts; the residuals' size (m)."""

        def kernel(block: Block, logits: Tensor) -> tuple[Tensor, ...]:
            z = logits + shift
            weight = block.weight[..., None]
            residual, diagonal, rank_one = self.loss.residual_curvature(z, block.targets)
            residual = residual * weight
            hessian = (diagonal * weight).sum(dim=0)[..., None]
            if rank_one is not None:  # q q' of a row weighs as its d does
                outer = (rank_one * weight).permute(1, 2, 0) @ rank_one.transpose(0, 1)
                hessian = torch.diag_embed(hessian[..., 0]) - outer
            return residual.sum(dim=0), hessian, residual.abs().sum(dim=(0, 2))

        gradient, hessian, size = self.data.reduce(kernel, logits, reads=0)
        return gradient, hessian, size.tolist()

    def _curve(self, logits: Tensor, change: Tensor) -> Tensor:
        """Hessian in the logits times ``change``, row by row."""
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
        """Choose what a pass sums."""
        last = (
            last and self.fit_intercept and self.loss.n_outputs == 1 and not self.is_low_precision
        )
        return self._last_terms if last else self._loss_terms

    def _last_terms(self, block: Block, logits: Tensor) -> tuple[Tensor, ...]:
        """As `_loss_terms`, with the Hessian in the intercepts: X is multiplied once."""
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

        With classes, what rounding leaves along a constant for all of them is taken out: no
        curvature would hold it back.
        """
        gradient[..., :-1].add_(penalty_gradient)
        if not self.fit_intercept:
            gradient[..., -1] = 0.0
        if self.loss.n_outputs > 1:
            free = gradient if self.penalty.smooth else gradient[..., -1:]
            free -= free.mean(dim=1, keepdim=True)
        return gradient


def on_sample(objective: Objective, n_rows: int) -> Objective:
    """Take evenly spaced rows, scaled to the weight of all."""
    offset = objective.offset
    if offset is not None:
        offset = offset[objective.data.sampled(n_rows)]
    return replace(objective, data=objective.data.sample(n_rows), offset=offset)


def sampled_at(objective: Objective, point: Point, n_rows: int | None) -> tuple[Objective, Point]:
    """Take such rows and a point's logits there; None: all."""
    if n_rows is None:
        return objective, point
    logits = point.logits[objective.data.sampled(n_rows)]
    return on_sample(objective, n_rows), replace(point, logits=logits)
