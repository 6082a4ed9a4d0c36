"""Wald tests of linear hypotheses, against statsmodels."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from skorch_logreg import TorchLogisticClassifier, marginal_effects, summary, wald_test
from skorch_logreg.exceptions import ParameterError

NAMES = ["age", "mean radius", "dose.x", "x4"]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 4)), columns=NAMES)
    y = (X.to_numpy() @ [1.0, 0.8, 0.0, -0.5] + rng.logistic(size=300) > 0.3).astype(int)
    return X, y


@pytest.fixture(scope="module")
def table(rows):
    return summary(TorchLogisticClassifier(C=np.inf, tol=1e-9).fit(*rows), *rows)


@pytest.mark.parametrize(
    ("text", "matrix", "constant"),
    [
        ("age = `mean radius`", [[1, -1, 0, 0, 0]], [0]),
        ("age", [[1, 0, 0, 0, 0]], [0]),
        ("`mean radius`, dose.x = 0", [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0]], [0, 0]),
        ("2*age - 0.5 x4 = 3", [[2, 0, 0, -0.5, 0]], [3]),
        ("-age + 1e-1 * dose.x = x4 - 2 + intercept", [[-1, 0, 0.1, -1, -1]], [-2]),
        ("age = `mean radius` = 2 * x4", [[1, -1, 0, 0, 0], [0, 1, 0, -2, 0]], [0, 0]),
        ("3 * 2 age = .5", [[6, 0, 0, 0, 0]], [0.5]),
        ("age = 2 * -1", [[1, 0, 0, 0, 0]], [-2]),
        ("age - -x4 = - -1", [[1, 0, 0, 1, 0]], [1]),
        ("2 * -age + 3 = 1", [[-2, 0, 0, 0, 0]], [-2]),
        ("age * 2 - x4", [[2, 0, 0, -1, 0]], [0]),
    ],
)
def test_equal_to_statsmodels(rows, table, text, matrix, constant):
    X, y = rows
    fitted = sm.Logit(y, np.c_[X, np.ones(len(X))]).fit(disp=0, method="newton", tol=1e-12)
    alone = fitted.t_test((np.array(matrix, float), constant))
    joint = fitted.wald_test((np.array(matrix, float), constant), scalar=True, use_f=False)
    found = wald_test(table, text)
    np.testing.assert_allclose(found.difference, alone.effect - constant, rtol=1e-6)
    np.testing.assert_allclose(found.standard_error, alone.sd.ravel(), rtol=1e-6)
    np.testing.assert_allclose(found.p_value, alone.pvalue, rtol=1e-5)
    np.testing.assert_allclose(found.interval, alone.conf_int() - np.c_[constant], rtol=1e-5)
    np.testing.assert_allclose(found.statistic, joint.statistic, rtol=1e-6)
    np.testing.assert_allclose(found.joint_p_value, joint.pvalue, rtol=1e-5)
    assert found.df == len(matrix)


def test_its_table(table):
    found = wald_test(table, "age = `mean radius`, x4")
    assert found.names == ("age = `mean radius`", "x4 = 0")
    assert "all together: chi2" in str(found)
    assert list(found.to_frame().columns) == ["difference", "std err", "z", "p", "lower", "upper"]


def test_the_covariance_of_the_table_counts(rows):
    X, y = rows
    model = TorchLogisticClassifier(C=np.inf, tol=1e-9).fit(X, y)
    table = summary(model, X, y, covariance="sandwich")
    variance = np.array([1, -1, 0, 0, 0]) @ table.covariance @ [1, -1, 0, 0, 0]
    found = wald_test(table, "age = `mean radius`")
    np.testing.assert_allclose(found.standard_error, variance**0.5)
    effects = marginal_effects(model, X, y)
    found = wald_test(effects, "age = `mean radius`")
    np.testing.assert_allclose(found.difference, effects.effect[0] - effects.effect[1])


def test_three_classes(rows):
    X, y = rows
    y = y + (X["age"] > 1)
    table = summary(TorchLogisticClassifier(C=np.inf).fit(X, y), X, y)
    found = wald_test(table, "`1: age` = `2: age`")
    place = [table.names.index(f"{k}: age") for k in (1, 2)]
    np.testing.assert_allclose(found.difference, np.subtract(*table.coef[place]))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("weight = 0", "A name of hypotheses is 'weight'; it must be one of 'age'"),
        ("age / x4 = 1", "'/' in 'age / x4' cannot be read; expected numbers and names"),
        ("* age", r"'\*' in '\* age' cannot be read"),
        ("age x4", "'x4' in 'age x4' cannot be read"),
        ("age 2 = 0", "'2' in 'age 2' cannot be read"),
        ("age * x4", r"'x4' in 'age \* x4' cannot be read"),
        ("2 3 age", "'3' in '2 3 age' cannot be read"),
        ("2 * = age", r"'\*' in '2 \*' cannot be read"),
        ("age - = 1", "'-' in 'age -' cannot be read"),
        ("age = ", "an equation has an empty side"),
        ("age, ", "an equation has an empty side"),
        ("age = x4, x4 = age", "some are empty or follow from others"),
        ("age = age", "some are empty or follow from others"),
    ],
)
def test_what_is_refused(table, text, reason):
    with pytest.raises(ParameterError, match=reason):
        wald_test(table, text)


def test_a_name_of_two_coefficients_is_refused(rows):
    X, y = rows
    X = X.rename(columns={"age": "intercept"})
    table = summary(TorchLogisticClassifier(C=np.inf).fit(X, y), X, y)
    with pytest.raises(ParameterError, match="is 'intercept', which is the name of 2 of them"):
        wald_test(table, "intercept = 0")
