"""Steps of proximal Newton's method on Hessians of rounding."""

from tests.hunt.draws import draw
from tests.hunt.laws import check


def test_saturated_classes_within_bounds_come_to_their_minimum():
    """Eight classes of 16 rows at C = 95: without intercepts the Hessian is not convex."""
    assert not [str(found) for found in check(draw(7188)) if found.law != "time"]
