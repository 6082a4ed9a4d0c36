"""Fit a list of models to the same rows, in as few batches as memory allows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.data import Data
from skorch_logreg.data.tensors import PIECE_ENTRIES
from skorch_logreg.fitting.request import FitResult, predicted_logits
from skorch_logreg.losses import Loss, Multinomial
from skorch_logreg.objective import Params
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers import Status

SATURATED_LOGIT = 1000.0  # logit at which sigmoid is exactly 1.0, and 0.0 at its negative
# bytes per row and logit: target, weight, the logits of three points, temporaries
ROW_BYTES = 72
_MAX_ROW_LOGITS = 512  # logits per row beyond which a wider batch saves no time


@dataclass(frozen=True)
class Models:
    """List of models to fit to the same rows; every field has an entry for each model."""

    column: np.ndarray  # number of the targets and weights, an argument of `BatchFitter.columns`
    C: Tensor  # inverse regularization strengths (m,)
    penalty: np.ndarray | None = None  # number of the penalty; None: 0
    group: np.ndarray | None = None  # models of a group are in one batch; None: each is a group
    start: Params | None = None
    # 1 or -1 for binary models that predict the second or first class with certainty, and are
    # not fitted, else 0; None: 0
    constant: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class BatchFitter:
    """Rows, loss and options of the fits of a list of models.

    Models with the same penalty are fitted together, as many as `max_models`. If the rows of a
    model lack a class and its intercept is not penalised, the intercept of that class diverges
    to minus infinity. The model is then fitted to the other classes, which is the limit, and the
    absent class gets a logit so low that its probability is 0.
    """

    rows: Callable[[Tensor, Tensor | None], Data]  # data of a fit from targets and weights
    # targets and weights, (n_samples,) or (n_samples, k), of the numbers (k,) of columns
    columns: Callable[[np.ndarray], tuple[Tensor, Tensor | None]]
    loss: Loss
    penalty: Callable[[int, torch.device], Penalty]  # by the number of a penalty
    n_features: int
    max_models: int  # of a batch
    fit_intercept: bool  # whether the models have an intercept that is not penalised
    options: Mapping[str, Any] = field(default_factory=dict)  # other arguments of `fitting.fit`
    report: Callable[[np.ndarray], Any] | None = None  # callback of a batch, by its models
    # logit of a class that is predicted with certainty, above that of the others
    certain_logit: float = SATURATED_LOGIT
    # C, coefficients and intercept of the last two models of every column and penalty, if they are
    # of several classes, and the blocks of classes of the last model
    _last: dict[tuple[int, int], list[tuple[Tensor, ...]]] = field(default_factory=dict, init=False)
    _blocks: list[Any] = field(default_factory=lambda: [None], init=False)

    def batches(self, models: Models) -> Iterator[np.ndarray]:
        """Yield the indices of the models of every batch, in ascending order.

        Batches have about the same number of groups. A group with more than `max_models` models
        has batches of its own.
        """
        n_models = len(models.column)
        penalties = np.zeros(n_models, int) if models.penalty is None else models.penalty
        groups = np.arange(n_models) if models.group is None else models.group
        for penalty in np.unique(penalties):
            own = np.flatnonzero(penalties == penalty)
            _, group, sizes = np.unique(groups[own], return_inverse=True, return_counts=True)
            n_batches = -(-len(sizes) // max(self.max_models // int(sizes.max()), 1))
            n_groups = [len(some) for some in np.array_split(sizes, n_batches)]
            batch = np.repeat(np.arange(n_batches), n_groups)[group]
            for number in range(n_batches):
                part = own[batch == number]
                for first in range(0, len(part), self.max_models):
                    yield part[first : first + self.max_models]

    def fit_all(
        self, models: Models, on_batch: Callable[[np.ndarray, FitResult], None] | None = None
    ) -> FitResult:
        """Fit all models, and return their result without logits.

        ``on_batch`` is called with the indices of the models and the result of every batch.
        """
        results, order = [], []
        for part in self.batches(models):
            result = self.fit(models, part)
            if on_batch is not None:
                on_batch(part, result)
            none = result.value.new_empty(0, *result.params.intercept.shape)
            results.append(replace(result, logits=none))
            order.append(part)
        return FitResult.joined(results, np.concatenate(order))

    def fit(self, models: Models, part: np.ndarray) -> FitResult:
        """Fit the models of a batch, whose indices are ``part`` and which have the same penalty."""
        numbers, place = np.unique(models.column[part], return_inverse=True)
        targets, weight = self.columns(numbers)
        n_classes = getattr(self.loss, "n_classes", max(self.loss.n_outputs, 2))
        shown = np.ones((len(part), n_classes), dtype=bool)
        if self.fit_intercept:
            shown = classes_shown(targets, weight, shown.shape[1])[place]
        if models.constant is not None:
            constant = models.constant[part, None]
            shown = np.where(constant, constant == [-1, 1], shown)
        callback = None if self.report is None else self.report(part)
        patterns, which = np.unique(shown, axis=0, return_inverse=True)
        same = [np.flatnonzero(which == k) for k in range(len(patterns))]
        results = [
            self._fit_classes(
                models,
                part[own],
                _columns(targets, place[own]),
                _columns(weight, place[own]),
                shown=pattern,
                callback=callback,
            )
            for own, pattern in zip(same, patterns, strict=True)
        ]
        trained = [result.trained for result in results if result.trained is not None]
        joined = FitResult.joined(results, np.concatenate(same))
        return replace(joined, trained=trained[0] if len(trained) == 1 else None)

    def _fit_classes(
        self,
        models: Models,
        part: np.ndarray,
        targets: Tensor,
        weight: Tensor | None,
        *,
        shown: np.ndarray,
        callback: Any,
    ) -> FitResult:
        """Fit models whose rows have some of the classes; use the start only if these are all."""
        classes = np.flatnonzero(shown)
        if len(classes) == 1:
            return self._saturated(targets, len(part), int(classes[0]))
        index, start, loss = torch.from_numpy(part), models.start, self.loss
        is_whole = len(classes) == len(shown)
        if not is_whole:
            place = torch.zeros(len(shown), dtype=torch.int64)
            place[classes] = torch.arange(len(classes))
            targets, loss, start = place[targets.cpu()], Multinomial(len(classes)), None
        data = self.rows(targets, weight)
        number = 0 if models.penalty is None else int(models.penalty[part[0]])
        penalty, options = self.penalty(number, data.device), self.options
        # epochs, and a solver with a checkpoint, start where they would alone
        is_auto = isinstance(options.get("solver", "auto"), str) and options.get("max_iter") != 0
        continues = is_whole and loss.n_outputs > 1 and penalty.smooth and is_auto
        if continues:
            options = {**options, **self._continuation(models, part)}
        result = fitting.fit(
            data,
            loss,
            penalty,
            C=models.C[index],
            fit_intercept=self.fit_intercept,
            start=start and Params(start.coef[index], start.intercept[index]),
            callback=callback,
            **options,
        )
        if continues:
            self._remember(models, part, result)
        result = replace(result, blocks=None)
        if not penalty.smooth and len(result.logits):
            result = replace(result, logits=predicted_logits(data, loss, result.params))
        return result if is_whole else self._with_absent_classes(result, classes)

    def _continuation(self, models: Models, part: np.ndarray) -> dict[str, Any]:
        """Return the last fits of the columns of some models, as arguments of `fitting.fit`."""
        found = [self._last.get(key, []) for key in self._keys(models, part)]
        if models.start is not None or not all(found):
            return {}
        last = []
        for place in range(-min(map(len, found)), 0):
            parts = zip(*(fits[place] for fits in found), strict=True)
            C, coef, intercept = (torch.cat(part) for part in parts)
            last.append((C, Params(coef, intercept)))
        return {"last": last, "blocks": self._blocks[0]}

    def _remember(self, models: Models, part: np.ndarray, result: FitResult) -> None:
        """Store results from which the next fits start."""
        self._blocks[0] = result.blocks
        coef, intercept = result.params.coef, result.params.intercept
        C = models.C[part].to(coef.device)
        for i, key in enumerate(self._keys(models, part)):
            if result.status[i] is Status.CONVERGED:
                one = slice(i, i + 1)
                fits = [*self._last.get(key, []), (C[one], coef[one], intercept[one])]
                self._last[key] = fits[-2:]

    def _keys(self, models: Models, part: np.ndarray) -> list[tuple[int, int]]:
        """Return the numbers of column and penalty of some models."""
        penalty = np.zeros_like(part) if models.penalty is None else models.penalty[part]
        return list(zip(models.column[part].tolist(), penalty.tolist(), strict=True))

    def _saturated(self, targets: Tensor, n_models: int, only: int) -> FitResult:
        """Return models that predict one class with certainty."""
        n_outputs = self.loss.n_outputs
        intercept = targets.new_zeros(n_outputs, dtype=torch.float64)
        if n_outputs == 1:
            intercept += self.certain_logit if only else -self.certain_logit
        else:
            intercept -= self.certain_logit / n_outputs
            intercept[only] += self.certain_logit
        zero = intercept.new_zeros(n_models)
        return FitResult(
            params=Params(
                intercept.new_zeros(n_models, n_outputs, self.n_features),
                intercept.repeat(n_models, 1),
            ),
            status=(Status.CONVERGED,) * n_models,
            n_iter=zero.to(torch.int64),
            n_passes=0,
            value=zero,
            optimality=zero,
            duality_gap=zero,
            logits=intercept.expand(len(targets), n_models, n_outputs),
            total_weight=zero,
        )

    def _with_absent_classes(self, result: FitResult, classes: np.ndarray) -> FitResult:
        """Add the classes that the rows of these models lack."""
        n_outputs, params = self.loss.n_outputs, result.params
        present = result.logits[0:]  # slicing collects the logits of out-of-core rows
        lowest = present.logsumexp(dim=2).min(dim=0).values - self.certain_logit
        coef = params.coef.new_zeros(len(lowest), n_outputs, params.coef.shape[2])
        coef[:, classes] = params.coef
        intercept = lowest[:, None].repeat(1, n_outputs)
        intercept[:, classes] = params.intercept
        logits = lowest[:, None].repeat(present.shape[0], 1, n_outputs)
        logits[:, :, classes] = present
        mean = intercept.mean(dim=1, keepdim=True)  # a constant is arbitrary: intercepts sum to 0
        return replace(
            result, params=Params(coef, intercept - mean), logits=logits.sub_(mean), directions=()
        )


def models_at_once(
    n_samples: int, n_features: int, n_outputs: int, memory_budget: int | None = None
) -> int:
    """Return the number of models, of ``n_outputs`` logits each, that one solve may take.

    Arrays as long as the data have to fit the budget in bytes, of 1 GiB by default.  Beyond some
    hundred logits per row a read of X gets no cheaper per model, and with more than 4 MiB of
    coefficients these leave the cache (1000 labels of sparse 20,000 x 20,000: .8 of the time of
    16 MiB).
    """
    worthwhile = min(_MAX_ROW_LOGITS, PIECE_ENTRIES // n_features)
    return max(min(at_once(n_samples, memory_budget), worthwhile) // n_outputs, 1)


def at_once(size: int, memory_budget: int | None = None) -> int:
    """Return the number of columns of ``size`` rows that fit a budget, by default 1 GiB."""
    budget = 1 << 30 if memory_budget is None else memory_budget
    return max(int(budget) // (ROW_BYTES * size), 1)


def classes_shown(targets: Tensor, weight: Tensor | None, n_classes: int) -> np.ndarray:
    """Return for every column (row) and class (column) whether it has a positive weight.

    Targets are class indices (n_samples,), common to all columns, or probabilities (n_samples, k)
    of the second class for each. Weights have shape (n_samples,) or (n_samples, k); None: all are
    1, and common targets have all classes.
    """
    if targets.ndim == 1:
        if weight is None:
            return np.ones((1, n_classes), dtype=bool)
        weight = weight.cpu()
        total = weight.new_zeros(n_classes, *weight.shape[1:])
        total.index_add_(0, targets.cpu(), weight)
        return np.asarray(total.reshape(n_classes, -1).T > 0)
    used = torch.ones(1, 1) if weight is None else weight.reshape(len(weight), -1)
    used = used.to(targets.device) > 0
    least = torch.where(used, targets, 1).amin(dim=0)
    most = torch.where(used, targets, 0).amax(dim=0)
    shown = [least < 1, most > 0]
    return np.asarray(torch.stack(shown, dim=1).cpu())


def is_saturated(params: Params) -> Tensor:
    """Return a mask (m,) of the binary models that predict one class with certainty."""
    constant = (params.intercept.abs() == SATURATED_LOGIT) & (params.coef == 0).all(dim=-1)
    return constant[..., 0]


def _columns(array: Tensor | None, index: np.ndarray) -> Any:
    """Return the columns of some models of an array that has one for each, or is common to all."""
    if array is None or array.ndim == 1 or array.shape[1] == 1:
        return array
    if np.array_equal(index, np.arange(array.shape[1])):
        return array
    return array[:, torch.from_numpy(index).to(array.device)]
