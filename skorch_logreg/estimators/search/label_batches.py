"""Solve the candidates of a search over `MultiLabel`, all labels and folds together."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel import validation
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem
from skorch_logreg.estimators.search.batches import FoldData
from skorch_logreg.estimators.search.candidates import Candidate, identity_key
from skorch_logreg.estimators.search.results import FitOutcome
from skorch_logreg.fitting import FitResult
from skorch_logreg.fitting.batch import Models
from skorch_logreg.inputs.options import Options


@dataclass(frozen=True)
class LabelBatch:
    """Candidates that share their models, fitted in one fold.

    ``models`` has a fitted estimator for every candidate, by its index, and ``constant`` the labels
    that have one value in the fold.
    """

    settings: tuple[tuple[Candidate, ...], ...]
    folds: tuple[int, ...]
    models: dict[int, MultiLabel]
    outcomes: list[FitOutcome]
    constant: np.ndarray

    def logits(self, rows: Any, part: str, X_test: Any) -> None:
        """Return None: a label's model computes its logits itself."""

    def model(self, place: Any, candidate: Candidate, X: Any, logits: Any) -> MultiLabel:
        """Return a candidate's model."""
        return self.models[candidate.index]


@dataclass
class _LabelSetting:
    """Candidates that differ only in their threshold, with an unfitted estimator for each."""

    models: dict[Candidate, MultiLabel]
    estimator: TorchLogisticClassifier
    resolved: Options
    C: Tensor
    weight_key: Any  # equal for settings with the same class weights


def solve_labels(
    final: MultiLabel, candidates: Sequence[Candidate], fold_data: FoldData
) -> Iterator[list[LabelBatch]]:
    """Solve candidates for all folds, as many settings and folds at a time as memory allows.

    Candidates that cannot be batched are skipped, as are those of a solve that raises an exception
    of any type; they are then fitted individually. ``final`` has the parameters that all share.
    """
    labels: Indicator = fold_data.inputs.labels
    settings: dict[Any, _LabelSetting] = {}
    for candidate in candidates:
        key = frozenset(
            (n, identity_key(v)) for n, v in candidate.values.items() if n != "threshold"
        )
        try:
            model = copy(final)
            model.estimator = copy(final.estimator)
            model.set_params(**candidate.values)._validate_params()
            model._thresholds(labels.kind, labels.n_labels)
            if key not in settings:
                estimator = validation.checked_estimator(model)
                resolved = validation.resolve_for_labels(estimator, model.C)
                C = validation.c_per_label(model.C, estimator, resolved, labels.n_labels)
                own = identity_key(model.class_weight), identity_key(estimator.class_weight)
                settings[key] = _LabelSetting({}, estimator, resolved, C, own)
        except Exception:  # the individual fits report it
            continue
        settings[key].models[candidate] = model
    by_penalty: dict[Any, list[_LabelSetting]] = {}
    for setting in settings.values():
        penalty = setting.resolved.l1_ratio, identity_key(setting.estimator.penalty_factor)
        by_penalty.setdefault(penalty, []).append(setting)
    size = labels.n_labels * sum(fold_data.inputs.X.shape)  # numbers per setting and fold
    together = fitting.at_once(size, final.memory_budget)
    for same_penalty in by_penalty.values():
        setting_folds = [
            (setting, fold) for setting in same_penalty for fold in range(fold_data.n_folds)
        ]
        for start in range(0, len(setting_folds), together):
            try:
                results = _solve(setting_folds[start : start + together], fold_data)
            except Exception:
                continue
            yield results


def _solve(
    setting_folds: Sequence[tuple[_LabelSetting, int]], fold_data: FoldData
) -> list[LabelBatch]:
    """Solve settings that share a penalty, each in its fold."""
    by_key: dict[Any, LabelProblem] = {}
    for setting, fold in setting_folds:
        if (setting.weight_key, fold) not in by_key:
            model = next(iter(setting.models.values()))
            # rows outside the fold have weight 0
            inputs = replace(fold_data.inputs, weight=fold_data.fold_weight[:, fold])
            by_key[setting.weight_key, fold] = LabelProblem.of(
                model, inputs, setting.estimator, setting.resolved
            )
    problems = list(by_key.values())
    labels: Indicator = fold_data.inputs.labels
    n_labels = labels.n_labels
    if labels.is_column and any(problem.constant.any() for problem in problems):
        raise ValueError("A fold lacks a class: it is another model then.")

    def columns(numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        problem, label = np.divmod(numbers, n_labels)
        parts = [problems[k].targets_and_weights(label[problem == k]) for k in np.unique(problem)]
        weights = [weight.reshape(len(weight), -1).expand_as(targets) for targets, weight in parts]
        return torch.cat([targets for targets, _ in parts], dim=1), torch.cat(weights, dim=1)

    keys = list(by_key)
    place = [keys.index((setting.weight_key, fold)) for setting, fold in setting_folds]
    models = Models(
        (np.array(place)[:, None] * n_labels + np.arange(n_labels)).ravel(),
        torch.cat([setting.C for setting, _ in setting_folds]),
        group=np.tile(np.arange(n_labels), len(place)),
        constant=np.concatenate([problems[k].constant for k in place]),
    )
    solution = problems[0].fitter(columns).fit_all(models)
    parts = torch.arange(len(models.C)).split(n_labels)
    return [
        _make_batch(setting, fold, problems[k], solution.take(part), fold_data)
        for (setting, fold), k, part in zip(setting_folds, place, parts, strict=True)
    ]


def _make_batch(
    setting: _LabelSetting, fold: int, problem: LabelProblem, fits: FitResult, fold_data: FoldData
) -> LabelBatch:
    fitted = problem.attributes(fits) | fold_data.feature_attributes
    models = {}
    for candidate, model in setting.models.items():
        models[candidate.index] = copy(model)
        models[candidate.index]._set_fitted(fitted, fold_data.inputs.labels)
    index, dtype = next(iter(models)), problem.problem.dtype
    outcomes = [
        FitOutcome(index, status, optimality, setting.estimator, dtype)
        for status, optimality in zip(fits.status, fits.optimality.tolist(), strict=True)
    ]
    constant = np.flatnonzero(problem.constant)
    return LabelBatch((tuple(setting.models),), (fold,), models, outcomes, constant)
