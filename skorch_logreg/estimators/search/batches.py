"""Solve many candidates on the same rows, all folds and labels together."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators import certificate, persistence
from skorch_logreg.estimators.cached_logits import CachedLogitsClassifier, CachedLogitsOrdinal
from skorch_logreg.estimators.multilabel import validation
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem, attributes
from skorch_logreg.estimators.ordinal import (
    OrdinalLogisticClassifier,
    class_logits,
    has_order,
    ordered_classes,
)
from skorch_logreg.estimators.prediction import _affine
from skorch_logreg.estimators.search.candidates import (
    Candidate,
    NotBatchedError,
    OnError,
    identity_key,
)
from skorch_logreg.estimators.search.results import FitOutcome
from skorch_logreg.fitting.batch import BatchFitter, Models, classes_shown
from skorch_logreg.inputs import weights
from skorch_logreg.inputs.arrays import NUMPY, ArrayNamespace
from skorch_logreg.inputs.options import Options, check_threshold_classes, resolve
from skorch_logreg.inputs.out_of_core import OutOfCoreRows
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.scoring import FoldRows

Columns = Callable[[np.ndarray], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class FoldData:
    """Validated rows, and their weight in every fold (n_samples, n_folds).

    ``fold_weight`` is the number of times that a row is in the fold's training rows, times its
    sample weight. ``n_labels`` is the number of models of a candidate in a fold: 1 for classes.
    """

    inputs: FitInput
    fold_weight: Tensor
    feature_attributes: dict[str, Any]
    n_labels: int

    @classmethod
    def of(
        cls,
        final: Any,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        counts: Tensor | None = None,
        **fit_params: Any,
    ) -> Self:
        """Validate as `fit` of ``final`` does, which sets its ``n_features_in_``.

        ``counts`` (n_samples, n_folds) are the numbers of times that every row is in every fold;
        None: one fold of all rows. A ValueError is raised if batches do not support the data.
        """
        if ArrayNamespace.of(X).xp is not None:
            raise ValueError("Arrays of other libraries are not batched.")
        if type(final) is OrdinalLogisticClassifier and final.categories is None and has_order(y):
            raise NotBatchedError("The categories of y may not be sorted.")
        n_labels, is_multilabel = 1, type(final) is MultiLabel
        estimator = validation.checked_estimator(final) if is_multilabel else final
        chosen = Options.of(1.0, 0.0, estimator.solver)  # without what candidates have of their own
        if is_multilabel:
            how = {"resolved": chosen, **fit_params}
            inputs = validation.validate_labels(final, estimator, X, y, sample_weight, **how)
            n_labels = inputs.labels.n_labels
        else:
            inputs = validate(X, y, sample_weight, model=final, chosen=chosen, **fit_params)
        fold_weight = counts
        if fold_weight is None:
            fold_weight = torch.ones(inputs.X.shape[0], 1, dtype=torch.float64)
        if inputs.weight is not None:
            fold_weight = fold_weight * inputs.weight[:, None]
        return cls(inputs, fold_weight, persistence.feature_attributes(final), n_labels)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.fold_weight.shape[1])


@dataclass(frozen=True, eq=False)
class FoldTargets:
    """Targets and weights of all folds, with the class weights of a candidate.

    ``columns`` returns those of ``fold * n_labels + label``. ``fitter`` builds the fitter of
    columns, and ``constant`` (n_folds * n_labels,) is as in `Models`.
    """

    columns: Columns
    fitter: Callable[[Columns], BatchFitter]
    problem: Problem
    constant: np.ndarray


@dataclass(frozen=True)
class Setting:
    """Candidates that share their models, because they differ only in `threshold`.

    ``estimator`` has the parameters of each model, and C (n_labels,) has a value for each.
    """

    candidates: list[Candidate]
    estimator: Any
    C: Tensor
    targets: FoldTargets


@dataclass(frozen=True)
class CandidateBatch:
    """Models that were solved together, ordered by fold, then by setting, then by label.

    ``constant`` (n_folds, n_settings, n_labels) is as in `Models`.
    """

    settings: tuple[Setting, ...]
    folds: tuple[int, ...]
    solution: fitting.FitResult
    constant: np.ndarray
    fold_data: FoldData

    @property
    def candidates(self) -> list[tuple[int, Candidate]]:
        """All candidates, each with the place of its setting."""
        return [(n, each) for n, own in enumerate(self.settings) for each in own.candidates]

    @property
    def is_multilabel(self) -> bool:
        """True if the candidates are `MultiLabel`."""
        return type(self.settings[0].candidates[0].model) is MultiLabel

    @property
    def problem(self) -> Problem:
        """Problem of each model."""
        return self.settings[0].targets.problem

    @property
    def outcomes(self) -> list[FitOutcome]:
        """Outcomes of all fits."""
        own = [self.settings[place] for place in np.indices(self.constant.shape)[1].ravel()]
        ends = zip(own, self.solution.status, self.solution.optimality.tolist(), strict=True)
        dtype = self.problem.dtype
        return [
            FitOutcome(setting.candidates[0].index, status, optimality, setting.estimator, dtype)
            for setting, status, optimality in ends
        ]

    def logits(self, rows: FoldRows, inputs: Any) -> Tensor | None:
        """Return the logits (n_rows, n_settings, K) of rows by the models of their folds, if known.

        ``inputs`` are the rows of the only fold as the model takes them if it was fitted to the
        output of transformers, else None.
        """
        if not len(self.solution.logits):
            return None
        if inputs is None:
            logits = self.solution.logits[0:]  # slicing collects out-of-core rows
        else:
            params = self.problem.without_column(self.solution.params)
            logits = _affine(inputs, params.coef.flatten(0, 1), params.intercept.flatten())
            logits = logits.unflatten(1, params.intercept.shape)
        if self.solution.nuisance is not None:
            logits = class_logits(self.solution.nuisance, logits)
        if inputs is None:
            taken = rows.take(logits)
            logits = taken.unflatten(1, (len(self.settings), -1)).flatten(2)
        return logits.to(self.problem.stored_dtype)

    def model(
        self, place: tuple[int, int], candidate: Candidate, X: Any, logits: Tensor | None
    ) -> Any:
        """Return a candidate's model, by fold and setting, with the logits of X if given."""
        number = place[0] * len(self.settings) + place[1]
        solution, labels = self.solution, self.fold_data.inputs.labels
        if not self.is_multilabel:
            kind: Any = CachedLogitsClassifier
            found = self.problem.fitted(solution.params, number)
            if solution.nuisance is not None:
                kind = CachedLogitsOrdinal
                found = kind._fitted(self.problem, solution, number)
            fitted = {
                **self.fold_data.feature_attributes,
                "classes_": labels.classes,
                **found,
                "n_iter_": solution.n_iter[number : number + 1].to("cpu", torch.int32).numpy(),
                **certificate.attributes(solution, number),
            }
            own = None if logits is None else logits[:, place[1]].contiguous()
            return kind.of(candidate.model, fitted, X, own)
        n_labels, model = self.fold_data.n_labels, copy(candidate.model)
        fits = replace(solution, logits=solution.logits[:0])
        fits = fits.take(torch.arange(n_labels) + number * n_labels)
        fitted = attributes(self.problem, fits) | self.fold_data.feature_attributes
        if logits is not None:
            model = _CachedLogitsMultiLabel(**model.get_params(deep=False))
            fitted["_cached"] = logits[:, place[1]]
        model._set_fitted(fitted, labels)
        return model


class _CachedLogitsMultiLabel(MultiLabel):
    """Fitted model with cached logits (n_rows, n_labels) of the only rows that it predicts."""

    _cached: Tensor

    def _rows(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        return self._cached, NUMPY

    def _compute_logits(self, X: Tensor) -> Tensor:
        return X.clone()  # which predictions overwrite


def solve_batches(
    candidates: Sequence[Candidate], fold_data: FoldData, on_error: OnError
) -> Iterator[CandidateBatch]:
    """Solve candidates for all folds and yield a batch per penalty, or more if memory requires.

    Candidates that cannot be batched are skipped, as are those of a solve that raises an exception
    of any type; ``on_error`` is called for them.
    """
    targets: dict[Any, FoldTargets] = {}
    by_penalty: dict[Any, dict[Any, Setting]] = defaultdict(dict)
    for candidate in candidates:
        model = candidate.model
        try:
            estimator, options, C = _resolve(model, fold_data.inputs.labels)
            penalty = options.l1_ratio, identity_key(estimator.penalty_factor)
            shared = *(identity_key(m.class_weight) for m in (model, estimator)), penalty
            if shared not in targets:
                of_model = _label_targets if type(model) is MultiLabel else _class_targets
                targets[shared] = of_model(fold_data, model, estimator, options)
        except Exception as error:
            on_error([candidate.index], error)
            continue
        settings, key = by_penalty[penalty], (shared, *C.tolist())
        if key not in settings:
            settings[key] = Setting([], estimator, C, targets[shared])
        settings[key].candidates.append(candidate)
    for settings in by_penalty.values():
        yield from _solve(list(settings.values()), fold_data, on_error)


def _resolve(model: Any, labels: Any) -> tuple[Any, Options, Tensor]:
    """Return the parameters of each model of a candidate, its options, and C (n_labels,)."""
    if type(model) is MultiLabel:
        model._thresholds(labels.kind, labels.n_labels)
        estimator = validation.checked_estimator(model)
        options = validation.resolve_for_labels(estimator, model.C)
        C = validation.c_per_label(model.C, estimator, options, labels.n_labels)
        return estimator, options, C
    options = model._options() if type(model) is OrdinalLogisticClassifier else resolve(model)
    check_threshold_classes(model.threshold, labels.n_classes)
    return model, options, torch.tensor([options.C], dtype=torch.float64)


def _class_targets(data: FoldData, model: Any, estimator: Any, options: Options) -> FoldTargets:
    """Return the classes, and the rows' weights times class weights from each fold's rows."""
    inputs, weight = data.inputs, data.fold_weight
    labels, problem = inputs.labels, inputs.problem(model, options)
    if type(model) is OrdinalLogisticClassifier:
        order, _ = ordered_classes(labels.classes, model.categories)
        if (np.diff(order) < 0).any():  # scorers take columns for probabilities of sorted classes
            raise NotBatchedError(f"categories={model.categories!r} are not sorted.")
    if model.class_weight is not None:
        weight = weights.with_class_weight(model.class_weight, labels, weight)
    if not classes_shown(labels.index, weight, labels.n_classes).all():
        raise NotBatchedError("A fold lacks a class: it is another model then.")

    def fitter(columns: Columns) -> BatchFitter:
        design = problem.design(inputs.X, inputs.device)
        return problem.batch_fitter(design, columns, model, dtype=problem.stored_dtype)

    return FoldTargets(
        lambda folds: (labels.index, weight[:, folds]), fitter, problem,
        np.zeros(data.n_folds, dtype=int),
    )  # fmt: skip


def _label_targets(data: FoldData, model: Any, estimator: Any, options: Options) -> FoldTargets:
    """Return the labels, and the weights of their entries in each fold."""
    inputs, labels = data.inputs, data.inputs.labels
    problems = [  # rows outside a fold have weight 0
        LabelProblem.of(model, replace(inputs, weight=weight), estimator, options)
        for weight in data.fold_weight.T
    ]
    if problems[0].penalties:
        raise NotBatchedError("Every label has a penalty of its own, with its center.")
    constant = np.concatenate([problem.constant for problem in problems])
    if labels.is_column and constant.any():
        raise NotBatchedError("A fold lacks a class: it is another model then.")

    def columns(numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        fold, label = np.divmod(numbers, labels.n_labels)
        parts = [problems[k].targets_and_weights(label[fold == k]) for k in np.unique(fold)]
        weights = [weight.reshape(len(weight), -1).expand_as(targets) for targets, weight in parts]
        return torch.cat([targets for targets, _ in parts], dim=1), torch.cat(weights, dim=1)

    return FoldTargets(columns, problems[0].fitter, problems[0].problem, constant)


def _solve(
    settings: list[Setting], fold_data: FoldData, on_error: OnError
) -> Iterator[CandidateBatch]:
    """Solve settings of one penalty."""
    n_labels, n_columns = fold_data.n_labels, fold_data.n_folds * fold_data.n_labels
    distinct = list({id(setting.targets): setting.targets for setting in settings}.values())

    def columns(numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        which, own = np.divmod(numbers, n_columns)
        parts = [distinct[k].columns(own[which == k]) for k in np.unique(which)]
        targets, weight = zip(*parts, strict=True)
        common = len(parts) == 1 or targets[0].ndim == 1
        return targets[0] if common else torch.cat(targets, dim=1), torch.cat(weight, dim=1)

    indices = [each.index for setting in settings for each in setting.candidates]
    try:
        fitter = distinct[0].fitter(columns)
    except Exception as error:
        on_error(indices, error)
        return
    model = settings[0].candidates[0].model
    at_once, is_multilabel = fitter.max_models, type(model) is MultiLabel
    if is_multilabel:
        at_once = fitting.at_once(n_labels * sum(fold_data.inputs.X.shape), model.memory_budget)
    constant = np.concatenate([targets.constant for targets in distinct])
    C = torch.stack([setting.C for setting in settings])
    which = np.array([distinct.index(setting.targets) for setting in settings])
    fold, place = np.indices((fold_data.n_folds, len(settings))).reshape(2, -1)
    first = which[place] * n_columns + fold * n_labels
    for part in replace(fitter, max_models=at_once).batches(Models(first, C[place], group=place)):
        column = (first[part, None] + np.arange(n_labels)).ravel()
        own = constant[column] if constant.any() else None
        models = Models(column, C[place[part]].flatten(), constant=own)
        try:
            if not is_multilabel:
                solution = fitter.fit(models, np.arange(len(column)))
            elif isinstance(fold_data.inputs.X, OutOfCoreRows):
                solution = _fit_with_logits(fitter, models)
            else:  # the logits of all labels might not fit
                solution = fitter.fit_all(models)
        except Exception as error:
            on_error(indices, error)
            continue
        served, folds = np.unique(place[part]), np.unique(fold[part])
        yield CandidateBatch(
            tuple(settings[number] for number in served),
            tuple(folds.tolist()),
            solution,
            constant[column].reshape(len(folds), len(served), n_labels),
            fold_data,
        )


def _fit_with_logits(fitter: BatchFitter, models: Models) -> fitting.FitResult:
    """Fit all models and keep their logits, for rows that cannot be predicted in parts."""
    logits: list[Tensor] = []
    result = fitter.fit_all(models, lambda part, fits: logits.append(fits.logits[0:]))
    return replace(result, logits=torch.cat(logits, dim=1))
