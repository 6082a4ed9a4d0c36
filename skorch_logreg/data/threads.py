"""Number of threads: one for small problems, one per block for large ones."""

import ctypes
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache, partial, reduce
from queue import SimpleQueue
from threading import Thread, get_ident
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")
Gathered = TypeVar("Gathered")


@cache
def _setters() -> tuple[Any, Any] | None:
    """Return OpenMP's and MKL's functions that set the number of threads of the calling thread.

    ``torch.set_num_threads`` calls both, and also sets the number for all threads that start
    later: one that starts during a fit would keep the fit's number. The functions are looked up
    in the libraries that torch is linked to, because a process may have loaded several copies.
    None if torch has another backend; MKL's is None if torch has another BLAS.
    """
    try:
        linked = ctypes.CDLL(torch._C.__file__)
        return linked.omp_set_num_threads, getattr(linked, "MKL_Set_Num_Threads_Local", None)
    except (OSError, AttributeError):
        return None


def _set_threads(count: int, mkl_count: int | None = None) -> int:
    """Set torch's number of threads in the calling thread, and return MKL's previous one."""
    torch.get_num_threads()  # torch's first call initialises the thread, and would undo this
    setters = _setters()
    if setters is None:
        torch.set_num_threads(count)
        return 0
    set_openmp, set_mkl = setters
    set_openmp(count)
    return 0 if set_mkl is None else set_mkl(count if mkl_count is None else mkl_count)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run torch on ``count`` threads in the calling thread, and restore the number after."""
    before = torch.get_num_threads()
    if count == before:
        yield
        return
    mkl_before = _set_threads(count)
    try:
        yield
    finally:
        _set_threads(before, mkl_before)


def single_thread() -> AbstractContextManager[None]:
    """Run torch on one thread, and restore the number after.

    Threads that synchronise thousands of times a second cost more time than they save, and a
    hundred times more if other jobs use the cores.
    """
    return _threads(1)


class _Pool:
    """Threads for blocks besides the one that calls, which start when they are first used.

    An executor of the standard library takes ten times as long to pass a call on (a pass over
    10,000 x 29: .93 ms with one, .81 without).
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: list[Thread] = []

    def call_in_others(self, function: Callable[[], None]) -> None:
        """Let all other threads call a function."""
        while len(self._threads) < self.count - 1:
            thread = Thread(target=self._run, daemon=True)
            thread.start()  # it may raise: `close` joins only those that run
            self._threads.append(thread)
        for _ in self._threads:
            self._calls.put(function)

    def _run(self) -> None:
        _set_threads(1)
        while (function := self._calls.get()) is not None:
            function()
            del function  # it holds the rows of its blocks

    def close(self) -> None:
        """Stop the threads."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join()


_POOL: ContextVar[_Pool | None] = ContextVar("pool", default=None)
_ALONE = _Pool(1)


@contextmanager
def workers(count: int | None = None) -> Iterator[_Pool]:
    """Share one pool of threads inside this context.

    Nested contexts that ask for the same number of threads use the outer pool, which stops at
    the end of the outermost. ``count=None`` asks for that of the enclosing pool, or torch's number.
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
    """Return the number of threads of the enclosing pool, or torch's number."""
    pool = _POOL.get()
    return torch.get_num_threads() if pool is None else pool.count


def several_threads(wanted: bool = True) -> AbstractContextManager[None]:
    """Run torch on as many threads as the pool has, for large arrays without blocks."""
    return _threads(thread_count()) if wanted else nullcontext()


def map_blocks(function: Callable[[Item], Result], blocks: Sequence[Item]) -> list[Result]:
    """Apply a function to all blocks in parallel, and return results in order.

    A thread runs all operations of a block: products with one column use one thread in some
    BLAS, and synchronising after every operation costs more than waiting for the last block.
    The threads belong to the enclosing `workers`, or stop at the end of this call.
    """
    return _gathered(list, function, blocks)


def sum_blocks(
    add: Callable[[Result, Result], Result],
    function: Callable[[Item], Result],
    blocks: Sequence[Item],
) -> Result:
    """Add the results of `map_blocks` in order, and hold few of them at a time."""
    return _gathered(partial(reduce, add), function, blocks)


def _gathered(
    gather: Callable[[Iterator[Result]], Gathered],
    function: Callable[[Item], Result],
    blocks: Sequence[Item],
) -> Gathered:
    with workers() as pool:
        if pool.count == 1 or len(blocks) == 1:
            return gather(map(function, blocks))
        with single_thread():
            return gather(_shared(pool, function, blocks))


def _shared(
    pool: _Pool, function: Callable[[Item], Result], blocks: Sequence[Item]
) -> Iterator[Result]:
    """Yield the results of blocks in order; this thread computes blocks as all others do.

    Waking another thread takes as long as reading a megabyte (20,000 x 100: .87 of the time of a
    fit in which this thread only waits).  Errors are those of the first block that has one.
    """
    left, caller = deque(range(len(blocks))), get_ident()
    done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()

    def compute_one() -> bool:
        """Compute a block on one thread, and return True, if one is left."""
        try:
            i = left.popleft()
        except IndexError:
            return False
        token = _POOL.set(_ALONE)
        found: tuple[Any, BaseException | None]
        try:
            found = function(blocks[i]), None
        except BaseException as error:
            if get_ident() == caller and not isinstance(error, Exception):
                raise  # such as KeyboardInterrupt
            found = None, error
        finally:
            _POOL.reset(token)
        done.put((i, *found))  # an interrupt from here on goes to the caller
        del found  # the traceback of an error refers to this frame
        return True

    def compute_all() -> None:
        while compute_one():
            pass

    pool.call_in_others(compute_all)
    ready = {}
    try:
        for i in range(len(blocks)):
            while i not in ready:
                if done.empty():
                    compute_one()
                place, found, error = done.get()
                if error is not None and not isinstance(error, Exception):
                    raise error  # such as KeyboardInterrupt
                ready[place] = found, error
            found, error = ready.pop(i)
            if error is not None:
                raise error
            yield found
            del found
    finally:
        left.clear()
        error = None  # whose traceback refers to this frame
