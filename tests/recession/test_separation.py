"""`separation` against exact arithmetic, and in units that are ugly."""

import numpy as np
import pytest
import scipy.sparse as sp

from skorch_logreg import separation
from skorch_logreg.exceptions import ParameterError
from tests.recession.judges import constraints, designs, exact_gain, separable_rows


@pytest.mark.parametrize("seed", range(60))
def test_small_integers_in_exact_arithmetic(seed):
    rng = np.random.default_rng(seed)
    n_classes = 2 + seed % 2
    n, p = int(rng.integers(n_classes + 2, 12)), int(rng.integers(1, 4))
    X = rng.integers(-2, 3, size=(n, p))
    y = np.arange(n) % n_classes
    rng.shuffle(y)
    if seed % 3:  # most are separable, others not
        y = np.where(rng.random(n) < 0.8, (X[:, 0] > 0) * 1 + (n_classes == 3) * (X[:, -1] > 1), y)
        y[:n_classes] = np.arange(n_classes)
    for fit_intercept in (True, False):
        truth = exact_gain(constraints(X, y, fit_intercept)) > 0
        found = separation(X, y, fit_intercept=fit_intercept)
        assert found.is_separated == truth
        assert (found.n_separated > 0) == truth
        assert bool(found.direction) == truth


@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("seed", range(40))
def test_designs_against_another_programme(seed, wrap):
    X, y, _ = designs(seed)
    rows = separable_rows(constraints((X - X.mean(axis=0)) / X.std(axis=0).clip(1e-300), y))
    found = separation(wrap(X), y)
    assert found.is_separated == (rows > 1e-6)
    assert found.is_complete == (abs(rows - len(constraints(X, y))) < 1e-6)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
@pytest.mark.parametrize("unit", [1e-8, 1.0, 1e8])
def test_tiny_margins(gap, unit):
    """Rows that overlap by so much, and rows that do not."""
    X = unit * np.array([[0.0], [1.0], [1.0 + gap], [2.0]])
    assert not separation(X, [0, 1, 0, 1]).is_separated
    assert separation(X, [0, 0, 1, 1]).is_separated
    touching = unit * np.array([[0.0], [1.0], [1.0], [2.0]])
    found = separation(touching, [0, 1, 0, 1])
    assert (found.is_separated, found.is_complete, found.n_separated) == (True, False, 2)


@pytest.mark.parametrize("n", [2000, 20_000])
def test_many_rows(n):
    """A programme has some of the rows: one row that a direction makes worse is found."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(n, 3)), np.zeros((n, 2)), 1e6 + rng.normal(size=n)])
    y = rng.integers(0, 2, n)
    X[np.flatnonzero(y)[5:12], 3] = 1
    X[np.flatnonzero(y == 0)[7:9], 4] = 3.5
    found = separation(X, y)
    assert (found.is_separated, found.is_complete, found.n_separated) == (True, False, 9)
    assert {k: v for k, v in found.direction.items() if k != "intercept"} == {
        "x3": 1.0, "x4": -1.0,
    }  # fmt: skip
    X[np.flatnonzero(y == 0)[100], 3] = 1
    X[np.flatnonzero(y)[100], 4] = 1
    assert not separation(X, y).is_separated


def test_classes_and_columns_are_named():
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(300, 2)), columns=["age", "size"])
    y = rng.choice(["a", "b", "c"], 300)
    X["mark"] = np.where(y == "b", rng.random(300) < 0.1, 0)
    found = separation(X, y)
    assert found.is_separated
    assert not found.is_complete
    assert found.direction == {"b": {"mark": 1.0}}
    assert found.n_separated == X["mark"].sum()


def test_columns_that_repeat_each_other_are_not_all_named():
    """Dummies of all levels sum to one: the level of one class is named, and no other."""
    rng = np.random.default_rng(0)
    level = rng.integers(0, 5, 400)
    y = np.where(level == 3, 1, rng.integers(0, 2, 400))
    found = separation(np.eye(5)[level], y)
    assert {k for k in found.direction if k != "intercept"} == {"x3"}


@pytest.mark.parametrize("seed", range(6))
def test_columns_that_repeat_each_other_up_to_rounding(seed):
    """A temperature in two units: the best vertex used their rounding, and nothing was found."""
    rng = np.random.default_rng(seed)
    celsius, y = 6 * rng.normal(size=137), rng.integers(0, 2, 137)
    rare = np.ones(137)
    rare[np.flatnonzero(y)[:2]] = 2
    X = np.column_stack([rare, celsius, celsius + 1e4])
    assert separation(X, y).is_separated
    y[np.flatnonzero(rare == 2)[0]] = 0
    assert not separation(X, y).is_separated


@pytest.mark.parametrize(("n_classes", "seed"), [(3, 0), (3, 6), (3, 7), (4, 0), (4, 1), (4, 10)])
def test_programs_that_highs_gives_up_are_solved_otherwise(n_classes, seed):
    """Three copies of a column up to rounding: HiGHS solves without presolve, or inside."""
    rng = np.random.default_rng(seed)
    z, y = 0.1 * rng.normal(size=122), rng.integers(0, n_classes, 122)
    rare = np.full(122, 1000.0)
    rare[np.flatnonzero(y == 1)[0]] += 1
    copies = 784.1836834621213 - 3 * z, 1.8 * z - 78418.36834621213, 7000 * z + 2.509387787078788
    assert separation(np.column_stack([rare, z, *copies]), y).is_separated


@pytest.mark.parametrize("n_classes", [2, 3])
def test_rows_without_weight_do_not_count(n_classes):
    X, y = np.arange(12.0)[:, None], np.repeat(np.arange(n_classes), 12 // n_classes)
    y[[0, -1]] = y[[-1, 0]]
    weight = np.ones(12)
    assert not separation(X, y).is_separated
    weight[[0, -1]] = 0
    found = separation(X, y, sample_weight=weight)
    assert found.is_separated
    assert found.n_separated == 10
    assert found.is_complete == (n_classes == 2 or found.is_complete)
    assert separation(X[1:-1], y[1:-1]) == found


def test_one_class_is_refused():
    with pytest.raises(ParameterError, match="hold 1 classes"):
        separation([[0], [1], [2]], [0, 1, 1], sample_weight=[0, 1, 1])
