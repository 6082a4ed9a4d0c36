"""From groups of candidates to their results: what is solved together, and on which rows."""

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import (
    _check_method_params,
    _num_samples,
    column_or_1d,
)

from skorch_logreg import fitting
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.scoring import FoldRows
from skorch_logreg.estimators.search.batches import Batch, Design, solve
from skorch_logreg.estimators.search.candidates import Candidate, Group
from skorch_logreg.estimators.search.label_batches import LabelDesign, Labelled, solve_labels
from skorch_logreg.estimators.search.results import Ends, SearchResults
from skorch_logreg.estimators.search.scores import Behind, CandidateScores, Held
from skorch_logreg.estimators.targets import encode
from skorch_logreg.estimators.validate import validate_rows

__all__ = ["Evaluation"]

_SMALL = 1 << 18  # numbers that a pass reads or makes, about 0.2 ms


@dataclass(frozen=True)
class Evaluation:
    """The rows of a search, and what is done with a group of candidates on them.

    Parameters
    ----------
    splits : sequence of (train, test)
    scores : CandidateScores
    fit_params : dict
        For the estimator's `fit`; values as long as X are split like it.
    return_train_score : bool
    refit : bool
        Whether the best candidate will be fitted to all rows.
    results : SearchResults
        What is found goes there. A candidate that a batch cannot take gets none, or none in
        some folds.
    """

    splits: Sequence[tuple[Any, Any]]
    scores: CandidateScores
    fit_params: dict[str, Any]
    return_train_score: bool
    refit: bool
    results: SearchResults

    def run(self, groups: Sequence[Group]) -> None:
        """Evaluate all groups."""
        if not self.splits:
            return
        n_candidates = sum(len(group.candidates) for group in groups)
        designs: dict[int, Any] = {}
        for group in groups:
            if group.network is not None and not self.scores.wants_predictions_alone:
                continue
            if not group.is_alone:
                self._fold_by_fold(group)
                continue
            started = time.perf_counter()
            design = designs.get(id(group.network))
            if design is None:
                try:
                    design = self._all_folds(group)
                except Exception:  # of any kind: ordinary fits meet it again
                    continue
                with_all = self.refit and group.network is None and isinstance(design, Design)
                if with_all and _is_small(design, n_candidates):
                    design = design.with_all_rows()
                designs[id(group.network)] = design
            if isinstance(design, LabelDesign):
                self._labels(group, design, group.candidates, 0, None, started)
            else:
                self._classes(group, design, started)

    def _all_folds(self, group: Group) -> Any:
        """Validate rows once for all folds, which are nothing but weights."""
        n_samples = _num_samples(self.scores.X)
        counts = FoldRows.of([train for train, _ in self.splits], n_samples).counts(n_samples)
        kind = LabelDesign if type(group.final) is MultiLabel else Design
        (X,) = group.columns(self.scores.X, self.scores.y)
        return kind.of(group.final, X, self.scores.y, counts=counts, **self.fit_params)

    def _classes(self, group: Group, design: Design, started: float) -> None:
        """Solve a classifier alone: all folds share a batch, as far as memory allows."""
        n_samples, n_splits = _num_samples(self.scores.X), len(self.splits)
        at_once = fitting.models_at_once(n_samples, design.X.shape[1], design.n_outputs)
        for first in range(0, n_splits, at_once):
            folds = range(first, min(first + at_once, n_splits))
            splits = self.splits[first : folds.stop]
            rows = {"test": FoldRows.of([test for _, test in splits], n_samples)}
            if self.return_train_score:
                rows["train"] = FoldRows.of([train for train, _ in splits], n_samples)
            part = design if len(folds) == n_splits else design.of_folds(first, folds.stop)
            for batch in solve(group.final, group.candidates, part):
                held = {
                    name: Held(
                        some.take(batch.logits).to(batch.dtype),
                        design.targets.index[some.rows],
                        some,
                    )
                    for name, some in rows.items()
                }
                if self.refit and group.network is None:
                    self.results.keep(batch)
                self._score(batch, held, group.final, None, folds, started)
                started = time.perf_counter()

    def _fold_by_fold(self, group: Group) -> None:
        """Fit the transformers once a fold, and all classifiers on what comes out of them."""
        remaining = group.candidates
        for fold, (train, test) in enumerate(self.splits):
            started = time.perf_counter()
            try:
                behind, (X, y, params) = self._transformed(group, train, test)
                X, X_test = group.columns(X, y, behind.test)
                if type(group.final) is MultiLabel:
                    design: Any = LabelDesign.of(group.final, X, y, **params)
                else:
                    design = Design.of(group.final, X, y, **params)
                    rows = self._rows(design, train, test)
                X_test = validate_rows(group.final, X_test, reset=False)
            except Exception:  # of any kind, as transformers are; ordinary fits meet it again
                return
            if isinstance(design, LabelDesign):
                self._labels(group, design, remaining, fold, behind, started)
            else:
                for batch in solve(group.final, remaining, design):
                    logits = {"test": batch.logits_on(X_test), "train": batch.solution.logits}
                    held = {
                        name: Held(logits[name].to(batch.dtype), index, some)
                        for name, (some, index) in rows.items()
                    }
                    folds = range(fold, fold + 1)
                    self._score(batch, held, group.final, behind, folds, started)
                    started = time.perf_counter()
            remaining = tuple(c for c in remaining if self.results.has(c.place, fold + 1))

    def _transformed(
        self, group: Group, train: Any, test: Any
    ) -> tuple[Behind, tuple[Any, Any, dict[str, Any]]]:
        """Fit the transformers; what the last step gets is noted by one that fits nothing."""
        scores = self.scores
        pipeline = clone(group.estimator)
        name, final = pipeline.steps[-1]
        noted: list[Any] = []
        recorder = copy(final)
        recorder.fit = lambda X, y, **params: noted.extend((X, y, params))
        recorder.predict = lambda X: X
        recorder.seen_ = True
        pipeline.steps[-1] = (name, recorder)
        X, y = _safe_split(scores.estimator, scores.X, scores.y, train)
        pipeline.fit(X, y, **_check_method_params(scores.X, self.fit_params, indices=train))
        X_test, _ = _safe_split(scores.estimator, scores.X, scores.y, test, train)
        X, y, params = noted
        return Behind(pipeline, X, pipeline.predict(X_test)), (X, y, params)

    def _rows(self, design: Design, train: Any, test: Any) -> dict[str, Any]:
        """Rows to score in a fold, with their class indices."""
        targets = encode(column_or_1d(self.scores.y))
        if not np.array_equal(targets.classes, design.targets.classes):
            raise ValueError("A fold lacks a class: it is another model then.")
        parts = {"test": test} | ({"train": train} if self.return_train_score else {})
        found = {n: FoldRows.of([part], _num_samples(self.scores.X)) for n, part in parts.items()}
        return {name: (some, targets.index[some.rows]) for name, some in found.items()}

    def _score(
        self,
        batch: Batch,
        held: dict[str, Held],
        final: Any,
        behind: Behind | None,
        folds: range,
        started: float,
    ) -> None:
        """Score a batch and enter its results, its time shared evenly among them."""
        solved = time.perf_counter()
        tested = self.scores(batch, held["test"], final, behind)
        scored = time.perf_counter()
        trained = self.scores(batch, held["train"], final, behind) if "train" in held else None
        n_results = batch.n_candidates * len(folds)
        fit_time, score_time = (solved - started) / n_results, (scored - solved) / n_results
        for place, by_fold in tested.items():
            for i, fold in enumerate(folds):
                result = {"test_scores": by_fold[i]}
                if trained is not None:
                    result["train_scores"] = trained[place][i]
                result |= {
                    "n_test_samples": held["test"].rows.lengths[i],
                    "fit_time": fit_time,
                    "score_time": score_time,
                }
                self.results.enter(place, fold, result)
        places = [model[0].place for model in batch.models] * len(folds)
        status = batch.solution.status[: len(places)]
        optimality = batch.solution.optimality[: len(places)].tolist()
        self._add_ends(places, status, optimality, final, batch.problem.dtype)

    def _add_ends(self, places: Any, status: Any, optimality: Any, final: Any, dtype: Any) -> None:
        name = str(dtype).removeprefix("torch.")
        ends = Ends(places, status, optimality, final.max_iter, final.tol, name)
        self.results.add_ends(ends)

    def _labels(
        self,
        group: Group,
        design: LabelDesign,
        candidates: Sequence[Candidate],
        first_fold: int,
        behind: Behind | None,
        started: float,
    ) -> None:
        """Solve and score models of many labels."""
        for together in solve_labels(group.final, candidates, design):
            elapsed = time.perf_counter() - started
            fit_time = elapsed / sum(len(labelled.models) for labelled in together)
            for labelled in together:
                self._score_labels(labelled, labelled.fold + first_fold, behind, fit_time)
            started = time.perf_counter()

    def _score_labels(
        self, labelled: Labelled, fold: int, behind: Behind | None, fit_time: float
    ) -> None:
        train, test = self.splits[fold]
        tests = self.scores.rows(test)
        trains = self.scores.rows(train) if self.return_train_score else None
        for place, model in labelled.models.items():
            begun = time.perf_counter()
            result = {"test_scores": self.scores.of_model(model, *tests, behind, "test")}
            score_time = time.perf_counter() - begun
            if trains is not None:
                result["train_scores"] = self.scores.of_model(model, *trains, behind, "train")
            result |= {
                "n_test_samples": _num_samples(tests[0]),
                "fit_time": fit_time,
                "score_time": score_time,
            }
            self.results.enter(place, fold, result)
        self.results.add_constant(fold, labelled.constant)
        place, model = next(iter(labelled.models.items()))
        status, optimality = zip(*labelled.ends, strict=True)
        places = [place] * len(status)
        self._add_ends(places, status, optimality, model.estimator, model.coef_.dtype)


def _is_small(design: Design, n_candidates: int) -> bool:
    """Whether a fit's fixed cost is larger than that of a further model for every candidate."""
    n_samples, n_features = design.X.shape
    return n_samples * (n_features + 8 * design.n_outputs) * n_candidates <= _SMALL
