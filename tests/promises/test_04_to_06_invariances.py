"""Promises 4 to 6: weights are repetitions, order does not matter, units do not matter."""

from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import ArrayChunks
from tests import problems
from tests.promises.models import (
    PENALTIES,
    assert_same,
    assert_same_model,
    fit,
    parameters,
    tight,
)
from tests.reference import Task, minimise, suboptimality

few = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
seeds = st.integers(0, 2**32 - 1)
penalties = st.sampled_from(sorted(PENALTIES))
forms = st.sampled_from([np.array, sp.csr_array, sp.csc_array])


def draw(seed, n_classes):
    """A small overlapping problem; every class keeps enough rows to have a minimum."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(90, 4))
    X[rng.random(X.shape) < 0.3] = 0
    scores = X @ rng.normal(size=(4, n_classes)) + 2 * rng.gumbel(size=(90, n_classes))
    y = scores.argmax(axis=1)
    y[: 6 * n_classes] = np.arange(6 * n_classes) % n_classes
    return rng, X, y


# ---------------------------------------------------------------- 4


@few
@given(seed=seeds, n_classes=st.sampled_from([2, 3]), penalty=penalties, form=forms)
def test_4_integer_weights_are_repeated_rows(seed, n_classes, penalty, form):
    rng, X, y = draw(seed, n_classes)
    weight = rng.integers(1, 4, size=len(y))
    options = PENALTIES[penalty]
    repeated = tight(form(np.repeat(X, weight, axis=0)), np.repeat(y, weight), **options)
    assert_same_model(tight(form(X), y, weight, **options), repeated)


@few
@given(seed=seeds, n_classes=st.sampled_from([2, 3]), penalty=penalties, form=forms)
def test_4_weight_zero_is_removal(seed, n_classes, penalty, form):
    """A fold mask times uneven weights."""
    rng, X, y = draw(seed, n_classes)
    weight = rng.uniform(0.5, 2, size=len(y)) * (rng.random(len(y)) < 0.8)
    weight[:n_classes] = 1
    keep = weight > 0
    options = PENALTIES[penalty]
    removed = tight(form(X[keep]), y[keep], weight[keep], **options)
    assert_same_model(tight(form(X), y, weight, **options), removed)


@few
@given(
    seed=seeds,
    n_classes=st.sampled_from([2, 3]),
    penalty=st.sampled_from(["l2", "l1", "elastic net"]),
    exponent=st.floats(-6, 6),
)
def test_4_a_common_factor_is_a_factor_on_C(seed, n_classes, penalty, exponent):
    rng, X, y = draw(seed, n_classes)
    weight = rng.uniform(0.5, 2, size=len(y))
    factor = 10**exponent
    options = {"C": 1.0} | PENALTIES[penalty]
    by_weight = tight(X, y, factor * weight, **options | {"C": options["C"] / factor})
    assert_same_model(by_weight, tight(X, y, weight, **options))


@pytest.mark.parametrize("exponent", [-12, -3, 3, 12])
def test_4_without_penalty_the_size_of_the_weights_does_not_matter(exponent):
    _, X, y = draw(0, 2)
    weighted = tight(X, y, np.full(len(y), 10.0**exponent), C=np.inf)
    assert_same_model(weighted, tight(X, y, C=np.inf))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_4_a_scalar_weighs_every_row(n_classes):
    _, X, y = draw(1, n_classes)
    assert_same_model(tight(X, y, 2.0), tight(X, y, C=2.0))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_4_class_weights_are_sample_weights(n_classes):
    _, X, y = draw(2, n_classes)
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.1, 3, size=len(y))
    share = np.bincount(y, weights=weight)
    by_hand = weight * (weight.sum() / (n_classes * share))[y]
    assert_same_model(tight(X, y, weight, class_weight="balanced"), tight(X, y, by_hand))
    table = {0: 0.3, 1: 2.0}
    by_hand = weight * np.array([0.3, 2.0, 1.0])[y]
    assert_same_model(tight(X, y, weight, class_weight=table), tight(X, y, by_hand))


@pytest.mark.parametrize("penalty", PENALTIES)
def test_4_successes_and_trials(penalty):
    """Grouped data as two weighted rows a group equal the rows one by one."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(20, 2))
    trials = rng.integers(2, 9, size=20)
    successes = rng.binomial(trials, 1 / (1 + np.exp(-X[:, 0])))
    options = PENALTIES[penalty]
    grouped = tight(
        np.r_[X, X], np.repeat([1, 0], 20), np.r_[successes, trials - successes], **options
    )
    each = np.repeat(np.arange(20), trials)
    y = np.concatenate([np.arange(t) < s for s, t in zip(successes, trials, strict=True)])
    assert_same_model(grouped, tight(X[each], y, **options))


# ---------------------------------------------------------------- 5


@few
@given(seed=seeds, n_classes=st.sampled_from([2, 3]), penalty=penalties, form=forms)
def test_5_rows_and_columns_in_any_order(seed, n_classes, penalty, form):
    rng, X, y = draw(seed, n_classes)
    weight = rng.uniform(0.5, 2, size=len(y))
    rows, columns = rng.permutation(len(y)), rng.permutation(4)
    options = PENALTIES[penalty]
    expected = parameters(tight(form(X), y, weight, **options))
    shuffled = tight(form(X[rows][:, columns]), y[rows], weight[rows], **options)
    assert_same(parameters(shuffled), expected[:, [*columns, 4]], 1e-8)


@few
@given(seed=seeds, penalty=penalties, form=forms)
def test_5_classes_in_any_order(seed, penalty, form):
    # an odd number: with an even one, L1 leaves a column's common shift open
    rng, X, y = draw(seed, 5)
    order = rng.permutation(5)
    expected = tight(form(X), y, **PENALTIES[penalty])
    renamed = tight(form(X), order[y], **PENALTIES[penalty])
    assert_same(parameters(renamed)[order], parameters(expected), 1e-8)
    assert_same(renamed.predict_proba(form(X))[:, order], expected.predict_proba(form(X)), 1e-8)


@few
@given(seed=seeds, penalty=penalties, form=forms)
def test_5_two_classes_swapped_change_the_sign(seed, penalty, form):
    _, X, y = draw(seed, 2)
    expected = tight(form(X), y, **PENALTIES[penalty])
    swapped = tight(form(X), 1 - y, **PENALTIES[penalty])
    assert_same(parameters(swapped), -parameters(expected), 1e-8)


@few
@given(seed=seeds, n_classes=st.sampled_from([2, 3]), penalty=penalties)
def test_5_signs_of_columns(seed, n_classes, penalty):
    rng, X, y = draw(seed, n_classes)
    sign = rng.choice([-1.0, 1.0], size=4)
    expected = parameters(tight(X, y, **PENALTIES[penalty]))
    assert_same(parameters(tight(X * sign, y, **PENALTIES[penalty])), expected * [*sign, 1], 1e-8)


# ---------------------------------------------------------------- 6


@few
@given(
    seed=seeds,
    n_classes=st.sampled_from([2, 3]),
    exponents=st.lists(st.floats(-8, 8), min_size=4, max_size=4),
    form=forms,
)
def test_6_without_penalty_units_cancel(seed, n_classes, exponents, form):
    """A column times u gives its coefficient divided by u, and the same probabilities."""
    _, X, y = draw(seed, n_classes)
    unit = 10.0 ** np.array(exponents)
    expected = tight(form(X), y, C=np.inf)
    scaled = tight(form(X * unit), y, C=np.inf)
    assert_same(parameters(scaled) * [*unit, 1], parameters(expected), 1e-8)
    assert_same(scaled.predict_proba(form(X * unit)), expected.predict_proba(form(X)), 1e-8)


@few
@given(
    seed=seeds,
    n_classes=st.sampled_from([2, 3]),
    penalty=st.sampled_from(["l2", "l1", "elastic net"]),
    exponents=st.lists(st.floats(-4, 4), min_size=4, max_size=4),
)
def test_6_a_strength_is_a_unit(seed, n_classes, penalty, exponents):
    """Strengths that undo a change of units: squared where the penalty is, plain for L1."""
    _, X, y = draw(seed, n_classes)
    unit = 10.0 ** np.array(exponents)
    if penalty == "elastic net":
        penalty, unit = "l1", np.clip(unit, 0.1, 10)
    power = 2 if penalty == "l2" else 1
    expected = tight(X, y, **PENALTIES[penalty])
    scaled = tight(X * unit, y, penalty_factor=unit**power, **PENALTIES[penalty])
    assert_same(parameters(scaled) * [*unit, 1], parameters(expected), 1e-8)


@few
@given(seed=seeds, n_classes=st.sampled_from([2, 3]), penalty=penalties, shift=st.floats(-1e3, 1e3))
def test_6_an_intercept_takes_up_a_shift(seed, n_classes, penalty, shift):
    """The origin of a column is as arbitrary as its unit; a shift of 1e3 costs 1e-13 of X."""
    _, X, y = draw(seed, n_classes)
    expected = tight(X, y, **PENALTIES[penalty])
    shifted = tight(X + shift, y, **PENALTIES[penalty])
    assert_same(shifted.coef_, expected.coef_, 1e-7)
    assert_same(shifted.predict_proba(X + shift), expected.predict_proba(X), 1e-7)


ILL_SCALED = [
    "scales", "scales_three_classes", "scales_sparse", "mean_1e6", "mean_1e6_three_classes",
]  # fmt: skip


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", ILL_SCALED)
def test_6_ill_scaled_data_need_no_warning_at_defaults(name, penalty):
    """Warnings are errors here: it converges, and to the minimum."""
    model = fit(problems.load(name), **PENALTIES[penalty])
    assert model.converged_
    if name == "scales_three_classes" and penalty in ("l1", "elastic net"):
        return  # where the reference's coordinate descent crawls
    task, minimum = problems.solved(name, **PENALTIES[penalty])
    # b is of the order of 1e6, so its rounding alone costs up to 1e-13
    assert -1e-12 <= suboptimality(task, model.coef_, model.intercept_, minimum) <= 1e-7


HELD = {
    "dense": np.array,
    "csr": sp.csr_array,
    "csc": sp.csc_array,
    "chunks": lambda X: ArrayChunks(X, rows=700),
    "sparse chunks": lambda X: ArrayChunks(sp.csr_array(X), rows=700),
}
WEIGHTS = {
    "even": lambda rng, y: np.ones(len(y)),
    "class": lambda rng, y: np.where(y == 1, 1e5, 1.0),
    "fold": lambda rng, y: (rng.random(len(y)) < 0.8).astype(float),
    "log-uniform": lambda rng, y: 10 ** rng.uniform(-4, 4, len(y)),
}


@cache
def near_zero(penalty, weight):
    """Multiples of 1/64, of which a mean of 1e8 takes no digit, and their coefficients."""
    rng = np.random.default_rng(0)
    Z = (rng.normal(size=(2000, 34)) * 64).round() / 64
    Z[:, ::3] = rng.random((2000, 12)) < 0.1
    y = ((Z[:, :8] @ rng.normal(size=(8, 2))) / 2 + rng.gumbel(size=(2000, 2))).argmax(axis=1)
    w = WEIGHTS[weight](rng, y)
    model, task = tight(Z, y, w, **PENALTIES[penalty]), Task(Z, y, w, **PENALTIES[penalty])
    assert suboptimality(task, model.coef_, model.intercept_, minimise(task)) <= 1e-12
    return Z, y, w, model.coef_


@pytest.mark.parametrize("held", HELD)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("mean", [1e6, 1e8])
def test_6_means_far_from_zero(mean, penalty, weight, held):
    """Warnings are errors: it converges, for any weights; rows of weight 0 are anywhere."""
    Z, y, w, coef = near_zero(penalty, weight)
    rng = np.random.default_rng(1)
    X = Z + mean * (np.arange(34) % 2)
    X[w == 0] *= rng.random((int((w == 0).sum()), 34)) < 0.5
    X = HELD[held](X)
    assert TorchLogisticClassifier(**PENALTIES[penalty]).fit(X, y, w).converged_
    model = tight(X, y, w, tol=1e-8, **PENALTIES[penalty])
    assert_same(model.coef_, coef, 1e-6)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.csc_array])
def test_6_a_far_column_is_not_constant(form):
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(400, 2))
    y = (Z[:, 0] + rng.logistic(size=400) > 0) * 1
    near, far = tight(Z[:, :1], y), tight(form(1e8 + Z[:, :1]), y)
    assert_same(far.coef_, near.coef_, 1e-7)
    rare = (rng.random(400) < 0.1) & (y == 0)
    options = {"class_weight": {0: 1.0, 1: 1e5}}
    near, far = (tight(form(m + 1.0 * rare[:, None]), y, **options) for m in (0.0, 1e6))
    assert near.coef_[0, 0] < -10
    assert_same(far.coef_, near.coef_, 1e-7)


@pytest.mark.parametrize("held", HELD)
def test_6_a_column_of_equal_entries_is_constant(held):
    """In the rows that count; an intercept then does what it would do."""
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(2000, 2)), np.full(2000, 1e8 + 0.1)]
    y = (X[:, 0] + rng.logistic(size=2000) > 0) * 1
    weight = rng.uniform(0.5, 2, size=2000)
    weight[:5] = 0.0
    X[:5, 2] = [0, 1, 1e8, 0, -3]
    model = tight(HELD[held](X), y, weight)
    assert model.coef_[0, 2] == 0
    assert_same(model.coef_[:, :2], tight(X[:, :2], y, weight).coef_, 1e-8)
    X[7, 2] = np.nextafter(X[8, 2], np.inf)
    assert tight(HELD[held](X), y, weight).coef_[0, 2] != 0


def test_6_float32_with_a_mean():
    """float32 keeps three digits of a deviation of 1 around 1e4: converges without a warning."""
    case = problems.load("binary")
    X = (case.X + 1e4).astype(np.float32)
    model = TorchLogisticClassifier().fit(X, case.y)
    exact = TorchLogisticClassifier(tol=1e-8).fit(X.astype(np.float64), case.y)
    assert_same(model.coef_, exact.coef_, 1e-3)
