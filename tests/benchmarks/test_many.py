"""The benchmarks: everyone in a race minimises the same function, and the judge sees a fault."""

import importlib
import warnings
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.conftest import FOLDER

# lbfgs takes seconds to 1e-9; the scale of a solver's C is that of its class
FAST = ("newton-cholesky", "liblinear", "LibMultiLabel", "ours")


@pytest.fixture
def imported(monkeypatch):
    """Import a benchmark by its name."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


@pytest.fixture
def contestants(imported):
    return imported("many_contestants")


def fast(contestants, problem):
    """Contestants that take part, and quickly."""
    everyone = contestants.contestants(problem, n_jobs=(1,))
    return [c for c in everyone if not c.left_out and any(word in c.name for word in FAST)]


@pytest.mark.parametrize("place", range(4))
def test_everyone_minimises_the_same_function(contestants, place):
    problem = list(contestants.small_problems())[place]
    todo = fast(contestants, problem)
    assert len(todo) >= 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers, at a tolerance that not all reach
        errors = {c.name: contestants.check(problem, c) for c in todo}
    assert max(errors.values()) <= 1e-6, errors


@pytest.mark.parametrize("place", [0, 2])
def test_the_check_sees_a_scale_that_is_one_per_cent_off(contestants, place):
    problem = list(contestants.small_problems())[place]
    off = replace(problem, C=problem.C * 1.01, Cs=tuple(C * 1.01 for C in problem.Cs))
    for wrong in fast(contestants, off):
        assert contestants.check(problem, wrong) > 1e-6


def test_a_bound_holds_for_the_error_of_a_poor_answer(imported, contestants):
    reference = imported("many_reference")
    (problem,) = (p for p in contestants.small_problems() if p.name == "check-labels")
    right, bound = reference.label_minima(problem)
    assert (bound <= 1e-9 * right).all()
    zero = np.zeros((3, 6))
    ((value, allowed),) = reference._by_labels(problem, zero, np.zeros(3), certify=True)
    assert (value > right).all()
    assert (value - right <= allowed).all()


@pytest.mark.parametrize("name", ["tiny", "small", "labels", "text", "hard-rare", "hard-wide"])
def test_problems_are_the_same_on_every_call(imported, name):
    problems = imported("many_problems")
    first, second = (problems.load(name, scale=0.01) for _ in range(2))
    assert abs(first.X - second.X).sum() == 0
    assert abs(first.y - second.y).sum() == 0
    assert first.labels == (first.y.ndim == 2)
    assert str(first) == str(second)


def test_a_seat_answers_and_ends_what_takes_too_long(imported):
    racing = imported("racing")
    with racing.Seat(_sleeper, 1) as seat:
        assert seat.ask(0.0, limit=60) == (1, "judged")
        with pytest.raises(racing.ExpiredError):
            seat.ask(60.0, limit=0.1)
    with racing.Seat(_sleeper, 1) as seat, pytest.raises(racing.FailedError, match="ValueError"):
        seat.ask(-1.0)


def _sleeper(number):
    import time

    def answer(seconds):
        time.sleep(seconds)
        yield number
        yield "judged"

    return answer
