"""Every file format gives the same table."""

import pandas as pd
import pytest

from skorch_logreg.command.columns import clean
from skorch_logreg.command.files import dialect, read_table


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_every_file_format_gives_the_same_table(passengers, tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        passengers.to_parquet(path)
    else:
        passengers.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    kinds = {"age": "number", "member": "boolean", "city": "label", "joined": "date ISO8601"}
    expected = clean(passengers, kinds)
    pd.testing.assert_frame_equal(clean(read_table(path), kinds), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n", (",", ".")),
        ("a;b\n1,5;2\n3,25;4\n", (";", ",")),
        ("a;b\n1.5;x, y\n2.5;z\n", (";", ".")),
        ("a\tb\n1\t2\n", ("\t", ".")),
        ("a|b\n1|2\n", ("|", ".")),
        ('a,b\n"x;y;z",2\n"x;y;z",3\n', (",", ".")),
        ("a\n1\n2\n", (",", ".")),
        ('"a"  "b"\n1 "x y"\n2 "z"\n', (" ", ".")),
        ("when,what\n2020-01-01 10:00,a b\n2020-01-02 11:00,c d\n", (",", ".")),
        ("free text\nof many words\nor few\n", (",", ".")),
        ('a,b\n"two\nlines, here",2\n', (",", ".")),
    ],
)
def test_separator_and_decimal_sign(text, expected):
    assert dialect(text) == expected
