"""Sources of chunks: what is not sound in them is refused, in words that say what is."""

import pickle
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import ArrayChunks, NpyChunks, ParquetChunks
from skorch_logreg.exceptions import ParameterError


@pytest.mark.parametrize("rows", [0, -1, 1.5, True, "3", np.nan, [2]])
def test_rows_of_a_chunk_are_a_whole_number(rows):
    with pytest.raises(ParameterError, match="rows is .*, expected a whole number from 1, or None"):
        ArrayChunks(np.zeros((4, 2)), rows=rows)


@pytest.mark.parametrize("rows", [1, np.int64(3), 4, 100])
def test_chunks_of_so_many_rows(rows):
    chunks = ArrayChunks(np.arange(8.0).reshape(4, 2), rows=rows)
    parts = [chunks.chunk(i) for i in range(len(chunks))]
    np.testing.assert_array_equal(np.concatenate(parts), chunks.array)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16, torch.int8])
def test_tensors_are_sliced_too(dtype):
    X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    X, y = (3 * X).to(dtype), np.arange(40) % 3 == 0
    found = TorchLogisticClassifier(tol=1e-6).fit(ArrayChunks(X, rows=7), y)
    expected = TorchLogisticClassifier(tol=1e-6).fit(X.double().numpy(), y)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-4)


@pytest.mark.parametrize(
    "array",
    [[[1.0, 2.0]], None, "X.npy", np.float64(3.0), pd.DataFrame({"a": [1.0]}), np.zeros(())],
    ids=lambda a: type(a).__name__,
)
def test_what_is_no_array_is_refused_at_once(array):
    with pytest.raises(ParameterError, match="array is of type .*, expected an array with shape"):
        ArrayChunks(array)


# ---------------------------------------------------------------------------- files of NumPy


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("code was loaded from a file of rows",)


def _truncated(path):
    np.save(path, np.zeros((100, 3)))
    path.write_bytes(path.read_bytes()[:-9])


def _header(path, text):
    np.save(path, np.zeros((4, 2)))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(4, 2)", text))


def _sparse(path):
    sp.save_npz(path, sp.eye_array(4, format="csr"), compressed=False)
    path.write_bytes(path.read_bytes()[:-9])


NOT_SOUND = {
    "truncated.npy": _truncated,
    "short.npy": lambda path: path.write_bytes(b"\x93NUMPY\x01"),
    "empty.npy": lambda path: path.write_bytes(b""),
    "text.npy": lambda path: path.write_text("1.0 2.0"),
    "negative.npy": lambda path: _header(path, b"(-4,2)"),
    "code.npy": lambda path: _header(path, b"exit()"),
    "pickled.npy": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    "object.npy": lambda path: np.save(path, np.array([[Bomb()]], dtype=object)),
    "zip.npy": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)),
    "dense.npz": lambda path: np.savez(path, X=np.zeros((4, 2))),
    "truncated.npz": _sparse,
    "empty.npz": lambda path: path.write_bytes(b""),
    "no array.npz": lambda path: zipfile.ZipFile(path, "w").close(),
    "object.npz": lambda path: np.savez(path, format=np.array([Bomb()], dtype=object)),
}


@pytest.mark.parametrize("name", NOT_SOUND)
def test_promise_21_files_that_hold_no_array_are_refused_by_name(name, tmp_path):
    NOT_SOUND[name](tmp_path / name)
    good = tmp_path / "good.npy"
    np.save(good, np.zeros((4, 2)))
    kind = "an array" if name.endswith("npy") else "a sparse array"
    files = [good, tmp_path / name]
    with pytest.raises(ValueError, match=f"{name}' cannot be read as {kind}"):
        TorchLogisticClassifier().fit(NpyChunks(files), np.arange(8) % 2)


def test_folders_without_rows_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no \.npy or \.npz file"):
        len(NpyChunks(tmp_path))
    with pytest.raises(FileNotFoundError):
        len(NpyChunks(tmp_path / "nowhere"))
    np.save(tmp_path / "X.npy", np.zeros((4, 2)))
    with pytest.raises(ValueError, match="is a file; pass a folder, or a list of it"):
        len(NpyChunks(tmp_path / "X.npy"))
    (tmp_path / "X.npy").unlink()
    with pytest.raises(FileNotFoundError):
        NpyChunks([tmp_path / "X.npy"]).chunk(0)


@pytest.mark.parametrize("dtype", ["f2", ">f8", "i1", "u8", "?"])
def test_files_of_other_types_are_the_same_numbers(dtype, tmp_path):
    X = np.array([[0, 1], [1, 0], [1, 1], [0, 0]] * 5, dtype=dtype)
    y = np.arange(20) % 3 == 0
    np.save(tmp_path / "X.npy", np.asfortranarray(X))
    found = TorchLogisticClassifier(tol=1e-9).fit(NpyChunks(tmp_path), y)
    expected = TorchLogisticClassifier(tol=1e-9).fit(X.astype(float), y)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-9)


# ---------------------------------------------------------------------------- Parquet


@pytest.fixture
def write(tmp_path):
    pytest.importorskip("pyarrow")

    def write(frame, columns=None, **options):
        frame.to_parquet(tmp_path / "rows.parquet", **options)
        return ParquetChunks(tmp_path / "rows.parquet", columns)

    return write


def _dense(chunks):
    return np.concatenate([chunks.chunk(i).toarray() for i in range(len(chunks))])


@pytest.mark.parametrize("length", [2, 100])
@pytest.mark.parametrize(
    "values",
    [
        ["u", None, "nan", "None", "u", "v"],
        [None] * 5 + ["x"],
        ["", None, " ", "<NA>", "null", ""],
    ],
)
def test_a_null_is_none_of_the_values(write, values, length):
    frame = pd.DataFrame({"c": pd.Categorical(values), "x": np.arange(6.0)})
    chunks = write(frame, row_group_size=length)
    dummies = pd.get_dummies(frame, columns=["c"], dtype=float)
    names = ["x", *sorted(set(dummies) - {"x"})]
    assert sorted(chunks.feature_names) == sorted(names)
    np.testing.assert_array_equal(_dense(chunks), dummies[chunks.feature_names].to_numpy())


def test_values_that_do_not_occur_are_no_features(write):
    frame = pd.DataFrame({"c": pd.Categorical(["b", "a"], categories=list("abcd"))})
    assert write(frame).feature_names == ["c_a", "c_b"]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"c": ["u", "v"], "c_u": [1.0, 2.0]}, "column 'c_u' and value 'u' of column 'c'"),
        (
            {"a": ["b_c", "d"], "a_b": ["c", "e"]},
            "value 'b_c' of column 'a' and value 'c' of column 'a_b'",
        ),
    ],
)
def test_features_of_one_name_are_refused(write, columns, text):
    frame = pd.DataFrame(
        {k: pd.Categorical(v) if isinstance(v[0], str) else v for k, v in columns.items()}
    )
    chunks = write(frame)
    with pytest.raises(ValueError, match=f"2 features would have the name '.*': {text}"):
        TorchLogisticClassifier().fit(chunks, [0, 1])
    with pytest.raises(ValueError, match="Rename one of the columns, or leave it out"):
        _ = chunks.feature_names


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        (["x", "x"], "2 features would have the name 'x'"),
        (["x", "z"], r"columns has \['z'\]; the columns of the data are \['x', 'y'\]"),
        ([], r"columns is \[\], expected a sequence of names, or None"),
        ("xy", "columns is 'xy', expected a sequence"),
    ],
)
def test_columns_that_make_no_sense_are_refused(write, columns, text):
    chunks = write(pd.DataFrame({"x": [1.0, 2.0], "y": [3.0, 4.0]}), columns)
    with pytest.raises(ValueError, match=text):
        TorchLogisticClassifier().fit(chunks, [0, 1])


def test_features_of_a_model_in_another_file(write, tmp_path):
    """Columns in another order, with labels beside them, values that are absent and new ones."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=60), "c": pd.Categorical(list("abc") * 20)})
    model = TorchLogisticClassifier().fit(write(frame), rng.integers(0, 2, 60))
    assert model.feature_names_in_.tolist() == ["x", "c_a", "c_b", "c_c"]
    other = pd.DataFrame(
        {"y": "no", "c": pd.Categorical(list("caz") + [None]), "x": np.arange(4.0)}
    )
    write(other)
    chunks = ParquetChunks(tmp_path / "rows.parquet", features=model.feature_names_in_)
    X = [[0, 0, 0, 1], [1, 1, 0, 0], [2, 0, 0, 0], [3, 0, 0, 0]]
    np.testing.assert_array_equal(_dense(chunks), X)
    expected = model.decision_function(
        pd.DataFrame(X, columns=model.feature_names_in_, dtype=float)
    )
    np.testing.assert_allclose(model.decision_function(chunks), expected, rtol=1e-12)
    turned = ParquetChunks(tmp_path / "rows.parquet", features=["c_c", "x", "c_a"])
    np.testing.assert_array_equal(_dense(turned), np.array(X)[:, [3, 0, 1]])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"features": ["x", "z"]},
            r"features has 'z', which is of no column; the columns .*'x', 'a",
        ),
        ({"features": ["a"]}, "features has 'a', which is of no column"),
        ({"features": ["a_b_c"]}, r"'a_b_c', which is of one of the columns \['a', 'a_b'\]"),
        ({"features": ["x", "x"]}, r"features has \['x'\] more than once"),
        ({"features": []}, r"features is \[\], expected a sequence of names"),
        ({"features": ["x"], "columns": ["x"]}, "columns and features are both given"),
    ],
)
def test_features_that_make_no_sense_are_refused(write, tmp_path, options, text):
    words = pd.Categorical(["u", "v"])
    write(pd.DataFrame({"x": [1.0, 2.0], "a": words, "a_b": words}))
    with pytest.raises(ValueError, match=text):
        TorchLogisticClassifier().fit(ParquetChunks(tmp_path / "rows.parquet", **options), [0, 1])


def test_single_precision_columns_make_single_precision_rows(write):
    frame = pd.DataFrame({"x": np.float32([1, 2]), "c": pd.Categorical(["u", "v"])})
    model = TorchLogisticClassifier().fit(write(frame), [0, 1])
    assert write(frame).chunk(0).dtype == model.coef_.dtype == np.float32
    assert write(frame.assign(n=[1, 2])).chunk(0).dtype == np.float64
    assert write(frame[["c"]]).chunk(0).dtype == np.float64


@pytest.mark.parametrize("groups", [0, 1])
def test_an_empty_file_has_no_rows(tmp_path, groups):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    values = pyarrow.array([], type=pyarrow.string()).dictionary_encode()
    table = pyarrow.table({"c": values, "x": pyarrow.array([], type=pyarrow.float64())})
    with parquet.ParquetWriter(tmp_path / "rows.parquet", table.schema) as writer:
        for _ in range(groups):
            writer.write_table(table)
    chunks = ParquetChunks(tmp_path / "rows.parquet")
    assert chunks.target("x").shape == chunks.target("c").shape == (0,)
    assert chunks.feature_names == ["x"]
    with pytest.raises(ValueError, match=r"Found array with 0 (sample|feature)"):
        TorchLogisticClassifier().fit(chunks, chunks.target("x"))


def test_types_and_folders_of_a_data_set(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    dataset, parquet = (
        pytest.importorskip("pyarrow.dataset"),
        pytest.importorskip("pyarrow.parquet"),
    )
    table = pyarrow.table({"a": [1.0, 2.0, 3.0, 4.0], "g": [0, 0, 1, 1]})
    folder = tmp_path / "by group"
    dataset.write_dataset(
        table, folder, format="parquet", partitioning=["g"], partitioning_flavor="hive"
    )
    chunks = ParquetChunks(dataset.dataset(folder, format="parquet", partitioning="hive"))
    assert chunks.feature_names == ["a", "g"]
    found = np.vstack([chunks.chunk(i) for i in range(len(chunks))])
    np.testing.assert_array_equal(found, [[1, 0], [2, 0], [3, 1], [4, 1]])
    np.testing.assert_array_equal(chunks.target("g"), [0, 0, 1, 1])
    parquet.write_table(
        pyarrow.table({"a": [1.0, 2.0], "c": ["u", "v"]}), tmp_path / "words.parquet"
    )
    kind = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    schema = pyarrow.schema([("a", pyarrow.float64()), ("c", kind)])
    chunks = ParquetChunks(dataset.dataset(tmp_path / "words.parquet", schema=schema))
    assert chunks.feature_names == ["a", "c_u", "c_v"]
    np.testing.assert_array_equal(chunks.chunk(0).toarray(), [[1, 1, 0], [2, 0, 1]])
    with pytest.raises(ValueError, match="expected a data set of Parquet files"):
        ParquetChunks(dataset.dataset(table)).target("a")


def test_a_null_among_numbers_is_nan_and_refused(write):
    frame = pd.DataFrame({"x": pd.array([1, None, 3, 4], dtype="Int64"), "z": np.arange(4.0)})
    with pytest.raises(ValueError, match="chunk 0 of X contains NaN"):
        TorchLogisticClassifier().fit(write(frame), [0, 1, 0, 1])


@pytest.mark.parametrize("size", [0, 4, 100, -1, -40])
def test_a_truncated_file_is_refused_by_name(write, tmp_path, size):
    chunks = write(pd.DataFrame({"x": np.arange(50.0)}))
    path = tmp_path / "rows.parquet"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises((ValueError, OSError), match="rows.parquet"):
        TorchLogisticClassifier().fit(chunks, np.arange(50) % 2)
