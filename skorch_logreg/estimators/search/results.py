"""What batches have found out about the candidates of a search."""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg.estimators import convergence_messages
from skorch_logreg.estimators.search.batches import Batch
from skorch_logreg.exceptions import ConstantLabelWarning
from skorch_logreg.fitting import Status

__all__ = ["Ends", "Found", "SearchResults"]

_KEPT = 1 << 24  # numbers: coefficients of all models, to start the refit from


@dataclass(frozen=True)
class Ends:
    """How the fits of a batch ended.

    Parameters
    ----------
    places : sequence of int
        A candidate that each fit serves.
    status : sequence of Status
    optimality : sequence of float
    max_iter : int
    tol : float
    dtype : str
        Of the data.
    """

    places: Sequence[int]
    status: Sequence[Status]
    optimality: Sequence[float]
    max_iter: int
    tol: float
    dtype: str


@dataclass
class SearchResults:
    """Results of candidates by place and fold, and what is to be said about them.

    Parameters
    ----------
    n_splits : int
    """

    n_splits: int
    _found: dict[int, dict[int, dict[str, Any]]] = field(default_factory=dict)
    _ends: list[Ends] = field(default_factory=list)
    _models: dict[int, list[tuple[Batch, int]]] = field(default_factory=dict)
    _kept: int = 0
    _constant: set[tuple[int, int]] = field(default_factory=set)

    def enter(self, place: int, fold: int, result: dict[str, Any]) -> None:
        """Add what `_fit_and_score` would have returned."""
        self._found.setdefault(place, {})[fold] = {"fit_error": None, **result}

    def add_ends(self, ends: Ends) -> None:
        """Add how fits ended."""
        self._ends.append(ends)

    def add_constant(self, fold: int, labels: np.ndarray) -> None:
        """Add labels that have one value in a fold."""
        self._constant.update((fold, int(label)) for label in labels)

    def keep(self, batch: Batch) -> None:
        """Remember models for the refit, where they are few enough."""
        self._kept += batch.solution.params.coef.numel()
        if self._kept <= _KEPT:
            batch = batch.without_logits()
            for model, served in enumerate(batch.models):
                for candidate in served:
                    self._models.setdefault(candidate.place, []).append((batch, model))

    def fitted(self, place: int) -> dict[str, Any] | None:
        """Fitted attributes of a candidate on all rows, where a batch has them."""
        for batch, model in self._models.get(place, ()) if self.has(place) else ():
            if batch.design.n_columns > batch.design.n_folds:
                fitted = batch.fitted(batch.design.n_folds, model)
                return fitted if fitted["converged_"] else None
        return None

    def start(self, place: int) -> dict[str, Any] | None:
        """Mean over the folds of a candidate's coefficients, where the refit may start."""
        models = self._models.get(place)
        if not models or not self.has(place):
            return None
        coef, intercept = zip(*(batch.total(model) for batch, model in models), strict=True)
        n_folds = sum(batch.design.n_folds for batch, _ in models)
        return {
            "coef_": (sum(coef) / n_folds).cpu().numpy(),
            "intercept_": (sum(intercept) / n_folds).cpu().numpy(),
        }

    def has(self, place: int, n_folds: int | None = None) -> bool:
        """Whether a candidate has results in all folds, or in so many."""
        return len(self._found.get(place, ())) == (self.n_splits if n_folds is None else n_folds)

    def of(self, place: int, fold: int) -> dict[str, Any]:
        """Return what was entered for a candidate in a fold."""
        return self._found[place][fold]

    def warn(self, stacklevel: int) -> None:
        """Say, once, what separate fits would have said one by one."""
        if self._constant:
            n_labels = len({label for _, label in self._constant})
            warnings.warn(
                f"{n_labels} labels have one value in the training rows of a fold and get it "
                f"there with certainty ({len(self._constant)} cases).",
                ConstantLabelWarning,
                stacklevel=stacklevel + 1,
            )
        failed: list[tuple[float, Ends]] = []
        ended: list[tuple[Status, float]] = []
        for ends in self._ends:
            for place, status, reached in zip(
                ends.places, ends.status, ends.optimality, strict=True
            ):
                if not self.has(place):
                    continue  # it was fitted again
                ended.append((status, reached))
                if status is not Status.CONVERGED:
                    failed.append((reached, ends))
        if failed:
            _, worst = max(failed, key=lambda fit: fit[0])
            text = convergence_messages.message_for_several(
                ended,
                what="fits of the search",
                max_iter=worst.max_iter,
                tol=worst.tol,
                dtype=worst.dtype,
            )
            warnings.warn(str(text), ConvergenceWarning, stacklevel=stacklevel + 1)


@dataclass
class Found:
    """Everything that a search has evaluated, in the order of the candidates."""

    candidates: list[Mapping[str, Any]] = field(default_factory=list)
    out: list[dict[str, Any]] = field(default_factory=list)
    more: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    sources: list[tuple[SearchResults, int]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def batched(self) -> np.ndarray:
        """Whether a candidate was solved in a batch."""
        return np.array([source.has(place) for source, place in self.sources], dtype=bool)

    def fitted(self, index: int) -> dict[str, Any] | None:
        """Fitted attributes of a candidate on all rows, where a batch has them."""
        source, place = self.sources[index]
        return source.fitted(place)

    def start(self, index: int) -> dict[str, Any] | None:
        """Where the refit of a candidate may start."""
        source, place = self.sources[index]
        return source.start(place)
