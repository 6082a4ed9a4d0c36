"""Partitions that are blocks of a Dask collection."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from skorch_logreg.data.protocol import Task
from skorch_logreg.data.threads import single_thread, workers


@dataclass(frozen=True)
class DaskParts:
    """Partitions that are Dask blocks; work is run as Dask tasks.

    Any scheduler of Dask may be used: that of a client, or threads of this process. Values that
    partitions hold are persisted results of tasks; if a worker is lost, Dask computes them
    again.
    """

    is_read_again: ClassVar[bool] = True
    blocks: list[Any]  # X of every partition, Delayed
    lengths: list[int]  # number of rows of every partition

    def scatter(self, values: Sequence[Any]) -> Any:
        from dask import delayed, persist

        # one at a time, because a graph with all values would be large
        return _Handle([persist(delayed(_given)(value))[0] for value in values], 0)

    def run(
        self, work: Task, held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        from dask import delayed, persist

        results = self._tasks(work, held, reads)
        terms = [delayed(_terms)(result) for result in results] if n_kept else results
        merge = delayed(_added if n_kept else _added_terms)
        # in two levels, so that no task takes the results of all partitions
        step = math.isqrt(len(terms))
        sums = [merge(terms[i : i + step]) for i in range(0, len(terms), step)]
        sum_of_all = delayed(_added)(sums)
        if not n_kept:
            return sum_of_all.compute(), []
        total, *results = persist(sum_of_all, *results)
        return total.compute(), [_Handle(results, place) for place in range(n_kept)]

    def collect(self, work: Task, held: Sequence[Any], reads: bool) -> list[Any]:
        from dask import compute

        return [_terms(result) for result in compute(*self._tasks(work, held, reads))]

    def may_hold(self, n_bytes: int) -> bool:
        return True  # values that are a share of X are assumed to fit into memory

    def holding(self, handle: Any) -> "DaskParts":
        from dask import delayed

        return DaskParts([delayed(_value)(r, handle.place) for r in handle.results], self.lengths)

    def _tasks(self, work: Task, held: Sequence[Any], reads: bool) -> list[Any]:
        import cloudpickle
        from dask import delayed

        # as one value of the graph, workers pass it to each other
        sent = delayed(cloudpickle.dumps(work))
        places = [handle.place for handle in held]
        return [
            delayed(_done)(
                sent,
                self.blocks[index] if reads else None,
                index,
                [handle.results[index] for handle in held],
                places,
            )
            for index in range(len(self.lengths))
        ]


@dataclass(frozen=True)
class _Handle:
    """Reference to one of the values that tasks have kept, in all partitions."""

    results: list[Any]
    place: int


def _given(value: Any) -> tuple[Any, list[Any]]:
    return (), [value]


def _done(sent: bytes, X: Any, index: int, held: list[Any], places: list[int]) -> Any:
    import cloudpickle

    values = [_value(result, place) for result, place in zip(held, places, strict=True)]
    with workers(1), single_thread():  # the scheduler has threads of its own
        return cloudpickle.loads(sent)(X, index, values)


def _value(result: tuple[Any, list[Any]], place: int) -> Any:
    return result[1][place]


def _terms(result: tuple[Any, list[Any]]) -> Any:
    return result[0]


def _added_terms(results: list[tuple[Any, list[Any]]]) -> tuple[Tensor, ...]:
    return _added([_terms(result) for result in results])


def _added(terms: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True))
