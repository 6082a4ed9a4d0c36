"""Cross-validation of C and l1_ratio for each label, over all labels together."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import check_cv
from torch import Tensor

from skorch_logreg.estimators.cached_logits import CachedLogitsClassifier
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.attributes import choose
from skorch_logreg.estimators.cv.options import CVOptions
from skorch_logreg.estimators.multilabel.binary_problems import LabelResults
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.fitting import FitResult, Params, Status
from skorch_logreg.fitting.batch import Models, is_saturated
from skorch_logreg.inputs.out_of_core import rows_for_splitter
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.scoring import FoldRows, HeldOutScorer

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
    start : Params
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
    start: Params
    final_points: list[tuple[Status, float]]
    failed: np.ndarray
    n_passes: int = 0

    def fit(self, label_problem: LabelProblem, grid: CVOptions) -> LabelResults:
        """Fit the chosen candidates on all rows."""
        C = torch.from_numpy(grid.Cs.astype(np.float64))[self.c_index]
        penalties = [grid.options(l1_ratio) for l1_ratio in grid.effective_l1_ratios]
        label_results = label_problem.fit(
            C, self.start, penalties=penalties, penalty=self.l1_ratio_index
        )
        label_results.n_passes += self.n_passes
        self.final_points += label_results.final_points()
        self.failed |= label_results.failed()
        return label_results

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

    def add(
        self, labels: np.ndarray, fits: FitResult, label: np.ndarray, chosen: np.ndarray
    ) -> None:
        """Add the fits of some labels.

        Parameters
        ----------
        labels : ndarray of shape (k,), int
        fits : FitResult
            Models of all folds and candidates.
        label : ndarray of shape (m,), int
            Place of each model's label among ``labels``.
        chosen : ndarray of shape (k, n_folds), int
            Models of each label's chosen candidate.
        """
        saturated = is_saturated(fits.params)
        is_fitted = ~saturated.cpu().numpy()
        ends = zip(fits.status, fits.optimality.tolist(), strict=True)
        self.final_points += [end for end, own in zip(ends, is_fitted, strict=True) if own]
        failed = [status is not Status.CONVERGED for status in fits.status]
        self.failed[labels[label[failed]]] = True
        self.n_passes += fits.n_passes
        weight = (~saturated[chosen]).to(torch.float64)
        weight /= weight.sum(dim=1, keepdim=True).clamp(min=1)
        coef, intercept = fits.params.coef[chosen, 0], fits.params.intercept[chosen, 0]
        self.start.coef[labels, 0] = torch.einsum("lf,lfp->lp", weight, coef).cpu()
        self.start.intercept[labels, 0] = torch.einsum("lf,lf->l", weight, intercept).cpu()


@dataclass(frozen=True)
class LabelCrossValidation:
    """Cross-validation of all labels, folds and candidates.

    ``label_problem`` has all rows, ``train`` the training rows of the folds, and ``scorer`` gets
    its labels part by part.
    """

    label_problem: LabelProblem
    grid: CVOptions
    train: FoldRows
    scorer: HeldOutScorer
    selection: str

    @classmethod
    def of(
        cls,
        label_problem: LabelProblem,
        grid: CVOptions,
        estimator: Any,
        inputs: FitInput,
        splits: list[tuple[Any, Any]],
        *,
        thresholds: list[float],
    ) -> "LabelCrossValidation":
        """Create the cross-validation of a `TorchLogisticClassifierCV` over some splits."""
        n_samples, weight = inputs.X.shape[0], inputs.sample_weight
        template = TorchLogisticClassifier(solver=estimator.solver)
        scorer = HeldOutScorer(
            scoring="accuracy" if grid.scoring is None else grid.scoring,
            classifier=lambda *args, **own: CachedLogitsClassifier.of(template, *args, **own),
            X=inputs.X,
            index=torch.empty(n_samples, 0),
            classes=inputs.labels.class_pair,
            Cs=grid.Cs,
            thresholds=thresholds,
            held_out=FoldRows.of([test for _, test in splits], n_samples),
            params={} if weight is None else {"sample_weight": weight},
            namespace=inputs.namespace,
            skips=True,
        )
        train = FoldRows.of([train for train, _ in splits], n_samples)
        return cls(label_problem, grid, train, scorer, estimator.selection)

    def search(self) -> CVResult:
        """Fit and score all labels, folds and candidates.

        Raises
        ------
        ParameterError
            If a label has no known target with a positive weight in a fold's training rows.

        Warns
        -----
        UserWarning
            If held-out rows have no score for a label.
        """
        problem, binary_problems = self.label_problem.problem, self.label_problem.binary_problems
        n_labels, n_folds = binary_problems.labels.n_labels, self.train.n_folds
        n_cs, n_l1_ratios = len(self.grid.Cs), len(self.grid.effective_l1_ratios)
        zeros = torch.zeros(n_labels, 1, problem.n_features + problem.has_column)
        found = CVResult(
            scores=np.full((n_labels, n_folds, n_l1_ratios, n_cs), np.nan),
            l1_ratio_index=np.zeros(n_labels, dtype=int),
            c_index=np.zeros(n_labels, dtype=int),
            start=Params(zeros.double(), zeros[..., 0].double()),
            final_points=[],
            failed=np.zeros(n_labels, dtype=bool),
        )
        # the coefficients of all folds and candidates are kept for a part of the labels only
        size = max(binary_problems.max_models // (n_folds * n_cs), 1)
        for labels in np.array_split(np.arange(n_labels), -(-n_labels // size)):
            self._cross_validate(found, labels)
        self._warn_undefined(found.scores)
        return found

    def _cross_validate(self, found: CVResult, labels: np.ndarray) -> None:
        """Score some labels, choose their candidates and store both in ``found``."""
        l1_ratios = self.grid.effective_l1_ratios
        ratios, n_cs = list(dict.fromkeys(l1_ratios)), len(self.grid.Cs)
        place = [ratios.index(l1_ratio) for l1_ratio in l1_ratios]
        shape = len(ratios), self.train.n_folds, len(labels), n_cs
        ratio, fold, own, c = np.indices(shape).reshape(4, -1)
        candidate = own * n_cs + c
        models = Models(
            fold * len(labels) + own,
            torch.from_numpy(self.grid.Cs.astype(np.float64))[c],
            penalty=ratio,
            group=candidate,
            constant=self.label_problem.binary_problems.constant[labels[own]],
        )
        columns = _FoldColumns(self, labels)
        scorer = replace(
            self.scorer,
            index=columns.targets,
            known=columns.known,
            thresholds=[self.scorer.thresholds[label] for label in labels],
        )
        scores = np.empty(shape)

        def score(part: np.ndarray, result: FitResult) -> None:
            folds, some = np.unique(fold[part]), np.unique(candidate[part])
            params = self.label_problem.problem.without_column(result.params)
            label, cs = np.divmod(some, n_cs)
            # slicing collects the logits of out-of-core rows
            found = scorer(folds, label, cs, result.logits[0:], params)
            scores[ratio[part[0]], folds[:, None], label, cs] = found

        penalties = [self.grid.options(l1_ratio) for l1_ratio in ratios]
        fits = self.label_problem.fitter(columns, penalties=penalties).fit_all(models, score)
        found.scores[labels] = scores[place].transpose(2, 1, 0, 3)
        chosen = [self._choose(found.scores[label]) for label in labels]
        found.l1_ratio_index[labels], found.c_index[labels] = np.array(chosen).T
        best = np.array(place)[found.l1_ratio_index[labels]], found.c_index[labels]
        number = np.arange(len(own)).reshape(shape)[best[0], :, np.arange(len(labels)), best[1]]
        found.add(labels, fits, own, number)

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


class _FoldColumns:
    """Targets and weights of folds x labels, by ``fold * n_labels + label``."""

    def __init__(self, validation: LabelCrossValidation, labels: np.ndarray) -> None:
        binary_problems = validation.label_problem.binary_problems
        self._labels, self._names = labels, binary_problems.labels
        self._counts = validation.train.counts(binary_problems.n_samples)
        self.targets, self._weight = binary_problems.targets_and_weights(labels)
        self.known = binary_problems.known(labels)

    def __call__(self, numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the targets and weights (n_samples, k) of some columns."""
        fold, label = np.divmod(numbers, len(self._labels))
        weight = self._counts.to(self.targets.device)[:, fold]
        if self._weight is not None:
            own = self._weight
            weight *= own[:, None] if own.ndim == 1 else own[:, label]
        for empty in (weight.sum(dim=0) == 0).nonzero()[:1, 0].tolist():
            raise ParameterError(
                f"Fold {fold[empty]} of cv has no training row that counts and in which label "
                f"{self._names.describe(self._labels[label[[empty]]])} is known."
            )
        return self.targets[:, label], weight


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
    return splits
