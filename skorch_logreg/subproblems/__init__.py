"""Quadratic problems with a penalty, the subproblems of proximal Newton methods."""

from torch import Tensor

from skorch_logreg.penalties.protocol import CoordinateTerms, GroupTerms, Penalty
from skorch_logreg.subproblems import coordinates, groups, proximal
from skorch_logreg.subproblems.quadratic import Quadratic, solve

__all__ = ["Quadratic", "minimise", "solve"]


def minimise(quadratic: Quadratic, penalty: Penalty, index: Tensor, strength: Tensor) -> Tensor:
    """Minimise ``1/2 d'Hd + slope'd + strength * penalty(start + d)`` over chosen coordinates.

    A short step is right to its own digits, not to those of ``start``: where columns nearly repeat
    each other, coefficients are long and their sum is not.

    ``index`` (q,) is the feature of every coordinate, and the result ``d`` (q,).
    """
    terms = penalty.terms(index, quadratic.start)
    if isinstance(terms, CoordinateTerms):
        return coordinates.minimise(quadratic, terms, strength)
    if isinstance(terms, GroupTerms):
        return groups.minimise(quadratic, terms, strength)
    return proximal.minimise(quadratic, penalty.of_columns(index), strength)
