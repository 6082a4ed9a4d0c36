"""Results of the candidates that were solved in batches."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from skorch_logreg.estimators.certificate import warn_unless_all_converged
from skorch_logreg.exceptions import ConstantLabelWarning, warn_user
from skorch_logreg.fitting import Status

__all__ = ["BatchResults", "FitStatuses"]

_MAX_STORED_COEFS = 1 << 24  # coefficients of all models that are kept to start the refit from


@dataclass(frozen=True)
class FitStatuses:
    """Status and optimality of the fits of a batch, and the index of a candidate of each fit.

    ``final`` has the `max_iter` and `tol` of the fits, ``dtype`` is the name of the data's.
    """

    candidate_indices: Sequence[int]
    status: Sequence[Status]
    optimality: Sequence[float]
    final: Any
    dtype: str


@dataclass
class BatchResults:
    """Results by candidate and fold, and the warnings about them.

    Parameters
    ----------
    n_splits : int
        Number of folds.
    """

    n_splits: int
    _results: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    _statuses: list[FitStatuses] = field(default_factory=list)
    _models: dict[int, list[tuple[Any, int]]] = field(default_factory=dict)
    _n_stored: int = 0
    _constant: set[tuple[int, int]] = field(default_factory=set)

    def add(self, candidate_index: int, fold: int, result: dict[str, Any]) -> None:
        """Add a result in the format of scikit-learn's `_fit_and_score`."""
        self._results.setdefault(candidate_index, {})[fold] = {"fit_error": None, **result}

    def add_fits(self, statuses: FitStatuses, fold: int, constant: Sequence[int]) -> None:
        """Add the statuses of fits and the labels that have one value in a fold, for `warn`."""
        self._statuses.append(statuses)
        self._constant.update((fold, int(label)) for label in constant)

    def store_models(self, batch: Any) -> None:
        """Store the models for the refit, up to a limit on their size."""
        self._n_stored += batch.solution.params.coef.numel()
        if self._n_stored <= _MAX_STORED_COEFS:
            batch = batch.without_logits()
            for setting, served in enumerate(batch.settings):
                for candidate in served:
                    self._models.setdefault(candidate.index, []).append((batch, setting))

    def fitted(self, candidate_index: int) -> dict[str, Any] | None:
        """Return a candidate's fitted attributes on all rows; None if no batch has them."""
        models = self._models.get(candidate_index, ()) if self.has(candidate_index) else ()
        for batch, setting in models:
            if len(batch.columns) > len(batch.folds):
                fitted = batch.fitted(batch.columns[-1], setting)
                return fitted if fitted["converged_"] else None
        return None

    def start(self, candidate_index: int) -> dict[str, Any] | None:
        """Return the mean of a candidate's coefficients over the folds, to start the refit from."""
        models = self._models.get(candidate_index)
        if not models or not self.has(candidate_index):
            return None
        sums = [batch.sum_over_folds(setting) for batch, setting in models]
        coef, intercept = zip(*sums, strict=True)
        n_folds = sum(len(batch.folds) for batch, _ in models)
        return {
            "coef_": (sum(coef) / n_folds).cpu().numpy(),
            "intercept_": (sum(intercept) / n_folds).cpu().numpy(),
        }

    def has(self, candidate_index: int, n_folds: int | None = None) -> bool:
        """Return True if a candidate has results in all folds, or in ``n_folds`` of them."""
        return len(self._results.get(candidate_index, ())) == (
            self.n_splits if n_folds is None else n_folds
        )

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
        failed: list[tuple[float, FitStatuses]] = []
        final_points: list[tuple[Status, float]] = []
        for statuses in self._statuses:
            for candidate_index, status, reached in zip(
                statuses.candidate_indices, statuses.status, statuses.optimality, strict=True
            ):
                if not self.has(candidate_index):
                    continue  # the candidate was fitted individually
                final_points.append((status, reached))
                if status is not Status.CONVERGED:
                    failed.append((reached, statuses))
        if failed:
            _, worst = max(failed, key=lambda fit: fit[0])
            what = "fits of the search"
            warn_unless_all_converged(worst.final, final_points, what, worst.dtype)
