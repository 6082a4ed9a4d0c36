"""Average marginal effects on the probabilities of ordered classes."""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from skorch_logreg.analysis.ordered_model import OrderedModel


def ordered_effects(fit: OrderedModel, discrete: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the effects (n_classes, n_features) and their derivatives in the parameters of Z.

    The effect of a feature on class k is the mean of ``w_j (f(t_(k-1) - x w) - f(t_k - x w))`` over
    the rows, with the density f of the logistic distribution; that of a discrete feature the mean
    difference of the class's probability between 1 and 0.
    """
    share = fit.count / fit.count.sum()
    logits, thresholds = fit.logits[:, 0, 0].numpy(), fit.loss.thresholds[0].numpy()
    scale = fit.units.scale.numpy()
    n_classes, p = len(fit.classes), len(fit.coef)
    # probabilities of the classes are differences of those of not being above a threshold
    below = np.zeros((p, n_classes - 1))
    jacobian = np.zeros((p, n_classes - 1, p + n_classes - 1))
    proba = expit(thresholds - logits[:, None])
    density = share[:, None] * proba * (1 - proba)
    slope = -density * (1 - 2 * proba)  # derivative of the density in the logit
    moments = np.sum([Z.T @ slope[rows] for rows, Z in fit.blocks()], axis=0)
    for j in range(p):
        if j in discrete:
            below[j], jacobian[j] = _difference(fit, j, share)
            continue
        below[j] = -fit.coef[j] * density.sum(axis=0)
        jacobian[j, :, :p] = -fit.coef[j] * moments.T
        jacobian[j, :, j] -= density.sum(axis=0) / scale[j]
        jacobian[j, :, p:] = np.diag(fit.coef[j] * slope.sum(axis=0))
    jacobian[..., p:] = jacobian[..., p:] @ np.tril(np.ones((n_classes - 1,) * 2))
    effects = np.diff(below, axis=1, prepend=0.0, append=0.0).T
    of_classes = np.diff(jacobian, axis=1, prepend=0.0, append=0.0).swapaxes(0, 1)
    return effects, of_classes


def _difference(fit: OrderedModel, j: int, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the differences (n_classes - 1,) between 1 and 0, and their derivatives."""
    thresholds, p = fit.loss.thresholds[0].numpy(), len(fit.coef)
    center, scale = fit.units.center.numpy(), fit.units.scale.numpy()
    effect, jacobian = np.zeros(len(thresholds)), np.zeros((len(thresholds), len(fit.names)))
    for value, sign in ((1.0, 1.0), (0.0, -1.0)):
        at = (value - center[j]) / scale[j]
        for rows, Z in fit.blocks():
            Z = Z.copy()
            Z[:, j] = at
            proba = expit(thresholds - (Z @ (fit.coef * scale))[:, None])
            density = share[rows, None] * proba * (1 - proba)
            effect += sign * (share[rows] @ proba)
            jacobian[:, :p] -= sign * (density.T @ Z)
            jacobian[:, p:] += sign * np.diag(density.sum(axis=0))
    return effect, jacobian
