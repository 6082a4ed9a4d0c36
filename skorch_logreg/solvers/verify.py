"""Verification of checkpoints against the objective.

No value of a file is trusted: points are evaluated again at their parameters, and models that
converge after a resume are verified from their parameters only.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.data import Block
from skorch_logreg.objective import MAX_EXCESS, ROUNDING_DISTANCE, Objective, Point
from skorch_logreg.solvers.outcome import FinalPoint, Status
from skorch_logreg.solvers.protocol import Solver


def check_run(run: Any, points: list[tuple[Objective, Point]], n_passes: Any) -> None:
    """Check shapes, types and counts of a run that was read from a file.

    Any exception means that a number has another type or an array another shape.
    """
    state, m = run.state, len(run.models)
    for part, point in points:
        _check_shapes(part, point)
    for final in run.final_points:
        if {len(final.optimality), len(final.status), len(final.directions)} != {len(final.models)}:
            raise ValueError("an end is of other models")
        shape = final.point.params.shape[1:]
        if any(d is not None and d.shape != shape for d in final.directions):
            raise ValueError("a direction is of other coefficients")
    counts = [run.first, run.n_iter, n_passes, *run.stalls]
    if not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError(f"{counts} are counts")
    if not (m > 0 and len(run.stalls) == len(run.quiet) == len(run.missed) == m <= len(run.before)):
        raise ValueError(f"there are {m} models at work")
    if [len(least) for least in run.least] != [m, m]:
        raise ValueError("least values are of other models")
    if not (state.decrement.shape == state.trusted.shape == (m,)):
        raise ValueError("decrements are of other models")
    if state.trusted.dtype is not torch.bool or not bool(state.decrement.isfinite().all()):
        raise ValueError("decrements are numbers")


def _check_shapes(objective: Objective, point: Point) -> None:
    n, (m, n_outputs, side) = objective.data.n_samples, objective.shape
    expected = {
        "params": (m, n_outputs, side),
        "logits": (n, m, n_outputs),
        "value": (m,),
        "gradient": (m, n_outputs, side),
    }
    for name, shape in expected.items():
        found = getattr(point, name)
        if tuple(found.shape) != shape or not found.dtype.is_floating_point:
            raise ValueError(f"{name} has shape {tuple(found.shape)}, expected {shape}")
    if point.params.dtype is not torch.float64 or not bool(point.params.isfinite().all()):
        raise ValueError("params are not finite")


def matches_params(objective: Objective, point: Point) -> bool:
    """Return True if a point agrees with its parameters, up to the rounding of past steps.

    Logits are sums over the steps, and their error grows with the ratios of the columns' means to
    their deviations.  Half of the digits have to agree: a smaller error of the logits changes the
    optimum by its square, and the final verification evaluates its own logits.
    """
    exact, m = objective.exact, len(point.value)
    own = exact.evaluate(point.params)
    digits = math.sqrt(objective.rounding)
    data: Any = exact.data
    means = (data.center / data.scale).abs()
    size = 1 + point.params[..., :-1].abs() @ (1 + digits * means)
    error = digits * (size + point.params[..., -1].abs()).amax(dim=-1)

    def kernel(block: Block, read: Tensor, new: Tensor) -> tuple[Tensor, ...]:
        apart = (read - new).square().sum(dim=-1)
        return (apart * block.weight).sum(dim=0), block.weight.sum(dim=0).expand(m)

    apart, weight = exact.data.reduce(kernel, point.logits, own.logits, reads=0)
    slope = (point.gradient - own.gradient).abs().amax(dim=(1, 2))
    sound = (
        (apart <= weight * error.square())
        & ((point.value - own.value).abs() <= error * own.value)
        & (slope <= error * weight)
    )
    return bool(sound.all())


def is_proven(solver: Solver, whole: Objective, final: FinalPoint, tol: float) -> bool:
    """Return True if the converged models of a final point are optimal to the tolerance."""
    pairs = zip(final.models, final.status, strict=True)
    places = [i for i, (_, how) in enumerate(pairs) if how is Status.CONVERGED]
    if not places:
        return True
    device = final.point.params.device
    objective = whole.select(torch.tensor([final.models[i] for i in places], device=device)).exact
    params = final.point.params[torch.tensor(places, device=device)]
    state = solver.init(objective, params, tol)
    doubted = [i for i, trusted in enumerate(state.trusted.tolist()) if not trusted]
    # for other penalties the decrement is a duality gap, and a step would change the point
    if doubted and objective.penalty.smooth:
        state = solver.confirm(objective, state, doubted)
    limit = state.point.value * max(MAX_EXCESS * tol**2, ROUNDING_DISTANCE)
    return bool((state.decrement <= limit).all())


@dataclass(frozen=True)
class ResumedSolver:
    """Solver whose state was read from a file; steps that fail raise the file's error.

    ``damaged`` returns the exception of a damaged file.
    """

    solver: Solver
    tol: float
    damaged: Callable[[], Exception]

    def init(self, objective: Objective, params: Tensor, tol: float) -> Any:
        """Return the state at given parameters."""
        return self.solver.init(objective, params, tol)

    def step(self, objective: Objective, state: Any) -> Any:
        """Return the state after one iteration."""
        moved = self._try(self.solver.step, objective, state)
        if not _is_finite(moved):
            own = self.solver.init(objective, state.point.params, self.tol)
            if _is_finite(self.solver.step(objective, own)):
                raise self.damaged()
        return moved

    def confirm(self, objective: Objective, state: Any, models: Sequence[int]) -> Any:
        """Compute reliable decrements of some models at the same point."""
        return self._try(self.solver.confirm, objective, state, models)

    def _try(self, call: Callable[..., Any], objective: Objective, state: Any, *rest: Any) -> Any:
        try:
            return call(objective, state, *rest)
        except Exception as error:
            objective.exact.evaluate(state.point.params)  # raises if rows cannot be read
            raise self.damaged() from error


def _is_finite(state: Any) -> bool:
    return bool((state.point.value + state.decrement).isfinite().all())
