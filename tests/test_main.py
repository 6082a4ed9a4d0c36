"""The command line: real files in, one table out; every mistake one line and exit code 2."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import skops.io

from skorch_logreg import command
from skorch_logreg.__main__ import main
from skorch_logreg.command import clean, column_kinds, read_table
from skorch_logreg.command.files import TRUSTED, dialect


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


def refused(capsys, *argv):
    """Run the command, which must end with code 2, and return its one line on stderr."""
    code = main([str(arg) for arg in argv])
    captured = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in captured.err
    (line,) = captured.err.splitlines()
    assert line.startswith("skorch_logreg: ")
    return line


def table(out):
    """Return the two lines of the comparison as lists of cells."""
    rows = [line.split() for line in out.splitlines()]
    start = next(i for i, row in enumerate(rows) if row[:2] == ["seconds", "objective"])
    return rows[start + 1 : start + 3]


# ---------------------------------------------------------------- what works


def test_default_job_needs_no_argument_and_no_extra():
    script = """
import sys
class Absent:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {"pandas", "polars", "pyarrow", "rich", "skops"}:
            raise ModuleNotFoundError(name=name)
sys.meta_path.insert(0, Absent)
from skorch_logreg.__main__ import main
sys.exit(main([]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    ours, theirs = table(done.stdout)
    assert (ours[0], theirs[0]) == ("TorchLogisticClassifier", "LogisticRegression")
    assert float(ours[2]) == pytest.approx(float(theirs[2]), rel=1e-3)
    assert float(ours[3]) <= 1e-6
    assert all(float(score) > 0.95 for score in (ours[4], ours[6]))
    assert "worst radius" in done.stdout


def test_help_names_every_option():
    done = subprocess.run(
        [sys.executable, "-m", "skorch_logreg", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    for option in ["--target", "--C", "--l1-ratio", "--test-size", "--seed", "--save", "--model"]:
        assert option in done.stdout


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


def test_table_is_reported(csv, capsys):
    assert main([str(csv), "--target", "left"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "Left out (no value): 'nothing'" in captured.out
    assert "Left out (a single value): 'same'" in captured.out
    assert "Left out (hardly a value twice): 'Unnamed: 0', 'code'" in captured.out
    assert "180 rows to learn from, 60 held out" in captured.out
    assert re.search(r"[+-]\d+\.\d{4} +yes +member\n", captured.out)
    for row in table(captured.out):
        assert float(row[6]) > 0.7


def test_names_of_encoded_columns(csv):
    frame = read_table(csv)
    kinds = {"age": "number", "city": "label", "review": "text", "joined": "date ISO8601"}
    cleaned = clean(frame, kinds)
    names = command.feature_names(command.encoder(cleaned, kinds).fit(cleaned))
    for name in [
        "age",
        "age is missing",
        "city = Rome",
        "city is missing",
        "review: late",
        "joined (year, sin)",
    ]:
        assert name in names


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


def test_many_classes_and_a_class_of_one_row(tmp_path, rng, capsys):
    n = 150
    kind = rng.choice(["red", "green", "blue"], n)
    kind[0] = "grey"
    x = rng.normal(size=n) + 3 * (kind == "red")
    path = tmp_path / "colours.csv"
    pd.DataFrame({"x": x, "z": rng.normal(size=n), "kind": kind}).to_csv(path, index=False)
    predictions = tmp_path / "out.csv"
    argv = [path, "--target", "kind", "--predict", path, "--output", predictions]
    assert main([str(arg) for arg in argv]) == 0
    out = capsys.readouterr().out
    assert "classes of a single row, 'grey'" in out
    assert "3 classes: blue" in out
    assert len(table(out)[0]) == 7
    proba = pd.read_csv(predictions)
    assert list(proba.columns) == ["blue", "green", "red"]
    assert len(proba) == n
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-12)


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
    labels = command.target_labels(pd.Series(values, name="y").dropna())
    assert labels.dtype.kind in "biuU"
    assert labels.tolist() == expected


def test_rows_without_a_target_are_left_out(passengers, tmp_path, capsys):
    passengers.loc[:39, "left"] = None
    path = tmp_path / "holes.csv"
    passengers.to_csv(path, index=False)
    assert main([str(path), "--target", "left", "--test-size", "0"]) == 0
    out = capsys.readouterr().out
    assert "Left out: 40 rows without a target" in out
    assert "200 rows to learn from, 0 held out" in out
    assert table(out)[0][4:] == ["-", "-", "-"]


@pytest.mark.parametrize("options", [["--l1-ratio", "1", "--C", "0.1"], ["--C", "inf"]])
def test_other_penalties(csv, capsys, options):
    assert main([str(csv), "--target", "left", *options]) == 0
    out = capsys.readouterr().out
    assert float(table(out)[0][3]) <= 1e-6
    assert "+0.0000" not in out  # what the penalty set to zero is no large coefficient


def test_saved_model_predicts_alone(csv, passengers, tmp_path, capsys):
    model, first, second = (tmp_path / name for name in ("m.skops", "1.csv", "2.csv"))
    argv = [csv, "--target", "left", "--save", model, "--predict", csv, "--output", first]
    assert main([str(arg) for arg in argv]) == 0
    capsys.readouterr()
    # another file: other types, unknown labels, the target and useless columns gone
    other = passengers.drop(columns=["left", "same", "code"]).assign(age="40")
    other.loc[0, ["age", "city", "joined", "review"]] = ["?", "Quito", None, None]
    path = tmp_path / "other.csv"
    other.to_csv(path, index=False)
    assert main(["--model", str(model), "--predict", str(csv)]) == 0
    second.write_text(capsys.readouterr().out)
    np.testing.assert_allclose(pd.read_csv(first), pd.read_csv(second), rtol=1e-12)
    assert main(["--model", str(model), "--predict", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "no,yes"
    proba = np.array([line.split(",") for line in lines[1:]], dtype=float)
    assert np.all((proba > 0) & (proba < 1))


def test_probabilities_on_stdout_are_alone_there(csv, capsys):
    assert main([str(csv), "--target", "left", "--predict", str(csv)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("no,yes\n")
    assert len(captured.out.splitlines()) == 241
    assert "ROC AUC" in captured.err


@pytest.mark.parametrize(("long", "l1_ratio", "n_bars"), [(0, 0, 2), (0, 0.5, 1), (1e9, 0, 0)])
def test_long_fits_show_scikit_learns_progress_bar(rng, monkeypatch, long, l1_ratio, n_bars):
    """One for each model that can have it; saga cannot, and a short fit needs none."""
    callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.8 has no callbacks")
    fits = []

    class Bar(callback.ProgressBar):
        def setup(self, estimator, context):
            fits.append(type(estimator).__name__)
            super().setup(estimator, context)

    monkeypatch.setattr(callback, "ProgressBar", Bar)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    X, y = rng.normal(size=(60, 2)), rng.integers(0, 2, 60)
    problem = command.Problem(X, y, X, y, ["a", "b"])
    results = command.compare(problem, 1.0, l1_ratio, 0, bar_size=long)
    assert fits == ["TorchLogisticClassifier", "LogisticRegression"][:n_bars]
    assert skops.io.loads(skops.io.dumps(results[0].model), TRUSTED).C == 1.0


# ---------------------------------------------------------------- what is refused


def test_unknown_column(csv, capsys):
    line = refused(capsys, csv, "--target", "nope")
    assert "has no column 'nope'; it has 'Unnamed: 0', 'age'," in line


def test_constant_target(csv, capsys):
    assert "'same' has a single value, x" in refused(capsys, csv, "--target", "same")


def test_empty_target(csv, capsys):
    assert "'nothing' has no value" in refused(capsys, csv, "--target", "nothing")


@pytest.mark.parametrize("target", ["age", "code"])
def test_target_that_is_no_class(csv, capsys, target):
    assert "name a column of classes" in refused(capsys, csv, "--target", target)


def test_missing_file(tmp_path, capsys):
    line = refused(capsys, tmp_path / "absent.csv", "--target", "y")
    assert "Cannot read" in line
    assert "No such file or directory" in line


@pytest.mark.parametrize("column", ["x", "y"])
def test_integers_of_any_length(tmp_path, column):
    """pandas reads them as objects, as infinite or, where it is 3.0, sometimes not at all."""
    long = "1" * 400
    frame = pd.DataFrame({"x": [0, 3, 3, 1, 5, 2, 1, 0] * 5, "y": [0, 1] * 20}).astype(str)
    frame.loc[::4, column] = long
    frame.loc[1::8, column] = f"-{long}"
    path = tmp_path / "long.csv"
    frame.to_csv(path, index=False)
    assert main([str(path), "--target", "y", "--predict", str(path)]) in (0, 2)


def test_integers_that_pandas_cannot_read(tmp_path, capsys, monkeypatch):
    def read_csv(*args, **kwargs):
        raise OverflowError("int too large to convert to float")

    monkeypatch.setattr(pd, "read_csv", read_csv)
    path = tmp_path / "long.csv"
    path.write_text("x,y\n1,0\n")
    assert "int too large to convert" in refused(capsys, path, "--target", "y")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.csv", b"", "No columns to parse"),
        ("header.csv", b"a,b\n", "no rows"),
        ("latin.csv", "a,b\nü,1\n".encode("latin-1"), "not UTF-8"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3,4\n", "Expected 2 fields"),
        ("not.parquet", b"a,b\n1,2\n", "arquet"),
        ("not.csv.gz", b"a,b\n1,2\n", "gzip"),
    ],
)
def test_unreadable_file(tmp_path, capsys, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    assert reason in refused(capsys, path, "--target", "b")


def test_folder_instead_of_a_file(tmp_path, capsys):
    assert "Is a directory" in refused(capsys, tmp_path, "--target", "b")


def test_nothing_to_learn_from(tmp_path, capsys):
    path = tmp_path / "thin.csv"
    path.write_text("same,y\n" + "1,a\n1,b\n" * 10)
    code = main([str(path), "--target", "y"])
    assert code == 2
    assert "no column to learn from" in capsys.readouterr().err


def test_too_few_rows_to_hold_out(tmp_path, capsys):
    path = tmp_path / "tiny.csv"
    path.write_text("x,y\n1,a\n2,b\n1,a\n2,b\n")
    assert "Cannot hold rows out" in refused(capsys, path, "--target", "y", "--test-size", "0.1")


def test_column_missing_at_prediction(csv, passengers, tmp_path, capsys):
    other = tmp_path / "other.csv"
    passengers.drop(columns=["age", "city"]).to_csv(other, index=False)
    model = tmp_path / "m.skops"
    assert main([str(csv), "--target", "left", "--save", str(model)]) == 0
    capsys.readouterr()
    line = refused(capsys, "--model", model, "--predict", other)
    assert "lacks the columns 'age', 'city'" in line


def test_unreadable_model(csv, tmp_path, capsys):
    assert "as a model" in refused(capsys, "--model", csv, "--predict", csv)
    absent = tmp_path / "absent.skops"
    assert "No such file" in refused(capsys, "--model", absent, "--predict", csv)


def test_model_of_something_else(csv, tmp_path, capsys):
    path = tmp_path / "list.skops"
    skops.io.dump([1, 2], path)
    assert "not a model that --save" in refused(capsys, "--model", path, "--predict", csv)


def test_model_with_a_stranger_s_code(csv, tmp_path, capsys):
    """A model file may name no function but ours."""
    path = tmp_path / "stranger.skops"
    skops.io.dump([subprocess.run], path)
    assert "as a model" in refused(capsys, "--model", path, "--predict", csv)


@pytest.mark.parametrize("option", ["--save", "--output"])
def test_unwritable_file(csv, tmp_path, capsys, option):
    name = tmp_path / "absent" / "file.skops"
    argv = [csv, "--target", "left", "--predict", csv, option, name]
    assert main([str(arg) for arg in argv]) == 2
    assert "Cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "argv"),
    [
        ("pandas", ["FILE", "--target", "left"]),
        ("pyarrow", ["PARQUET", "--target", "left"]),
        ("skops", ["FILE", "--target", "left", "--save", "m.skops"]),
        ("skops", ["--model", "m.skops", "--predict", "FILE"]),
    ],
)
def test_missing_package(csv, passengers, capsys, monkeypatch, module, argv):
    parquet = csv.with_suffix(".parquet")
    passengers.to_parquet(parquet)
    monkeypatch.chdir(csv.parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    names = {"FILE": csv, "PARQUET": parquet}
    line = refused(capsys, *(names.get(arg, arg) for arg in argv))
    assert f"needs {module}, which is not installed" in line
    assert 'pip install "skorch-logreg[cli]"' in line


@pytest.mark.parametrize(
    ("argv", "reason"),
    [
        (["x.csv"], "go together"),
        (["--target", "y"], "go together"),
        (["--save", "m.skops"], "--save needs FILE"),
        (["--predict", "x.csv"], "--predict needs FILE or --model"),
        (["--model", "m.skops"], "--model needs --predict"),
        (["x.csv", "--target", "y", "--output", "o.csv"], "--output needs --predict"),
        (["x.csv", "--target", "y", "--model", "m.skops"], "not both"),
        (["x.csv", "--target", "y", "--save", "m.pkl"], "does not end in .skops"),
        (["--C", "0"], "not above 0"),
        (["--C", "nan"], "not above 0"),
        (["--C", "x"], "invalid positive value"),
        (["--l1-ratio", "2"], "not between 0 and 1"),
        (["--test-size", "1"], "below 1"),
        (["--seed", "-1"], "not between 0 and 2**32"),
    ],
)
def test_arguments_that_do_not_fit(capsys, argv, reason):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


def test_interrupt_has_no_traceback(csv, capsys, monkeypatch):
    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "read_table", interrupted)
    assert main([str(csv), "--target", "left"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_reader_that_stops_early_is_no_error(csv):
    script = f"{sys.executable} -m skorch_logreg {csv} --target left --predict {csv} 2>/dev/null"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{script} | head -c 5"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "no,ye", "")


# ---------------------------------------------------------------- single columns


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
    if kind in command.UNUSABLE_KINDS:
        return
    cleaned = clean(frame, {"x": kind})
    encoded = command.encoder(cleaned, {"x": kind}).fit_transform(cleaned)
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
