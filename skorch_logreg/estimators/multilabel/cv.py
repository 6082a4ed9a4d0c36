"""Cross-validation of C and l1_ratio for each label, over all labels together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import check_cv
from torch import Tensor

from skorch_logreg.estimators.cv.attributes import choose
from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.estimators.multilabel.binary_problems import SATURATED_LOGIT, LabelResults
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem
from skorch_logreg.estimators.multilabel.scores import LabelScorer
from skorch_logreg.estimators.scoring import FoldRows
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.fitting import Params, Status
from skorch_logreg.inputs.out_of_core import rows_for_splitter

__all__ = ["CVResult", "LabelCrossValidation", "split"]


@dataclass
class CVResult:
    """Scores and chosen candidates of every label.

    Attributes
    ----------
    scores : ndarray of shape (n_labels, n_folds, n_l1_ratios, n_cs)
        Held-out scores; nan if the held-out rows of a fold have no score for a label.
    l1_ratio_index, c_index : ndarray of shape (n_labels,), int
        Indices of the chosen l1_ratio and C.
    start : Params or None
        Means over the folds of the chosen models (n_labels, 1, n_columns), from which the fit on
        all rows starts.
    final_points : list of (Status, float)
        Status and optimality of the models of all folds.
    failed : ndarray of shape (n_labels,), bool
        True if a model of the label did not converge.
    n_passes : int
        Full passes over X.
    """

    scores: np.ndarray
    l1_ratio_index: np.ndarray
    c_index: np.ndarray
    start: Params | None
    final_points: list[tuple[Status, float]]
    failed: np.ndarray
    n_passes: int = 0

    def fit(
        self, label_problem: LabelProblem, grid: CVOptions, label_results: LabelResults
    ) -> None:
        """Fit the chosen candidates on all rows."""
        C = torch.from_numpy(grid.Cs.astype(np.float64))[self.c_index]
        l1_ratios = np.array(grid.effective_l1_ratios)[self.l1_ratio_index]
        for l1_ratio in np.unique(l1_ratios):
            part = label_problem.with_options(grid.options(l1_ratio))
            part.fit(label_results, C, self.start, among=np.flatnonzero(l1_ratios == l1_ratio))
        label_results.n_passes += self.n_passes
        self.final_points += label_results.final_points()
        self.failed |= label_results.failed()

    def attributes(self, grid: CVOptions) -> dict[str, Any]:
        """Return the fitted attributes."""
        ratio_values = grid.effective_l1_ratios if grid.l1_ratios is None else grid.l1_ratios
        return {
            "C_": np.asarray(grid.Cs, dtype=np.float64)[self.c_index],
            "Cs_": grid.Cs,
            "l1_ratio_": np.asarray(ratio_values, dtype=np.float64)[self.l1_ratio_index],
            "l1_ratios_": np.asarray([None] if grid.l1_ratios is None else ratio_values),
            "scores_": self.scores,
        }


@dataclass(frozen=True)
class _FoldModels:
    """Models of folds x labels x Cs, in this order.

    Parameters
    ----------
    logits : Tensor of shape (n_samples, m, 1)
        Logits of all rows.
    params : Params
        Coefficients (m, 1, n_columns) and intercepts (m, 1).
    fitted : Tensor of shape (n_folds, n_labels), bool
        True if the objective has a minimiser, because the training rows contain both classes.
    """

    logits: Tensor
    params: Params
    fitted: Tensor


@dataclass(frozen=True)
class LabelCrossValidation:
    """Cross-validation of all labels, folds and candidates.

    Parameters
    ----------
    label_problem : LabelProblem
        Problem on all rows.
    grid : CVOptions
        Candidates.
    train : FoldRows
        Training rows of the folds.
    label_scorer : LabelScorer
        Scorer of held-out rows.
    selection : {"best", "1se"}
        Rule that chooses a candidate from its scores.
    """

    label_problem: LabelProblem
    grid: CVOptions
    train: FoldRows
    label_scorer: LabelScorer
    selection: str

    def search(self) -> CVResult:
        """Fit and score all labels, folds and candidates, as many at a time as memory allows.

        Raises
        ------
        ParameterError
            If a label has no known target with a positive weight in a fold's training rows.

        Warns
        -----
        UserWarning
            If held-out rows have no score for a label.
        """
        n_labels, n_folds = self.label_problem.binary_problems.labels.n_labels, self.train.n_folds
        n_cs, l1_ratios = len(self.grid.Cs), self.grid.effective_l1_ratios
        found = CVResult(
            scores=np.full((n_labels, n_folds, len(l1_ratios), n_cs), np.nan),
            l1_ratio_index=np.zeros(n_labels, dtype=int),
            c_index=np.zeros(n_labels, dtype=int),
            start=None,
            final_points=[],
            failed=np.zeros(n_labels, dtype=bool),
        )
        counts = self.train.counts(self.label_problem.binary_problems.n_samples).to(
            self.label_problem.binary_problems.device
        )
        size = max(self.label_problem.binary_problems.max_models // (n_folds * n_cs), 1)
        for labels in np.array_split(np.arange(n_labels), -(-n_labels // size)):
            starts = {
                l1_ratio: self._cross_validate(found, labels, counts, l1_ratio)
                for l1_ratio in dict.fromkeys(l1_ratios)
            }
            for position, label in enumerate(labels):
                l1_ratio_index, c_index = self._choose(found.scores[label])
                found.l1_ratio_index[label], found.c_index[label] = l1_ratio_index, c_index
                start = starts[l1_ratios[l1_ratio_index]]
                if start is not None:
                    if found.start is None:
                        found.start = Params(
                            start.coef.new_zeros(n_labels, 1, start.coef.shape[-1]),
                            start.intercept.new_zeros(n_labels, 1),
                        )
                    found.start.coef[label, 0] = start.coef[position, c_index]
                    found.start.intercept[label, 0] = start.intercept[position, c_index]
        self._warn_undefined(found.scores)
        return found

    def _cross_validate(
        self, found: CVResult, labels: np.ndarray, counts: Tensor, l1_ratio: float
    ) -> Params | None:
        """Score some labels under one penalty and store the scores in ``found``.

        Returns
        -------
        means : Params or None
            Means over the folds, (n_labels, n_cs, n_columns) and (n_labels, n_cs); None if memory
            does not allow for all folds and Cs at once.
        """
        label_problem = self.label_problem.with_options(self.grid.options(l1_ratio))
        ratio_values = [
            i for i, other in enumerate(self.grid.effective_l1_ratios) if other == l1_ratio
        ]
        targets, weight = self.label_problem.binary_problems.targets_and_weights(labels)
        known = self.label_problem.binary_problems.known(labels)
        at_once = max(self.label_problem.binary_problems.max_models // len(labels), 1)
        folds = list(range(self.train.n_folds))
        means = None
        for group, cs in _split_into_batches(folds, len(self.grid.Cs), at_once):
            models = self._solve(
                found, label_problem, labels, targets, weight, counts=counts, folds=group, cs=cs
            )
            scores = self.label_scorer(
                labels,
                group,
                cs,
                models.logits,
                targets,
                known=known,
                params=label_problem.problem.without_column(models.params),
            ).numpy()
            for l1_ratio_index in ratio_values:
                found.scores[
                    labels[:, None, None], np.array(group)[:, None], l1_ratio_index, cs
                ] = scores
            if len(group) == len(folds) and len(cs) == len(self.grid.Cs):
                means = _mean(models, len(cs))
        return means

    def _solve(
        self,
        found: CVResult,
        label_problem: LabelProblem,
        labels: np.ndarray,
        targets: Tensor,
        weight: Tensor | None,
        *,
        counts: Tensor,
        folds: Sequence[int],
        cs: Sequence[int],
    ) -> _FoldModels:
        """Fit some labels in some folds, for some Cs."""
        problem = label_problem.problem
        own = counts[:, folds, None].expand(-1, -1, len(labels))
        if weight is not None:
            own = own * (weight[:, None, None] if weight.ndim == 1 else weight[:, None])
        present = torch.einsum("nfl,nl->fl", own, targets.to(own.dtype)) > 0
        absent = torch.einsum("nfl,nl->fl", own, (1 - targets).to(own.dtype)) > 0
        self._refuse_empty(labels, folds, present | absent)
        # without an unpenalised intercept a minimiser exists even if a class is missing
        fitted = present & absent if problem.has_free_intercept else present | absent
        fitted = fitted & (
            torch.from_numpy(self.label_problem.binary_problems.constant[labels]) == 0
        ).to(fitted.device)
        pairs = fitted.flatten().nonzero()[:, 0]
        n_columns = problem.n_features + problem.has_column
        if not len(pairs):
            logits = own.new_empty(len(targets), 0, 1)
            params = Params(own.new_empty(0, 1, n_columns), own.new_empty(0, 1))
        else:
            Cs = torch.from_numpy(self.grid.Cs[list(cs)].astype(np.float64))
            solution = label_problem.solve(
                targets[:, pairs % len(labels)].repeat_interleave(len(cs), dim=1),
                own.flatten(1)[:, pairs].repeat_interleave(len(cs), dim=1),
                Cs.repeat(len(pairs)),
            )
            logits, params = solution.logits[0:], solution.params
            found.final_points += zip(solution.status, solution.optimality.tolist(), strict=True)
            not_converged = torch.tensor(
                [status is not Status.CONVERGED for status in solution.status]
            )
            fit_labels = (pairs % len(labels)).cpu().repeat_interleave(len(cs))[not_converged]
            found.failed[labels[fit_labels.numpy()]] = True
            found.n_passes += int(solution.n_passes)
        if len(pairs) == fitted.numel():
            return _FoldModels(logits, params, fitted)
        saturated = torch.where(present, SATURATED_LOGIT, -SATURATED_LOGIT).flatten()
        intercept = saturated.to(own.dtype).repeat_interleave(len(cs))
        is_fitted = fitted.flatten().repeat_interleave(len(cs))
        all_logits = intercept.expand(len(targets), -1).clone()[..., None]
        all_logits[:, is_fitted] = logits
        coef = own.new_zeros(len(intercept), 1, n_columns)
        coef[is_fitted] = params.coef
        if problem.has_column:
            coef[~is_fitted, 0, -1] = intercept[~is_fitted] / problem.intercept_scaling
            intercept = torch.zeros_like(intercept)
        intercept[is_fitted] = params.intercept[:, 0]
        return _FoldModels(all_logits, Params(coef, intercept[:, None]), fitted)

    def _refuse_empty(self, labels: np.ndarray, folds: Sequence[int], has_row: Tensor) -> None:
        empty = (~has_row).nonzero().tolist()
        if empty:
            fold, label = empty[0]
            raise ParameterError(
                f"Fold {folds[fold]} of cv has no training row that counts and in which label "
                f"{self.label_problem.binary_problems.labels.describe(labels[[label]])} is known."
            )

    def _choose(self, scores: np.ndarray) -> tuple[int, int]:
        """Choose a candidate from the folds that have scores; the first candidate if none has."""
        defined = ~np.isnan(scores).all(axis=(1, 2))
        if not defined.any():
            return 0, 0
        single_fold = len(scores) > 1 and defined.sum() == 1
        return choose(scores[defined], self.grid.Cs, "best" if single_fold else self.selection)

    def _warn_undefined(self, scores: np.ndarray) -> None:
        without_score = np.isnan(scores).all(axis=(2, 3))
        affected = np.flatnonzero(without_score.any(axis=1))
        if len(affected):
            labels = self.label_problem.binary_problems.labels
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


def split(cv: Any, X: Any, y: Any, labels: Indicator) -> list[tuple[Any, Any]]:
    """Split the rows into training and held-out rows of every fold, the same for all labels.

    If `cv` is a number, folds are stratified for a 1-D y only.

    Raises
    ------
    ParameterError
        If `cv` yields no folds.
    """
    column = labels.kind in ("binary", "multiclass")
    index = labels.values.cpu().numpy() if column else None
    y_for_split = y if hasattr(cv, "split") and not column else index
    splits = list(check_cv(cv, index, classifier=True).split(rows_for_splitter(X), y_for_split))
    if not splits:
        raise ParameterError(f"cv={cv!r} yields no folds.")
    pairs = [(np.asarray(train), np.asarray(test)) for train, test in splits]
    return [(train, np.flatnonzero(test) if test.dtype == bool else test) for train, test in pairs]


def _mean(models: _FoldModels, n_cs: int) -> Params:
    """Average over the folds that have a minimiser; 0 if there are none."""
    n_folds, n_labels = models.fitted.shape
    coef = models.params.coef[:, 0].unflatten(0, (n_folds, n_labels, n_cs))
    intercept = models.params.intercept[:, 0].unflatten(0, (n_folds, n_labels, n_cs))
    fitted = models.fitted.to(coef.dtype)
    l1_ratio = fitted / fitted.sum(dim=0).clamp(min=1)
    return Params(
        torch.einsum("fl,flcp->lcp", l1_ratio, coef),
        torch.einsum("fl,flc->lc", l1_ratio, intercept),
    )


def _split_into_batches(
    folds: list[int], n_cs: int, max_models: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Split folds x Cs into batches of at most ``max_models`` models, of all folds if possible."""
    n_folds = min(len(folds), max_models)
    step = max(max_models // n_folds, 1)
    for first in range(0, len(folds), n_folds):
        for start in range(0, n_cs, step):
            yield folds[first : first + n_folds], list(range(start, min(start + step, n_cs)))
