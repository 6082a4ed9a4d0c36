"""`duality_gap_` bounds the coefficients that the user gets, rounding included (promise 2)."""

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import ConvergenceWarning

from skorch_logreg import MultiLabel, OffsetLogisticClassifier, TorchLogisticClassifier
from skorch_logreg.penalties import GroupL2

MEANS = [0.0, 1e3, 1e6]


def _problem(mean, dtype, n_classes=2, n=60, p=3):
    rng = np.random.default_rng(0)
    X = (mean + rng.normal(size=(n, p))).astype(dtype)
    signal = (X - X.mean(axis=0)) @ rng.normal(size=(p, n_classes))
    return X, (signal + rng.gumbel(size=signal.shape)).argmax(axis=1)


def _objective(model, X, y, l1_ratio=0.0):
    """The objective with C = 1 in 50 digits, at the fitted attributes as they are."""
    with mpmath.workdps(50):
        coef = [[mpmath.mpf(float(w)) for w in row] for row in model.coef_]
        intercept = [mpmath.mpf(float(b)) for b in model.intercept_]
        total = mpmath.mpf(0)
        for row, label in zip(X, y, strict=True):
            z = [
                sum((mpmath.mpf(float(x)) * w for x, w in zip(row, ws, strict=True)), b)
                for ws, b in zip(coef, intercept, strict=True)
            ]
            if len(z) == 1:
                z = [mpmath.mpf(0), *z]
            total += mpmath.log(sum(mpmath.exp(v) for v in z)) - z[label]
        squares = sum(w**2 for ws in coef for w in ws) / 2
        sizes = sum(abs(w) for ws in coef for w in ws)
        return total + (1 - l1_ratio) * squares + l1_ratio * sizes


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mean", MEANS)
def test_the_gap_holds_for_what_is_stored(mean, dtype, l1_ratio, n_classes):
    _check_gap(*_problem(mean, dtype, n_classes), l1_ratio)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("mean", [1e11, 1e13])
def test_the_gap_counts_how_the_intercept_is_rounded(mean, n_classes):
    """It moves every logit, by up to 0.001, which rounding of its own terms hides."""
    _check_gap(*_problem(mean, np.float64, n_classes), 0.0)


def _check_gap(X, y, l1_ratio):
    model = TorchLogisticClassifier(l1_ratio=l1_ratio, tol=1e-8).fit(X, y)
    shift = X.astype(np.float64).mean(axis=0)
    centred = X.astype(np.float64) - shift
    best = TorchLogisticClassifier(l1_ratio=l1_ratio, tol=1e-9).fit(centred, y)
    reached = _objective(model, X, y, l1_ratio)
    minimum = _objective(best, centred, y, l1_ratio)
    true = float((reached - minimum) / minimum)
    assert true <= model.duality_gap_
    assert model.duality_gap_ <= 2 * true + 1e-13  # it says what rounding costs, and no more


def test_rounding_to_float32_is_seen():
    """The intercept of columns of mean 1e6 is a multiple of 1/16, which moves every logit."""
    X, y = _problem(1e6, np.float32)
    model = TorchLogisticClassifier().fit(X, y)
    assert model.duality_gap_ >= 1e-5
    same = TorchLogisticClassifier().fit(X.astype(np.float64), y)
    assert same.duality_gap_ <= 1e-7


@pytest.mark.parametrize(
    "options", [{"bounds": (-0.1, 0.3)}, {"penalty": GroupL2([[0, 1], [2]])}], ids=str
)
def test_bounds_and_groups(options):
    X, y = _problem(1e3, np.float32)
    model = TorchLogisticClassifier(tol=1e-7, **options).fit(X, y)
    wide = TorchLogisticClassifier(tol=1e-9, **options).fit(X.astype(np.float64), y)
    assert wide.duality_gap_ <= 1e-12 < model.duality_gap_


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_sparse_rows_are_rounded_as_dense_ones(l1_ratio):
    X, y = _problem(1e6, np.float32)
    dense = TorchLogisticClassifier(l1_ratio=l1_ratio).fit(X, y)
    sparse = TorchLogisticClassifier(l1_ratio=l1_ratio).fit(sp.csr_array(X), y)
    assert sparse.coef_.dtype == np.float32
    assert sparse.duality_gap_ == pytest.approx(dense.duality_gap_, rel=0.5)


def test_an_ordinary_fit_pays_no_pass():
    """Rounding of centred columns needs no look at the rows at the default tolerance."""
    X, y = _problem(0.0, np.float32, n=2000)
    single = TorchLogisticClassifier(C=100.0).fit(X, y)
    double = TorchLogisticClassifier(C=100.0).fit(X.astype(np.float64), y)
    assert single.n_passes_ == double.n_passes_


def test_parameters_beyond_the_range_of_their_type_are_scaled_down():
    """Offsets saturate both rows: their curvature is 1e-33, and a Newton step 1e45 long."""
    X = np.array([[3.0, 1.0], [3.0, -2.0]], dtype=np.float32)
    model = OffsetLogisticClassifier(C=np.inf, tol=1e-8)
    with pytest.warns(ConvergenceWarning, match="separable"):
        model.fit(X, [1, 0], offset=[-76.0, 442.0])
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    assert model.coef_[0, 1] > 1e30


def test_models_of_a_batch_converge_as_single_ones():
    """A gap that is not asked for is none that is missing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 10))
    Y = (X @ rng.normal(size=(10, 2)) > 0).astype(int)
    single = TorchLogisticClassifier(C=1e12, tol=1e-7)
    assert all(single.fit(X, y).converged_ for y in Y.T)
    assert MultiLabel(single).fit(X, Y).converged_.all()
