"""Report of the solver's iterations to scikit-learn's callbacks and to verbose output."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skorch_logreg.fitting import Progress

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # scikit-learn 1.8 has no callbacks

    class _NoContext:
        """Callback context of a fit without callbacks."""

        def call_on_fit_task_begin(self, **_: Any) -> None:
            """Do nothing."""

        def call_on_fit_task_end(self, **_: Any) -> bool:
            """Do nothing; never ask to stop."""
            return False

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement for scikit-learn's mixin, with the one method that `fit` calls."""

        def _init_callback_context(self, **_: Any) -> _NoContext:
            return _NoContext()


__all__ = ["CallbackSupportMixin", "IterationReporter", "callback_task"]


@contextmanager
def callback_task(
    estimator: Any,
    task: dict[str, Any],
    start: Callable[[], Any],
    reconstruct: Callable[[Any], dict[str, Any]],
    *,
    n_tasks: int,
) -> Iterator["IterationReporter | None"]:
    """Run the callback task of a fit; yield a reporter of iterations, or None if none is needed.

    The parameters are those of `IterationReporter`.
    """
    context = estimator._init_callback_context(max_subtasks=n_tasks)
    context.call_on_fit_task_begin(estimator=estimator, **task)
    reporter = None
    if hasattr(estimator, "_skl_callbacks") or estimator.verbose:
        reporter = IterationReporter(context, estimator, task, start, reconstruct, n_tasks=n_tasks)
    yield reporter
    if reporter is not None:
        reporter.close()
    context.call_on_fit_task_end(estimator=estimator, **task, reconstruction_attributes={})


class IterationReporter:
    """Callable that reports an iteration or epoch; the solver calls it after each.

    The callback task of an iteration begins when the previous one ends, so that its duration is
    right. When the solver stops, one task is therefore open: `close` ends it, as scikit-learn's
    own L-BFGS does.

    Parameters
    ----------
    context : CallbackContext
    estimator : classifier
    task : dict
        X, y and metadata, as the hooks receive them.
    start : callable
        Function that returns the parameters at the beginning of the first iteration.
    reconstruct : callable
        Function from parameters to the fitted attributes; called only if a callback asks for a
        model.
    n_tasks : int
        Largest number of iterations and epochs.
    """

    def __init__(
        self,
        context: Any,
        estimator: Any,
        task: dict[str, Any],
        start: Callable[[], Any],
        reconstruct: Callable[[Any], dict[str, Any]],
        *,
        n_tasks: int,
    ) -> None:
        self._context = context
        self._task = {"estimator": estimator, **task}
        self._estimator = estimator
        self._reconstruct = reconstruct
        self._n_tasks = n_tasks
        self._begun = time.perf_counter()
        self._watched = hasattr(estimator, "_skl_callbacks")
        self._iteration: Any = None
        self._begin(0, start)

    def _begin(self, n_iter: int, params: Callable[[], Any]) -> None:
        if self._watched and n_iter < self._n_tasks:
            self._iteration = self._context.subcontext(task_name="solver-iter")
            self._iteration.call_on_fit_task_begin(
                **self._task, reconstruction_attributes=lambda: self._reconstruct(params())
            )

    def __call__(self, progress: Progress) -> bool:
        """Report an iteration; return True if a callback asks to stop."""
        if self._estimator.verbose:
            optimality = float(progress.optimality[0])
            proven = not math.isnan(optimality)
            print(
                f"[{type(self._estimator).__name__}] {'iteration' if proven else 'epoch'} "
                f"{progress.n_iter}: objective {float(progress.value[0]):.10g}, "
                + (f"optimality {optimality:.3g}, " if proven else "")
                + f"{time.perf_counter() - self._begun:.3g} s",
                flush=True,
            )
        if self._iteration is None:
            return False
        ended, self._iteration = self._iteration, None
        stop = ended.call_on_fit_task_end(
            **self._task,
            reconstruction_attributes=lambda: {
                **self._reconstruct(progress.params()),
                **_proof(progress),
            },
        )
        if not stop:
            self._begin(progress.n_iter, progress.params)
        return bool(stop)

    def close(self) -> None:
        """End the open task, whose iteration did not run."""
        if self._iteration is not None:
            self._iteration.call_on_fit_task_end(estimator=self._estimator)


def _proof(progress: Progress) -> dict[str, Any]:
    """Return the optimality attributes of an iterate; empty for an epoch, which has none."""
    optimality = float(progress.optimality[0])
    if math.isnan(optimality):
        return {}
    return {"optimality_": optimality, "n_passes_": progress.n_passes}
