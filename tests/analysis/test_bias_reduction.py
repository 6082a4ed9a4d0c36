"""Test Firth's estimates against closed forms and published figures, and on separable data."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import optimize, stats

from skorch_logreg import firth, separation
from skorch_logreg.analysis.jeffreys import JeffreysLikelihood
from skorch_logreg.exceptions import ParameterError
from tests.analysis.exact_profile import deviance

# Heinze and Schemper's study of urinary tract infections: case, age, oc, vic, vicl, vis, dia, and
# how often; and what logistf 1.24 prints of it (its manual)
SEX2 = {
    "0000010": 1, "0001000": 2, "0001010": 1, "0001100": 8, "0001110": 18, "0010000": 42,
    "0010010": 1, "0011000": 1, "0011100": 5, "0011110": 6, "0101100": 2, "0101110": 4,
    "0110000": 14, "0110010": 1, "0111000": 1, "0111110": 2, "1000010": 1, "1001000": 14,
    "1001010": 3, "1001100": 10, "1001110": 12, "1001111": 1, "1010000": 44, "1010001": 3,
    "1011000": 15, "1011001": 1, "1011010": 2, "1011100": 7, "1011110": 3, "1101000": 2,
    "1101010": 1, "1101011": 1, "1101100": 1, "1101111": 1, "1110000": 5, "1111000": 3,
}  # fmt: skip
LOGISTF = np.array(
    [
        [-1.10598131, 0.4236601, -1.9737884, -0.30742520, 7.50773092],
        [-0.06881673, 0.4437934, -0.9414360, 0.78920202, 0.02467044],
        [2.26887464, 0.5484160, 1.2730216, 3.43543273, 22.93139022],
        [-2.11140817, 0.5430823, -3.2608611, -1.11773495, 19.10407252],
        [-0.78831695, 0.4173676, -1.6080879, 0.01518468, 3.69740975],
        [3.09601166, 1.6750084, 0.7745682, 8.03029352, 7.89693139],
        [0.12025405, 0.4855415, -0.8185591, 1.07315122, 0.06286298],
    ]
)


def sex2():
    rows = np.array([[float(digit) for digit in row] for row in SEX2])
    return rows[:, 1:], rows[:, 0], np.array(list(SEX2.values()), dtype=float)


def test_published_figures():
    X, y, weight = sex2()
    found = firth(X, y, sample_weight=weight)
    columns = found.coef, found.standard_error, *found.interval.T, found.statistic
    np.testing.assert_allclose(np.column_stack(columns), LOGISTF, rtol=2e-5, atol=2e-6)
    assert found.log_likelihood == pytest.approx(-132.5394, abs=1e-4)


@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
def test_weights_are_repetitions(wrap):
    X, y, weight = sex2()
    again = np.repeat(np.arange(len(y)), weight.astype(int))
    found, expected = firth(wrap(X), y, sample_weight=weight), firth(X[again], y[again])
    np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-8)
    np.testing.assert_allclose(found.interval, expected.interval, rtol=1e-6)


@pytest.mark.parametrize("cells", [(10, 5, 0, 8), (3, 4, 5, 6), (0, 7, 9, 0)])
def test_a_table_gets_half_a_row_in_every_cell(cells):
    found = firth([[0], [0], [1], [1]], [0, 1, 0, 1], sample_weight=cells, intervals="wald")
    a, b, c, d = np.array(cells) + 0.5
    np.testing.assert_allclose(found.coef, [np.log(a * d / (b * c)), np.log(b / a)], rtol=1e-8)


def test_it_maximises_the_penalised_likelihood():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3)) * [1, 100, 0.01] + [0, 1000, 5]
    y = (X[:, 0] > 0).astype(int)  # separable
    found = firth(X, y)
    Z = np.column_stack([(X - X.mean(0)) / X.std(0), np.ones(40)])

    def loss(theta):
        z = Z @ theta
        p = 1 / (1 + np.exp(-z))
        information = (Z * (p * (1 - p))[:, None]).T @ Z
        return np.logaddexp(0, np.where(y, -z, z)).sum() - 0.5 * np.linalg.slogdet(information)[1]

    best = optimize.minimize(loss, np.zeros(4), method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found.coef[:3] * X.std(0), best.x[:3], rtol=1e-4)
    assert np.isfinite(found.standard_error).all()
    assert found.interval[0, 0] > 0


def separable(seed, n, p):
    """Rows on two sides of a plane, and their penalised loss."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)).round(1)
    y = (X.sum(axis=1) > 0).astype(int)
    Z = np.column_stack([X, np.ones(n)])

    def loss(theta):
        z = Z @ theta
        p = 1 / (1 + np.exp(-np.clip(z, -500, 500)))
        information = (Z * (p * (1 - p))[:, None]).T @ Z
        log_det = np.linalg.slogdet(information)[1]
        return np.logaddexp(0, np.where(y, -z, z)).sum() - 0.5 * max(log_det, -1e3)

    return rng, X, y, loss


def test_a_profile_goes_on_where_a_step_ends_at_another_maximum():
    """A long step beyond the end finds a lower maximum, and no end comes before it."""
    rng, X, y, loss = separable(235, 20, 3)
    found = firth(X, y)
    for place, pair in enumerate(found.interval):
        for end in pair:
            starts = np.delete(found.coef, place) * [[1.0], [end / found.coef[place]]]

            def held(others, place=place, end=end):
                return loss(np.insert(others, place, end))

            starts = np.vstack([starts, rng.normal(size=(6, 3)) * 5])
            lost = min(optimize.minimize(held, start).fun for start in starts)
            lost = 2 * (lost + found.log_likelihood)
            assert lost == pytest.approx(stats.chi2.ppf(0.95, 1), abs=1e-3)


@pytest.mark.parametrize("seed", [95, 298, 1224])
def test_the_highest_of_several_maxima(seed):
    """From zero one reaches a lower maximum."""
    rng, X, y, loss = separable(seed, 12, 2)
    starts = rng.normal(size=(20, 3)) * 5
    best = min((optimize.minimize(loss, start) for start in starts), key=lambda end: end.fun)
    found = firth(X, y)
    assert found.log_likelihood == pytest.approx(-best.fun, abs=1e-6)
    np.testing.assert_allclose(found.coef, best.x, rtol=1e-3)
    assert firth(X, y, intervals="wald").log_likelihood < found.log_likelihood - 0.1


@pytest.mark.parametrize("mean", [100.0, 1e6])
def test_published_figures_off_centre(mean):
    X, y, weight = sex2()
    found = firth(X + mean, y, sample_weight=weight)
    columns = found.coef, found.standard_error, *found.interval.T, found.statistic
    np.testing.assert_allclose(np.column_stack(columns)[:-1], LOGISTF[:-1], rtol=2e-5, atol=2e-6)
    assert found.log_likelihood == pytest.approx(-132.5394, abs=1e-4)


@pytest.mark.parametrize(("mean", "seeds"), [(40.0, range(20)), (100.0, range(5)), (1e6, range(5))])
def test_means_and_units_do_not_matter(mean, seeds):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(30, 3)), rng.integers(0, 2, 30)
        scale = np.array([1.0, 1e6, 1e-6])
        expected, found = firth(X, y), firth((X + mean) * scale, y)
        for name in ("coef", "standard_error", "interval"):
            slopes = getattr(found, name)[:-1].T * scale
            np.testing.assert_allclose(slopes, getattr(expected, name)[:-1].T, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(found.p_value[:-1], expected.p_value[:-1], rtol=1e-6)


@pytest.mark.parametrize("mean", [0.0, 100.0])
@pytest.mark.parametrize("cells", [[(3, 9), (6, 2), (5, 5)], [(0, 9), (7, 0), (1, 0)]])
def test_profile_of_a_saturated_model(cells, mean):
    """There the determinant is the product of n p (1 - p): half a row more in every cell."""
    X = np.repeat([[0.0, 0], [1, 0], [0, 1]], 2, axis=0) + mean
    y, weight = np.tile([1, 0], 3), np.ravel(cells).astype(float)
    found = firth(X, y, sample_weight=weight)
    rows = np.column_stack([X, np.ones(6)])
    quantile = stats.chi2.ppf(0.95, 1)
    for place in range(3):
        for end in found.interval[place]:
            assert deviance(rows, y, weight + 0.5, place, end) == pytest.approx(quantile, rel=2e-6)
        lost = deviance(rows, y, weight + 0.5, place, 0.0)
        assert found.statistic[place] == pytest.approx(lost, rel=1e-6)
    np.testing.assert_allclose(found.p_value, stats.chi2.sf(found.statistic, 1))


@pytest.mark.parametrize("seed", range(3))
def test_newton_has_the_second_derivatives_of_the_penalised_likelihood(seed):
    """Against differences of the score, which is itself the difference of the value."""
    rng = np.random.default_rng(seed)
    X, weight = rng.normal(size=(25, 3)) + 7, rng.uniform(0.5, 3, 25)
    names = ("x0", "x1", "x2", "intercept")
    found = JeffreysLikelihood.from_data(X, rng.random(25) < 0.5, weight, names, True)
    theta, near = rng.normal(size=4), 1e-5 * np.eye(4)
    score = [(found.value(theta + d) - found.value(theta - d)) / 2e-5 for d in near]
    np.testing.assert_allclose(found.score(theta), score, rtol=1e-6, atol=1e-7)
    hessian = [(found.score(theta + d) - found.score(theta - d)) / 2e-5 for d in near]
    factor = found.hessian_cholesky(theta, np.eye(4))
    np.testing.assert_allclose(factor.T @ factor, -np.array(hessian), rtol=1e-5, atol=1e-7)


def test_refused():
    with pytest.raises(ParameterError, match="3 classes"):
        firth([[0], [1], [2]], [0, 1, 2])
    with pytest.raises(ParameterError, match="intervals='exact'"):
        firth([[0], [1]], [0, 1], intervals="exact")
    with pytest.raises(ValueError, match="collinear"):
        firth([[0, 0], [1, 2], [0.5, 1]], [0, 1, 1])


TABLES = {
    "overlap": ([[0.0], [1], [2], [3]], [0, 1, 0, 1], False, False, {}),
    "complete": ([[0.0], [1], [2], [3]], [0, 0, 1, 1], True, True, {"x0": 1.0, "intercept": -1.0}),
    "quasi": ([[0.0, 1], [0, 2], [0, 3], [1, 2]], [0, 1, 0, 1], True, False, {"x0": 1.0}),
    "a rare column": ([[0.0, 1], [1, 0], [0, 3], [0, 0]], [0, 0, 1, 1], True, None, None),
}


@pytest.mark.parametrize("wrap", [np.array, lambda X: sp.csr_array(np.array(X))])
@pytest.mark.parametrize("name", TABLES)
def test_separation(name, wrap):
    X, y, separated, complete, direction = TABLES[name]
    found = separation(wrap(X), y)
    assert found.is_separated is separated
    if complete is not None:
        assert found.is_complete is complete
    if direction is not None:
        assert found.direction == direction


def test_separation_is_of_all_rows_or_of_none():
    """Where the likelihood has a finite maximum, and where Newton's steps have no end."""
    rng = np.random.default_rng(0)
    for n in (8, 12, 16, 24):
        X, y = rng.normal(size=(n, 4)), rng.random(n) < 0.5
        if len(set(y)) < 2:
            continue
        Z = np.column_stack([X, np.ones(n)]) * np.where(y, 1, -1)[:, None]
        margin = optimize.linprog(
            np.append(np.zeros(5), -1.0), np.column_stack([-Z, np.ones(n)]), np.zeros(n),
            bounds=[(-1, 1)] * 6,
        )  # fmt: skip
        assert separation(X, y).is_complete == (margin.x[-1] > 1e-9)
