"""Many models on the same rows: all folds and settings of a search in as few solves as can be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators import options, weights
from skorch_logreg.estimators.arrays import ArrayNamespace, to_tensor
from skorch_logreg.estimators.partial import training_state
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.estimators.prediction import _affine
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.search.candidates import Candidate, token
from skorch_logreg.estimators.targets import Targets, encode
from skorch_logreg.estimators.validate import validate_rows

__all__ = ["COLUMNS", "Batch", "Design", "solve"]

COLUMNS = ("n_features_in_", "feature_names_in_")


@dataclass(frozen=True)
class Design:
    """Validated rows, and what each counts in every fold.

    Parameters
    ----------
    X : array or csr array of shape (n_samples, n_features)
    targets : Targets
    weight : Tensor of shape (n_samples, n_columns), float64
        How often a row is in the fold's training rows, times its sample weight.
    rows : Tensor of shape (n_samples,) or None
        Sample weights.
    namespace : ArrayNamespace
    device : torch.device or None
    columns : dict
        Fitted attributes that say what is known of the columns.
    n_folds : int
        Of the columns of ``weight``; one more stands for a fit to all rows.
    """

    X: Any
    targets: Targets
    weight: Tensor
    rows: Tensor | None
    namespace: ArrayNamespace
    device: torch.device | None
    columns: dict[str, Any]
    n_folds: int

    @classmethod
    def of(
        cls, final: Any, X: Any, y: Any, sample_weight: Any = None, counts: Tensor | None = None
    ) -> Self:
        """Validate as `TorchLogisticClassifier.fit` does; sets ``n_features_in_`` of ``final``.

        Parameters
        ----------
        counts : Tensor of shape (n_samples, n_folds) or None
            How often every row is in every fold; None: one fold of all rows.

        Raises
        ------
        ValueError
            If `fit` would refuse them, or a batch does.
        """
        device = options.resolve_device(final.device)
        namespace = ArrayNamespace.of(X)
        if namespace.xp is not None:
            raise ValueError("Arrays of other libraries are not batched.")
        X, y = validate_rows(final, X, y)
        options.check_device_takes(device, X)
        targets = encode(y)
        if targets.n_classes < 2:
            raise ValueError("There is one class only.")
        rows = weights.check_sample_weight(sample_weight, X, namespace)
        rows = None if rows is None else to_tensor(rows).to(torch.float64)
        weight = torch.ones(len(y), 1, dtype=torch.float64) if counts is None else counts
        if rows is not None:
            weight = weight * rows[:, None]
        columns = {name: vars(final)[name] for name in COLUMNS if name in vars(final)}
        return cls(X, targets, weight, rows, namespace, device, columns, weight.shape[1])

    @property
    def n_outputs(self) -> int:
        """Logits a model."""
        return 1 if self.targets.n_classes == 2 else self.targets.n_classes

    @property
    def n_columns(self) -> int:
        """Models of one setting: one a fold, and perhaps one of all rows."""
        return int(self.weight.shape[1])

    def of_folds(self, first: int, last: int) -> Self:
        """Return the same rows with the weights of some folds."""
        return replace(self, weight=self.weight[:, first:last], n_folds=last - first)

    def with_all_rows(self) -> Self:
        """Let every setting have a model of all rows, besides those of the folds."""
        rows = torch.ones_like(self.weight[:, 0]) if self.rows is None else self.rows
        return replace(self, weight=torch.cat([self.weight, rows[:, None]], dim=1))

    def weighted(self, class_weight: Any) -> Tensor | None:
        """Weights (n_samples, n_columns) with class weights of each fold's own rows.

        None where they are not allowed, or where a fold's training rows lack a class: it is
        another model then, with fewer classes or no minimiser.
        """
        weight = self.weight
        if class_weight is not None:
            try:
                columns = [
                    weights.with_class_weight(class_weight, self.targets, fold) for fold in weight.T
                ]
            except Exception:  # of any kind: the fits that follow one by one report it
                return None
            weight = torch.stack(columns, dim=1)  # type: ignore[arg-type]
        total = weight.new_zeros(self.targets.n_classes, self.n_columns)
        total.index_add_(0, self.targets.index, weight)
        return weight if bool((total > 0).all()) else None

    def problem(self, final: Any, asked: options.Options) -> Problem:
        """State the fit in the core's terms."""
        return Problem.of(final, asked, self.namespace, self.X, self.targets.n_classes)


@dataclass(frozen=True)
class Batch:
    """Models that were solved together, those of a fold beside each other.

    Parameters
    ----------
    models : tuple of tuple of Candidate
        Of each model of a fold, the candidates that it serves: they differ in `threshold`.
    solution : fitting.Solution
    problem : Problem
    design : Design
    """

    models: tuple[tuple[Candidate, ...], ...]
    solution: fitting.Solution
    problem: Problem
    design: Design

    @property
    def n_candidates(self) -> int:
        """Candidates that it serves."""
        return sum(map(len, self.models))

    @property
    def dtype(self) -> torch.dtype:
        """Of probabilities: the fitted coefficients'."""
        return torch.float64 if self.problem.options.is_liblinear else self.problem.dtype

    def logits_on(self, X: Any) -> Tensor:
        """Logits (n_rows, m, K) of other, validated rows."""
        params = self.problem.without_column(self.solution.params)
        logits = _affine(X, params.coef.flatten(0, 1), params.intercept.flatten())
        return logits.unflatten(1, params.coef.shape[:2])

    @property
    def logits(self) -> Tensor:
        """Logits (n_samples, n_folds * g, K) of the folds' models."""
        return self.solution.logits[:, : self.design.n_folds * len(self.models)]

    def total(self, model: int) -> tuple[Tensor, Tensor]:
        """Sum over the folds of a model's coefficients (K, p) and intercepts (K,)."""
        params, g = self.problem.without_column(self.solution.params), len(self.models)
        last = self.design.n_folds * g
        return params.coef[model:last:g].sum(dim=0), params.intercept[model:last:g].sum(dim=0)

    def without_logits(self) -> Self:
        """Return what is small."""
        none = self.solution.logits[:0]
        return replace(self, solution=replace(self.solution, logits=none))

    def fitted(self, fold: int, model: int) -> dict[str, Any]:
        """Fitted attributes of a model, as if it had been fitted alone."""
        place = fold * len(self.models) + model
        solution = self.solution
        return {
            **self.design.columns,
            "classes_": self.design.targets.classes,
            **self.problem.fitted(solution.params, place),
            "n_iter_": solution.n_iter[place : place + 1].to("cpu", torch.int32).numpy(),
            "n_passes_": int(solution.n_passes),
            "optimality_": float(solution.optimality[place]),
            "duality_gap_": float(solution.duality_gap[place]),
            "converged_": solution.status[place] is fitting.Status.CONVERGED,
            TRAINING: training_state(solution.total_weight[place : place + 1]),
        }


def solve(final: Any, candidates: Sequence[Candidate], design: Design) -> Iterator[Batch]:
    """Solve candidates for all folds of a design; those that a batch cannot take are left out.

    So are the candidates of a solve that fails, whatever it raises.  One solve a penalty, as a
    solve has one; more where a budget of memory asks for them.

    Parameters
    ----------
    final : TorchLogisticClassifier
        With the parameters that all candidates share.
    candidates : sequence of Candidate
    design : Design
    """
    n_samples, n_features = design.X.shape
    n_classes = design.targets.n_classes
    by_class_weight: dict[Any, Tensor | None] = {}
    by_penalty: dict[Any, dict[Any, list[Candidate]]] = {}
    for candidate in candidates:
        values, asked = candidate.values, candidate.options
        if n_classes > 2 and (values["threshold"] != 0.5 or asked.is_liblinear):
            continue
        balance = token(values["class_weight"])
        if balance not in by_class_weight:
            by_class_weight[balance] = design.weighted(values["class_weight"])
        if by_class_weight[balance] is None:
            continue
        penalty = asked.l1_ratio, token(values["penalty_factor"])
        models = by_penalty.setdefault(penalty, {})
        models.setdefault((asked.C, balance), []).append(candidate)
    at_once = max(
        fitting.models_at_once(n_samples, n_features, design.n_outputs) // design.n_columns, 1
    )
    for models in by_penalty.values():
        first = next(iter(models.values()))[0]
        try:
            problem = design.problem(final, first.options)
            factor = weights.check_penalty_factor(first.values["penalty_factor"], n_features)
        except Exception:
            continue
        keys = list(models)
        for start in range(0, len(keys), at_once):
            part = keys[start : start + at_once]
            try:
                solution = _fit(
                    final,
                    problem,
                    design,
                    factor,
                    [C for C, _ in part],
                    [by_class_weight[balance] for _, balance in part],
                )
            except Exception:  # of any kind: the fits that follow one by one report it
                continue
            served = tuple(tuple(models[key]) for key in part)
            yield Batch(served, solution, problem, design)


def _fit(
    final: Any,
    problem: Problem,
    design: Design,
    factor: Tensor | None,
    strengths: list[float],
    weight: list[Any],
) -> fitting.Solution:
    """Solve every strength, with its weights, in every fold."""
    alike = all(columns is weight[0] for columns in weight)
    if alike and design.n_columns == 1:
        combined = weight[0]
    elif alike:
        combined = weight[0].repeat_interleave(len(strengths), dim=1)
    else:
        combined = torch.stack(weight, dim=2).flatten(1)
    data = problem.data(design.X, design.targets.index, combined, design.device)
    return fitting.fit(
        data,
        problem.loss,
        problem.penalty(factor, data.device),
        C=torch.tensor(strengths, dtype=torch.float64).repeat(design.n_columns),
        fit_intercept=problem.has_free_intercept,
        solver=problem.options.solver,
        tol=final.tol,
        max_iter=final.max_iter,
        bound=design.n_columns > design.n_folds,  # then one of them is refitted to all rows
        dtype=problem.stored_dtype,
    )
