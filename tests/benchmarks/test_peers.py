"""Every peer minimises our objective: the scale that its docstring states is the right one."""

import re
import warnings
from dataclasses import replace

import pytest

from benchmarks import judge
from benchmarks.peers import PEERS, Ours, named
from tests.benchmarks.small import PROBLEMS

PAIRS = [(problem, peer) for problem in PROBLEMS for peer in PEERS if not peer.refuses(problem)]
IDS = [f"{problem.name}-{peer.name}" for problem, peer in PAIRS]
ENOUGH = {"tol": 1e-12, "iterations": 100}


def excess(peer, problem, judged):
    """Relative distance to the minimum of `judged` of a tight fit of `problem`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers, at a tolerance that not all reach
        found = peer.solve(*peer.convert(problem), problem, ENOUGH[peer.setting])
    best = Ours().solve(judged.X, judged.y, judged, 1e-9)
    lowest = judge.value(judged, best.coef, best.intercept)
    assert judge.bound(judged, best.coef, best.intercept) <= 1e-9 * lowest
    return judge.value(judged, found.coef, found.intercept) / lowest - 1


@pytest.mark.parametrize(("problem", "peer"), PAIRS, ids=IDS)
def test_a_tight_fit_minimises_our_objective(problem, peer):
    assert excess(peer, problem, problem) <= 5e-7


@pytest.mark.parametrize(("problem", "peer"), PAIRS, ids=IDS)
def test_a_strength_five_per_cent_off_is_seen(problem, peer):
    assert excess(peer, replace(problem, C=1.05 * problem.C), problem) > 5e-7


def test_every_installed_peer_takes_part_in_some_test():
    tested = {peer for _, peer in PAIRS}
    assert {peer for peer in PEERS if peer.version} == tested


def test_who_cannot_minimise_a_problem_says_why():
    (liblinear,) = named(["scikit-learn liblinear"])[1:]
    binary, _, classes = PROBLEMS[:3]
    assert liblinear.refuses(binary) == "penalises an intercept or has none"
    assert "intercept" in liblinear.refuses(classes)
    assert liblinear.refuses(PROBLEMS[1]) is None
    assert named(["scikit-learn newton-ch"])[1].refuses(PROBLEMS[4]) == "no l1 penalty"


def test_a_library_that_is_not_installed_is_left_out():
    class Missing(Ours):
        library = "no_such_library"
        version = property(lambda self: super(Ours, self).version)

    assert Missing().refuses(PROBLEMS[0]) == "not installed"


def test_names_are_unique_and_docstrings_state_the_scale():
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        assert any(re.search(r"\bC\b", kind.__doc__ or "") for kind in type(peer).__mro__[:2])
