"""Every file format gives the same table."""

import pandas as pd
import pytest

from skorch_logreg.command.columns import clean, column_kinds
from skorch_logreg.command.errors import CommandError
from skorch_logreg.command.files import dialect, read_table
from skorch_logreg.data.tensors import SAMPLE_ROWS


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv", ".parquet"])
def test_every_file_format_gives_the_same_table(passengers, tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        passengers.to_parquet(path)
    else:
        passengers.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    kinds = {"age": "number", "member": "boolean", "city": "categorical", "joined": "date ISO8601"}
    expected = clean(passengers, kinds)
    pd.testing.assert_frame_equal(clean(read_table(path), kinds), expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n", (",", ".")),
        ("a;b\n1.234;1,5\n20.000;2,5\n", (";", ",")),
        ("a;b\n1.234,5;x\n", (";", ",")),
        ("a;b\n1.25;1,5\n", (";", ".")),
        ("a;b\n1,5;2\n3,25;4\n", (";", ",")),
        ("a;b\n1.5;x, y\n2.5;z\n", (";", ".")),
        ("a;b\n6.630;x\n630;y\n-1.250;z\n;z\n", (";", ",")),  # a writer of 630 would write 6.63
        ("a;b\n6.630;630\n1.250;45\n", (";", ".")),
        ("a;b\n6.631;x\n630;y\n", (";", ".")),
        ("a;b\n6.630;0.5\n630;y\n", (";", ".")),
        ("a\tb\n1\t2\n", ("\t", ".")),
        ("a|b\n1|2\n", ("|", ".")),
        ('a,b\n"x;y;z",2\n"x;y;z",3\n', (",", ".")),
        ("a\n1\n2\n", (",", ".")),
        ('"a"  "b"\n1 "x y"\n2 "z"\n', (" ", ".")),
        ("when,what\n2020-01-01 10:00,a b\n2020-01-02 11:00,c d\n", (",", ".")),
        ("free text\nof many words\nor few\n", (",", ".")),
        ('a,b\n"two\nlines, here",2\n', (",", ".")),
        ("a;b\n1;1,5;\n2;2,5;\n", (";", ",")),
        ("a\tb\nr1\t1\t2\nr2\t3\t4\n", ("\t", ".")),
    ],
)
def test_separator_and_decimal_sign(text, expected):
    assert dialect(text) == expected


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_found(tmp_path, encoding):
    path, notes = tmp_path / "t.csv", []
    path.write_bytes("größe,y\n1,€\n".encode(encoding))
    frame = read_table(path, notify=notes.append)
    assert frame.to_dict("list") == {"größe": [1], "y": ["€"]}
    assert len(notes) == (encoding == "cp1252")


def test_named_encoding(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("größe,y\n1,č\n".encode("cp1250"))
    assert read_table(path, "cp1250")["y"].tolist() == ["č"]
    with pytest.raises(CommandError, match="unknown encoding: nope"):
        read_table(path, "nope")
    with pytest.raises(CommandError, match="'utf-8' cannot read byte 0xf6 .*--encoding"):
        read_table(path, "utf-8")


def test_thousands_with_points(tmp_path):
    """A file with decimal commas, whose integers pandas leaves as words or reads as fractions."""
    path = tmp_path / "t.csv"
    path.write_text("n;x;day;full\n1.234;1,5;28.02.2020;1.234,5\n999;2;01.03.2020;12\n;3;;1,25\n")
    frame = read_table(path)
    assert frame["n"].tolist()[:2] == [1234, 999]
    assert frame["x"].tolist() == [1.5, 2, 3]
    kinds = {"day": "date %d.%m.%Y", "full": "number 1.234,5"}
    assert column_kinds(frame[["day", "full"]]) == kinds
    assert clean(frame, kinds)["full"].tolist() == [1234.5, 12, 1.25]


def test_codes_beside_decimal_commas(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("plz;x\n01067;1,5\n10115;\n;2,5\n")
    assert read_table(path)["plz"].tolist()[:2] == [1067, 10115]
    assert read_table(path, words=["plz"])["plz"].tolist()[:2] == ["01067", "10115"]


@pytest.mark.parametrize("separator", [",", ";"])
def test_named_decimal_sign(tmp_path, separator):
    path, notes = tmp_path / "t.csv", []
    path.write_text(f"a{separator}b\n6.630{separator}1\n1.200{separator}2\n")
    assert read_table(path, notify=notes.append)["a"].tolist() == [6.63, 1.2]
    assert read_table(path, decimal=",", notify=notes.append)["a"].tolist() == [6630, 1200]
    assert not notes
    path.write_text("a;b\n1,5;2\n")
    frame = read_table(path, notify=notes.append)
    assert (frame["a"].item(), frame.attrs["decimal"]) == (1.5, ",")
    assert notes == ["Decimal sign: a comma; --decimal names another."]
    assert read_table(path, decimal=".")["a"].tolist() == ["1,5"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("t{0}a", "", "{0}"), ("t{0}a{0}", "", "{0}"), ("t{0}a", "r{1}{0}", "")],
    ids=["separator at the end of rows", "and of the header", "names of rows"],
)
def test_rows_with_a_field_more_than_the_header(tmp_path, separator, header, start, end):
    """No column takes the values of its neighbour."""
    rows = [f"{start}{label}{{0}}{i}{end}".format(separator, i) for i, label in enumerate("xyxy")]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([header.format(separator), *rows]) + "\n")
    frame = read_table(path)
    assert frame["t"].tolist() == list("xyxy")
    assert frame["a"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("row", ["x,{0},5", "x,{0},5,6"])
def test_rows_with_more_fields_than_the_header_are_refused(tmp_path, row):
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["t,a", *(row.format(i) for i in range(4))]))
    with pytest.raises(CommandError, match="its rows have more fields than its header"):
        read_table(path)


def test_a_sample_that_ends_within_a_quoted_field(tmp_path):
    path = tmp_path / "t.csv"
    rows = (f'{i};"first line\nsecond line";yes\n' for i in range(SAMPLE_ROWS))
    path.write_text("a;txt;t\n" + "".join(rows))
    assert read_table(path).columns.tolist() == ["a", "txt", "t"]


def test_the_index_of_a_parquet_file(tmp_path):
    """One with a name is a column, one that numbers the rows is not."""
    frame, path = pd.DataFrame({"x": [1.0, 2.0]}), tmp_path / "t.parquet"
    for index, names in ((pd.Index([3, 4], name="dose"), ["dose", "x"]), (None, ["x"])):
        frame.set_axis(frame.index if index is None else index).to_parquet(path)
        assert read_table(path).columns.tolist() == names
