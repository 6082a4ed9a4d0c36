"""Fitted coefficients with the objective of their training rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from sklearn.utils import gen_batches
from sklearn.utils.validation import _check_feature_names, _get_feature_names, check_is_fitted
from torch import Tensor

from skorch_logreg.curvature.exact import whole_hessian
from skorch_logreg.data import from_arrays
from skorch_logreg.data.tensors import PIECE_ENTRIES
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import are_missing, to_numpy
from skorch_logreg.inputs.validate import validate
from skorch_logreg.inputs.weights import check_penalty_factor
from skorch_logreg.losses import loss_of
from skorch_logreg.objective import (
    Objective,
    Params,
    Point,
    Units,
    loss_hessian,
    minimise_intercept,
    output_curvature,
    penalty_diagonal,
)
from skorch_logreg.penalties import L2
from skorch_logreg.pipelines import (
    last_step,
    parameter_names,
    to_dense_numpy,
    transform_before_last,
)


@dataclass(frozen=True, kw_only=True)
class FittedRows:
    """Training rows of a fitted model, and the penalty of its coefficients.

    ``weight`` are the sample weights ``count`` times the class weights, ``names`` end with
    "intercept", ``ridge`` (n_features,) are the second derivatives ``f_j / C`` of the penalty, and
    ``offset`` (n_samples, 1, 1) is added to the logits of two classes.
    """

    X: Any
    index: np.ndarray
    weight: np.ndarray
    count: np.ndarray
    classes: np.ndarray
    names: tuple[str, ...]
    ridge: np.ndarray
    fit_intercept: bool
    estimator: Any
    offset: Tensor | None = None

    @cached_property
    def units(self) -> Units:
        """Means and deviations of the columns; the deviation of a constant column is 1."""
        units = Units.of(from_arrays(self.X, self.index, self.weight), self.fit_intercept, None)
        return replace(units, scale=torch.where(units.scale.isinf(), 1.0, units.scale))

    @property
    def has_class_weight(self) -> bool:
        """True if the classes have other weights than their rows."""
        return not np.array_equal(self.weight, self.count)

    @property
    def is_penalised(self) -> bool:
        """True if any coefficient has a ridge penalty."""
        return bool(self.ridge.any())


def read_rows(
    estimator: Any, X: Any, y: Any, sample_weight: Any = None, offset: Any = None
) -> dict[str, Any]:
    """Validate the training data of a fitted classifier; return the fields of `FittedRows`.

    For a pipeline or a search, this is its final classifier on the transformed rows.
    """
    whole = estimator
    estimator, X = unwrap_estimator(estimator, X)
    n_features = estimator.coef_.shape[-1]
    ridge, classes = ridge_of(estimator, n_features), np.asarray(estimator.classes_)
    _check_offset(estimator, offset)
    order = classes.argsort()
    inputs = validate(X, y, sample_weight, offset=offset, classes=classes[order])
    rows, index, _ = inputs.float64_arrays()
    if rows.shape[1] != n_features:
        raise ValueError(f"X has {rows.shape[1]} features, but the model has {n_features}.")
    check_names(estimator, X)
    _, weight = inputs.weighted_targets(estimator.class_weight)
    ones = np.ones(len(index))
    return {
        "X": rows,
        "index": order[index],
        "weight": ones if weight is None else weight.numpy(),
        "count": ones if inputs.weight is None else inputs.weight.numpy(),
        "classes": classes,
        "names": parameter_names(whole, n_features),
        "ridge": ridge,
        "fit_intercept": bool(getattr(estimator, "fit_intercept", True)),
        "estimator": estimator,
        "offset": inputs.offset,
    }


@dataclass(frozen=True, kw_only=True)
class FittedModel(FittedRows):
    """Coefficients of a fitted model with K outputs, and the objective of its training rows.

    Hessians and scores are in the parameters of ``[Z 1]`` with standardised columns Z.  ``params``
    (K, n_features + 1) have the intercepts last.
    """

    params: np.ndarray

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        offset: Any = None,
        *,
        binary_function: str | None = None,
    ) -> Self:
        """Extract the coefficients of a fitted classifier and validate its training data.

        More than two classes are an error if the name of a function for two classes is given.
        """
        found = read_rows(estimator, X, y, sample_weight, offset)
        coef, intercept = dense_params(found["estimator"])
        if binary_function is not None and len(coef) > 1:
            raise ParameterError(
                f"{binary_function} is for two classes; the model has {len(found['classes'])}."
            )
        return cls(**found, params=np.column_stack([coef, intercept]))

    @cached_property
    def objective(self) -> Objective:
        """Objective of the rows ``[Z 1]``."""
        data, units = from_arrays(self.X, self.index, self.weight), self.units
        loss = loss_of(len(self.classes))
        return Objective(
            data.standardised(units.center, units.scale, loss.encode(data.targets)),
            loss,
            L2(torch.from_numpy(self.ridge)).in_units(units.scale),
            torch.ones(1, dtype=torch.float64),
            self.fit_intercept,
            self.offset,
        )

    @cached_property
    def point(self) -> Point:
        """The objective at the fitted coefficients."""
        params = torch.from_numpy(self.params)[None]
        params = self.units.to_solver(Params(params[..., :-1], params[..., -1]))
        return self.objective.evaluate(params)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over dense blocks of the rows ``[Z 1]``, or ``[Z 0]`` without an intercept."""
        for rows in gen_batches(len(self.index), max(PIECE_ENTRIES // self.params.size, 1)):
            yield rows, self.standardise(self.X[rows])

    def standardise(self, X: Any) -> np.ndarray:
        """Form dense rows of ``[Z 1]``, or ``[Z 0]`` without an intercept."""
        Z = (to_dense_numpy(X) - self.units.center.numpy()) / self.units.scale.numpy()
        return np.column_stack([Z, np.full(len(Z), float(self.fit_intercept))])

    def scores(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Iterate over the scores (rows, K * (p + 1)) of blocks of rows, without their weights."""
        residual = self.residual
        for rows, Z in self.blocks():
            yield rows, (residual[rows, :, None] * Z[:, None]).reshape(len(Z), -1)

    @property
    def n_intercepts(self) -> int:
        """Number of intercepts that the data determine."""
        return self.fit_intercept * (len(self.classes) - 1)

    @property
    def estimates(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Names, values, and the matrix to them from the parameters of ``[Z 1]``.

        Of several outputs, these are differences from the first class.
        """
        n_outputs, n_params = len(self.params), len(self.names) - (not self.fit_intercept)
        identity = np.eye(n_outputs)
        contrast = (identity - identity[0])[1:] if n_outputs > 1 else identity
        names = names_by_class(self.names[:n_params], self.classes[1:], len(self.classes))
        moved = np.kron(contrast, self.to_original_units[:n_params])
        return names, (contrast @ self.params[:, :n_params]).ravel(), moved

    @cached_property
    def to_original_units(self) -> np.ndarray:
        """Matrix from parameters of ``[Z 1]`` to those of ``[X 1]``, of shape (p + 1, p + 1)."""
        eye = torch.eye(self.params.shape[1], dtype=torch.float64)[None]
        found = self.units.from_solver(eye, L2())
        return torch.cat([found.coef[0].T, found.intercept]).numpy()

    @property
    def residual(self) -> np.ndarray:
        """Class indicator minus probability, of shape (n_samples, K)."""
        loss, targets = self.objective.loss, self.objective.data.targets
        return -loss.value_residual(self.point.logits, targets)[1][:, 0].numpy()

    @property
    def curvature(self) -> np.ndarray:
        """Weighted second derivative of every row's loss in its own logit, (n_samples, K)."""
        return output_curvature(self.objective, self.point)[:, 0].numpy()

    @cached_property
    def margin(self) -> np.ndarray:
        """Logit of the own class minus the largest other one, without the offset, (n_samples,)."""
        objective = self.objective
        logits = objective.without_offset(self.point.logits)
        return objective.loss.margin(logits, objective.data.targets)[:, 0].numpy()

    def loss(self, logits: Tensor | None = None) -> np.ndarray:
        """Negative log-probability (n_samples,) of every row's class, at the fit by default."""
        logits = self.point.logits if logits is None else logits
        return self.objective.loss.value(logits, self.objective.data.targets)[:, 0].numpy()

    @property
    def log_likelihood(self) -> float:
        """Weighted log-likelihood of the rows."""
        return -float(self.weight @ self.loss())

    @property
    def null_log_likelihood(self) -> float:
        """Log-likelihood of the intercept-only model, or of equal probabilities without one."""
        if self.fit_intercept and len(np.unique(self.index[self.weight > 0])) < 2:
            return 0.0  # at an infinite intercept
        objective = self.objective
        logits = objective.with_offset(torch.zeros_like(self.point.logits))
        if self.fit_intercept:
            _, logits = minimise_intercept(objective, objective.zeros(), logits + objective.prior())
        return -float(self.weight @ self.loss(logits))

    @cached_property
    def information(self) -> np.ndarray:
        """Hessian of the loss without the penalty, of shape (K * (p + 1), K * (p + 1))."""
        gram = loss_hessian(self.objective, self.point)[0].numpy()
        if not self.fit_intercept:
            gram[:, -1] = gram[..., -1] = 0.0
        return gram.reshape(self.params.size, self.params.size)

    @property
    def penalised_information(self) -> np.ndarray:
        """Hessian of loss and penalty; the identity for absent intercepts.

        With three classes or more, a constant that is added to all classes does not change the
        likelihood. This direction gets the mean curvature of the classes, which does not affect
        contrasts between classes.
        """
        K, side = self.params.shape
        gram = torch.from_numpy(self.information.copy()).view(1, K, side, K, side)
        ridge = penalty_diagonal(self.objective, self.point.params)
        whole: np.ndarray = whole_hessian(self.objective, gram, ridge)[0].numpy()
        if not self.fit_intercept:
            whole[side - 1 :: side, side - 1 :: side] = np.eye(K)
        return whole


def unwrap_estimator(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the final classifier of searches and pipelines, and X transformed for it."""
    X, estimator = transform_before_last(estimator, to_numpy(X)), last_step(estimator)
    check_is_fitted(estimator)
    name = type(estimator).__name__
    if hasattr(estimator, "target_kind_"):
        raise ParameterError(
            f"{name} has many models; give that of a label, label_estimator(label)."
        )
    for attribute in ("coef_", "predict_proba", "solver"):
        if not hasattr(estimator, attribute):
            raise ParameterError(f"{name} has no {attribute}; expected a logistic regression.")
    if estimator.solver == "liblinear" and estimator.fit_intercept:
        raise ParameterError(
            f"{name} has solver='liblinear', which penalises the intercept; choose another."
        )
    if not getattr(estimator, "refit", True):
        raise ParameterError(
            f"{name} has refit=False: its coefficients are means over the folds, the optimum of "
            "no rows. Fit it with refit=True."
        )
    if getattr(estimator.solver, "validation_fraction", 0.0):
        raise ParameterError(
            f"{name} has solver={estimator.solver!r}, which held rows of X out of the fit. Fit it "
            "with validation_fraction=0."
        )
    return estimator, X


def dense_params(estimator: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return copies of the coefficients (K, n_features) and intercepts (K,) in float64."""
    if hasattr(estimator, "thresholds_"):
        raise ParameterError(
            f"{type(estimator).__name__} has ordered classes, which only summary, "
            "marginal_effects and brant_test support."
        )
    coef = np.atleast_2d(to_dense_numpy(estimator.coef_)).astype(np.float64)
    intercept = to_dense_numpy(estimator.intercept_).astype(np.float64).ravel()
    return coef, np.broadcast_to(intercept, len(coef)).copy()


def names_by_class(names: Sequence[str], labels: Any, n_classes: int) -> tuple[str, ...]:
    """Return the names of the parameters of all ``labels``, with the label if they are several."""
    prefixes = [f"{label}: " if n_classes > 2 else "" for label in labels]
    return tuple(prefix + name for prefix in prefixes for name in names)


def check_names(estimator: Any, X: Any) -> None:
    """Raise an error if X has other feature names than the fit, or in another order."""
    if hasattr(estimator, "feature_names_in_") and _get_feature_names(X) is not None:
        _check_feature_names(estimator, X, reset=False)


def group_index(groups: Any, n_samples: int) -> np.ndarray:
    """Return the index of every row's group."""
    groups = np.asarray(to_numpy(groups))
    if groups.shape != (n_samples,):
        raise ParameterError(
            f"groups has shape {groups.shape}, expected (n_samples,) = ({n_samples},)."
        )
    if n_missing := np.count_nonzero(are_missing(groups)):
        raise ParameterError(
            f"groups is missing in {n_missing} rows; leave them out, or give each a group."
        )
    return np.unique(groups, return_inverse=True)[1]


def penalty_parameters(estimator: Any) -> tuple[float, float]:
    """Return C, inf without a penalty, and l1_ratio, as given or as found by cross-validation."""
    given: Any = getattr(estimator, "C_", None)
    C = np.unique(estimator.C if given is None else given)
    given = getattr(estimator, "l1_ratio_", getattr(estimator, "l1_ratio", None))
    l1_ratios = {float(ratio or 0.0) for ratio in np.ravel(given)}
    if len(C) > 1 or len(l1_ratios) > 1:
        raise ParameterError(f"{type(estimator).__name__} has several C_: {C}; fit with one.")
    (l1_ratio,) = l1_ratios
    if isinstance(estimator.penalty, str):
        l1_ratio = {"l1": 1.0, "l2": 0.0}.get(estimator.penalty, l1_ratio)
    return (np.inf if estimator.penalty is None else float(C[0])), l1_ratio


def _check_offset(estimator: Any, offset: Any) -> None:
    """Raise a ParameterError if an offset is missing, or given to a model that was fitted without.

    An offset is supported for two classes.
    """
    has_offset = getattr(estimator, "has_offset_", False)
    if has_offset and offset is None:
        raise ParameterError(
            "The model was fitted with an offset, without which its probabilities are others; "
            "give it to summary. Other analyses do not support one."
        )
    if offset is not None and not has_offset:
        raise ParameterError(
            "offset is given, but the model was fitted without one; leave offset=None."
        )
    if has_offset and len(estimator.classes_) > 2:
        raise ParameterError("summary supports an offset for two classes only.")


def ridge_of(estimator: Any, n_features: int) -> np.ndarray:
    """Return the second derivatives (n_features,) of a penalty that allows standard errors."""
    name = type(estimator).__name__
    C, l1_ratio = penalty_parameters(estimator)
    if l1_ratio and np.isfinite(C):
        raise ParameterError(
            f"{name} has l1_ratio={l1_ratio!r}: coefficients that may be exactly zero have no "
            "normal distribution. Use bootstrap, or fit the chosen features again with "
            "C=float('inf') on other rows."
        )
    bounds = getattr(estimator, "bounds", None)
    is_ridge = isinstance(estimator.penalty, L2 | str | None)
    if not is_ridge or bounds is not None:
        raise ParameterError(
            f"{name} has penalty={estimator.penalty!r} and bounds={bounds!r}: at a bound, or a "
            "group of zeros, there is no normal distribution. Use bootstrap."
        )
    for parameter in ("soft_labels", "label_smoothing"):
        if getattr(estimator, parameter, False):
            raise ParameterError(
                f"{parameter}={getattr(estimator, parameter)!r} has no likelihood."
            )
    given, names = (getattr(estimator, a, None) for a in ("penalty_factor", "feature_names_in_"))
    found = check_penalty_factor(given, n_features, names)
    factor = np.ones(n_features) if found is None else found.numpy()
    if np.isinf(factor).any():
        raise ParameterError(
            "penalty_factor is inf for some features, which are not in the model; fit it again "
            "without their columns."
        )
    return factor / C
