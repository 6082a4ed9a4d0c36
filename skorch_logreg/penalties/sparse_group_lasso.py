"""The sparse group lasso: few groups, and few features within each."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.penalties.elastic_net import ElasticNet
from skorch_logreg.penalties.group import Grouped, GroupL2
from skorch_logreg.penalties.protocol import CoordinateTerms, GroupTerms


@dataclass(frozen=True)
class SparseGroupLasso(Grouped):
    """Sparse group lasso ``l1_ratio * lasso + (1 - l1_ratio) * group lasso``.

    With the strengths ``f`` of the features it is::

        sum_j f_j l1_ratio sum_k |w_kj|
        + sum_g sqrt(|g|) (1 - l1_ratio) (sum_{j in g} sum_k f_j^2 w_kj^2)^(1/2)

    where the norm is that of `GroupL2`: over the features of a group, in every class k.  So whole
    groups are zero, and some features, in some classes, of the others.

    Parameters
    ----------
    groups : array of int of shape (n_features,), sequence of sequences, or dict
        The group of every feature, or the features of every group, as in `GroupL2`.
    l1_ratio : float, default=0.5
        Share of the lasso, in [0, 1]; 0 is the group lasso, 1 the lasso.
    factor : Tensor of shape (n_features,) or None
        Strength of every feature, ``f``; 0: not penalised, inf: excluded.  Such a feature does
        not count in ``|g|``.  None: 1 for all.
    scale : Tensor of shape (n_features,) or None
        The penalty is that of ``coef / scale``; None: of ``coef`` itself.
    size : Tensor of shape (n_features,) or None
        ``|g|`` of every feature's group, where not all features are here; None: as counted.

    References
    ----------
    Simon, Friedman, Hastie, Tibshirani (2013). A sparse-group lasso, Journal of Computational and
    Graphical Statistics 22, doi:10.1080/10618600.2012.681250.
    Ndiaye, Fercoq, Gramfort, Salmon (2016). GAP safe screening rules for sparse-group lasso, on the
    dual norm.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.penalties import SparseGroupLasso
    >>> X, y = load_iris(return_X_y=True)
    >>> petal_or_sepal = SparseGroupLasso([[0, 1], [2, 3]])
    >>> model = TorchLogisticClassifier(penalty=petal_or_sepal, C=0.05).fit(X, y)
    >>> (model.coef_ != 0).any(axis=0)
    array([False, False,  True,  True])
    """

    groups: Any
    l1_ratio: float = 0.5
    factor: Tensor | None = field(default=None, repr=False)
    scale: Tensor | None = field(default=None, repr=False)
    size: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.l1_ratio <= 1:
            raise ParameterError(f"l1_ratio must be in [0, 1], got {self.l1_ratio!r}.")

    def value(self, coef: Tensor) -> Tensor:
        lasso, group = self._parts
        return lasso.value(coef) + group.value(coef)

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """Soft threshold, then shrink every group, which keeps signs and zeros (Simon et al.)."""
        lasso, group = self._parts
        return group.prox(lasso.prox(coef, step), step)

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        """Distance (m, K, p) of ``-gradient`` to the penalty's subdifferential.

        In a group that is not zero it is that of the lasso, with the gradient of the group's norm;
        at zero what the prox leaves of ``-gradient`` (Moreau's decomposition).
        """
        lasso, group = self._parts
        unit, is_active = group.unit(coef)
        inside = gradient + strength[:, None, None] * unit
        distance = lasso.subgradient_distance(coef, inside, strength)
        at_zero = self.prox(-gradient, strength).abs()
        return torch.where(is_active | (self.l1_ratio == 1), distance, at_zero)

    def terms(self, index: Tensor, like: Tensor) -> CoordinateTerms | GroupTerms | None:
        """Return the terms of a pure lasso or group lasso."""
        if 0 < self.l1_ratio < 1:
            return None
        return self._parts[0 if self.l1_ratio == 1 else 1].terms(index, like)

    def conjugate(self, dual: Tensor) -> Tensor:
        """Zero where ``|S(v) / D| <= 1`` in every group, else inf (m,).

        With the soft threshold S and the weights D of the group lasso, this is where ``v`` is the
        sum of a dual point of the lasso and one of the group lasso, as Simon et al. show for zero
        groups.
        """
        lasso, group = self._parts
        return group.conjugate(lasso.prox(dual, torch.ones_like(dual[:, 0, 0])))

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """Return the lasso's constants for a pure lasso; else the minimiser is unique."""
        if self.l1_ratio == 1:
            return self._parts[0].balanced(coef, strength)
        return super().balanced(coef, strength)

    @cached_property
    def _parts(self) -> tuple[ElasticNet, GroupL2]:
        """The lasso and the group lasso, each with its share of the strengths."""
        factor = torch.ones_like(self._sizes) if self.factor is None else self.factor
        return (
            ElasticNet(1.0, self.l1_ratio * factor, self.scale),
            GroupL2(self._place, (1 - self.l1_ratio) * factor, self.scale, self._sizes),
        )
