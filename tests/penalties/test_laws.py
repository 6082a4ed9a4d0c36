"""What every penalty owes: gradients, a prox, a conjugate, and units."""

from dataclasses import replace

import pytest
import torch

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.penalties import L2, Box, ElasticNet, GroupL2
from tests.catalogue import FACTOR, PENALTIES

CENTER = torch.tensor([[0.5, -1.0, 0.0, 2.0, 1.0]], dtype=torch.float64)
# towards a center the objective is another one: fits move it to zero first
ALL = PENALTIES | {"l2-center": L2(FACTOR, center=CENTER)}
STRENGTH = torch.tensor([0.3, 2.0], dtype=torch.float64)


@pytest.fixture(params=ALL.values(), ids=ALL.keys())
def penalty(request):
    return request.param


def _coef(seed=0, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    coef = size * torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    coef[:, 1, 2:4] = 0.0
    return coef


def test_gradient_is_the_derivative_of_the_smooth_part(penalty):
    coef = _coef()
    value, gradient = penalty.value_gradient(coef)
    torch.testing.assert_close(value, penalty.value(coef))
    direction = _coef(1)
    h = 1e-6
    along = (gradient * direction).sum(dim=(1, 2))
    if penalty.smooth:
        change = penalty.value(coef + h * direction) - penalty.value(coef - h * direction)
        torch.testing.assert_close(along, change / (2 * h), rtol=1e-7, atol=1e-9)
    bend = penalty.value_gradient(coef + h * direction)[1] - gradient
    torch.testing.assert_close(
        penalty.hess_diagonal(coef) * direction, bend / h, rtol=1e-6, atol=1e-8
    )


def test_a_quadratic_penalty_has_one_hessian(penalty):
    same = penalty.hess_diagonal(_coef()).equal(penalty.hess_diagonal(_coef(1, size=3.0)))
    assert same or not penalty.quadratic


def test_prox_meets_its_own_subgradient_distance(penalty):
    """x = prox(v) means that (v - x) / step is a subgradient at x."""
    v = _coef(2, size=2.0)
    x = penalty.prox(v, STRENGTH)
    distance = penalty.subgradient_distance(x, x - v, STRENGTH)
    assert distance.max() < 1e-14
    worse = penalty.subgradient_distance(1.01 * x, 1.01 * x - v, STRENGTH)
    assert worse.max() > 1e-3


def test_prox_is_a_minimiser(penalty):
    v = _coef(2, size=2.0)
    x = penalty.prox(v, STRENGTH)

    def objective(z):
        return (z - v).square().sum(dim=(1, 2)) / 2 + STRENGTH * penalty.value(z)

    for seed in range(5):
        assert (objective(x + 0.05 * _coef(seed)) >= objective(x)).all()


def test_fenchel_young(penalty):
    coef, dual = penalty.feasible(_coef(3), _coef(3)), _coef(4, size=3.0)
    dual = dual * penalty.dual_scale(dual)[:, None, None]
    gap = penalty.value(coef) + penalty.conjugate(dual) - (coef * dual).sum(dim=(1, 2))
    assert gap.isfinite().all()
    assert (gap >= -1e-13).all()


def test_fenchel_young_is_tight_at_a_subgradient(penalty):
    v = _coef(2, size=2.0)
    x = penalty.prox(v, torch.ones(2, dtype=torch.float64))
    dual = v - x
    dual = dual * penalty.dual_scale(dual)[:, None, None]
    gap = penalty.value(x) + penalty.conjugate(dual) - (x * dual).sum(dim=(1, 2))
    torch.testing.assert_close(gap, torch.zeros_like(gap), rtol=0, atol=1e-13)


def test_dual_scale_reaches_the_boundary(penalty):
    dual = _coef(4, size=3.0)
    scale = penalty.dual_scale(dual)
    assert ((scale >= 0) & (scale <= 1)).all()
    if penalty.conjugate(dual).isinf().any():
        beyond = dual * (1.01 * scale)[:, None, None]
        assert penalty.conjugate(beyond).isinf().all()


def test_a_dual_point_of_the_domain_is_left_as_it_is(penalty):
    dual = _coef(4, size=3.0)
    inside = dual * (0.5 * penalty.dual_scale(dual))[:, None, None]
    assert penalty.dual_scale(inside).tolist() == [1.0, 1.0]
    assert penalty.conjugate(inside).isfinite().all()


def test_a_group_counts_the_features_that_are_penalised():
    """``sqrt(|g|)`` is of those; one without penalty, or left out, is not in the norm's size."""
    groups, coef = torch.tensor([0, 0, 0, 1, 1]), _coef()
    factor = torch.tensor([2.0, 0.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    first = 2**0.5 * (2 * coef[:, :, 0]).square().add(coef[:, :, 2].square()).sum(dim=1).sqrt()
    second = 2**0.5 * coef[:, :, 3:].square().sum(dim=(1, 2)).sqrt()
    torch.testing.assert_close(GroupL2(groups, factor).value(coef), first + second)
    excluded = factor.clone()
    excluded[1] = torch.inf
    finite, _ = GroupL2(groups, excluded).without_excluded()
    coef[..., 1] = 0.0
    torch.testing.assert_close(finite.value(coef), first + second)


@pytest.mark.parametrize("factor", [None, torch.tensor([1.0, 2.0, 3.0]).double()])
def test_groups_are_said_by_feature_or_by_list(factor):
    device = torch.device("cpu")
    by_list = GroupL2([[0, 2], [1]]).of_features(3, factor, device)
    by_feature = GroupL2([7, 3, 7]).of_features(3, factor, device)
    coef = _coef()[..., :3]
    one = torch.ones(3).double() if factor is None else factor
    first = 2**0.5 * (coef * one)[..., [0, 2]].square().sum(dim=(1, 2)).sqrt()
    expected = first + (coef * one)[..., 1].square().sum(dim=1).sqrt()
    torch.testing.assert_close(by_list.value(coef), expected)
    torch.testing.assert_close(by_feature.value(coef), expected)
    for wrong, text in (([[0, 2]], "none of the groups"), ([[0, 1], [1, 2]], "overlap")):
        with pytest.raises(ParameterError, match=text):
            GroupL2(wrong).of_features(3, factor, device)


def test_coercive_is_what_holds_every_feature(penalty):
    """One without a penalty, and without two bounds, is not held."""
    factor = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    if isinstance(penalty, Box):
        changed = replace(penalty, penalty=replace(penalty.penalty, factor=factor))
    else:
        changed = replace(penalty, factor=factor)
    strength = torch.tensor([0.0, 1.0], dtype=torch.float64)
    assert penalty.coercive(strength).tolist() == [False, True]
    assert changed.coercive(strength).tolist() == [False, False]


def test_units(penalty):
    """In units of v = w * scale the value stays that of w."""
    scale = torch.tensor([1e-3, 0.5, 1.0, 2.0, 1e4], dtype=torch.float64)
    coef = _coef()
    torch.testing.assert_close(penalty.in_units(scale).value(coef * scale), penalty.value(coef))
    twice = penalty.in_units(scale).in_units(scale)
    torch.testing.assert_close(twice.value(coef * scale * scale), penalty.value(coef))


def test_excluded_features(penalty):
    same, none = penalty.without_excluded()
    assert same is penalty
    assert none is None
    factor = torch.tensor([1.0, torch.inf, 2.0, 1.0, torch.inf], dtype=torch.float64)
    if isinstance(penalty, Box):
        changed = replace(penalty, penalty=replace(penalty.penalty, factor=factor))
    else:
        changed = replace(penalty, factor=factor)
    finite, excluded = changed.without_excluded()
    assert excluded.tolist() == [False, True, False, False, True]
    finite = finite.penalty if isinstance(penalty, Box) else finite
    assert finite.factor.tolist() == [1.0, 1.0, 2.0, 1.0, 1.0]


def test_recession(penalty):
    """Coefficients that go to infinity at no cost are those along which the penalty stays 0."""
    factor = torch.tensor([1.0, 0.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    if isinstance(penalty, Box):
        changed = replace(penalty, penalty=replace(penalty.penalty, factor=factor))
    else:
        changed = replace(penalty, factor=factor)
    allowed = changed.prox(0 * _coef()[:, :1], torch.zeros(2, dtype=torch.float64))
    strength = torch.tensor([0.0, 1.0], dtype=torch.float64)
    for sign, free in zip((-1, 1), changed.recession(_coef(), strength), strict=True):
        for j in range(5):
            far = allowed.clone()
            far[..., j] = sign * 1e6
            value = changed.value(far) - changed.value(allowed)
            costs = torch.where(value.isinf(), value, strength * value)
            assert free[:, 0, j].tolist() == (costs == 0).tolist()


def test_columns(penalty):
    """The penalty of some features is that of all where the others' coefficients cost nothing."""
    coef, columns = _coef(), torch.tensor([0, 3])
    scaled = penalty.in_units(torch.tensor([1e-3, 0.5, 1.0, 2.0, 1e4], dtype=torch.float64))
    for whole in (penalty, scaled):
        center = getattr(whole, "center", None)
        alone = torch.zeros_like(coef) if center is None else center.expand_as(coef).clone()
        alone[..., columns] = coef[..., columns]
        of_some = whole.of_columns(columns).value(coef[..., columns])
        torch.testing.assert_close(of_some, whole.value(alone))


@pytest.mark.parametrize("name", ["lasso", "elastic-net"])
def test_entry_strength_is_where_the_first_coefficient_enters(name):
    penalty = PENALTIES[name]
    gradient, zero = _coef(3), torch.zeros(2, 3, 5, dtype=torch.float64)
    entry = penalty.entry_strength(gradient)
    assert (penalty.subgradient_distance(zero, gradient, 1.0001 * entry) == 0).all()
    below = penalty.subgradient_distance(zero, gradient, 0.9999 * entry)
    assert (below > 0).sum(dim=(1, 2)).tolist() == [1, 1]


# with a ridge beside a lasso or bounds the minimiser is the solver's: there is no choice
@pytest.mark.parametrize("name", ["l2", "l2-factor", "lasso", "group"])
def test_balanced_coefficients_cost_the_least(name):
    """Of all that differ by a constant for all classes; the differences of classes are kept."""
    penalty, coef = PENALTIES[name], _coef(7)
    found = penalty.balanced(coef, STRENGTH)
    torch.testing.assert_close(found - found[:, :1], coef - coef[:, :1])
    torch.testing.assert_close(penalty.balanced(found, STRENGTH), found)
    cost = penalty.value(found)
    assert (cost <= penalty.value(coef) + 1e-14).all()
    for constant in (-0.3, -0.01, 0.01, 0.3):
        moved = found + constant
        as_cheap = penalty.value(moved) <= cost + 1e-14
        assert (moved.square().sum(dim=(1, 2)) >= found.square().sum(dim=(1, 2)))[as_cheap].all()


def test_balanced_coefficients_of_four_classes():
    """The lasso's constant lies between the middle two: as near to the mean as it can."""
    coef = torch.tensor([[-1.0, -1.0, 0.0], [0.2, 0.0, 0.0], [0.6, 0.1, 0.0], [9.0, 1.0, 2.0]])
    coef, strength = coef.double()[None], torch.ones(1).double()
    found = ElasticNet(1.0).balanced(coef, strength)
    constant = torch.tensor([-0.6, -0.025, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found - coef, constant.expand_as(coef))
    assert (found[0, 2, 0], found[0, 0, 2]) == (0, 0)
    free = ElasticNet(1.0).balanced(coef, 0 * strength)
    torch.testing.assert_close(free, coef - coef.mean(dim=1, keepdim=True))
    bounds = (torch.full((3,), end, dtype=torch.float64) for end in (-1.2, 9.0))
    held = Box(ElasticNet(1.0), *bounds).balanced(coef, strength)
    assert held[0, 0, 0] == -1.2
    torch.testing.assert_close(held[..., 1:], found[..., 1:])


@pytest.mark.parametrize("bound", [torch.inf, 1.0])
@pytest.mark.parametrize("n_classes", [3, 4])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_no_constant_for_all_classes_lowers_an_elastic_net(l1_ratio, n_classes, bound):
    generator = torch.Generator().manual_seed(3)
    coef = torch.randn(2, n_classes, 5, generator=generator, dtype=torch.float64)
    coef = coef.clamp(-bound, bound)
    coef[:, 0, :2] = 0.0
    strength, factor = torch.tensor([1e-14, 3.0], dtype=torch.float64), torch.logspace(-1, 1, 5)
    penalty = ElasticNet(l1_ratio, factor.to(torch.float64))
    if bound < torch.inf:
        penalty = Box(penalty, torch.full((5,), -bound), torch.full((5,), bound))
    found = penalty.balanced(coef, strength)
    torch.testing.assert_close(found - found[:, :1], coef - coef[:, :1], rtol=0, atol=1e-15)
    least = penalty.value(found)
    assert (least < penalty.value(coef)).all()
    for move in (1e-6, 1e-3, 0.1, -1e-6, -1e-3, -0.1):
        for j in range(5):
            other = found.clone()
            other[..., j] += move
            assert (penalty.value(other) >= least - 1e-15 * least).all()
