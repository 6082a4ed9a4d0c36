"""One thread where a second one costs more than it gives."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LOCK = threading.Lock()
_inside = 0
_usual = 1


@contextmanager
def single_thread(small: bool) -> Iterator[None]:
    """Run torch on one thread while a small problem is solved, and restore the count.

    Threads that meet at a barrier thousands of times a second cost more than they give, and
    where other jobs hold the cores a hundred times more.  torch keeps one count a thread and one
    for threads to come; fits that overlap agree on which count was the caller's.

    Parameters
    ----------
    small : bool
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
