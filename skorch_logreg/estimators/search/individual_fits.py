"""Fit candidates one by one, as scikit-learn does, if they cannot be solved together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joblib.logger import short_format_time
from sklearn.base import clone
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils.parallel import Parallel, delayed

from skorch_logreg.estimators.search.results import BatchResults
from skorch_logreg.estimators.search.scores import SearchData


@dataclass(frozen=True)
class IndividualFits:
    """Individual fits that complete the results of batches, and the report of both."""

    data: SearchData
    splits: Sequence[tuple[Any, Any]]
    candidates: Sequence[Mapping[str, Any]]

    def complete(self, batched: BatchResults, context: Any) -> list[dict[str, Any]]:
        """Return the results of every candidate in every fold, in scikit-learn's order.

        ``context`` is the callback context of the search, or None.
        """
        search = self.data.search
        pairs = [(p, f) for p in range(len(self.candidates)) for f in range(len(self.splits))]
        missing = [pair for pair in pairs if not batched.has(pair[0])]
        has_callbacks = bool(getattr(search, "_skl_callbacks", None))
        contexts = {}
        if context is not None and (has_callbacks or missing):
            contexts = {
                pair: context.subcontext(task_name="candidate-split-evaluation", task_id=task_id)
                for task_id, pair in enumerate(pairs)
            }
        if has_callbacks or search.verbose > 1:
            for pair in pairs:
                if batched.has(pair[0]):
                    self._report(*pair, batched.get(*pair), contexts.get(pair))
        fitted = dict(zip(missing, self._fit(missing, contexts), strict=True)) if missing else {}
        return [fitted[pair] if pair in fitted else batched.get(*pair) for pair in pairs]

    def _fit(self, pairs: list[tuple[int, int]], contexts: dict[Any, Any]) -> list[dict[str, Any]]:
        data, search = self.data, self.data.search
        base = clone(search.estimator)
        jobs = (
            delayed(_fit_and_score)(
                clone(base),
                data.X,
                data.y,
                scorer=data.scorer,
                train=self.splits[fold][0],
                test=self.splits[fold][1],
                verbose=search.verbose,
                parameters=self.candidates[candidate_index],
                fit_params=data.routed.estimator.fit,
                score_params=data.routed.scorer.score,
                return_train_score=search.return_train_score,
                return_n_test_samples=True,
                return_times=True,
                split_progress=(fold, len(self.splits)),
                candidate_progress=(candidate_index, len(self.candidates)),
                error_score=search.error_score,
                **(
                    {"caller": search, "callback_ctx": contexts[candidate_index, fold]}
                    if contexts
                    else {}
                ),
            )
            for candidate_index, fold in pairs
        )
        with Parallel(n_jobs=search.n_jobs, pre_dispatch=search.pre_dispatch) as parallel:
            found: list[dict[str, Any]] = parallel(jobs)
        return found

    def _report(
        self, candidate_index: int, fold: int, result: dict[str, Any], context: Any
    ) -> None:
        """Call the callbacks for a fit of a batch, and print what an individual fit would print."""
        search = self.data.search
        if context is not None:
            X, y = self.data.rows(self.splits[fold][0])
            weight = self.data.fit_params(self.splits[fold][0]).get("sample_weight")
            metadata = None if weight is None else {"sample_weight": weight}
            context.call_on_fit_task_begin(estimator=search, X=X, y=y, metadata=metadata)
            context.call_on_fit_task_end(estimator=search, X=X, y=y, metadata=metadata)
        if search.verbose > 1:
            self._print(candidate_index, fold, result)

    def _print(self, candidate_index: int, fold: int, result: dict[str, Any]) -> None:
        """Print a line in scikit-learn's format."""
        verbose, parameters = self.data.search.verbose, self.candidates[candidate_index]
        progress = f" {fold + 1}/{len(self.splits)}" if verbose > 2 else ""
        if verbose > 9:
            progress += f"; {candidate_index + 1}/{len(self.candidates)}"
        settings = ", ".join(f"{name}={parameters[name]}" for name in sorted(parameters))
        if verbose > 9:
            print(f"[CV{progress}] START {settings}".ljust(80, "."))
        text = settings + (";" if settings else "")
        if verbose > 2:
            text += _format_scores(result["test_scores"], result.get("train_scores"))
        text += f" total time={short_format_time(result['fit_time'] + result['score_time'])}"
        print(f"[CV{progress}] END ".ljust(80 - len(text), ".") + text)


def _format_scores(test: Any, train: Any) -> str:
    if not isinstance(test, dict):
        score = f"(train={train:.3f}, test={test:.3f})" if train is not None else f"{test:.3f}"
        return f", score={score}"
    parts = []
    for name in sorted(test):
        before = f"train={train[name]:.3f}, " if train is not None else ""
        parts.append(f" {name}: ({before}test={test[name]:.3f})")
    return "".join(parts)
