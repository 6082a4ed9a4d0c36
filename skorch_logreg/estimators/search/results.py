"""Results of the candidates that were solved in batches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skorch_logreg.estimators.certificate import warn_unless_all_converged
from skorch_logreg.estimators.search.candidates import NotBatchedError
from skorch_logreg.exceptions import ConstantLabelWarning, ParameterError, warn_user
from skorch_logreg.fitting import Status


class FitOutcome(NamedTuple):
    """Outcome of a fit of a batch.

    ``final`` has the `max_iter` and `tol` of the fit, ``dtype`` is that of the data.
    """

    candidate_index: int
    status: Status
    optimality: float
    final: Any
    dtype: torch.dtype


@dataclass
class BatchResults:
    """Results by candidate and fold, and the warnings about them.

    ``errors`` are those of candidates without results, which individual fits may report. Rows that
    are not ``in_memory`` have no individual fits.
    """

    splits: Sequence[tuple[Any, Any]]  # training and test rows of every fold
    in_memory: bool = True
    errors: dict[int, Exception] = field(default_factory=dict)
    _results: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    _outcomes: list[FitOutcome] = field(default_factory=list)
    _sums: dict[int, list[tuple[Tensor, Tensor, int]]] = field(default_factory=dict)
    _constant: set[tuple[int, int]] = field(default_factory=set)

    def fail(self, candidates: Iterable[int], error: Exception) -> None:
        """Store the error of some candidates, or raise it if individual fits must replace them."""
        if isinstance(error, NotBatchedError) and not self.in_memory:
            raise ParameterError(
                f"{error} Such candidates are fitted one by one to copies of each fold's rows, "
                "which rows that are not in memory do not give: choose other candidates or folds."
            ) from error
        self.errors.update(dict.fromkeys(candidates, error))

    def add(self, candidate_index: int, fold: int, result: dict[str, Any]) -> None:
        """Add a result in the format of scikit-learn's `_fit_and_score`."""
        self._results.setdefault(candidate_index, {})[fold] = {"fit_error": None, **result}

    def add_fits(self, outcomes: Sequence[FitOutcome], constant: Iterable[tuple[int, int]]) -> None:
        """Add the outcomes of fits, and folds and labels that have one value there, for `warn`."""
        self._outcomes += outcomes
        self._constant.update(constant)

    def store_params(self, batch: Any) -> None:
        """Store the sums over folds of the parameters of a batch of classes."""
        params, n_folds = batch.problem.without_column(batch.solution.params), len(batch.folds)
        coef, intercept = (
            part.unflatten(0, (n_folds, -1)).sum(dim=0) for part in (params.coef, params.intercept)
        )
        for place, candidate in batch.candidates:
            own = coef[place], intercept[place], n_folds
            self._sums.setdefault(candidate.index, []).append(own)

    def start(self, candidate_index: int) -> dict[str, Any] | None:
        """Return the mean of a candidate's coefficients over the folds, to start the refit from."""
        if candidate_index not in self._sums or not self.has(candidate_index):
            return None
        coef, intercept, n_folds = zip(*self._sums[candidate_index], strict=True)
        return {
            "coef_": (sum(coef) / sum(n_folds)).cpu().numpy(),
            "intercept_": (sum(intercept) / sum(n_folds)).cpu().numpy(),
        }

    def has(self, candidate_index: int, n_folds: int | None = None) -> bool:
        """Return True if a candidate has results in all folds, or in ``n_folds`` of them."""
        expected = len(self.splits) if n_folds is None else n_folds
        return len(self._results.get(candidate_index, ())) == expected

    def get(self, candidate_index: int, fold: int) -> dict[str, Any]:
        """Return the result of a candidate in a fold."""
        return self._results[candidate_index][fold]

    def warn(self) -> None:
        """Warn once of everything that individual fits would warn of."""
        if self._constant:
            n_labels = len({label for _, label in self._constant})
            warn_user(
                f"{n_labels} labels have one value in the training rows of a fold and get it "
                f"there with certainty ({len(self._constant)} cases).",
                ConstantLabelWarning,
            )
        # a candidate without all results was fitted individually
        outcomes = [outcome for outcome in self._outcomes if self.has(outcome.candidate_index)]
        failed = [outcome for outcome in outcomes if outcome.status is not Status.CONVERGED]
        if failed:
            worst = max(failed, key=lambda outcome: outcome.optimality)
            ends = [(outcome.status, outcome.optimality) for outcome in outcomes]
            warn_unless_all_converged(worst.final, ends, "fits of the search", worst.dtype)
