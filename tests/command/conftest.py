"""A table with a column of every kind, and its file."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def passengers(rng):
    """A table with a column of every kind, and something to learn in most of them."""
    n = 240
    age = rng.normal(40, 12, n).round(1)
    member = rng.random(n) < 0.5
    city = rng.choice(["Oslo", "Rome", "Lima"], n)
    joined = pd.Timestamp("2020-02-27") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    words = np.array(["kind staff", "late again", "fine", "never more", "cheap", "good food"])
    review = [" and ".join(rng.choice(words, 3)) for _ in range(n)]
    logit = (age - 40) / 12 + 2 * member + (city == "Rome") + ["late" in r for r in review] - 1.5
    frame = pd.DataFrame(
        {
            "Unnamed: 0": np.arange(n),
            "age": age,
            "member": member,
            "city": city,
            "joined": joined.strftime("%Y-%m-%d"),
            "review": review,
            "code": [f"A{i:05d}" for i in range(n)],
            "nothing": np.nan,
            "same": "x",
            "left": np.where(rng.random(n) < 1 / (1 + np.exp(-logit)), "yes", "no"),
        }
    )
    frame.loc[::9, "age"] = np.nan
    frame.loc[::7, "city"] = None
    return frame


@pytest.fixture
def csv(passengers, tmp_path):
    path = tmp_path / "passengers.csv"
    passengers.to_csv(path, index=False)
    return path
