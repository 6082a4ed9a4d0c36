"""Fit the binary problems of all labels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators.certificate import warn_unless_all_converged
from skorch_logreg.estimators.multilabel import per_label
from skorch_logreg.estimators.multilabel.binary_problems import BinaryProblems, LabelResults
from skorch_logreg.estimators.multilabel.validate import can_train_together
from skorch_logreg.exceptions import ConstantLabelWarning, warn_user
from skorch_logreg.fitting import Params, Progress
from skorch_logreg.fitting.batch import BatchFitter, Models
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.torch_context import seed_of
from skorch_logreg.inputs.validate import FitInput

__all__ = ["LabelProblem", "ProgressPrinter", "make_binary_problems", "warn"]


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
    seed: int = 0

    @classmethod
    def of(
        cls,
        model: Any,
        inputs: FitInput,
        estimator: Any,
        resolved: Options,
        part: bool = False,
    ) -> "LabelProblem":
        """Create the problem of a `MultiLabel` fit.

        ``estimator`` has the parameters of every label's fit, ``resolved`` its penalty and solver.
        With ``part``, these are only some of the rows, as in `partial_fit`.
        """
        problem = inputs.problem(estimator, resolved)
        design = problem.design(inputs.X, inputs.device)
        device = design.device if isinstance(design, Tensor) else torch.device("cpu")
        return cls(
            make_binary_problems(model, inputs, estimator, resolved.solver, device, part=part),
            problem,
            design,
            estimator.tol,
            estimator.max_iter,
            seed=seed_of(estimator.random_state) if resolved.trains else 0,
        )

    def fitter(
        self,
        columns: Callable[[np.ndarray], tuple[Tensor, Tensor | None]] | None = None,
        *,
        penalties: Sequence[Options] | None = None,
        report: Callable[[np.ndarray], Any] | None = None,
    ) -> BatchFitter:
        """Build the fitter of the labels.

        Parameters
        ----------
        columns, report : callable
            As in `BatchFitter`; by default the columns are the labels.
        penalties : sequence of Options or None, default=None
            Options with the penalties of the models; None: those of the problem.
        """
        return self.problem.batch_fitter(
            self.design,
            self.binary_problems.targets_and_weights if columns is None else columns,
            self.binary_problems.max_models,
            penalties=penalties,
            report=report,
            tol=self.tol,
            max_iter=self.max_iter,
            bound=False,
            seed=self.seed,
        )

    def fit(
        self,
        C: Tensor,
        start: Params | None = None,
        *,
        penalties: Sequence[Options] | None = None,
        penalty: np.ndarray | None = None,
        verbose: bool = False,
    ) -> LabelResults:
        """Fit all labels but the constant ones.

        Parameters
        ----------
        C : Tensor of shape (n_labels,)
            Inverse regularisation strengths.
        start : Params or None
            Initial parameters of all labels, (n_labels, 1, n_columns) and (n_labels, 1).
        penalties : sequence of Options or None, default=None
            As in `fitter`.
        penalty : ndarray of shape (n_labels,), int, or None, default=None
            Place of each label's penalty among ``penalties``.
        verbose : bool
            Whether to print a line per iteration.
        """
        constant, device = self.binary_problems.constant, self.binary_problems.device
        label_results = LabelResults(self.problem, constant, device)
        labels = np.flatnonzero(constant == 0)
        fitter = self.fitter(
            penalties=penalties,
            report=(lambda part: ProgressPrinter(labels[part])) if verbose else None,
        )
        models = Models(
            labels,
            C[labels],
            None if penalty is None else penalty[labels],
            start=start and Params(start.coef[labels], start.intercept[labels]),
        )
        for part in fitter.batches(models):
            label_results.store(labels[part], fitter.fit(models, part))
        return label_results


def make_binary_problems(
    model: Any,
    inputs: FitInput,
    estimator: Any,
    solver: Any,
    device: torch.device,
    *,
    part: bool = False,
) -> BinaryProblems:
    """Create the binary problems of a `MultiLabel` fit.

    `class_weight` and `label_smoothing` of ``estimator`` apply, and ``solver`` decides whether
    labels are trained together. With ``part``, these are only some of the rows, whose targets are
    not counted.
    """
    labels = inputs.labels
    sample_weight, class_weights = per_label.class_weights(
        model.class_weight, estimator.class_weight, labels, inputs.weight
    )
    budget = model.memory_budget
    if budget is None:
        budget = getattr(estimator, "memory_budget", None)
    n_samples, n_features = inputs.X.shape[:2]
    max_models = 1
    if can_train_together(solver):
        max_models = fitting.models_at_once(int(n_samples), int(n_features), 1, budget)
    problems = BinaryProblems(
        labels,
        None if sample_weight is None else sample_weight.to(device),
        None if class_weights is None else class_weights.weights.to(device),
        np.zeros(labels.n_labels, dtype=int),
        max_models,
        device,
        torch.zeros(labels.n_labels, dtype=torch.float64, device=device),
        # a TorchLogisticClassifierCV lacks the parameter
        float(getattr(estimator, "label_smoothing", 0.0)),
    )
    return problems if part else problems.count(class_weights)


class ProgressPrinter:
    """Callback that prints a line per iteration.

    Parameters
    ----------
    labels : ndarray
        Labels of the batch.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels

    def __call__(self, progress: Progress) -> bool:
        """Print the progress; return False, so that the solve continues."""
        text = (
            f"iteration {progress.n_iter}: {len(progress.optimality)} of {len(self._labels)} at "
            f"work, largest optimality {float(progress.optimality.max()):.3g}"
        )
        if bool(progress.optimality.isnan().all()):
            text = f"epoch {progress.n_iter}: mean objective {float(progress.value.mean()):.6g}"
        print(f"[MultiLabel] labels {self._labels[0]} to {self._labels[-1]}, {text}", flush=True)
        return False


def warn(estimator: Any, label_problem: LabelProblem, found: Any, several: bool = False) -> None:
    """Warn of constant labels and of labels that have not converged.

    With ``several``, a label has several fits, and ``found`` is a `CVResult`.
    """
    labels, constant = label_problem.binary_problems.labels, label_problem.binary_problems.constant
    if constant.any():
        values = [
            f"always {value}: {labels.describe(np.flatnonzero(constant == sign))}"
            for value, sign in ((0, -1), (1, 1))
            if (constant == sign).any()
        ]
        warn_user(
            f"{np.count_nonzero(constant)} of {labels.n_labels} labels have one value in all rows "
            f"that count and get it with certainty ({'; '.join(values)}).",
            ConstantLabelWarning,
        )
    final_points, failed, what = (
        (found.final_points, found.failed, "models of labels")
        if several
        else (found.final_points(), found.failed(), "labels")
    )
    what = f"{what} ({labels.describe(np.flatnonzero(failed))})"
    warn_unless_all_converged(estimator, final_points, what, label_problem.problem.dtype)
