"""Parts of rows that are blocks of a Dask collection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from skorch_logreg.data.remote import Work

_FAN_IN = 8  # sums that are added in one place


@dataclass(frozen=True)
class DaskParts:
    """A piece of work is a task; the scheduler brings it to its block.

    Whatever scheduler Dask would take: the client's, or this process's threads.  What a part
    holds is the result of a task that is kept; where a worker is lost, Dask makes it again from
    the tasks before.

    Parameters
    ----------
    blocks : list of Delayed
        X of every part.
    lengths : list of int
    """

    blocks: list[Any]
    lengths: list[int]

    def scatter(self, values: Sequence[Any]) -> Any:
        """Hand every part something to hold, and return the handle."""
        from dask import delayed, persist

        return list(persist(*(delayed(_given)(value) for value in values)))

    def run(
        self, work: Work, held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        """Sum the terms of work over all parts."""
        from dask import delayed, persist

        results = self._tasks(work, held, reads)
        terms = [delayed(_item)(result, 0) for result in results]
        while len(terms) > 1:
            groups = [terms[i : i + _FAN_IN] for i in range(0, len(terms), _FAN_IN)]
            terms = [delayed(_added)(group) for group in groups]
        kept = [[delayed(_item)(result, 1, k) for result in results] for k in range(n_kept)]
        if n_kept:
            (total, *rest) = persist(*terms, *(block for blocks in kept for block in blocks))
            n = len(results)
            kept = [rest[k * n : (k + 1) * n] for k in range(n_kept)]
        else:
            (total,) = terms
        return total.compute(), kept

    def collect(self, work: Work, held: Sequence[Any], reads: bool) -> list[Any]:
        """Return the terms of every part, in their order."""
        from dask import compute, delayed

        return list(compute(*(delayed(_item)(r, 0) for r in self._tasks(work, held, reads))))

    def holding(self, handle: Any) -> "DaskParts":
        """Put something that the parts hold in the place of X."""
        return DaskParts(handle, self.lengths)

    def _tasks(self, work: Work, held: Sequence[Any], reads: bool) -> list[Any]:
        import cloudpickle
        from dask import delayed

        # one value in the graph, which workers hand on to each other
        sent = delayed(_given)(cloudpickle.dumps(work))
        return [
            delayed(_done)(sent, block if reads else None, index, [h[index] for h in held])
            for index, block in enumerate(self.blocks)
        ]


def _given(value: Any) -> Any:
    return value


def _item(result: Any, *places: int) -> Any:
    for place in places:
        result = result[place]
    return result


def _done(sent: bytes, X: Any, index: int, held: list[Any]) -> Any:
    import cloudpickle

    return cloudpickle.loads(sent)(X, index, held)


def _added(terms: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(sum(parts[1:], parts[0]) for parts in zip(*terms, strict=True))
