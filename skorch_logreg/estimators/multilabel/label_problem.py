"""Binary problems of all labels, which share their rows, and their fits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.certificate import warn_unless_all_converged
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.validation import can_train_together, class_weights
from skorch_logreg.exceptions import ConstantLabelWarning, warn_user
from skorch_logreg.fitting import FitResult, Params, Progress, Status
from skorch_logreg.fitting.batch import BatchFitter, Models
from skorch_logreg.inputs.labels import smooth_labels
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.torch_context import seed_of
from skorch_logreg.inputs.validate import FitInput

LabelOutcome = tuple[int, Status, float]  # label, status and optimality of a fit
TrainedGroup = tuple[np.ndarray, dict[str, Any]]  # labels trained together, and their state


@dataclass(frozen=True)
class BinaryProblems:
    """Targets and weights of all labels, and settings of their solves.

    Attributes
    ----------
    sample_weight : Tensor of shape (n_samples,), float64, or None
    class_weight : Tensor of shape (n_labels, 2), float64, or None
        Class weights of absence and presence.
    constant : ndarray of shape (n_labels,), int
        1 or -1 if all entries of a label with a positive weight are 1 or 0, so that the objective
        has no minimiser; else 0.
    max_models : int
        Largest number of models per solve.
    total_weight : Tensor of shape (n_labels,), float64
        Total weight of each label's entries.
    """

    labels: Indicator
    sample_weight: Tensor | None
    class_weight: Tensor | None
    constant: np.ndarray
    max_models: int
    device: torch.device
    total_weight: Tensor
    label_smoothing: float

    @classmethod
    def of(
        cls,
        model: Any,
        inputs: FitInput,
        estimator: Any,
        solver: Any,
        device: torch.device,
        *,
        part: bool = False,
    ) -> "BinaryProblems":
        """Create the binary problems of a `MultiLabel` fit.

        `class_weight` and `label_smoothing` of ``estimator`` apply, and ``solver`` decides whether
        labels are trained together. With ``part``, these are only some of the rows, whose targets
        are not counted; otherwise every label needs a known entry with a positive weight.
        """
        labels = inputs.labels
        sample_weight, class_weight, is_balanced = class_weights(
            model.class_weight, estimator.class_weight, labels, inputs.weight
        )
        budget = model.memory_budget
        if budget is None:
            budget = getattr(estimator, "memory_budget", None)
        n_samples, n_features = map(int, inputs.X.shape[:2])
        max_models = 1
        if can_train_together(solver):
            max_models = fitting.models_at_once(n_samples, n_features, 1, budget)
        problems = cls(
            labels,
            None if sample_weight is None else sample_weight.to(device),
            None if class_weight is None else class_weight.to(device),
            np.zeros(labels.n_labels, dtype=int),
            max_models,
            device,
            torch.zeros(labels.n_labels, dtype=torch.float64, device=device),
            # a TorchLogisticClassifierCV lacks the parameter
            float(getattr(estimator, "label_smoothing", 0.0)),
        )
        return problems if part else problems._count(is_balanced)

    def _count(self, is_balanced: Tensor | None) -> "BinaryProblems":
        """Sum the weights of the entries of every label that are 0 and 1, and balance them."""
        labels, class_weight = self.labels, self.class_weight
        totals = torch.zeros(2, labels.n_labels, dtype=torch.float64, device=self.device)
        n_parts = -(-labels.n_labels // self.max_models)
        for part in np.array_split(np.arange(labels.n_labels), n_parts):
            targets, known = labels.columns(part, self.device)
            totals[:, part] = _total_weights(targets, known, self.sample_weight)
        self._refuse_empty(totals, "has no known cell, or none in a row with a weight")
        totals = totals * (1 - self.label_smoothing) + totals.sum(dim=0) * self.label_smoothing / 2
        if class_weight is not None and is_balanced is not None:
            balanced = torch.where(totals > 0, totals.sum(dim=0) / (2 * totals), 0.0)
            class_weight = torch.where(
                is_balanced[:, None].to(self.device), balanced.T, class_weight
            )
            totals = totals * class_weight.T
            self._refuse_empty(totals, "has no cell that class_weight gives a weight")
        absent, present = totals.cpu().numpy() > 0
        return replace(
            self,
            class_weight=class_weight,
            constant=present.astype(int) - absent,
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
            if weight is None:
                weight = known.to(torch.float64)
            else:
                weight = (weight[:, None] if weight.ndim == 1 else weight) * known
        return targets, weight


def _total_weights(targets: Tensor, known: Tensor | None, sample_weight: Tensor | None) -> Tensor:
    """Sum the weights (2, m) of the entries that are 0 and 1."""
    present = targets.to(torch.float64)
    absent = (1.0 if known is None else known.to(torch.float64)) - present
    weight = present.new_ones(len(present)) if sample_weight is None else sample_weight
    return torch.stack([weight @ absent, weight @ present])


@dataclass(frozen=True)
class LabelProblem:
    """Rows and binary problems of all labels.

    ``problem`` is that of one label, ``design`` the rows as ``problem.design`` returns them, and
    ``seed`` that of the order of mini-batches.
    """

    binary_problems: BinaryProblems
    problem: Problem
    design: Any
    tol: float
    max_iter: int
    seed: int

    @classmethod
    def of(
        cls, model: Any, inputs: FitInput, estimator: Any, resolved: Options, part: bool = False
    ) -> "LabelProblem":
        """Create the problem of a `MultiLabel` fit.

        ``estimator`` has the parameters of every label's fit, ``resolved`` its penalty and solver.
        With ``part``, these are only some of the rows, as in `partial_fit`.
        """
        problem = inputs.problem(estimator, resolved)
        design = problem.design(inputs.X, inputs.device)
        device = design.device if isinstance(design, Tensor) else torch.device("cpu")
        return cls(
            BinaryProblems.of(model, inputs, estimator, resolved.solver, device, part=part),
            problem,
            design,
            estimator.tol,
            estimator.max_iter,
            seed=seed_of(estimator.random_state) if resolved.trains else 0,
        )

    def fitter(
        self,
        columns: Callable[[np.ndarray], tuple[Tensor, Tensor | None]] | None = None,
        **options: Any,
    ) -> BatchFitter:
        """Build the fitter of some ``columns``, by default the labels.

        ``options`` are `penalties` and `report` of `Problem.batch_fitter`.
        """
        return self.problem.batch_fitter(
            self.design,
            self.binary_problems.targets_and_weights if columns is None else columns,
            self.binary_problems.max_models,
            tol=self.tol,
            max_iter=self.max_iter,
            bound=False,
            seed=self.seed,
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
        constant, trained = self.binary_problems.constant, []

        def free(part: np.ndarray) -> np.ndarray:
            return part[constant[part] == 0]

        def store_training(part: np.ndarray, result: FitResult) -> None:
            if result.trained is not None:
                trained.append((free(part), result.trained.state))

        report = (lambda part: partial(print_progress, free(part))) if verbose else None
        models = Models(np.arange(len(C)), C, penalty, start=start, constant=constant)
        fits = self.fitter(penalties=penalties, report=report).fit_all(models, store_training)
        return fits, trained

    def attributes(self, fits: FitResult) -> dict[str, Any]:
        """Return the fitted attributes of all labels, in the array namespace of X."""
        params = Params(fits.params.coef[None, :, 0], fits.params.intercept[None, :, 0])
        converged = [status is Status.CONVERGED for status in fits.status]
        arrays = {
            "n_iter_": fits.n_iter.to(torch.int32),
            "optimality_": fits.optimality,
            "converged_": torch.tensor(converged, device=fits.optimality.device),
        }
        found = {name: self.problem.namespace.from_tensor(value) for name, value in arrays.items()}
        return self.problem.fitted(params) | found | {"n_passes_": int(fits.n_passes)}

    def warn(self, outcomes: Sequence[LabelOutcome], what: str = "labels") -> None:
        """Warn of constant labels and of fits that have not converged; ``what`` names those."""
        labels, constant = self.binary_problems.labels, self.binary_problems.constant
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
            self,
            [(status, optimality) for _, status, optimality in outcomes],
            f"{what} ({labels.describe(np.array(sorted(failed)))})",
            self.problem.dtype,
        )


def label_outcomes(fits: FitResult) -> list[LabelOutcome]:
    """Return the outcomes of fits of all labels."""
    optimality = fits.optimality.tolist()
    return list(zip(range(len(optimality)), fits.status, optimality, strict=True))


def print_progress(labels: np.ndarray, progress: Progress) -> bool:
    """Print the progress of a batch of labels; never ask to stop."""
    text = (
        f"iteration {progress.n_iter}: {len(progress.optimality)} of {len(labels)} at work, "
        f"largest optimality {float(progress.optimality.max()):.3g}"
    )
    if bool(progress.optimality.isnan().all()):
        text = f"epoch {progress.n_iter}: mean objective {float(progress.value.mean()):.6g}"
    print(f"[MultiLabel] labels {labels[0]} to {labels[-1]}, {text}", flush=True)
    return False
