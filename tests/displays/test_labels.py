"""Test shortening and spacing of labels."""

import numpy as np
import pytest
from scipy.optimize import minimize

from skorch_logreg.displays.axes import shorten_labels
from skorch_logreg.displays.path import spread_positions


def test_long_names_keep_their_ends():
    (text,) = shorten_labels(["segment_of_the_customer_" * 4 + "north"])
    assert len(text) == 32
    assert text.startswith("segment_…")
    assert text.endswith("customer_north")
    assert shorten_labels(["short", "in $"]) == ["short", r"in \$"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["a" * 60 + "x" + "b" * 60, "a" * 60 + "y" + "b" * 60],
            [f"aaaaaaaa…{x}…{'b' * 21}" for x in "xy"],
        ),
        (
            ["a" * 60 + middle + "c" * 50 for middle in ("x" * 20 + "north", "y" * 20 + "west")],
            ["aaaaaaaa…xxxxx…xxxxxxxxxxxnorth…", "aaaaaaaa…yyyyy…yyyyyyyyyyyywest…"],
        ),
        (["a" * 40, "a" * 40], ["aaaaaaaa…" + "a" * 23] * 2),
    ],
)
def test_long_names_stay_different(names, expected):
    assert shorten_labels(names) == expected


def test_names_of_classes_and_features_stay_different():
    """The classes differ in the middle, the features at the end."""
    names = [f"{'c' * 30}{k}{'d' * 30}: x{j}" for k in range(3) for j in range(40)]
    short = shorten_labels(names)
    assert short[:2] == [f"cccccccc…0…{'d' * 17}: x{j}" for j in range(2)]
    assert len(set(short)) == len(names)
    assert max(map(len, short)) == 32


def test_different_names_stay_different_and_short():
    rng = np.random.default_rng(0)
    names = {"".join(rng.choice(list("ab"), rng.integers(30, 60))) * 3 for _ in range(50)}
    names = [*names, *("c" * k for k in range(30, 80))]
    short = shorten_labels(names)
    assert len(set(short)) == len(names)
    assert max(map(len, short)) == 32


@pytest.mark.parametrize("seed", range(3))
def test_heights_move_as_little_as_possible(seed):
    heights = np.random.default_rng(seed).uniform(0.4, 0.6, 5)
    moved = spread_positions(heights, 0.1, 0.05, 0.95)
    order = np.argsort(heights)
    assert (np.diff(moved[order]) >= 0.1 - 1e-9).all()
    best = minimize(
        lambda h: ((h - heights) ** 2).sum(),
        np.linspace(0.05, 0.95, 5)[np.argsort(order)],
        constraints={"type": "ineq", "fun": lambda h: np.diff(h[order]) - 0.1},
        bounds=[(0.05, 0.95)] * 5,
        tol=1e-10,
    )
    np.testing.assert_allclose(moved, best.x, atol=1e-4)


def test_heights_that_are_apart_stay():
    np.testing.assert_allclose(spread_positions(np.array([0.7, 0.1]), 0.1, 0, 1), [0.7, 0.1])


def test_heights_stay_within_bounds():
    moved = spread_positions(np.array([-1.0, 0.0, 2.0, 3.0]), 0.25, 0.125, 0.875)
    np.testing.assert_allclose(moved, [0.125, 0.375, 0.625, 0.875])
