"""The command line: real files in, one table out; every mistake one line and exit code 2."""

import base64
import gzip
import html
import importlib.metadata
import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression

import skorch_logreg
from skorch_logreg.__main__ import main
from skorch_logreg.command import files


def refused(capsys, *argv):
    """Run the command, which must end with code 2, and return its one line on stderr."""
    code = main([str(arg) for arg in argv])
    captured = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in captured.err
    (line,) = captured.err.splitlines()
    assert line.startswith("skorch-logreg: error: ")
    return line


def table(out):
    """Return the two lines of the comparison as lists of cells."""
    rows = [line.split() for line in out.splitlines()]
    start = next(i for i, row in enumerate(rows) if row[:2] == ["seconds", "objective"])
    return rows[start + 1 : start + 3]


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
    assert list(proba.columns) == ["predicted", "P(blue)", "P(green)", "P(red)"]
    assert len(proba) == n
    np.testing.assert_allclose(proba.iloc[:, 1:].sum(axis=1), 1, rtol=1e-12)
    assert (proba.iloc[:, 1:].idxmax(axis=1) == "P(" + proba["predicted"] + ")").all()


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
    pd.testing.assert_frame_equal(pd.read_csv(first), pd.read_csv(second), rtol=1e-12)
    assert main(["--model", str(model), "--predict", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "predicted,P(no),P(yes)"
    proba = np.array([line.split(",")[1:] for line in lines[1:]], dtype=float)
    assert np.all((proba > 0) & (proba < 1))


def test_probabilities_on_stdout_are_alone_there(csv, capsys):
    assert main([str(csv), "--target", "left", "--predict", str(csv)]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("predicted,P(no),P(yes)\n")
    assert len(captured.out.splitlines()) == 241
    assert "ROC AUC" in captured.err


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
        ("unknown.csv", b"a,b\n\x81\xfc,1\n", "'charmap' cannot read byte 0x81"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3,4\n", "Expected 2 fields"),
        ("not.parquet", b"a,b\n1,2\n", "arquet"),
        ("not.csv.gz", b"a,b\n1,2\n", "gzip"),
        ("cut.csv.gz", gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-9], "ended before"),
        ("book.xlsx", b"PK\x03\x04\x14\x00\x06\x00", "save a spreadsheet as CSV"),
        ("twice.csv", b"a,b,a \n1,2,3\n", "several columns 'a'"),
        ("target.csv", b"a,b,b\n1,2,3\n", "several columns 'b'"),
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
    name = tmp_path / "folder.skops"
    name.mkdir()
    argv = [csv, "--target", "left", "--predict", csv, option, name]
    assert main([str(arg) for arg in argv]) == 2
    assert "Cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "argv"),
    [
        ("pandas", ["FILE", "--target", "left"]),
        ("pyarrow", ["PARQUET", "--target", "left"]),
        ("matplotlib", ["FILE", "--target", "left", "--report", "r.html"]),
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
        (["--drop", "x"], "--drop needs FILE"),
        (["--categorical", "x"], "--categorical needs FILE"),
        (["--weight", "x"], "--weight needs FILE"),
        (["--key", "x"], "--key needs --predict"),
        (["--encoding", "cp1252"], "--encoding needs a table"),
        (["--decimal", ","], "--decimal needs a table"),
        (["--cv", "1"], "not at least 2"),
        (["--cv", "5", "--C", "2"], "either --C or --cv"),
        (["--summary", "--l1-ratio", "0.5"], "--summary needs an L2 penalty or none"),
        (["--summary", "--class-weight", "balanced"], "--summary takes no --class-weight"),
        (["--report", "absent/x.html"], "--report: there is no folder absent"),
        (["--baseline", "--test-size", "0"], "--baseline needs rows"),
        (["--report", "x.pdf"], "does not end in .html"),
        (["-", "--target", "y", "--predict", "-"], "read once only"),
        (
            ["--model", "m", "--predict", "x", "--C", "2", "--cv", "3"],
            "--C, --cv: --model does not",
        ),
    ],
)
def test_arguments_that_do_not_fit(capsys, argv, reason):
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert reason in capsys.readouterr().err


def test_interrupt_has_no_traceback(csv, capsys, monkeypatch):
    def interrupted(path, *args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(files, "read_table", interrupted)
    assert main([str(csv), "--target", "left"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_reader_that_stops_early_is_no_error(csv):
    script = f"{sys.executable} -m skorch_logreg {csv} --target left --predict {csv} 2>/dev/null"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{script} | head -c 9"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "predicted", "")


def test_predictions_read_numbers_as_the_training_table_did(tmp_path, capsys):
    """Two rows without a comma do not show that 6.630 is 6630."""
    rng = np.random.default_rng(0)
    rows = [f"{k % 9 + 1}.{k:03d};{rate};{'ab'[k % 2]}" for k, rate in enumerate(rng.random(80))]
    learn, model, other = (tmp_path / name for name in ("l.csv", "m.skops", "o.csv"))
    learn.write_text("price;rate;y\n" + "\n".join(rows).replace("0.", "0,") + "\n")
    run(capsys, learn, "--target", "y", "--save", model)
    found = []
    for text in ("6.630;1\n1.200;2\n", "6630;1,0\n1200;2,0\n"):
        other.write_text(f"price;rate\n{text}")
        found.append(run(capsys, "--model", model, "--predict", other))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("sign", "text"),
    [(".", "= 100.1)"), (",", "= 100100)"), (None, "= 100100, or 100.1 by --decimal .)")],
)
def test_decimal_sign_of_a_parquet_file(tmp_path, capsys, sign, text):
    path = tmp_path / "t.parquet"
    prices = [f"{k}.{k} €" for k in range(100, 140)]
    pd.DataFrame({"price": prices, "y": ["a", "b"] * 20}).to_parquet(path)
    named = [] if sign is None else ["--decimal", sign]
    assert main([str(path), "--target", "y", "--test-size", "0", *named]) == 0
    assert f"Number ('100.100 €' {text}: 'price'" in capsys.readouterr().out


def run(capsys, *argv):
    """Run the command, which must succeed, and return its stdout."""
    assert main([str(arg) for arg in argv]) == 0
    return capsys.readouterr().out


@pytest.fixture
def stdin(monkeypatch):
    """Return a function that puts a file's bytes on standard input."""

    def replace(path):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(path.read_bytes())))

    return replace


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"skorch-logreg {skorch_logreg.__version__}\n"


def test_console_script_is_the_module():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    script = importlib.metadata.EntryPoint("", project["project"]["scripts"]["skorch-logreg"], "")
    assert script.load() is main


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_standard_input(csv, passengers, stdin, capsys, suffix):
    path = csv.with_suffix(suffix)
    if suffix == ".parquet":
        passengers.to_parquet(path)
    stdin(path)
    from_stdin = run(capsys, "-", "--target", "left").splitlines()
    from_file = run(capsys, path, "--target", "left").splitlines()
    assert [line for line in from_stdin[1:] if "LogisticRegression" not in line][5:9] == (
        [line for line in from_file[1:] if "LogisticRegression" not in line][5:9]
    )


def test_empty_standard_input(stdin, capsys):
    stdin(Path(os.devnull))
    assert "Cannot read standard input: No columns" in refused(capsys, "-", "--target", "y")


def test_predictions_of_standard_input(csv, stdin, tmp_path, capsys):
    model = tmp_path / "m.skops"
    run(capsys, csv, "--target", "left", "--save", model)
    stdin(csv)
    expected = run(capsys, "--model", model, "--predict", csv)
    assert run(capsys, "--model", model, "--predict", "-") == expected


def test_predictions_begin_with_the_key_columns(csv, passengers, capsys):
    argv = [csv, "--target", "left", "--predict", csv, "--key", "code", "city"]
    frame = pd.read_csv(io.StringIO(run(capsys, *argv)))
    assert list(frame.columns) == ["code", "city", "predicted", "P(no)", "P(yes)"]
    assert frame["code"].tolist() == passengers["code"].tolist()
    assert ((frame["P(yes)"] >= 0.5) == (frame["predicted"] == "yes")).all()


def test_keys_are_copied_as_they_are_written(csv, passengers, tmp_path, capsys):
    """No leading zero, no digit of a long integer and no "NA" is lost, in either format."""
    model, text, parquet = (tmp_path / name for name in ("m.skops", "t.csv", "t.parquet"))
    run(capsys, csv, "--target", "left", "--save", model)
    rows = passengers.iloc[:3].assign(
        plz=["01067", "10115", ""], n=[str(2**53 + 1), str(2**53), ""], land=["NA", "DE", "?"]
    )
    rows.to_csv(text, index=False)
    argv = ["--model", model, "--predict", text, "--key", "plz", "n", "land", "plz"]
    assert [line.split(",")[:3] for line in run(capsys, *argv).splitlines()] == [
        ["plz", "n", "land"],
        ["01067", "9007199254740993", "NA"],
        ["10115", "9007199254740992", "DE"],
        ["", "", "?"],
    ]
    rows.assign(n=pd.array([2**53 + 1, 2**53, None], dtype="Int64")).to_parquet(parquet)
    argv[3] = parquet
    lines = [line.split(",")[:2] for line in run(capsys, *argv).splitlines()[1:]]
    assert lines == [["01067", "9007199254740993"], ["10115", "9007199254740992"], ["", ""]]


@pytest.mark.parametrize("options", [[], ["--categorical", "plz"]])
def test_codes_with_leading_zeros(tmp_path, rng, capsys, options):
    """They are the same category in a table of digits alone as beside codes with letters."""
    codes = ["01067", "1067", "1.0", "A1"] if not options else ["01067", "1067", "1.0", "2.0"]
    frame = pd.DataFrame({"plz": np.repeat(codes, 20), "x": rng.normal(size=80).round(3)})
    frame["y"] = np.where(rng.random(80) < np.tile([0.1, 0.6], 40), "a", "b")
    path, part, model = tmp_path / "t.csv", tmp_path / "part.csv", tmp_path / "m.skops"
    frame.to_csv(path, index=False)
    run(capsys, path, "--target", "y", "--test-size", "0", "--save", model, *options)
    fitted = files.load_model(model)
    known = fitted["encode"].named_transformers_["categories"].categories_[0].tolist()
    assert known == sorted(code.removesuffix(".0") for code in codes)
    whole = pd.read_csv(io.StringIO(run(capsys, "--model", model, "--predict", path)))
    for code in codes[:3]:
        rows = frame["plz"] == code
        frame[rows].to_csv(part, index=False)
        assert main(["--model", str(model), "--predict", str(part)]) == 0
        captured = capsys.readouterr()
        predicted = pd.read_csv(io.StringIO(captured.out))["P(a)"]
        np.testing.assert_allclose(predicted, whole["P(a)"][rows], rtol=1e-12)
        assert not captured.err


def test_values_that_a_model_cannot_read_are_reported(csv, passengers, tmp_path, capsys):
    model, path = tmp_path / "m.skops", tmp_path / "other.csv"
    run(capsys, csv, "--target", "left", "--save", model)
    other = passengers.astype({"age": object}).iloc[:9]
    other.loc[[1, 2, 3], "age"] = ["n/k", np.inf, None]
    other.loc[[4, 5], "city"] = ["Quito", None]
    other.loc[6, "joined"] = "soon"
    other.to_csv(path, index=False)
    assert main(["--model", str(model), "--predict", str(path)]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "Other values count as missing: 'age' in 2 of 9 rows, 'joined' in 1 of 9 rows",
        "Categories that the model does not know: 'city' in 1 of 9 rows",
    ]
    other.assign(age="forty").to_csv(path, index=False)
    assert main(["--model", str(model), "--predict", str(path)]) == 2
    message = "no value of the column 'age' is a number as it was in the fit, for example 'forty'"
    assert message in capsys.readouterr().err
    other.assign(age=None).to_csv(path, index=False)  # missing everywhere is no mistake
    assert main(["--model", str(model), "--predict", str(path)]) == 0


def test_infinite_values_in_the_table_to_learn_from(csv, passengers, capsys):
    passengers.loc[:7, "age"] = np.inf
    passengers.to_csv(csv, index=False)
    assert "Number, 6 other values count as missing: 'age'" in run(capsys, csv, "--target", "left")


def test_unknown_key(csv, capsys):
    argv = [csv, "--target", "left", "--predict", csv, "--key", "nope", "code"]
    assert main([str(arg) for arg in argv]) == 2
    assert "has no column 'nope' for --key" in capsys.readouterr().err


def test_dropped_and_categorical_columns(csv, passengers, tmp_path, capsys):
    codes = passengers.assign(age=passengers["age"].round(-1))
    codes.to_csv(csv, index=False)
    options = ["--target", "left", "--drop", "review", "joined", "--categorical", "age"]
    model = tmp_path / "m.skops"
    out = run(capsys, csv, *options, "--save", model)
    assert "Categorical: 'age', 'city'" in out
    assert "review" not in out
    assert re.search(r"age = \d0\n", out)
    # the same codes as integers, where no value is missing
    whole = codes.dropna(subset="age").astype({"age": int})
    first, second = tmp_path / "1.csv", tmp_path / "2.csv"
    codes.to_csv(first, index=False)
    whole.to_csv(second, index=False)
    all_rows, some = (
        pd.read_csv(io.StringIO(run(capsys, "--model", model, "--predict", path, "--key", "code")))
        for path in (first, second)
    )
    merged = some.merge(all_rows, on="code")
    np.testing.assert_allclose(merged["P(yes)_x"], merged["P(yes)_y"], rtol=1e-12)


def test_weights_repeat_rows(tmp_path, rng, capsys):
    """With scikit-learn as the judge: its fit of repeated rows has the same coefficients."""
    X, weight = rng.choice([-1.0, 1.0], size=(80, 2)), np.tile([1, 2, 3, 4], 20)
    y = np.where(X[:, 0] + rng.normal(size=80) > 0, "b", "a")
    frame = pd.DataFrame({"x": X[:, 0], "z": X[:, 1], "n": weight, "y": y})
    path, model = tmp_path / "t.csv", tmp_path / "m.skops"
    frame.to_csv(path, index=False)
    options = ["--target", "y", "--weight", "n", "--test-size", "0", "--save", model]
    run(capsys, path, *options, "--class-weight", "a=2", "b=0.5")
    fitted = files.load_model(model)
    Z = fitted[:-1].transform(frame)
    rows = np.repeat(np.arange(80), weight)
    reference = LogisticRegression(class_weight={"a": 2, "b": 0.5}, tol=1e-10)
    reference.fit(Z[rows], y[rows])
    np.testing.assert_allclose(fitted[-1].coef_, reference.coef_, rtol=1e-3)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (["1", "x", "2", "3"] * 10, "missing, negative or not numbers in 10 rows"),
        ([-1, 1] * 20, "missing, negative or not numbers in 20 rows"),
        ([0] * 40, "all zero"),
    ],
)
def test_weights_that_are_none(tmp_path, capsys, column, reason):
    path = tmp_path / "w.csv"
    frame = pd.DataFrame({"x": np.arange(40) % 7, "w": column, "y": [0, 1] * 20})
    frame.to_csv(path, index=False)
    assert reason in refused(capsys, path, "--target", "y", "--weight", "w")


def test_cross_validation_chooses_C(csv, tmp_path, capsys):
    model = tmp_path / "m.skops"
    out = run(capsys, csv, "--target", "left", "--cv", "4", "--save", model)
    (chosen,) = re.findall(r"C = (\S+), the best of 10 values between 0.0001 and 10000 by 4", out)
    assert files.load_model(model)[-1].C == pytest.approx(float(chosen), rel=1e-3)


def test_more_folds_than_rows_of_a_class(csv, capsys):
    assert main([str(csv), "--target", "left", "--cv", "200"]) == 2
    assert "--cv 200 needs as many rows of each class" in capsys.readouterr().err


def test_summary_is_for_the_positive_class(csv, capsys):
    pattern = r"^(age|intercept) +([\d.e+-]+) +(\S+) +\S+ +(\S+) +(\S+) +(\S+)"
    found = {}
    for label in ("yes", "no"):
        out = run(capsys, csv, "--target", "left", "--summary", "--positive", label)
        assert f"log-odds of class {label} against" in out
        sign = "\\+" if label == "yes" else "-"
        assert re.search(rf"{sign}\d\.\d{{4}} +{label} +member\n", out)
        found[label] = {row[0]: np.array(row[1:], float) for row in re.findall(pattern, out, re.M)}
    for name, (coef, error, p, low, high) in found["yes"].items():
        expected = [-coef, error, p, -high, -low]
        np.testing.assert_allclose(found["no"][name], expected, rtol=1e-3)
    assert set(found["yes"]) == {"age", "intercept"}


def test_summary_without_a_penalty_leaves_the_first_category_out(csv, capsys):
    drop = ["--drop", "review"]
    out = run(capsys, csv, "--target", "left", "--C", "inf", "--summary", *drop)
    assert "city = Rome" in out
    assert "city = Lima" not in out
    assert "joined (day, " not in out  # a constant, for dates without a time


def test_baseline_of_a_rare_class(csv, passengers, capsys):
    out = run(capsys, csv, "--target", "left", "--baseline", "--positive", "no")
    rate = max((passengers["left"] == label).mean() for label in ("no", "yes"))
    (row,) = [line.split() for line in out.splitlines() if line.startswith("always")]
    assert float(row[5]) == pytest.approx(rate, abs=0.01)
    assert row[7:9] == ["0.5000", "0.5000"]
    n_no = (passengers["left"] == "no").mean()
    assert float(row[9]) == pytest.approx(n_no, abs=0.01)
    counts = re.search(r"true \\ predicted +no +yes\nno +(\d+) +(\d+)\nyes +(\d+) +(\d+)\n", out)
    assert sum(map(int, counts.groups())) == 60
    assert (int(counts[1]) + int(counts[4])) / 60 == pytest.approx(
        float(table(out)[0][4]), abs=1e-4
    )


def test_page_has_the_text_and_the_figures(csv, tmp_path, capsys):
    page = tmp_path / "page.html"
    options = ["--target", "left", "--cv", "3", "--summary", "--baseline", "--report", page]
    out = run(capsys, csv, *options)
    text = page.read_text(encoding="utf-8")
    body = html.unescape(re.sub(r"<[^>]+>", "", text[text.index("<body>") :]))
    for line in out.splitlines()[:-1]:
        assert line in body
    images = re.findall(r'<img alt="([^"]+)" width="\d+" src="data:image/png;base64,(\S+)">', text)
    assert [name.split()[0] for name, _ in images] == [
        *("Largest", "Cross-validated", "Precision", "Reliability"),
    ]
    assert all(base64.b64decode(data).startswith(b"\x89PNG") for _, data in images)


def test_page_of_many_classes_without_held_out_rows(csv, tmp_path, capsys):
    page = tmp_path / "<page>.html"
    options = ["--target", "city", "--test-size", "0", "--summary", "--report", page]
    run(capsys, csv, *options)
    assert page.read_text(encoding="utf-8").count("<img ") == 1


def test_labels_that_are_not_classes(csv, capsys):
    for option in (["--positive", "maybe"], ["--class-weight", "maybe=2"]):
        assert main([str(csv), "--target", "left", *option]) == 2
        error = capsys.readouterr().err
        assert f"{option[0]} names 'maybe'; the classes of the target are 'no', 'yes'." in error
    assert main([str(csv), "--target", "city", "--positive", "Rome"]) == 2
    assert "--positive is for two classes, and the target has 3" in capsys.readouterr().err


@pytest.mark.parametrize("weight", ["2", "yes=x", "=", "balanced"])
def test_class_weights_that_are_none(csv, capsys, weight):
    assert main([str(csv), "--target", "left", "--class-weight", "no=1", weight]) == 2
    assert "--class-weight is 'balanced' or some LABEL=NUMBER" in capsys.readouterr().err


def test_column_with_two_purposes(csv, capsys):
    line = refused(capsys, csv, "--target", "left", "--drop", "city", "left")
    assert "'left' is named by --target and --drop" in line


def test_unpenalised_collinear_columns_have_no_standard_errors(tmp_path, rng, capsys):
    path = tmp_path / "twins.csv"
    x = rng.normal(size=60)
    y = (x + rng.normal(size=60) > 0).astype(int)
    pd.DataFrame({"x": x, "z": 2 * x, "y": y}).to_csv(path, index=False)
    model = tmp_path / "m.skops"
    line = refused(capsys, path, "--target", "y", "--C", "inf", "--summary", "--save", model)
    assert "--summary: " in line
    assert files.load_model(model)[-1].C == np.inf  # the fit is not lost
