"""Grid search: fits of all candidates on all folds, selection of one, and its fit on all rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.cv.attributes import CVResult, choose, choose_by_fold
from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import FitResult, Params, Progress, Status
from skorch_logreg.fitting.batch import BatchFitter, Models, classes_shown
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.scoring import FoldRows, HeldOutScorer

__all__ = ["GridSearch", "SelectedModel"]

# logit of a class that a fold lacks: its probability rounds to 0 beside 1, and means over folds
# stay those of probabilities that other folds could give
_CERTAIN_LOGIT = 40.0


@dataclass(frozen=True)
class SelectedModel:
    """Selected model, of one model including liblinear's column, with the results of the search.

    ``outcomes`` has the status and optimality of every model; those of the refit are last.
    """

    fit: FitResult
    cv_result: CVResult
    n_passes: int
    outcomes: list[tuple[Status, float]]


@dataclass(frozen=True)
class GridSearch:
    """Data and settings of the fits of all folds and candidates.

    Parameters
    ----------
    problem : Problem
    chosen : CVOptions
        Candidates.
    design : object
        ``problem.design`` of the rows.
    index : Tensor of shape (n_samples,), int64
        Class indices.
    weight : Tensor of shape (n_samples,) or None
        Sample weight times class weight.
    train : FoldRows
        Training rows of the folds.
    scorer : HeldOutScorer
    tol, max_iter, memory_budget, verbose
        Parameters of the estimator.
    """

    problem: Problem
    chosen: CVOptions
    design: Any
    index: Tensor
    weight: Tensor | None
    train: FoldRows
    scorer: HeldOutScorer
    tol: float
    max_iter: int
    memory_budget: int | None
    verbose: bool

    def run(self, classes: np.ndarray, refit: bool, selection: str) -> SelectedModel:
        """Fit all candidates on all folds, choose one, and fit it on all rows.

        Without ``refit`` the folds' best models are averaged; ``selection`` is the estimator's.

        Raises
        ------
        ParameterError
            If a fold has no training row with a weight.
        """
        chosen, Cs = self.chosen, torch.from_numpy(self.chosen.Cs.astype(np.float64))
        ratios = list(dict.fromkeys(chosen.effective_l1_ratios))
        place = [ratios.index(ratio) for ratio in chosen.effective_l1_ratios]
        shape = len(ratios), self.train.n_folds, len(Cs)
        weight = self._fold_weight()
        shown = self._classes_shown(weight)
        fitter = self._fitter(ratios, weight)
        found, fits = self._fit_folds(fitter, Cs, shape)
        models = np.arange(found.size).reshape(shape)[place].swapaxes(0, 1)
        scores = found.ravel()[models]
        params = Params(fits.params.coef.cpu()[models], fits.params.intercept.cpu()[models])
        if refit:
            ratio, c = choose(scores, Cs.numpy(), selection)
            whole = np.flatnonzero(shown.all(axis=1))
            start = _mean(params, (whole, ratio, c)) if len(whole) else None
            last = self._refit(
                fitter,
                Models(np.zeros(1, int), Cs[c : c + 1], np.array([place[ratio]]), start=start),
            )
            C, l1_ratio = float(Cs[c]), self._ratio(ratio)
        else:
            best_ratio, best_c = np.array(choose_by_fold(scores)).T
            best = np.arange(len(scores)), best_ratio, best_c
            last = _averaged(fits, models[best], _mean(params, best))
            C = float(np.mean(Cs.numpy()[best_c]))
            l1_ratio = float(np.mean([self._ratio(ratio) for ratio in best_ratio]))
        cv_result = CVResult(
            scores=scores,
            n_iter=fits.n_iter.cpu().to(torch.int32)[models].numpy(),
            paths=self._paths(params),
            Cs=chosen.Cs,
            l1_ratios=chosen.l1_ratios,
            C=C,
            l1_ratio=l1_ratio,
            classes=classes,
        )
        outcomes = [
            (end, x)
            for fit in ([fits, last] if refit else [fits])
            for end, x in zip(fit.status, fit.optimality.tolist(), strict=True)
        ]
        return SelectedModel(last, cv_result, fits.n_passes + last.n_passes, outcomes)

    def _fold_weight(self) -> Tensor:
        """Return the weights (n_samples, n_folds) of the rows in every fold."""
        counts = self.train.counts(len(self.index))
        return counts if self.weight is None else counts.mul_(self.weight.cpu()[:, None])

    def _classes_shown(self, weight: Tensor) -> np.ndarray:
        """Return for every fold (row) and class (column) whether a model needs no limit for it."""
        shown = classes_shown(self.index, weight, self.problem.n_classes)
        for fold in np.flatnonzero(~shown.any(axis=1)):
            raise ParameterError(f"Fold {fold} of cv has no training row with a positive weight.")
        return shown if self.problem.has_free_intercept else np.ones_like(shown)

    def _fitter(self, ratios: Sequence[float], weight: Tensor) -> BatchFitter:
        problem = self.problem

        def columns(folds: np.ndarray) -> tuple[Tensor, Tensor | None]:
            return self.index, weight if len(folds) == weight.shape[1] else weight[:, folds]

        fitter = problem.batch_fitter(
            self.design,
            columns,
            fitting.models_at_once(
                len(self.index), problem.n_features, problem.loss.n_outputs, self.memory_budget
            ),
            penalties=[self.chosen.options(ratio) for ratio in ratios],
            report=(lambda part: _report) if self.verbose else None,
            tol=self.tol,
            max_iter=self.max_iter,
            bound=False,
            dtype=problem.stored_dtype,
        )
        return replace(fitter, certain_logit=_CERTAIN_LOGIT)

    def _fit_folds(
        self, fitter: BatchFitter, Cs: Tensor, shape: tuple[int, int, int]
    ) -> tuple[np.ndarray, FitResult]:
        """Fit and score models of all l1_ratios, folds and Cs, which is the shape of results."""
        ratio, fold, c = np.indices(shape).reshape(3, -1)
        scores = np.empty(shape)

        def score(part: np.ndarray, result: FitResult) -> None:
            folds, cs = np.unique(fold[part]), np.unique(c[part])
            params = self.problem.without_column(result.params)
            # slicing collects the logits of out-of-core rows
            found = self.scorer(folds, np.zeros_like(cs), cs, result.logits[0:], params)
            scores[np.ix_(ratio[part[:1]], folds, cs)] = found

        return scores, fitter.fit_all(Models(fold, Cs[c], ratio, c), score)

    def _refit(self, fitter: BatchFitter, models: Models) -> FitResult:
        """Fit one candidate on all rows."""
        return replace(
            fitter,
            columns=lambda _: (self.index, self.weight),
            options={**fitter.options, "bound": True},
        ).fit_all(models)

    def _ratio(self, place: int) -> float:
        """Return a candidate's l1_ratio as given by the user, even if `penalty` overrides it."""
        ratios = self.chosen.l1_ratios
        return float((self.chosen.effective_l1_ratios if ratios is None else ratios)[place])

    def _paths(self, params: Params) -> np.ndarray:
        """Return coefficients (..., n_dof) in units of X, followed by the intercept."""
        params = self.problem.without_column(params)
        if not self.problem.fit_intercept:
            return params.coef.numpy()
        return torch.cat([params.coef, params.intercept[..., None]], dim=-1).numpy()


def _mean(params: Params, place: Any) -> Params:
    """Average the parameters of some models."""
    return Params(
        params.coef[place].mean(dim=0, keepdim=True),
        params.intercept[place].mean(dim=0, keepdim=True),
    )


def _averaged(fits: FitResult, models: np.ndarray, params: Params) -> FitResult:
    """Return an average of models, which converged if all of them did."""
    ends = [fits.status[model] for model in models]
    failed = [end for end in ends if end is not Status.CONVERGED]
    return replace(
        fits,
        params=params,
        status=(failed[0] if failed else Status.CONVERGED,),
        n_passes=0,
        optimality=fits.optimality[models].max()[None],
        duality_gap=torch.full((1,), torch.nan, dtype=torch.float64),
    )


def _report(progress: Progress) -> bool:
    """Print a line on the progress; never ask to stop."""
    print(
        f"[TorchLogisticClassifierCV] iteration {progress.n_iter}: "
        f"{len(progress.optimality)} models at work, "
        f"largest optimality {float(progress.optimality.max()):.3g}",
        flush=True,
    )
    return False
