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
from skorch_logreg.estimators.arrays import ArrayNamespace
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.multilabel.company import Company, Fits
from skorch_logreg.estimators.multilabel.fits import LabelProblem
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.per_label import WithC, strengths
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

    given: Any
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
        if ArrayNamespace.of(X).xp is not None:
            raise ValueError("Arrays of other libraries are not batched.")
        given = final._validated(X, y, sample_weight, label_mask, final._checked_estimator())
        columns = {name: vars(final)[name] for name in COLUMNS if name in vars(final)}
        return cls(given, counts, columns)

    @property
    def namespace(self) -> ArrayNamespace:
        """Where X lives."""
        namespace: ArrayNamespace = self.given.namespace
        return namespace

    @property
    def n_folds(self) -> int:
        """Folds that are solved together."""
        return 1 if self.counts is None else int(self.counts.shape[1])

    def of_fold(self, fold: int) -> Any:
        """Return what `MultiLabel.fit` would get in a fold; rows that it lacks weigh 0."""
        if self.counts is None:
            return self.given
        weight = self.counts[:, fold]
        return replace(
            self.given, weight=weight if self.given.weight is None else weight * self.given.weight
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
    ends: list[tuple[fitting.Status, float]]
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

    def work(self, given: Any) -> LabelProblem:
        """State the fits of one fold."""
        model = next(iter(self.models.values()))
        return model._work(given, self.estimator, self.asked)


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
    labels: Indicator = design.given.labels
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
    size = labels.n_labels * sum(design.given.X.shape)  # of what is kept of a setting in a fold
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
    asked = options.resolve(WithC(estimator, model.C))
    C = strengths(model.C, estimator, asked, n_labels)
    balance = token(model.class_weight), token(estimator.class_weight)
    penalty = asked.l1_ratio, token(estimator.penalty_factor)
    return _Plan({}, estimator, asked, C, penalty, balance)


def _solve(units: Sequence[tuple[_Plan, int]], design: LabelDesign) -> list[Labelled]:
    """Solve settings in folds, which share a penalty."""
    works: dict[Any, LabelProblem] = {}
    for plan, fold in units:
        if (plan.balance, fold) not in works:
            work = plan.work(design.of_fold(fold))
            first = next(iter(works.values()), work)
            works[plan.balance, fold] = replace(work, design=first.design)
    own = [works[plan.balance, fold] for plan, fold in units]
    labels: Indicator = design.given.labels
    lacking = any(work.company.constant.any() for work in own)
    if lacking and labels.kind in ("binary", "multiclass"):
        raise ValueError("A fold lacks a class: it is another model then.")
    found = [Fits(w.problem, w.company.constant, w.company.device) for w in own]
    size = max(own[0].company.at_once // len(units), 1)
    for start in range(0, labels.n_labels, size):
        part = np.arange(start, min(start + size, labels.n_labels))
        cells: dict[Any, Any] = {}
        wanted, where = [], []
        for (plan, fold), work, fits in zip(units, own, found, strict=True):
            free = part[work.company.constant[part] == 0]
            if not len(free):
                continue
            key = plan.balance, fold
            if key not in cells:
                cells[key] = _cells(work, free)
            wanted.append((*cells[key], plan.C[free]))
            where.append((fits, free))
        if not wanted:
            continue
        targets, weight, C = (torch.cat(parts, -1) for parts in zip(*wanted, strict=True))
        solution = own[0].models(targets, weight, C)
        last = 0
        for fits, free in where:
            last += len(free)
            fits.keep(free, _models(solution, last - len(free), last))
    return [
        _labelled(plan, fold, fits, work.company, design)
        for (plan, fold), fits, work in zip(units, found, own, strict=True)
    ]


def _cells(work: LabelProblem, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Targets and weights (n_samples, m) of some labels."""
    targets, weight = work.company.cells(labels)
    if weight is None:
        weight = torch.ones_like(targets, dtype=torch.float64)
    return targets, weight if weight.ndim == 2 else weight[:, None].expand(targets.shape)


def _labelled(
    plan: _Plan, fold: int, fits: Fits, company: Company, design: LabelDesign
) -> Labelled:
    labels: Indicator = design.given.labels
    fitted = fits.attributes() | {
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
    return Labelled(fold, models, fits.ends(), np.flatnonzero(company.constant))


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
