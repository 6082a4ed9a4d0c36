"""Rows and scorer of a search, and scores of the candidates of its batches."""

from collections import defaultdict
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from sklearn.model_selection._validation import _score
from sklearn.utils.metadata_routing import _routing_enabled
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params, _num_samples, column_or_1d
from torch import Tensor

from skorch_logreg.inputs.indicator import for_metrics
from skorch_logreg.inputs.labels import Targets, encode
from skorch_logreg.scoring import FoldRows, fast_scores, metric_name

_BY_LABEL = ("accuracy", "balanced_accuracy")


@dataclass(frozen=True)
class SearchData:
    """Search with its rows, scorer and routed metadata.

    ``scorer`` is scikit-learn's, which returns a number or a dict of numbers. ``routed`` is the
    metadata of splitter, fits and scorer; values as long as X are split like it. Rows that are not
    in memory are ``out_of_core``, and X has as many rows without columns.
    """

    search: Any
    X: Any
    y: Any
    scorer: Any
    routed: Any
    out_of_core: Any = None

    @property
    def n_samples(self) -> int:
        """Number of rows."""
        return int(_num_samples(self.X))

    @cached_property
    def targets(self) -> Targets:
        """Classes of all rows."""
        return encode(column_or_1d(self.y))

    def rows(self, indices: Any, train: Any = None) -> tuple[Any, Any]:
        """Select rows of X and y, as scikit-learn does, which needs ``train`` for test rows."""
        X, y = _safe_split(self.search.estimator, self.X, self.y, indices, train)
        return X, y

    def fit_params(self, indices: Any) -> dict[str, Any]:
        """Return the metadata of fits for some rows."""
        params: dict[str, Any]
        params = _check_method_params(self.X, self.routed.estimator.fit, indices=indices)
        return params

    @property
    def needs_only_predictions(self) -> bool:
        """True for scikit-learn's scorers; False for a callable.

        It may inspect a pipeline, and change the model or the rows.
        """
        scorers = getattr(self.scorer, "_scorers", {"": self.scorer}).values()
        by_response = all(hasattr(scorer, "_response_method") for scorer in scorers)
        return self.search.scoring is None or by_response


@dataclass(frozen=True)
class FittedPipeline:
    """Fitted transformers of a fold, with a placeholder as last step, and the transformed rows.

    ``transformed`` has the rows of every part that is scored, "test" or "train", as the
    transformers return them, and ``inputs`` has them as the linear model takes them.
    """

    fold: int
    pipeline: Any
    transformed: dict[str, Any]
    inputs: dict[str, Any]

    def with_final_step(self, final: Any) -> Any:
        """Return a pipeline with the same fitted transformers and another last step."""
        whole = copy(self.pipeline)
        name, _ = self.pipeline.steps[-1]
        whole.steps = [*self.pipeline.steps[:-1], (name, final)]
        return whole


def score_candidates(
    data: SearchData, batch: Any, rows: FoldRows, part: str, pipeline: FittedPipeline | None
) -> dict[int, list[Any]]:
    """Score every candidate of a `CandidateBatch` in every fold.

    ``part`` is "test" or "train", and ``pipeline`` has the transformers of the only fold, if any.
    The result has, by candidate index, a number or a dict of numbers for every fold.
    """
    logits = batch.logits(rows, None if pipeline is None else pipeline.inputs[part])
    scores = None
    if logits is not None and not batch.is_multilabel:
        scores = _score_together(data, batch, rows, logits)
    if scores is None:
        scores = _score_individually(data, batch, rows, logits, part=part, pipeline=pipeline)
    return scores


def _score_together(
    data: SearchData, batch: Any, rows: FoldRows, logits: Tensor
) -> dict[int, list[Any]] | None:
    """Score all candidates at once; None if a scorer must be called or its metadata is unknown."""
    several = getattr(data.scorer, "_scorers", None)
    scorers = several or {"": None if data.search.scoring is None else data.scorer}
    metrics = {name: metric_name(scorer) for name, scorer in scorers.items()}
    if None in metrics.values():
        return None
    params, weight = data.routed.scorer.score, None
    if params:
        given = np.asarray(params.get("sample_weight", 0.0))
        known = len(params) == 1 and given.shape == (data.n_samples,)
        if not known or (several and _routing_enabled()):
            return None
        weight = torch.from_numpy(given.astype(np.float64))[rows.rows]
    index = data.targets.index[rows.rows]
    classes = batch.fold_data.inputs.labels.classes
    found: dict[Any, Tensor | None] = {}  # scores of all models, by metric and threshold
    scores: dict[int, list[Any]] = {}
    for place, candidate in batch.candidates:
        own = []
        for metric in metrics.values():
            key = metric, candidate.model.threshold if metric in _BY_LABEL else 0.5
            if key not in found:
                how = {"threshold": key[1], "classes": classes}
                found[key] = fast_scores(metric, logits, index, rows.lengths, weight, **how)
            all_models = found[key]
            if all_models is None:
                return None
            own.append(all_models[:, place].tolist())
        by_fold = [dict(zip(metrics, each, strict=True)) for each in zip(*own, strict=True)]
        scores[candidate.index] = by_fold if several else own[0]
    return scores


def _score_individually(
    data: SearchData,
    batch: Any,
    rows: FoldRows,
    logits: Tensor | None,
    *,
    part: str,
    pipeline: FittedPipeline | None,
) -> dict[int, list[Any]]:
    """Call the scorer for every candidate and fold, with a model that has cached logits.

    A scorer that needs more than predictions gets models and rows of its own, without a cache.
    """
    scores: dict[int, list[Any]] = defaultdict(list)
    takes_model = not data.needs_only_predictions
    if takes_model:
        logits = None
    by_fold = [None] * rows.n_folds if logits is None else logits.split(list(rows.lengths))
    whole_pipeline = pipeline is not None and takes_model
    for fold, indices in enumerate(rows.parts):
        X, y = data.rows(indices)
        params = _check_method_params(data.X, data.routed.scorer.score, indices=indices)
        if pipeline is not None and not whole_pipeline:
            X = pipeline.transformed[part]
        for place, candidate in batch.candidates:
            if takes_model:
                X, y = data.rows(indices)
            model = batch.model((fold, place), candidate, X, by_fold[fold])
            if pipeline is not None and whole_pipeline:
                model = pipeline.with_final_step(model)
            score = _score(model, X, for_metrics(y), data.scorer, params, data.search.error_score)
            scores[candidate.index].append(score)
    return scores
