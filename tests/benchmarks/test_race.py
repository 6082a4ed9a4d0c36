"""The clock, the ladder and the verdict: seen to be right with contestants that are known."""

import json
import warnings

import numpy as np
import pytest

from benchmarks import curves, problems, race
from benchmarks.peers import Ours, ScikitLearn
from benchmarks.problems import Recipe
from benchmarks.timing import Here
from tests.benchmarks import small

RULES = race.Rules(rounds=2, cap=20.0, prune=1e9)
FAST = ScikitLearn("newton-cholesky")


@pytest.fixture(scope="module")
def result():
    """One race of the honest, the wrong, the slow and the broken."""
    peers = [Ours(), FAST, small.Off("lbfgs"), small.Slow("newton-cholesky"), small.Broken("lbfgs")]
    with race.field(peers, Here) as (contestants, references), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peers, at a tolerance that not all reach
        return race.race(small.Recipe(), contestants, references, RULES)


def entry(result, name):
    (found,) = (entry for entry in result["peers"] if entry["name"] == name)
    return found


def test_the_minimum_is_known_by_two_solvers_to_rounding(result):
    assert len(result["references"]) == 2
    assert all("value" in found for found in result["references"].values())
    assert result["minimum_bound"] <= 1e-12 * result["minimum"]


def test_whoever_solves_reaches_every_target(result):
    for name in ("ours", FAST.name):
        assert not entry(result, name)["note"]
        assert all(entry(result, name)["reached"].values())
        assert all(len(step["seconds"]) == 2 for step in entry(result, name)["ladder"])
        last = entry(result, name)["ladder"][-1]["suboptimality"]
        assert max(last) <= race.TARGETS[-1]


def test_one_per_cent_off_never_reaches(result):
    off = entry(result, "off")
    assert off["reached"]["1e-06"] is None
    assert "no setting" in off["note"]
    assert min(min(step["suboptimality"]) for step in off["ladder"]) > 1e-6


def test_the_clock_runs_while_a_peer_solves(result):
    slow, fast = (curves.seconds(result, name) for name in ("slow 0.2", FAST.name))
    assert 0.2 <= slow <= 0.2 + 20 * fast + 0.1
    # asleep, it uses no processor
    assert entry(result, "slow 0.2")["reached"]["1e-06"]["cpu"] < 0.15


def test_a_failure_stays_in_the_table_with_what_it_reached(result):
    broken = entry(result, "broken")
    assert "MemoryError: no more" in broken["note"]
    assert len(broken["ladder"]) == 2
    assert "MemoryError" in "\n".join(curves.table(result))


@pytest.mark.slow
def test_who_takes_too_long_is_stopped():
    peers = [Ours(), small.Slow("newton-cholesky", nap=60.0)]
    with race.field(peers) as (contestants, references):
        quick = race.Rules(rounds=1, cap=1.0)
        slow = entry(race.race(small.Recipe(), contestants, references, quick), "slow 60.0")
    assert "out of time" in slow["note"]
    assert len(slow["ladder"]) == 1
    assert slow["reached"]["1e-06"] is None


@pytest.mark.slow
def test_a_folder_of_own_data_is_raced(tmp_path, monkeypatch, capsys):
    data = tmp_path / "data"
    data.mkdir()
    np.savez(data / "mine.npz", X=small.X, y=np.where(small.BINARY, "yes", "no"))
    (data / "notes.txt").write_text("not data")
    output = tmp_path / "curves.json"
    figure = tmp_path / "curves.svg"
    arguments = ["--data", str(data), "--peers", FAST.name, "--rounds", "1"]
    assert curves.main([*arguments, "--output", str(output), "--figure", str(figure)]) == 0
    written = json.loads(output.read_text())
    assert [result["name"] for result in written["problems"]] == ["mine.npz"]
    assert {"processor", "versions", "threads", "kernels"} <= set(written["machine"])
    assert "## mine.npz: 120 x 6" in capsys.readouterr().out
    assert figure.read_text().count("<svg") == 1
    assert curves.main(["--draw", str(output), "--figure", str(tmp_path / "again.svg")]) == 0
    assert (tmp_path / "again.svg").read_bytes() == figure.read_bytes()


@pytest.mark.parametrize("name", problems.PROBLEMS)
def test_problems_are_the_same_on_every_call(name):
    first, second = (Recipe(name, scale=0.01).make() for _ in range(2))
    assert abs(first.X - second.X).sum() == 0
    np.testing.assert_array_equal(first.y, second.y)
    assert set(first.y) == set(range(first.n_classes))
    assert np.bincount(first.y).min() >= 2
    head = first.head(30)
    assert head.n_classes == first.n_classes
    assert head.C * len(head.y) == pytest.approx(first.C * len(first.y))


def test_every_default_problem_exists():
    assert set(curves.DEFAULT) <= set(problems.PROBLEMS)
