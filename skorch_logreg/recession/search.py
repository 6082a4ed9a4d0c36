"""Search for a direction of recession, using as few rows as possible."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.objective import Objective
from skorch_logreg.objective.line_search import MAX_STEPS
from skorch_logreg.recession.linear_program import MIN_GAIN, Cone

_MIN_ROWS = 200  # rows of the first linear program, at least
_ROWS_PER_VARIABLE = 4  # rows of the first linear program per variable
_EPS = torch.finfo(torch.float64).eps


def find_direction(
    objective: Objective,
    logits: Tensor | None = None,
    limit: float = torch.inf,
    columns: Tensor | None = None,
) -> Tensor | None:
    """Find a direction along which one model's objective decreases for ever.

    Such a direction does not increase the loss of any row: the logits of classes with positive
    probability in a row change equally, and those of all other classes not more. It goes to
    infinity only where the penalty stays constant. Directions are found one after the other,
    until each row whose loss can decrease does so along one of them, and are summed.

    Parameters
    ----------
    objective : Objective
        Objective of one model, whose rows have weights.
    logits : Tensor of shape (n, 1, K) or None
        Logits of a point. With a finite limit only the rows are considered that give a wrong
        class at most that weighted probability there.
    limit : float
        Weighted probability.
    columns : Tensor of int or None
        Columns that the direction may use; None: all.

    Returns
    -------
    direction : Tensor of shape (K, p + 1) or None
        Direction in the solver's units; None if none exists.

    Notes
    -----
    A linear program over some rows is a relaxation: if it has no solution, no direction exists.
    If it has one, a pass over X searches for rows that it makes worse, and these are added.

    References
    ----------
    Albert, Anderson (1984). On the existence of maximum likelihood estimates in logistic
    regression models, Biometrika 71. Konis (2007). Linear programming algorithms for detecting
    separated data in binary logistic regression models, thesis, Oxford, section 4.4.
    """
    search = _Search.of(objective, columns)
    if search is None:
        return None
    rows = (logits,) if logits is not None and limit < torch.inf else ()
    total, cone, before = None, search.cone(rows, limit), None
    for _ in range(MAX_STEPS):
        gain = search.gain(rows, limit, total)
        # the last direction gained nothing that was not rounding
        if not gain.any() or before is not None and np.array_equal(gain, before):
            break
        before = gain
        found = search.best_direction(cone, gain)
        if found is None:
            break
        total = found if total is None else total + found
    return None if total is None else total / total.abs().max()


@dataclass(frozen=True)
class _Search:
    """Search among the directions that a penalty allows."""

    objective: Objective
    columns: Tensor  # indices of the columns, and the intercept, that directions may use
    low: np.ndarray  # bounds of their coefficients, (K * c,)
    high: np.ndarray

    @classmethod
    def of(cls, objective: Objective, columns: Tensor | None) -> "_Search | None":
        down, up = unbounded_directions(objective)
        if columns is not None:
            chosen = torch.zeros_like(down)
            chosen[columns] = True
            chosen[-1] = True
            down, up = down & chosen, up & chosen
        places = (down | up).nonzero()[:, 0]
        if not len(places):
            return None
        low, high = (
            np.tile(end[places].cpu().numpy().astype(float), objective.loss.n_outputs)
            for end in (down, up)
        )
        return cls(objective, places, -low, high)

    @property
    def _units(self) -> tuple[Tensor, Tensor]:
        """Origin and unit (p,) of the columns, near their mean and deviation.

        The unit is a power of two and the origin a multiple of it, so that integers, and all
        other columns that are far from zero, are shifted and scaled without rounding.
        """
        center, scale = self.objective.data.center, self.objective.data.scale
        unit = torch.exp2(torch.where(scale.isinf(), 1.0, scale).log2().floor())
        return (center / unit).round() * unit, unit

    @property
    def _change_of_units(self) -> tuple[Tensor, Tensor]:
        """Factor and shift (p,) from columns in the solver's units to columns in `_units`."""
        origin, unit = self._units
        center, scale = self.objective.data.center, self.objective.data.scale
        used = ~scale.isinf()
        factor, shift = scale / unit, (center - origin) / unit
        return torch.where(used, factor, 0.0), torch.where(used, shift, 0.0)

    @property
    def _n_rows(self) -> int:
        """Number of rows to add at a time."""
        n_classes = max(self.objective.loss.n_outputs, 2)
        return max(_MIN_ROWS, _ROWS_PER_VARIABLE * len(self.low) // (n_classes - 1))

    def cone(self, rows: tuple[Tensor, ...], limit: float) -> Cone:
        """Return a cone with evenly spaced rows, and as many of those that are considered."""
        data, loss = self.objective.data, self.objective.loss
        share = self._n_rows / max(data.n_samples, 1)

        def choose(targets: Tensor, weight: Tensor, *logits: Tensor) -> Tensor:
            counts = weight[:, 0] > 0
            some = _thin_out(counts.nonzero()[:, 0], share)
            if logits:
                asked = _open_classes(loss, targets, weight, limit, *logits).any(dim=-1)[:, 0]
                more = max(int(share * len(weight)), 1) / max(int(asked.sum()), 1)
                some = torch.cat([some, _thin_out(asked.nonzero()[:, 0], more)]).unique()
            return some

        cone = Cone(self.low, self.high)
        cone.add(self._constraints(*data.pick(choose, *rows)[:2]))
        return cone

    def gain(self, rows: tuple[Tensor, ...], limit: float, known: Tensor | None) -> np.ndarray:
        """Return the gradient of the summed leads of right classes over wrong ones.

        Only the rows and classes that are considered are summed, without those that gain along a
        known direction.
        """
        objective, loss = self.objective, self.objective.loss
        direction = None if known is None else known[None]

        def kernel(block: Block, *logits: Tensor) -> tuple[Tensor, ...]:
            targets = block.targets
            asked = _open_classes(loss, targets, block.weight, limit, *logits)
            share = loss.shares(targets)
            if direction is not None:
                asked = asked & ~_falls_behind(block.matmul(direction), share)
            if loss.n_outputs == 1:
                residual = asked * (share[..., 1:] - share[..., :1])
            else:
                residual = share * asked.sum(dim=-1, keepdim=True) - asked.to(share.dtype)
            return (block.rmatmul(residual)[0],)

        (gain,) = objective.data.reduce(kernel, *rows)
        factor, shift = self._change_of_units
        coef = gain[:, :-1] * factor + gain[:, -1:] * shift
        gain = torch.cat([coef, gain[:, -1:]], dim=1)
        return gain[:, self.columns].cpu().numpy().ravel()

    def best_direction(self, cone: Cone, gain: np.ndarray) -> Tensor | None:
        """Find the best direction that makes no row worse, with few columns."""
        for _ in range(MAX_STEPS):
            found = cone.maximise(gain)
            if found is None:
                return None
            logits = self.objective.logits(self._to_solver_units(found)[None])
            rows = self._worse_rows(found, logits)
            if rows.shape[0]:
                cone.add(rows)
                continue
            gaining = self._gaining_rows(logits)
            if not gaining.shape[0]:
                return None
            cone.add(gaining)
            costs = (self.columns < self.objective.data.n_features).cpu().numpy().astype(float)
            sparse = cone.sparsest(found, gain, np.tile(costs, self.objective.loss.n_outputs))
            if sparse is found:
                return self._to_solver_units(found)
            logits = self.objective.logits(self._to_solver_units(sparse)[None])
            fails = self._worse_rows(sparse, logits).shape[0] > 0
            return self._to_solver_units(found if fails else sparse)
        return None

    def _worse_rows(self, found: np.ndarray, logits: Tensor) -> Any:
        """Return rows that a direction makes worse by more than rounding, the worst ones first."""
        data, loss = self.objective.data, self.objective.loss
        coef = self._to_solver_units(found)[:, :-1]
        unit = torch.where(data.scale.isinf(), 0.0, data.center / data.scale).abs()
        size = float((coef.abs() * (1 + unit)).sum()) + 1.0
        limit, most = -16 * _EPS * size, self._n_rows

        def choose(targets: Tensor, weight: Tensor, logits: Tensor) -> Tensor:
            lead = loss.margin(logits, targets)[:, 0]
            worse = ((lead < limit) & (weight[:, 0] > 0)).nonzero()[:, 0]
            return worse[lead[worse].argsort()[:most]]

        rows = self._constraints(*data.pick(choose, logits)[:2])
        return rows[np.flatnonzero(Cone.violated(rows, found))]

    def _gaining_rows(self, logits: Tensor) -> Any:
        """Return some of the rows whose loss a direction lowers."""
        loss, most = self.objective.loss, self._n_rows

        def choose(targets: Tensor, weight: Tensor, logits: Tensor) -> Tensor:
            gains = _falls_behind(logits, loss.shares(targets)).any(dim=-1) & (weight > 0)
            rows = gains[:, 0].nonzero()[:, 0]
            return _thin_out(rows, most / max(len(rows), 1))

        return self._constraints(*self.objective.data.pick(choose, logits)[:2])

    def _constraints(self, X: Any, targets: Tensor) -> Any:
        """Return sparse rows of ``(lead of a class with positive probability) >= 0``."""
        data = self.objective.data
        within = self.columns[self.columns < data.n_features].cpu()
        origin, unit = (part.cpu()[within].numpy() for part in self._units)
        X = X[:, within.numpy()]
        away, near = np.flatnonzero(origin), np.flatnonzero(origin == 0)
        shifted = X[:, away].toarray() if sp.issparse(X) else X[:, away]
        Z = sp.hstack([sp.csr_array(X[:, near]), sp.csr_array(shifted - origin[away])])
        Z = sp.csc_array(Z)[:, np.argsort(np.concatenate([near, away]))]
        Z = sp.csr_array(Z.multiply(1 / unit))
        if len(within) < len(self.columns):
            Z = sp.hstack([Z, np.ones((Z.shape[0], 1))], format="csr")
        share = self.objective.loss.shares(targets)[:, 0].numpy()
        if self.objective.loss.n_outputs == 1:
            ahead = [(share[:, 1] > 0, 1.0), (share[:, 0] > 0, -1.0)]
            parts = [sign * Z[np.flatnonzero(mask)] for mask, sign in ahead]
            return sp.vstack(parts, format="csr")
        return _class_differences(Z, share)

    def _to_solver_units(self, found: np.ndarray) -> Tensor:
        """Return a direction (K, p + 1) in the solver's units."""
        data = self.objective.data
        n_outputs, width = self.objective.shape[1:]
        direction = torch.zeros(n_outputs, width, dtype=torch.float64, device=data.device)
        values = torch.from_numpy(found).view(n_outputs, -1)
        direction[:, self.columns] = values.to(direction.device)
        factor, shift = self._change_of_units
        coef = direction[:, :-1]
        if self.objective.fit_intercept:
            direction[:, -1] += coef @ shift
        coef.mul_(factor)
        return direction


def count_separated_rows(objective: Objective, direction: Tensor) -> tuple[int, int, int]:
    """Count rows with a weight, those whose loss a direction lowers, and those it lowers to zero.

    One pass over X.
    """
    loss = objective.loss

    def kernel(block: Block) -> tuple[Tensor, ...]:
        share = loss.shares(block.targets)
        gains = _falls_behind(block.matmul(direction[None]), share)
        own = share.amax(dim=-1, keepdim=True) == 1
        least = gains if loss.n_outputs == 1 else gains | (share > 0)
        counts = block.weight > 0
        lower, zero = gains.any(dim=-1), (least & own).all(dim=-1)
        return tuple((counts & rows).sum() for rows in (counts, lower, zero))

    return tuple(int(n) for n in objective.data.reduce(kernel))  # type: ignore[return-value]


def unbounded_directions(objective: Objective) -> tuple[Tensor, Tensor]:
    """Return masks (p + 1,) of coefficients that may go to minus infinity, and to infinity."""
    down, up = objective.penalty.recession(objective.zeros()[..., :-1], objective.reg_strength)
    used = ~objective.data.scale.isinf()
    last = torch.tensor([objective.fit_intercept], device=used.device)
    return torch.cat([down[0, 0] & used, last]), torch.cat([up[0, 0] & used, last])


def _open_classes(
    loss: Any, targets: Tensor, weight: Tensor, limit: float, *logits: Tensor
) -> Tensor:
    """Return a mask (rows, 1, K) of classes with probability 0 in a row that are considered."""
    share, sided = loss.shares(targets), loss.one_sided(targets)
    if loss.n_outputs > 1:
        asked = share == 0
    else:
        asked = torch.ones_like(share[..., :1], dtype=torch.bool) if sided is None else sided
    asked = asked & (weight[..., None] > 0)
    if logits:
        wrong = loss.residual_curvature(logits[0], targets)[0].abs() * weight[..., None]
        asked = asked & (wrong <= limit)
    return asked


def _falls_behind(logits: Tensor, share: Tensor) -> Tensor:
    """Return a mask (rows, 1, K) of probability-0 classes that fall behind along a direction."""
    if logits.shape[-1] == 1:
        return logits * (share[..., 1:] - share[..., :1]) > MIN_GAIN
    return (share * logits).sum(dim=-1, keepdim=True) - logits > MIN_GAIN


def _class_differences(Z: Any, share: np.ndarray) -> Any:
    """Return rows of every class subtracted from one with positive probability.

    And the reverse, if both classes have a positive probability.
    """
    own, classes = share.argmax(axis=1), np.eye(share.shape[1])
    parts = [sp.csr_array((0, Z.shape[1] * len(classes)))]
    for k in np.unique(own):
        rows, others = np.flatnonzero(own == k), np.delete(np.arange(len(classes)), k)
        parts += [sp.kron(classes[[k]] - classes[others], Z[rows], format="csr")]
        for other in others[(share[rows][:, others] > 0).any(axis=0)]:
            level = rows[share[rows, other] > 0]
            parts += [sp.kron(classes[[other]] - classes[[k]], Z[level], format="csr")]
    return sp.csr_array(sp.vstack(parts, format="csr"))


def _thin_out(places: Tensor, share: float) -> Tensor:
    """Return about a share of indices, evenly spaced, at least one."""
    step = max(int(1 / max(share, 1e-12)), 1)
    return places[::step]
