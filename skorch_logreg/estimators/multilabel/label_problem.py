"""Binary problems of all labels, which share their rows, and their fits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.callbacks import print_progress
from skorch_logreg.estimators.certificate import warn_unless_all_converged
from skorch_logreg.estimators.cv.classifier import TorchLogisticClassifierCV
from skorch_logreg.estimators.multilabel.validation import can_train_together, class_weights
from skorch_logreg.exceptions import ConstantLabelWarning, warn_user
from skorch_logreg.fitting import FitResult, Params, Progress, Status
from skorch_logreg.fitting.batch import BatchFitter, Models
from skorch_logreg.inputs.indicator import Indicator
from skorch_logreg.inputs.labels import smooth_labels
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.torch_context import seed_of
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.inputs.weights import class_weights_of
from skorch_logreg.penalties.l2 import rows_by_name
from skorch_logreg.pipelines import to_dense_numpy

LabelOutcome = tuple[int, Status, float]  # label, status and optimality of a fit
TrainedGroup = tuple[np.ndarray, dict[str, Any]]  # labels trained together, and their state


@dataclass(frozen=True)
class LabelProblem:
    """Binary problems of all labels, which share their rows, and settings of their solves.

    ``problem`` is that of one label. ``class_weight`` (n_labels, 2) are the weights of absence and
    presence. ``penalties`` are the options of each label if each has a center of its own, else
    empty. ``constant`` (n_labels,) is 1 or -1 if all entries of a label with a positive weight
    are 1 or 0, so that the objective has no minimiser, else 0; ``total_weight`` (n_labels,) is that
    of all entries. Both are None for a part of the rows.
    """

    inputs: FitInput
    estimator: Any
    problem: Problem
    device: torch.device
    sample_weight: Tensor | None
    class_weight: Tensor | None
    max_models: int
    penalties: Sequence[Options] = ()
    constant: Any = None
    total_weight: Any = None

    @classmethod
    def of(
        cls,
        model: Any,
        inputs: FitInput,
        estimator: Any,
        resolved: Options,
        *,
        device: torch.device | None = None,
        part: bool = False,
    ) -> "LabelProblem":
        """Create the problem of a `MultiLabel` fit.

        ``estimator`` has the parameters of every label's fit, ``resolved`` its penalty and solver.
        With ``part``, these are only some of the rows, whose targets are not counted; otherwise
        every label needs a known entry with a positive weight.
        """
        on_device = inputs.X.device if isinstance(inputs.X, Tensor) else torch.device("cpu")
        device = device or inputs.device or on_device
        labels = inputs.labels
        sample_weight, class_weight, is_balanced = class_weights(
            model.class_weight, estimator.class_weight, labels, inputs.weight
        )
        budget = model.memory_budget
        if budget is None:
            budget = getattr(estimator, "memory_budget", None)
        max_models, penalties = 1, []
        n_samples, n_features = map(int, inputs.X.shape[:2])
        if not (part or isinstance(estimator, TorchLogisticClassifierCV)):
            penalties = _with_centers(resolved, labels.n_labels, n_features)
        each = [inputs.problem(estimator, options) for options in penalties or [resolved]]
        if can_train_together(resolved.solver):
            max_models = fitting.models_at_once(n_samples, n_features, 1, budget)
        problems = cls(
            inputs,
            estimator,
            each[0],
            device,
            None if sample_weight is None else sample_weight.to(device),
            None if class_weight is None else class_weight.to(device),
            max_models,
            penalties,
        )
        return problems if part else problems._count(is_balanced)

    @cached_property
    def design(self) -> Any:
        """Rows as `Problem.design` returns them."""
        return self.problem.design(self.inputs.X, self.inputs.device)

    @property
    def labels(self) -> Indicator:
        """Targets of all labels."""
        labels: Indicator = self.inputs.labels
        return labels

    @property
    def label_smoothing(self) -> float:
        """Share of each entry that is spread over 0 and 1."""
        # a TorchLogisticClassifierCV lacks the parameter
        return float(getattr(self.estimator, "label_smoothing", 0.0))

    def _count(self, is_balanced: Tensor | None) -> "LabelProblem":
        """Sum the weights of the entries of every label that are 0 and 1, and balance them."""
        labels, class_weight = self.labels, self.class_weight
        totals = torch.zeros(2, labels.n_labels, dtype=torch.float64, device=self.device)
        n_parts = -(-labels.n_labels // self.max_models)
        for part in np.array_split(np.arange(labels.n_labels), n_parts):
            targets, known = labels.columns(part, self.device)
            present = targets.to(torch.float64)
            absent = (1.0 if known is None else known.to(torch.float64)) - present
            rows = self.sample_weight
            rows = present.new_ones(len(present)) if rows is None else rows
            totals[:, part] = torch.stack([rows @ absent, rows @ present])
        self._refuse_empty(totals, "has no known cell, or none in a row with a weight")
        totals = totals * (1 - self.label_smoothing) + totals.sum(dim=0) * self.label_smoothing / 2
        if class_weight is not None and is_balanced is not None:
            balanced = class_weights_of("balanced", None, totals).T
            class_weight = torch.where(is_balanced[:, None].to(self.device), balanced, class_weight)
            totals = totals * class_weight.T
            self._refuse_empty(totals, "has no cell that class_weight gives a weight")
        zeros, ones = totals.cpu().numpy() > 0
        return replace(
            self,
            class_weight=class_weight,
            constant=ones.astype(int) - zeros,
            total_weight=totals.sum(dim=0),
        )

    def _refuse_empty(self, totals: Tensor, reason: str) -> None:
        empty = (totals.sum(dim=0) == 0).nonzero()[:, 0].cpu().numpy()
        if len(empty):
            raise ValueError(
                f"Label {self.labels.describe(empty)} {reason}: there is nothing to fit it to."
            )

    def targets_and_weights(self, labels: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Return targets (n_samples, m) and weights (n_samples, m), (n_samples,) or None (all 1).

        A target of probability q counts as a 1 of weight q and a 0 of weight ``1 - q``, each times
        its class weight.
        """
        targets, known = self.labels.columns(labels, self.device)
        is_soft = self.labels.is_soft or self.label_smoothing > 0
        if is_soft:
            targets = smooth_labels(targets.to(torch.float64), self.label_smoothing, 2)
        weight = self.sample_weight
        if self.class_weight is not None:
            absent, present = self.class_weight[torch.from_numpy(labels).to(self.device)].T
            if is_soft:
                own = targets * present
                weight = own + (1 - targets) * absent
                targets = own / torch.where(weight > 0, weight, 1.0)
            else:
                weight = torch.where(targets == 1, present, absent)
            if self.sample_weight is not None:
                weight *= self.sample_weight[:, None]
        if known is not None:
            own_weight = 1.0 if weight is None else weight.reshape(len(weight), -1)
            weight = known.to(torch.float64) * own_weight
        return targets, weight

    def fitter(
        self,
        columns: Callable[[np.ndarray], tuple[Tensor, Tensor | None]] | None = None,
        **options: Any,
    ) -> BatchFitter:
        """Build the fitter of some ``columns``, by default the labels.

        ``options`` are `penalties` and `report` of `Problem.batch_fitter`.
        """
        if self.problem.options.trains:
            options["seed"] = seed_of(self.estimator.random_state)
        return self.problem.batch_fitter(
            self.design,
            self.targets_and_weights if columns is None else columns,
            self.estimator,
            max_models=self.max_models,
            **options,
        )

    def fit(
        self,
        C: Tensor,
        start: Params | None = None,
        *,
        penalties: Sequence[Options] | None = None,
        penalty: np.ndarray | None = None,
        verbose: bool = False,
    ) -> tuple[FitResult, list[TrainedGroup]]:
        """Fit all labels; constant labels get saturated intercepts.

        ``start`` has parameters of all labels, (n_labels, 1, n_columns) and (n_labels, 1), and
        ``penalty`` the place of each label's penalty among ``penalties``, by default that of the
        problem. Also return the groups of labels that were trained together in mini-batches.
        """
        constant, trained = self.constant, []
        if self.penalties:
            penalties, penalty = self.penalties, np.arange(len(C))

        def free(part: np.ndarray) -> np.ndarray:
            return part[constant[part] == 0]

        def store_training(part: np.ndarray, result: FitResult) -> None:
            if result.trained is not None:
                trained.append((free(part), result.trained.state))

        report = (lambda part: self.report(free(part))) if verbose else None
        models = Models(np.arange(len(C)), C, penalty, start=start, constant=constant)
        fits = self.fitter(penalties=penalties, report=report).fit_all(models, store_training)
        return fits, trained

    @staticmethod
    def report(labels: np.ndarray) -> Callable[[Progress], bool]:
        """Return a callback that prints the progress of some labels."""
        return partial(print_progress, f"[MultiLabel] labels {labels[0]} to {labels[-1]}, ")

    @staticmethod
    def outcomes(fits: FitResult) -> list[LabelOutcome]:
        """Return the outcomes of fits of all labels."""
        optimality = fits.optimality.tolist()
        return list(zip(range(len(optimality)), fits.status, optimality, strict=True))

    def warn(self, outcomes: Sequence[LabelOutcome], what: str = "labels") -> None:
        """Warn of constant labels and of fits that have not converged; ``what`` names those."""
        labels, constant = self.labels, self.constant
        if constant.any():
            values = [
                f"always {value}: {labels.describe(np.flatnonzero(constant == sign))}"
                for value, sign in ((0, -1), (1, 1))
                if (constant == sign).any()
            ]
            warn_user(
                f"{np.count_nonzero(constant)} of {labels.n_labels} labels have one value in all "
                f"rows that count and get it with certainty ({'; '.join(values)}).",
                ConstantLabelWarning,
            )
        failed = {label for label, status, _ in outcomes if status is not Status.CONVERGED}
        warn_unless_all_converged(
            self.estimator,
            [(status, optimality) for _, status, optimality in outcomes],
            f"{what} ({labels.describe(np.array(sorted(failed)))})",
            self.problem.dtype,
        )


def _with_centers(options: Options, n_labels: int, n_features: int) -> list[Options]:
    """Return options for each label if the penalty is a ridge with a center for each, else none."""
    ridge: Any = options.penalty
    center: Any = getattr(ridge, "center", None)
    if n_labels == 1 or np.shape(center) != (n_labels, n_features):
        return []
    rows = to_dense_numpy(rows_by_name(center))
    return [replace(options, penalty=replace(ridge, center=own)) for own in rows]


def attributes(problem: Problem, fits: FitResult) -> dict[str, Any]:
    """Return the fitted attributes of all labels, in the array namespace of X."""
    params = Params(fits.params.coef[None, :, 0], fits.params.intercept[None, :, 0])
    converged = [status is Status.CONVERGED for status in fits.status]
    arrays = {
        "n_iter_": fits.n_iter.to(torch.int32),
        "optimality_": fits.optimality,
        "converged_": torch.tensor(converged, device=fits.optimality.device),
    }
    found = {name: problem.namespace.from_tensor(value) for name, value in arrays.items()}
    return problem.fitted(params) | found | {"n_passes_": int(fits.n_passes)}
