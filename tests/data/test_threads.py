"""Threads: a fit sets those of the thread that calls, and of its pool, and no others."""

import threading

import pytest
import torch

from skorch_logreg.data import threads
from skorch_logreg.data.threads import map_blocks, several_threads, single_thread, workers


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
