"""Partitions that are the ranks of a process group of torch.distributed."""

import signal
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch import distributed as dist

from skorch_logreg.data.protocol import Task
from skorch_logreg.data.threads import single_thread, workers


@dataclass(frozen=True)
class RankRows:
    """Mark an array as this rank's share of the rows of a fit.

    Every rank of an initialised process group calls `fit` with its own rows, labels and weights,
    and with the same parameters. All ranks get the same model, fitted to all rows.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (rows, n_features)
        Rows of this rank, in the memory of the CPU. A rank may have no rows.
    group : torch.distributed.ProcessGroup or None, default=None
        Process group; None: all processes. It has to sum tensors of the CPU ("gloo",
        "cpu:gloo,cuda:nccl").

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
        """Raise an error that names the use of this class."""
        raise TypeError(
            "RankRows marks rows for TorchLogisticClassifier.fit; all else takes a rank's rows "
            "as they are."
        )


@contextmanager
def _deferred_interrupts() -> Iterator[None]:
    """Deliver SIGINT at the end of this context: other ranks would wait for one that leaves."""
    before, received = signal.getsignal(signal.SIGINT), list[Any]()
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, lambda *args: received.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if received:
            before(*received[0])


@dataclass
class Rank:
    """One process of a fit: its rows, and the values it holds for them."""

    X: Any
    places: list[int]  # index of every rank among those with rows; -1 for ranks without
    leader: int  # rank that runs the solver and sends orders to the others
    group: Any
    held: dict[int, Any] = field(default_factory=dict, init=False)  # values of this rank, by key

    def tell(self, message: Any) -> Any:
        """Broadcast a message of the leader, and return it."""
        box = [message]
        dist.broadcast_object_list(box, src=self._leader, group=self.group)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Send a value of every rank to the leader; other ranks get an empty list."""
        values = [None] * len(self.places) if self.leads else None
        dist.gather_object(value, values, dst=self._leader, group=self.group)
        return values or []

    @property
    def index(self) -> int:
        """Index of this rank among those with rows; -1 if it has none."""
        return self.places[dist.get_rank(self.group)]

    @property
    def leads(self) -> bool:
        """Return True if this rank is the leader."""
        return dist.get_rank(self.group) == self.leader

    @property
    def _leader(self) -> int:
        return self.leader if self.group is None else dist.get_global_rank(self.group, self.leader)

    def take(self, key: int, values: list[Any] | None) -> None:
        """Scatter one value of the leader to each rank with rows, which store it."""
        box = [None]
        if values is not None:
            given = iter(values)
            values = [next(given) if i >= 0 else None for i in self.places]
        dist.scatter_object_list(box, values, src=self._leader, group=self.group)
        if self.index >= 0:
            self.held[key] = box[0]

    def perform(self, order: "_Order") -> Any:
        """Run an order on all ranks, and return the result to the leader."""
        for key in order.dropped:
            self.held.pop(key, None)
        terms, error = None, None
        if self.index >= 0:
            try:
                terms = self._done(order)
            except BaseException as caught:
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
        held = [self.held[key] for key in order.held]
        with workers(), single_thread():
            work = cloudpickle.loads(order.work)
            terms, kept = work(X if order.reads else None, self.index, held)
        self.held.update(zip(order.kept, kept, strict=True))
        return terms

    @_deferred_interrupts()
    def serve(self) -> Any:
        """Run orders until the leader sends its final message, and return that."""
        while isinstance(message := self.tell(None), (_Order, _Scatter)):
            if isinstance(message, _Order):
                self.perform(message)
            else:
                self.take(message.key, None)
        return message


@dataclass(frozen=True)
class _Order:
    """A task for all ranks, with the keys of the values that it reads, keeps and drops."""

    work: bytes
    held: list[int]
    kept: list[int]
    dropped: list[int]
    reads: bool
    rows: int
    sums: bool


@dataclass(frozen=True)
class _Scatter:
    """Announcement that values for all ranks follow."""

    key: int


class _Handle:
    """Reference to a value that every rank holds until the handle is deleted."""

    def __init__(self, key: int, dropped: list[int]) -> None:
        self.key = key
        weakref.finalize(self, dropped.append, key)


@dataclass(frozen=True)
class RankParts:
    """Partitions that are ranks; all of them run a task at once, and their group sums the terms.

    The leader uses this class; all other ranks call `Rank.serve`.
    """

    is_read_again: ClassVar[bool] = False
    rank: Rank
    lengths: list[int]  # number of rows of every rank that has some
    rows: Any = None  # handle of the values that replace X
    keys: Any = field(default_factory=lambda: count(1))  # of new values
    dropped: list[int] = field(default_factory=list)  # keys to drop with the next order

    @_deferred_interrupts()
    def scatter(self, values: Sequence[Any]) -> Any:
        handle = _Handle(next(self.keys), self.dropped)
        self.rank.tell(_Scatter(handle.key))
        self.rank.take(handle.key, list(values))
        return handle

    def run(
        self, work: Task, held: Sequence[Any], n_kept: int, reads: bool
    ) -> tuple[tuple[Tensor, ...], list[Any]]:
        return self._order(work, held, n_kept, reads, True)

    def collect(self, work: Task, held: Sequence[Any], reads: bool) -> list[Any]:
        return [part for part in self._order(work, held, 0, reads, False)[0] if part is not None]

    def may_hold(self, n_bytes: int) -> bool:
        return True  # values that are a share of X are assumed to fit into memory

    def holding(self, handle: Any) -> "RankParts":
        return replace(self, rows=handle)

    @_deferred_interrupts()
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
