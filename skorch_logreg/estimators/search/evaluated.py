"""Evaluate candidates in batches or one by one, and collect the results of a search."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.model_selection._validation import (
    _insert_error_scores,
    _warn_or_raise_about_fit_failures,
)

from skorch_logreg.estimators.search.candidates import group_candidates, refuse_checkpoints
from skorch_logreg.estimators.search.evaluation import CandidateEvaluator
from skorch_logreg.estimators.search.individual_fits import IndividualFits
from skorch_logreg.estimators.search.results import BatchResults
from skorch_logreg.estimators.search.scores import CandidateScorer
from skorch_logreg.inputs.torch_context import default_torch_state

__all__ = ["EvaluatedCandidates"]


@dataclass
class EvaluatedCandidates:
    """Function that evaluates candidates, and the results of all candidates so far, in order.

    It is scikit-learn's ``evaluate_candidates``, which a search may call several times.
    """

    search: Any
    splitter: Any
    routed: Any
    candidate_scorer: CandidateScorer
    candidates: list[Mapping[str, Any]] = field(default_factory=list)
    fold_results: list[dict[str, Any]] = field(default_factory=list)
    extra_results: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    sources: list[tuple[BatchResults, int]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        candidate_params: Iterable[Mapping[str, Any]],
        cv: Any = None,
        more_results: Mapping[str, Sequence[Any]] | None = None,
        callback_ctx: Any = None,
    ) -> dict[str, Any]:
        """Evaluate candidates and return ``cv_results_``."""
        search, candidates = self.search, list(candidate_params)
        refuse_checkpoints(search.estimator, candidates)
        batched, fold_results = self._evaluate(candidates, cv, callback_ctx)
        if not fold_results:
            raise ValueError(
                "No fits were performed. Was the CV iterator empty? Were there no candidates?"
            )
        batched.warn()
        _warn_or_raise_about_fit_failures(fold_results, search.error_score)
        if callable(search.scoring):
            _insert_error_scores(fold_results, search.error_score)
        self.candidates += candidates
        self.fold_results += fold_results
        self.sources += [(batched, candidate_index) for candidate_index in range(len(candidates))]
        for key, value in (more_results or {}).items():
            self.extra_results[key].extend(value)
        self.results = search._format_results(
            self.candidates, search.n_splits_, self.fold_results, self.extra_results
        )
        return self.results

    def _evaluate(
        self, candidates: list[Mapping[str, Any]], cv: Any, callback_ctx: Any
    ) -> tuple[BatchResults, list[dict[str, Any]]]:
        """Fit and score candidates in batches, and those that cannot be batched one by one."""
        search, scorer = self.search, self.candidate_scorer
        splits = list((cv or self.splitter).split(scorer.X, scorer.y, **self.routed.splitter.split))
        if len(splits) != search.n_splits_:
            raise ValueError(
                "cv.split and cv.get_n_splits return inconsistent results. "
                f"Expected {search.n_splits_} splits, got {len(splits)}"
            )
        if search.verbose > 0:
            print(
                f"Fitting {len(splits)} folds for each of {len(candidates)} candidates,"
                f" totalling {len(candidates) * len(splits)} fits"
            )
        batched = BatchResults(len(splits))
        rows = (splits, scorer, self.routed.estimator.fit)
        with default_torch_state():
            groups = group_candidates(search.estimator, candidates)
            refit = bool(search.refit)
            CandidateEvaluator(*rows, search.return_train_score, refit, batched).run(groups)
        return batched, IndividualFits(search, *rows, candidates).complete(batched, callback_ctx)

    @property
    def batched(self) -> np.ndarray:
        """Mask of the candidates that were solved in a batch."""
        return np.array([source.has(index) for source, index in self.sources], dtype=bool)

    def fitted(self, index: int) -> dict[str, Any] | None:
        """Return a candidate's fitted attributes on all rows; None if no batch has them."""
        source, candidate_index = self.sources[index]
        return source.fitted(candidate_index)

    def start(self, index: int) -> dict[str, Any] | None:
        """Return coefficients to start the refit of a candidate from."""
        source, candidate_index = self.sources[index]
        return source.start(candidate_index)
