"""Score the candidates of a batch, all at once for known metrics, else one by one."""

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

from skorch_logreg.scoring import FoldRows, fast_scores, metric_name

__all__ = ["CandidateScorer", "FittedPipeline", "ScoredRows"]

_BY_LABEL = ("accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class ScoredRows:
    """Training or test rows to score, one fold after the other.

    ``logits`` (n_entries, n_settings, K) are those of the models of the row's fold, and ``index``
    the class indices; None if the models predict them.
    """

    part: str
    rows: FoldRows
    logits: Tensor | None
    index: Tensor | None


@dataclass(frozen=True)
class FittedPipeline:
    """Fitted transformers of a fold, with a placeholder as last step, and the transformed rows.

    ``X_test`` are the test rows as the last step takes them.
    """

    pipeline: Any
    train: Any
    test: Any
    fold: int = 0
    X_test: Any = None

    def with_final_step(self, final: Any) -> Any:
        """Return a pipeline with the same fitted transformers and another last step."""
        whole = copy(self.pipeline)
        name, _ = self.pipeline.steps[-1]
        whole.steps = [*self.pipeline.steps[:-1], (name, final)]
        return whole


@dataclass(frozen=True)
class CandidateScorer:
    """Scorer of the models of a batch, with the rows and parameters of a search.

    ``scorer`` is scikit-learn's, which returns a number or a dict of numbers. Values of ``params``
    that are as long as X are split like it.
    """

    estimator: Any
    X: Any
    y: Any
    scorer: Any
    scoring: Any
    params: dict[str, Any]
    error_score: Any

    def __call__(
        self, batch: Any, scored: ScoredRows, fitted_pipeline: FittedPipeline | None = None
    ) -> dict[int, list[Any]]:
        """Score every candidate in every fold.

        Returns
        -------
        scores : dict
            By candidate index, a list with a number, or a dict of numbers, per fold.
        """
        scores = self._score_together(batch, scored)
        if scores is None:
            scores = self._score_individually(batch, scored, fitted_pipeline)
        return scores

    def _score_together(self, batch: Any, scored: ScoredRows) -> dict[int, list[Any]] | None:
        several = getattr(self.scorer, "_scorers", None)
        scorers = {"": self.scorer if self.scoring is not None else None}
        metrics = {name: metric_name(s) for name, s in (several or scorers).items()}
        if None in metrics.values() or scored.logits is None or scored.index is None:
            return None
        weight = None
        if self.params:
            given = np.asarray(self.params.get("sample_weight", 0.0))
            known = len(self.params) == 1 and given.shape == (_num_samples(self.X),)
            if not known or (several and _routing_enabled()):
                return None
            weight = torch.from_numpy(given.astype(np.float64))[scored.rows.rows]
        thresholds = {c.values["threshold"] for served in batch.settings for c in served}
        table: dict[tuple[str, float], list[list[float]]] = {}
        for name, metric in metrics.items():
            for threshold in thresholds if metric in _BY_LABEL else {0.5}:
                found = fast_scores(
                    metric,
                    scored.logits,
                    scored.index,
                    scored.rows.lengths,
                    weight,
                    threshold=threshold,
                    classes=batch.fold_data.inputs.labels.classes,
                )
                if found is None:
                    return None
                table[name, threshold] = found.tolist()
        scores: dict[int, list[Any]] = {}
        for model, served in enumerate(batch.settings):
            for candidate in served:
                columns = {
                    name: table[name, candidate.values["threshold"] if m in _BY_LABEL else 0.5]
                    for name, m in metrics.items()
                }
                scores[candidate.index] = [
                    {name: column[fold][model] for name, column in columns.items()}
                    if several
                    else columns[""][fold][model]
                    for fold in range(scored.rows.n_folds)
                ]
        return scores

    def _score_individually(
        self, batch: Any, scored: ScoredRows, fitted_pipeline: FittedPipeline | None
    ) -> dict[int, list[Any]]:
        scores: dict[int, list[Any]] = {c.index: [] for served in batch.settings for c in served}
        logits = [None] * scored.rows.n_folds
        if scored.logits is not None:
            logits = scored.logits.split(list(scored.rows.lengths))
        for fold, rows in enumerate(scored.rows.parts):
            X, y = _safe_split(self.estimator, self.X, self.y, rows)
            params = _check_method_params(self.X, params=self.params, indices=rows)
            if fitted_pipeline is not None and self.needs_only_predictions:
                X = getattr(fitted_pipeline, scored.part)
            for setting, served in enumerate(batch.settings):
                for candidate in served:
                    model = batch.model((fold, setting), candidate, X, logits[fold])
                    if fitted_pipeline is not None and not self.needs_only_predictions:
                        model = fitted_pipeline.with_final_step(model)
                    score = _score(model, X, y, self.scorer, params, self.error_score)
                    scores[candidate.index].append(score)
        return scores

    @property
    def needs_only_predictions(self) -> bool:
        """True for scikit-learn's scorers; False for a callable, which may inspect a pipeline."""
        scorers = getattr(self.scorer, "_scorers", {"": self.scorer}).values()
        return self.scoring is None or all(hasattr(s, "_response_method") for s in scorers)
