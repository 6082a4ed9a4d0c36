"""Covariance of parameters from the information and the scores of the rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import linalg

from skorch_logreg.analysis.fitted_model import FittedModel, group_index
from skorch_logreg.analysis.ordered_model import OrderedModel
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import first_names
from skorch_logreg.objective import SUM_RTOL

ROBUST = ("sandwich", "HC1", "HC2", "HC3", "cluster")


def inverse_hessian(fit: FittedModel | OrderedModel) -> np.ndarray:
    """Compute ``(I + P)^-1`` in parameters of ``[Z 1]``; 0 for an absent intercept.

    A ValueError is raised if ``I + P`` is singular.
    """
    whole, K = fit.penalised_information, len(fit.information) // len(fit.names)
    (found,) = inverse_matrices(whole[None])
    if np.isnan(found).any():
        raise ValueError(_singular_message(fit, whole))
    if not fit.fit_intercept:
        last = len(found) // K - 1
        found[last :: last + 1] = found[:, last :: last + 1] = 0.0
    return found


def inverse_matrices(whole: np.ndarray) -> np.ndarray:
    """Invert positive definite matrices (m, k, k) for any scale; nan where they are singular."""
    scale = np.sqrt(np.diagonal(whole, axis1=1, axis2=2))
    is_zero = ~(scale > 0)
    scale = np.where(is_zero, 1.0, scale)
    values, vectors = np.linalg.eigh(whole / (scale[:, :, None] * scale[:, None]))
    is_singular = is_zero.any(axis=1) | (values[:, 0] <= SUM_RTOL * values[:, -1])
    values[is_singular] = np.nan
    half = vectors / np.sqrt(values)[:, None] / scale[:, :, None]
    return half @ half.swapaxes(1, 2)


def _singular_message(fit: FittedModel | OrderedModel, whole: np.ndarray) -> str:
    return (
        f"The information is singular: {dependent_names(fit.names, whole)} are constant or "
        "collinear, or separate the classes (see separation). Leave one out, or give a penalty."
    )


def dependent_names(names: Sequence[str], whole: np.ndarray) -> str:
    """Name the columns of zeros, or else those of the linear combination nearest to zero.

    ``whole`` (k, k) are the inner products of the columns, of one or several outputs.
    """
    scale = np.sqrt(np.diag(whole))
    if (scale > 0).all():
        size = np.abs(linalg.eigh(whole / np.outer(scale, scale))[1][:, 0])
    else:
        size = scale == 0
    size = size.reshape(-1, len(names)).max(axis=0)
    return first_names(
        name for name, part in zip(names, size, strict=True) if part > 0.1 * size.max()
    )


def squared_scores(
    fit: FittedModel | OrderedModel, factor: np.ndarray, groups: Any = None
) -> np.ndarray:
    """Sum the squared scores of rows, times ``factor`` (n_samples,), or of sums over groups."""
    size = len(fit.information)
    total = torch.zeros(size if groups is None else groups.max() + 1, size, dtype=torch.float64)
    for rows, of_rows in fit.scores():
        scores = torch.from_numpy(of_rows * factor[rows, None])
        if groups is None:
            total += scores.T @ scores
        else:
            total.index_add_(0, torch.from_numpy(groups[rows]), scores)
    return (total if groups is None else total.T @ total).numpy()


def estimated_covariance(
    fit: FittedModel | OrderedModel, kind: str, groups: Any, *, is_frequency: bool
) -> tuple[np.ndarray, float, float]:
    """Return the covariance in parameters of ``[Z 1]``, the number of these, and that of rows."""
    n_samples = float((fit.count if is_frequency else fit.weight > 0).sum())
    bread = inverse_hessian(fit)
    meat = fit.information
    df = float(np.trace(bread @ meat)) if fit.is_penalised else len(fit.estimates[0])
    if kind in ROBUST:
        counts: Any = {"is_frequency": is_frequency, "n_samples": n_samples, "df": df}
        meat = robust_scores(fit, kind, bread, groups=groups, **counts)
    spread = bread if kind == "posterior" else sandwich(fit, bread, meat)
    return spread, df, n_samples


def sandwich(fit: FittedModel | OrderedModel, bread: np.ndarray, meat: np.ndarray) -> np.ndarray:
    """Compute ``B M B``, with exact zeros for coefficients of constant columns."""
    spread = bread @ meat @ bread
    is_constant = without_information(fit)
    spread[is_constant] = spread[:, is_constant] = 0.0
    return spread


def without_information(fit: FittedModel | OrderedModel) -> np.ndarray:
    """Return a mask of the coefficients of constant columns, of all outputs."""
    side = len(fit.names)
    blocks = fit.information.reshape(len(fit.information) // side, side, -1, side)
    each = np.arange(len(blocks))
    return constant_columns(blocks[each, :, each], len(fit.ridge)).ravel()


def constant_columns(information: np.ndarray, n_features: int) -> np.ndarray:
    """Return a mask (m, k) of coefficients about which the information (m, k, k) says nothing.

    These are the columns that equal a constant times that of the intercept, the one with the index
    ``n_features``, up to the rounding of sums: ``I e = 0`` for the change ``e`` of the coefficient
    and of the intercept that leaves all logits as they are. With a ridge, ``B M B`` of such a
    coefficient is zero for the information and for scores M.
    """
    own = np.diagonal(information, axis1=1, axis2=2)
    pivot = own[:, n_features, None]
    shared = information[:, :, n_features] ** 2
    rest = own - np.divide(shared, pivot, where=pivot > 0, out=np.zeros_like(shared))
    found: np.ndarray = rest <= SUM_RTOL * own
    found[:, n_features:] = False
    return found


def robust_scores(
    fit: FittedModel | OrderedModel,
    kind: str,
    bread: np.ndarray,
    *,
    groups: Any,
    is_frequency: bool,
    n_samples: float,
    df: float,
) -> np.ndarray:
    """Sum the squared scores of rows or groups for a sandwich, with the correction of its kind.

    References
    ----------
    MacKinnon, White (1985). Some heteroskedasticity-consistent covariance matrix estimators with
    improved finite sample properties, Journal of Econometrics 29. Zeileis (2006). Object-oriented
    computation of sandwich estimators, Journal of Statistical Software 16(9), table 1.
    """
    if kind == "cluster":
        return _clustered_scores(fit, groups, n_samples, df)
    n_rows = fit.count if is_frequency else np.ones_like(fit.count)
    factor = np.divide(fit.weight, np.sqrt(n_rows), where=n_rows > 0, out=0 * n_rows)
    if kind in ("HC2", "HC3"):
        if isinstance(fit, OrderedModel) or len(fit.classes) > 2:
            raise ParameterError(
                f"covariance={kind!r} is for two classes without an order; choose 'sandwich' or "
                "'HC1' for others."
            )
        # that of one of the rows that the weight counts
        curvature = np.divide(fit.curvature[:, 0], n_rows, where=n_rows > 0, out=0 * n_rows)
        rest = 1 - curvature * quadratic_forms(fit, bread)
        factor = factor / (np.sqrt(rest) if kind == "HC2" else rest)
    if kind != "HC1":
        return squared_scores(fit, factor)
    _check_more_rows(n_samples, df, "n / (n - k)")
    return squared_scores(fit, factor) * n_samples / (n_samples - df)


def quadratic_forms(fit: FittedModel | OrderedModel, matrix: np.ndarray) -> np.ndarray:
    """Compute ``x' matrix x`` (n_samples,) of the rows ``[Z 1]``."""
    return np.concatenate([((Z @ matrix) * Z).sum(axis=1) for _, Z in fit.blocks()])


def _clustered_scores(
    fit: FittedModel | OrderedModel, groups: Any, n_samples: float, df: float
) -> np.ndarray:
    """Sum the squared scores of groups, times the small-sample correction."""
    groups = group_index(groups, len(fit.index))
    n_groups = len(np.unique(groups[fit.weight > 0]))
    if n_groups < 2:
        raise ParameterError(
            f"groups has {n_groups} label for rows of positive weight; a variance needs two groups "
            "at least."
        )
    _check_more_rows(n_samples, df, "(n - 1) / (n - k)")
    correction = n_groups / (n_groups - 1) * (n_samples - 1) / (n_samples - df)
    return squared_scores(fit, fit.weight, groups) * correction


def _check_more_rows(n_samples: float, df: float, correction: str) -> None:
    """Raise an error unless there are more rows than parameters."""
    # also if the sum of weights equals the number of parameters up to rounding
    if n_samples - max(df, 1.0) <= 1e-9 * n_samples:
        raise ParameterError(
            f"n_samples={n_samples:g} with {df:g} parameters; {correction} needs more "
            "rows than parameters. With weight_type='frequency' weights count rows; weights that "
            "are known up to a factor need weight_type='probability'."
        )
