"""The ridge penalty."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import _get_feature_names
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import in_order, place_of
from skorch_logreg.penalties.elastic_net import ElasticNet
from skorch_logreg.penalties.protocol import FeaturePenalty


def rows_by_name(center: Any) -> Any:
    """Return a data frame with names of features as a dict a row, all else as it is."""
    names = _get_feature_names(center)
    if names is None:
        return center
    return [dict(zip(names, row, strict=True)) for row in np.asarray(center)]


@dataclass(frozen=True)
class L2(ElasticNet, FeaturePenalty):
    """Ridge ``1/2 sum_j f_j (w_j - c_j)^2``, towards known coefficients c or towards zero.

    The minimiser is the most probable model where coefficients have normal priors with means c and
    variances ``C / f``: those of an older model, of a meta-analysis, or the class embeddings of a
    zero-shot classifier.  As ``penalty=`` of an estimator it replaces ridge and lasso.

    Parameters
    ----------
    factor : Tensor of shape (n_features,) or None
        Strength of every feature, ``f``; inf: excluded. None: 1 for all.
    scale : Tensor of shape (n_features,) or None
        The penalty is that of ``coef / scale``; None: of ``coef`` itself.
    center : array-like of shape (n_features,) or (n_classes, n_features), dict or None
        Coefficients ``c``, in the units of X; a dict, a pandas Series and the columns of a data
        frame have those of named features, and 0 is that of the others. Rows are in the order of
        ``classes_``, whatever their index. With two classes there is one row; the estimator of a
        `MultiLabel` may have a row for each label, which are then solved one by one. None: 0 for
        all.

    References
    ----------
    le Cessie, van Houwelingen (1992). Ridge estimators in logistic regression, equation 2.

    Examples
    --------
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.penalties import L2
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
    >>> model = TorchLogisticClassifier(penalty=L2(center=[2.0]), C=1e-6).fit(X, y)
    >>> model.coef_.round(3)
    array([[2.]])
    """

    smooth: ClassVar[bool] = True
    l1_ratio: float = field(default=0.0, init=False, repr=False)
    factor: Tensor | None = field(default=None, repr=False)
    scale: Tensor | None = field(default=None, repr=False)
    center: Any = field(default=None, kw_only=True)

    def of_features(
        self,
        n_features: int,
        factor: Tensor | None,
        device: torch.device,
        names: Any = None,
        n_outputs: int = 1,
    ) -> Self:
        """Return the penalty of so many features, each with its factor; check the center."""
        ridge = self._with_factor(factor, device)
        if self.center is None:
            return ridge
        given = in_order(rows_by_name(self.center), names, "center", 0.0)
        if isinstance(given, list):
            given = [in_order(row, names, "center", 0.0) for row in given]
        try:
            if np.iscomplexobj(given):
                raise ValueError("complex data not supported")
            center = torch.tensor(np.array(given, dtype=np.float64, order="C"), device=device)
        except (TypeError, ValueError) as error:
            raise ParameterError(f"center of L2 must hold numbers: {error}") from error
        shapes = [(n_features,), (n_outputs, n_features)]
        if tuple(center.shape) not in shapes:
            raise ParameterError(
                f"center of L2 has shape {tuple(center.shape)}, expected {shapes[0]} or "
                f"{shapes[1]}."
            )
        wrong = ~center.isfinite()
        if bool(wrong.any()):
            *_, place = wrong.nonzero()[0].tolist()
            raise ParameterError(
                f"center of L2 is {float(center[wrong][0])} for feature {place_of(place, names)}; "
                "it must be finite."
            )
        return ridge._with(center=center.reshape(-1, n_features))

    def without_center(self) -> tuple[Self, Tensor | None]:
        """Return the ridge towards zero, and the center."""
        return (self if self.center is None else self._with(center=None)), self.center

    def value(self, coef: Tensor) -> Tensor:
        return self.value_gradient(coef)[0]

    def value_gradient(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Value (m,) and ``f (w - c)`` (m, K, p)."""
        away = self._from_center(coef)
        gradient = away * self.weights(coef)[1]
        return (gradient * away).sum(dim=(1, 2)) / 2, gradient

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """Coefficients (m, K, p) whose sum over the classes is that of the center."""
        return coef - self._from_center(coef).mean(dim=1, keepdim=True)

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        away = self._from_center(coef)
        return super().prox(away, step) + (coef - away)

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        return super().subgradient_distance(self._from_center(coef), gradient, strength)

    def conjugate(self, dual: Tensor) -> Tensor:
        """``sum_j v_j^2 / (2 f_j) + v_j c_j``; inf where f_j = 0 (m,)."""
        from_zero = super().conjugate(dual)
        return from_zero if self.center is None else from_zero + (dual * self.center).sum((1, 2))

    def of_columns(self, columns: Tensor) -> Self:
        ridge = super().of_columns(columns)
        return ridge if self.center is None else ridge._with(center=self.center[..., columns])

    def in_units(self, scale: Tensor) -> Self:
        ridge = super().in_units(scale)
        return ridge if self.center is None else ridge._with(center=self.center * scale)

    def _from_center(self, coef: Tensor) -> Tensor:
        return coef if self.center is None else coef - self.center
