"""How many threads do the work: one on small problems, one a block on large ones."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch

_LOCK = threading.Lock()
_HERE: ContextVar[bool] = ContextVar("here", default=False)
_inside = 0
_usual = 1

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread, and restore the count.

    Threads that meet at a barrier thousands of times a second cost more than they give, and
    where other jobs hold the cores a hundred times more.  torch keeps one count a thread and one
    for threads to come; fits that overlap agree on which count was the caller's.
    """
    global _inside, _usual
    count = torch.get_num_threads()
    if _HERE.get() or (count == 1 and not _inside):
        yield
        return
    with _LOCK:
        if not _inside:
            _usual = count
        _inside += 1
    token = _HERE.set(True)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _HERE.reset(token)
        with _LOCK:
            _inside -= 1
            torch.set_num_threads(_usual)


@dataclass(frozen=True)
class _Pool:
    """So many threads that take blocks; they start when they are first needed."""

    count: int

    @cached_property
    def executor(self) -> ThreadPoolExecutor:
        """The threads."""
        return ThreadPoolExecutor(self.count, initializer=torch.set_num_threads, initargs=(1,))

    def close(self) -> None:
        """End them."""
        if "executor" in vars(self):
            self.executor.shutdown()


_POOL: ContextVar[_Pool | None] = ContextVar("pool", default=None)


@contextmanager
def workers(count: int | None = None) -> Iterator[_Pool]:
    """Keep one pool of threads; it ends with the outermost of these that asks for as many.

    Parameters
    ----------
    count : int or None
        None: those of the pool around, or as many as torch has.
    """
    pool = _POOL.get()
    if pool is not None and count in (None, pool.count):
        yield pool
        return
    count = thread_count() if count is None else count
    pool = _Pool(count)
    token = _POOL.set(pool)
    try:
        yield pool
    finally:
        _POOL.reset(token)
        pool.close()


def thread_count() -> int:
    """Threads of the pool around, or as many as torch has."""
    pool = _POOL.get()
    return torch.get_num_threads() if pool is None else pool.count


@contextmanager
def several_threads(wanted: bool = True) -> Iterator[None]:
    """Run torch on as many threads as the pool has: for what is large and has no blocks."""
    pool, count = _POOL.get(), torch.get_num_threads()
    if not wanted or pool is None or pool.count == count:
        yield
        return
    torch.set_num_threads(pool.count)
    try:
        yield
    finally:
        torch.set_num_threads(count)


@contextmanager
def quiet() -> Iterator[None]:
    """Leave threads to blocks: between them torch runs on one."""
    with workers(), single_thread():
        yield


def map_blocks(function: Callable[[Item], Result], blocks: Sequence[Item]) -> list[Result]:
    """Apply a function to all blocks, side by side, and keep their order.

    A thread takes a whole block through all its operations: products with one column run on one
    thread in some BLAS, and a barrier after every operation costs more than the end of a block.
    The threads end with the `workers` around, or here.
    """
    with workers() as pool:
        if pool.count == 1 or len(blocks) == 1:
            return [function(block) for block in blocks]
        with single_thread():
            return list(pool.executor.map(function, blocks))
