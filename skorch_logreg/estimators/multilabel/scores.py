"""Scores of the held-out rows of many labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.estimators.arrays import Home
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.scores import FoldScores
from skorch_logreg.estimators.scoring import Rows, fast_scores, metric_name
from skorch_logreg.fitting import Params

__all__ = ["LabelScores"]


@dataclass(frozen=True)
class LabelScores:
    """Scores each label as a classifier of its own.

    Parameters
    ----------
    scoring : str, callable or None
    template : TorchLogisticClassifier
        Parameters of the models, but for ``C`` and ``threshold``.
    X : array of shape (n_samples, n_features)
        Validated.
    classes : ndarray of shape (2,)
        What the scorer has for absence and presence.
    Cs : ndarray of shape (n_cs,)
    thresholds : Tensor of shape (n_labels,)
    parts : list of ndarray
        Held-out rows of every fold.
    weight : Tensor of shape (n_samples,) or None
        Sample weights.
    home : Home
        Where X lives.
    """

    scoring: Any
    template: TorchLogisticClassifier
    X: Any
    classes: np.ndarray
    Cs: np.ndarray
    thresholds: Tensor
    parts: list[np.ndarray]
    weight: Tensor | None
    home: Home

    def __call__(
        self,
        labels: np.ndarray,
        folds: Sequence[int],
        cs: Sequence[int],
        logits: Tensor,
        targets: Tensor,
        known: Tensor | None,
        params: Params,
    ) -> Tensor:
        """Score some labels, folds and Cs.

        Parameters
        ----------
        labels, folds, cs : sequence of int
        logits : Tensor of shape (n_samples, n_folds * n_labels * n_cs, 1)
        targets : Tensor of shape (n_samples, n_labels), int64
        known : Tensor of shape (n_samples, n_labels), bool, or None
        params : Params
            Of the models, in the order of the logits.

        Returns
        -------
        scores : Tensor of shape (n_labels, n_folds, n_cs), float64
            nan where the held-out rows show nothing that can be scored.
        """
        shape = len(folds), len(labels), len(cs)
        thresholds = self.thresholds[labels].tolist()
        if known is None and len(set(thresholds)) == 1 and metric_name(self.scoring) is not None:
            rows = Rows.of([self.parts[fold] for fold in folds], len(targets))
            index = targets[rows.rows.to(targets.device)]
            found = fast_scores(
                self.scoring,
                rows.take(logits),
                index.repeat_interleave(len(cs), dim=1),
                rows.lengths,
                None if self.weight is None else self.weight[rows.rows.to(self.weight.device)],
                threshold=thresholds[0],
            )
            if found is not None:
                return found.unflatten(1, shape[1:]).transpose(0, 1).cpu()
        logits = logits.unflatten(1, shape)
        coef, intercept = (part.unflatten(0, shape) for part in (params.coef, params.intercept))
        return torch.stack(
            [
                self._of_label(
                    threshold,
                    folds,
                    cs,
                    logits[:, :, i],
                    targets[:, i].cpu(),
                    None if known is None else known[:, i].cpu().numpy(),
                    Params(coef[:, i], intercept[:, i]),
                )
                for i, threshold in enumerate(thresholds)
            ]
        )

    def _of_label(
        self,
        threshold: float,
        folds: Sequence[int],
        cs: Sequence[int],
        logits: Tensor,
        index: Tensor,
        known: np.ndarray | None,
        params: Params,
    ) -> Tensor:
        """Scores (n_folds, n_cs) of one label, where its rows can be scored."""
        weight = None if self.weight is None else self.weight.cpu()
        parts = [self.parts[fold] if known is None else self._known(fold, known) for fold in folds]
        usable = [i for i, part in enumerate(parts) if self._usable(index[part], weight, part)]
        scores = torch.full((len(folds), len(cs)), torch.nan, dtype=torch.float64)
        if usable:
            fold_scores = FoldScores(
                scoring=self.scoring,
                template=TorchLogisticClassifier(
                    **self.template.get_params(deep=False) | {"threshold": threshold}
                ),
                X=self.X,
                y=self.classes[index.numpy()],
                index=index,
                classes=self.classes,
                Cs=self.Cs,
                parts=parts,
                sample_weight=None if weight is None else weight.numpy(),
                params={} if weight is None else {"sample_weight": weight.numpy()},
                home=self.home,
            )
            some = Params(params.coef[usable].flatten(0, 1), params.intercept[usable].flatten(0, 1))
            scores[usable] = fold_scores(usable, cs, logits[:, usable].flatten(1, 2), some).cpu()
        return scores

    def _known(self, fold: int, known: np.ndarray) -> np.ndarray:
        part = self.parts[fold]
        return part[known[part]]

    def _usable(self, index: Tensor, weight: Tensor | None, part: np.ndarray) -> bool:
        """Whether rows count, and show both classes where the metric compares them."""
        if weight is not None:
            index = index[weight[part] > 0]
        if metric_name(self.scoring) == "roc_auc":
            return bool((index == 0).any() and (index == 1).any())
        return len(index) > 0
