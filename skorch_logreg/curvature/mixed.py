"""Curvature of a batch whose models have curvatures of different kinds."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skorch_logreg.curvature.protocol import Curvature
from skorch_logreg.objective import Point


@dataclass(frozen=True)
class MixedCurvature(Curvature):
    """Curvatures of parts of a batch: indices of models, each in one part, and their curvature."""

    parts: tuple[tuple[Tensor, Curvature], ...]

    @property
    def reads(self) -> int:
        return max(curvature.reads for _, curvature in self.parts)

    def solve(self, gradient: Tensor) -> Tensor:
        """Return ``B gradient`` (m, K, p + 1), part by part."""
        out = torch.empty_like(gradient)
        for models, curvature in self.parts:
            out[models] = curvature.solve(gradient[models]).to(out.dtype)  # some are float32
        return out

    def damping(self, solved: Tensor) -> Tensor:
        """Return the part (m,) of the decrement that is due to damping, part by part."""
        out = solved.new_empty(len(solved))
        for models, curvature in self.parts:
            out[models] = curvature.damping(solved[models]).to(out.dtype)
        return out

    def at(self, point: Point, models: Tensor | None = None) -> "MixedCurvature":
        """Update every part to a point."""
        return MixedCurvature(
            tuple(
                (own, curvature.at(point, own if models is None else models[own]))
                for own, curvature in self.parts
            )
        )

    def select(self, models: Tensor) -> Curvature:
        place = models.new_full((sum(len(own) for own, _ in self.parts),), -1)
        place[models] = torch.arange(len(models), device=models.device)
        parts = []
        for own, curvature in self.parts:
            kept = (place[own] >= 0).nonzero()[:, 0]
            if len(kept):
                parts.append((place[own[kept]], curvature.select(kept)))
        return join(parts)


def join(parts: list[tuple[Tensor, Curvature]]) -> Curvature:
    """Join the curvatures of parts that cover a batch."""
    if len(parts) == 1 and bool((parts[0][0].diff() > 0).all()):
        return parts[0][1]
    return MixedCurvature(tuple(parts))
