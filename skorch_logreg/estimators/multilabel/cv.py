"""A C of its own for every label, chosen by cross-validation of all labels together."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import check_cv
from torch import Tensor

from skorch_logreg.estimators.cv.attributes import choose
from skorch_logreg.estimators.cv.folds import _rectangles
from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.estimators.elsewhere import for_splitter
from skorch_logreg.estimators.multilabel.company import CERTAIN, Fits
from skorch_logreg.estimators.multilabel.fits import LabelProblem
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.scores import LabelScores
from skorch_logreg.estimators.scoring import Rows
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import Params, Status

__all__ = ["Choice", "LabelFolds", "split"]


@dataclass
class Choice:
    """What cross-validation found, label by label.

    Attributes
    ----------
    scores : ndarray of shape (n_labels, n_folds, n_l1_ratios, n_cs)
        nan where the held-out rows of a fold have no score for a label.
    ratio, c : ndarray of shape (n_labels,), int
        Places of the chosen l1_ratio and C.
    start : Params or None
        Means over the folds of the chosen models (n_labels, 1, n_columns), where the fit on all
        rows starts.
    ends : list of (Status, float)
        How the models of all folds ended, with their optimality.
    failed : ndarray of shape (n_labels,), bool
        Whether a model of the label did not converge.
    n_passes : int
        Full reads of X.
    """

    scores: np.ndarray
    ratio: np.ndarray
    c: np.ndarray
    start: Params | None
    ends: list[tuple[Status, float]]
    failed: np.ndarray
    n_passes: int = 0

    def fit(self, work: LabelProblem, grid: CVOptions, fits: Fits) -> None:
        """Fit the chosen candidates on all rows."""
        C = torch.from_numpy(grid.Cs.astype(np.float64))[self.c]
        shares = np.array(grid.shares)[self.ratio]
        for share in np.unique(shares):
            part = work.under(grid.options(share))
            part.fit(fits, C, self.start, among=np.flatnonzero(shares == share))
        fits.n_passes += self.n_passes
        self.ends += fits.ends()
        self.failed |= fits.failed()

    def attributes(self, grid: CVOptions) -> dict[str, Any]:
        """Fitted attributes."""
        ratios = grid.shares if grid.l1_ratios is None else grid.l1_ratios
        return {
            "C_": np.asarray(grid.Cs, dtype=np.float64)[self.c],
            "Cs_": grid.Cs,
            "l1_ratio_": np.asarray(ratios, dtype=np.float64)[self.ratio],
            "l1_ratios_": np.asarray([None] if grid.l1_ratios is None else ratios),
            "scores_": self.scores,
        }


@dataclass(frozen=True)
class _Models:
    """Models of folds x labels x Cs, in this order.

    Parameters
    ----------
    logits : Tensor of shape (n_samples, m, 1)
    params : Params
        (m, 1, n_columns) and (m, 1).
    fitted : Tensor of shape (n_folds, n_labels), bool
        Where the training rows show both classes, so that there is a minimiser.
    """

    logits: Tensor
    params: Params
    fitted: Tensor


@dataclass(frozen=True)
class LabelFolds:
    """Labels, folds and candidates.

    Parameters
    ----------
    work : LabelProblem
    grid : CVOptions
        Candidates.
    train : Rows
        Training rows of the folds.
    label_scores : LabelScores
        Scores held-out rows.
    selection : {"best", "1se"}
    """

    work: LabelProblem
    grid: CVOptions
    train: Rows
    label_scores: LabelScores
    selection: str

    def search(self) -> Choice:
        """Fit and score all labels, folds and candidates, as many at once as memory allows.

        Raises
        ------
        ParameterError
            If a label has no known cell with a weight in the training rows of a fold.

        Warns
        -----
        UserWarning
            If held-out rows have no score for a label.
        """
        n_labels, n_folds = self.work.company.labels.n_labels, self.train.n_folds
        n_cs, shares = len(self.grid.Cs), self.grid.shares
        found = Choice(
            scores=np.full((n_labels, n_folds, len(shares), n_cs), np.nan),
            ratio=np.zeros(n_labels, dtype=int),
            c=np.zeros(n_labels, dtype=int),
            start=None,
            ends=[],
            failed=np.zeros(n_labels, dtype=bool),
        )
        counts = self.train.counts(self.work.company.n_samples).to(self.work.company.device)
        size = max(self.work.company.at_once // (n_folds * n_cs), 1)
        for labels in np.array_split(np.arange(n_labels), -(-n_labels // size)):
            starts = {
                share: self._cross_validate(found, labels, counts, share)
                for share in dict.fromkeys(shares)
            }
            for place, label in enumerate(labels):
                ratio, c = self._choose(found.scores[label])
                found.ratio[label], found.c[label] = ratio, c
                start = starts[shares[ratio]]
                if start is not None:
                    if found.start is None:
                        found.start = Params(
                            start.coef.new_zeros(n_labels, 1, start.coef.shape[-1]),
                            start.intercept.new_zeros(n_labels, 1),
                        )
                    found.start.coef[label, 0] = start.coef[place, c]
                    found.start.intercept[label, 0] = start.intercept[place, c]
        self._warn_undefined(found.scores)
        return found

    def _cross_validate(
        self, found: Choice, labels: np.ndarray, counts: Tensor, share: float
    ) -> Params | None:
        """Enter the scores of some labels under one penalty.

        Returns
        -------
        means : Params or None
            Means over the folds, (n_labels, n_cs, n_columns) and (n_labels, n_cs); None where
            memory does not allow for all of them at once.
        """
        work = self.work.under(self.grid.options(share))
        ratios = [i for i, other in enumerate(self.grid.shares) if other == share]
        targets, weight = self.work.company.cells(labels)
        known = self.work.company.known(labels)
        at_once = max(self.work.company.at_once // len(labels), 1)
        folds = list(range(self.train.n_folds))
        means = None
        for some, cs in _rectangles(folds, len(self.grid.Cs), at_once):
            models = self._solve(found, work, labels, targets, weight, counts, some, cs)
            scores = self.label_scores(
                labels, some, cs, models.logits, targets, known,
                work.problem.without_column(models.params),
            ).numpy()  # fmt: skip
            for ratio in ratios:
                found.scores[labels[:, None, None], np.array(some)[:, None], ratio, cs] = scores
            if len(some) == len(folds) and len(cs) == len(self.grid.Cs):
                means = _mean(models, len(cs))
        return means

    def _solve(
        self,
        found: Choice,
        work: LabelProblem,
        labels: np.ndarray,
        targets: Tensor,
        weight: Tensor | None,
        counts: Tensor,
        folds: Sequence[int],
        cs: Sequence[int],
    ) -> _Models:
        """Solve some folds and Cs of some labels."""
        problem = work.problem
        own = counts[:, folds, None].expand(-1, -1, len(labels))
        if weight is not None:
            own = own * (weight[:, None, None] if weight.ndim == 1 else weight[:, None])
        present = torch.einsum("nfl,nl->fl", own, targets.to(own.dtype)) > 0
        absent = torch.einsum("nfl,nl->fl", own, (1 - targets).to(own.dtype)) > 0
        self._refuse_empty(labels, folds, present | absent)
        # a penalised intercept, or none, has a minimiser all the same
        fitted = present & absent if problem.core_intercept else present | absent
        fitted = fitted & (torch.from_numpy(self.work.company.constant[labels]) == 0).to(
            fitted.device
        )
        place = fitted.flatten().nonzero()[:, 0]
        n_columns = problem.n_features + problem.has_column
        if not len(place):
            logits = own.new_empty(len(targets), 0, 1)
            params = Params(own.new_empty(0, 1, n_columns), own.new_empty(0, 1))
        else:
            Cs = torch.from_numpy(self.grid.Cs[list(cs)].astype(np.float64))
            solution = work.models(
                targets[:, place % len(labels)].repeat_interleave(len(cs), dim=1),
                own.flatten(1)[:, place].repeat_interleave(len(cs), dim=1),
                Cs.repeat(len(place)),
            )
            logits, params = solution.logits[0:], solution.params
            found.ends += zip(solution.status, solution.optimality.tolist(), strict=True)
            bad = torch.tensor([status is not Status.CONVERGED for status in solution.status])
            which = (place % len(labels)).cpu().repeat_interleave(len(cs))[bad]
            found.failed[labels[which.numpy()]] = True
            found.n_passes += int(solution.n_passes)
        if len(place) == fitted.numel():
            return _Models(logits, params, fitted)
        certain = torch.where(present, CERTAIN, -CERTAIN).flatten()
        intercept = certain.to(own.dtype).repeat_interleave(len(cs))
        where = fitted.flatten().repeat_interleave(len(cs))
        every = intercept.expand(len(targets), -1).clone()[..., None]
        every[:, where] = logits
        coef = own.new_zeros(len(intercept), 1, n_columns)
        coef[where] = params.coef
        if problem.has_column:
            coef[~where, 0, -1] = intercept[~where] / problem.intercept_scaling
            intercept = torch.zeros_like(intercept)
        intercept[where] = params.intercept[:, 0]
        return _Models(every, Params(coef, intercept[:, None]), fitted)

    def _refuse_empty(self, labels: np.ndarray, folds: Sequence[int], some: Tensor) -> None:
        empty = (~some).nonzero().tolist()
        if empty:
            fold, label = empty[0]
            raise ParameterError(
                f"Fold {folds[fold]} of cv has no training row that counts and in which label "
                f"{self.work.company.labels.describe(labels[[label]])} is known."
            )

    def _choose(self, scores: np.ndarray) -> tuple[int, int]:
        """Choose from the folds that have scores; the first candidate where none has."""
        defined = ~np.isnan(scores).all(axis=(1, 2))
        if not defined.any():
            return 0, 0
        one = len(scores) > 1 and defined.sum() == 1
        return choose(scores[defined], self.grid.Cs, "best" if one else self.selection)

    def _warn_undefined(self, scores: np.ndarray) -> None:
        nowhere = np.isnan(scores).all(axis=(2, 3))
        some = np.flatnonzero(nowhere.any(axis=1))
        if len(some):
            labels = self.work.company.labels
            text = (
                f"The held-out rows of {nowhere.sum()} of {nowhere.size} folds and labels have no "
                f"score, as of labels {labels.describe(some)}: scores_ is nan, and these folds do "
                "not take part in the choice."
            )
            lost = np.flatnonzero(nowhere.all(axis=1))
            if len(lost):
                text += f" Without any score is {labels.describe(lost)}, with the first of Cs."
            warnings.warn(text, stacklevel=6)


def split(cv: Any, X: Any, y: Any, labels: Indicator) -> list[tuple[Any, Any]]:
    """Training and held-out rows of every fold, the same for all labels.

    A number of folds is stratified for one column of classes, else not.

    Raises
    ------
    ParameterError
        If there is no fold.
    """
    column = labels.kind in ("binary", "multiclass")
    index = labels.values.cpu().numpy() if column else None
    given = y if hasattr(cv, "split") and not column else index
    splits = list(check_cv(cv, index, classifier=True).split(for_splitter(X), given))
    if not splits:
        raise ParameterError(f"cv={cv!r} yields no folds.")
    pairs = [(np.asarray(train), np.asarray(test)) for train, test in splits]
    return [(train, np.flatnonzero(test) if test.dtype == bool else test) for train, test in pairs]


def _mean(models: _Models, n_cs: int) -> Params:
    """Mean over the folds that have a minimiser; 0 where none has."""
    n_folds, n_labels = models.fitted.shape
    coef = models.params.coef[:, 0].unflatten(0, (n_folds, n_labels, n_cs))
    intercept = models.params.intercept[:, 0].unflatten(0, (n_folds, n_labels, n_cs))
    fitted = models.fitted.to(coef.dtype)
    share = fitted / fitted.sum(dim=0).clamp(min=1)
    return Params(
        torch.einsum("fl,flcp->lcp", share, coef), torch.einsum("fl,flc->lc", share, intercept)
    )
