"""Fits of all folds and values of C, in as few batches as memory allows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.scoring import FoldRows
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import Params, Progress, Status
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.losses import Loss, Multinomial

__all__ = ["BatchResult", "BatchScorer", "FoldFits", "FoldProblem"]

_SATURATED_LOGIT = 40.0  # log-odds; exp(-40) is below the epsilon of float64

# Function of the indices of a batch's folds and Cs, the logits (n_samples, n_folds * n_cs, K) of
# all rows and the parameters in units of X; it returns the scores (n_folds, n_cs).
BatchScorer = Callable[[Sequence[int], Sequence[int], Tensor, Params], Tensor]


@dataclass
class FoldFits:
    """Fitted models of all folds and values of C for one penalty.

    Attributes
    ----------
    coef : Tensor of shape (n_folds, n_cs, K, n_columns)
        Coefficients, including that of liblinear's column.
    intercept : Tensor of shape (n_folds, n_cs, K)
    scores, optimality : Tensor of shape (n_folds, n_cs)
    n_iter : Tensor of shape (n_folds, n_cs), int32
    status : ndarray of shape (n_folds, n_cs) of Status
    shows_all : tuple of bool
        Whether a fold's training rows have all classes.
    n_passes : int
        Full reads of X.
    """

    coef: Tensor
    intercept: Tensor
    scores: Tensor
    optimality: Tensor
    n_iter: Tensor
    status: np.ndarray
    shows_all: tuple[bool, ...]
    n_passes: int = field(default=0)

    @classmethod
    def empty(
        cls, shape: tuple[int, int], columns: tuple[int, int], shows: list[bool]
    ) -> "FoldFits":
        """Allocate arrays for the models of all folds and Cs."""
        return cls(
            coef=torch.empty(*shape, *columns, dtype=torch.float64),
            intercept=torch.empty(*shape, columns[0], dtype=torch.float64),
            scores=torch.empty(shape, dtype=torch.float64),
            optimality=torch.empty(shape, dtype=torch.float64),
            n_iter=torch.empty(shape, dtype=torch.int32),
            status=np.empty(shape, dtype=object),
            shows_all=tuple(shows),
        )

    def store(
        self, folds: Sequence[int], cs: Sequence[int], batch: "BatchResult", scores: Tensor
    ) -> None:
        """Store the models of some folds and of consecutive Cs."""
        shape = len(folds), len(cs)
        side_by_side = folds[-1] - folds[0] + 1 == len(folds)
        rows: Any = slice(folds[0], folds[-1] + 1) if side_by_side else list(folds)
        place = rows, slice(cs[0], cs[-1] + 1)
        self.coef[place] = batch.params.coef.cpu().unflatten(0, shape)
        self.intercept[place] = batch.params.intercept.cpu().unflatten(0, shape)
        self.scores[place] = scores.cpu()
        self.optimality[place] = batch.optimality.cpu().unflatten(0, shape)
        self.n_iter[place] = batch.n_iter.cpu().to(torch.int32).unflatten(0, shape)
        self.status[place] = np.array(batch.status, dtype=object).reshape(shape)
        self.n_passes += batch.n_passes


@dataclass(frozen=True)
class BatchResult:
    """Result of a batch of models, as in `fitting.FitResult`, for all classes."""

    params: Params
    logits: Tensor
    status: tuple[Status, ...]
    n_iter: Tensor
    optimality: Tensor
    duality_gap: Tensor
    n_passes: int


@dataclass(frozen=True)
class FoldProblem:
    """Data and settings of the fits of all folds for one penalty.

    Parameters
    ----------
    problem : Problem
    design : object
        ``problem.design`` of the rows.
    index : Tensor of shape (n_samples,), int64
        Class indices.
    weight : Tensor of shape (n_samples,) or None
        Sample weight times class weight.
    train : FoldRows
        Training rows of the folds.
    factor : Tensor of shape (n_features,) or None
        Penalty factors of the features.
    tol : float
    max_iter : int
    memory_budget : int or None
        Limit in bytes of the arrays whose length is the number of rows.
    verbose : bool
        Whether to print a line an iteration.
    """

    problem: Problem
    design: Any
    index: Tensor
    weight: Tensor | None
    train: FoldRows
    factor: Tensor | None
    tol: float
    max_iter: int
    memory_budget: int | None
    verbose: bool

    def with_options(self, options: Options) -> "FoldProblem":
        """Return a copy with the penalty of other options."""
        return replace(self, problem=replace(self.problem, options=options))

    def solve(self, Cs: Tensor, batch_scorer: BatchScorer) -> FoldFits:
        """Fit and score all folds and Cs.

        Folds whose training rows have all classes are solved together. In other folds the
        intercept of an absent class diverges to minus infinity. They are solved for the present
        classes, which is the limit, and the absent class gets an intercept with which its
        probability is below the rounding error for every row.

        Raises
        ------
        ParameterError
            If a fold has no training row with a weight.
        """
        n_samples, n_outputs = len(self.index), self.problem.loss.n_outputs
        weight = self.train.counts(n_samples)
        if self.weight is not None:
            weight *= self.weight.cpu()[:, None]
        shown = self._classes_shown(weight)
        shape = (self.train.n_folds, len(Cs))
        n_columns = self.problem.n_features + self.problem.has_column
        fits = FoldFits.empty(shape, (n_outputs, n_columns), [all(row) for row in shown])
        folds_by_classes: dict[tuple[bool, ...], list[int]] = {}
        for fold, row in enumerate(shown):
            folds_by_classes.setdefault(tuple(row), []).append(fold)
        max_models = fitting.models_at_once(
            n_samples, self.problem.n_features, n_outputs, self.memory_budget
        )
        for classes, folds in folds_by_classes.items():
            for some, cs in split_into_batches(folds, len(Cs), max_models):
                own = weight if len(some) == shape[0] else weight[:, some]
                batch = self._batch(
                    own.repeat_interleave(len(cs), 1), Cs[cs].repeat(len(some)), classes
                )
                scores = batch_scorer(
                    some, cs, batch.logits, self.problem.without_column(batch.params)
                )
                fits.store(some, cs, batch, scores)
        return fits

    def refit(self, C: Tensor, start: Params | None) -> BatchResult:
        """Fit one model on all rows.

        Parameters
        ----------
        C : Tensor of shape (1,)
        start : Params or None
            Start; None: zero.
        """
        if self.weight is None:
            return self._batch(None, C, [True] * self.problem.n_classes, start)
        weight = self.weight.cpu()[:, None]
        (shown,) = self._classes_shown(weight)
        return self._batch(weight, C, shown, start)

    def _classes_shown(self, weight: Tensor) -> list[list[bool]]:
        """Return True for every fold (row) and class (column) with a positive weight.

        If the intercept is penalised or zero, a minimiser exists for absent classes too, and all
        entries are True.
        """
        n_classes = self.problem.n_classes
        total = torch.zeros(n_classes, weight.shape[1], dtype=torch.float64)
        shown = (total.index_add_(0, self.index.cpu(), weight) > 0).T
        for fold, some in enumerate(shown.any(dim=1).tolist()):
            if not some:
                raise ParameterError(
                    f"Fold {fold} of cv has no training row with a positive weight."
                )
        if not self.problem.has_free_intercept:
            shown = torch.ones_like(shown)
        return shown.tolist()

    def _batch(
        self, weight: Tensor | None, Cs: Tensor, shown: Sequence[bool], start: Params | None = None
    ) -> BatchResult:
        """Solve models whose rows have the classes ``shown``; use ``start`` if these are all."""
        classes = [k for k, is_shown in enumerate(shown) if is_shown]
        if len(classes) == len(shown):
            return self._fit(self.problem.loss, self.index, weight, Cs, start)
        if len(classes) == 1:
            return self._single_class(classes[0], len(Cs))
        place = torch.zeros(len(shown), dtype=torch.int64)
        place[classes] = torch.arange(len(classes))
        some = self._fit(Multinomial(len(classes)), place[self.index.cpu()], weight, Cs)
        return self._add_absent_classes(some, classes)

    def _fit(
        self,
        loss: Loss,
        index: Tensor,
        weight: Tensor | None,
        Cs: Tensor,
        start: Params | None = None,
    ) -> BatchResult:
        data = self.problem.data_from_design(self.design, index, weight)
        solution = fitting.fit(
            data,
            loss,
            self.problem.penalty(self.factor, data.device),
            C=Cs.to(data.device),
            fit_intercept=self.problem.has_free_intercept,
            solver=self.problem.options.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            start=None if start is None else Problem.to_device(data.device, start),
            callback=_report if self.verbose else None,
            bound=len(Cs) == 1,
            dtype=self.problem.stored_dtype,
        )
        return BatchResult(
            params=solution.params,
            logits=solution.logits[0:],  # slicing collects the logits of out-of-core rows
            status=solution.status,
            n_iter=solution.n_iter,
            optimality=solution.optimality,
            duality_gap=solution.duality_gap,
            n_passes=solution.n_passes,
        )

    def _single_class(self, only: int, n_models: int) -> BatchResult:
        """Return models for rows of one class, which is predicted with certainty."""
        n_outputs = self.problem.loss.n_outputs
        if n_outputs == 1:
            intercept = torch.tensor(
                [_SATURATED_LOGIT if only else -_SATURATED_LOGIT], dtype=torch.float64
            )
        else:
            intercept = torch.full((n_outputs,), -_SATURATED_LOGIT / n_outputs, dtype=torch.float64)
            intercept[only] += _SATURATED_LOGIT
        n_columns = self.problem.n_features + self.problem.has_column
        return BatchResult(
            params=Params(
                torch.zeros(n_models, n_outputs, n_columns, dtype=torch.float64),
                intercept.repeat(n_models, 1),
            ),
            logits=intercept.expand(len(self.index), n_models, n_outputs),
            status=(Status.CONVERGED,) * n_models,
            n_iter=torch.zeros(n_models, dtype=torch.int32),
            optimality=torch.zeros(n_models, dtype=torch.float64),
            duality_gap=torch.zeros(n_models, dtype=torch.float64),
            n_passes=0,
        )

    def _add_absent_classes(self, some: BatchResult, classes: list[int]) -> BatchResult:
        """Add the classes that are absent from the rows of these models."""
        n_outputs = self.problem.loss.n_outputs
        lowest = some.logits.logsumexp(dim=2).min(dim=0).values - _SATURATED_LOGIT
        coef = some.params.coef.new_zeros(len(lowest), n_outputs, some.params.coef.shape[2])
        coef[:, classes] = some.params.coef
        intercept = lowest[:, None].repeat(1, n_outputs)
        intercept[:, classes] = some.params.intercept
        logits = lowest[:, None].repeat(some.logits.shape[0], 1, n_outputs)
        logits[:, :, classes] = some.logits
        mean = intercept.mean(dim=1, keepdim=True)  # a constant is arbitrary: intercepts sum to 0
        return BatchResult(
            params=Params(coef, intercept - mean),
            logits=logits.sub_(mean),
            status=some.status,
            n_iter=some.n_iter,
            optimality=some.optimality,
            duality_gap=some.duality_gap,
            n_passes=some.n_passes,
        )


def _report(progress: Progress) -> bool:
    """Print a line on the progress; never ask to stop."""
    print(
        f"[TorchLogisticClassifierCV] iteration {progress.n_iter}: "
        f"{len(progress.optimality)} models at work, "
        f"largest optimality {float(progress.optimality.max()):.3g}",
        flush=True,
    )
    return False


def split_into_batches(
    folds: list[int], n_cs: int, max_models: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Split folds x Cs into batches of at most ``max_models`` models, of all folds if possible."""
    n_folds = min(len(folds), max_models)
    step = max(max_models // n_folds, 1)
    for first in range(0, len(folds), n_folds):
        for start in range(0, n_cs, step):
            yield folds[first : first + n_folds], list(range(start, min(start + step, n_cs)))
