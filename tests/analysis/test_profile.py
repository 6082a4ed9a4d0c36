"""Test profile intervals against a reference implementation with 100 digits."""

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy import stats
from sklearn.linear_model import LogisticRegression

from skorch_logreg import TorchLogisticClassifier, profile_intervals
from skorch_logreg.analysis import likelihood, profile
from skorch_logreg.analysis.fitted_model import FittedModel
from skorch_logreg.exceptions import ParameterError
from tests.analysis.exact_profile import deviance

QUANTILE = stats.chi2.ppf(0.95, 1)


def draw(seed, n=24, p=2):
    random = np.random.default_rng(seed)
    Z = random.normal(size=(n, p))
    y = (Z[:, 0] + random.logistic(size=n) > 0).astype(int)
    return random, Z, y


def a_year():
    _, Z, y = draw(0)
    return 2000 + 5 * Z, y, np.ones(len(y)), True


def far_away():
    _, Z, y = draw(1)
    return 1e6 + Z, y, np.ones(len(y)), True


def without_intercept():
    _, Z, y = draw(2)
    return 3 + Z, y, np.ones(len(y)), False


def one_column_without_intercept():
    _, Z, y = draw(2, p=1)
    return Z, y, np.ones(len(y)), False


def weighted():
    random, Z, y = draw(3)
    return 50 + Z, y, random.choice([0.0, 0.3, 1.0, 7.0], len(y)), True


def binary_columns():
    random, _, _ = draw(4)
    X = random.integers(0, 2, (30, 2))
    return X, (X.sum(axis=1) + 2 * random.logistic(size=30) > 1).astype(int), np.ones(30), True


def units():
    _, Z, y = draw(5, p=3)
    return Z * [1e8, 1e-8, 1.0] + [0, 1, -30], y, np.ones(len(y)), True


def heavy_tails():
    random, _, _ = draw(6)
    X = random.standard_cauchy((30, 2))
    return X, (X[:, 0] + random.logistic(size=30) > 0).astype(int), np.ones(30), True


def nearly_separable(gap, p=2):
    """Two rows of the classes lie in each other's half, by a gap."""
    x = np.linspace(-1, 1, 20)
    y = (x > 0).astype(int)
    x[9], x[10] = gap / 2, -gap / 2
    return np.column_stack([x, np.cos(40 * x)])[:, :p], y, np.ones(20), True


def rare_weight():
    """The columns differ only in rows with a probability near 1: nearly collinear in weight."""
    random, Z, _ = draw(8, n=30, p=1)
    y = (Z[:, 0] + random.logistic(size=30) > 0).astype(int)
    rare = np.arange(30) < 4
    y[:4], weight = [0, 1, 1, 1], np.ones(30)
    weight[:4] = [1e-9, 300, 300, 300]
    return np.column_stack([Z[:, 0] + rare, Z[:, 0]]), y, weight, True


CASES = {
    **{
        make.__name__: make
        for make in (
            a_year, far_away, without_intercept, one_column_without_intercept, weighted,
            binary_columns, units, heavy_tails, rare_weight,
        )
    },
    "gap of 0.1": lambda: nearly_separable(0.1),
    "gap of 0.01": lambda: nearly_separable(0.01),
    "gap of 1e-6": lambda: nearly_separable(1e-6, p=1),
}  # fmt: skip


def free(X, y, weight, fit_intercept=True):
    model = TorchLogisticClassifier(C=np.inf, fit_intercept=fit_intercept, max_iter=1000)
    return model.fit(X, y, weight)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", CASES)
def test_the_deviance_at_each_end_is_the_quantile(name):
    X, y, weight, fit_intercept = CASES[name]()
    model = free(X, y, weight, fit_intercept)
    ends = profile_intervals(model, X, y, sample_weight=weight).interval
    rows = np.column_stack([X, np.ones(len(X))]) if fit_intercept else X
    assert ends.shape == (rows.shape[1], 2)
    for place, pair in enumerate(ends):
        assert pair[0] < pair[1]
        for end in pair:
            assert deviance(rows, y, weight, place, end) == pytest.approx(QUANTILE, rel=2e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(60))
def test_random_problems(seed):
    random, Z, _ = draw(seed, n=10 + seed % 20, p=1 + seed % 3)
    signal = Z @ random.normal(size=Z.shape[1]) * random.choice([0, 1, 5, 30])
    y = (signal + random.choice([1.0, 0.1]) * random.logistic(size=len(Z)) > 0).astype(int)
    X = Z * 10 ** random.uniform(-4, 4, Z.shape[1])
    X += random.choice([0, 1, -50, 1e4, 1e6]) * X.std(axis=0)
    if len(set(y)) < 2:
        pytest.skip("one class")
    one = np.ones(len(y))
    model = free(X, y, one)
    try:
        ends = profile_intervals(model, X, y).interval
    except ValueError as error:
        assert "separa" in str(error)  # noqa: PT017
        return
    rows = np.column_stack([X, one])
    for place, pair in enumerate(ends):
        for end in pair:
            assert deviance(rows, y, one, place, end) == pytest.approx(QUANTILE, rel=2e-6)


@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
def test_an_intercept_that_is_far_from_the_rows(wrap):
    """Published with the fault: the upper end was -449.19."""
    random = np.random.default_rng(0)
    Z = random.normal(size=(400, 1))
    y = (Z[:, 0] + random.logistic(size=400) > 0).astype(int)
    X = wrap(2000 + 5 * Z)
    ends = profile_intervals(free(X, y, None), X, y).interval
    assert ends[1, 1] == pytest.approx(-395.6525, abs=1e-3)


@pytest.mark.parametrize("mean", [0.0, 2000.0, 1e6])
def test_means_and_units_do_not_matter(mean):
    _, Z, y = draw(7, n=60)
    expected = profile_intervals(free(Z, y, None), Z, y).interval
    X = (Z + mean) * [1e8, 1e-3]
    found = profile_intervals(free(X, y, None), X, y).interval
    np.testing.assert_allclose(
        found[:-1] * np.array([[1e8], [1e-3]]), expected[:-1], rtol=1e-6, atol=1e-8
    )


SEPARATED = {
    "complete": (np.arange(6.0)[:, None], [0, 0, 0, 1, 1, 1], "completely separable"),
    "quasi": (
        np.column_stack([np.r_[np.zeros(20), np.ones(5)], np.tile([0.0, 1, 2, 3, 5], 5)]),
        [*np.tile([0, 1, 1, 0], 5), *np.ones(5, int)],
        "x0 separate the classes",
    ),
    "collinear": (
        np.column_stack([np.arange(6.0), 2 * np.arange(6.0) + 1]),
        [0, 1, 0, 1, 0, 1],
        r"collinear or constant: x0, x1\. Leave one out",
    ),
    "constant": (
        np.column_stack([np.arange(6.0), np.full(6, 0.1)]),
        [0, 1, 0, 1, 0, 1],
        r"constant: x1\.",
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SEPARATED)
def test_where_the_likelihood_has_no_maximum_there_are_no_intervals(name):
    X, y, message = SEPARATED[name]
    model = free(X, y, None)
    with pytest.raises(ValueError, match=message):
        profile_intervals(model, X, y)


@pytest.mark.parametrize("mixed", [False, True])
def test_the_columns_that_separate_have_names(mixed):
    """A classifier that does not say whether it converged; rows in a frame."""
    X, y, _ = SEPARATED["quasi"]
    X = pd.DataFrame(X, columns=["rare", "dose"])
    if mixed:  # no column separates by itself
        X["rare"] += X["dose"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = LogisticRegression(C=np.inf, max_iter=1000).fit(X, y)
    with pytest.raises(ValueError, match="^rare(, dose)? separate the classes"):
        profile_intervals(model, X, y)


def test_rows_of_weight_zero_do_not_count():
    """The classes overlap only in a row that does not count."""
    X, y = np.arange(6.0)[:, None], np.array([0, 0, 1, 0, 1, 1])
    weight = np.array([1.0, 1, 0, 1, 1, 1])
    with pytest.warns(UserWarning, match="separa"):
        model = free(X, y, weight)
    with pytest.raises(ValueError, match="completely separable"):
        profile_intervals(model, X, y, sample_weight=weight)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_columns_that_are_collinear_have_names(fit_intercept):
    """The medians of x0 and x1 do not differ by the median of x3, so that x3 needs the constant."""
    rng = np.random.default_rng(0)
    X, y = rng.exponential(size=(30, 3)), rng.random(30) < 0.5
    X = np.column_stack([X, X[:, 0] - X[:, 1]])
    names = ["x0", "x1", "x2", "x3", "intercept"]
    with pytest.raises(ValueError, match=r"collinear or constant: x0, x1, x3\. Leave one out"):
        likelihood.Likelihood.from_data(X, y, np.ones(30), names, fit_intercept)


def test_a_column_that_is_constant_where_rows_count():
    X, y, _, _ = a_year()
    X, weight = np.column_stack([X, np.arange(len(y)) == 3]), np.arange(len(y)) != 3
    model = free(X, y, weight.astype(float))
    with pytest.raises(ValueError, match=r"collinear or constant: x2\."):
        profile_intervals(model, X, y, sample_weight=weight.astype(float))


@pytest.mark.parametrize(
    ("budget", "match"),
    [
        ({"max_points": 2}, r"profile of x0 was not reached: the deviance is .* 3\.84146"),
        ({"max_steps": 1}, "profile of x0 was not reached: .* not converged after 1 steps"),
    ],
)
def test_an_end_that_was_not_reached_is_not_returned(budget, match):
    """An inner maximisation that stops early shows in the deviance."""
    X, y, weight, _ = a_year()
    fit = FittedModel.from_estimator(free(X, y, weight), X, y)
    rows = likelihood.Likelihood.from_data(X, y == 1, weight, fit.names, True)
    with pytest.raises(ValueError, match=match):
        profile.intervals(fit, rows, np.zeros(3), 0.95, **budget)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, float("nan")])
def test_level(level):
    X, y, weight, _ = a_year()
    with pytest.raises(ParameterError, match="level="):
        profile_intervals(free(X, y, weight), X, y, level=level)


def test_maximise_says_that_there_is_no_maximum():
    X = np.arange(6.0)[:, None]
    separable = likelihood.Likelihood.from_data(
        X, X[:, 0] > 2.5, np.ones(6), ("x0", "intercept"), True
    )
    with pytest.raises(likelihood.NoMaximumError):
        likelihood.maximise(separable, np.zeros(2), np.eye(2))


def test_a_maximum_that_is_none_is_found_out():
    X, y, weight, _ = a_year()
    rows = likelihood.Likelihood.from_data(X, y == 1, weight, ("x0", "x1", "intercept"), True)
    best = likelihood.maximise(rows, np.zeros(3), np.eye(3))
    with pytest.raises(ValueError, match="second maximum"):
        profile.Profile(rows, best + [20.0, 0, 0], rows.covariance(best), 0).interval(1.96)
