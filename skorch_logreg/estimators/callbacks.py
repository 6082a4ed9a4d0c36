"""Report of the solver's iterations to scikit-learn's callbacks and to verbose output."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from skorch_logreg.fitting import Progress
from skorch_logreg.solvers.minibatch import iteration_limit

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
except ImportError:  # scikit-learn 1.8 has no callbacks

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replacement for scikit-learn's mixin, without callbacks."""


def print_progress(title: str, progress: Progress) -> bool:
    """Print a line on a batch of models after its title; never ask to stop."""
    text = (
        f"iteration {progress.n_iter}: {len(progress.optimality)} models at work, "
        f"largest optimality {float(progress.optimality.max()):.3g}"
    )
    if bool(progress.optimality.isnan().all()):
        text = f"epoch {progress.n_iter}: mean objective {float(progress.value.mean()):.6g}"
    print(title + text, flush=True)
    return False


@contextmanager
def callback_task(
    estimator: Any,
    solver: Any,
    task: dict[str, Any],
    start: Callable[[], Any],
    attributes: Callable[[Any], dict[str, Any]],
) -> Iterator[Callable[[Progress], bool] | None]:
    """Run the callback task of a fit; yield a callback of iterations, or None if none is needed.

    The task of an iteration begins when the previous one ends, so that its duration is right. When
    the solver stops, one task is therefore open; it is ended as scikit-learn's own L-BFGS does.

    ``task`` has X, y and metadata, as the hooks receive them. ``attributes`` returns the fitted
    attributes at parameters, such as the ``start``, only if a callback asks for a model.
    """
    task = {"estimator": estimator, **task}
    context: Any = None
    iterations: list[Any] = []  # the open one, if any
    n_tasks, begun = iteration_limit(solver, estimator.max_iter), time.perf_counter()
    if hasattr(estimator, "_init_callback_context"):
        context = estimator._init_callback_context(max_subtasks=n_tasks)
        context.call_on_fit_task_begin(**task)

    def begin(n_iter: int, params: Callable[[], Any]) -> None:
        if hasattr(estimator, "_skl_callbacks") and n_iter < n_tasks:
            iteration = context.subcontext(task_name="solver-iter")
            iteration.call_on_fit_task_begin(
                **task, reconstruction_attributes=lambda: attributes(params())
            )
            iterations.append(iteration)

    def report(progress: Progress) -> bool:
        reached = float(progress.optimality[0])
        proof = {"optimality_": reached, "n_passes_": progress.n_passes}
        if math.isnan(reached):  # an epoch proves nothing
            proof = {}
        if estimator.verbose:
            optimality = "optimality {optimality_:.3g}, ".format(**proof) if proof else ""
            print(
                f"[{type(estimator).__name__}] {'iteration' if proof else 'epoch'} "
                f"{progress.n_iter}: objective {float(progress.value[0]):.10g}, {optimality}"
                f"{time.perf_counter() - begun:.3g} s",
                flush=True,
            )
        if not iterations:
            return False
        stop = iterations.pop().call_on_fit_task_end(
            **task, reconstruction_attributes=lambda: attributes(progress.params()) | proof
        )
        if not stop:
            begin(progress.n_iter, progress.params)
        return bool(stop)

    begin(0, start)
    yield report if iterations or estimator.verbose else None
    for iteration in iterations:
        iteration.call_on_fit_task_end(estimator=estimator)
    if context is not None:
        context.call_on_fit_task_end(**task, reconstruction_attributes={})
