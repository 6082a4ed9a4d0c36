"""Scores of the held-out rows of many labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.scores import FoldScorer
from skorch_logreg.estimators.scoring import FoldRows, fast_scores, metric_name
from skorch_logreg.fitting import Params
from skorch_logreg.inputs.arrays import ArrayNamespace

__all__ = ["LabelScorer"]


@dataclass(frozen=True)
class LabelScorer:
    """Scorer of each label as a binary classifier.

    Parameters
    ----------
    scoring : str, callable or None
        As in `TorchLogisticClassifierCV`.
    template : TorchLogisticClassifier
        Parameters of the models except ``C`` and ``threshold``.
    X : array of shape (n_samples, n_features)
        Validated rows.
    classes : ndarray of shape (2,)
        Values that stand for absence and presence in the scorer's y.
    Cs : ndarray of shape (n_cs,)
        Inverse regularisation strengths.
    thresholds : Tensor of shape (n_labels,)
        Probability from which on a label is predicted.
    held_out_rows : list of ndarray
        Held-out rows of every fold.
    weight : Tensor of shape (n_samples,) or None
        Sample weights.
    namespace : ArrayNamespace
        Array namespace and device of X.
    """

    scoring: Any
    template: TorchLogisticClassifier
    X: Any
    classes: np.ndarray
    Cs: np.ndarray
    thresholds: Tensor
    held_out_rows: list[np.ndarray]
    weight: Tensor | None
    namespace: ArrayNamespace

    def __call__(
        self,
        labels: np.ndarray,
        own: np.ndarray,
        folds: np.ndarray,
        cs: np.ndarray,
        logits: Tensor,
        rows: tuple[Tensor, Tensor | None],
        *,
        params: Params,
    ) -> Tensor:
        """Score some candidates in some folds.

        Parameters
        ----------
        labels : ndarray of shape (n_labels,), int
            Labels of the targets.
        own, cs : ndarray of shape (n_candidates,), int
            Place of each candidate's label among ``labels``, in ascending order, and its C.
        folds : ndarray of shape (n_folds,), int
            Folds of the models.
        logits : Tensor of shape (n_samples, n_folds * n_candidates, 1)
            Logits of all rows.
        rows : tuple of (targets, known)
            Targets (n_samples, n_labels), int64, and True where they are known; None if all are.
        params : Params
            Parameters of the models, in the order of the logits.

        Returns
        -------
        scores : Tensor of shape (n_folds, n_candidates), float64
            Scores; nan if the held-out rows cannot be scored.
        """
        targets, known = rows
        shape = len(folds), len(cs)
        thresholds = self.thresholds[labels].tolist()
        if known is None and len(set(thresholds)) == 1 and metric_name(self.scoring) is not None:
            held_out = FoldRows.of([self.held_out_rows[fold] for fold in folds], len(targets))
            index = targets[held_out.rows.to(targets.device)]
            found = fast_scores(
                self.scoring,
                held_out.take(logits),
                index[:, own],
                held_out.lengths,
                None if self.weight is None else self.weight[held_out.rows.to(self.weight.device)],
                threshold=thresholds[0],
            )
            if found is not None:
                return found.cpu()
        logits = logits.unflatten(1, shape)
        coef, intercept = (part.unflatten(0, shape) for part in (params.coef, params.intercept))
        parts = []
        for label in np.unique(own):
            which = np.flatnonzero(own == label)
            parts.append(
                self._score_label(
                    thresholds[label],
                    folds,
                    cs[which],
                    logits[:, :, which],
                    targets[:, label].cpu(),
                    known=None if known is None else known[:, label].cpu().numpy(),
                    params=Params(coef[:, which], intercept[:, which]),
                )
            )
        return torch.cat(parts, dim=1)

    def _score_label(
        self,
        threshold: float,
        folds: np.ndarray,
        cs: np.ndarray,
        logits: Tensor,
        index: Tensor,
        *,
        known: np.ndarray | None,
        params: Params,
    ) -> Tensor:
        """Score one label, (n_folds, n_cs), in the folds whose rows can be scored."""
        weight = None if self.weight is None else self.weight.cpu()
        held_out_rows = [
            self.held_out_rows[fold] if known is None else self._known_rows(fold, known)
            for fold in folds
        ]
        usable = [
            i
            for i, part in enumerate(held_out_rows)
            if self._can_be_scored(index[part], weight, part)
        ]
        scores = torch.full((len(folds), len(cs)), torch.nan, dtype=torch.float64)
        if usable:
            fold_scores = FoldScorer(
                scoring=self.scoring,
                template=TorchLogisticClassifier(
                    **self.template.get_params(deep=False) | {"threshold": threshold}
                ),
                X=self.X,
                y=self.classes[index.numpy()],
                index=index,
                classes=self.classes,
                Cs=self.Cs,
                parts=held_out_rows,
                sample_weight=None if weight is None else weight.numpy(),
                params={} if weight is None else {"sample_weight": weight.numpy()},
                namespace=self.namespace,
            )
            usable_params = Params(
                params.coef[usable].flatten(0, 1), params.intercept[usable].flatten(0, 1)
            )
            scores[usable] = fold_scores(
                usable, cs.tolist(), logits[:, usable].flatten(1, 2), usable_params
            ).cpu()
        return scores

    def _known_rows(self, fold: int, known: np.ndarray) -> np.ndarray:
        part = self.held_out_rows[fold]
        return part[known[part]]

    def _can_be_scored(self, index: Tensor, weight: Tensor | None, part: np.ndarray) -> bool:
        """Return True if there are rows with weight, with both classes if the metric needs them."""
        if weight is not None:
            index = index[weight[part] > 0]
        if metric_name(self.scoring) == "roc_auc":
            return bool((index == 0).any() and (index == 1).any())
        return len(index) > 0
