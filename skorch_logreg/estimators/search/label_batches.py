"""Searches over `MultiLabel`: labels, folds and settings in common solves."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators import options
from skorch_logreg.estimators.arrays import Home
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel.binary_problems import BinaryProblems, LabelResults
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.label_problem import LabelProblem
from skorch_logreg.estimators.multilabel.per_label import EstimatorWithC, c_per_label
from skorch_logreg.estimators.search.batches import COLUMNS
from skorch_logreg.estimators.search.candidates import Candidate, token

__all__ = ["LabelDesign", "Labelled", "solve_labels"]


@dataclass(frozen=True)
class LabelDesign:
    """Validated rows and labels, and how often each row is in every fold.

    Parameters
    ----------
    given : object
        Of `MultiLabel._validated`.
    counts : Tensor of shape (n_samples, n_folds), float64, or None
        How often a row is in the fold's training rows. None: one fold of all rows.
    columns : dict
        Fitted attributes that say what is known of the columns.
    """

    inputs: Any
    counts: Tensor | None
    columns: dict[str, Any]

    @classmethod
    def of(
        cls,
        final: MultiLabel,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        label_mask: Any = None,
        counts: Tensor | None = None,
    ) -> Self:
        """Validate as `MultiLabel.fit` does; sets ``n_features_in_`` of ``final``.

        Raises
        ------
        ValueError
            If `fit` would refuse them, or a batch does.
        """
        if Home.of(X).xp is not None:
            raise ValueError("Arrays of other libraries are not batched.")
        inputs = final._validated(X, y, sample_weight, label_mask, final._checked_estimator())
        columns = {name: vars(final)[name] for name in COLUMNS if name in vars(final)}
        return cls(inputs, counts, columns)

    @property
    def home(self) -> Home:
        """Where X lives."""
        home: Home = self.inputs.home
        return home

    @property
    def n_folds(self) -> int:
        """Folds that are solved together."""
        return 1 if self.counts is None else int(self.counts.shape[1])

    def of_fold(self, fold: int) -> Any:
        """Return what `MultiLabel.fit` would get in a fold; rows that it lacks weigh 0."""
        if self.counts is None:
            return self.inputs
        weight = self.counts[:, fold]
        return replace(
            self.inputs,
            weight=weight if self.inputs.weight is None else weight * self.inputs.weight,
        )


@dataclass(frozen=True)
class Labelled:
    """A setting, fitted in one fold.

    Parameters
    ----------
    fold : int
    models : dict of int to MultiLabel
        A fitted estimator for every candidate that it serves, by place.
    ends : list of (Status, float)
        How every label ended, and with what optimality.
    constant : ndarray of int
        Labels that have one value in the fold.
    """

    fold: int
    models: dict[int, MultiLabel]
    final_points: list[tuple[fitting.Status, float]]
    constant: np.ndarray


@dataclass
class _Plan:
    """Candidates that differ in nothing but their threshold."""

    models: dict[int, MultiLabel]
    estimator: TorchLogisticClassifier
    asked: options.Options
    C: Tensor
    penalty: Any
    balance: Any

    def label_problem(self, inputs: Any) -> LabelProblem:
        """State the fits of one fold."""
        model = next(iter(self.models.values()))
        return model._label_problem(inputs, self.estimator, self.asked)


def solve_labels(
    final: MultiLabel, candidates: Sequence[Candidate], design: LabelDesign
) -> Iterator[list[Labelled]]:
    """Solve candidates for all folds; those that a batch cannot take are left out.

    So are the candidates of a solve that fails, whatever it raises.  As many settings and folds
    go together as a budget of memory allows for all their labels.

    Parameters
    ----------
    final : MultiLabel
        With the parameters that all candidates share.
    candidates : sequence of Candidate
    design : LabelDesign
    """
    labels: Indicator = design.inputs.labels
    plans: dict[Any, _Plan] = {}
    for candidate in candidates:
        key = frozenset((n, token(v)) for n, v in candidate.values.items() if n != "threshold")
        try:
            model = _with(final, candidate.values)
            model._validate_params()
            model._thresholds(labels.kind, labels.n_labels)
            if key not in plans:
                plans[key] = _plan(model, labels.n_labels)
        except Exception:  # of any kind: the fits that follow one by one report it
            continue
        plans[key].models[candidate.place] = model
    by_penalty: dict[Any, list[_Plan]] = {}
    for plan in plans.values():
        by_penalty.setdefault(plan.penalty, []).append(plan)
    size = labels.n_labels * sum(design.inputs.X.shape)  # of what is kept of a setting in a fold
    together = fitting.at_once(size, final.memory_budget)
    for alike in by_penalty.values():
        units = [(plan, fold) for plan in alike for fold in range(design.n_folds)]
        for start in range(0, len(units), together):
            try:
                found = _solve(units[start : start + together], design)
            except Exception:
                continue
            yield found


def _with(final: MultiLabel, values: dict[str, Any]) -> MultiLabel:
    """Return the estimator with a candidate's values; nothing is cloned, as nothing is fitted."""
    model: MultiLabel = copy(final)
    estimator = TorchLogisticClassifier() if final.estimator is None else copy(final.estimator)
    model.estimator = estimator
    for name, value in values.items():
        nested = name.startswith("estimator__")
        setattr(estimator if nested else model, name.removeprefix("estimator__"), value)
    return model


def _plan(model: MultiLabel, n_labels: int) -> _Plan:
    estimator = model._checked_estimator()
    asked = options.resolve(EstimatorWithC(estimator, model.C))
    C = c_per_label(model.C, estimator, asked, n_labels)
    balance = token(model.class_weight), token(estimator.class_weight)
    penalty = asked.l1_ratio, token(estimator.penalty_factor)
    return _Plan({}, estimator, asked, C, penalty, balance)


def _solve(units: Sequence[tuple[_Plan, int]], design: LabelDesign) -> list[Labelled]:
    """Solve settings in folds, which share a penalty."""
    works: dict[Any, LabelProblem] = {}
    for plan, fold in units:
        if (plan.balance, fold) not in works:
            label_problem = plan.label_problem(design.of_fold(fold))
            first = next(iter(works.values()), label_problem)
            works[plan.balance, fold] = replace(label_problem, design=first.design)
    own = [works[plan.balance, fold] for plan, fold in units]
    labels: Indicator = design.inputs.labels
    lacking = any(label_problem.binary_problems.constant.any() for label_problem in own)
    if lacking and labels.kind in ("binary", "multiclass"):
        raise ValueError("A fold lacks a class: it is another model then.")
    found = [
        LabelResults(w.problem, w.binary_problems.constant, w.binary_problems.device) for w in own
    ]
    size = max(own[0].binary_problems.max_models // len(units), 1)
    for start in range(0, labels.n_labels, size):
        part = np.arange(start, min(start + size, labels.n_labels))
        cells: dict[Any, Any] = {}
        wanted, where = [], []
        for (plan, fold), label_problem, label_results in zip(units, own, found, strict=True):
            free = part[label_problem.binary_problems.constant[part] == 0]
            if not len(free):
                continue
            key = plan.balance, fold
            if key not in cells:
                cells[key] = _cells(label_problem, free)
            wanted.append((*cells[key], plan.C[free]))
            where.append((label_results, free))
        if not wanted:
            continue
        targets, weight, C = (torch.cat(parts, -1) for parts in zip(*wanted, strict=True))
        solution = own[0].solve(targets, weight, C)
        last = 0
        for label_results, free in where:
            last += len(free)
            label_results.store(free, _models(solution, last - len(free), last))
    return [
        _labelled(plan, fold, label_results, label_problem.binary_problems, design)
        for (plan, fold), label_results, label_problem in zip(units, found, own, strict=True)
    ]


def _cells(label_problem: LabelProblem, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Targets and weights (n_samples, m) of some labels."""
    targets, weight = label_problem.binary_problems.cells(labels)
    if weight is None:
        weight = torch.ones_like(targets, dtype=torch.float64)
    return targets, weight if weight.ndim == 2 else weight[:, None].expand(targets.shape)


def _labelled(
    plan: _Plan,
    fold: int,
    label_results: LabelResults,
    binary_problems: BinaryProblems,
    design: LabelDesign,
) -> Labelled:
    labels: Indicator = design.inputs.labels
    fitted = label_results.attributes() | {
        **design.columns,
        "classes_": labels.classes,
        "n_labels_": labels.n_labels,
        "target_kind_": labels.kind,
        "target_dtype_": labels.dtype,
    }
    if labels.names is not None:
        fitted["label_names_"] = labels.names
    models = {}
    for place, model in plan.models.items():
        models[place] = copy(model)
        models[place].__dict__.update(fitted)
    return Labelled(
        fold, models, label_results.final_points(), np.flatnonzero(binary_problems.constant)
    )


def _models(solution: fitting.Solution, first: int, last: int) -> fitting.Solution:
    """Take some models of a solution."""
    params = solution.params
    return replace(
        solution,
        params=fitting.Params(params.coef[first:last], params.intercept[first:last]),
        status=solution.status[first:last],
        **{
            name: getattr(solution, name)[first:last]
            for name in ("n_iter", "value", "optimality", "duality_gap", "total_weight")
        },
        logits=solution.logits[:, first:last],
    )
