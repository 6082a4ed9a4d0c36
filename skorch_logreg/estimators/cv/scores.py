"""Scores of the folds' models from their logits, as in `LogisticRegressionCV`."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Number
from typing import Any

import numpy as np
import torch
from sklearn.metrics import get_scorer, make_scorer
from sklearn.utils.validation import _check_method_params
from torch import Tensor

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.scoring import (
    CachedLogitsClassifier,
    FoldRows,
    fast_scores,
    metric_name,
)
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import Params
from skorch_logreg.inputs.arrays import ArrayNamespace, to_tensor
from skorch_logreg.inputs.out_of_core import OutOfCoreRows

__all__ = ["FoldScorer"]


@dataclass(frozen=True)
class FoldScorer:
    """Callable that scores the held-out rows of a batch of models, a `BatchScorer`.

    Parameters
    ----------
    scoring : str, callable or None
    template : TorchLogisticClassifier
        Estimator with the parameters of the models, except ``C``.
    X : array of shape (n_samples, n_features)
        Validated rows, which are selected only for scorers that take them.
    y : ndarray of shape (n_samples,)
        Labels.
    index : Tensor of shape (n_samples,), int64
        Indices of the labels in ``classes``.
    classes : ndarray of shape (n_classes,)
    Cs : ndarray of shape (n_cs,)
    parts : list of ndarray
        Held-out rows of every fold.
    sample_weight : array of shape (n_samples,) or None
        Sample weights of the fit, which ``scoring=None`` uses.
    params : dict
        Metadata for the scorer.
    namespace : ArrayNamespace
        Namespace of X.
    """

    scoring: Any
    template: TorchLogisticClassifier
    X: Any
    y: np.ndarray
    index: Tensor
    classes: np.ndarray
    Cs: np.ndarray
    parts: list[Any]
    sample_weight: Any
    params: dict[str, Any]
    namespace: ArrayNamespace
    _rows: dict[tuple[int, ...], FoldRows] = field(default_factory=dict, init=False)

    def __call__(
        self, folds: Sequence[int], cs: Sequence[int], logits: Tensor, params: Params
    ) -> Tensor:
        """Compute the scores (n_folds, n_cs) of the models of some folds and Cs."""
        if self._is_fast:
            rows = self._rows_of(folds)
            found = fast_scores(
                self.scoring,
                rows.take(logits),
                self.index[rows.rows.to(self.index.device)],
                rows.lengths,
                None if self._weight is None else self._weight[rows.rows],
                threshold=self.template.threshold,
            )
            if found is not None:
                return found
        scores = torch.empty(len(folds), len(cs), dtype=torch.float64)
        for i, fold in enumerate(folds):
            models = range(i * len(cs), (i + 1) * len(cs))
            scores[i] = self._score_with_scorer(fold, cs, models, logits, params)
        return scores

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        """Metadata of the scorer; a classifier's own `score` gets the weights of the fit."""
        if self.scoring is None:
            weight = self.sample_weight
            return {} if weight is None else {"sample_weight": weight}
        return self.params

    @cached_property
    def _is_fast(self) -> bool:
        return metric_name(self.scoring) is not None and self._metadata.keys() <= {"sample_weight"}

    @cached_property
    def _weight(self) -> Tensor | None:
        weight = self._metadata.get("sample_weight")
        return None if weight is None else to_tensor(weight).to("cpu", torch.float64)

    def _rows_of(self, folds: Sequence[int]) -> FoldRows:
        key = tuple(folds)
        if key not in self._rows:
            self._rows[key] = FoldRows.of([self.parts[fold] for fold in folds], len(self.y))
        return self._rows[key]

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

    def _rows_for_scorer(self, rows: np.ndarray, place: Tensor) -> Any:
        """Select rows of X; out-of-core rows are replaced by rows without columns.

        The scorer does not need the columns, because the logits are cached.
        """
        if isinstance(self.X, OutOfCoreRows):
            if self.scoring is not None and not hasattr(self._scorer, "_score_func"):
                raise ParameterError(
                    f"scoring={self.scoring!r} is called with rows, and these are elsewhere; name "
                    "a metric of scikit-learn, or pass make_scorer(metric)."
                )
            return np.empty((len(rows), 0))
        return self.X[place.to(self.X.device)] if isinstance(self.X, Tensor) else self.X[rows]

    def _score_with_scorer(
        self, fold: int, cs: Sequence[int], models: Sequence[int], logits: Tensor, params: Params
    ) -> Tensor:
        """Score one fold's models with a scorer that takes an estimator."""
        rows = self._rows_of([fold]).rows.numpy()
        place = torch.from_numpy(rows).to(logits.device)
        X = self._rows_for_scorer(rows, place)
        y = self.y[rows]
        metadata = _check_method_params(X=self.X, params=self._metadata, indices=rows)
        scores = []
        for c, model in zip(cs, models, strict=True):
            fitted = {
                "classes_": self.classes,
                "coef_": self.namespace.from_tensor(params.coef[model]),
                "intercept_": self.namespace.from_tensor(params.intercept[model]),
            }
            held = CachedLogitsClassifier.of(
                self.template, fitted, X, logits[place, model], C=self.Cs[c]
            )
            if self.scoring is None:
                score = held.score(X, y, **metadata)
            else:
                score = self._scorer(held, X, y, **metadata)
            scores.append(_number(score, self.scoring))
        return torch.tensor(scores, dtype=torch.float64)


def _number(score: Any, scoring: Any) -> float:
    """Convert a score to a float; raise an error if it is not a number."""
    if hasattr(score, "item"):
        score = score.item()
    if not isinstance(score, Number) or isinstance(score, complex):
        raise ValueError(
            f"scoring must return a number, got {score} ({type(score)}) instead. (scorer={scoring})"
        )
    return float(score)  # type: ignore[arg-type]
