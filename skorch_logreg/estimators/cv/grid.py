"""Grid search: fits of all candidates, selection of one, and its fit on all rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from skorch_logreg.estimators.cv.attributes import CVResult, choose, choose_by_fold
from skorch_logreg.estimators.cv.folds import BatchScorer, FoldFits, FoldProblem
from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.fitting import Params, Status

__all__ = ["SelectedModel", "search"]

_Outcome = tuple[Status, float]


@dataclass(frozen=True)
class SelectedModel:
    """Selected model with the results of the search.

    Attributes
    ----------
    params : Params
        Parameters of one model, including liblinear's column.
    cv_result : CVResult
    optimality, duality_gap : float
    converged : bool
    n_passes : int
        Full reads of X.
    outcomes : list of (Status, float)
        Status and optimality of every model; those of the refit are last.
    """

    params: Params
    cv_result: CVResult
    optimality: float
    duality_gap: float
    converged: bool
    n_passes: int
    outcomes: list[_Outcome]


def search(
    folds: FoldProblem,
    chosen: CVOptions,
    classes: np.ndarray,
    batch_scorer: BatchScorer,
    refit: bool,
    *,
    selection: str,
) -> SelectedModel:
    """Fit all candidates on all folds, choose one, and fit it on all rows.

    Parameters
    ----------
    folds : FoldProblem
    chosen : CVOptions
        Candidates.
    classes : ndarray of shape (n_classes,)
        Labels.
    batch_scorer : BatchScorer
        Function that scores the held-out rows of a batch.
    refit : bool
        Whether to fit the chosen candidate on all rows; otherwise the folds' best are averaged.
    selection : {"best", "1se"}
        Rule by which a candidate is chosen.
    """
    Cs = torch.from_numpy(chosen.Cs.astype(np.float64))
    fits_by_l1_ratio: dict[float, FoldFits] = {}
    for l1_ratio in chosen.effective_l1_ratios:
        if l1_ratio not in fits_by_l1_ratio:
            fits_by_l1_ratio[l1_ratio] = folds.with_options(chosen.options(l1_ratio)).solve(
                Cs, batch_scorer
            )
    fits = [fits_by_l1_ratio[l1_ratio] for l1_ratio in chosen.effective_l1_ratios]
    outcomes = [outcome for each in fits_by_l1_ratio.values() for outcome in _outcomes(each)]
    n_passes = sum(each.n_passes for each in fits_by_l1_ratio.values())
    scores = np.stack([each.scores.numpy() for each in fits], axis=1)

    if refit:
        ratio, c = choose(scores, Cs.numpy(), selection)
        C, l1_ratio = float(Cs[c]), _ratio(chosen, ratio)
        problem = folds.with_options(chosen.options(chosen.effective_l1_ratios[ratio]))
        solution = problem.refit(Cs[c : c + 1], _mean_of_folds(fits[ratio], c))
        params = solution.params
        optimality, duality_gap = float(solution.optimality[0]), float(solution.duality_gap[0])
        outcomes.append((solution.status[0], optimality))
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

    cv_result = CVResult(
        scores=scores,
        n_iter=np.stack([each.n_iter.numpy() for each in fits], axis=1),
        paths=np.stack([_path(folds, each) for each in fits], axis=1),
        Cs=chosen.Cs,
        l1_ratios=chosen.l1_ratios,
        C=C,
        l1_ratio=l1_ratio,
        classes=classes,
    )
    return SelectedModel(params, cv_result, optimality, duality_gap, converged, n_passes, outcomes)


def _mean_of_folds(fits: FoldFits, c: int) -> Params | None:
    """Average the folds' models of one C, without folds that lack a class."""
    whole = [fold for fold, shows_all in enumerate(fits.shows_all) if shows_all]
    if not whole:
        return None
    return Params(
        fits.coef[whole, c].mean(dim=0, keepdim=True),
        fits.intercept[whole, c].mean(dim=0, keepdim=True),
    )


def _ratio(chosen: CVOptions, place: int) -> float:
    """Return a candidate's l1_ratio as given by the user, even if `penalty` overrides it."""
    return (
        chosen.effective_l1_ratios[place]
        if chosen.l1_ratios is None
        else float(chosen.l1_ratios[place])
    )


def _outcomes(fits: FoldFits) -> Sequence[_Outcome]:
    return list(zip(fits.status.ravel(), fits.optimality.ravel().tolist(), strict=True))


def _path(folds: FoldProblem, fits: FoldFits) -> np.ndarray:
    """Return coefficients (n_folds, n_cs, K, n_dof) in units of X, followed by the intercept."""
    params = folds.problem.without_column(Params(fits.coef, fits.intercept))
    if not folds.problem.fit_intercept:
        return params.coef.numpy()
    return torch.cat([params.coef, params.intercept[..., None]], dim=-1).numpy()
