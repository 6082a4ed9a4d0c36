"""Grid search: fits of all candidates on all folds, selection of one, and its fit on all rows."""

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.estimators.cached_logits import CachedLogitsClassifier
from skorch_logreg.estimators.callbacks import print_progress
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.fitting import FitResult, Params, Status
from skorch_logreg.fitting.batch import BatchFitter, Models, classes_shown
from skorch_logreg.inputs.out_of_core import rows_for_splitter
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.scoring import FoldRows, HeldOutScorer

# logit of a class that a fold lacks: its probability rounds to 0 next to 1, and means over folds
# stay those of probabilities that other folds could give
_CERTAIN_LOGIT = -math.log(torch.finfo(torch.float64).eps / 4)


def split_rows(cv: Any, splitter: Any, X: Any, y: Any, **params: Any) -> tuple[FoldRows, FoldRows]:
    """Return the training and the held-out rows of every fold of the parameter ``cv``."""
    splits = list(splitter.split(rows_for_splitter(X), y, **params))
    if not splits:
        raise ParameterError(f"cv={cv!r} yields no folds.")
    train, test = (FoldRows.of(rows, X.shape[0]) for rows in zip(*splits, strict=True))
    return train, test


def held_out_scorer(
    estimator: Any, inputs: FitInput, chosen: CVOptions, **fields: Any
) -> HeldOutScorer:
    """Build the scorer of a `TorchLogisticClassifierCV`; ``fields`` are its other fields."""
    template = TorchLogisticClassifier(solver=estimator.solver)
    return HeldOutScorer(
        scoring="accuracy" if chosen.scoring is None else chosen.scoring,
        classifier=lambda *args, **own: CachedLogitsClassifier.of(template, *args, **own),
        X=inputs.X,
        Cs=chosen.Cs,
        namespace=inputs.namespace,
        **fields,
    )


def fit_folds(
    problem: Problem,
    fitter: BatchFitter,
    chosen: CVOptions,
    scorer: HeldOutScorer,
    constant: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, FitResult]:
    """Fit and score the candidates of all folds and labels together.

    Column ``fold * n_labels + label`` of the fitter has the targets and weights of a label in a
    fold, and ``constant`` (n_labels,) is as in `Models`. Equal l1_ratios are fitted once. Return
    the scores of held-out rows and the numbers of the models, (n_l1_ratios, n_folds, n_labels,
    n_cs), and the result of all models.
    """
    l1_ratios = chosen.effective_l1_ratios
    first = [l1_ratios.index(l1_ratio) for l1_ratio in l1_ratios]
    distinct, place = np.unique(first, return_inverse=True)
    n_labels, n_cs = len(scorer.thresholds), len(chosen.Cs)
    shape = len(distinct), scorer.held_out.n_folds, n_labels, n_cs
    ratio, fold, label, c = np.indices(shape).reshape(4, -1)
    candidate = label * n_cs + c
    scores = np.empty(shape)

    def score(part: np.ndarray, result: FitResult) -> None:
        folds, candidates = np.unique(fold[part]), np.unique(candidate[part])
        labels, cs = np.divmod(candidates, n_cs)
        params = problem.without_column(result.params)
        # slicing collects the logits of out-of-core rows
        found = scorer(folds, labels, cs, result.logits[0:], params)
        scores[ratio[part[0]], folds[:, None], labels, cs] = found

    models = Models(
        fold * n_labels + label,
        chosen.c_values[c],
        penalty=distinct[ratio],
        group=candidate,
        constant=None if constant is None else constant[label],
    )
    fits = fitter.fit_all(models, score)
    return scores[place], np.arange(len(fold)).reshape(shape)[place], fits


@dataclass(frozen=True)
class GridSearch:
    """Validated input and settings of a `TorchLogisticClassifierCV`'s search.

    ``train`` are the training rows of the folds.
    """

    estimator: Any
    inputs: FitInput
    problem: Problem
    chosen: CVOptions
    train: FoldRows
    scorer: HeldOutScorer

    def run(self) -> tuple[FitResult, dict[str, Any], list[tuple[Status, float]]]:
        """Fit all candidates on all folds, choose one, and fit it on all rows.

        Without `refit` the folds' best models are averaged. Return the selected model with the
        passes of all fits, the search's fitted attributes, and the status and optimality of fits.
        """
        estimator, chosen = self.estimator, self.chosen
        index, weight = self.inputs.weighted_targets(estimator.class_weight)
        fold_weight = self.train.counts(len(index))
        if weight is not None:
            fold_weight.mul_(weight.cpu()[:, None])
        shown = classes_shown(index, fold_weight, self.problem.n_classes)
        for fold in np.flatnonzero(~shown.any(axis=1)):
            raise ParameterError(f"Fold {fold} of cv has no training row with a positive weight.")
        fitter = self._fitter(index, fold_weight)
        scores, numbers, fits = fit_folds(self.problem, fitter, chosen, self.scorer)
        scores, numbers = scores[:, :, 0].swapaxes(0, 1), numbers[:, :, 0].swapaxes(0, 1)
        params = Params(fits.params.coef.cpu()[numbers], fits.params.intercept.cpu()[numbers])
        outcomes = list(zip(fits.status, fits.optimality.tolist(), strict=True))
        if estimator.refit:
            ratio, c = choose(scores, chosen.Cs, estimator.selection)
            whole = np.flatnonzero(shown.all(axis=1) | (not self.problem.has_free_intercept))
            start = _mean(params, (whole, ratio, c)) if len(whole) else None
            last = replace(
                fitter, columns=lambda _: (index, weight), options={**fitter.options, "bound": True}
            ).fit_all(
                Models(np.zeros(1, int), chosen.c_values[c, None], np.array([ratio]), start=start)
            )
            outcomes += zip(last.status, last.optimality.tolist(), strict=True)
        else:
            ratio, c = np.array(choose_by_fold(scores)).T
            best = np.arange(len(scores)), ratio, c
            ends = [fits.status[model] for model in numbers[best]]
            last = replace(  # an average of models, which converged if all of them did
                fits,
                params=_mean(params, best),
                status=(next((end for end in ends if end is not Status.CONVERGED), ends[0]),),
                n_passes=0,
                optimality=fits.optimality[numbers[best]].max()[None],
                duality_gap=torch.full((1,), torch.nan, dtype=torch.float64),
            )
        n_iter = fits.n_iter.cpu().to(torch.int32)[numbers].numpy()
        attributes = self._attributes(scores, n_iter, params, ratio, c)
        return replace(last, n_passes=fits.n_passes + last.n_passes), attributes, outcomes

    def _fitter(self, index: Tensor, fold_weight: Tensor) -> BatchFitter:
        problem, estimator, n_folds = self.problem, self.estimator, fold_weight.shape[1]

        def columns(folds: np.ndarray) -> tuple[Tensor, Tensor | None]:
            return index, fold_weight if len(folds) == n_folds else fold_weight[:, folds]

        report = partial(print_progress, "[TorchLogisticClassifierCV] ")
        fitter = problem.batch_fitter(
            problem.design(self.inputs.X, self.inputs.device),
            columns,
            estimator,
            penalties=self.chosen.penalties,
            report=(lambda part: report) if estimator.verbose > 0 else None,
            dtype=problem.stored_dtype,
        )
        return replace(fitter, certain_logit=_CERTAIN_LOGIT)

    def _attributes(
        self, scores: np.ndarray, n_iter: np.ndarray, params: Params, ratio: Any, c: Any
    ) -> dict[str, Any]:
        """Return the search's fitted attributes in the layout that the options specify.

        ``scores`` and ``n_iter`` are (n_folds, n_l1_ratios, n_cs), and ``params`` those of all
        models; ``ratio`` and ``c`` are the indices of the chosen candidate, or of every fold's.
        """
        chosen, classes = self.chosen, self.scorer.classes
        C, l1_ratio = float(chosen.c_values[c].mean()), float(chosen.l1_ratio_values[ratio].mean())
        params = self.problem.without_column(params)
        paths = params.coef.numpy()
        if self.problem.fit_intercept:
            paths = np.concatenate([paths, params.intercept[..., None].numpy()], axis=-1)
        if not chosen.use_legacy_attributes:
            return chosen.attributes() | {
                "C_": C,
                "l1_ratio_": l1_ratio,
                "scores_": scores,
                "n_iter_": n_iter,
                "coefs_paths_": paths,
            }
        # dicts by class (for two classes, only the second), with Cs before l1_ratios, and without
        # an axis of l1_ratios if none were given
        labels = classes[1:] if len(classes) == 2 else classes
        scores, n_iter = scores.swapaxes(1, 2), n_iter.swapaxes(1, 2)
        paths = np.moveaxis(paths, 3, 0).swapaxes(2, 3)
        if chosen.l1_ratios is None:
            scores, n_iter, paths = scores[..., 0], n_iter[..., 0], paths[..., 0, :]
        none = chosen.l1_ratios is None and self.estimator.refit
        return chosen.attributes() | {
            "C_": np.full(len(labels), C),
            "l1_ratio_": np.full(len(labels), None if none else l1_ratio),
            "scores_": {label: scores.copy() for label in labels},
            "n_iter_": n_iter[None],
            "coefs_paths_": dict(zip(labels, paths.copy(), strict=True)),
        }


def choose(scores: np.ndarray, Cs: np.ndarray, selection: str) -> tuple[int, int]:
    """Choose a candidate by its mean score over the folds; return the indices of l1_ratio and C.

    ``scores`` are (n_folds, n_l1_ratios, n_cs); one that is not finite is the worst. Ties go to
    the first C, then to the first l1_ratio. With the `selection` "1se" it is the smallest C, with
    the best candidate's l1_ratio, whose mean score is within one standard error of the best.
    """
    # as in LogisticRegressionCV: sums may differ where means are equal
    total = _finite(scores.sum(axis=0))
    c, ratio = np.unravel_index(np.argmax(total.T), total.T.shape)
    if selection == "1se":
        n_folds = scores.shape[0]
        if n_folds < 2:
            raise ParameterError("selection='1se' needs at least 2 folds, cv yields one.")
        error = scores[:, ratio, c].std(ddof=1) / np.sqrt(n_folds)
        within = np.flatnonzero(total[ratio] / n_folds >= total[ratio, c] / n_folds - error)
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


def _mean(params: Params, place: Any) -> Params:
    """Average the parameters of some models."""
    return Params(
        params.coef[place].mean(dim=0, keepdim=True),
        params.intercept[place].mean(dim=0, keepdim=True),
    )
