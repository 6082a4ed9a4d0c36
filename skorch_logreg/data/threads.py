"""How many threads do the work: one on small problems, one a block on large ones."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def _setters() -> tuple[Any, Any] | None:
    """Find OpenMP's and MKL's own functions that set the count of the calling thread.

    ``torch.set_num_threads`` calls both, and stores the count as that of every thread to come:
    one that starts while a fit runs would keep the fit's count for life.  They are looked up in
    what torch was linked to, since a process may have loaded several copies of either.  None
    where torch has another backend; MKL's is None where it has another BLAS.
    """
    try:
        linked = ctypes.CDLL(torch._C.__file__)
        return linked.omp_set_num_threads, getattr(linked, "MKL_Set_Num_Threads_Local", None)
    except (OSError, AttributeError):
        return None


def _set_threads(count: int, mkl_count: int | None = None) -> int:
    """Set the threads that torch has in the calling thread, and return what MKL had there."""
    torch.get_num_threads()  # torch sets up a thread in its first call, which would come too late
    setters = _setters()
    if setters is None:
        torch.set_num_threads(count)
        return 0
    set_openmp, set_mkl = setters
    set_openmp(count)
    return 0 if set_mkl is None else set_mkl(count if mkl_count is None else mkl_count)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run torch on so many threads where it is called from this thread, and restore the count."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    mkl_before = _set_threads(count)
    try:
        yield
    finally:
        _set_threads(before, mkl_before)


@contextmanager
def single_thread() -> Iterator[None]:
    """Run torch on one thread, and restore the count.

    Threads that meet at a barrier thousands of times a second cost more than they give, and
    where other jobs hold the cores a hundred times more.
    """
    with _threads(1):
        yield


@dataclass(frozen=True)
class _Pool:
    """So many threads that take blocks; they start when they are first needed."""

    count: int

    @cached_property
    def executor(self) -> ThreadPoolExecutor:
        """The threads."""
        return ThreadPoolExecutor(self.count, initializer=_set_threads, initargs=(1,))

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
    pool = _POOL.get()
    with _threads(pool.count if wanted and pool is not None else torch.get_num_threads()):
        yield


@contextmanager
def single_threaded() -> Iterator[None]:
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
