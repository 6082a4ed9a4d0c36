"""Steps of proximal Newton's method on Hessians of rounding."""

from tests.hunt.draws import draw
from tests.hunt.laws import check


def test_saturated_classes_within_bounds_come_to_their_minimum():
    """Eight classes of 16 rows at C = 95: without intercepts the Hessian is not convex."""
    assert not [str(found) for found in check(draw(7188)) if found.law != "time"]


def test_a_shift_of_the_hessian_is_hardly_larger_than_it_has_to_be():
    """Five classes that almost separate: 27 steps, and more than 500 with shifts 1e8 apart."""
    assert draw(1787).fit(max_iter=100).converged_
