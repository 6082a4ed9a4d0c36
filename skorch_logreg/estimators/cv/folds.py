"""All candidates of all folds, solved in as few batches as memory allows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.options import Options
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.scoring import Rows
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import Params, Progress, Status
from skorch_logreg.losses import Loss, Multinomial

__all__ = ["Batch", "FoldFits", "FoldProblem", "FoldScorer"]

_NEVER = 40.0  # exp(-40) is below the epsilon of float64: what has it shows in no probability

# Scores (n_folds, n_cs) of a batch: from the places of its folds and of its Cs, the logits
# (n_samples, n_folds * n_cs, K) of all rows, and the parameters in units of X.
FoldScorer = Callable[[Sequence[int], Sequence[int], Tensor, Params], Tensor]


@dataclass
class FoldFits:
    """Models of every fold and C under one penalty.

    Attributes
    ----------
    coef : Tensor of shape (n_folds, n_cs, K, n_columns)
        As the core has them: with liblinear's column.
    intercept : Tensor of shape (n_folds, n_cs, K)
    scores, optimality : Tensor of shape (n_folds, n_cs)
    n_iter : Tensor of shape (n_folds, n_cs), int32
    status : ndarray of shape (n_folds, n_cs) of Status
    shows_all : tuple of bool
        Whether a fold's training rows show all classes.
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
        """Make room for the models of folds and Cs."""
        return cls(
            coef=torch.empty(*shape, *columns, dtype=torch.float64),
            intercept=torch.empty(*shape, columns[0], dtype=torch.float64),
            scores=torch.empty(shape, dtype=torch.float64),
            optimality=torch.empty(shape, dtype=torch.float64),
            n_iter=torch.empty(shape, dtype=torch.int32),
            status=np.empty(shape, dtype=object),
            shows_all=tuple(shows),
        )

    def enter(
        self, folds: Sequence[int], cs: Sequence[int], batch: "Batch", scores: Tensor
    ) -> None:
        """Write down the models of some folds and of consecutive Cs."""
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
class Batch:
    """What a batch of models came to: as of `fitting.Solution`, with all classes."""

    params: Params
    logits: Tensor
    status: tuple[Status, ...]
    n_iter: Tensor
    optimality: Tensor
    duality_gap: Tensor
    n_passes: int


@dataclass(frozen=True)
class FoldProblem:
    """What is solved for every fold, under one penalty.

    Parameters
    ----------
    problem : Problem
    design : object
        ``problem.design`` of the rows.
    index : Tensor of shape (n_samples,), int64
        Classes.
    weight : Tensor of shape (n_samples,) or None
        Sample weight times class weight.
    train : Rows
        Training rows of the folds.
    factor : Tensor of shape (n_features,) or None
        Penalty of each feature.
    tol : float
    max_iter : int
    memory_budget : int or None
        Bytes for what is as long as the data.
    verbose : bool
        Whether to print a line an iteration.
    """

    problem: Problem
    design: Any
    index: Tensor
    weight: Tensor | None
    train: Rows
    factor: Tensor | None
    tol: float
    max_iter: int
    memory_budget: int | None
    verbose: bool

    def under(self, options: Options) -> "FoldProblem":
        """Return the same problem under another penalty."""
        return replace(self, problem=replace(self.problem, options=options))

    def solve(self, Cs: Tensor, fold_scores: FoldScorer) -> FoldFits:
        """Fit and score all folds and Cs.

        Folds whose training rows show all classes are solved together. In another fold the
        intercept of an absent class falls without bound: such a fold is solved for the classes
        that it shows, which is the limit, and the absent class gets an intercept at which its
        probability is below the precision of every row's.

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
        alike: dict[tuple[bool, ...], list[int]] = {}
        for fold, row in enumerate(shown):
            alike.setdefault(tuple(row), []).append(fold)
        at_once = fitting.models_at_once(
            n_samples, self.problem.n_features, n_outputs, self.memory_budget
        )
        for classes, folds in alike.items():
            for some, cs in _rectangles(folds, len(Cs), at_once):
                own = weight if len(some) == shape[0] else weight[:, some]
                batch = self._batch(
                    own.repeat_interleave(len(cs), 1), Cs[cs].repeat(len(some)), classes
                )
                scores = fold_scores(
                    some, cs, batch.logits, self.problem.without_column(batch.params)
                )
                fits.enter(some, cs, batch, scores)
        return fits

    def refit(self, C: Tensor, start: Params | None) -> Batch:
        """Fit one model on all rows.

        Parameters
        ----------
        C : Tensor of shape (1,)
        start : Params or None
            Where to start.
        """
        if self.weight is None:
            return self._batch(None, C, [True] * self.problem.n_classes, start)
        weight = self.weight.cpu()[:, None]
        (shown,) = self._classes_shown(weight)
        return self._batch(weight, C, shown, start)

    def _classes_shown(self, weight: Tensor) -> list[list[bool]]:
        """Whether every fold (row) shows every class (column) with a positive weight.

        Where the intercept is not the core's, so that it is penalised or zero, an absent class
        has a minimiser, and is no exception.
        """
        n_classes = self.problem.n_classes
        total = torch.zeros(n_classes, weight.shape[1], dtype=torch.float64)
        shown = (total.index_add_(0, self.index.cpu(), weight) > 0).T
        for fold, some in enumerate(shown.any(dim=1).tolist()):
            if not some:
                raise ParameterError(
                    f"Fold {fold} of cv has no training row with a positive weight."
                )
        if not self.problem.core_intercept:
            shown = torch.ones_like(shown)
        return shown.tolist()

    def _batch(
        self, weight: Tensor | None, Cs: Tensor, shown: Sequence[bool], start: Params | None = None
    ) -> Batch:
        """Solve models whose rows show some of the classes; a start is for those of all."""
        classes = [k for k, is_shown in enumerate(shown) if is_shown]
        if len(classes) == len(shown):
            return self._fit(self.problem.loss, self.index, weight, Cs, start)
        if len(classes) == 1:
            return self._constant(classes[0], len(Cs))
        place = torch.zeros(len(shown), dtype=torch.int64)
        place[classes] = torch.arange(len(classes))
        some = self._fit(Multinomial(len(classes)), place[self.index.cpu()], weight, Cs)
        return self._with_absent(some, classes)

    def _fit(
        self,
        loss: Loss,
        index: Tensor,
        weight: Tensor | None,
        Cs: Tensor,
        start: Params | None = None,
    ) -> Batch:
        data = self.problem.beside(self.design, index, weight)
        solution = fitting.fit(
            data,
            loss,
            self.problem.penalty(self.factor, data.device),
            C=Cs.to(data.device),
            fit_intercept=self.problem.core_intercept,
            solver=self.problem.options.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            start=None if start is None else Problem.on(data.device, start),
            callback=_report if self.verbose else None,
            bound=len(Cs) == 1,
            dtype=self.problem.stored_dtype,
        )
        return Batch(
            params=solution.params,
            logits=solution.logits[0:],  # where rows are elsewhere, they come here
            status=solution.status,
            n_iter=solution.n_iter,
            optimality=solution.optimality,
            duality_gap=solution.duality_gap,
            n_passes=solution.n_passes,
        )

    def _constant(self, only: int, n_models: int) -> Batch:
        """Models of one class: it is certain."""
        n_outputs = self.problem.loss.n_outputs
        if n_outputs == 1:
            intercept = torch.tensor([_NEVER if only else -_NEVER], dtype=torch.float64)
        else:
            intercept = torch.full((n_outputs,), -_NEVER / n_outputs, dtype=torch.float64)
            intercept[only] += _NEVER
        n_columns = self.problem.n_features + self.problem.has_column
        return Batch(
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

    def _with_absent(self, some: Batch, classes: list[int]) -> Batch:
        """Add the classes that the rows of these models do not show."""
        n_outputs = self.problem.loss.n_outputs
        lowest = some.logits.logsumexp(dim=2).min(dim=0).values - _NEVER
        coef = some.params.coef.new_zeros(len(lowest), n_outputs, some.params.coef.shape[2])
        coef[:, classes] = some.params.coef
        intercept = lowest[:, None].repeat(1, n_outputs)
        intercept[:, classes] = some.params.intercept
        logits = lowest[:, None].repeat(some.logits.shape[0], 1, n_outputs)
        logits[:, :, classes] = some.logits
        mean = intercept.mean(dim=1, keepdim=True)  # a constant is free: intercepts sum to zero
        return Batch(
            params=Params(coef, intercept - mean),
            logits=logits.sub_(mean),
            status=some.status,
            n_iter=some.n_iter,
            optimality=some.optimality,
            duality_gap=some.duality_gap,
            n_passes=some.n_passes,
        )


def _report(progress: Progress) -> bool:
    """Print a line, and never ask to stop."""
    print(
        f"[TorchLogisticClassifierCV] iteration {progress.n_iter}: "
        f"{len(progress.optimality)} models at work, "
        f"largest optimality {float(progress.optimality.max()):.3g}",
        flush=True,
    )
    return False


def _rectangles(folds: list[int], n_cs: int, at_once: int) -> Iterator[tuple[list[int], list[int]]]:
    """Cut folds x Cs into batches of at most ``at_once`` models, all folds of a C if they fit."""
    n_folds = min(len(folds), at_once)
    step = max(at_once // n_folds, 1)
    for first in range(0, len(folds), n_folds):
        for start in range(0, n_cs, step):
            yield folds[first : first + n_folds], list(range(start, min(start + step, n_cs)))
