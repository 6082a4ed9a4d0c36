"""Fit the binary problems of all labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.estimators.certificate import warn_unless_all_converged
from skorch_logreg.estimators.multilabel.binary_problems import BinaryProblems
from skorch_logreg.exceptions import ConstantLabelWarning, warn_user
from skorch_logreg.fitting import FitResult, Params, Progress, Status
from skorch_logreg.fitting.batch import BatchFitter, Models
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.torch_context import seed_of
from skorch_logreg.inputs.validate import FitInput

__all__ = ["LabelOutcome", "LabelProblem", "TrainedGroup", "label_outcomes", "print_progress"]

LabelOutcome = tuple[int, Status, float]  # label, status and optimality of a fit
TrainedGroup = tuple[np.ndarray, dict[str, Any]]  # labels trained together, and their state


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

        Parameters
        ----------
        C : Tensor of shape (n_labels,)
            Inverse regularisation strengths.
        start : Params or None
            Initial parameters of all labels, (n_labels, 1, n_columns) and (n_labels, 1).
        penalties : sequence of Options or None, default=None
            Options with the penalties of the labels; None: those of the problem.
        penalty : ndarray of shape (n_labels,), int, or None, default=None
            Place of each label's penalty among ``penalties``.
        verbose : bool
            Whether to print a line per iteration.

        Returns
        -------
        fits : FitResult
            Models of all labels.
        trained : list of TrainedGroup
            Groups of labels that were trained together in mini-batches.
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
