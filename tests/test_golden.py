"""Published coefficients and other programs' answers, on data that statsmodels ships.

No figure here was made by this package. Each names its source; statsmodels itself, which fits by
its own Newton method, is a second judge.
"""

from pathlib import Path

import numpy as np
import pytest

from skorch_logreg import TorchLogisticClassifier

sm = pytest.importorskip("statsmodels.api", reason="the data and the second judge are its own")

UNPENALISED = {"C": np.inf, "tol": 1e-10}


def published(values, digits):
    """Compare to half a unit of the last digit printed, and a little for its rounding."""
    return pytest.approx(np.asarray(values), rel=0, abs=0.51 * 10.0**-digits)


def both(successes, failures, X):
    """Rows, labels and weights of grouped data."""
    n = len(X)
    return np.r_[X, X], np.repeat([1, 0], n), np.r_[successes, failures]


# ---------------------------------------------------------------- Spector and Mazzeo (1980)


@pytest.fixture(scope="module")
def spector():
    data = sm.datasets.spector.load_pandas()
    return data.exog[["GPA", "TUCE", "PSI"]], data.endog


def test_spector_greene(spector):
    """Greene, Econometric Analysis (5th ed. 2003, table 21.1; 7th ed. 2012, table 17.1), logit."""
    model = TorchLogisticClassifier(**UNPENALISED).fit(*spector)
    assert model.coef_[0] == published([2.826, 0.095, 2.379], 3)
    assert model.intercept_ == published([-13.021], 3)


def test_spector_stata(spector):
    """Stata 11, `glm grade gpa tuce psi, family(binomial)`, and its log-likelihood.

    From statsmodels, discrete/tests/results/results_glm_logit_constrained.py; Stata stops at a
    relative change of 1e-6.
    """
    X, y = spector
    model = TorchLogisticClassifier(**UNPENALISED).fit(X, y)
    stata = [2.8261124216999, 0.09515765001172, 2.3786875040587]
    np.testing.assert_allclose(model.coef_[0], stata, rtol=2e-7)
    np.testing.assert_allclose(model.intercept_, [-13.021345912635], rtol=2e-7)
    p = model.predict_proba(X)
    log_likelihood = np.log(p[np.arange(len(y)), y.astype(int)]).sum()
    assert log_likelihood == pytest.approx(-12.889634222131, rel=1e-12)


# ---------------------------------------------------------------- Fair (1978), Redbook survey


def test_fair_statsmodels_documentation():
    """The example "Discrete Choice Models" of statsmodels' documentation, to its four digits."""
    data = sm.datasets.fair.load_pandas().data
    table = {
        "occupation": 0.1602, "educ": -0.0392, "occupation_husb": 0.0124,
        "rate_marriage": -0.7161, "age": -0.0605, "yrs_married": 0.1100, "children": -0.0042,
        "religious": -0.3752,
    }  # fmt: skip
    model = TorchLogisticClassifier(**UNPENALISED).fit(data[list(table)], data.affairs > 0)
    assert model.coef_[0] == published(list(table.values()), 4)
    assert model.intercept_ == published([3.7257], 4)
    assert list(model.feature_names_in_) == list(table)


# ---------------------------------------------------------------- star98: grouped binomial


def test_star98_successes_and_trials():
    """R's `glm(cbind(NABOVE, NBELOW) ~ ., family = binomial)`; Gill (2000), chapter 5.

    Coefficients, log-likelihood and deviance from statsmodels,
    genmod/tests/results/results_glm.py. Columns range from 1e-1 to 1e7.
    """
    data = sm.datasets.star98.load_pandas()
    X, counts = data.exog.to_numpy(), data.endog.to_numpy()
    r = [
        -0.0168150366, 0.0099254766, -0.0187242148, -0.0142385609, 0.2544871730, 0.2406936644,
        0.0804086739, -1.9521605027, -0.3340864748, -0.1690221685, 0.0049167021, -0.0035799644,
        -0.0140765648, -0.0040049918, -0.0039063958, 0.0917143006, 0.0489898381, 0.0080407389,
        0.0002220095, -0.0022492486,
    ]  # fmt: skip
    model = TorchLogisticClassifier(**UNPENALISED).fit(*both(counts[:, 0], counts[:, 1], X))
    # tol=1e-10 leaves up to 1e-10 sqrt(2 F) = 5e-8 standard errors
    np.testing.assert_allclose(model.coef_[0], r, rtol=2e-7)
    np.testing.assert_allclose(model.intercept_, [2.9588779262], rtol=2e-7)
    rows, y, weight = both(counts[:, 0], counts[:, 1], X)
    p = model.predict_proba(rows)[np.arange(len(y)), y]
    share = np.r_[counts[:, 0], counts[:, 1]] / np.tile(counts.sum(axis=1), 2)
    deviance = 2 * (weight * np.log(share / p))[weight > 0].sum()
    assert deviance == pytest.approx(4078.76541772, abs=1e-8)


# ---------------------------------------------------------------- anes96: seven classes


@pytest.fixture(scope="module")
def anes():
    data = sm.datasets.anes96.load_pandas()
    return data.exog[["logpopul", "selfLR", "age", "educ", "income"]], data.endog


def test_anes96_stata(anes):
    """Stata 11's `mlogit`, checked against R's nnet.

    From statsmodels, discrete/tests/results/results_discrete.py. Their first class is the
    origin, ours is the mean of the classes.
    """
    stata = [
        [-0.01153598, 0.29771435, -0.024945, 0.08249144, 0.00519655, -0.37340167],
        [-0.08875065, 0.39166864, -0.02289784, 0.18104276, 0.04787398, -2.2509132],
        [-0.1059667, 0.57345051, -0.01485121, -0.00715242, 0.05757516, -3.6655835],
        [-0.0915567, 1.2787718, -0.00868135, 0.19982796, 0.08449838, -7.6138431],
        [-0.0932846, 1.3469616, -0.01790407, 0.21693885, 0.08095841, -7.0604782],
        [-0.14088069, 2.0700801, -0.00943265, 0.3219257, 0.10889408, -12.105751],
    ]
    X, y = anes
    model = TorchLogisticClassifier(**UNPENALISED).fit(X, y)
    parameters = np.c_[model.coef_, model.intercept_]
    np.testing.assert_allclose((parameters - parameters[0])[1:], stata, rtol=1e-6, atol=1e-8)
    p = model.predict_proba(X)[np.arange(len(y)), y.astype(int)]
    # Stata stops 4e-11 short of the maximum
    assert np.log(p).sum() == pytest.approx(-1461.922747312, rel=1e-10)


# ---------------------------------------------------------------- 2 x 2 tables: closed forms


def test_china_smoking_log_odds_ratios():
    """Liu (1992): with one feature of two values the estimate is log(ad / bc), exactly."""
    data = sm.datasets.china_smoking.load_pandas().data
    for a, b, c, d in data.to_numpy(dtype=float):
        X, y, weight = both([a, c], [b, d], np.array([[1.0], [0.0]]))
        model = TorchLogisticClassifier(**UNPENALISED).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(model.coef_, [[np.log(a * d / (b * c))]], rtol=1e-9)
        np.testing.assert_allclose(model.intercept_, [np.log(c / d)], rtol=1e-9)


# ---------------------------------------------------------------- glmnet


GLMNET = [  # alpha, lambda, coefficients
    (0, 6.618737, [0.004032037, 0.01433665, 0.01265635, 0.006173346, 0.01067706]),
    (0, 1.029661, [0.02180239, 0.07769613, 0.06756466, 0.03156418, 0.05851878]),
    (0, 0.1601819, [0.07111087, 0.2544921, 0.2110318, 0.08577924, 0.1984383]),
    (0.5, 0.05343991, [0.004990061, 0.2838563, 0.2167881, 0.02370156, 0.2096612]),
    (0.5, 0.02313286, [0.0708914, 0.3791042, 0.2938332, 0.07506391, 0.2982251]),
    (0.5, 0.009124078, [0.106681, 0.4327268, 0.3362166, 0.1019452, 0.3479955]),
    (1, 0.02932512, [0, 0.3085764, 0.2300801, 0.01143652, 0.2291531]),
    (1, 0.01269414, [0.07022348, 0.396642, 0.3044255, 0.07151663, 0.31301]),
    (1, 0.005494992, [0.1049623, 0.4385186, 0.3391729, 0.09907393, 0.3527401]),
]


@pytest.mark.parametrize(("alpha", "strength", "coef"), GLMNET)
def test_glmnet(alpha, strength, coef):
    """R's glmnet, binomial, without intercept.

    Figures and data from statsmodels, genmod/tests/results (glmnet_r_results.py,
    enet_binomial.csv); its elastic_net.R takes the first row for a header and divides by R's sd.
    glmnet minimises the mean loss, so C = 1 / (n lambda). It stops at a change of 1e-7 in the
    deviance and updates an approximate Hessian, hence 2e-3.
    """
    import statsmodels

    path = Path(statsmodels.__file__).parent / "genmod/tests/results/enet_binomial.csv"
    if not path.exists():
        pytest.skip("this build of statsmodels comes without its tests' data")
    data = np.loadtxt(path, delimiter=",")[1:]
    y, X = data[:, 0], data[:, 1:]
    X = (X - X.mean(axis=0)) / X.std(axis=0, ddof=1)
    model = TorchLogisticClassifier(
        C=1 / (len(y) * strength), l1_ratio=alpha, fit_intercept=False, tol=1e-8
    ).fit(X, y)
    np.testing.assert_allclose(model.coef_[0], coef, rtol=2e-3, atol=1e-4)


# ---------------------------------------------------------------- statsmodels, fitted here


def test_logit_of_statsmodels(spector):
    X, y = spector
    theirs = sm.Logit(y, sm.add_constant(X)).fit(disp=0, tol=1e-14, maxiter=100)
    model = TorchLogisticClassifier(**UNPENALISED).fit(X, y)
    expected = theirs.params.to_numpy()
    np.testing.assert_allclose(model.coef_[0], expected[1:], rtol=1e-8)
    np.testing.assert_allclose(model.intercept_, expected[:1], rtol=1e-8)
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], theirs.predict(), rtol=1e-8)


def test_mnlogit_of_statsmodels(anes):
    X, y = anes
    theirs = sm.MNLogit(y, sm.add_constant(X)).fit(disp=0, tol=1e-14, maxiter=100)
    model = TorchLogisticClassifier(**UNPENALISED).fit(X, y)
    parameters = np.c_[model.intercept_, model.coef_]
    expected = theirs.params.to_numpy().T
    np.testing.assert_allclose((parameters - parameters[0])[1:], expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict(), rtol=1e-7)


def test_weighted_glm_of_statsmodels():
    """Uneven frequency weights, on the affairs."""
    data = sm.datasets.fair.load_pandas().data
    X, y = data[["rate_marriage", "age", "educ"]], (data.affairs > 0).astype(float)
    weight = np.random.default_rng(0).integers(0, 4, size=len(y))
    theirs = sm.GLM(y, sm.add_constant(X), family=sm.families.Binomial(), freq_weights=weight).fit(
        tol=1e-14
    )
    model = TorchLogisticClassifier(**UNPENALISED).fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(model.coef_[0], theirs.params.to_numpy()[1:], rtol=1e-8)
    np.testing.assert_allclose(model.intercept_, theirs.params.to_numpy()[:1], rtol=1e-8)


@pytest.mark.parametrize("strength", [0.5, 2.0, 8.0])
def test_l1_logit_of_statsmodels(spector, strength):
    """Its interior method minimises minus the log-likelihood plus alpha |w|: alpha = 1 / C."""
    X, y = spector
    alpha = np.array([0, strength, strength, strength])
    theirs = sm.Logit(y, sm.add_constant(X)).fit_regularized(
        alpha=alpha, disp=0, acc=1e-12, maxiter=5000, trim_mode="off"
    )
    model = TorchLogisticClassifier(C=1 / strength, l1_ratio=1.0, tol=1e-8).fit(X, y)
    expected = theirs.params.to_numpy()
    np.testing.assert_allclose(model.coef_[0], expected[1:], atol=1e-4)
    np.testing.assert_allclose(model.intercept_, expected[:1], rtol=1e-4, atol=1e-4)
