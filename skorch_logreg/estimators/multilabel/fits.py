"""Many labels under one penalty, solved batch by batch."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators import validation_split, weights
from skorch_logreg.estimators.multilabel import per_label
from skorch_logreg.estimators.multilabel.company import Company, Fits
from skorch_logreg.estimators.multilabel.given import Given
from skorch_logreg.estimators.multilabel.training import goes_side_by_side
from skorch_logreg.estimators.options import Options
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.fitting import Params, Progress, Solution
from skorch_logreg.solvers import MiniBatch

__all__ = ["LabelProblem", "Reporter", "company_of"]


@dataclass(frozen=True)
class LabelProblem:
    """What is solved for every label, under one penalty.

    Parameters
    ----------
    company : Company
    problem : Problem
        Of one label.
    design : object
        ``problem.design`` of the rows.
    factor : Tensor of shape (n_features,) or None
        Penalty of each feature.
    tol : float
    max_iter : int
    seed : int, default=0
        Of the order of mini-batches.
    """

    company: Company
    problem: Problem
    design: Any
    factor: Tensor | None
    tol: float
    max_iter: int
    seed: int = 0

    @classmethod
    def of(
        cls, model: Any, given: Given, estimator: Any, chosen: Options, part: bool = False
    ) -> "LabelProblem":
        """State the fits of `MultiLabel` in the core's terms.

        Parameters
        ----------
        model : MultiLabel
        given : Given
        estimator : TorchLogisticClassifier or TorchLogisticClassifierCV
        chosen : Options
        part : bool, default=False
            Whether there are more rows than these.
        """
        problem = Problem.of(
            estimator,
            chosen,
            given.namespace,
            given.X,
            2,
            given.labels.is_soft or _label_smoothing(estimator) > 0,
        )
        factor = weights.check_penalty_factor(estimator.penalty_factor, problem.n_features)
        design = problem.design(given.X, given.device)
        device = design.device if isinstance(design, Tensor) else torch.device("cpu")
        trains = isinstance(chosen.solver, MiniBatch)
        return cls(
            company_of(model, given, estimator, chosen.solver, device, part),
            problem,
            design,
            factor,
            estimator.tol,
            estimator.max_iter,
            seed=validation_split.seed_of(estimator.random_state) if trains else 0,
        )

    def under(self, options: Options) -> "LabelProblem":
        """Return the same problem under another penalty."""
        return replace(self, problem=replace(self.problem, options=options))

    def models(
        self,
        targets: Tensor,
        weight: Tensor | None,
        C: Tensor,
        start: Params | None = None,
        report: Any = None,
    ) -> Solution:
        """Solve binary models with targets (n_samples, m) and C (m,)."""
        device = self.company.device
        return fitting.fit(
            self.problem.data_from_design(self.design, targets, weight),
            self.problem.loss,
            self.problem.penalty(self.factor, device),
            C=C.to(device),
            fit_intercept=self.problem.has_free_intercept,
            solver=self.problem.options.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            start=None if start is None else Problem.to_device(device, start),
            callback=report,
            bound=False,
            seed=self.seed,
        )

    def fit(
        self,
        fits: Fits,
        C: Tensor,
        start: Params | None = None,
        *,
        among: np.ndarray | None = None,
        verbose: bool = False,
    ) -> None:
        """Fit labels, some or all, and enter them into ``fits``.

        Parameters
        ----------
        fits : Fits
        C : Tensor of shape (n_labels,)
        start : Params or None
            Of all labels: (n_labels, 1, n_columns) and (n_labels, 1).
        among : ndarray of int or None
            Labels to fit; None: all.
        verbose : bool
            Whether to print a line an iteration.
        """
        for part in self.company.batches(among):
            own = None if start is None else Params(start.coef[part], start.intercept[part])
            report = Reporter(part) if verbose else None
            fits.keep(part, self.models(*self.company.cells(part), C[part], own, report))


def company_of(
    model: Any,
    given: Given,
    estimator: Any,
    solver: Any,
    device: torch.device,
    part: bool = False,
) -> Company:
    """Count the cells of the labels of `MultiLabel`, but for a part of the rows.

    Parameters
    ----------
    model : MultiLabel
    given : Given
    estimator : classifier
        Whose `class_weight` and `label_smoothing` these are.
    solver : str or Solver
        That takes so many labels at once.
    device : torch.device
    part : bool, default=False
    """
    rows, class_weights = per_label.class_weights(
        model.class_weight, estimator.class_weight, given.labels, given.weight
    )
    budget = model.memory_budget
    if budget is None:
        budget = getattr(estimator, "memory_budget", None)
    n_samples, n_features = given.X.shape[:2]
    at_once = 1
    if goes_side_by_side(solver):
        at_once = fitting.models_at_once(int(n_samples), int(n_features), 1, budget)
    return (Company.of_part if part else Company.of)(
        given.labels,
        rows,
        class_weights,
        at_once=at_once,
        device=device,
        label_smoothing=_label_smoothing(estimator),
    )


def _label_smoothing(estimator: Any) -> float:
    """Return what a TorchLogisticClassifierCV has not."""
    return float(getattr(estimator, "label_smoothing", 0.0))


class Reporter:
    """Prints a line an iteration.

    Parameters
    ----------
    labels : ndarray
        Of the batch.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels

    def __call__(self, progress: Progress) -> bool:
        """Print it, and go on."""
        text = (
            f"iteration {progress.n_iter}: {len(progress.optimality)} of {len(self._labels)} at "
            f"work, largest optimality {float(progress.optimality.max()):.3g}"
        )
        if bool(progress.optimality.isnan().all()):
            text = f"epoch {progress.n_iter}: mean objective {float(progress.value.mean()):.6g}"
        print(f"[MultiLabel] labels {self._labels[0]} to {self._labels[-1]}, {text}", flush=True)
        return False
