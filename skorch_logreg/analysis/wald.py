"""Wald tests of linear hypotheses."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from skorch_logreg.analysis.normal import NormalEstimates
from skorch_logreg.analysis.table import check_single_outcome
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import index_of

_OPERATORS = ("+", "-", "*")
_TOKEN = re.compile(r"`[^`]*`|\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+|[^\W\d][\w.]*|\S")


@dataclass(frozen=True, repr=False)
class WaldTest(NormalEstimates):
    """Result of `wald_test`: estimates of each hypothesis, and the test of all together.

    Attributes
    ----------
    names : tuple of str
        Hypotheses, each an equation.
    difference, standard_error, z, p_value : ndarray of shape (n_hypotheses,)
        Left side minus right side of each equation, its standard error, their ratio and its
        two-sided p-value.
    interval : ndarray of shape (n_hypotheses, 2)
        Lower and upper confidence limits of the difference.
    covariance : ndarray of shape (n_hypotheses, n_hypotheses)
        Covariance matrix of the differences.
    level : float
        Confidence level of the intervals.
    statistic : float
        ``d' V^-1 d`` of the differences ``d`` and their covariance ``V``.
    df : int
        Number of hypotheses.
    joint_p_value : float
        Tail probability of `statistic` under the chi-squared distribution with `df` degrees of
        freedom.
    """

    names: tuple[str, ...]
    difference: np.ndarray
    covariance: np.ndarray
    level: float
    statistic: float
    convergence_message: str | None = None
    _head = "difference"

    @property
    def df(self) -> int:
        """Number of hypotheses."""
        return len(self.names)

    @property
    def joint_p_value(self) -> float:
        """P-value of all hypotheses together."""
        return float(stats.chi2.sf(self.statistic, self.df))

    def _notes(self) -> list[str]:
        joint = f"all together: chi2 {self.statistic:.4g}, df {self.df}, p {self.joint_p_value:.4g}"
        return [joint, *super()._notes()]


def wald_test(result: Any, hypotheses: str) -> WaldTest:
    """Test linear hypotheses of coefficients, one by one and all together.

    Parameters
    ----------
    result : Inference or MarginalEffects
        Result of `summary` or `marginal_effects`, whose covariance is used.
    hypotheses : str
        Equations, separated by commas, such as ``"x1 = x2, 2 * x3 - x4 = 1"``; a side without an
        equation is tested to be zero. A name that is not an identifier is quoted by backticks:
        ``"`mean radius` = 0"``.

    Returns
    -------
    test : WaldTest
        A row for each equation, and the joint test.

    Raises
    ------
    ParameterError
        If the hypotheses cannot be read, name a coefficient that is unknown or has the name of
        another, have no variance, or follow from each other.

    References
    ----------
    Wald (1943). Tests of statistical hypotheses concerning several parameters when the number of
    observations is large, Transactions of the American Mathematical Society 54.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from skorch_logreg import TorchLogisticClassifier, summary, wald_test
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier(C=float("inf")).fit(X[:, :3], y)
    >>> wald_test(summary(model, X[:, :3], y), "x1 = 0, x0 + x2 = 3")
                 difference     std err           z           p       lower       upper
    x1 = 0          -0.2427     0.04545      -5.342   9.215e-08     -0.3318     -0.1537
    x0 + x2 = 3       1.958      0.8424       2.325     0.02009      0.3072       3.609
    all together: chi2 29.74, df 2, p 3.478e-07
    intervals of 95%
    """
    check_single_outcome(result=result)
    equations = [
        (left, right)
        for part in _split(_TOKEN.findall(hypotheses), ",")
        for left, right in pairwise([*_split(part, "="), *([["0"]] if "=" not in part else [])])
    ]
    names = list(result.names)
    rows = np.array([_side(left, names) - _side(right, names) for left, right in equations])
    matrix, constant = rows[:, :-1], rows[:, -1]
    covariance = matrix @ result.covariance @ matrix.T
    scale = np.sqrt(np.diag(covariance))
    if not scale.all() or np.linalg.matrix_rank(covariance / np.outer(scale, scale)) < len(scale):
        raise ParameterError(
            f"hypotheses={hypotheses!r}: some are empty or follow from others, or name "
            "only columns that are constant."
        )
    difference = matrix @ result.estimate + constant
    return WaldTest(
        names=tuple(f"{_text(left)} = {_text(right)}" for left, right in equations),
        difference=difference,
        covariance=covariance,
        level=result.level,
        statistic=float(difference @ np.linalg.solve(covariance, difference)),
        convergence_message=result.convergence_message,
    )


def _split(tokens: Sequence[str], separator: str) -> list[list[str]]:
    """Return the tokens between separators."""
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == separator:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _side(tokens: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """Return the factors (n_params + 1,) of the names in an expression; the constant is last."""
    if not tokens:
        raise ParameterError("hypotheses: an equation has an empty side.")
    found, factor, place, before = np.zeros(len(names) + 1), 1.0, -1, "+"
    for token in tokens:
        is_number, is_sign = token[0].isdigit() or token[0] == ".", token in ("+", "-")
        is_name, is_open = token[0] == "`" or token[0].isidentifier(), before in _OPERATORS
        # a name may follow its factor without a sign of multiplication
        is_factor = is_open or (is_name and before[0] in ".0123456789")
        if is_sign and not is_open:
            found[place] += factor
            factor, place = 1.0, -1
        if is_sign:
            factor *= -1.0 if token == "-" else 1.0
        elif is_number and is_factor:
            factor *= float(token)
        elif is_name and is_factor and place == -1:
            place = index_of(token.strip("`"), names, "A name of hypotheses")
        elif token != "*" or is_open:
            raise _unreadable(token, tokens)
        before = token
    if before in _OPERATORS:
        raise _unreadable(before, tokens)
    found[place] += factor
    return found


def _unreadable(token: str, tokens: Sequence[str]) -> ParameterError:
    return ParameterError(
        f"hypotheses: {token!r} in {_text(tokens)!r} cannot be read; expected numbers and "
        "names with +, - and *, and names that are no identifiers in backticks."
    )


def _text(tokens: Sequence[str]) -> str:
    return " ".join(tokens)
