"""Kinds of columns, labels of targets, and what becomes of them."""

import numpy as np
import pandas as pd
import pytest

from skorch_logreg.command import columns, encoding
from skorch_logreg.command.columns import UNUSABLE_KINDS, clean, column_kinds
from skorch_logreg.command.files import read_table


def test_every_kind_of_column(csv, passengers):
    features = read_table(csv).drop(columns="left")
    assert column_kinds(features) == {
        "Unnamed: 0": "identifier",
        "age": "number",
        "member": "boolean",
        "city": "categorical",
        "joined": "date ISO8601",
        "review": "text",
        "code": "identifier",
        "nothing": "empty",
        "same": "constant",
    }


def test_names_of_encoded_columns(csv):
    frame = read_table(csv)
    frame.loc[3, "joined"] = None
    kinds = {"age": "number", "city": "categorical", "review": "text", "joined": "date ISO8601"}
    cleaned = clean(frame, kinds)
    names = encoding.feature_names(encoding.encoder(cleaned, kinds).fit(cleaned))
    for name in [
        "age",
        "age is missing",
        "city = Rome",
        "city is missing",
        "review: late",
        "joined (year, sin)",
        "joined is missing",
    ]:
        assert names.count(name) == 1
    assert sum(name.endswith("is missing") for name in names) == 3  # one of a date


def test_names_that_begin_alike():
    frame = pd.DataFrame(
        {
            "size": ["us_10", "uk", "eu"] * 4,
            "size_us": ["10", "b", "c", None] * 3,
            "missingindicator_x": [1.0, 2.0, None] * 4,
        }
    )
    kinds = {"size": "categorical", "size_us": "categorical", "missingindicator_x": "number"}
    cleaned = clean(frame, kinds)
    fitted = encoding.encoder(cleaned, kinds, is_unpenalized=True).fit(cleaned)
    assert encoding.feature_names(fitted) == [
        "missingindicator_x",
        "missingindicator_x is missing",
        "size = uk",
        "size = us_10",
        "size_us = b",
        "size_us = c",
        "size_us is missing",
    ]
    assert fitted.transform(cleaned).shape[1] == 7


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.0, None, 1.0], [0, 1, 1]),
        ([True, None, False], [True, False]),
        ([1, "a", 2.5], ["1", "a", "2.5"]),
        (["b", "a"], ["b", "a"]),
        (["b ", "a", "b"], ["b", "a", "b"]),
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
        ([1, "a", None] * 20, "categorical"),
        (list(range(100)), "identifier"),
        (list(range(5)), "number"),
        (["01/02/2020", "28/02/2020"], "date %d/%m/%Y"),
        (["02/28/2020", "01/02/2020"], "date %m/%d/%Y"),
        (["28.02.2020", None], "date %d.%m.%Y"),
        (["28/02/20 14:30", "01/03/20 09:15"], "date %d/%m/%y %H:%M"),
        (["2/28/2020 2:30 PM", "3/1/2020 9:15 AM"], "date %m/%d/%Y %I:%M %p"),
        (["5 Jan 2020", "17 Mar 2020"], "date %d %b %Y"),
        (["March 3, 2021", "May 17, 2021"], "date %B %d, %Y"),
        (["02.28.2020", "03.01.2020"], "date %m.%d.%Y"),
        (["Feb-28-2020", "Mar-01-2020"], "date %b-%d-%Y"),
        (["Feb 28 2020", "Mar 1 2020"], "date %b %d %Y"),
        (["$1,234.50", "-$3", "($1,000)"], "number 1,234.5"),
        (["1.234,50 €", "3 €", "1 000 €"], "number 1.234,5"),
        (["12%", "3.5 %", "-100%"], "number 1,234.5"),
        (["1,234", "999", "12,000"], "number 1,234.5"),
        (["1,5", "0,125", "20,25"], "number 1.234,5"),
        (["6.630 €", "12,50 €"] + ["1.200 €"] * 60, "number 1.234,5"),
        (["2.612 €", "1.200.000 €"] + ["3.380 €"] * 60, "number 1.234,5"),
        (["6.630 €", "12.500 €"], "number 1.234,5"),  # amounts of money have no three decimals
        (["$6,630", "$12,500"], "number 1,234.5"),
        (["3,380.34", "2,612"] + ["5,656"] * 60, "number 1,234.5"),
        (["2.612", "1.200.000"] + ["3.380"] * 60, "number 1.234,5"),
        (["6.630", "12.500", "1.200"], "number"),
        (["$5", "€5", "$7"], "identifier"),  # no common unit
        (["1,23,4", "5,6,7", "8,9"], "text"),
        (["2020-01-01T10:00:00+01:00", "2020-01-02"], "date ISO8601"),
        (pd.to_datetime(["2020-01-01", None]), "date ISO8601"),
        ([pd.Timestamp("2020-01-01").date(), pd.Timestamp("2020-01-02").date()], "date ISO8601"),
        (pd.period_range("2020", periods=2, freq="M"), "date ISO8601"),
        (pd.to_timedelta([1, 2, None], unit="h"), "number"),
        (pd.array([1, 2, None], dtype="Int64"), "number"),
        (pd.Categorical(["1", "2"] * 20), "categorical"),
        (["yes", "no"] * 20, "categorical"),
        ([True, None, False], "boolean"),
        ([[1, 2, 3], [4, 5, 6]] * 2 + [[7, 8, 9]] * 30, "categorical"),
        (["!!!", "???"] * 1 + ["..."], "identifier"),
        ([None, "x"], "categorical"),
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
        clean(pd.DataFrame({"a": [1]}), {"a": "number", "b": "categorical"})


def test_amounts():
    words = ["$1,234.50", "-$3", "($2,000.25)", "+4", "1 234", "1'234", "USD 7", "12.5%", ".5", "-"]
    values = columns.as_numbers(pd.Series([*words, None]), "number 1,234.5")
    expected = [1234.5, -3, -2000.25, 4, 1234, 1234, 7, 0.125, 0.5, np.nan, np.nan]
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (["28/02/2020", "01/02/2020"], "Date ('28/02/2020' = 28 February 2020)"),
        (
            ["03/02/2020", "04/02/2020"],
            "Date ('03/02/2020' = 3 February 2020, or month first: both are possible)",
        ),
        (["2020-02-28", "2020-02-29"], "Date"),
        (["02.28.2020", "02.01.2020"], "Date ('02.28.2020' = 28 February 2020)"),
        (["$5", "$1,234.50"], "Number ('$1,234.50' = 1234.5)"),
        (["7,5 €", "6.630 €"], "Number ('6.630 €' = 6630)"),
        (["20 €", "6.630 €"], "Number ('6.630 €' = 6630, or 6.63 by --decimal .)"),
        (["$20", "$6,630"], "Number ('$6,630' = 6630, or 6.63 by --decimal ,)"),
        (["1", "x"] + ["2"] * 40, "Number, 1 other values count as missing"),
        ([1, 2, 2], "Number"),
        (pd.to_timedelta([1, 2, 2], unit="h"), "Number of seconds"),
        ([None, None], "Left out (no value)"),
    ],
)
def test_description_of_what_a_column_became(values, text):
    series = pd.Series(values)
    assert columns.describe(columns.column_kind("x", series), series) == text


@pytest.mark.parametrize(("decimal", "number"), [(".", 6.63), (",", 6630)])
def test_a_decimal_sign_that_is_known_settles_what_a_point_is(decimal, number):
    for values in (["6.630 €", "1.200 €"], ["6.630", "1.200"]):
        series = pd.Series(values)
        kind = columns.column_kind("x", series, decimal)
        assert columns.as_numbers(series, kind)[0] == number
        assert "by --decimal" not in columns.describe(kind, series, decimal)


def test_a_decimal_sign_gives_way_to_a_column_that_contradicts_it():
    assert columns.column_kind("x", pd.Series(["1,234.50 $", "2.25 $"]), ",") == "number 1,234.5"
    assert columns.column_kind("x", pd.Series(["1e-5", "2e-7"]), ",") == "number"
