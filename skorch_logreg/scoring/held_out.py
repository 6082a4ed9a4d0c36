"""Scores of the held-out rows of folds from the logits of the folds' models."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import torch
from sklearn.metrics import get_scorer, make_scorer
from sklearn.utils.validation import _check_method_params
from torch import Tensor

from skorch_logreg.inputs.arrays import ArrayNamespace, to_tensor
from skorch_logreg.inputs.out_of_core import OutOfCoreRows, scorer_error
from skorch_logreg.objective import Params
from skorch_logreg.scoring.fast import fast_scores, metric_name
from skorch_logreg.scoring.fold_rows import FoldRows


@dataclass(frozen=True)
class HeldOutScorer:
    """Scorer of models of several folds, as in `LogisticRegressionCV`, for one label or many.

    A metric of `FAST_METRICS` is computed for all models at once. Any other scorer is called for
    every model with the held-out rows and a classifier with cached logits, or without a cache if it
    is a callable, which may change the classifier or the rows.
    """

    scoring: Any
    # fitted classifier from attributes, rows, their logits, and the parameters C and threshold
    classifier: Callable[..., Any]
    X: Any  # validated rows, which are selected only for scorers that take them
    index: Tensor  # class indices (n_samples, n_labels)
    classes: np.ndarray  # as in the scorer's y
    Cs: np.ndarray
    thresholds: Sequence[float]  # of every label
    held_out: FoldRows
    params: dict[str, Any]  # metadata for the scorer
    namespace: ArrayNamespace  # of the classifier's attributes
    known: Tensor | None = None  # whether a label is known, (n_samples, n_labels); None: all are
    skips: bool = False  # nan for folds whose rows cannot be scored; else the scorer decides

    def __call__(
        self, folds: np.ndarray, labels: np.ndarray, cs: np.ndarray, logits: Tensor, params: Params
    ) -> Tensor:
        """Compute the scores (n_folds, n_candidates), float64, of some candidates in some folds.

        Candidates have a label and the index of a C; the logits (n_samples, n_folds * n_candidates,
        K) and params of their models are ordered by fold.
        """
        shape = len(folds), len(cs)
        logits = logits.unflatten(1, shape)
        if self.known is None and len({self.thresholds[label] for label in labels}) == 1:
            rows = [self.held_out.parts[fold] for fold in folds]
            found = self._fast(rows, labels, logits)
            if found is not None:
                return found
        scores = torch.full(shape, torch.nan, dtype=torch.float64)
        coef, intercept = (part.unflatten(0, shape) for part in (params.coef, params.intercept))
        for label in np.unique(labels):
            own = np.flatnonzero(labels == label)
            rows = [self._rows(fold, label) for fold in folds]
            usable = np.flatnonzero([self._can_be_scored(part, label) for part in rows])
            if not len(usable):
                continue
            rows = [rows[i] for i in usable]
            found = None
            if self._may_be_fast:  # other scorers need no copy of the logits
                found = self._fast(rows, labels[own], logits[:, usable][:, :, own])
            if found is None:
                found = scores[np.ix_(usable, own)]
                for score, i, part in zip(found, usable, rows, strict=True):
                    some = Params(coef[i, own], intercept[i, own])
                    score[:] = self._by_scorer(part, label, cs[own], logits[:, i, own], some)
            scores[np.ix_(usable, own)] = found
        return scores

    @cached_property
    def _weight(self) -> Tensor | None:
        weight = self.params.get("sample_weight")
        return None if weight is None else to_tensor(weight).to("cpu", torch.float64)

    @cached_property
    def _may_be_fast(self) -> bool:
        return metric_name(self.scoring) is not None and not self.params.keys() - {"sample_weight"}

    def _rows(self, fold: int, label: int) -> np.ndarray:
        """Return the held-out rows of a fold in which a label is known."""
        rows = self.held_out.parts[fold]
        return rows if self.known is None else rows[self.known[:, label].cpu().numpy()[rows]]

    def _can_be_scored(self, rows: np.ndarray, label: int) -> bool:
        """Return True if there are rows with weight, with both classes if the metric needs them."""
        if not self.skips:
            return True
        index = self.index[:, label].cpu()[rows]
        if self._weight is not None:
            index = index[self._weight[rows] > 0]
        if metric_name(self.scoring) == "roc_auc":
            return bool((index == 0).any() and (index == 1).any())
        return len(index) > 0

    def _fast(self, rows: list[np.ndarray], labels: np.ndarray, logits: Tensor) -> Tensor | None:
        """Score all candidates (n_samples, n_folds, n_candidates, K) at once if possible."""
        if not self._may_be_fast:
            return None
        held_out = FoldRows.of(rows, len(self.index))
        at = held_out.rows
        found = fast_scores(
            self.scoring,
            held_out.take(logits.flatten(1, 2)),
            self.index[at.to(self.index.device)][:, labels],
            held_out.lengths,
            None if self._weight is None else self._weight[at],
            threshold=self.thresholds[labels[0]],
        )
        return None if found is None else found.cpu()

    @cached_property
    def _scorer(self) -> Any:
        """Scorer that gets all classes as ``labels`` if it has this parameter.

        A fold may lack classes. The scorer's own settings of labels and pos_label have precedence.
        """
        scorer = get_scorer(self.scoring)
        if not hasattr(scorer, "_score_func"):
            return scorer
        takes = inspect.signature(scorer._score_func).parameters
        if "labels" not in takes:
            return scorer
        labels: dict[str, Any] = {"labels": self.classes}
        if len(self.classes) == 2 and "pos_label" in takes:
            labels["pos_label"] = self.classes[-1]
        return make_scorer(
            scorer._score_func,
            greater_is_better=scorer._sign == 1,
            response_method=scorer._response_method,
            **(labels | scorer._kwargs),
        )

    def _by_scorer(
        self, rows: np.ndarray, label: int, cs: np.ndarray, logits: Tensor, params: Params
    ) -> Tensor:
        """Score one fold's models of a label with a scorer that takes an estimator."""
        X, caches = self._rows_for_scorer(rows), hasattr(self._scorer, "_score_func")
        y = self.classes[self.index[:, label].cpu().numpy()[rows]]
        metadata = _check_method_params(X=self.X, params=self.params, indices=rows)
        place = torch.from_numpy(rows).to(logits.device)
        scores = []
        for i, c in enumerate(cs):
            fitted = {
                "classes_": self.classes,
                "coef_": self.namespace.from_tensor(params.coef[i]),
                "intercept_": self.namespace.from_tensor(params.intercept[i]),
            }
            own = logits[place, i] if caches else None
            if not caches:
                X = self._rows_for_scorer(rows)
            classifier = self.classifier(
                fitted, X, own, C=self.Cs[c], threshold=self.thresholds[label]
            )
            score = self._scorer(classifier, X, y, **metadata)
            score = score.item() if hasattr(score, "item") else score
            if not isinstance(score, Real):
                raise ValueError(
                    f"scoring must return a number, got {score} ({type(score)}) instead. "
                    f"(scorer={self.scoring})"
                )
            scores.append(float(score))
        return torch.tensor(scores, dtype=torch.float64)

    def _rows_for_scorer(self, rows: np.ndarray) -> Any:
        """Select rows of X; out-of-core rows are replaced by rows without columns.

        The scorer does not need the columns, because the logits are cached.
        """
        if isinstance(self.X, OutOfCoreRows):
            if not hasattr(self._scorer, "_score_func"):
                raise scorer_error(self.scoring)
            return np.empty((len(rows), 0))
        if isinstance(self.X, Tensor):
            return self.X[torch.from_numpy(rows).to(self.X.device)]
        return self.X[rows]
