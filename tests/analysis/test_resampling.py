"""Test that batched bootstrap refits equal single fits and give the right standard errors."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skorch_logreg import TorchLogisticClassifier, bootstrap, summary
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import ROW_BYTES
from skorch_logreg.solvers import SGD


def rows(n=300, n_classes=2):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3)) * [1, 10, 0.1] + 2
    score = X @ [1, 0.1, 10] + rng.logistic(size=n)
    return X, np.digitize(score, np.quantile(score, np.linspace(0, 1, n_classes + 1)[1:-1]))


def drawn(seed, n, b):
    random = np.random.RandomState(seed)
    return [np.bincount(random.randint(n, size=n), minlength=n) for _ in range(b)]


OPTIONS = {
    "ridge": {},
    "none": {"C": np.inf},
    "lasso": {"l1_ratio": 1.0, "C": 0.1},
    "balanced": {"class_weight": "balanced"},
    "dict": {"class_weight": {0: 2.0}},
    "factor": {"penalty_factor": [1.0, 0.0, 5.0]},
}


@pytest.mark.parametrize("budget", [None, 300 * ROW_BYTES * 3])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", OPTIONS)
def test_every_refit_is_the_fit_to_its_rows(options, n_classes, budget):
    if options == "none" and n_classes == 3:
        pytest.skip("a constant for all classes is free")
    X, y = rows(n_classes=n_classes)
    model = TorchLogisticClassifier(tol=1e-7, **OPTIONS[options]).fit(X, y)
    found = bootstrap(model, X, y, n_resamples=5, random_state=3, memory_budget=budget)
    for b, counts in enumerate(drawn(3, len(y), 5)):
        again = np.repeat(np.arange(len(y)), counts)
        alone = TorchLogisticClassifier(tol=1e-7, **OPTIONS[options]).fit(X[again], y[again])
        np.testing.assert_allclose(found.coefs[b], alone.coef_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.intercepts[b], alone.intercept_, rtol=1e-4, atol=1e-5)


SOFT = {
    "label_smoothing": {"label_smoothing": 0.2},
    "soft_labels": {"soft_labels": True},
    "both": {"soft_labels": True, "label_smoothing": 0.1},
    "balanced": {"label_smoothing": 0.2, "class_weight": "balanced"},
    "balanced soft": {"soft_labels": True, "class_weight": "balanced"},
    "dict": {"label_smoothing": 0.2, "class_weight": {0: 2.0}},
    "lasso": {"label_smoothing": 0.2, "l1_ratio": 1.0, "C": 0.1},
}


@pytest.mark.parametrize("wrap", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", SOFT)
def test_refits_are_as_soft_as_the_fit(options, n_classes, wrap):
    X, y = rows(n_classes=n_classes)
    model = TorchLogisticClassifier(tol=1e-8, **SOFT[options])
    if model.soft_labels:
        share = np.random.default_rng(1).dirichlet(np.ones(n_classes), len(y))
        share[::3] = np.eye(n_classes)[y[::3]]  # some rows are of one class
        y = share[:, 1] if n_classes == 2 else share
    weight = np.random.default_rng(2).integers(1, 3, len(y)).astype(float)
    found = bootstrap(
        model.fit(X, y, weight), wrap(X), y, sample_weight=weight, n_resamples=3, random_state=3
    )
    np.testing.assert_array_equal(found.coef, model.coef_)
    for b, counts in enumerate(drawn(3, len(y), 3)):
        model.fit(X, y, weight * counts)
        np.testing.assert_allclose(found.coefs[b], model.coef_, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.intercepts[b], model.intercept_, rtol=1e-4, atol=1e-5)


def test_soft_labels_in_groups():
    X, y = rows()
    groups = np.arange(len(y)) // 10
    model = TorchLogisticClassifier(label_smoothing=0.1, tol=1e-8).fit(X, y)
    found = bootstrap(model, X, y, groups=groups, n_resamples=2, random_state=1)
    model.fit(X, y, drawn(1, 30, 1)[0][groups])
    np.testing.assert_allclose(found.coefs[0], model.coef_, rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ([[0.5, 0.4]], "sums to 0.9"),
        ([[1.5, -0.5]], "is 1.5; .* from 0 to 1"),
        ([[0.2, 0.3, 0.5]], "probabilities of 3 classes, but there are 2"),
    ],
)
def test_soft_labels_are_probabilities(wrong, text):
    X, y = rows()
    model = TorchLogisticClassifier(soft_labels=True).fit(X, 0.1 + 0.8 * y)
    with pytest.raises(ValueError, match=text):
        bootstrap(model, X, np.repeat(wrong, len(y), axis=0))


def test_mini_batches_are_not_refitted_exactly():
    X, y = rows()
    X = scale(X)
    exact = TorchLogisticClassifier(solver=SGD(epochs=2, finish="exact"), tol=1e-8).fit(X, y)
    found = bootstrap(exact, X, y, n_resamples=2, random_state=3)
    model = TorchLogisticClassifier(tol=1e-8).fit(X, y, drawn(3, len(y), 1)[0])
    np.testing.assert_allclose(found.coefs[0], model.coef_, rtol=1e-4, atol=1e-6)
    near = TorchLogisticClassifier(solver=SGD(epochs=500, learning_rate=1.0), tol=1e-2).fit(X, y)
    assert near.converged_
    with pytest.raises(ParameterError, match="bootstrap refits exactly"):
        bootstrap(near, X, y)


def test_sparse_coefficients():
    X, y = rows()
    model = TorchLogisticClassifier(l1_ratio=1.0, C=0.1).fit(X, y)
    expected = bootstrap(model, X, y, n_resamples=2, random_state=0)
    found = bootstrap(model.sparsify(), X, y, n_resamples=2, random_state=0)
    np.testing.assert_array_equal(found.coefs, expected.coefs)


def test_spread_is_the_standard_error_of_the_model():
    X, y = rows(3000)
    model = TorchLogisticClassifier(C=np.inf).fit(X, y)
    found, known = bootstrap(model, X, y, random_state=0), summary(model, X, y)
    np.testing.assert_allclose(found.standard_error[0], known.standard_error[:-1], rtol=0.1)
    for method in ("percentile", "basic", "normal"):
        ends = found.interval(method=method)[0]
        np.testing.assert_allclose(
            ends, known.interval[:-1], atol=0.3 * known.standard_error[:-1].max()
        )
    assert found.n_passes < 100


def test_groups_are_drawn_whole():
    X, y = rows()
    groups = np.arange(len(y)) // 10
    model = TorchLogisticClassifier().fit(X, y)
    found = bootstrap(model, sp.csr_array(X), y, groups=groups, n_resamples=3, random_state=1)
    counts = drawn(1, 30, 1)[0][groups]
    alone = TorchLogisticClassifier(tol=1e-7).fit(X, y, counts)
    np.testing.assert_allclose(found.coefs[0], alone.coef_, rtol=1e-3)


def test_resamples_without_a_finite_fit_are_told():
    X = np.arange(12.0)[:, None]
    y = (np.arange(12) >= 6).astype(int)
    y[[5, 6]] = 1, 0
    model = TorchLogisticClassifier(C=np.inf).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="have no finite fit"):
        found = bootstrap(model, X, y, n_resamples=200, random_state=0)
    assert 0 < found.n_lost < 200
    assert len(found.coefs) == 200 - found.n_lost
    assert np.isfinite(found.coefs).all()


def test_refused():
    X, y = rows()
    model = TorchLogisticClassifier().fit(X, y)
    for n_resamples in (1, 10.5, "10"):
        with pytest.raises(ParameterError, match=f"n_resamples={n_resamples!r}; it must be an int"):
            bootstrap(model, X, y, n_resamples=n_resamples)
    with pytest.raises(ParameterError, match="groups has shape"):
        bootstrap(model, X, y, groups=[0, 1])
    with pytest.raises(ParameterError, match="bounds"):
        bootstrap(TorchLogisticClassifier(bounds=(0, None)).fit(X, y), X, y)
    found = bootstrap(model, X, y, n_resamples=3, random_state=0)
    with pytest.raises(ParameterError, match="method='bca'"):
        found.interval(method="bca")
