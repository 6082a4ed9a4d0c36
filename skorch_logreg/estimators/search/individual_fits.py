"""Fit candidates one by one, as scikit-learn does, if they cannot be solved together."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from joblib.logger import short_format_time
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection._validation import _fit_and_score
from sklearn.utils.parallel import Parallel, delayed

from skorch_logreg.estimators.search.results import BatchResults
from skorch_logreg.estimators.search.scores import SearchData


def complete(
    data: SearchData, batched: BatchResults, candidates: Sequence[Mapping[str, Any]], context: Any
) -> list[dict[str, Any]]:
    """Fit the candidates that batches have left, and report and return the results of all.

    They are in scikit-learn's order. ``context`` is the callback context of the search, or None.
    """
    search, splits = data.search, batched.splits
    pairs = [(number, fold) for number in range(len(candidates)) for fold in range(len(splits))]
    missing = [pair for pair in pairs if not batched.has(pair[0])]
    has_callbacks = bool(getattr(search, "_skl_callbacks", None))
    has_tasks = context is not None and (has_callbacks or missing)
    contexts = {
        pair: context.subcontext(task_name="candidate-split-evaluation", task_id=task_id)
        for task_id, pair in enumerate(pairs if has_tasks else ())
    }
    solved = [pair for pair in pairs if batched.has(pair[0])]
    for number, fold in solved if has_callbacks or search.verbose > 1 else ():
        if contexts:
            train, _ = splits[fold]
            X, y = data.rows(train)
            weight = data.fit_params(train).get("sample_weight")
            metadata = None if weight is None else {"sample_weight": weight}
            own = contexts[number, fold]
            own.call_on_fit_task_begin(estimator=search, X=X, y=y, metadata=metadata)
            own.call_on_fit_task_end(estimator=search, X=X, y=y, metadata=metadata)
        if search.verbose > 1:
            places = (fold + 1, len(splits)), (number + 1, len(candidates))
            _print(search.verbose, candidates[number], batched.get(number, fold), places)
    jobs = (
        delayed(_fit_and_score)(
            _unfitted(search.estimator, batched, number),
            data.X,
            data.y,
            scorer=data.scorer,
            train=splits[fold][0],
            test=splits[fold][1],
            verbose=search.verbose,
            parameters=candidates[number],
            fit_params=data.routed.estimator.fit,
            score_params=data.routed.scorer.score,
            return_train_score=search.return_train_score,
            return_n_test_samples=True,
            return_times=True,
            split_progress=(fold, len(splits)),
            candidate_progress=(number, len(candidates)),
            error_score=search.error_score,
            **({"caller": search, "callback_ctx": contexts[number, fold]} if contexts else {}),
        )
        for number, fold in missing
    )
    found = Parallel(search.n_jobs, pre_dispatch=search.pre_dispatch)(jobs) if missing else ()
    fitted = dict(zip(missing, found, strict=True))
    return [fitted[pair] if pair in fitted else batched.get(*pair) for pair in pairs]


def _unfitted(estimator: Any, batched: BatchResults, candidate_index: int) -> Any:
    own = clone(estimator)
    return own if batched.in_memory else _FailedFit(own, batched.errors[candidate_index])


class _FailedFit(BaseEstimator):
    """Estimator whose fit to rows that are not in memory has raised an error."""

    def __init__(self, estimator: Any, error: Exception) -> None:
        self.estimator, self.error = estimator, error

    def set_params(self, **params: Any) -> Self:
        self.estimator.set_params(**params)
        return self

    def fit(self, X: Any, y: Any, **params: Any) -> None:
        raise self.error.with_traceback(None)  # each fit would add to it


def _print(
    verbose: int,
    parameters: Mapping[str, Any],
    result: dict[str, Any],
    places: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    """Print what scikit-learn prints of a fit; ``places`` are numbers of the fold and candidate."""
    fold, candidate = (f"{number}/{total}" for number, total in places)
    progress = (f" {fold}" if verbose > 2 else "") + (f"; {candidate}" if verbose > 9 else "")
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
