"""Standard errors, tests and confidence intervals of coefficients."""

from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.analysis.convergence_messages import warn_not_converged
from skorch_logreg.analysis.covariance import ROBUST, estimated_covariance
from skorch_logreg.analysis.fitted_model import FittedModel
from skorch_logreg.analysis.inference_table import Inference
from skorch_logreg.analysis.normal import check_level
from skorch_logreg.analysis.ordered_model import OrderedModel, is_ordered
from skorch_logreg.analysis.outcome_table import OutcomeInference
from skorch_logreg.analysis.outcomes import Outcomes, has_many_models
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.inputs.torch_context import with_default_modes

_COVARIANCES = {
    "model": "model-based (inverse Hessian x Fisher information x inverse Hessian)",
    "posterior": "posterior (inverse Hessian), with the penalty as a normal prior",
    "sandwich": "sandwich, HC0 (inverse Hessian x squared scores x inverse Hessian)",
    "HC1": "sandwich, HC1 (HC0 times n / (n - k))",
    "HC2": "sandwich, HC2 (squared scores divided by 1 - leverage)",
    "HC3": "sandwich, HC3 (squared scores divided by (1 - leverage)^2)",
    "cluster": "sandwich of G groups (inverse Hessian x squared scores of groups x inverse "
    "Hessian), times G / (G - 1) (n - 1) / (n - k)",
}
_WEIGHT_TYPES = {
    "frequency": "weights count rows, n is their sum",
    "probability": "weights are inverse probabilities of selection, n counts rows",
}


@with_default_modes
def summary(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    covariance: str = "model",
    groups: Any = None,
    offset: Any = None,
    level: float = 0.95,
    weight_type: str = "frequency",
) -> Any:
    """Compute standard errors, tests and intervals of a fitted logistic regression.

    With ``I`` the information of the rows at the fitted coefficients, ``P`` the second
    derivatives of the ridge penalty and ``B = (I + P)^-1``, the covariance is

    - ``"model"``: ``B I B``, without a penalty the inverse Fisher information ``I^-1``;
    - ``"posterior"``: ``B``, the posterior covariance with the penalty as a normal prior, which
      includes the bias due to the penalty;
    - ``"sandwich"``: ``B S B`` with ``S`` the sum of the rows' squared scores, which is robust to
      a misspecified variance (HC0);
    - ``"HC1"``, ``"HC2"``, ``"HC3"``: the same for few rows, with ``n / (n - k)``, or with squared
      scores divided by ``1 - h`` or its square, where ``h`` is the leverage of the row among two
      classes;
    - ``"cluster"``: the same with scores summed over groups of dependent rows, times
      ``G / (G - 1) (n - 1) / (n - k)`` for G groups with a row of positive weight, n rows and k
      parameters (the trace of ``B I`` with a penalty).

    The models of a `MultiLabel` are analysed together, each as it would be by itself: one outcome
    without valid errors does not stop the others.

    A ridge penalty shrinks coefficients towards zero: ``"model"`` and ``"sandwich"`` estimate
    their variance only, not this bias.

    Log-likelihoods, ``"model"`` and ``"posterior"`` take the class weights of the estimator for
    numbers of rows, which they are not: the sandwiches and ``"cluster"`` are valid with them.

    Parameters
    ----------
    estimator : TorchLogisticClassifier, or anything with its parameters and attributes, or an \
            OrdinalLogisticClassifier, or a MultiLabel
        A fitted model, usually with ``C=float("inf")``, else with a ridge penalty; or a pipeline
        or search that ends with one.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Training rows of the fit.
    y : array-like of shape (n_samples,)
        Labels of the fit; for a MultiLabel its indicator (n_samples, n_outcomes), with nan where an
        outcome is not known.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Sample weights of the fit; see `weight_type`.
    covariance : {"model", "posterior", "sandwich", "HC1", "HC2", "HC3", "cluster"}, \
            default="model"
        Covariance estimator.
    groups : array-like of shape (n_samples,) or None, default=None
        Group labels of the rows, for "cluster".
    offset : array-like of shape (n_samples,) or None, default=None
        Offset of the fit, for two classes.
    level : float, default=0.95
        Confidence level of the intervals.
    weight_type : {"frequency", "probability"}, default="frequency"
        Meaning of the sample weights:

        - "frequency": the number of times every row was observed (statsmodels' ``freq_weights``,
          Stata's fweight). Results equal those of repeated rows, and n is the sum of the weights.
        - "probability": inverse probabilities of selection, known up to a factor (Stata's
          pweight, or the robust covariances of statsmodels' ``var_weights``). A row's score
          counts with its squared weight, and n is the number of rows of positive weight. For
          the sandwiches and "cluster" only.

    Returns
    -------
    inference : Inference or OutcomeInference
        Estimates, standard errors, tests and intervals; of all outcomes for a MultiLabel.

    Raises
    ------
    ParameterError
        If the penalty is an L1, a group lasso or bounds, or a parameter is not allowed.
    ValueError
        If the information is singular: columns are collinear, or separate the classes. For a
        MultiLabel these outcomes have nan instead, and a message.

    Warns
    -----
    ConvergenceWarning
        If the fit did not converge, or its coefficients separate the classes completely. The
        message names the reason and a remedy, and is repeated below the table.

    Notes
    -----
    The cost is one pass over X and ``O(n p^2 + p^3)`` operations. Sparse rows are converted to
    dense in blocks of a few megabytes. For a MultiLabel, "model" and "posterior" take one pass for
    as many outcomes as its `memory_budget` allows, and the others a pass for each; the result holds
    ``2 n_outcomes (p + 1)^2`` numbers.

    References
    ----------
    McCullagh, Nelder (1989). Generalized Linear Models, section 4.4.
    le Cessie, van Houwelingen (1992). Ridge estimators in logistic regression, Applied
    Statistics 41, section 3.  White (1982). Maximum likelihood estimation of misspecified
    models, Econometrica 50.  Liang, Zeger (1986). Longitudinal data analysis using generalized
    linear models, Biometrika 73.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import TorchLogisticClassifier, summary
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> X = scale(X[:, :3])
    >>> model = TorchLogisticClassifier(C=float("inf")).fit(X, y)
    >>> found = summary(model, X, y)
    >>> found.names
    ('x0', 'x1', 'x2', 'intercept')
    >>> found.interval.shape
    (4, 2)

    Many outcomes at once:

    >>> from skorch_logreg import MultiLabel
    >>> outcomes = MultiLabel(model).fit(X, Y := (X > 0).astype(int)[:, ::-1] ^ y[:, None])
    >>> summary(outcomes, X, Y).to_frame()["adjusted p"].shape
    (12,)
    """
    check_options(covariance, groups, level, weight_type)
    ordered, is_many = is_ordered(estimator), has_many_models(estimator)
    if offset is not None and (ordered or is_many):
        raise ParameterError("offset is given, but the model was fitted without one.")
    options: Any = {"level": level, "weight_type": weight_type}
    is_frequency, is_weighted = weight_type == "frequency", sample_weight is not None
    if is_many:
        outcomes = Outcomes.from_estimator(estimator, X, y, sample_weight)
        options["convention"] = _covariance_name(covariance, outcomes, weight_type, is_weighted)
        found = outcomes.inference(covariance, groups, is_frequency=is_frequency)
        if found["convergence_message"] is not None:
            warn_user(found["convergence_message"], ConvergenceWarning)
        return OutcomeInference(**found, **options)
    fit: FittedModel | OrderedModel
    if ordered:
        fit = OrderedModel.from_estimator(estimator, X, y, sample_weight)
    else:
        fit = FittedModel.from_estimator(estimator, X, y, sample_weight, offset)
    spread, df, n_samples = estimated_covariance(fit, covariance, groups, is_frequency=is_frequency)
    names, coef, moved = fit.estimates
    return Inference(
        names=names,
        coef=coef,
        covariance=moved @ spread @ moved.T,
        convention=_covariance_name(covariance, fit, weight_type, is_weighted),
        log_likelihood=fit.log_likelihood,
        null_log_likelihood=fit.null_log_likelihood,
        n_samples=n_samples,
        df_model=df - fit.n_intercepts,
        n_intercepts=fit.n_intercepts,
        is_penalised=fit.is_penalised,
        convergence_message=warn_not_converged(fit),
        classes=fit.classes,
        is_ordered=ordered,
        has_class_weight=fit.has_class_weight,
        information=_information(fit),
        **options,
    )


def _information(fit: FittedModel | OrderedModel) -> np.ndarray | None:
    """Return the information of features and intercepts; None for several outputs."""
    if len(fit.information) > len(fit.names):
        return None
    size = len(fit.ridge) + fit.n_intercepts
    return fit.information[:size, :size]


def _covariance_name(covariance: str, fit: Any, weight_type: str, is_weighted: bool) -> str:
    """Name the covariance as the table does."""
    name = _COVARIANCES[covariance]
    if covariance == "model" and not fit.is_penalised:
        name = "model-based (inverse Fisher information)"
    if covariance in ROBUST and is_weighted:
        return f"{name}; {_WEIGHT_TYPES[weight_type]}"
    if covariance not in ROBUST and fit.has_class_weight:
        return f"{name}; class weights are taken for numbers of rows, 'sandwich' is without that"
    return name


def check_options(covariance: str, groups: Any, level: float, weight_type: str) -> None:
    """Raise a ParameterError if an option of `summary` is not allowed."""
    if covariance not in _COVARIANCES:
        raise ParameterError(f"covariance={covariance!r}; expected one of {list(_COVARIANCES)}.")
    if (groups is None) == (covariance == "cluster"):
        raise ParameterError(
            f"covariance={covariance!r} with groups={'None' if groups is None else 'given'}; "
            "groups are for covariance='cluster', which needs them."
        )
    check_level(level)
    if weight_type not in _WEIGHT_TYPES:
        raise ParameterError(f"weight_type={weight_type!r}; expected one of {list(_WEIGHT_TYPES)}.")
    if weight_type == "probability" and covariance not in ROBUST:
        raise ParameterError(
            f"weight_type={weight_type!r} with covariance={covariance!r}; the information of rows "
            f"that were selected says nothing of their variance. Choose one of {list(ROBUST)}."
        )
