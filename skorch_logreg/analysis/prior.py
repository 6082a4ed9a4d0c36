"""Correction of fitted probabilities for other class frequencies than in the training data."""

import copy
from typing import Any

import numpy as np
import torch
from sklearn.utils import column_or_1d, compute_class_weight
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.indicator import check_label_names
from skorch_logreg.names import value_of_each
from skorch_logreg.pipelines import (
    check_classes,
    class_names,
    final_step,
    is_multilabel,
    to_dense_numpy,
)


def correct_prior(
    estimator: Any,
    prior: Any,
    *,
    y: Any = None,
    sample_weight: Any = None,
    sample_prior: Any = None,
) -> Any:
    """Correct the intercept of a fit to case-control or resampled data for the true class rates.

    If rows were sampled by class, the coefficients are consistent and only the intercept is not.
    With the true rate ``tau`` of the positive class and its rate ``ybar`` in the training data,
    the corrected intercept is::

        intercept + log(tau / (1 - tau)) - log(ybar / (1 - ybar)).

    With three classes or more, each intercept is shifted by ``log(tau_k / ybar_k)`` minus the mean
    of these shifts.

    Parameters
    ----------
    estimator : fitted linear classifier, or Pipeline that ends in one
        Model to correct, for example a `TorchLogisticClassifier`, or a `MultiLabel` fitted to an
        indicator matrix. It is not modified.
    prior : float, array-like of shape (n_classes,) or (n_labels,), dict or Series
        True rate of ``classes_[1]`` of two, true rates of all classes, which sum to 1, or true rate
        of every label. A dict or a pandas Series has the classes, or the names of the labels, as
        keys or index, also of two classes: ``population.value_counts(normalize=True)``.
    y : array-like of shape (n_samples,) or indicator (n_samples, n_labels), or None, default=None
        Training labels, from which the rates in the training data are computed, with the
        `class_weight` of the estimator. Not supported with `soft_labels` or `label_smoothing`.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Sample weights of the fit, if `y` is given.
    sample_prior : float, array-like, dict or Series, as `prior`, or None, default=None
        Rates in the training data, instead of `y`.

    Returns
    -------
    corrected : estimator
        A copy of the estimator with the corrected `intercept_`.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ParameterError
        If rates are invalid, or the estimator has no intercept to correct.

    Notes
    -----
    The correction assumes that the sampling depended only on the class. `threshold` is not
    changed, although the probabilities change. ``class_weight="balanced"`` amounts to a fit to
    data with equal class rates, which this function corrects as well.

    References
    ----------
    King, Zeng (2001). Logistic regression in rare events data. Political Analysis 9(2),
    137-163, equation 7.

    Saerens, Latinne, Decaestecker (2002). Adjusting the outputs of a classifier to new a priori
    probabilities: a simple procedure. Neural Computation 14(1), 21-41, for more classes.

    Examples
    --------
    A fit to as many cases as controls, for a condition that one person in a hundred has:

    >>> from sklearn.datasets import make_classification
    >>> from skorch_logreg import TorchLogisticClassifier, correct_prior
    >>> X, y = make_classification(weights=[0.5, 0.5], random_state=0)
    >>> model = TorchLogisticClassifier().fit(X, y)
    >>> corrected = correct_prior(model, 0.01, y=y)
    >>> shift = corrected.intercept_ - model.intercept_
    >>> shift.round(3)  # log(0.01 / 0.99): the rows' own rate is a half
    array([-4.595])
    """
    check_is_fitted(estimator)
    corrected = copy.deepcopy(estimator)
    _, model = final_step(corrected)
    shape = _rate_shape(model)
    is_multiclass = shape != () and not is_multilabel(model)
    if (y is None) == (sample_prior is None):
        given = "neither" if y is None else "both"
        raise ParameterError(
            f"{given} of y and sample_prior given; the rates of the rows that were fitted come "
            "from one of them."
        )
    name, rates = "sample_prior", sample_prior
    if y is not None:
        name, rates = "the rate in y", _sample_rates(model, y, sample_weight)
    elif sample_weight is not None:
        raise ParameterError("sample_weight goes with y, not with sample_prior.")
    names = class_names(model)
    sample = _check_rates(name, rates, shape, is_multiclass, names)
    true = _check_rates("prior", prior, shape, is_multiclass, names)
    if is_multiclass:
        shift = np.log(true) - np.log(sample)
        shift -= shift.mean()
    else:
        shift = np.log(true) - np.log1p(-true) - np.log(sample) + np.log1p(-sample)
    intercept = model.intercept_  # a tensor or an array, in its own type
    if isinstance(intercept, torch.Tensor):
        shift = torch.as_tensor(shift, dtype=intercept.dtype, device=intercept.device)
    else:
        shift = np.asarray(shift, dtype=intercept.dtype)
    model.intercept_ = intercept + shift
    return corrected


def _rate_shape(model: Any) -> tuple[int, ...]:
    """Return the shape of the rates; raise a ParameterError without an intercept to correct."""
    name = type(model).__name__
    if not hasattr(model, "intercept_"):
        raise ParameterError(
            f"estimator is or ends in a {name}, which has no intercept_; the correction is of a "
            "linear model's."
        )
    if _get_parameter(model, "fit_intercept") not in (None, True):
        raise ParameterError(
            f"estimator is or ends in a {name} with fit_intercept=False; there is no intercept to "
            "correct."
        )
    if getattr(model, "target_kind_", None) == "multiclass":
        raise ParameterError(
            "estimator is a MultiLabel of classes, each against the rest, which is no longer the "
            "same rest at other rates; fit a TorchLogisticClassifier."
        )
    if is_multilabel(model):
        return (model.n_labels_,)
    n_classes = len(model.classes_)
    return () if n_classes == 2 else (n_classes,)


def _check_rates(
    name: str, rates: Any, shape: tuple[int, ...], sums: bool, names: np.ndarray
) -> Any:
    """Validate rates strictly between 0 and 1, which sum to 1 if `sums` is True.

    Those with names are put in the order of `names`; of two classes the second is returned.
    """
    values = value_of_each(rates, names, name)
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{name} is {rates!r}, expected rates.") from error
    is_pair = shape == () and found.ndim == 1
    if is_pair:
        shape, sums = (2,), True
    if found.shape != shape:
        raise ParameterError(
            f"{name} has shape {found.shape}, expected {shape}: the rate of classes_[1] or of "
            "both for two classes, else one for every class or label."
        )
    if not ((found > 0) & (found < 1)).all():
        raise ParameterError(f"{name} is {rates}; it must lie in (0, 1).")
    if sums and abs(found.sum() - 1) > 1e-6:
        raise ParameterError(f"{name} sums to {found.sum():.6g}; rates of classes sum to 1.")
    return found[1] if is_pair else found


def _sample_rates(model: Any, y: Any, sample_weight: Any) -> np.ndarray:
    """Compute the weighted class or label rates in the training data."""
    for parameter in ("soft_labels", "label_smoothing"):
        value = _get_parameter(model, parameter)
        if value:
            raise ParameterError(
                f"y does not show the rates that were fitted with {parameter}={value!r}; give "
                "sample_prior."
            )
    check_label_names(y, getattr(model, "label_names_", None))
    targets = to_dense_numpy(y) if is_multilabel(model) else column_or_1d(to_dense_numpy(y))
    weight = _check_sample_weight(
        sample_weight, targets, dtype=np.float64, ensure_non_negative=True
    )
    class_weight = _get_parameter(model, "class_weight")
    if is_multilabel(model):
        if class_weight is not None:
            raise ParameterError(
                "y does not show the rates of labels with a class_weight; give sample_prior."
            )
        known = weight[:, None] * ~np.isnan(targets)
        return (known * (targets == 1)).sum(axis=0) / known.sum(axis=0)
    classes = to_dense_numpy(model.classes_)
    check_classes(targets, classes)
    by_class = compute_class_weight(class_weight, classes=classes, y=targets, sample_weight=weight)
    total = by_class * [weight[targets == label].sum() for label in classes]
    rates = total / total.sum()
    return rates[1] if len(classes) == 2 else rates


def _get_parameter(model: Any, name: str) -> Any:
    """Return a parameter of a classifier or, for `MultiLabel`, of its estimator."""
    own = getattr(model, name, None)
    return getattr(getattr(model, "estimator", None), name, None) if own is None else own
