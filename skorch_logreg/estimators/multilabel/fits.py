"""Many labels under one penalty, solved batch by batch."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.data import from_arrays
from skorch_logreg.estimators.multilabel.company import Company, Fits
from skorch_logreg.estimators.options import Options
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.fitting import Params, Progress, Solution

__all__ = ["LabelProblem"]


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
    """

    company: Company
    problem: Problem
    design: Any
    factor: Tensor | None
    tol: float
    max_iter: int

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
            from_arrays(self.design, targets, weight),
            self.problem.loss,
            self.problem.penalty(self.factor, device),
            C=C.to(device),
            fit_intercept=self.problem.core_intercept,
            solver=self.problem.options.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            start=None if start is None else Problem.on(device, start),
            callback=report,
            bound=False,
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
            report = _Reporter(part) if verbose else None
            fits.keep(part, self.models(*self.company.cells(part), C[part], own, report))


class _Reporter:
    """Prints a line an iteration.

    Parameters
    ----------
    labels : ndarray
        Of the batch.
    """

    def __init__(self, labels: np.ndarray) -> None:
        self._labels = labels

    def __call__(self, progress: Progress) -> bool:
        print(
            f"[MultiLabel] labels {self._labels[0]} to {self._labels[-1]}, iteration "
            f"{progress.n_iter}: {len(progress.optimality)} of {len(self._labels)} at work, "
            f"largest optimality {float(progress.optimality.max()):.3g}",
            flush=True,
        )
        return False
