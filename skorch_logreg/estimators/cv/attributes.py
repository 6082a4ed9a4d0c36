"""Selection of a candidate, and fitted attributes in scikit-learn's two layouts."""

from typing import Any

import numpy as np

from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.exceptions import ParameterError, warn_user

__all__ = ["choose", "choose_by_fold", "cv_attributes"]


def choose(scores: np.ndarray, Cs: np.ndarray, selection: str) -> tuple[int, int]:
    """Choose a candidate by its mean score over the folds.

    Parameters
    ----------
    scores : ndarray of shape (n_folds, n_l1_ratios, n_cs)
        Scores; larger is better, and a score that is not finite is the worst.
    Cs : ndarray of shape (n_cs,)
    selection : {"best", "1se"}
        "best": the largest mean score. "1se": the smallest C, with the best candidate's l1_ratio,
        whose mean score is within one standard error of the best, that of the best candidate.

    Returns
    -------
    ratio, c : int
        Indices of its l1_ratio and its C; ties go to the first C, then to the first l1_ratio.

    Raises
    ------
    ParameterError
        If selection is "1se" with a single fold, which does not give a standard error.

    Warns
    -----
    UserWarning
        If a mean is not finite.
    """
    mean = _finite(scores.mean(axis=0))
    c, ratio = np.unravel_index(np.argmax(mean.T), mean.T.shape)
    if selection == "1se":
        n_folds = scores.shape[0]
        if n_folds < 2:
            raise ParameterError("selection='1se' needs at least 2 folds, cv yields one.")
        error = scores[:, ratio, c].std(ddof=1) / np.sqrt(n_folds)
        within = np.flatnonzero(mean[ratio] >= mean[ratio, c] - error)
        if within.size:  # empty if no score is finite
            c = within[np.argmin(Cs[within])]
    return int(ratio), int(c)


def choose_by_fold(scores: np.ndarray) -> list[tuple[int, int]]:
    """Choose the best candidate of every fold, with the order of `choose`."""
    scores = _finite(scores)
    n_ratios = scores.shape[1]
    best = scores.swapaxes(1, 2).reshape(len(scores), -1).argmax(axis=1)
    return [(int(place % n_ratios), int(place // n_ratios)) for place in best]


def _finite(scores: np.ndarray) -> np.ndarray:
    """Replace NaN scores by -inf; warn of non-finite scores."""
    if np.isfinite(scores).all():
        return scores
    warn_user(f"One or more of the test scores are non-finite: {scores}")
    return np.where(np.isnan(scores), -np.inf, scores)


def cv_attributes(
    chosen: CVOptions,
    *,
    scores: np.ndarray,
    n_iter: np.ndarray,
    paths: np.ndarray,
    C: float,
    l1_ratio: float,
    classes: np.ndarray,
    refit: bool,
) -> dict[str, Any]:
    """Return the fitted attributes of a cross-validation in the layout that the options specify.

    Parameters
    ----------
    chosen : CVOptions
    scores, n_iter : ndarray of shape (n_folds, n_l1_ratios, n_cs)
    paths : ndarray of shape (n_folds, n_l1_ratios, n_cs, K, n_dof)
        Coefficients, with the intercept last where there is one.
    C, l1_ratio : float
        Chosen values, or the means of those of the folds.
    classes : ndarray of shape (n_classes,)
    refit : bool
    """
    if not chosen.use_legacy_attributes:
        return chosen.attributes() | {
            "C_": C,
            "l1_ratio_": l1_ratio,
            "scores_": scores,
            "n_iter_": n_iter,
            "coefs_paths_": paths,
        }
    # dicts by class (for two classes, only the second), with Cs before l1_ratios, and without an
    # axis of l1_ratios if none were given
    labels = classes[1:] if len(classes) == 2 else classes
    scores, n_iter = scores.swapaxes(1, 2), n_iter.swapaxes(1, 2)
    paths = np.moveaxis(paths, 3, 0).swapaxes(2, 3)
    legacy_l1_ratio: float | None = l1_ratio
    if chosen.l1_ratios is None:
        scores, n_iter, paths = scores[..., 0], n_iter[..., 0], paths[..., 0, :]
        legacy_l1_ratio = None if refit else l1_ratio
    return chosen.attributes() | {
        "C_": np.full(len(labels), C),
        "l1_ratio_": np.full(len(labels), legacy_l1_ratio),
        "scores_": {label: scores.copy() for label in labels},
        "n_iter_": n_iter[None],
        "coefs_paths_": dict(zip(labels, paths.copy(), strict=True)),
    }
