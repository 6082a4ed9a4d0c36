"""Firth's bias-reduced logistic regression, which is finite on separable data."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy import stats

from skorch_logreg.analysis.firth_table import FirthFit, FirthOutcomes
from skorch_logreg.analysis.jeffreys import JeffreysLikelihood
from skorch_logreg.analysis.jeffreys_batch import JeffreysBatch
from skorch_logreg.analysis.likelihood import HigherMaximumError, Likelihood, NoMaximumError
from skorch_logreg.analysis.normal import check_level, normal_interval, normal_quantile
from skorch_logreg.analysis.profile import Profile, maximum_profiles
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting.batch import models_at_once
from skorch_logreg.inputs import indicator
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.inputs.torch_context import with_default_modes
from skorch_logreg.inputs.validate import validate
from skorch_logreg.pipelines import parameter_names, to_dense_numpy

_FIGURES = ("coef", "standard_error", "interval", "statistic", "p_value", "log_likelihood")


def _fit_profiles(
    likelihood: Likelihood, level: float, intervals: str, theta: np.ndarray | None = None
) -> tuple[list[Profile], np.ndarray, np.ndarray]:
    """Maximise from theta, by default zero; return profiles, limits (n, 2) and statistics (n,).

    A profile that reaches a higher maximum restarts the maximisation from there.
    """
    theta = np.zeros(likelihood.Z.shape[1]) if theta is None else theta
    quantile = normal_quantile(level)
    while True:  # usually once, or twice for few rows that are separable
        profiles = maximum_profiles(likelihood, theta)
        if intervals == "wald":
            coef, error = np.array([(profile.estimate, profile.error) for profile in profiles]).T
            return profiles, normal_interval(coef, error, level), (coef / error) ** 2
        try:
            limits = np.array([profile.interval(quantile) for profile in profiles])
            statistic = np.array([profile.deviance_at(0.0) for profile in profiles])
        except HigherMaximumError as higher:
            theta = higher.theta
        else:
            return profiles, limits, statistic


def _fit_one(
    likelihood: Likelihood, level: float, intervals: str, theta: np.ndarray | None = None
) -> tuple[Any, ...]:
    """Return the `_FIGURES` of the fit that is reached from theta, by default zero."""
    try:
        profiles, interval, statistic = _fit_profiles(likelihood, level, intervals, theta)
    except NoMaximumError as failure:
        raise ValueError(f"The penalised likelihood was not maximised: {failure}") from failure
    coef, error = np.array([(profile.estimate, profile.error) for profile in profiles]).T
    value = profiles[0].value - float(np.linalg.slogdet(likelihood.to_coef)[1])
    return coef, error, interval, statistic, stats.chi2.sf(statistic, 1), value


def _fit_outcomes(
    likelihood_of: Callable[[np.ndarray, np.ndarray], JeffreysLikelihood],
    labels: indicator.Indicator,
    weight: np.ndarray,
    level: float,
    intervals: str,
) -> dict[str, Any]:
    """Return the `_FIGURES` of all outcomes and the messages of those that cannot be fitted.

    Outcomes are maximised together from zero; profiles, and the last steps of outcomes with few
    events, are computed one by one.
    """
    n_outcomes, messages = labels.n_labels, {}
    shared = likelihood_of(weight < 0, weight)
    Z, side = torch.from_numpy(shared.Z), shared.Z.shape[1]
    shapes = (side,), (side,), (side, 2), (side,), (side,), ()
    found = [np.full((n_outcomes, *shape), np.nan) for shape in shapes]
    at_once = models_at_once(len(Z), side, 1)
    for part in np.array_split(np.arange(n_outcomes), -(-n_outcomes // at_once)):
        targets, known = labels.columns(part, torch.device("cpu"))
        each = torch.from_numpy(weight)[:, None]
        each = each if known is None else each * known
        kept = torch.from_numpy(weight > 0)
        batch = JeffreysBatch(Z, 1.0 - 2.0 * targets[kept], each[kept])
        theta, inverse, value = (array.numpy() for array in batch.maximise())
        error = np.sqrt(np.einsum("kp,mpq,kq->mk", shared.to_coef, inverse, shared.to_coef))
        coef = theta @ shared.to_coef.T
        statistic = (coef / error) ** 2
        value = value - float(np.linalg.slogdet(shared.to_coef)[1])
        together = coef, error, normal_interval(coef, error, level), statistic
        figures = list(zip(*together, stats.chi2.sf(statistic, 1), value, strict=True))
        for place, outcome in enumerate(part.tolist()):
            own, is_second = each[:, place % each.shape[1]].numpy(), targets[:, place].numpy() == 1
            is_known = slice(None) if known is None else known[:, place].numpy()
            n_classes = len(np.unique(is_second[is_known]))
            result = figures[place]
            try:
                if n_classes < 2:
                    raise ParameterError(f"y holds {n_classes} classes; firth is for two.")
                if intervals == "profile" or np.isnan(value[place]):
                    likelihood = likelihood_of(is_second, own)
                    start = np.linalg.solve(likelihood.to_coef, coef[place])
                    result = _fit_one(likelihood, level, intervals, start)
            except ValueError as failure:
                messages[outcome] = str(failure)
            else:
                for array, figure in zip(found, result, strict=True):
                    array[outcome] = figure
    return dict(zip(_FIGURES, found, strict=True)) | {"messages": messages}


@with_default_modes
def firth(
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    fit_intercept: bool = True,
    level: float = 0.95,
    intervals: str = "profile",
) -> Any:
    """Fit a binary logistic regression by likelihood penalised with Jeffreys' prior.

    The fit maximises ``log L + log det(I) / 2``, which removes the first-order bias of the
    estimates and is finite on separable data.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training rows; a sparse matrix is converted to dense.
    y : array-like of shape (n_samples,) or {array-like, sparse matrix} of shape \
            (n_samples, n_outcomes)
        Labels of two classes; coefficients refer to the second one. Or an indicator of several
        outcomes, with nan where an outcome is not known.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Frequency weights: the number of times every row counts.
    fit_intercept : bool, default=True
        Whether to fit an intercept.
    level : float, default=0.95
        Confidence level of the intervals.
    intervals : {"profile", "wald"}, default="profile"
        Method for the intervals and tests. Wald intervals are not reliable where the likelihood
        is not symmetric, as on separable data.

    Returns
    -------
    fit : FirthFit or FirthOutcomes
        Estimates, standard errors, intervals and tests; of all outcomes for an indicator.

    Raises
    ------
    ParameterError
        If there are not two classes, or a parameter is not allowed.
    ValueError
        If columns are collinear, or the maximum or an end of an interval was not reached. An
        outcome of an indicator gets nan instead, and a message.

    Notes
    -----
    The penalty depends on the rows, so it is not available as ``penalty=`` of an estimator. The
    fit takes some Newton steps of ``O(n p^3)`` operations, and a profile takes as many for every
    confidence limit.

    Several outcomes are maximised together. Profiles take most of the time, and are computed one
    outcome after the other: with thousands of outcomes choose "wald", and the profile for a few.

    On separable rows the penalised likelihood may have several maxima. Maximisation starts from
    zero and restarts from a higher maximum that a profile reaches (except with "wald", which has
    none). The profiles may have several maxima as well: a confidence limit belongs to the one
    that is reached from the estimate, as in logistf, and a limit of another maximum may be
    farther away.

    References
    ----------
    Firth (1993). Bias reduction of maximum likelihood estimates, Biometrika 80, section 3.3.
    Heinze, Schemper (2002). A solution to the problem of separation in logistic regression,
    Statistics in Medicine 21.

    Examples
    --------
    For a two-by-two table the estimate is the odds ratio of its cells, each increased by 0.5:

    >>> import numpy as np
    >>> from skorch_logreg import firth
    >>> fit = firth([[0], [0], [1], [1]], [0, 1, 0, 1], sample_weight=[10, 5, 0, 8])
    >>> float(np.exp(fit.coef[0]).round(9)), round(8.5 * 10.5 / (0.5 * 5.5), 9)
    (32.454545455, 32.454545455)

    Several outcomes, one of them separable:

    >>> outcomes = firth([[0], [1], [2], [3]], [[0, 0], [1, 0], [0, 1], [1, 1]], intervals="wald")
    >>> outcomes.coef[:, 0].round(2)
    array([0.51, 1.31])
    """
    if intervals not in ("profile", "wald"):
        raise ParameterError(f"intervals={intervals!r}; expected 'profile' or 'wald'.")
    check_level(level)
    X, is_many = to_numpy(X), np.ndim(y) == 2 and np.shape(y)[1] > 1
    inputs = validate(X, y, sample_weight, encodes=not is_many)
    dense = to_dense_numpy(inputs.X).astype(np.float64, copy=False)
    names = parameter_names(None, dense.shape[1], inputs.names)[: dense.shape[1] + fit_intercept]
    weight = np.ones(len(dense)) if inputs.weight is None else inputs.weight.numpy()
    likelihood_of = partial(
        JeffreysLikelihood.from_data, dense, names=names, fit_intercept=fit_intercept
    )
    if is_many:
        labels = indicator.read(inputs.y, None, dense)
        outcomes = np.arange(labels.n_labels) if labels.names is None else labels.names
        found = _fit_outcomes(likelihood_of, labels, weight, level, intervals)
        messages = {outcomes[outcome]: text for outcome, text in found.pop("messages").items()}
        return FirthOutcomes(outcomes, names, **found, level=level, messages=messages)
    classes = inputs.labels.classes
    if len(classes) != 2:
        raise ParameterError(f"y holds {len(classes)} classes; firth is for two.")
    likelihood = likelihood_of(inputs.labels.index.numpy() == 1, weight)
    figures = zip(_FIGURES, _fit_one(likelihood, level, intervals), strict=True)
    return FirthFit(names, **dict(figures), classes=classes, level=level)
