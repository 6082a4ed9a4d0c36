"""Average marginal effects on the probabilities of classes without an order."""

from collections.abc import Sequence

import numpy as np
import torch

from skorch_logreg.analysis.fitted_model import FittedModel


def class_effects(fit: FittedModel, discrete: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the effects (n_classes, n_features) and their derivatives in the parameters of Z.

    The effect of a feature on class k is the mean of ``p_k (w_k - sum_l p_l w_l)`` over the rows;
    that of a discrete feature the mean difference of the class's probability between 1 and 0. With
    two classes the first has no parameters, and ``w_0`` is 0.
    """
    coef = fit.params[:, :-1]
    n_outputs, p = coef.shape
    n_classes = len(fit.classes)
    coef = np.vstack([np.zeros((n_classes - n_outputs, p)), coef])
    scale, first = fit.units.scale.numpy(), n_classes - n_outputs
    share = fit.count / fit.count.sum()
    effects, jacobian = np.zeros((n_classes, p)), np.zeros((n_classes, p, n_outputs, p + 1))
    proba = fit.objective.loss.predict_proba(fit.point.logits)[:, 0].numpy()
    for rows, Z in fit.blocks():
        own = proba[rows]
        weighted = share[rows, None] * own
        away = coef - (own @ coef)[:, None]  # of the rows, classes and features
        effects += np.einsum("ik,ikj->kj", weighted, away)
        for k in range(n_classes):
            # derivatives in the logits: of the probability, and of the mean coefficient
            slope = weighted[:, k, None] * ((np.arange(n_classes) == k) - own)
            change = slope[..., None] * away[:, k, None]
            change -= (weighted[:, k, None] * own)[..., None] * away
            jacobian[k] += np.einsum("ilj,iq->jlq", change[:, first:], Z)
            jacobian[k, range(p), :, range(p)] += slope.sum(axis=0)[first:] / scale[:, None]
    for j in discrete:
        effects[:, j], jacobian[:, j] = _difference(fit, j, share)
    return effects, jacobian.reshape(n_classes, p, -1)


def _difference(fit: FittedModel, j: int, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences (n_classes,) between 1 and 0, and their derivatives."""
    center, scale = fit.units.center.numpy(), fit.units.scale.numpy()
    params, n_classes = fit.point.params[0].numpy(), len(fit.classes)
    effect, jacobian = np.zeros(n_classes), np.zeros((n_classes, *params.shape))
    for value, sign in ((1.0, 1.0), (0.0, -1.0)):
        for rows, Z in fit.blocks():
            Z[:, j] = (value - center[j]) / scale[j]
            logits = torch.from_numpy(Z @ params.T)[:, None]
            proba = fit.objective.loss.predict_proba(logits)[:, 0].numpy()
            weighted = sign * share[rows, None] * proba
            effect += weighted.sum(axis=0)
            first = n_classes - len(params)
            for k in range(n_classes):
                slope = weighted[:, k, None] * ((np.arange(n_classes) == k) - proba)
                jacobian[k] += slope[:, first:].T @ Z
    return effect, jacobian
