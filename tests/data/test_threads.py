"""Threads: a fit sets those of the thread that calls, and of its pool, and no others."""

import threading
import time
from dataclasses import replace

import pytest
import torch

from skorch_logreg.data import from_arrays, threads
from skorch_logreg.data.threads import (
    map_blocks,
    several_threads,
    single_thread,
    sum_blocks,
    workers,
)


@pytest.fixture(params=["own", "torch"])
def three(request, monkeypatch):
    """torch on three threads; once as if it had another backend than OpenMP."""
    before = torch.get_num_threads()
    if request.param == "torch":
        monkeypatch.setattr(threads, "_setters", lambda: None)
    torch.set_num_threads(3)
    yield request.param
    torch.set_num_threads(before)


def count_of_a_new_thread():
    counts = []
    thread = threading.Thread(target=lambda: counts.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return counts[0]


def test_counts_are_set_and_restored(three):
    with workers() as pool, single_thread():
        assert (pool.count, torch.get_num_threads()) == (3, 1)
        with several_threads():
            assert torch.get_num_threads() == 3
            with several_threads(False), single_thread():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 3
        counts = map_blocks(lambda _: torch.get_num_threads(), range(6))
        assert counts == [1] * 6
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    with pytest.raises(KeyError), single_thread():
        raise KeyError
    assert torch.get_num_threads() == 3
    assert count_of_a_new_thread() == 3


@pytest.mark.skipif(threads._setters() is None, reason="torch without OpenMP")
def test_other_threads_are_left_alone():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with workers(), single_thread():
            map_blocks(lambda _: None, range(6))
            assert count_of_a_new_thread() == 3
            with several_threads():
                assert count_of_a_new_thread() == 3
        with single_thread():
            torch.ones(200, 200) @ torch.ones(200, 200)  # MKL's count is the thread's own, too
            assert "mkl_get_max_threads() : 3" not in torch.__config__.parallel_info()
        assert torch.__config__.parallel_info().count(": 3") >= 2
    finally:
        torch.set_num_threads(before)


class Held:
    """A result that counts how many there are at a time."""

    now = most = 0

    def __init__(self, block):
        time.sleep(0.001)
        self.block = block
        Held.now += 1
        Held.most = max(Held.most, Held.now)

    def __del__(self):
        Held.now -= 1


def test_few_results_of_a_sum_are_held_at_a_time():
    """Hessians of all blocks would take as much memory as X."""
    Held.now = Held.most = 0
    with workers(2):
        total = sum_blocks(lambda total, found: found, Held, range(1000))
    assert total.block == 999
    assert Held.most < 250


def test_the_calling_thread_computes_blocks_as_any_other():
    """It has one thread for each, so that no result depends on who computes it."""
    seen = []

    def block(i):
        time.sleep(0.001)
        seen.append((threading.get_ident(), threads.thread_count(), torch.get_num_threads()))
        return i

    with workers(2):
        assert map_blocks(block, range(200)) == list(range(200))
        assert threads.thread_count() == 2
    assert len({thread for thread, _, _ in seen}) == 2
    assert threading.get_ident() in {thread for thread, _, _ in seen}
    assert {(own, of_torch) for _, own, of_torch in seen} == {(1, 1)}


def test_errors_are_those_of_the_first_block():
    def block(i):
        time.sleep(0.01 if i == 0 else 0.0)
        raise ValueError(f"block {i}")

    for _ in range(5):
        with workers(3), pytest.raises(ValueError, match="block 0"):
            map_blocks(block, range(30))


@pytest.mark.parametrize("is_other", [False, True])
def test_interrupts_of_any_thread_end_the_call(is_other):
    """The other blocks are left, and the threads of the pool take the next call."""
    seen, main = [], threading.get_ident()

    def block(i):
        seen.append(i)
        time.sleep(0.001)
        if i > 3 and (threading.get_ident() != main) == is_other:
            raise KeyboardInterrupt

    with workers(3):
        with pytest.raises(KeyboardInterrupt):
            map_blocks(block, range(1000))
        assert len(seen) < 100
        assert map_blocks(abs, range(-5, 0)) == [5, 4, 3, 2, 1]


def test_a_thread_that_does_not_start_is_not_waited_for(monkeypatch):
    """The error of its start is raised, not that of joining it."""

    class Refused(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "Thread", Refused)
    with pytest.raises(RuntimeError, match="can't start"), workers(3):
        map_blocks(abs, range(5))


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("block_rows", [1000, 4100, 9000, 20_000])
def test_every_thread_has_as_many_blocks_of_as_many_rows(n_threads, block_rows):
    """A thread that is left with one block more would let the others wait."""
    n_samples = 20_000
    data = from_arrays(torch.zeros(n_samples, 100), torch.zeros(n_samples))
    with workers(n_threads):
        step = replace(data, block_rows=block_rows).rows_per_block
    n_blocks = -(-n_samples // step)
    assert step <= 1.5 * block_rows
    assert n_blocks % n_threads == 0
    assert n_blocks * step - n_samples < n_blocks  # all have as many rows, but for rounding
    assert step > block_rows / 1.5 or n_blocks == n_threads
