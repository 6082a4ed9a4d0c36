"""Dask collections: the model of the rows in memory, wherever the blocks are."""

import os
import signal
import threading
import time
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from skorch_logreg import MultiLabel, TorchLogisticClassifier, TorchLogisticClassifierCV
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import Adam
from tests.inputs.test_chunks import CHANGES, OPTIONS, Passes, fit, rows

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")


def from_blocks(X, *lengths):
    """A Dask array whose blocks have these lengths, the last the rest."""
    lengths = (*lengths, X.shape[0] - sum(lengths))
    edges = np.cumsum([0, *lengths])
    blocks = [
        da.from_delayed(dask.delayed(X[a:b]), (b - a, X.shape[1]), meta=X[:0])
        for a, b in zip(edges, edges[1:], strict=False)
    ]
    return da.concatenate(blocks)


@pytest.fixture(scope="module")
def cluster():
    """Two workers, each a process of its own."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            ) as local,
            distributed.Client(local, set_as_default=False) as client,
        ):
            yield client


def close(found, expected, X, tolerance=1e-9):
    scale = X.std(axis=0)
    np.testing.assert_allclose(
        found.coef_ * scale, expected.coef_ * scale, rtol=tolerance, atol=tolerance
    )


@pytest.mark.parametrize("length", [2000, 700, 137])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", OPTIONS)
def test_blocks_give_the_model_of_the_rows_in_memory(options, n_classes, length):
    if n_classes == 3 and options == "no penalty":
        pytest.skip("a constant for all classes is free")
    X, y = rows(n_classes=n_classes)
    chosen = OPTIONS[options]
    blocks = da.from_array(X, chunks=(length, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no penalty: rounding is reached before 1e-9
        expected, found = fit(X, y, chosen), fit(blocks, y, chosen)
    # the optimum of a fit to tol 1e-9 is known to that
    close(found, expected, X, 1e-8)
    np.testing.assert_allclose(
        found.predict_proba(blocks).compute(), expected.predict_proba(X), atol=1e-8
    )
    assert found.converged_ or not expected.converged_


@pytest.mark.slow
def test_workers_in_processes_give_the_same_model(cluster):
    X, y = rows()
    expected = fit(X, y)
    with cluster.as_current():
        for length in (2000, 300):
            blocks = da.from_array(X, chunks=(length, -1)).persist()
            close(fit(blocks, da.from_array(y, chunks=450)), expected, X)
            lazy = expected.predict_proba(blocks)
            np.testing.assert_allclose(lazy.compute(), expected.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_matrix, np.asfortranarray])
def test_types_and_weights(dtype, wrap):
    X, y = rows(dtype=dtype)
    weight = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    weight[:400] = 0.0  # a block without weight
    whole = TorchLogisticClassifier(tol=1e-8, class_weight="balanced").fit(X, y, weight)
    model = TorchLogisticClassifier(tol=1e-8, class_weight="balanced")
    blocks = da.from_array(X, chunks=(400, -1)).map_blocks(wrap, dtype=dtype)
    model.fit(blocks, da.from_array(y), da.from_array(weight))
    assert model.coef_.dtype == dtype
    tolerance = 1e-6 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(model.coef_, whole.coef_, rtol=tolerance, atol=tolerance)


def test_data_frames_have_names_and_blocks_of_unknown_length():
    frames = pytest.importorskip("dask.dataframe")
    X, y = rows()
    names = list("abcdefgh")
    frame = frames.from_pandas(pd.DataFrame(X, columns=names).assign(y=y), npartitions=3)
    model = fit(frame[names], frame["y"])
    assert model.feature_names_in_.tolist() == names
    close(model, fit(X, y), X)
    proba = model.predict_proba(frame[names]).compute()
    np.testing.assert_allclose(proba, fit(X, y).predict_proba(X), atol=1e-9)
    with pytest.raises(ValueError, match="column 0 is 'h', and was 'a'"):
        model.predict(frame[names[::-1]])
    some = frame[frame.a > 1e9]
    with pytest.raises(ValueError, match="0 sample"):
        fit(some[names], some["y"])


def test_blocks_with_other_names_of_columns_are_refused():
    frames = pytest.importorskip("dask.dataframe")
    X, y = rows()
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    parts = frame[:900], frame[900:][list("bacdefgh")]
    blocks = frames.from_map(parts.__getitem__, [0, 1], meta=frame[:0])
    with pytest.raises(ValueError, match="names of block 1 of X should match .* 0 is 'b', and was"):
        fit(blocks, y)
    with pytest.raises(ValueError, match="feature names should match"):
        fit(frame, y).predict(blocks).compute()


def test_scores_of_data_frames():
    frames = pytest.importorskip("dask.dataframe")
    X, y = rows()
    frame = pd.DataFrame(X, columns=list("abcdefgh"))
    blocks = frames.from_pandas(frame.assign(y=y, weight=1.0 + y), npartitions=3)
    labels = sp.csr_array(np.c_[y, 1 - y])
    cv = TorchLogisticClassifierCV(
        Cs=1, cv=2, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False
    )
    for model, target, own in (
        (TorchLogisticClassifier(), blocks["y"], y),
        (cv, blocks["y"], y),
        (MultiLabel(), labels, labels),
    ):
        model.fit(frame, own)
        weight = {} if own is labels else {"sample_weight": blocks["weight"]}
        expected = model.score(frame, own, **{name: 1.0 + y for name in weight})
        assert model.score(blocks[list("abcdefgh")], target, **weight) == pytest.approx(expected)


def test_predictions_wait_until_they_are_asked():
    X, y = rows()
    model = fit(X, np.where(y, "yes", "no"))
    asked = []

    def block(part):
        asked.append(len(part))
        return part

    blocks = da.from_array(X, chunks=(900, 5)).map_blocks(block, dtype=float, meta=X[:0])
    asked.clear()
    lazy = {
        name: getattr(model, name)(blocks)
        for name in ("predict", "predict_proba", "predict_log_proba", "decision_function")
    }
    assert not asked
    for name, array in lazy.items():
        expected = getattr(model, name)(X)
        assert array.shape == expected.shape
        assert array.dtype == expected.dtype
        if name == "predict":
            np.testing.assert_array_equal(array.compute(), expected)
        else:
            np.testing.assert_allclose(array.compute(), expected, rtol=1e-12, atol=1e-12)
    assert model.score(blocks, da.from_array(np.where(y, "yes", "no"))) == model.score(
        X, np.where(y, "yes", "no")
    )
    with pytest.raises(ValueError, match="X has 5 features"):
        model.predict(blocks[:, :5])


def test_predictions_are_of_the_model_that_was_asked():
    X, y = rows()
    model = fit(X, y)
    blocks = from_blocks(X, 500, 1500)
    labels, proba = model.predict(X), model.predict_proba(X)
    lazy = model.predict(blocks), model.predict_proba(blocks)
    model.threshold = 0.9
    model.fit(X, ~y)
    model.coef_ *= 2.0
    np.testing.assert_array_equal(lazy[0].compute(), labels)
    np.testing.assert_allclose(lazy[1].compute(), proba, rtol=1e-12, atol=1e-12)


def test_empty_blocks_count_for_nothing():
    X, y = rows()
    blocks = from_blocks(X, 0, 500, 0)
    close(fit(blocks, y), fit(X, y), X)
    assert fit(X, y).predict_proba(blocks).compute().shape == (2000, 2)


def raises(part):
    if len(part):
        raise OSError("the disk is gone")
    return part


def broken(X):
    """NaN in the second of two blocks."""
    X = X.copy()
    X[1900, 1] = np.nan
    return from_blocks(X, 900)


def narrow(X):
    """A block that has fewer columns than it says."""
    return da.concatenate(
        [
            from_blocks(X[:900]),
            da.from_delayed(dask.delayed(X[900:, :5]), (1100, 8), meta=X[:0]),
        ]
    )


def short(X):
    """A block that has fewer rows than it says."""
    return da.concatenate(
        [
            from_blocks(X[:900]),
            da.from_delayed(dask.delayed(X[900:-1]), (1100, 8), meta=X[:0]),
        ]
    )


BROKEN = {
    "nan": (broken, ValueError, "block 1 of X contains NaN"),
    "columns": (narrow, ValueError, "Block 1 of X has 5 columns, and should have 8"),
    "rows": (short, ValueError, "Block 1 of X has 1099 rows, and should have 1100"),
    "raises": (
        lambda X: from_blocks(X, 900).map_blocks(raises, meta=X[:0]),
        OSError,
        "the disk is gone",
    ),
    "labels": (lambda X: from_blocks(X[:1990], 900), ValueError, "inconsistent numbers of samples"),
    "axes": (lambda X: da.from_array(X[:, 0]), ValueError, "Expected 2D array"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_blocks_that_are_not_sound_are_refused(how):
    X, y = rows()
    make, kind, match = BROKEN[how]
    model = TorchLogisticClassifier()
    with pytest.raises(kind, match=match):
        model.fit(make(X), y)
    assert not hasattr(model, "coef_")


def test_what_needs_rows_in_memory_says_so():
    X, y = rows()
    blocks = da.from_array(X, chunks=(300, -1))
    with pytest.raises(ParameterError, match="mini-batches"):
        TorchLogisticClassifier(solver=Adam(learning_rate=0.1, batch_size=32)).fit(blocks, y)
    with pytest.raises(ParameterError, match="liblinear"):
        TorchLogisticClassifier(solver="liblinear").fit(blocks, y)


def test_soft_labels_and_warm_start():
    X, y = rows()
    share = np.clip(y * 0.8 + 0.1, 0, 1)
    blocks = da.from_array(X, chunks=(333, -1))
    found = fit(blocks, da.from_array(share), soft_labels=True)
    close(found, fit(X, share, soft_labels=True), X)
    model = fit(blocks, y, warm_start=True)
    assert model.fit(blocks, y).n_iter_[0] <= 1


def changing_blocks(X, change):
    """Blocks that are other rows when they are computed again."""
    edges = (0, 900), (900, 2000)
    source = Passes(*(X[a:b] for a, b in edges), change=CHANGES[change])
    return da.concatenate(
        [
            da.from_delayed(
                dask.delayed(lambda i: source.chunk(i), pure=False)(i), (b - a, 8), meta=X[:0]
            )
            for i, (a, b) in enumerate(edges)
        ]
    )


@pytest.mark.parametrize("options", ["ridge", "lasso", "newton-cg"])
@pytest.mark.parametrize("change", CHANGES)
def test_blocks_that_are_other_rows_when_computed_again_are_refused(change, options):
    """Random draws without a seed, say."""
    X, y = rows()
    model = TorchLogisticClassifier(tol=1e-9, **OPTIONS[options])
    with pytest.raises(ValueError, match="has other numbers than when it was first read"):
        model.fit(changing_blocks(X, change), y)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize("options", ["ridge", "lasso", "newton-cg"])
@pytest.mark.parametrize("change", CHANGES)
def test_persisted_blocks_are_computed_once(change, options):
    X, y = rows()
    kept = changing_blocks(X, change).persist()
    close(fit(kept, y, OPTIONS[options]), fit(kept.compute(), y, OPTIONS[options]), X, 1e-8)


@pytest.mark.slow
def test_a_lost_worker_costs_its_blocks_and_not_the_fit():
    distributed = pytest.importorskip("distributed")
    X, y = rows(20_000)
    expected = fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with (
            distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, dashboard_address=None
            ) as local,
            distributed.Client(local) as client,
        ):

            def slow(part):
                time.sleep(0.1)
                return part

            blocks = da.from_array(X, chunks=(4000, -1)).map_blocks(slow, meta=X[:0])
            pids = list(client.run(os.getpid).values())

            def kill():
                time.sleep(1.5)  # one of about twelve passes takes a quarter of a second
                os.kill(pids[0], signal.SIGKILL)

            killer = threading.Thread(target=kill)
            killer.start()
            found = fit(blocks, y)
            assert not killer.is_alive()
            killer.join()
            assert pids[0] not in client.run(os.getpid).values()
    close(found, expected, X)
