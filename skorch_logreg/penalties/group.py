"""The group lasso: features that come in together or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import in_order, indices_by_name
from skorch_logreg.penalties.protocol import FeaturePenalty, GroupTerms

_EPS = torch.finfo(torch.float64).eps


class Grouped(FeaturePenalty):
    """Penalty with groups of features.

    Attributes
    ----------
    groups : Tensor of int of shape (p,)
        Group of every feature; before `of_features`, as the user gives it.
    size : Tensor of shape (p,) or None
        Number of penalised features in every feature's group; None: as counted.
    """

    groups: Any
    size: Tensor | None

    def of_features(
        self,
        n_features: int,
        factor: Tensor | None,
        device: torch.device,
        names: Any = None,
        n_outputs: int = 1,
    ) -> Self:
        """Return the penalty of so many features, each with its factor; check the groups."""
        groups = torch.from_numpy(_groups_of(self.groups, n_features, names)).to(device)
        return self._with_factor(factor, device)._with(groups=groups)

    def without_excluded(self) -> tuple[Self, Tensor | None]:
        """Give excluded features a finite strength; they still do not count in their groups."""
        finite, excluded = super().without_excluded()
        return (finite if excluded is None else finite._with(size=self._sizes)), excluded

    def of_columns(self, columns: Tensor) -> Self:
        """Return the penalty of some features' coefficients, with the sizes of whole groups."""
        some = super().of_columns(columns)
        return some._with(groups=self._place[columns], size=self._sizes[columns])

    def blocks(self) -> Tensor:
        """Group (p,) of every feature."""
        return self._place

    @cached_property
    def _place(self) -> Tensor:
        """Group (p,) of every feature, numbered from 0."""
        return torch.unique(self.groups, return_inverse=True)[1]

    @cached_property
    def _sizes(self) -> Tensor:
        """``|g|`` (p,) of every feature's group."""
        if self.size is not None:
            return self.size
        counts = torch.ones_like(self._place, dtype=torch.float64)
        if self.factor is not None:
            counts[(self.factor == 0) | self.factor.isinf()] = 0.0
        total = counts.new_zeros(int(self._place.max()) + 1).index_add_(0, self._place, counts)
        return total[self._place]


@dataclass(frozen=True)
class GroupL2(Grouped):
    """Group lasso ``sum_g sqrt(|g|) (sum_{j in g} sum_k f_j^2 w_kj^2)^(1/2)``.

    A group's coefficients are all zero or, as a rule, none is.  With more than two classes a
    group spans its features' coefficients in every class k: a feature is in the model or not,
    as in glmnet's grouped multinomial.  ``|g|`` is the number of its features.  Where they share
    a factor it multiplies the group's norm; a group of one feature has the lasso.

    Parameters
    ----------
    groups : array of int of shape (n_features,), sequence of sequences, or dict
        The group of every feature, or the features of every group, by their places or, for rows
        with names, by their names. A dict has the features of every group by a label of the group;
        a feature that it leaves out is a group of its own.
    factor : Tensor of shape (n_features,) or None
        Strength of every feature, ``f``; 0: not penalised, inf: excluded.  Such a feature is in
        no group, and does not count in ``|g|``.  None: 1 for all.
    scale : Tensor of shape (n_features,) or None
        The penalty is that of ``coef / scale``; None: of ``coef`` itself.
    size : Tensor of shape (n_features,) or None
        ``|g|`` of every feature's group, where not all features are here; None: as counted.

    References
    ----------
    Yuan, Lin (2006). Model selection and estimation in regression with grouped variables.
    Meier, van de Geer, Buehlmann (2008). The group lasso for logistic regression, equation 2.2.
    Simon, Friedman, Hastie (2013). A blockwise descent algorithm for group-penalized multiresponse
    and multinomial regression.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.penalties import GroupL2
    >>> GroupL2(torch.tensor([0, 0, 1])).value(torch.tensor([[[3.0, 4.0, -2.0]]]))
    tensor([9.0711])

    As a parameter, with the features of every group:

    >>> from sklearn.datasets import load_iris
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> petal_or_sepal = GroupL2([[0, 1], [2, 3]])
    >>> model = TorchLogisticClassifier(penalty=petal_or_sepal, C=0.02).fit(X, y)
    >>> (model.coef_ != 0).all(axis=0)
    array([False, False,  True,  True])
    """

    groups: Any
    factor: Tensor | None = field(default=None, repr=False)
    scale: Tensor | None = field(default=None, repr=False)
    size: Tensor | None = field(default=None, repr=False)

    def value(self, coef: Tensor) -> Tensor:
        return self._norms(coef * self._weight(coef)).sum(dim=1)

    def prox(self, coef: Tensor, step: Tensor) -> Tensor:
        """Shrink every group towards zero.

        With ``D`` the weights of a group and ``r = |D x|``, the minimiser is
        ``x = v r / (r + step D^2)``; it is zero where ``|v / D| <= step``.
        """
        weight = self._weight(coef)
        inside, t = weight > 0, step[:, None]
        bend = t * weight.square()
        reach = self._norms(torch.where(inside, coef / weight, 0.0))
        pull = torch.where(reach[:, self._place] > t, bend, torch.inf)
        radius = self._radius(coef * weight, pull)
        radius = torch.where(reach > t, radius, 0.0)[:, self._place]
        shrink = radius / (radius + bend).clamp(min=1e-300)
        return torch.where(inside, coef * shrink[:, None, :], coef)

    def subgradient_distance(self, coef: Tensor, gradient: Tensor, strength: Tensor) -> Tensor:
        """Distance (m, K, p) of ``-gradient`` to the penalty's subdifferential.

        At zero it is what the prox leaves of ``-gradient`` (Moreau's decomposition).
        """
        unit, is_active = self.unit(coef)
        slope = (gradient + strength[:, None, None] * unit).abs()
        return torch.where(is_active, slope, self.prox(-gradient, strength).abs())

    def unit(self, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient (m, K, p) of the norms that are not zero, and a mask (m, 1, p)."""
        weight = self._weight(coef)
        norms = self._norms(coef * weight)[:, self._place][:, None, :]
        return weight.square() * coef / torch.where(norms > 0, norms, 1.0), norms > 0

    def terms(self, index: Tensor, like: Tensor) -> GroupTerms:
        """Return the weights and the groups of some coordinates."""
        return GroupTerms(self._weight(like)[index], self._place[index])

    def conjugate(self, dual: Tensor) -> Tensor:
        """Zero where ``|v / D| <= 1`` in every group, else inf (m,)."""
        return torch.where((self._dual_norms(dual) > 1).any(dim=1), torch.inf, 0.0).to(dual.dtype)

    def dual_scale(self, dual: Tensor) -> Tensor:
        """Largest factor (m,) with ``|v / D| <= 1`` in every group."""
        norms = self._dual_norms(dual)
        largest = int(self._place.bincount().max()) * dual.shape[1]
        # rounding must not leave a norm just above its bound
        room = 1 - 2 * _EPS * (1 + largest**0.5)
        return (room / norms.amax(dim=1)).clamp(max=1.0)

    def balanced(self, coef: Tensor, strength: Tensor) -> Tensor:
        """Coefficients (m, K, p) that sum to zero over the classes: the norms are then least."""
        return coef - coef.mean(dim=1, keepdim=True)

    def pooled(self, distance: Tensor) -> Tensor:
        """Give the coefficients of a group the largest of their distances (K, p)."""
        each = distance.amax(dim=0)
        most = each.new_zeros(self._n_groups)
        most.scatter_reduce_(0, self._place, each, "amax")
        return most[self._place].expand_as(distance)

    @property
    def _n_groups(self) -> int:
        return int(self._place.max()) + 1

    def _weight(self, like: Tensor) -> Tensor:
        """Weights (p,) ``D = f sqrt(|g|) / scale`` in a group's norm."""
        weight = self._sizes.to(like).sqrt()
        weight = weight if self.factor is None else weight * self.factor
        return weight if self.scale is None else weight / self.scale

    def _norms(self, weighted: Tensor) -> Tensor:
        """Norms (m, n_groups) of the groups in an array (m, K, p)."""
        total = self._sums(weighted.square().sum(dim=1))
        # the root has no gradient at zero, where zero is a subgradient of the norm
        return torch.where(total > 0, torch.where(total > 0, total, 1.0).sqrt(), 0.0)

    def _sums(self, values: Tensor) -> Tensor:
        """Add an array (m, p) up over the features of every group, (m, n_groups)."""
        return values.new_zeros(len(values), self._n_groups).index_add(1, self._place, values)

    def _dual_norms(self, dual: Tensor) -> Tensor:
        weight = self._weight(dual)
        return self._norms(torch.where(dual == 0, 0.0, dual / weight))

    def _radius(self, weighted: Tensor, bend: Tensor) -> Tensor:
        """Root ``r`` (m, n_groups) of ``sum_j weighted_j^2 / (r + bend_j)^2 = 1``.

        Newton's method on the inverse of the root of the sum, which is concave in ``r``, comes
        from below and nowhere goes beyond.

        References
        ----------
        Conn, Gould, Toint (2000). Trust-region methods, section 7.3.
        """
        size = weighted.square().sum(dim=1).sqrt()
        most = bend.new_zeros(len(bend), self._n_groups)
        most.scatter_reduce_(1, self._place.expand_as(bend), bend, "amax")
        radius = (self._norms(weighted) - most).clamp(min=0.0)
        while True:
            reach = (radius[:, self._place] + bend).clamp(min=1e-300)
            shares = (size / reach).square()
            total, steep = self._sums(shares), self._sums(shares / reach)
            move = torch.where(total > 1, total * (total.sqrt() - 1) / steep, 0.0)
            if not bool((move > _EPS * radius).any()):
                return radius
            radius = radius + move


def _groups_of(groups: Any, n_features: int, names: Any) -> np.ndarray:
    """Group (n_features,) of every feature, from any way of saying it."""
    if isinstance(groups, Mapping):
        found = _from_lists(groups, n_features, names)
        alone = np.flatnonzero(found < 0)
        found[alone] = len(groups) + np.arange(len(alone))
        return found
    if isinstance(groups, Sequence) and any(np.ndim(group) for group in groups):
        found = _from_lists(dict(enumerate(groups)), n_features, names)
        missing = np.flatnonzero(found < 0)
        if len(missing):
            raise ParameterError(
                f"Feature {missing[0]} is in none of the groups ({len(missing)} of {n_features} "
                "are not); give it one of its own, which is the lasso, or penalty_factor 0."
            )
        return found
    try:
        each = np.asarray(in_order(groups, names, "groups", None))
    except Exception as error:
        raise ParameterError(f"groups must hold integers: {error}") from error
    if each.dtype.kind not in "iu":
        raise ParameterError(
            "groups must be integers, the group of every feature, or a list or dict with the "
            f"features of every group; got {groups!r}."
        )
    if each.shape != (n_features,):
        raise ParameterError(
            f"groups has shape {each.shape}, expected (n_features,) = ({n_features},)."
        )
    return np.unique(each, return_inverse=True)[1].astype(np.int64)


def _from_lists(groups: Mapping[Any, Any], n_features: int, names: Any) -> np.ndarray:
    """Return the group (n_features,) of every feature, -1 for features that are in none."""
    found, labels = np.full(n_features, -1, dtype=np.int64), list(groups)
    for number, (label, features) in enumerate(groups.items()):
        members = np.asarray(features)
        if members.dtype.kind in "UO" and members.ndim == 1:
            members = np.array(indices_by_name(members.tolist(), names, f"groups[{label!r}]"))
        if members.ndim != 1 or not len(members) or members.dtype.kind not in "iu":
            raise ParameterError(
                f"groups[{label!r}] is {features!r}; expected a list of the places of its "
                "features, or of their names."
            )
        for feature in members.tolist():
            if not 0 <= feature < n_features:
                raise ParameterError(
                    f"groups[{label!r}] holds feature {feature}, but X has {n_features} features, "
                    f"0 to {n_features - 1}."
                )
            if found[feature] >= 0:
                raise ParameterError(
                    f"Feature {feature} is in groups[{labels[found[feature]]!r}] and in "
                    f"groups[{label!r}]; groups must not overlap."
                )
            found[feature] = number
    return found
