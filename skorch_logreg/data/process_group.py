"""Parts of rows that are the ranks of a process group of torch.distributed."""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch import distributed as dist

from skorch_logreg.data.remote import Task
from skorch_logreg.data.threads import single_thread, workers


@dataclass(frozen=True)
class RankRows:
    """Mark an array as this rank's share of the rows of a fit.

    Every rank of a process group that was initialised calls `fit` with its own rows, labels and
    weights, and every rank ends with the same model: that of all rows.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (rows, n_features)
        In the memory of the CPU; a rank may have no row.
    group : torch.distributed.ProcessGroup or None, default=None
        None: all processes. It has to sum tensors of the CPU ("gloo", "cpu:gloo,cuda:nccl").

    Examples
    --------
    >>> import numpy as np, torch.distributed as dist
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.data import RankRows
    >>> dist.init_process_group("gloo")  # doctest: +SKIP
    >>> rank = dist.get_rank()  # doctest: +SKIP
    >>> X, y = np.load(f"X-{rank}.npy"), np.load(f"y-{rank}.npy")  # doctest: +SKIP
    >>> model = TorchLogisticClassifier().fit(RankRows(X), y)  # doctest: +SKIP
    """

    X: Any
    group: Any = None

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Say what it is for, to whatever would have it as an array."""
        raise TypeError(
            "RankRows marks rows for TorchLogisticClassifier.fit; all else takes a rank's rows "
            "as they are."
        )


@dataclass
class Rank:
    """What one process has: its rows, and what it holds beside them.

    Parameters
    ----------
    X : object
    places : list of int
        Place of every rank among those that have rows; -1: it has none.
    leader : int
        The rank that asks.
    group : ProcessGroup or None
    """

    X: Any
    places: list[int]
    leader: int
    group: Any
    held: dict[int, Any] = field(default_factory=dict)

    def tell(self, message: Any) -> Any:
        """Tell all others, or hear, what the leader has to say."""
        box = [message]
        dist.broadcast_object_list(box, src=self._leader, group=self.group)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Bring a value of every rank to the leader; others get nothing."""
        values = [None] * len(self.places) if self.leads else None
        dist.gather_object(value, values, dst=self._leader, group=self.group)
        return values or []

    @property
    def index(self) -> int:
        """Place of this rank."""
        return self.places[dist.get_rank(self.group)]

    @property
    def leads(self) -> bool:
        """Whether this rank asks."""
        return dist.get_rank(self.group) == self.leader

    @property
    def _leader(self) -> int:
        return self.leader if self.group is None else dist.get_global_rank(self.group, self.leader)

    def take(self, key: int, values: list[Any] | None) -> None:
        """Hold what the leader has for each rank that has rows."""
        box = [None]
        if values is not None:
            given = iter(values)
            values = [next(given) if i >= 0 else None for i in self.places]
        dist.scatter_object_list(box, values, src=self._leader, group=self.group)
        if self.index >= 0:
            self.held[key] = box[0]

    def perform(self, order: "_Order") -> Any:
        """Do one piece of work together with all ranks; return what the leader asked for."""
        for key in order.dropped:
            self.held.pop(key, None)
        terms, error = None, None
        if self.index >= 0:
            try:
                terms = self._done(order)
            except Exception as caught:
                error = caught
        size = sum(term.numel() for term in terms) if order.sums and terms else 0
        known = torch.tensor([error is not None, size], dtype=torch.int64)
        dist.all_reduce(known, op=dist.ReduceOp.MAX, group=self.group)
        if known[0]:
            for found in self.gather(error):
                if found is not None:
                    raise found
            return None
        if not order.sums:
            return self.gather(terms)
        flat = torch.zeros(int(known[1]), dtype=torch.float64)
        if terms:
            torch.cat([term.reshape(-1).to(torch.float64) for term in terms], out=flat)
        dist.reduce(flat, dst=self._leader, group=self.group)
        if terms is None:
            return None
        parts = flat.split([term.numel() for term in terms])
        return tuple(p.view(t.shape).to(t.dtype) for p, t in zip(parts, terms, strict=True))

    def _done(self, order: "_Order") -> Any:
        import cloudpickle

        X = self.held[order.rows] if order.rows else self.X
        with workers(), single_thread():
            held = [self.held[key] for key in order.held]
            terms, kept = cloudpickle.loads(order.work)(
                X if order.reads else None, self.index, held
            )
        self.held.update(zip(order.kept, kept, strict=True))
        return terms

    def serve(self) -> Any:
        """Work until the leader says how it ended, and return that."""
        while True:
            message = self.tell(None)
            if isinstance(message, _Order):
                self.perform(message)
            elif isinstance(message, _Scatter):
                self.take(message.key, None)
            else:
                return message


@dataclass(frozen=True)
class _Order:
    """What all ranks are to do."""

    work: bytes
    held: list[int]
    kept: list[int]
    dropped: list[int]
    reads: bool
    rows: int
    sums: bool


@dataclass(frozen=True)
class _Scatter:
    """Something for every rank to hold comes next."""

    key: int


class _Handle:
    """Something that every rank holds until nobody knows of it."""

    def __init__(self, key: int, dropped: list[int]) -> None:
        self.key = key
        weakref.finalize(self, dropped.append, key)


@dataclass(frozen=True)
class RankParts:
    """A piece of work is done by all ranks at once, and summed by their group.

    This is the leader's side; all others `serve`.

    Parameters
    ----------
    rank : Rank
    lengths : list of int
        Rows of every rank that has some.
    rows : object or None
        Handle of what stands in the place of X.
    """

    is_read_again: ClassVar[bool] = False
    rank: Rank
    lengths: list[int]
    rows: Any = None
    keys: Any = field(default_factory=lambda: count(1))
    dropped: list[int] = field(default_factory=list)

    def scatter(self, values: Sequence[Any]) -> Any:
        """Hand every part something to hold, and return the handle."""
        handle = _Handle(next(self.keys), self.dropped)
        self.rank.tell(_Scatter(handle.key))
        self.rank.take(handle.key, list(values))
        return handle

    def run(
        self, work: Task, held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        """Sum the terms of work over all parts."""
        return self._order(work, held, n_kept, reads, True)

    def collect(self, work: Task, held: Sequence[Any], reads: bool) -> list[Any]:
        """Return the terms of every part, in their order."""
        return [part for part in self._order(work, held, 0, reads, False)[0] if part is not None]

    def may_hold(self, n_bytes: int) -> bool:
        """Say yes: what is a share of X fits beside it."""
        return True

    def holding(self, handle: Any) -> "RankParts":
        """Put something that the parts hold in the place of X."""
        return RankParts(self.rank, self.lengths, handle, self.keys, self.dropped)

    def _order(
        self, work: Task, held: Sequence[Any], n_kept: int, reads: bool, sums: bool
    ) -> tuple[Any, list[Any]]:
        import cloudpickle

        handles = [_Handle(next(self.keys), self.dropped) for _ in range(n_kept)]
        gone = [self.dropped.pop() for _ in range(len(self.dropped))]
        order = _Order(
            cloudpickle.dumps(work),
            [handle.key for handle in held],
            [handle.key for handle in handles],
            gone,
            reads,
            0 if self.rows is None else self.rows.key,
            sums,
        )
        self.rank.tell(order)
        return self.rank.perform(order), handles
