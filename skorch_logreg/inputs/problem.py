"""Translation of an estimator's fit to the arguments of `fitting.fit`, and of its result back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.data import Data, from_arrays
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import Params
from skorch_logreg.fitting.batch import BatchFitter, models_at_once
from skorch_logreg.inputs.arrays import ArrayNamespace, to_tensor
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.out_of_core import OutOfCoreRows
from skorch_logreg.losses import Loss, loss_of
from skorch_logreg.names import place_of
from skorch_logreg.penalties import L2, Box, ElasticNet, Penalty


def _append_constant(X: Any, value: float) -> Any:
    """Return a copy of X in float64 with an additional column of ``value``, as in liblinear."""
    n_samples = X.shape[0]
    if isinstance(X, Tensor):
        constant = torch.full((n_samples, 1), value, dtype=torch.float64, device=X.device)
        return torch.cat([X.to(torch.float64), constant], dim=1)
    column = np.full((n_samples, 1), value)
    if sp.issparse(X):
        return sp.hstack([X, sp.csr_array(column)], format="csr", dtype=np.float64)
    return np.concatenate([X, column], axis=1, dtype=np.float64)


@dataclass(frozen=True)
class Problem:
    """Loss, penalty, data and start of one fit, from an estimator's parameters and validated rows.

    With liblinear's objective, X gets an additional column of ``intercept_scaling``, whose
    coefficient is the intercept. ``dtype`` is the type of the validated X, ``namespace`` that of
    the fitted arrays, ``is_soft`` whether targets are probabilities, ``is_ordered`` whether classes
    have an order. ``bounds`` are two tensors (n_features,), ``factor`` (n_features,), float64, are
    the penalty factors, and ``names`` (n_features,) the names of the features, if X has some.
    """

    options: Options
    namespace: ArrayNamespace
    dtype: torch.dtype
    n_classes: int
    n_features: int
    fit_intercept: bool
    intercept_scaling: float
    is_soft: bool = False
    is_ordered: bool = False
    bounds: Any = None
    factor: Tensor | None = None
    names: Any = None

    @property
    def has_column(self) -> bool:
        """True if the intercept is the coefficient of liblinear's column."""
        return self.options.is_liblinear and self.fit_intercept

    @property
    def has_free_intercept(self) -> bool:
        """True if the solver fits an intercept, which is then not penalised."""
        return self.fit_intercept and not self.has_column

    @property
    def loss(self) -> Loss:
        """Binomial loss for two classes, otherwise multinomial; cumulative for ordered classes."""
        return loss_of(self.n_classes, self.is_soft, self.is_ordered)

    def data(
        self, design: Any, targets: Tensor, weight: Tensor | None, *, is_checked: bool = True
    ) -> Data:
        """Combine the result of `design` with targets and weights."""
        if isinstance(design, OutOfCoreRows):
            return design.data(targets, weight)
        return from_arrays(design, targets, weight, is_checked=is_checked)

    def design(self, X: Any, device: torch.device | None = None) -> Any:
        """Convert X to the design matrix that several fits share.

        It is on the device, has liblinear's column, and is float64 if it is sparse, so that no fit
        copies it again.
        """
        if isinstance(X, OutOfCoreRows):
            return X
        X = X if self.namespace.xp is None or sp.issparse(X) else to_tensor(X)
        if self.has_column:
            X = _append_constant(X, self.intercept_scaling)
        if sp.issparse(X):
            if X.dtype != np.float64:
                X = sp.csr_array((X.data.astype(np.float64), X.indices, X.indptr), shape=X.shape)
            return X
        return X if device is None else to_tensor(X).to(device)

    def penalty(self, device: torch.device) -> Penalty:
        """Build the penalty; check that excluded features go with the solver and the bounds."""
        factor, l1_ratio = self.factor, self.options.l1_ratio
        if factor is not None:
            for place in factor.isinf().nonzero()[:, 0].tolist():
                self._check_excluded(place)
            column = [factor.new_ones(1)] if self.has_column else []  # as in liblinear
            factor = torch.cat([factor, *column]).to(device)
        if self.options.penalty is not None:
            size = self.n_features, factor, device, self.names, self.loss.n_outputs
            return self.options.penalty.of_features(*size)
        if self.bounds is not None:
            return self._box(ElasticNet(l1_ratio, factor), device)
        return L2(factor) if l1_ratio == 0 else ElasticNet(l1_ratio, factor)

    def _box(self, penalty: ElasticNet, device: torch.device) -> Box:
        low, high = self.bounds
        return Box(penalty, low.to(device), high.to(device))

    def _check_excluded(self, place: int) -> None:
        name = f"penalty_factor[{place_of(place, self.names)}]"
        if self.options.trains:
            raise ParameterError(
                f"{name} is inf, which excludes the feature, but solver={self.options.solver!r} "
                "trains all: leave its column out of X."
            )
        if self.bounds is not None:
            low, high = (float(limit[place]) for limit in self.bounds)
            if low > 0 or high < 0:
                raise ParameterError(
                    f"{name} is inf, which leaves the feature out with a coefficient of 0, but its "
                    f"bounds are ({low}, {high})."
                )

    def batch_fitter(
        self,
        design: Any,
        columns: Callable[[np.ndarray], tuple[Tensor, Tensor | None]],
        parameters: Any = None,
        *,
        max_models: int | None = None,
        penalties: Sequence[Options] | None = None,
        report: Callable[[np.ndarray], Any] | None = None,
        **options: Any,
    ) -> BatchFitter:
        """Build the fitter of a list of models to the result of `design`.

        With ``parameters``, which has `tol`, `max_iter` and perhaps `memory_budget`, there are no
        duality gaps; ``options`` are other arguments of `fitting.fit`. ``penalties`` are the
        options with the penalties of the models; None: those of the problem. The others are fields
        of `BatchFitter`.
        """
        if max_models is None:
            budget = getattr(parameters, "memory_budget", None)
            size = design.shape[0], self.n_features, self.loss.n_outputs
            max_models = models_at_once(*size, memory_budget=budget)
        if parameters is not None:
            options |= {"tol": parameters.tol, "max_iter": parameters.max_iter, "bound": False}
        each = [self.options] if penalties is None else penalties
        return BatchFitter(
            rows=partial(self.data, design),
            columns=columns,
            loss=self.loss,
            penalty=lambda number, device: replace(self, options=each[number]).penalty(device),
            n_features=self.n_features + self.has_column,
            max_models=max_models,
            fit_intercept=self.has_free_intercept,
            options={"solver": self.options.solver, **options},
            report=report,
        )

    def zeros(self, n_models: int = 1) -> Params:
        """Return zero parameters, at which a fit without warm start begins."""
        shape = n_models, self.loss.n_outputs, self.n_features + self.has_column
        coef = torch.zeros(shape, dtype=torch.float64, device="cpu")
        return Params(coef, coef.new_zeros(shape[:2]))

    def previous(self, coef: Any, intercept: Any, n_models: int = 1) -> Params | None:
        """Convert fitted coefficients to the start of a warm fit; None for liblinear.

        The rows of ``coef`` are those of ``n_models`` models. A ValueError is raised if the
        number of features or classes changed, or a value is not finite.
        """
        if self.options.is_liblinear:
            return None
        coef, intercept = to_tensor(coef), to_tensor(intercept)
        n_rows, width = n_models * self.loss.n_outputs, self.n_features + self.fit_intercept
        if tuple(coef.shape) != (n_rows, self.n_features):
            got = (coef.shape[0], coef.shape[1] + self.fit_intercept)
            expected = f"({width},) or (1, {width})" if n_rows == 1 else (n_rows, width)
            raise ValueError(f"Initialization coef is of shape {got}, expected shape {expected}")
        if not bool(coef.isfinite().all() & intercept.isfinite().all()):
            raise ValueError(
                "Floating-point under-/overflow: the previous coef_ or intercept_, where "
                "warm_start=True starts, is not finite."
            )
        intercept = intercept.reshape(-1).expand(n_rows)
        if not self.fit_intercept:
            intercept = torch.zeros_like(intercept)
        return Params(
            coef.to("cpu", torch.float64, copy=True).unflatten(0, (n_models, -1)),
            intercept.to("cpu", torch.float64, copy=True).unflatten(0, (n_models, -1)),
        )

    @property
    def stored_dtype(self) -> torch.dtype:
        """Type of the fitted attributes, which is always float64 for liblinear."""
        return torch.float64 if self.options.is_liblinear else self.dtype

    def without_column(self, params: Params) -> Params:
        """Add the coefficient of liblinear's column to the intercept."""
        if not self.has_column:
            return params
        column = params.coef[..., -1] * self.intercept_scaling
        return Params(params.coef[..., :-1], params.intercept + column)

    def fitted(self, params: Params, model: int = 0) -> dict[str, Any]:
        """Return `coef_` and `intercept_` of a model as writable copies in X's namespace."""
        params = self.without_column(params)
        coef, intercept = params.coef[model], params.intercept[model]
        if self.bounds is not None:  # rounding may move a mean of models beyond its bounds
            coef = self._box(ElasticNet(0.0), coef.device).feasible(coef, coef)
        own, dtype = torch.contiguous_format, self.stored_dtype
        return {
            name: self.namespace.from_tensor(part.to(dtype, copy=True, memory_format=own))
            for name, part in (("coef_", coef), ("intercept_", intercept))
        }
