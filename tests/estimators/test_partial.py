"""Linear models fitted a part of the rows at a time: scikit-learn's contract, and going on."""

import copy
import pickle
import re
from dataclasses import replace

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.exceptions import DivergenceError
from skorch_logreg.solvers import LBFGS, SGD, Adam, AdamW, Optimizer
from tests.estimators.data import assert_same_state, binary, multi, state

MOMENTUM = SGD(learning_rate=0.2, momentum=0.9, batch_size=20)

# a `fit` to compare with is not asked for proof
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_data = pytest.mark.parametrize("data", [binary, multi])


def by_parts(model, parts, classes=None, **weights):
    for X, y in parts:
        model.partial_fit(X, y, classes=classes, **weights)
    return model


def assert_same_model(got, expected, atol=0):
    np.testing.assert_array_equal(got.classes_, expected.classes_)
    for name in ("coef_", "intercept_"):
        np.testing.assert_allclose(
            np.asarray(getattr(got, name)), getattr(expected, name), rtol=0, atol=atol
        )


def test_the_contract_of_scikit_learn():
    X, y = multi()
    model = TorchLogisticClassifier()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    assert not state(model)
    model.partial_fit(X[y == 1], y[y == 1], classes=[2, 0, 1])  # one class is enough, in any order
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.coef_.shape == (3, 4)
    model.partial_fit(X, y).partial_fit(X, y, classes=[0, 1, 2])
    before = state(model)
    for arguments, text in (
        ((X, y, [0, 1]), "not the same as on last call"),
        ((X, np.where(y == 2, 7, y)), "7"),
        ((X[:, :3], y), "X has 3 features, but TorchLogisticClassifier is expecting 4"),
        ((X, y[:5]), "inconsistent numbers of samples"),
        ((X, y, None, -np.ones(len(y))), "[Nn]egative"),
        ((X, y, None, np.zeros(len(y))), "at least one non-zero"),
    ):
        with pytest.raises(ValueError, match=text):
            model.partial_fit(*arguments)
        assert_same_state(state(model), before)


@each_data
@pytest.mark.parametrize(
    "solver",
    [
        MOMENTUM,
        Adam(0.05, batch_size=32, schedule="cosine"),
        AdamW(0.05, schedule="inverse"),
        SGD(0.1, batch_size=16, schedule=lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.1)),
        Optimizer(torch.optim.Adagrad, lr=0.1, batch_size=50, shuffle=False),
    ],
    ids=["momentum", "cosine", "inverse", "step", "adagrad"],
)
@pytest.mark.parametrize(
    "travel", [lambda m: m, copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))]
)
def test_17_parts_are_epochs(data, solver, travel):
    """The optimiser, its schedule and the order of rows go on: without a penalty, the same bits."""
    X, y = data()
    solver = _with_epochs(solver, 5)
    if travel is not copy.deepcopy and callable(solver.schedule):
        solver = replace(solver, schedule="inverse-sqrt")  # a lambda does not travel
    model = TorchLogisticClassifier(C=np.inf, solver=solver, random_state=4)
    for _ in range(5):
        model = travel(model.partial_fit(X, y, classes=np.unique(y)))
    whole = TorchLogisticClassifier(C=np.inf, solver=solver, random_state=4).fit(X, y)
    assert_same_model(model, whole)
    assert model.history_["loss"] == whole.history_["loss"]
    assert model.history_["learning_rate"] == whole.history_["learning_rate"]
    assert model.n_iter_ == whole.n_iter_ == 5
    assert np.isnan(model.optimality_)
    assert not model.converged_


def _with_epochs(solver, epochs):
    if not isinstance(solver, Optimizer):
        return replace(solver, epochs=epochs)
    return Optimizer(solver.optimizer_class, batch_size=50, shuffle=False, epochs=epochs, lr=0.1)


@each_data
def test_after_a_fit_it_goes_on(data):
    X, y = data()
    solver = replace(MOMENTUM, epochs=3, schedule="inverse")
    model = TorchLogisticClassifier(C=np.inf, solver=solver).fit(X, y).partial_fit(X, y)
    whole = TorchLogisticClassifier(C=np.inf, solver=replace(solver, epochs=4)).fit(X, y)
    assert_same_model(model, whole)
    # after an exact fit there is no optimiser to go on with, but a place to start from
    exact = TorchLogisticClassifier().fit(X, y)
    coef = exact.coef_.copy()
    exact.partial_fit(X[:10], y[:10])
    assert 0 < abs(exact.coef_ - coef).max() < 0.05
    assert len(exact.history_["loss"]) == 1
    assert not exact.converged_


def test_the_default_is_adam():
    X, y = binary()
    default, named = (
        by_parts(TorchLogisticClassifier(solver=solver), [(X, y)] * 3, [0, 1])
        for solver in ("auto", Adam(learning_rate=0.01, batch_size=32))
    )
    assert_same_model(default, named)


def test_another_solver_begins_without_the_state_of_the_one_before():
    X, y = binary()
    model = TorchLogisticClassifier(solver=MOMENTUM, C=np.inf).partial_fit(X, y, classes=[0, 1])
    other = SGD(learning_rate=0.1)
    started = TorchLogisticClassifier(solver=other, C=np.inf, warm_start=True)
    started.set_params(solver=replace(other, epochs=1))
    vars(started).update({n: copy.deepcopy(getattr(model, n)) for n in ("coef_", "intercept_")})
    model.set_params(solver=other).partial_fit(X, y)
    assert_same_model(model, started.fit(X, y))
    assert len(model.history_["loss"]) == 1


@each_data
@pytest.mark.parametrize("l1_ratio", [0.0, 0.4])
def test_the_penalty_stands_beside_all_rows_so_far(data, l1_ratio):
    """By hand: at the k-th call of weight s the pull is that of ``1 / (C k s)``."""
    X, y = data()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y))
    factor = np.array([0.0, 1, 2, 3])
    model = TorchLogisticClassifier(
        C=0.01, l1_ratio=l1_ratio, solver=SGD(learning_rate=0.3), penalty_factor=factor
    )
    K = len(np.unique(y))
    coef, intercept = np.zeros((1 if K == 2 else K, 4)), np.zeros(1 if K == 2 else K)
    for k in (1, 2, 3):
        model.partial_fit(X, y, classes=np.arange(K), sample_weight=weight)
        z = X @ coef.T + intercept
        if K == 2:
            residual = 1 / (1 + np.exp(-z)) - y[:, None]
        else:
            residual = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) - np.eye(K)[y]
        residual *= weight[:, None] / weight.sum()
        pull = factor * ((1 - l1_ratio) * coef + l1_ratio * np.sign(coef))
        coef = coef - 0.3 * (residual.T @ X + pull / (0.01 * k * weight.sum()))
        intercept = intercept - 0.3 * residual.sum(axis=0)
        np.testing.assert_allclose(model.coef_, coef, rtol=0, atol=1e-12)
        np.testing.assert_allclose(model.intercept_, intercept, rtol=0, atol=1e-12)


def test_a_fit_before_counts_in_the_weight_of_all_rows():
    X, y = binary()
    solver = SGD(learning_rate=0.3, epochs=1)
    fitted = TorchLogisticClassifier(C=0.01, solver=solver).fit(X, y).partial_fit(X, y)
    parts = by_parts(TorchLogisticClassifier(C=0.01, solver=solver), [(X, y)] * 2, [0, 1])
    assert_same_model(fitted, parts)


@each_data
def test_many_parts_come_near_to_the_fit_of_all_rows(data):
    X, y = data()
    solver = Adam(0.02, batch_size=10)
    model = TorchLogisticClassifier(C=10, solver=solver)
    for _ in range(30):
        by_parts(model, [(X[i::3], y[i::3]) for i in range(3)], np.unique(y))
    best = TorchLogisticClassifier(C=10).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), best.predict_proba(X), atol=0.1)


@each_data
def test_04_weights_are_repetitions(data):
    X, y = data()
    times = np.random.default_rng(0).integers(0, 3, len(y))
    rows = np.repeat(np.arange(len(y)), times)
    classes = np.unique(y)
    weighted, repeated = (TorchLogisticClassifier(solver=SGD(0.5), C=0.1) for _ in range(2))
    by_parts(weighted, [(X, y)] * 3, classes, sample_weight=times)
    by_parts(repeated, [(X[rows], y[rows])] * 3, classes)
    assert_same_model(weighted, repeated, atol=1e-12)
    mini, removed = (TorchLogisticClassifier(solver=MOMENTUM) for _ in range(2))
    by_parts(mini, [(X, y)] * 2, classes, sample_weight=1.0 * (times > 0))
    by_parts(removed, [(X[times > 0], y[times > 0])] * 2, classes)
    assert_same_model(mini, removed)


@each_data
def test_class_weights_and_smoothed_labels_are_those_of_fit(data):
    X, y = data()
    options = {"class_weight": {0: 3.0, 1: 0.5}, "label_smoothing": 0.2, "C": np.inf}
    solver = replace(MOMENTUM, epochs=2)
    parts = by_parts(TorchLogisticClassifier(solver=solver, **options), [(X, y)] * 2, np.unique(y))
    assert_same_model(parts, TorchLogisticClassifier(solver=solver, **options).fit(X, y), 1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_soft_labels(n_classes):
    X, y = binary() if n_classes == 2 else multi()
    share = np.eye(n_classes)[y] * 0.7 + 0.3 / n_classes
    options = {"solver": replace(MOMENTUM, epochs=2), "C": np.inf}
    model = TorchLogisticClassifier(soft_labels=True, **options)
    by_parts(model, [(X, share)] * 2, np.arange(n_classes))
    smoothed = TorchLogisticClassifier(label_smoothing=0.3, **options).fit(X, y)
    assert_same_model(model, smoothed, 1e-12)
    with pytest.raises(ValueError, match=f"probabilities of 4 classes, but there are {n_classes}"):
        model.partial_fit(X, np.full((len(y), 4), 0.25))


@each_data
def test_07_the_container_does_not_matter(data):
    X, y = data()
    X = np.where(abs(X) > 0.3, X, 0)
    classes = np.unique(y)
    dense = by_parts(TorchLogisticClassifier(), [(X, y)] * 2, classes)
    for form in (sp.csr_matrix, sp.csc_array, np.asfortranarray, torch.from_numpy):
        got = by_parts(TorchLogisticClassifier(), [(form(X.copy()), y)] * 2, classes)
        assert_same_model(got, dense, 1e-12)
    single = by_parts(TorchLogisticClassifier(), [(X.astype(np.float32), y)] * 2, classes)
    assert single.coef_.dtype == np.float32
    assert_same_model(single, dense, 1e-5)


def test_16_labels_are_anything():
    X, y = multi()
    names = np.array(["no", "perhaps", "yes"])
    model = by_parts(TorchLogisticClassifier(), [(X[:50], names[y[:50]]), (X, names[y])], names)
    assert set(model.predict(X)) <= set(names)
    numbered = by_parts(TorchLogisticClassifier(), [(X[:50], y[:50]), (X, y)], [0, 1, 2])
    np.testing.assert_array_equal(model.coef_, numbered.coef_)


def test_09_10_and_11_reproducible_and_without_a_trace():
    X, y = (array.copy() for array in binary())
    torch.manual_seed(3)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again = (by_parts(TorchLogisticClassifier(), [(X, y)] * 2, [0, 1]) for _ in range(2))
    assert_same_model(first, again)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)
    np.testing.assert_array_equal(X, binary()[0])
    coef = first.coef_
    kept = coef.copy()
    first.partial_fit(X, y)
    np.testing.assert_array_equal(coef, kept)  # the next call has memory of its own


def test_13_a_state_travels_through_a_file(tmp_path):
    X, y = multi()
    model = TorchLogisticClassifier(solver=MOMENTUM).partial_fit(X, y, classes=[0, 1, 2])
    joblib.dump(model, tmp_path / "model")
    other = joblib.load(tmp_path / "model")
    assert_same_model(other.partial_fit(X, y), model.partial_fit(X, y))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_weights_that_overflow_leave_the_model_as_it_was(method):
    X, y = binary()
    model = TorchLogisticClassifier().partial_fit(X, y, classes=[0, 1])
    before = state(model)
    model.set_params(solver=SGD(1e38, epochs=1))
    with pytest.raises(DivergenceError, match="weights are not finite"):
        getattr(model, method)((100 * X).astype(np.float32), y)
    assert_same_state(state(model), before)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"solver": "lbfgs"}, "solver='lbfgs' cannot do with; choose one of .*SGD, Adam, AdamW"),
        ({"solver": LBFGS()}, "cannot do with"),
        ({"class_weight": "balanced"}, "class_weight='balanced' needs; pass a dict"),
        ({"solver": SGD(validation_fraction=0.1)}, "validation_fraction=0.1 needs all rows"),
        ({"solver": SGD(finish="exact")}, "finish='exact' needs all rows at once"),
        ({"solver": SGD(checkpoint="file")}, "checkpoint='file' needs all rows at once"),
        ({"solver": SGD(on_interrupt="keep")}, "leave on_interrupt='raise'"),
    ],
)
def test_it_is_hidden_where_it_cannot_be(options, text):
    model = TorchLogisticClassifier(**options)
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError) as error:
        model.partial_fit  # noqa: B018
    assert re.search(text, str(error.value.__cause__))


def test_training_goes_on_with_other_types_and_parameters():
    """The optimiser follows the type of the rows, and begins anew for other parameters."""
    X, y = binary()
    wide, single = X, X.astype(np.float32)
    for first, second in ((wide, single), (single, wide)):
        model = TorchLogisticClassifier().partial_fit(first, y, classes=[0, 1])
        expected = clone(model).partial_fit(first, y, classes=[0, 1]).partial_fit(first, y)
        np.testing.assert_allclose(model.partial_fit(second, y).coef_, expected.coef_, rtol=1e-4)
    model = TorchLogisticClassifier().partial_fit(X, y, classes=[0, 1])
    model.set_params(fit_intercept=False).partial_fit(X, y)
    assert model.n_iter_.tolist() == [2]
