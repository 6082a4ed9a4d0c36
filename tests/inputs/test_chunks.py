"""Rows in chunks: the same model as in memory, and clear words where they are not sound."""

import os
import subprocess
import sys
import textwrap
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import ArrayChunks, NpyChunks, ParquetChunks
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import Adam

RIDGE = {"C": 0.7}
OPTIONS = {
    "ridge": RIDGE,
    "no penalty": {"C": np.inf},
    "lasso": {"C": 0.02, "l1_ratio": 1.0},
    "elastic net": {"C": 0.05, "l1_ratio": 0.5},
    "no intercept": {"fit_intercept": False},
    "newton-cg": {"solver": "newton-cg"},
    "factor": {"penalty_factor": np.r_[np.inf, 0.0, np.ones(6)]},
    "bounds": {"bounds": (0.0, np.inf)},
}


def rows(n=2000, n_classes=2, dtype=np.float64, seed=0):
    """Columns of several sizes, one of rare ones, and labels that follow from them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8)) * np.logspace(-2, 2, 8) + np.linspace(0, 50, 8)
    X[:, 3] = rng.random(n) < 0.02
    score = ((X - X.mean(0)) / X.std(0)) @ rng.normal(size=8) + rng.logistic(size=n)
    edges = np.quantile(score, np.linspace(0, 1, n_classes + 1)[1:-1])
    return X.astype(dtype), np.digitize(score, edges)


def fit(X, y, options=RIDGE, **more):
    return TorchLogisticClassifier(tol=1e-9, max_iter=500, **options, **more).fit(X, y)


@pytest.mark.parametrize("length", [2000, 700, 137])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", OPTIONS)
def test_chunks_give_the_model_of_the_rows_in_memory(options, n_classes, length):
    if n_classes == 3 and options == "no penalty":
        pytest.skip("a constant for all classes is free")
    X, y = rows(n_classes=n_classes)
    chosen = OPTIONS[options]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no penalty: rounding is reached before 1e-9
        expected, found = fit(X, y, chosen), fit(ArrayChunks(X, length), y, chosen)
    scale = X.std(axis=0)
    np.testing.assert_allclose(found.coef_ * scale, expected.coef_ * scale, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(
        found.predict_proba(ArrayChunks(X, 300)), expected.predict_proba(X), atol=1e-7
    )
    assert found.converged_ or not expected.converged_
    assert found.score(ArrayChunks(X, 300), y) == expected.score(X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array, np.asfortranarray])
def test_types_and_weights(dtype, wrap):
    X, y = rows(dtype=dtype)
    weight = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    weight[:400] = 0.0  # a chunk without weight
    whole = TorchLogisticClassifier(tol=1e-8, class_weight="balanced").fit(X, y, weight)
    model = TorchLogisticClassifier(tol=1e-8, class_weight="balanced")
    model.fit(ArrayChunks(wrap(X), 400), y, weight)
    assert model.coef_.dtype == dtype
    tolerance = 1e-6 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=tolerance, atol=tolerance)


def test_the_gap_is_that_of_the_rows_in_memory():
    X, y = rows()
    found = TorchLogisticClassifier(tol=1e-2).fit(ArrayChunks(X, 300), y)
    signs, z = 2 * y - 1.0, X @ found.coef_[0] + found.intercept_[0]
    value = np.logaddexp(0, -signs * z).sum() + 0.5 * (found.coef_**2).sum()
    best = fit(X, y, {"C": 1.0})
    z = X @ best.coef_[0] + best.intercept_[0]
    least = np.logaddexp(0, -signs * z).sum() + 0.5 * (best.coef_**2).sum()
    assert 0 < value - least <= found.duality_gap_ * value


def test_soft_labels():
    X, y = rows()
    share = np.clip(y * 0.8 + 0.1, 0, 1)
    expected = fit(X, share, soft_labels=True)
    found = fit(ArrayChunks(X, 333), share, soft_labels=True)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-7)


@pytest.mark.parametrize("options", ["ridge", "lasso", "newton-cg"])
@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
def test_what_is_as_long_as_the_data_may_be_in_files(options, wrap, tmp_path):
    X, y = rows(n_classes=3)
    expected = fit(X, y, OPTIONS[options])
    source = Listed(*(wrap(X)[a:b] for a, b in ((0, 700), (700, 700), (700, 2000))))
    source.scratch = tmp_path
    found = fit(source, y, OPTIONS[options])
    scale = X.std(axis=0)
    np.testing.assert_allclose(found.coef_ * scale, expected.coef_ * scale, rtol=1e-8, atol=1e-8)
    assert not list(tmp_path.iterdir())
    source.scratch = tmp_path / "nowhere"
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fit(source, y)


class Listed:
    """Chunks that are at hand."""

    def __init__(self, *parts):
        self.parts = parts

    def __len__(self):
        return len(self.parts)

    def chunk(self, index):
        part = self.parts[index]
        if isinstance(part, Exception):
            raise part
        return part


def test_an_empty_chunk_counts_for_nothing():
    X, y = rows()
    found = fit(Listed(X[:500], X[:0], X[500:]), y)
    np.testing.assert_allclose(found.coef_, fit(X, y).coef_, rtol=1e-7)


def with_nan(X):
    X = X.copy()
    X[3, 1] = np.nan
    return X


BROKEN = {
    "nan": (lambda X: (X[:900], with_nan(X[900:])), ValueError, "chunk 1 of X contains NaN"),
    "columns": (lambda X: (X[:900], X[900:, :5]), ValueError, "Chunk 1 of X has 5 columns"),
    "sparse": (lambda X: (X[:900], sp.csr_array(X[900:])), ValueError, "Chunk 1 of X is sparse"),
    "narrowed": (lambda X: (X[:9].astype(np.float32), X[9:]), ValueError, "read as float64, the"),
    "short": (lambda X: (X[:900], X[900:1999]), ValueError, "1999 and not 2000 rows"),
    "long": (lambda X: (X[:900], X[800:]), ValueError, "more than 2000 rows"),
    "none": (lambda X: (), ValueError, "no chunk"),
    "raises": (lambda X: (X[:900], OSError("the disk is gone")), OSError, "the disk is gone"),
    "text": (lambda X: (X[:900], X[900:].astype(str) + "a"), ValueError, "could not convert"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_chunks_that_are_not_sound_are_refused(how):
    X, y = rows()
    make, kind, match = BROKEN[how]
    model = TorchLogisticClassifier()
    with pytest.raises(kind, match=match):
        model.fit(Listed(*make(X)), y)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize(
    ("names", "column"), [("bacdefgh", "column 0 is 'b'"), ("abcdefgz", "column 7 is 'z'")]
)
def test_chunks_with_other_names_of_columns_are_refused(names, column):
    X, y = rows()
    first = pd.DataFrame(X[:900], columns=list("abcdefgh"))
    later = pd.DataFrame(X[900:], columns=list(names))
    different = f"names of chunk 1 of X should match .* {column}, and was"
    with pytest.raises(ValueError, match=different):
        fit(Listed(first, later), y)
    model = fit(Listed(first, X[900:]), y)
    for chunks in (Listed(first, later), Listed(X[:900], later)):
        with pytest.raises(ValueError, match=different):
            model.predict(chunks)
    assert len(fit(X, y).predict(Listed(X[:900], later))) == 2000


def test_a_chunk_that_changes_its_length_is_refused():
    class Shrinks(Listed):
        read = 0

        def chunk(self, index):
            self.read += index == 1
            return super().chunk(index)[: None if self.read < 2 else -1]

    X, y = rows()
    with pytest.raises(ValueError, match="had 1100 when it was first read"):
        fit(Shrinks(X[:900], X[900:]), y)


class Passes(Listed):
    """Chunks that a function changes, given the number of the pass and that of the chunk."""

    def __init__(self, *parts, change):
        super().__init__(*parts)
        self.change, self.times = change, [0] * len(parts)

    def chunk(self, index):
        self.times[index] += 1
        return self.change(super().chunk(index), self.times[index], index)


def noisy(X, n_pass, index):
    return X + 1e-3 * np.random.default_rng([n_pass, index]).normal(size=X.shape)


def shuffled(X, n_pass, index):
    return X[np.random.default_rng([n_pass, index]).permutation(X.shape[0])]


def other_entry(X, n_pass, index):
    X = X.copy()
    if n_pass > 4 and index == 1:
        X[7, 2] += 0.1
    return X


def missing_entry(X, n_pass, index):
    X = X.copy()
    if n_pass > 4 and index == 1:
        X[7, 2] = np.nan
    return X


def other_chunk(X, n_pass, index):
    return -X if n_pass > 4 and index == 0 else X


CHANGES = {
    "noise": noisy,
    "order": shuffled,
    "an entry": other_entry,
    "a NaN": missing_entry,
    "a chunk": other_chunk,
    "growing": lambda X, n_pass, index: X * (1 + 0.01 * n_pass),
    "columns": lambda X, n_pass, index: X[:, np.roll(np.arange(X.shape[1]), n_pass)],
}


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", ["ridge", "lasso", "newton-cg"])
@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("change", CHANGES)
def test_numbers_that_change_between_passes_are_refused(change, wrap, options, n_classes):
    """Whatever changes, and wherever: a certificate would be of no data at all."""
    X, y = rows(n_classes=n_classes)
    source = Passes(wrap(X[:900]), wrap(X[900:]), change=CHANGES[change])
    model = TorchLogisticClassifier(tol=1e-9, **OPTIONS[options])
    with pytest.raises(ValueError, match="has other numbers than when it was first read"):
        model.fit(source, y)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("n_rows", [2000, 200_000])
def test_sparse_indicators_in_another_order_are_refused(n_rows):
    rng = np.random.default_rng(0)
    level = rng.integers(0, 5, 2 * n_rows)
    X = sp.csr_array((np.ones(len(level)), (np.arange(len(level)), level)))
    y = rng.random(len(level)) < (level + 1) / 7
    source = Passes(X[:n_rows], X[n_rows:], change=shuffled)
    with pytest.raises(ValueError, match="Part 0 of X has other numbers"):
        TorchLogisticClassifier().fit(source, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
def test_rounding_may_differ_between_passes(wrap, dtype):
    """Features that a network computes are not always the same to the last bit."""

    def rounded(X, n_pass, index):
        if n_pass == 1:
            return X
        X, some = X.copy(), np.random.default_rng([n_pass, index])
        entries = X.data if sp.issparse(X) else X
        off = 1 + 100 * np.finfo(dtype).eps * some.uniform(-1, 1, size=entries.shape)
        entries *= off.astype(dtype)
        return X

    X, y = rows(dtype=dtype)
    X -= X.mean(axis=0)  # sums are no larger than chance makes them
    whole = TorchLogisticClassifier().fit(X, y)
    found = TorchLogisticClassifier().fit(Passes(wrap(X[:900]), wrap(X[900:]), change=rounded), y)
    assert found.converged_
    np.testing.assert_allclose(found.predict_proba(X), whole.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("first", [3, 4, 5, 6])
@pytest.mark.parametrize("n_rows", [900, 40_000])
def test_an_entry_that_changes_in_a_large_chunk_is_seen_within_four_passes(n_rows, first):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2 * n_rows, 8))
    y = X[:, 0] + rng.logistic(size=len(X)) > 0

    def changed(X, n_pass, index):
        X = X.copy()
        X[5, 3] += 1.0 * (n_pass >= first and index == 1)
        return X

    source = Passes(X[:n_rows], X[n_rows:], change=changed)
    with pytest.raises(ValueError, match="Part 1 of X has other numbers"):
        TorchLogisticClassifier(solver="newton-cg", tol=1e-10).fit(source, y)
    assert source.times[1] < first + (1 if n_rows == 900 else 4)


@pytest.mark.parametrize(
    "value", [1e300, 1e-300, np.finfo(float).max / 4], ids=["large", "small", "overflow"]
)
def test_sums_that_overflow_refuse_nothing(value):
    X, y = rows()
    X[:, 0] = np.where(X[:, 0] > X[:, 0].mean(), value, -value / 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            TorchLogisticClassifier().fit(ArrayChunks(X, 700), y)
        except ValueError as error:
            assert "other numbers" not in str(error)  # noqa: PT017


TEXT = {
    "unicode": lambda X: X.astype(str),
    "bytes": lambda X: X.astype(bytes),
    "list": lambda X: X.astype(str).tolist(),
    "words": lambda X: np.full(X.shape, "a"),
    "objects": lambda X: np.full(X.shape, "a", dtype=object),
    "complex": lambda X: X * 1j,
}


@pytest.mark.parametrize("method", ["fit", "predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize("kind", TEXT)
def test_chunks_of_strings_are_refused_as_arrays_of_them_are(kind, method):
    """With the same text; `fit` takes numbers as text, as scikit-learn's does."""
    X, y = rows()
    fitted = TorchLogisticClassifier().fit(X, y)

    def outcome(make):
        model = TorchLogisticClassifier() if method == "fit" else fitted
        arguments = (y,) if method == "fit" else ()
        try:
            found = getattr(model, method)(make(), *arguments)
        except ValueError as error:
            return str(error).split("\n")[0]
        return "taken" if found is model else found.tolist()

    text = TEXT[kind]
    of_array, of_chunks = (
        outcome(lambda: text(X)),
        outcome(lambda: Listed(text(X[:900]), text(X[900:]))),
    )
    assert of_chunks == of_array


def test_what_needs_rows_in_memory_says_so():
    X, y = rows()
    chunks = ArrayChunks(X, 300)
    with pytest.raises(ParameterError, match="DataLoader"):
        TorchLogisticClassifier(solver=Adam(learning_rate=0.1, batch_size=32)).fit(chunks, y)
    with pytest.raises(ParameterError, match="liblinear"):
        TorchLogisticClassifier(solver="liblinear").fit(chunks, y)
    with pytest.raises(ValueError, match="y is None"):
        TorchLogisticClassifier().fit(chunks, None)
    model = fit(chunks, y)
    with pytest.raises(ValueError, match="X has 5 features"):
        model.predict(ArrayChunks(X[:, :5], 300))


def test_data_frames_have_names():
    X, y = rows()
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    model = fit(Listed(frame[:900], frame[900:]), y)
    assert model.feature_names_in_.tolist() == list("abcdefgh")
    with pytest.raises(ValueError, match="column 0 is 'h', and was 'a'"):
        model.predict(Listed(frame[list("hbcdefga")]))


def test_files_of_numpy(tmp_path):
    X, y = rows()
    for i in range(4):
        np.save(tmp_path / f"part-{i}.npy", X[i * 500 : (i + 1) * 500])
    (tmp_path / "notes.txt").write_text("not a chunk")
    expected = fit(X, y)
    np.testing.assert_allclose(fit(NpyChunks(tmp_path), y).coef_, expected.coef_, rtol=1e-7)
    sp.save_npz(tmp_path / "all.npz", sp.csr_array(X))
    found = fit(NpyChunks([tmp_path / "all.npz"]), y)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-7)
    with pytest.raises(ValueError, match="no .npy"):
        fit(NpyChunks([]), y)


def test_memory_map(tmp_path):
    X, y = rows()
    np.save(tmp_path / "X.npy", X)
    held = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_allclose(fit(ArrayChunks(held, 300), y).coef_, fit(X, y).coef_, rtol=1e-7)


def test_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    X, y = rows()
    frame = pd.DataFrame(X[:, :3], columns=["a", "b", "c"])
    frame["flag"] = X[:, 3] > 0
    frame["town"] = pd.Categorical(
        np.random.default_rng(0).choice(["Oslo", "Rome", "Bonn"], len(y))
    )
    frame["label"] = np.where(y, "yes", "no")
    frame.to_parquet(tmp_path / "rows.parquet", row_group_size=450)
    chunks = ParquetChunks(tmp_path / "rows.parquet", ["town", "flag", "a", "c"])
    labels = chunks.target("label")
    found = fit(chunks, labels)
    dense = pd.get_dummies(frame[["town", "flag", "a", "c"]], columns=["town"], dtype=float)
    names = ["town_Bonn", "town_Oslo", "town_Rome", "flag", "a", "c"]
    expected = fit(dense[names].to_numpy(float), labels)
    assert found.feature_names_in_.tolist() == names
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match="'label' is of type"):
        fit(ParquetChunks(tmp_path / "rows.parquet"), labels)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resource limits as Linux has them")
def test_a_process_that_may_hold_a_quarter_of_the_rows(tmp_path):
    """400 MB of rows, and 100 MB more than the imports take."""
    rng = np.random.default_rng(0)
    shape = (1_000_000, 50)
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float64, shape)
    y = np.empty(shape[0], dtype=np.int8)
    for start in range(0, shape[0], 100_000):
        part = rng.normal(size=(100_000, 50))
        X[start : start + 100_000] = part
        y[start : start + 100_000] = part[:, 0] + rng.logistic(size=100_000) > 0
    np.save(tmp_path / "y.npy", y)
    expected = TorchLogisticClassifier(tol=1e-8).fit(X, y)
    code = """
        import resource, sys, numpy as np, torch
        torch.set_num_threads(2)
        from skorch_logreg import TorchLogisticClassifier
        from skorch_logreg.data import Chunks
        from pathlib import Path
        folder = Path(sys.argv[1])
        class Rows:
            def __len__(self):
                return 100
            def chunk(self, i):
                with open(folder / "X.npy", "rb") as file:
                    file.seek(128 + i * 10_000 * 50 * 8)
                    return np.fromfile(file, np.float64, 10_000 * 50).reshape(-1, 50)
        y = np.load(folder / "y.npy")
        TorchLogisticClassifier().fit(Rows().chunk(0), y[:10_000])  # threads and their stacks
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 100 * 2**20,) * 2)
        model = TorchLogisticClassifier(tol=1e-8).fit(Rows(), y)
        np.save(folder / "coef.npy", model.coef_)
        print(TorchLogisticClassifier(tol=1e-3).fit(Rows(), y).n_passes_)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)],
        capture_output=True, text=True, check=False,
        # an arena counts as 64 MB before it is used, and what is freed should count no more
        env=os.environ | {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    np.testing.assert_allclose(np.load(tmp_path / "coef.npy"), expected.coef_, atol=1e-8)
    assert int(done.stdout) <= 6
