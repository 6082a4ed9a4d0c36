"""Solve many candidates on the same rows, all folds together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.partial import training_state
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.estimators.prediction import _affine
from skorch_logreg.estimators.search.candidates import Candidate, identity_key
from skorch_logreg.inputs import options, weights
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.labels import Targets
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.validate import validate

__all__ = ["FEATURE_ATTRIBUTES", "CandidateBatch", "FoldData", "solve_batches"]

FEATURE_ATTRIBUTES = ("n_features_in_", "feature_names_in_")


@dataclass(frozen=True)
class FoldData:
    """Validated rows and their weight in every fold.

    Parameters
    ----------
    X : array or csr array of shape (n_samples, n_features)
        Rows.
    targets : Targets
        Encoded classes.
    fold_weight : Tensor of shape (n_samples, n_columns), float64
        Number of times that a row is in the fold's training rows, times its sample weight.
    sample_weight : Tensor of shape (n_samples,) or None
        Sample weights.
    namespace : ArrayNamespace
        Array namespace and device of X.
    device : torch.device or None
        Device of the solves.
    feature_attributes : dict
        Fitted attributes that describe the features.
    n_folds : int
        Number of folds among the columns of ``fold_weight``; a further column is a fit to all rows.
    """

    X: Any
    targets: Targets
    fold_weight: Tensor
    sample_weight: Tensor | None
    namespace: ArrayNamespace
    device: torch.device | None
    feature_attributes: dict[str, Any]
    n_folds: int

    @classmethod
    def of(
        cls, final: Any, X: Any, y: Any, sample_weight: Any = None, counts: Tensor | None = None
    ) -> Self:
        """Validate as `TorchLogisticClassifier.fit` does; sets ``n_features_in_`` of ``final``.

        Parameters
        ----------
        counts : Tensor of shape (n_samples, n_folds) or None
            Number of times that every row is in every fold; None: one fold of all rows.

        Raises
        ------
        ValueError
            If `fit` would raise, or the data is not supported in a batch.
        """
        if ArrayNamespace.of(X).xp is not None:
            raise ValueError("Arrays of other libraries are not batched.")
        inputs = validate(X, y, sample_weight, model=final)
        fold_weight = torch.ones(len(inputs.y), 1, dtype=torch.float64)
        if counts is not None:
            fold_weight = counts
        if inputs.weight is not None:
            fold_weight = fold_weight * inputs.weight[:, None]
        feature_attributes = {
            name: vars(final)[name] for name in FEATURE_ATTRIBUTES if name in vars(final)
        }
        return cls(
            inputs.X,
            inputs.labels,
            fold_weight,
            inputs.weight,
            inputs.namespace,
            inputs.device,
            feature_attributes,
            fold_weight.shape[1],
        )

    @property
    def n_outputs(self) -> int:
        """Number of logits per model."""
        return 1 if self.targets.n_classes == 2 else self.targets.n_classes

    @property
    def n_columns(self) -> int:
        """Number of models per candidate: one per fold, and possibly one on all rows."""
        return int(self.fold_weight.shape[1])

    def select_folds(self, first: int, last: int) -> Self:
        """Return the same rows with the weights of some folds."""
        return replace(self, fold_weight=self.fold_weight[:, first:last], n_folds=last - first)

    def with_all_rows(self) -> Self:
        """Add a column for a model on all rows."""
        sample_weight = (
            torch.ones_like(self.fold_weight[:, 0])
            if self.sample_weight is None
            else self.sample_weight
        )
        return replace(
            self, fold_weight=torch.cat([self.fold_weight, sample_weight[:, None]], dim=1)
        )

    def apply_class_weight(self, class_weight: Any) -> Tensor | None:
        """Return the weights (n_samples, n_columns) times class weights from each fold's rows.

        None if the class weights are invalid, or if a fold's training rows lack a class, so that
        the model has fewer classes or no minimiser.
        """
        fold_weight = self.fold_weight
        if class_weight is not None:
            try:
                columns = [
                    weights.with_class_weight(class_weight, self.targets, fold)
                    for fold in fold_weight.T
                ]
            except Exception:  # the individual fits report it
                return None
            fold_weight = torch.stack(columns, dim=1)  # type: ignore[arg-type]
        class_totals = fold_weight.new_zeros(self.targets.n_classes, self.n_columns)
        class_totals.index_add_(0, self.targets.index, fold_weight)
        return fold_weight if bool((class_totals > 0).all()) else None

    def problem(self, final: Any, resolved: options.Options) -> Problem:
        """Create the problem of one model."""
        return Problem.of(final, resolved, self.namespace, self.X, self.targets.n_classes)


@dataclass(frozen=True)
class CandidateBatch:
    """Models that were solved together, ordered by fold, then by model.

    Parameters
    ----------
    models : tuple of tuple of Candidate
        For each of a fold's models the candidates that share it; they differ in `threshold`.
    solution : fitting.FitResult
        Solution of all models.
    problem : Problem
        Problem of one model.
    fold_data : FoldData
        Rows and weights.
    """

    models: tuple[tuple[Candidate, ...], ...]
    solution: fitting.FitResult
    problem: Problem
    fold_data: FoldData

    @property
    def n_candidates(self) -> int:
        """Number of candidates."""
        return sum(map(len, self.models))

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the fitted coefficients, and so of probabilities."""
        return torch.float64 if self.problem.options.is_liblinear else self.problem.dtype

    def logits_on(self, X: Any) -> Tensor:
        """Compute the logits (n_rows, m, K) of other, validated rows."""
        params = self.problem.without_column(self.solution.params)
        logits = _affine(X, params.coef.flatten(0, 1), params.intercept.flatten())
        return logits.unflatten(1, params.coef.shape[:2])

    @property
    def logits(self) -> Tensor:
        """Logits (n_samples, n_folds * g, K) of the folds' models."""
        return self.solution.logits[:, : self.fold_data.n_folds * len(self.models)]

    def sum_over_folds(self, model: int) -> tuple[Tensor, Tensor]:
        """Sum a model's coefficients (K, p) and intercepts (K,) over the folds."""
        params, g = self.problem.without_column(self.solution.params), len(self.models)
        last = self.fold_data.n_folds * g
        return params.coef[model:last:g].sum(dim=0), params.intercept[model:last:g].sum(dim=0)

    def without_logits(self) -> Self:
        """Return the batch without its logits, to save memory."""
        none = self.solution.logits[:0]
        return replace(self, solution=replace(self.solution, logits=none))

    def fitted(self, fold: int, model: int) -> dict[str, Any]:
        """Return the fitted attributes of a model, as of a single fit."""
        model_index = fold * len(self.models) + model
        solution = self.solution
        return {
            **self.fold_data.feature_attributes,
            "classes_": self.fold_data.targets.classes,
            **self.problem.fitted(solution.params, model_index),
            "n_iter_": solution.n_iter[model_index : model_index + 1]
            .to("cpu", torch.int32)
            .numpy(),
            "n_passes_": int(solution.n_passes),
            "optimality_": float(solution.optimality[model_index]),
            "duality_gap_": float(solution.duality_gap[model_index]),
            "converged_": solution.status[model_index] is fitting.Status.CONVERGED,
            TRAINING: training_state(solution.total_weight[model_index : model_index + 1]),
        }


def solve_batches(
    final: Any, candidates: Sequence[Candidate], fold_data: FoldData
) -> Iterator[CandidateBatch]:
    """Solve candidates for all folds and yield a batch per penalty, or more if memory requires.

    Candidates that cannot be batched are skipped, as are those of a solve that raises an exception
    of any type; they are then fitted individually.

    Parameters
    ----------
    final : TorchLogisticClassifier
        Classifier with the parameters that all candidates share.
    candidates : sequence of Candidate
        Candidates to solve.
    fold_data : FoldData
        Rows and weights.
    """
    n_samples, n_features = fold_data.X.shape
    n_classes = fold_data.targets.n_classes
    by_class_weight: dict[Any, Tensor | None] = {}
    by_penalty: dict[Any, dict[Any, list[Candidate]]] = {}
    for candidate in candidates:
        values, resolved = candidate.values, candidate.options
        if n_classes > 2 and (values["threshold"] != 0.5 or resolved.is_liblinear):
            continue
        weight_key = identity_key(values["class_weight"])
        if weight_key not in by_class_weight:
            by_class_weight[weight_key] = fold_data.apply_class_weight(values["class_weight"])
        if by_class_weight[weight_key] is None:
            continue
        penalty = resolved.l1_ratio, identity_key(values["penalty_factor"])
        models = by_penalty.setdefault(penalty, {})
        models.setdefault((resolved.C, weight_key), []).append(candidate)
    at_once = max(
        fitting.models_at_once(n_samples, n_features, fold_data.n_outputs) // fold_data.n_columns, 1
    )
    for models in by_penalty.values():
        first = next(iter(models.values()))[0]
        try:
            problem = fold_data.problem(final, first.options)
            penalty_factor = weights.check_penalty_factor(
                first.values["penalty_factor"], n_features
            )
        except Exception:
            continue
        keys = list(models)
        for start in range(0, len(keys), at_once):
            part = keys[start : start + at_once]
            try:
                solution = _solve(
                    final,
                    problem,
                    fold_data,
                    penalty_factor,
                    [C for C, _ in part],
                    fold_weight=[by_class_weight[weight_key] for _, weight_key in part],
                )
            except Exception:  # the individual fits report it
                continue
            served = tuple(tuple(models[key]) for key in part)
            yield CandidateBatch(served, solution, problem, fold_data)


def _solve(
    final: Any,
    problem: Problem,
    fold_data: FoldData,
    penalty_factor: Tensor | None,
    Cs: list[float],
    *,
    fold_weight: list[Any],
) -> fitting.FitResult:
    """Solve every C with its weights in every fold."""
    same_weight = all(columns is fold_weight[0] for columns in fold_weight)
    if same_weight and fold_data.n_columns == 1:
        combined = fold_weight[0]
    elif same_weight:
        combined = fold_weight[0].repeat_interleave(len(Cs), dim=1)
    else:
        combined = torch.stack(fold_weight, dim=2).flatten(1)
    data = problem.data(fold_data.X, fold_data.targets.index, combined, fold_data.device)
    return fitting.fit(
        data,
        problem.loss,
        problem.penalty(penalty_factor, data.device),
        C=torch.tensor(Cs, dtype=torch.float64).repeat(fold_data.n_columns),
        fit_intercept=problem.has_free_intercept,
        solver=problem.options.solver,
        tol=final.tol,
        max_iter=final.max_iter,
        bound=fold_data.n_columns > fold_data.n_folds,  # a model on all rows needs its bound
        dtype=problem.stored_dtype,
    )
