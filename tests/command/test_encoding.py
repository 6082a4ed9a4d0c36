"""Kinds of columns, labels of targets, and what becomes of them."""

import numpy as np
import pandas as pd
import pytest

from skorch_logreg.command import encoding
from skorch_logreg.command.columns import UNUSABLE_KINDS, clean, column_kinds
from skorch_logreg.command.files import read_table


def test_every_kind_of_column(csv, passengers):
    features = read_table(csv).drop(columns="left")
    assert column_kinds(features) == {
        "Unnamed: 0": "identifier",
        "age": "number",
        "member": "boolean",
        "city": "label",
        "joined": "date ISO8601",
        "review": "text",
        "code": "identifier",
        "nothing": "empty",
        "same": "constant",
    }


def test_names_of_encoded_columns(csv):
    frame = read_table(csv)
    kinds = {"age": "number", "city": "label", "review": "text", "joined": "date ISO8601"}
    cleaned = clean(frame, kinds)
    names = encoding.feature_names(encoding.encoder(cleaned, kinds).fit(cleaned))
    for name in [
        "age",
        "age is missing",
        "city = Rome",
        "city is missing",
        "review: late",
        "joined (year, sin)",
    ]:
        assert name in names


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0, None, 1.0], [0, 1, 1]),
        ([True, None, False], [True, False]),
        ([1, "a", 2.5], ["1", "a", "2.5"]),
        (["b", "a"], ["b", "a"]),
        ([0.5, 1.5], ["0.5", "1.5"]),
        ([1e300, 2e300, 1.0], ["1e+300", "2e+300", "1.0"]),  # no integers of 64 bits
        ([2.0**63, 2.0**62], ["9.223372036854776e+18", "4.611686018427388e+18"]),
        ([np.inf, 0.0], ["inf", "0.0"]),
        (pd.Series([10**400, 2], dtype=object), [str(10**400), "2"]),
        (pd.array([3, None, 2], dtype="Int64"), [3, 2]),
        ([2**64 - 1, 0], [2**64 - 1, 0]),
        (pd.to_datetime(["2020-01-01", "2021-01-01"]).date, ["2020-01-01", "2021-01-01"]),
    ],
)
def test_target_labels(values, expected):
    labels = encoding.target_labels(pd.Series(values, name="y").dropna())
    assert labels.dtype.kind in "biuU"
    assert labels.tolist() == expected


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, np.inf, None], "number"),
        (["1", "2", "x"] + ["3.5"] * 60, "number"),
        ([1, "a", None] * 20, "label"),
        (list(range(100)), "identifier"),
        (list(range(5)), "number"),
        (["01/02/2020", "28/02/2020"], "date %d/%m/%Y"),
        (["02/28/2020", "01/02/2020"], "date %m/%d/%Y"),
        (["28.02.2020", None], "date %d.%m.%Y"),
        (["2020-01-01T10:00:00+01:00", "2020-01-02"], "date ISO8601"),
        (pd.to_datetime(["2020-01-01", None]), "date ISO8601"),
        ([pd.Timestamp("2020-01-01").date(), pd.Timestamp("2020-01-02").date()], "date ISO8601"),
        (pd.to_timedelta([1, 2, None], unit="h"), "number"),
        (pd.array([1, 2, None], dtype="Int64"), "number"),
        (pd.Categorical(["1", "2"] * 20), "label"),
        (["yes", "no"] * 20, "label"),
        ([True, None, False], "boolean"),
        ([[1, 2, 3], [4, 5, 6]] * 2 + [[7, 8, 9]] * 30, "label"),
        (["!!!", "???"] * 1 + ["..."], "identifier"),
        ([None, "x"], "label"),
        ([7, 7, 7], "constant"),
        ([None, None], "empty"),
    ],
)
def test_kind_of_a_column_and_what_becomes_of_it(values, kind):
    frame = pd.DataFrame({"x": pd.Series(values)})
    assert column_kinds(frame) == {"x": kind}
    if kind in UNUSABLE_KINDS:
        return
    cleaned = clean(frame, {"x": kind})
    encoded = encoding.encoder(cleaned, {"x": kind}).fit_transform(cleaned)
    assert np.isfinite(encoded.toarray() if hasattr(encoded, "toarray") else encoded).all()
    assert encoded.shape[0] == len(frame)
    assert cleaned.notna().any(axis=None)


@pytest.mark.parametrize("name", ["id", "user_id", "PassengerId", "customerID", "Index"])
def test_identifiers_by_name(name):
    frame = pd.DataFrame({name: [17, 3, 99, 45]})
    assert column_kinds(frame) == {name: "identifier"}


def test_dates_go_round():
    """The same day of another year lies at the same place of the cycle; the days go on."""
    frame = pd.DataFrame({"t": ["2021-03-01", "2022-03-01"]})
    cleaned = clean(frame, {"t": "date ISO8601"})
    assert np.diff(cleaned["t (days)"]).item() == 365
    np.testing.assert_allclose(np.diff(cleaned["t (year, sin)"]), 0, atol=0.01)


def test_clean_names_what_is_missing():
    with pytest.raises(ValueError, match="lacks the column 'b'"):
        clean(pd.DataFrame({"a": [1]}), {"a": "number", "b": "label"})
