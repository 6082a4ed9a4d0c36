"""Scaling, the limit and the choice: their tables hold what was measured."""

import json
import time

import pytest

from benchmarks import choose, limit, machine, parts, race, scaling
from benchmarks.peers import Ours
from benchmarks.problems import Recipe, Shape
from benchmarks.timing import Here
from tests.benchmarks import small

RULES = race.Rules((1e-6,), rounds=1, cap=10.0, prune=1e9)


@pytest.mark.slow
def test_a_choice_made_worse_on_purpose_is_missed(monkeypatch, tmp_path, capsys):
    """The table's first column is what is chosen: held up, it loses to every alternative."""
    monkeypatch.setattr(choose, "CASES", {"l2": small.Recipe()})
    output = tmp_path / "choose.json"
    arguments = ["--case", "l2", "--limit", "20", "--rounds", "2", "--output", str(output)]
    assert choose.main(arguments) == 0
    monkeypatch.setattr(Ours, "solve", held_up(Ours.solve))
    assert choose.main(arguments) == 1
    assert "MISSED" in capsys.readouterr().out
    (result,) = json.loads(output.read_text())["problems"]
    assert result["picked"].startswith("ExactHessian")


def held_up(solve):
    """Make the choice, and nothing else, slow."""

    def slower(self, X, y, problem, setting):
        found = solve(self, X, y, problem, setting)
        if self.solver == "auto" and type(self) is Ours:
            end = time.process_time() + 0.3
            while time.process_time() < end:
                pass
        return found

    return slower


@pytest.mark.parametrize("name", [key for key in choose.ALTERNATIVES if "sample" not in key])
def test_an_alternative_is_what_its_name_says(name):
    recipe = small.Recipe(2 if "classes" in name else 0)
    with race.field([choose.ALTERNATIVES[name]], Here) as (contestants, references):
        result = race.race(recipe, contestants, references[:1], RULES)
    assert result["peers"][0]["reached"]["1e-06"], result["peers"][0]["note"]


def test_a_curvature_that_does_not_fit_says_so():
    with race.field([choose.ALTERNATIVES["lbfgs, classes"]], Here) as (contestants, references):
        result = race.race(small.Recipe(), contestants, references[:1], RULES)
    assert "no curvature 'classes' here" in result["peers"][0]["note"]


def test_the_floor_is_two_reads_of_X():
    assert scaling.floor_seconds(Shape(1000, 100), bandwidth=1.6e6) == 1.0
    assert limit.bytes_read((1000, 100), "float32", passes=3) == 2.4e6
    assert machine.read_bandwidth(1 << 22, repeat=2) > 1e8


def test_seconds_of_a_pass_are_the_slope_over_the_ladder():
    ladder = [{"passes": k, "seconds": [5.0 + 0.1 * k]} for k in (3, 4, 7)]
    assert limit.pass_seconds({"ladder": ladder}) == pytest.approx(0.1)


@pytest.mark.slow
def test_scaling_goes_as_far_as_memory_allows(monkeypatch, tmp_path, capsys):
    shapes = {"rows": [Shape(300, 5), Shape(600, 5)], "columns": [Shape(300, 5), Shape(10**6, 9)]}
    monkeypatch.setattr(scaling, "DIRECTIONS", shapes)
    output, figure = tmp_path / "scaling.json", tmp_path / "scaling.svg"
    arguments = ["--memory", "0.001", "--rounds", "1", "--peers", "scikit-learn lbfgs"]
    assert scaling.main([*arguments, "--output", str(output), "--figure", str(figure)]) == 0
    results = json.loads(output.read_text())["problems"]
    assert {name: len(found) for name, found in results.items()} == {"rows": 2, "columns": 1}
    assert {"ours", "scikit-learn lbfgs"} == set(scaling.lines(results["rows"]))
    assert "300x5" in capsys.readouterr().out
    assert "X read twice" in figure.read_text()


@pytest.mark.slow
def test_float32_and_float64_hold_the_same_numbers(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(limit, "PROBLEMS", ("tall-float32",))
    output = tmp_path / "limit.json"
    assert limit.main(["--scale", "0.001", "--rounds", "1", "--output", str(output)]) == 0
    assert "float64 / float32 to 1e-6" in capsys.readouterr().out
    problem = Recipe("tall-float32", 0.001).make()
    wide, _ = limit.In().convert(problem)
    assert wide.dtype == "float64"
    assert (wide == problem.X).all()


def test_parts_are_shares_of_one_fit(capsys, monkeypatch):
    monkeypatch.setattr(parts, "SHARES", (0.0, 1.0))
    assert parts.main(["--problem", "cancer", "--repeat", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("cancer: ")
    found = {function: float(share[:-1]) for share, function in map(str.split, lines[3:])}
    assert 100 >= found["fitting/exact.minimise"] >= found["fitting/starts.cold_start"] > 0
    monkeypatch.setattr(parts, "SHARES", (0.02, 0.98))
    parts.main(["--problem", "cancer", "--repeat", "1"])
    few = [float(line.split("%")[0]) for line in capsys.readouterr().out.splitlines()[3:]]
    assert few
    assert all(2 <= share <= 98 for share in few)
    assert len(few) < len(found)
