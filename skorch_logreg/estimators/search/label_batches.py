"""Solve the candidates of a search over `MultiLabel`, all labels and folds together."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel.binary_problems import BinaryProblems, LabelResults
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem
from skorch_logreg.estimators.multilabel.per_label import EstimatorWithC, c_per_label
from skorch_logreg.estimators.multilabel.validate import checked_estimator, validate_labels
from skorch_logreg.estimators.search.batches import feature_attributes
from skorch_logreg.estimators.search.candidates import Candidate, identity_key
from skorch_logreg.fitting.batch import Models
from skorch_logreg.inputs import options
from skorch_logreg.inputs.arrays import ArrayNamespace

__all__ = ["LabelFoldData", "LabelFoldFit", "solve_labels"]


@dataclass(frozen=True)
class LabelFoldData:
    """Validated rows and labels, and the number of times that each row is in every fold.

    Parameters
    ----------
    inputs : FitInput
    counts : Tensor of shape (n_samples, n_folds), float64, or None
        Number of times that a row is in the fold's training rows. None: one fold of all rows.
    feature_attributes : dict
        Fitted attributes that describe the features.
    """

    inputs: Any
    counts: Tensor | None
    feature_attributes: dict[str, Any]

    @classmethod
    def of(
        cls,
        final: MultiLabel,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        label_mask: Any = None,
        *,
        counts: Tensor | None = None,
    ) -> Self:
        """Validate as `MultiLabel.fit` does; sets ``n_features_in_`` of ``final``.

        Raises
        ------
        ValueError
            If `fit` would raise, or the data is not supported in a batch.
        """
        if ArrayNamespace.of(X).xp is not None:
            raise ValueError("Arrays of other libraries are not batched.")
        inputs = validate_labels(
            final, checked_estimator(final), X, y, sample_weight, label_mask=label_mask
        )
        return cls(inputs, counts, feature_attributes(final))

    @property
    def namespace(self) -> ArrayNamespace:
        """Array namespace and device of X."""
        namespace: ArrayNamespace = self.inputs.namespace
        return namespace

    @property
    def n_folds(self) -> int:
        """Number of folds that are solved together."""
        return 1 if self.counts is None else int(self.counts.shape[1])

    def fold_inputs(self, fold: int) -> Any:
        """Return the input of a fit in a fold; rows outside the fold have weight 0."""
        if self.counts is None:
            return self.inputs
        weight = self.counts[:, fold]
        return replace(
            self.inputs,
            weight=weight if self.inputs.weight is None else weight * self.inputs.weight,
        )


@dataclass(frozen=True)
class LabelFoldFit:
    """Candidates that share their models, fitted in one fold.

    Parameters
    ----------
    fold : int
        Index of the fold.
    models : dict of int to MultiLabel
        A fitted estimator for every candidate, by its index.
    final_points : list of (Status, float)
        Status and optimality of every label.
    constant : ndarray of int
        Labels that have one value in the fold.
    """

    fold: int
    models: dict[int, MultiLabel]
    final_points: list[tuple[fitting.Status, float]]
    constant: np.ndarray


@dataclass
class _LabelSetting:
    """Candidates that differ only in their threshold.

    Parameters
    ----------
    models : dict of int to MultiLabel
        An unfitted estimator for every candidate, by its index.
    estimator : TorchLogisticClassifier
        Estimator of the labels.
    resolved : Options
        Penalty and solver of the estimator.
    C : Tensor of shape (n_labels,)
        Inverse regularisation strengths.
    penalty : object
        Key that is equal for settings with the same penalty.
    weight_key : object
        Key that is equal for settings with the same class weights.
    """

    models: dict[int, MultiLabel]
    estimator: TorchLogisticClassifier
    resolved: options.Options
    C: Tensor
    penalty: Any
    weight_key: Any

    def label_problem(self, inputs: Any) -> LabelProblem:
        """Create the problem of one fold."""
        model = next(iter(self.models.values()))
        return LabelProblem.of(model, inputs, self.estimator, self.resolved)


def solve_labels(
    final: MultiLabel, candidates: Sequence[Candidate], fold_data: LabelFoldData
) -> Iterator[list[LabelFoldFit]]:
    """Solve candidates for all folds, as many settings and folds at a time as memory allows.

    Candidates that cannot be batched are skipped, as are those of a solve that raises an exception
    of any type; they are then fitted individually.

    Parameters
    ----------
    final : MultiLabel
        Estimator with the parameters that all candidates share.
    candidates : sequence of Candidate
        Candidates to solve.
    fold_data : LabelFoldData
        Rows, labels and folds.
    """
    labels: Indicator = fold_data.inputs.labels
    settings: dict[Any, _LabelSetting] = {}
    for candidate in candidates:
        key = frozenset(
            (n, identity_key(v)) for n, v in candidate.values.items() if n != "threshold"
        )
        try:
            model = _copy_with(final, candidate.values)
            model._validate_params()
            model._thresholds(labels.kind, labels.n_labels)
            if key not in settings:
                settings[key] = _make_setting(model, labels.n_labels)
        except Exception:  # the individual fits report it
            continue
        settings[key].models[candidate.index] = model
    by_penalty: dict[Any, list[_LabelSetting]] = {}
    for setting in settings.values():
        by_penalty.setdefault(setting.penalty, []).append(setting)
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


def _copy_with(final: MultiLabel, values: dict[str, Any]) -> MultiLabel:
    """Return a shallow copy of the estimator with a candidate's values."""
    model: MultiLabel = copy(final)
    estimator = TorchLogisticClassifier() if final.estimator is None else copy(final.estimator)
    model.estimator = estimator
    for name, value in values.items():
        nested = name.startswith("estimator__")
        setattr(estimator if nested else model, name.removeprefix("estimator__"), value)
    return model


def _make_setting(model: MultiLabel, n_labels: int) -> _LabelSetting:
    estimator = checked_estimator(model)
    resolved = options.resolve(EstimatorWithC(estimator, model.C))
    C = c_per_label(model.C, estimator, resolved, n_labels)
    weight_key = identity_key(model.class_weight), identity_key(estimator.class_weight)
    penalty = resolved.l1_ratio, identity_key(estimator.penalty_factor)
    return _LabelSetting({}, estimator, resolved, C, penalty, weight_key)


def _solve(
    setting_folds: Sequence[tuple[_LabelSetting, int]], fold_data: LabelFoldData
) -> list[LabelFoldFit]:
    """Solve settings that share a penalty, each in its fold."""
    by_key: dict[Any, LabelProblem] = {}
    for setting, fold in setting_folds:
        if (setting.weight_key, fold) not in by_key:
            own = setting.label_problem(fold_data.fold_inputs(fold))
            first = next(iter(by_key.values()), own)
            by_key[setting.weight_key, fold] = replace(own, design=first.design)
    problems = list(by_key.values())
    labels: Indicator = fold_data.inputs.labels
    lacking = any(problem.binary_problems.constant.any() for problem in problems)
    if lacking and labels.kind in ("binary", "multiclass"):
        raise ValueError("A fold lacks a class: it is another model then.")

    def columns(numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        problem, label = np.divmod(numbers, labels.n_labels)
        parts = [_targets_and_weights(problems[k], label[problem == k]) for k in np.unique(problem)]
        targets, weight = (torch.cat(arrays, dim=1) for arrays in zip(*parts, strict=True))
        return targets, weight

    place = [list(by_key).index((setting.weight_key, fold)) for setting, fold in setting_folds]
    free = [np.flatnonzero(problems[k].binary_problems.constant == 0) for k in place]
    pairs = list(zip(setting_folds, place, free, strict=True))
    models = Models(
        np.concatenate([k * labels.n_labels + some for _, k, some in pairs]),
        torch.cat([setting.C[some] for (setting, _), _, some in pairs]),
        group=np.concatenate(free),
    )
    found: list[LabelFoldFit] = []
    limits = np.cumsum([0, *map(len, free)])
    solution = problems[0].fitter(columns).fit_all(models) if limits[-1] else None
    for i, (setting, fold) in enumerate(setting_folds):
        own = problems[place[i]]
        results = LabelResults(
            own.problem, own.binary_problems.constant, own.binary_problems.device
        )
        if solution is not None:
            results.store(free[i], solution.take(torch.arange(limits[i], limits[i + 1])))
        found.append(_make_fold_fit(setting, fold, results, own.binary_problems, fold_data))
    return found


def _targets_and_weights(label_problem: LabelProblem, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return targets and weights (n_samples, m) of some labels."""
    targets, weight = label_problem.binary_problems.targets_and_weights(labels)
    if weight is None:
        weight = torch.ones_like(targets, dtype=torch.float64)
    return targets, weight if weight.ndim == 2 else weight[:, None].expand(targets.shape)


def _make_fold_fit(
    setting: _LabelSetting,
    fold: int,
    label_results: LabelResults,
    binary_problems: BinaryProblems,
    fold_data: LabelFoldData,
) -> LabelFoldFit:
    labels: Indicator = fold_data.inputs.labels
    fitted = label_results.attributes() | {
        **fold_data.feature_attributes,
        "classes_": labels.classes,
        "n_labels_": labels.n_labels,
        "target_kind_": labels.kind,
        "target_dtype_": labels.dtype,
    }
    if labels.names is not None:
        fitted["label_names_"] = labels.names
    models = {}
    for candidate_index, model in setting.models.items():
        models[candidate_index] = copy(model)
        models[candidate_index].__dict__.update(fitted)
    return LabelFoldFit(
        fold, models, label_results.final_points(), np.flatnonzero(binary_problems.constant)
    )
