"""How many threads do the work: one on small problems, one a block on large ones."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

import torch

_LOCK = threading.Lock()
_inside = 0
_usual = 1

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def single_thread(small: bool = True) -> Iterator[None]:
    """Run torch on one thread, and restore the count.

    Threads that meet at a barrier thousands of times a second cost more than they give, and
    where other jobs hold the cores a hundred times more.  torch keeps one count a thread and one
    for threads to come; fits that overlap agree on which count was the caller's.

    Parameters
    ----------
    small : bool, default=True
        Whether the problem is small; if not, nothing is changed.
    """
    global _inside, _usual
    count = torch.get_num_threads()
    if not small or (count == 1 and not _inside):
        yield
        return
    with _LOCK:
        if not _inside:
            _usual = count
        _inside += 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            torch.set_num_threads(_usual)


@dataclass(frozen=True)
class _Pool:
    """Threads that take blocks, and how many they are."""

    executor: ThreadPoolExecutor
    count: int


_POOL: ContextVar[_Pool | None] = ContextVar("pool", default=None)


@contextmanager
def workers() -> Iterator[_Pool]:
    """Keep one pool of threads, as many as torch has; it ends with the outermost of these."""
    pool = _POOL.get()
    if pool is not None:
        yield pool
        return
    count = torch.get_num_threads()
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as executor:
        pool = _Pool(executor, count)
        token = _POOL.set(pool)
        try:
            yield pool
        finally:
            _POOL.reset(token)


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
