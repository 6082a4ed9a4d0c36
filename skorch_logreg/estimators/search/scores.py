"""Scores of the candidates of a batch: all at once where the metric is known, else one by one."""

from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.model_selection._validation import _score
from sklearn.utils.metadata_routing import _routing_enabled
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples
from torch import Tensor

from skorch_logreg.estimators.scoring import (
    CachedLogitsClassifier,
    FoldRows,
    fast_scores,
    metric_name,
)
from skorch_logreg.estimators.search.batches import Batch

__all__ = ["CandidateScores", "Held"]

_BY_LABEL = ("accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class Held:
    """Rows to score, one fold's after another's.

    Parameters
    ----------
    logits : Tensor of shape (n_entries, g, K)
        By the g models of the row's fold.
    index : Tensor of shape (n_entries,)
        Their class indices.
    rows : FoldRows
        Their places in the X that was given to the search.
    """

    logits: Tensor
    index: Tensor
    rows: FoldRows


@dataclass(frozen=True)
class Behind:
    """What a fold's transformers have made.

    Parameters
    ----------
    pipeline : Pipeline
        With fitted transformers; its last step stands for any.
    train, test : array-like
        Transformed rows.
    """

    pipeline: Any
    train: Any
    test: Any

    def ending_in(self, final: Any) -> Any:
        """Return a pipeline with the same, fitted transformers and another last step."""
        whole = copy(self.pipeline)
        name, _ = self.pipeline.steps[-1]
        whole.steps = [*self.pipeline.steps[:-1], (name, final)]
        return whole


@dataclass(frozen=True)
class CandidateScores:
    """What the scorer of a search says of the models of a batch.

    Parameters
    ----------
    estimator : estimator
        The search's.
    X, y : array-like
        As the search has them.
    scorer : callable
        As `GridSearchCV` makes it: it gives a number, or a dict of numbers.
    scoring : object
        The search's parameter.
    params : dict
        For the scorer; values as long as X are split like it.
    error_score : "raise" or float
    """

    estimator: Any
    X: Any
    y: Any
    scorer: Any
    scoring: Any
    params: dict[str, Any]
    error_score: Any

    def __call__(
        self, batch: Batch, held: Held, final: Any, behind: Behind | None = None
    ) -> dict[int, list[Any]]:
        """Score every candidate in every fold.

        Parameters
        ----------
        batch : Batch
        held : Held
        final : TorchLogisticClassifier
            With the shared parameters.
        behind : Behind or None
            Where there are transformers.

        Returns
        -------
        scores : dict
            By a candidate's place, a list with a number, or a dict of numbers, a fold.
        """
        scores = self._fast(batch, held)
        return self._slow(batch, held, final, behind) if scores is None else scores

    def _fast(self, batch: Batch, held: Held) -> dict[int, list[Any]] | None:
        several = getattr(self.scorer, "_scorers", None)
        scorers = {"": self.scorer if self.scoring is not None else None}
        metrics = {name: metric_name(s) for name, s in (several or scorers).items()}
        if None in metrics.values():
            return None
        weight = None
        if self.params:
            given = np.asarray(self.params.get("sample_weight", 0.0))
            known = len(self.params) == 1 and given.shape == (_num_samples(self.X),)
            if not known or (several and _routing_enabled()):
                return None
            weight = torch.from_numpy(given.astype(np.float64))[held.rows.rows]
        thresholds = {c.values["threshold"] for served in batch.models for c in served}
        table: dict[tuple[str, float], list[list[float]]] = {}
        for name, metric in metrics.items():
            for threshold in thresholds if metric in _BY_LABEL else {0.5}:
                found = fast_scores(
                    metric,
                    held.logits,
                    held.index,
                    held.rows.lengths,
                    weight,
                    threshold=threshold,
                    classes=batch.design.targets.classes,
                )
                if found is None:
                    return None
                table[name, threshold] = found.tolist()
        scores: dict[int, list[Any]] = {}
        for model, served in enumerate(batch.models):
            for candidate in served:
                columns = {
                    name: table[name, candidate.values["threshold"] if m in _BY_LABEL else 0.5]
                    for name, m in metrics.items()
                }
                scores[candidate.place] = [
                    {name: column[fold][model] for name, column in columns.items()}
                    if several
                    else columns[""][fold][model]
                    for fold in range(held.rows.n_folds)
                ]
        return scores

    def rows(self, rows: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Take rows of X and y, with what the scorer gets for them."""
        X, y = _safe_split(self.estimator, self.X, self.y, rows)
        return X, y, _check_method_params(self.X, params=self.params, indices=rows)

    def of_model(
        self,
        model: Any,
        X: Any,
        y: Any,
        params: dict[str, Any],
        behind: Behind | None = None,
        part: str = "test",
    ) -> Any:
        """Ask the scorer about a fitted model on rows, as they were before any transformer."""
        if behind is not None:
            if self.wants_predictions_alone:
                X = getattr(behind, part)
            else:
                model = behind.ending_in(model)
        return _score(model, X, y, self.scorer, params, self.error_score)

    def _slow(
        self, batch: Batch, held: Held, final: Any, behind: Behind | None
    ) -> dict[int, list[Any]]:
        scores: dict[int, list[Any]] = {c.place: [] for model in batch.models for c in model}
        lengths = list(held.rows.lengths)
        parts = zip(held.rows.rows.split(lengths), held.logits.split(lengths), strict=True)
        for fold, (rows, logits) in enumerate(parts):
            X, y, params = self.rows(rows.numpy())
            for model, served in enumerate(batch.models):
                fitted = batch.fitted(fold, model)
                own = logits[:, model].contiguous()
                for candidate in served:
                    stand_in = CachedLogitsClassifier.of(final, fitted, X, own, **candidate.values)
                    whole: Any = stand_in
                    if behind is not None and not self.wants_predictions_alone:
                        whole = behind.ending_in(stand_in)
                    score = _score(whole, X, y, self.scorer, params, self.error_score)
                    scores[candidate.place].append(score)
        return scores

    @property
    def wants_predictions_alone(self) -> bool:
        """Whether scikit-learn's scorers ask, not a function that may look into a pipeline."""
        scorers = getattr(self.scorer, "_scorers", {"": self.scorer}).values()
        return self.scoring is None or all(hasattr(s, "_response_method") for s in scorers)
