"""Cross-validation of C and l1_ratio for each label, over all labels together."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.model_selection import check_cv
from torch import Tensor

from skorch_logreg.estimators.cv.grid import choose, fit_folds, held_out_scorer, split_rows
from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.estimators.multilabel.label_problem import LabelOutcome, LabelProblem
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.fitting import FitResult
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.scoring import FoldRows


def split_labels(cv: Any, inputs: FitInput, y: Any) -> tuple[FoldRows, FoldRows]:
    """Return the training and the held-out rows of every fold, the same for all labels.

    If `cv` is a number, folds are stratified for a 1-D y only.
    """
    labels = inputs.labels
    index = labels.values.cpu().numpy() if labels.is_column else None
    y_for_split = y if hasattr(cv, "split") and not labels.is_column else index
    return split_rows(cv, check_cv(cv, index, classifier=True), inputs.X, y_for_split)


@dataclass(frozen=True)
class LabelCrossValidation:
    """Cross-validation of all labels, folds and candidates of a `TorchLogisticClassifierCV`.

    ``label_problem`` has all rows, ``train`` and ``held_out`` those of the folds; every label has
    an entry in ``thresholds``.
    """

    label_problem: LabelProblem
    grid: CVOptions
    train: FoldRows
    held_out: FoldRows
    thresholds: list[float]

    def run(self) -> tuple[FitResult, dict[str, Any], list[LabelOutcome]]:
        """Fit and score all labels, folds and candidates; fit the chosen candidates on all rows.

        Return the models on all rows with the passes of all fits, the search's fitted attributes,
        and the outcomes of all fits.
        """
        grid, problem = self.grid, self.label_problem
        n_labels = problem.labels.n_labels
        # the coefficients of all folds and candidates are kept for a part of the labels only
        size = problem.max_models // (self.train.n_folds * len(grid.Cs))
        parts = np.array_split(np.arange(n_labels), -(-n_labels // max(size, 1)))
        results = [self._cross_validate(labels) for labels in parts]
        scores, chosen, outcomes, n_passes = zip(*results, strict=True)
        scores, (l1_ratio, c) = np.concatenate(scores), np.concatenate(chosen).T
        self._warn_undefined(scores)
        fits, _ = problem.fit(grid.c_values[c], penalties=grid.penalties, penalty=l1_ratio)
        attributes = grid.attributes() | {
            "C_": grid.c_values.numpy()[c],
            "l1_ratio_": grid.l1_ratio_values[l1_ratio],
            "scores_": scores,
        }
        outcomes = [*(outcome for part in outcomes for outcome in part), *problem.outcomes(fits)]
        return replace(fits, n_passes=sum(n_passes) + fits.n_passes), attributes, outcomes

    def _cross_validate(
        self, labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[LabelOutcome], int]:
        """Score the candidates of some labels, and choose among them.

        Return the scores (n_labels, n_folds, n_l1_ratios, n_cs), nan where held-out rows have none;
        the indices (n_labels, 2) of the chosen l1_ratios and Cs; outcomes and passes.
        """
        problem, inputs = self.label_problem, self.label_problem.inputs
        weight = inputs.sample_weight
        columns = problem.targets_and_weights(labels)
        scorer = held_out_scorer(
            problem.estimator,
            inputs,
            self.grid,
            index=columns[0],
            known=problem.labels.columns(labels, problem.device)[1],
            classes=problem.labels.class_pair,
            thresholds=[self.thresholds[label] for label in labels],
            held_out=self.held_out,
            params={} if weight is None else {"sample_weight": weight},
            skips=True,
        )
        fitter = problem.fitter(
            partial(self._columns, labels, columns), penalties=self.grid.penalties
        )
        scores, numbers, fits = fit_folds(
            problem.problem, fitter, self.grid, scorer, problem.constant[labels]
        )
        scores = scores.transpose(2, 1, 0, 3)
        chosen = np.array([self._choose(own) for own in scores])
        label = np.empty(numbers.max() + 1, dtype=int)
        label[numbers] = labels[:, None]
        outcomes = zip(label.tolist(), fits.status, fits.optimality.tolist(), strict=True)
        return scores, chosen, list(outcomes), fits.n_passes

    def _columns(
        self, labels: np.ndarray, columns: tuple[Tensor, Tensor | None], numbers: np.ndarray
    ) -> tuple[Tensor, Tensor]:
        """Return targets and weights (n_samples, k) by ``fold * n_labels + label``."""
        targets, own = columns
        fold, label = np.divmod(numbers, len(labels))
        weight = self.train.counts(len(targets)).to(targets.device)[:, fold]
        if own is not None:
            weight *= own[:, None] if own.ndim == 1 else own[:, label]
        for empty in (weight.sum(dim=0) == 0).nonzero()[:1, 0].tolist():
            raise ParameterError(
                f"Fold {fold[empty]} of cv has no training row that counts and in which label "
                f"{self.label_problem.labels.describe(labels[label[[empty]]])} is known."
            )
        return targets[:, label], weight

    def _choose(self, scores: np.ndarray) -> tuple[int, int]:
        """Choose a candidate from the folds that have scores; the first candidate if none has."""
        defined = ~np.isnan(scores).all(axis=(1, 2))
        if not defined.any():
            return 0, 0
        single_fold = len(scores) > 1 and defined.sum() == 1
        selection = "best" if single_fold else self.label_problem.estimator.selection
        return choose(scores[defined], self.grid.Cs, selection)

    def _warn_undefined(self, scores: np.ndarray) -> None:
        without_score = np.isnan(scores).all(axis=(2, 3))
        affected = np.flatnonzero(without_score.any(axis=1))
        if len(affected):
            labels = self.label_problem.labels
            text = (
                f"The held-out rows of {without_score.sum()} of {without_score.size} folds and "
                f"labels have no score, as of labels {labels.describe(affected)}: scores_ is nan, "
                "and these folds do not take part in the choice."
            )
            labels_without_score = np.flatnonzero(without_score.all(axis=1))
            if len(labels_without_score):
                names = labels.describe(labels_without_score)
                text += f" Without any score is {names}, with the first of Cs."
            warn_user(text)
