"""Binary models of many outcomes with the same training rows."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from scipy.special import xlogy
from sklearn.utils import gen_batches
from torch import Tensor

from skorch_logreg.analysis.convergence_messages import convergence_message
from skorch_logreg.analysis.covariance import (
    ROBUST,
    constant_columns,
    estimated_covariance,
    inverse_hessian,
    inverse_matrices,
)
from skorch_logreg.analysis.fitted_model import (
    FittedModel,
    check_names,
    dense_params,
    group_index,
    ridge_of,
    unwrap_estimator,
)
from skorch_logreg.data.gram import add_grams, empty_grams, finished_grams
from skorch_logreg.data.protocol import add_terms
from skorch_logreg.data.tensors import PIECE_ENTRIES
from skorch_logreg.data.threads import sum_blocks
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting.batch import is_saturated, models_at_once
from skorch_logreg.inputs import indicator
from skorch_logreg.inputs.arrays import to_numpy
from skorch_logreg.inputs.labels import Targets
from skorch_logreg.inputs.validate import validate
from skorch_logreg.inputs.weights import with_class_weight
from skorch_logreg.kernels.logits import weighted_loss
from skorch_logreg.losses import Binomial
from skorch_logreg.objective import Params
from skorch_logreg.pipelines import (
    class_names,
    last_step,
    parameter_names,
    transform_before_last,
)

_CPU = torch.device("cpu")


def has_many_models(estimator: Any) -> bool:
    """Return True for a fitted `MultiLabel`, also at the end of a pipeline."""
    return hasattr(last_step(estimator), "target_kind_")


@dataclass(frozen=True)
class Outcomes:
    """Coefficients of a `MultiLabel` with linear models, and its training rows.

    ``params`` (n_outcomes, n_features + 1) have the intercepts last, ``ridge`` (n_outcomes,
    n_features) are the second derivatives of the penalties, and ``weight`` (n_samples,) those of
    the rows without class weights.
    """

    model: Any
    X: Any
    labels: indicator.Indicator
    weight: Tensor
    names: tuple[str, ...]
    params: np.ndarray
    ridge: np.ndarray
    fit_intercept: bool
    has_class_weight: bool

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, Y: Any, sample_weight: Any = None) -> Self:
        """Extract the coefficients of a fitted `MultiLabel` and validate its training data."""
        model, X = last_step(estimator), transform_before_last(estimator, to_numpy(X))
        kind = model.target_kind_
        if kind in indicator.COLUMN_KINDS:
            raise ParameterError(
                "MultiLabel was fitted to a column of classes; fit it to an indicator with a "
                "column for each outcome, or a TorchLogisticClassifier to the classes."
            )
        if not hasattr(model, "coef_"):
            raise ParameterError("MultiLabel has a network; expected linear models with coef_.")
        first, _ = unwrap_estimator(model.label_estimator(0), X)
        inputs = validate(X, Y, sample_weight, encodes=False)
        labels = indicator.read(inputs.y, None, inputs.X)
        coef, intercept = dense_params(model)
        n_samples, n_features = inputs.X.shape
        if labels.is_column or (labels.n_labels, n_features) != coef.shape:
            raise ValueError(
                f"X and Y have {n_features} features and {labels.n_labels} outcomes, but the model "
                f"has {coef.shape[1]} and {coef.shape[0]}."
            )
        check_names(first, X)
        indicator.check_label_names(Y, getattr(model, "label_names_", None))
        weight = inputs.weight
        return cls(
            model=model,
            X=inputs.X.astype(np.float64, copy=False),
            labels=labels,
            weight=torch.ones(n_samples, dtype=torch.float64) if weight is None else weight,
            names=parameter_names(estimator, coef.shape[1]),
            params=np.column_stack([coef, intercept]),
            ridge=_ridges(model, *coef.shape),
            fit_intercept=bool(first.fit_intercept),
            has_class_weight=model.class_weight is not None
            or getattr(model.estimator, "class_weight", None) is not None,
        )

    @property
    def is_penalised(self) -> bool:
        """True if any coefficient of any outcome has a ridge penalty."""
        return bool(self.ridge.any())

    @cached_property
    def rows(self) -> FittedModel:
        """The rows with the first outcome's coefficients, for the units that all share."""
        return FittedModel(
            X=self.X,
            index=np.zeros(self.X.shape[0], dtype=np.int64),
            weight=self.weight.numpy(),
            count=self.weight.numpy(),
            classes=np.arange(2),
            names=self.names,
            params=self.params[:1],
            ridge=self.ridge[0],
            fit_intercept=self.fit_intercept,
            estimator=self.model,
        )

    def fit_of(self, outcome: int) -> tuple[FittedModel, np.ndarray]:
        """Return the model of one outcome with its known rows, and their indices."""
        targets, known = self.labels.columns(np.array([outcome]), _CPU)
        kept = np.arange(len(targets)) if known is None else np.flatnonzero(known[:, 0].numpy())
        fit = FittedModel.from_estimator(
            self.model.label_estimator(outcome),
            self.X[kept],
            targets[kept, 0].numpy(),
            self.weight[kept].numpy(),
        )
        return replace(fit, names=self.names), kept

    def columns(self, part: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Return the classes, sample weights, and these times class weights, of some outcomes.

        Classes have the shape (n_samples, m), and weights (n_samples, m) or (n_samples, 1).
        """
        targets, known = self.labels.columns(part, _CPU)
        weight = count = self.weight[:, None] if known is None else self.weight[:, None] * known
        if self.has_class_weight:
            weight = count.expand(targets.shape)
            each = [
                with_class_weight(
                    self.model.label_estimator(int(outcome)).class_weight or {},
                    Targets(np.arange(2), targets[:, place].long()),
                    weight[:, place],
                )
                for place, outcome in enumerate(part)
            ]
            weight = torch.stack(each, dim=1)
        return targets, count, weight

    def batches(self) -> Iterator[np.ndarray]:
        """Iterate over the indices of as many outcomes as memory allows at once."""
        n_outcomes, side = self.params.shape
        at_once = models_at_once(self.X.shape[0], side - 1, 1, self.model.memory_budget)
        yield from np.array_split(np.arange(n_outcomes), -(-n_outcomes // at_once))

    def inference(self, covariance: str, groups: Any, *, is_frequency: bool) -> dict[str, Any]:
        """Compute the attributes of `OutcomeInference`, except its options."""
        n_outcomes, side = self.params.shape
        n_params = side if self.fit_intercept else side - 1
        parts = [self._sums(part) for part in self.batches()]
        loss, information, totals, n_samples = map(np.concatenate, zip(*parts, strict=True))
        bread = self._inverse_hessians(information)
        is_penalised = self.ridge.any(axis=1)
        df = np.where(is_penalised, np.einsum("mij,mji->m", bread, information), n_params)
        spread = bread
        if covariance != "posterior":
            spread = bread @ information @ bread
            is_constant = constant_columns(information, side - 1)
            spread[is_constant] = spread.swapaxes(1, 2)[is_constant] = 0.0
        moved = self.rows.to_original_units[:n_params]
        spread = moved @ spread @ moved.T
        params = torch.from_numpy(self.params[:, None])
        constant = is_saturated(Params(params[..., :-1], params[..., -1])).numpy()
        spread[constant] = np.nan
        if covariance in ROBUST:
            groups = None if groups is None else group_index(groups, self.X.shape[0])
            for outcome in np.flatnonzero(~np.isnan(spread).any(axis=(1, 2))).tolist():
                fit, kept = self.fit_of(outcome)
                own = None if groups is None else groups[kept]
                own_spread, df[outcome], n_samples[outcome] = estimated_covariance(
                    fit, covariance, own, is_frequency=is_frequency
                )
                spread[outcome] = fit.estimates[2] @ own_spread @ fit.estimates[2].T
        suspect = np.isnan(spread).any(axis=(1, 2)) | ~to_numpy(self.model.converged_)
        outcomes = class_names(self.model)
        messages = {
            outcomes[outcome]: message
            for outcome in np.flatnonzero(suspect).tolist()
            if (message := self._message(outcome, bool(constant[outcome]))) is not None
        }
        share = totals / totals.sum(axis=1, keepdims=True) if self.fit_intercept else 0.5
        return {
            "outcomes": outcomes,
            "names": self.names[:n_params],
            "coef": self.params[:, :n_params],
            "covariance": spread,
            "information": information[:, :n_params, :n_params],
            "log_likelihood": -loss,
            "null_log_likelihood": xlogy(totals, share).sum(axis=1),
            "n_samples": n_samples,
            "df_model": df - self.fit_intercept,
            "n_intercepts": int(self.fit_intercept),
            "is_penalised": is_penalised,
            "messages": messages,
            "convergence_message": _joined(messages, n_outcomes),
        }

    def _inverse_hessians(self, information: np.ndarray) -> np.ndarray:
        """Invert the information with the penalties, as `inverse_hessian` does; nan if singular."""
        whole, p = information.copy(), self.ridge.shape[1]
        whole[:, range(p), range(p)] += self.ridge / self.rows.units.scale.numpy() ** 2
        if not self.fit_intercept:  # its row and column of the information are zero
            whole[:, -1, -1] = 1.0
        found = inverse_matrices(whole)
        if not self.fit_intercept:
            found[:, -1] = found[:, :, -1] = 0.0
        return found

    def _sums(self, part: np.ndarray) -> tuple[np.ndarray, ...]:
        """Sum the losses, information, weights of classes, and sample weights of some outcomes."""
        targets, count, weight = self.columns(part)
        loss, units, params = Binomial(), self.rows.units, torch.from_numpy(self.params[part, None])
        params = units.to_solver(Params(params[..., :-1], params[..., -1]))[:, 0]

        def sums(rows: slice) -> tuple[Tensor, ...]:
            Z = torch.from_numpy(self.rows.standardise(self.X[rows]))
            logits, y, own = (Z @ params.T)[..., None], loss.encode(targets[rows]), weight[rows]
            found = weighted_loss(loss.kernel, logits, y, own)
            if found is None:
                value, residual = loss.value_residual(logits, y)
                found = (value * own).sum(dim=0), residual * own[..., None]
            value, wrong = found[0], found[1].mul_(y)  # probabilities of the wrong class, weighted
            inverse = torch.where(own > 0, 1 / own, 0.0)[..., None]
            curvature = torch.addcmul(wrong, wrong * inverse, wrong, value=-1)
            gram = empty_grams(logits, Z.shape[1], None)
            add_grams(gram, Z, curvature, None)
            balance = (own * y[..., 0]).sum(dim=0)  # weight of class 0 minus that of class 1
            return value, gram, balance, own.sum(dim=0)

        step = max(PIECE_ENTRIES // len(part), 1)
        pieces = list(gen_batches(len(targets), step))
        value, gram, balance, total = sum_blocks(add_terms, sums, pieces)
        information = finished_grams(gram, 1, is_softmax=False)[:, 0, :, 0]
        totals = torch.stack([total + balance, total - balance], dim=1).clamp_(min=0) / 2
        n_samples = count.sum(dim=0).expand(len(part))
        return value.numpy(), information.numpy(), totals.numpy(), n_samples.numpy()

    def _message(self, outcome: int, is_constant: bool) -> str | None:
        """Describe why an outcome has no valid standard errors; None if it has."""
        if is_constant:
            return "it has one value in all rows of positive weight."
        fit, _ = self.fit_of(outcome)
        message = convergence_message(fit.estimator, fit)
        if message is None:
            try:
                inverse_hessian(fit)
            except ValueError as error:
                return str(error)
        return message


def _joined(messages: dict[Any, str], n_outcomes: int) -> str | None:
    """Join the reasons of the first five outcomes without valid errors; None without any."""
    if not messages:
        return None
    first = "; ".join(f"{name}: {text}" for name, text in [*messages.items()][:5])
    return f"{len(messages)} of {n_outcomes} outcomes have no valid standard errors. {first}"


def _ridges(model: Any, n_outcomes: int, n_features: int) -> np.ndarray:
    """Return the second derivatives (n_outcomes, n_features) of the outcomes' penalties."""
    given = [getattr(model, "C_", model.C), getattr(model, "l1_ratio_", None)]
    pairs = np.array(
        [np.broadcast_to(0.0 if each is None else to_numpy(each), n_outcomes) for each in given]
    )
    _, first, which = np.unique(pairs, axis=1, return_index=True, return_inverse=True)
    ridges = [ridge_of(model.label_estimator(int(outcome)), n_features) for outcome in first]
    return np.stack(ridges)[which.ravel()]
