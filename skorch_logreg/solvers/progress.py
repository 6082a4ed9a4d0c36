"""Convergence of a model on its curvature, and what confirms its decrement."""

import math
from dataclasses import dataclass

from skorch_logreg.solvers.choose import CurvaturePlan

# ratio of a curvature to the objective's along a step, above which no step on it confirms a
# decrement: across the step even more may have been lost (15 x 41, C = 1e7: 15 of 60 fits ended 2
# to 130 % above the minimum)
MAX_LOST_CURVATURE = 30.0


def steps_left(rate: float, ratio: float) -> float:
    """Estimate the number of steps that reduce a decrement by a ratio, at a rate per step."""
    if ratio <= 1 or rate <= 0:
        return 0.0
    return math.log(ratio) / -math.log(rate) if rate < 1 else math.inf


@dataclass(frozen=True)
class ModelProgress:
    """Convergence of one model of a batch on its current curvature.

    ``age`` is the number of steps since the curvature was built, ``rate`` the contraction of the
    decrement per step as a recent mean, and ``decrement_ratio`` the decrement divided by its goal
    ``tol^2 F``. ``proven`` is True if a step has confirmed that the decrement meets its goal.
    ``lost_curvature`` is the largest ratio, at least 1, of the curvature to the objective's along,
    or at the end of, a step since it was built.  ``uses_newton_cg`` marks models that have switched
    to Newton-CG, and ``has_newton_direction`` those whose Newton direction at the current point has
    been computed.
    """

    plan: CurvaturePlan
    age: int = 0
    rate: float = 0.0
    decrement_ratio: float = math.inf
    proven: bool = False
    lost_curvature: float = 1.0
    uses_newton_cg: bool = False
    has_newton_direction: bool = False

    @property
    def is_lost(self) -> bool:
        """True if so much of the curvature was lost that only a new one confirms a decrement."""
        return self.lost_curvature > MAX_LOST_CURVATURE

    @property
    def expected_rate(self) -> float:
        """Contraction to expect of the next step; infinite if nothing is known of it."""
        return self.rate if self.age else self.plan.proof_rate or math.inf

    def proof_rate(self) -> float:
        """Return the contraction that confirms a decrement; it is stricter for old curvatures.

        A sudden decrease after steps that hardly contracted is only that of the components which
        the curvature approximates well.
        """
        proof_rate = self.plan.proof_rate
        if self.plan.is_adaptive:
            return proof_rate if 0 < self.rate <= proof_rate else proof_rate**2
        if self.age == 0:
            return proof_rate
        late = proof_rate**2
        return late if self.rate <= proof_rate else late**2

    def moved(
        self, contraction: float, decrement_ratio: float, curvature_ratio: float
    ) -> "ModelProgress":
        """Return the progress after a step."""
        # conjugate gradients first reduce the components that the curvature approximates well,
        # so a contraction confirms nothing
        steady = contraction <= self.proof_rate() and not self.has_newton_direction
        lost = max(self.lost_curvature, curvature_ratio)
        steady &= lost <= MAX_LOST_CURVATURE
        # an indefinite curvature gives negative decrements, which prove nothing
        proven = 0 <= decrement_ratio <= 1 and (steady or self.proven)
        latest = max(contraction if decrement_ratio > 1 else 0.0, 1e-8)
        # geometric mean; steps on a partial curvature differ more
        past = min(self.age, 1 if self.plan.proof_rate else 3)
        rate = (max(self.rate, 1e-8) ** past * latest) ** (1 / (past + 1))
        if contraction == 1.0:  # the step was of length zero: the next one would be as well
            rate = 1.0
        return ModelProgress(
            self.plan, self.age + 1, rate, decrement_ratio, proven, lost, self.uses_newton_cg
        )
