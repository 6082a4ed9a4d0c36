"""From the models of all folds to the one that is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from skorch_logreg.estimators.cv.attributes import Found, choose, choose_by_fold
from skorch_logreg.estimators.cv.folds import FoldFits, FoldProblem, FoldScorer
from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.fitting import Params, Status

__all__ = ["Kept", "search"]

_End = tuple[Status, float]


@dataclass(frozen=True)
class Kept:
    """The model that is kept, and how it was found.

    Attributes
    ----------
    params : Params
        One model, as the core has it.
    found : Found
    optimality, duality_gap : float
    converged : bool
    n_passes : int
        Full reads of X.
    ends : list of (Status, float)
        How every model ended, with its optimality; the refit is the last.
    """

    params: Params
    found: Found
    optimality: float
    duality_gap: float
    converged: bool
    n_passes: int
    ends: list[_End]


def search(
    folds: FoldProblem,
    chosen: CVOptions,
    classes: np.ndarray,
    fold_scores: FoldScorer,
    refit: bool,
    by: str,
) -> Kept:
    """Fit all candidates on all folds, choose one, and fit it on all rows.

    Parameters
    ----------
    folds : FoldProblem
    chosen : CVOptions
        Candidates.
    classes : ndarray of shape (n_classes,)
        Labels.
    fold_scores : FoldScorer
        Scores held-out rows.
    refit : bool
        Else the means of every fold's best are kept.
    by : {"best", "1se"}
        How a candidate is chosen.
    """
    Cs = torch.from_numpy(chosen.Cs.astype(np.float64))
    by_share: dict[float, FoldFits] = {}
    for share in chosen.shares:
        if share not in by_share:
            by_share[share] = folds.under(chosen.options(share)).solve(Cs, fold_scores)
    fits = [by_share[share] for share in chosen.shares]
    ends = [end for each in by_share.values() for end in _ends(each)]
    n_passes = sum(each.n_passes for each in by_share.values())
    scores = np.stack([each.scores.numpy() for each in fits], axis=1)

    if refit:
        ratio, c = choose(scores, Cs.numpy(), by)
        C, l1_ratio = float(Cs[c]), _ratio(chosen, ratio)
        problem = folds.under(chosen.options(chosen.shares[ratio]))
        solution = problem.refit(Cs[c : c + 1], _mean_of_folds(fits[ratio], c))
        params = solution.params
        optimality, duality_gap = float(solution.optimality[0]), float(solution.duality_gap[0])
        ends.append((solution.status[0], optimality))
        converged = solution.status[0] is Status.CONVERGED
        n_passes += solution.n_passes
    else:
        best = [(fold, *place) for fold, place in enumerate(choose_by_fold(scores))]
        params = Params(
            torch.stack([fits[r].coef[fold, c] for fold, r, c in best]).mean(dim=0, keepdim=True),
            torch.stack([fits[r].intercept[fold, c] for fold, r, c in best]).mean(0, keepdim=True),
        )
        C = float(np.mean([Cs[c] for _, _, c in best]))
        l1_ratio = float(np.mean([_ratio(chosen, r) for _, r, _ in best]))
        optimality = max(float(fits[r].optimality[fold, c]) for fold, r, c in best)
        duality_gap = float("nan")
        converged = all(fits[r].status[fold, c] is Status.CONVERGED for fold, r, c in best)

    found = Found(
        scores=scores,
        n_iter=np.stack([each.n_iter.numpy() for each in fits], axis=1),
        paths=np.stack([_path(folds, each) for each in fits], axis=1),
        Cs=chosen.Cs,
        l1_ratios=chosen.l1_ratios,
        C=C,
        l1_ratio=l1_ratio,
        classes=classes,
    )
    return Kept(params, found, optimality, duality_gap, converged, n_passes, ends)


def _mean_of_folds(fits: FoldFits, c: int) -> Params | None:
    """Average the folds' models of one C, but for those of folds that lack a class."""
    whole = [fold for fold, shows_all in enumerate(fits.shows_all) if shows_all]
    if not whole:
        return None
    return Params(
        fits.coef[whole, c].mean(dim=0, keepdim=True),
        fits.intercept[whole, c].mean(dim=0, keepdim=True),
    )


def _ratio(chosen: CVOptions, place: int) -> float:
    """Name a candidate's l1_ratio as it was given, even if `penalty` overrules it."""
    return chosen.shares[place] if chosen.l1_ratios is None else float(chosen.l1_ratios[place])


def _ends(fits: FoldFits) -> Sequence[_End]:
    return list(zip(fits.status.ravel(), fits.optimality.ravel().tolist(), strict=True))


def _path(folds: FoldProblem, fits: FoldFits) -> np.ndarray:
    """Coefficients (n_folds, n_cs, K, n_dof) in units of X, the intercept last."""
    params = folds.problem.without_column(Params(fits.coef, fits.intercept))
    if not folds.problem.fit_intercept:
        return params.coef.numpy()
    return torch.cat([params.coef, params.intercept[..., None]], dim=-1).numpy()
