"""Folds, labels and checkpoints of rows that are elsewhere; and who needs them in memory."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, make_scorer

from skorch_logreg import (
    MultiLabel,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.data import ArrayChunks
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.solvers import LBFGS, Checkpoint, NewtonCholesky, ProximalNewton
from tests.inputs.test_chunks import rows


def chunks(X):
    return ArrayChunks(X, 300)


def blocks(X):
    return pytest.importorskip("dask.array").from_array(X, chunks=(300, 5))


@pytest.fixture(params=[chunks, blocks])
def wrap(request):
    return request.param


def cross_validated(**options):
    return TorchLogisticClassifierCV(
        Cs=4, cv=3, l1_ratios=(0.0,), use_legacy_attributes=False, tol=1e-7, **options
    )


def loudest(model, X, y):
    """A scorer that looks at X."""
    return float(X.max())


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "scoring", ["neg_log_loss", "f1_macro", make_scorer(f1_score, average="micro")]
)
def test_folds_are_row_masks(wrap, scoring, n_classes):
    X, y = rows(n_classes=n_classes)
    weight = np.random.default_rng(1).integers(0, 3, len(y)).astype(float)
    expected = cross_validated(scoring=scoring).fit(X, y, weight)
    found = cross_validated(scoring=scoring).fit(wrap(X), y, weight)
    assert found.C_ == expected.C_
    np.testing.assert_allclose(found.scores_, expected.scores_, rtol=1e-7)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-5, atol=1e-7)
    assert found.score(wrap(X), y) == pytest.approx(expected.score(X, y))


@pytest.mark.slow
def test_a_penalty_that_is_not_smooth_is_chosen_too(wrap):
    X, y = rows()
    options = {"scoring": "accuracy", "Cs": [0.01, 0.1], "l1_ratios": (0.5, 1.0)}
    expected = cross_validated().set_params(**options).fit(X, y)
    found = cross_validated().set_params(**options).fit(wrap(X), y)
    assert (found.C_, found.l1_ratio_) == (expected.C_, expected.l1_ratio_)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-5, atol=1e-7)


def test_a_scorer_that_wants_rows_is_refused(wrap):
    X, y = rows()
    with pytest.raises(ParameterError, match="name a metric of scikit-learn"):
        cross_validated(scoring=loudest).fit(wrap(X), y)


def indicator(X, y):
    return np.c_[y, 1 - y, X[:, 0] > X[:, 0].mean(), np.ones(len(y))].astype(int)


@pytest.mark.filterwarnings("ignore::skorch_logreg.exceptions.ConstantLabelWarning")
@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_many_labels(wrap, kind):
    X, y = rows()
    Y, mask = kind(indicator(X, y)), np.random.default_rng(0).random((len(y), 4)) < 0.9
    model = MultiLabel(
        TorchLogisticClassifier(tol=1e-8, max_iter=300), threshold=[0.5, 0.3, 0.5, 0.5]
    )
    expected, found = model.fit(X, Y, label_mask=mask), None
    before = {name: getattr(expected, name)(X) for name in ("predict", "predict_proba")}
    coef = expected.coef_
    found = model.fit(wrap(X), Y, label_mask=mask)
    np.testing.assert_allclose(found.coef_, coef, rtol=1e-6, atol=1e-7)
    for name, value in before.items():
        predicted = getattr(found, name)(wrap(X))
        predicted = predicted.compute() if hasattr(predicted, "compute") else predicted
        assert sp.issparse(predicted) == sp.issparse(value)
        if sp.issparse(value):
            predicted, value = predicted.toarray(), value.toarray()
        np.testing.assert_allclose(predicted, value, atol=1e-7)


def test_labels_with_a_strength_of_their_own(wrap):
    X, y = rows()
    Y = indicator(X, y)[:, :3]
    model = MultiLabel(cross_validated(scoring="neg_log_loss"))
    expected = model.fit(X, Y)
    C, coef = expected.C_, expected.coef_
    found = model.fit(wrap(X), Y)
    np.testing.assert_array_equal(found.C_, C)
    np.testing.assert_allclose(found.coef_, coef, rtol=1e-5, atol=1e-7)


class KilledError(Exception):
    """What ends a fit in these tests."""


@pytest.mark.parametrize(
    ("make", "options"),
    [(LBFGS, {}), (NewtonCholesky, {}), (ProximalNewton, {"l1_ratio": 1.0, "C": 0.1})],
)
def test_a_killed_fit_goes_on_to_the_same_bits(wrap, make, options, tmp_path, monkeypatch):
    X, y = rows()
    written = []
    write = CheckpointWriter.write

    def killed(writer, *values):
        write(writer, *values)
        written.append(writer)
        if len(written) == 2:
            raise KilledError

    solver = make(checkpoint=Checkpoint(tmp_path / "fit.npz"))
    model = TorchLogisticClassifier(tol=1e-10, solver=solver, **options)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointWriter, "write", killed)
        with pytest.raises(KilledError):
            model.fit(wrap(X), y)
    assert (tmp_path / "fit.npz").exists()
    model.fit(wrap(X), y)
    expected = TorchLogisticClassifier(tol=1e-10, solver=make(), **options).fit(wrap(X), y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


@pytest.mark.parametrize(
    "fit",
    [
        NeuralLogisticClassifier().fit,
        MultiLabel(NeuralLogisticClassifier()).fit,
        TorchLogisticClassifier().partial_fit,
        MultiLabel(TorchLogisticClassifier()).partial_fit,
    ],
    ids=lambda fit: f"{type(fit.__self__).__name__}.{fit.__name__}",
)
def test_all_else_says_that_it_needs_rows_in_memory(wrap, fit):
    X, y = rows()
    with pytest.raises(ParameterError, match="needs rows in memory, got A"):
        fit(wrap(X), y)


def test_estimators_of_others_hear_it_from_the_chunks():
    X, y = rows()
    with pytest.raises(TypeError, match="all else needs rows in memory"):
        LogisticRegression().fit(chunks(X), y)
