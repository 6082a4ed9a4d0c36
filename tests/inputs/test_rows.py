"""What scikit-learn says of rows, it says of tensors and of every type, in the same words."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.utils import check_array

from skorch_logreg import (
    MultiLabel,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.inputs.arrays import to_numpy, view_as_numpy
from skorch_logreg.inputs.rows import check_keeping_dtype, is_finite_array
from skorch_logreg.solvers import SGD
from tests.estimators.data import binary
from tests.estimators.tensors import (
    TYPES,
    OnDevice,
    close,
    numbers,
    reach_nowhere,
)


@pytest.fixture
def there(monkeypatch):
    """Make tensors that NumPy cannot read."""
    return reach_nowhere(monkeypatch)


def _bad(value):
    X = np.array(binary()[0])
    X[70, 2] = value
    return X


BAD = {
    "nan": _bad(np.nan),
    "inf": _bad(np.inf),
    "a number": np.array(1.0),
    "one row": np.arange(3.0),
    "three axes": np.zeros((120, 2, 2)),
    "no row": np.zeros((0, 4)),
    "no column": np.zeros((120, 0)),
    "rows and labels": np.zeros((7, 4)),
}
WAYS = {
    "tensor": torch.tensor,
    "gradient": lambda X: torch.tensor(X).requires_grad_(),
    "device": None,
    "bfloat16": lambda X: torch.tensor(X).to(torch.bfloat16),
    "float16": lambda X: X.astype(np.float16),
}
ESTIMATORS = {
    "classifier": TorchLogisticClassifier(),
    "cv": TorchLogisticClassifierCV(
        Cs=2, cv=2, l1_ratios=(0,), scoring="accuracy", use_legacy_attributes=False
    ),
    "labels": MultiLabel(),
    "network": NeuralLogisticClassifier((2,), solver=SGD(epochs=1)),
}  # fmt: skip


def _message(call, *arguments):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the texts are compared
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", BAD)
def test_12_what_is_refused_is_refused_in_the_same_words(there, name, way, what):
    X, y, model = BAD[what], binary()[1], ESTIMATORS[name]
    with np.errstate(over="ignore"):
        made = (WAYS[way] or there)(X)
    expected = X.astype(np.float32) if way == "bfloat16" else X
    assert _message(model.fit, made, y) == _message(model.fit, expected, y)
    model.fit(*binary())
    for method in ("predict_proba", "predict"):
        if what == "rows and labels" or (what == "inf" and way == "float16"):
            break  # scikit-learn's predictions do not convert float16
        call = getattr(model, method)
        assert _message(call, made) == _message(call, expected)


def test_12_complex_numbers_are_refused():
    X, y = binary()
    for made in (torch.tensor(X + 0j), torch.tensor(X + 0j).conj(), X + 0j):
        with pytest.raises(ValueError, match="Complex data not supported"):
            TorchLogisticClassifier().fit(made, y)


def test_a_sum_that_overflows_is_not_refused(there):
    X = torch.tensor(np.random.default_rng(0).normal(3e4, 1e3, size=(60, 2)), dtype=torch.float16)
    assert X.sum().isinf()
    y = np.arange(60) % 2
    expected = TorchLogisticClassifier().fit(X.double().numpy(), y)
    for made in (X, X.numpy(), X.as_subclass(OnDevice)):
        model = TorchLogisticClassifier().fit(made, y)
        close(model.predict_proba(made), expected.predict_proba(X.double().numpy()))


@pytest.mark.parametrize("way", ["tensor", "bfloat16", "int8"])
def test_names_and_number_of_features(way):
    """They are forgotten in a fit, and asked for in a prediction."""
    pd = pytest.importorskip("pandas")
    X, y = numbers()
    frame = pd.DataFrame(X, columns=list("abcd"))
    made = X.astype(np.int8) if way == "int8" else WAYS[way](X)
    model = TorchLogisticClassifier().fit(frame, y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(made)
    assert not hasattr(model.fit(made, y), "feature_names_in_")
    assert model.n_features_in_ == 4
    with pytest.raises(ValueError, match="X has 3 features, but TorchLogisticClassifier is expect"):
        model.predict(made[:, :3])


def test_tensors_without_numbers_are_refused():
    y = [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: nested tensors and quantization are in beta state
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(2)])
        quantized = torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8)
        batch = torch.ones(2, 2, 2).to_sparse_csr()
    hybrid = torch.ones(2, 2).to_sparse(1)
    for X, text in (
        (torch.empty(2, 2, device="meta"), "on the device 'meta', which holds no numbers"),
        (nested, "The tensor is nested"),
        (quantized, "The tensor is quantized"),
        (hybrid, r"The sparse tensor of shape \(2, 2\) has dense axes"),
        (batch, "Found sparse tensor with dim 3, while dim <= 2 is required"),
    ):
        with pytest.raises(ValueError, match=text):
            TorchLogisticClassifier().fit(X, y)


def test_21_sparse_tensors_whose_indices_lie_are_refused():
    y = [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = [
            torch.sparse_csr_tensor([0, 1, 2], [0, 9], [1.0, 1.0], (2, 2), check_invariants=False),
            torch.sparse_csc_tensor([0, 1, 2], [0, -3], [1.0, 1.0], (2, 2), check_invariants=False),
            torch.sparse_coo_tensor(
                [[0, 1], [0, 9]], [1.0, 1.0], (2, 2), check_invariants=False, is_coalesced=True
            ),
        ]
    for X in wrong:
        with pytest.raises(ValueError, match=r"ind(ex|ices)"):
            TorchLogisticClassifier().fit(X, y)


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("place", [0, 1_398_100, 1_398_101, 2_999_999])
def test_a_number_that_is_not_finite_is_found_in_any_part(place):
    """Parts have 2^22 entries, 1,398,101 rows."""
    X = torch.ones(3_000_000, 3, dtype=torch.bfloat16)
    check_keeping_dtype(X, check_array)
    X[place, 2] = torch.nan
    with pytest.raises(ValueError, match="Input contains NaN"):
        check_keeping_dtype(X, check_array)
    with config_context(assume_finite=True):
        check_keeping_dtype(X, check_array)


def test_what_stands_for_a_tensor_takes_no_memory():
    stand_in = check_keeping_dtype(
        torch.ones(1, 1, dtype=torch.bfloat16).expand(10**6, 10**6)[:0], _size
    )
    assert stand_in == ((0, 10**6), 8)
    assert check_keeping_dtype(torch.ones(5, 3, dtype=torch.bfloat16), _size) == ((5, 3), 8)


def _size(X, **_):
    return X.shape, X.base.nbytes


@pytest.mark.parametrize("kind", [kind for kind in TYPES if "torch" not in kind])
def test_an_array_of_numbers_is_returned_as_it_is(kind):
    X = numbers()[0].astype(kind)
    assert is_finite_array(X)
    assert check_keeping_dtype(X, check_array) is X
    assert check_keeping_dtype(X[::2, ::-1], check_array).dtype == X.dtype
    foreign = X.astype(X.dtype.newbyteorder("S"))
    if X.dtype.itemsize > 1:
        assert not is_finite_array(foreign)
        assert check_keeping_dtype(foreign, check_array).dtype == np.float64


@pytest.mark.parametrize("dtype", [np.int8, np.uint32, bool])
def test_integers_of_any_number_of_axes_are_returned_as_they_are(dtype):
    X = np.ones((4, 3, 2), dtype=dtype)
    assert check_keeping_dtype(X, partial(check_array, allow_nd=True)) is X


def test_half_precision_whose_sum_overflows_is_finite():
    X = np.full((50, 4), np.finfo(np.float16).max, dtype=np.float16)
    assert is_finite_array(X)
    assert check_keeping_dtype(X, check_array) is X


def test_large_arrays_are_looked_at_by_threads():
    for dtype in (np.float16, np.float32, np.float64):
        for order in "CF":
            X = np.full((1_100_000, 4), float(np.finfo(dtype).max) / 1e7, dtype=dtype, order=order)
            assert is_finite_array(X)
            X[700_000, 1] = np.inf
            assert not is_finite_array(X)


FITS = {
    "l2": {},
    "unpenalised": {"C": np.inf},
    "float32": {"dtype": np.float32},
    "columns": {"order": "F"},
    "l1": {"l1_ratio": 1.0, "solver": "saga"},
    "bounds": {"bounds": (0.0, 1.0)},
    "lbfgs": {"solver": "lbfgs"},
    "liblinear": {"solver": "liblinear"},
    "excluded": {"excludes": True},
    "weights": {"weighs": True},
    "classes": {"n_classes": 5},
    "classes, l1": {"n_classes": 5, "l1_ratio": 1.0, "solver": "saga"},
    "no step": {"max_iter": 0},
}


@pytest.mark.parametrize("shape", [(60_000, 4), (3_000, 50), (70, 2_000)])
@pytest.mark.parametrize("case", FITS)
def test_12_fits_find_what_is_not_finite_in_large_arrays(case, shape):
    """The first pass over the rows finds it, and the error is the one of all other rows."""
    options = dict(FITS[case])
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=shape), rng.integers(options.pop("n_classes", 2), size=shape[0])
    X = X.astype(options.pop("dtype", X.dtype), order=options.pop("order", "C"))
    weight = rng.integers(2, size=len(X)) if options.pop("weighs", False) else None
    if options.pop("excludes", False):
        options["penalty_factor"] = np.where(np.arange(shape[1]) % 2, 1.0, np.inf)
    model = TorchLogisticClassifier(**options)
    for value, column in ((np.nan, -1), (np.inf, -1), (-np.inf, 0)):
        place = rng.integers(shape[0]), column
        if weight is not None:
            weight[place[0]] = 0
        before, X[place] = X[place], value
        with pytest.raises(ValueError) as expected:
            check_array(X, estimator=model, input_name="X")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ValueError) as raised:
                model.fit(X, y, sample_weight=weight)
        assert str(raised.value) == str(expected.value)
        assert not any(name.endswith("_") for name in vars(model))
        X[place] = before


def test_12_large_numbers_whose_sums_overflow_are_not_called_infinite():
    X = np.random.default_rng(0).normal(size=(60_000, 4)) * 1e160
    with pytest.raises(ValueError, match="squares overflow"):
        TorchLogisticClassifier().fit(X, X[:, 0] > 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int16, torch.bool, torch.float16])
def test_tensors_are_viewed(dtype):
    X = torch.ones(5, 3).to(dtype)
    assert np.shares_memory(view_as_numpy(X), X.numpy())
    assert np.shares_memory(view_as_numpy(X.T[1:]), X.numpy())
    assert np.shares_memory(to_numpy(X), X.numpy())
    if X.is_floating_point():
        assert np.shares_memory(view_as_numpy(X.requires_grad_()), X.detach().numpy())
        assert np.shares_memory(view_as_numpy(torch.nn.Parameter(X)), X.detach().numpy())


def test_what_numpy_does_not_have_stays_a_tensor():
    X = torch.ones(5, 3, dtype=torch.bfloat16, requires_grad=True)
    assert view_as_numpy(X).data_ptr() == X.data_ptr()
    assert not view_as_numpy(X).requires_grad
    assert to_numpy(X).dtype == np.float32
    assert view_as_numpy(torch.ones(2).to(torch.float8_e5m2)).dtype == torch.bfloat16
    for same in (None, "a", [1, 2], np.ones(3)):
        assert view_as_numpy(same) is to_numpy(same) is same
    negated = torch.full((3,), 2j).conj().imag
    assert negated.is_neg()
    np.testing.assert_array_equal(to_numpy(negated), np.full(3, -2.0))
