"""Labels trained in mini-batches: each is what its own classifier finds, in a fit and by parts."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.multioutput import MultiOutputClassifier
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skorch_logreg import (
    ConstantLabelWarning,
    MultiLabel,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.exceptions import DivergenceError
from skorch_logreg.fitting import ROW_BYTES
from skorch_logreg.solvers import LBFGS, SGD, Adam, AdamW, Optimizer
from tests.estimators.data import multi
from tests.estimators.labels import labels


def plateau(optimizer):
    return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.05)


SOLVERS = [
    SGD(0.5, 0.9, nesterov=True, batch_size=16, epochs=5, schedule="inverse", clip=0.1),
    Adam(0.05, batch_size=None, epochs=7, shuffle=False),
    AdamW(0.05, batch_size=50, epochs=4, weight_decay=0.1, schedule="cosine"),
    Optimizer(torch.optim.RMSprop, lr=0.02, batch_size=32, epochs=4),
    Optimizer(torch.optim.LBFGS, lr=0.3, max_iter=3, batch_size=60, epochs=3),
    SGD(1.0, epochs=8, schedule=plateau),
]
IDS = ["sgd", "adam", "adamw", "rmsprop", "lbfgs", "plateau"]


def trained(model, X, y, **kwargs):
    """Fit; that nothing converged is no news."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y, **kwargs)


def assert_equal_to(model, alone, rtol=1e-12):
    coef = np.vstack([one.coef_ for one in alone])
    intercept = np.concatenate([one.intercept_ for one in alone])
    np.testing.assert_allclose(model.coef_, coef, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(model.intercept_, intercept, rtol=rtol, atol=rtol)
    assert model.n_iter_.tolist() == [int(one.n_iter_[0]) for one in alone]


# ---------------------------------------------------------------- fit


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("solver", SOLVERS, ids=IDS)
def test_08_each_label_is_trained_as_if_alone(form, solver):
    """Also by optimisers whose steps for one label hang on the others."""
    X, Y = labels()
    weight = np.random.default_rng(0).integers(0, 3, len(X)).astype(float)
    C = [0.1, 1.0, np.inf]
    options = {"solver": solver, "random_state": 3, "class_weight": {1: 2.0}}
    model = MultiLabel(TorchLogisticClassifier(**options), C=C)
    trained(model, form(X), form(Y), sample_weight=weight)
    alone = [
        trained(TorchLogisticClassifier(C=C[k], **options), form(X), Y[:, k], sample_weight=weight)
        for k in range(3)
    ]
    assert_equal_to(model, alone)
    assert (model.optimality_ > 1e-4).all()


@pytest.mark.parametrize("solver", SOLVERS, ids=IDS)
def test_08_what_is_known_of_other_labels_does_not_matter(solver):
    X, Y = labels()
    known = np.random.default_rng(0).random(Y.shape) < [0.3, 0.6, 1.0]
    estimator = TorchLogisticClassifier(solver=solver, C=0.1)
    model = trained(MultiLabel(estimator), X, Y, label_mask=known)
    model.partial_fit(X, Y, label_mask=known)
    for k in range(3):
        own = {"label_mask": known[:, [k]]}
        one = trained(MultiLabel(estimator), X, Y[:, [k]], **own).partial_fit(X, Y[:, [k]], **own)
        np.testing.assert_allclose(model.coef_[k], one.coef_[0], rtol=1e-12)
    full = trained(TorchLogisticClassifier(solver=solver, C=0.1), X, Y[:, 2])
    np.testing.assert_allclose(model.coef_[2], full.partial_fit(X, Y[:, 2]).coef_[0], rtol=1e-12)


def test_08_without_mini_batches_unknown_cells_are_rows_that_are_not_there():
    X, Y = labels()
    known = np.random.default_rng(0).random(Y.shape) < 0.6
    estimator = TorchLogisticClassifier(solver=SOLVERS[1], C=0.1)
    model = trained(MultiLabel(estimator), X, np.where(known, Y, np.nan))
    rows = [known[:, k] for k in range(3)]
    alone = [trained(copy.deepcopy(estimator), X[rows[k]], Y[rows[k], k]) for k in range(3)]
    assert_equal_to(model, alone)


@pytest.mark.parametrize("budget", [1, ROW_BYTES * 120 * 2, None])
def test_any_budget_trains_the_same_models(budget):
    X, Y = labels(n_labels=5)
    estimator = TorchLogisticClassifier(solver=SOLVERS[0], random_state=1)
    model = trained(MultiLabel(estimator, memory_budget=budget), X, Y)
    expected = trained(MultiLabel(estimator), X, Y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-12)
    np.testing.assert_allclose(
        model.partial_fit(X, Y).coef_, expected.partial_fit(X, Y).coef_, rtol=1e-12
    )


def test_an_exact_finish():
    X, Y = labels()
    solver = SGD(batch_size=20, epochs=2, finish="exact")
    model = MultiLabel(TorchLogisticClassifier(solver=solver, tol=1e-9)).fit(X, Y)
    assert model.converged_.all()
    assert (model.n_iter_ > 2).all()
    exact = MultiLabel(TorchLogisticClassifier(tol=1e-9)).fit(X, Y)
    np.testing.assert_allclose(model.coef_, exact.coef_, rtol=1e-7)


def test_epochs_prove_nothing_and_one_warning_says_so():
    X, Y = labels()
    model = MultiLabel(TorchLogisticClassifier(solver=SOLVERS[0]))
    with pytest.warns(ConvergenceWarning, match=r"3 of 3 labels .*the epochs are over") as caught:
        model.fit(X, Y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not model.converged_.any()
    assert np.isfinite(model.optimality_).all()


def test_09_the_order_of_rows_is_the_random_states():
    X, Y = labels()

    def coef(random_state):
        estimator = TorchLogisticClassifier(solver=SOLVERS[0], random_state=random_state)
        return trained(MultiLabel(estimator), X, Y).coef_

    np.testing.assert_array_equal(coef(1), coef(1))
    assert (coef(1) != coef(2)).any()


def test_constant_labels_are_certain_and_the_rest_is_trained():
    X, Y = labels()
    constant = np.c_[Y[:, 0], np.ones(len(X)), Y[:, 1]]
    model = MultiLabel(TorchLogisticClassifier(solver=SOLVERS[0]))
    with pytest.warns(ConstantLabelWarning):
        trained(model, X, constant)
    assert (model.predict_proba(X)[:, 1] == 1).all()
    alone = trained(TorchLogisticClassifier(solver=SOLVERS[0]), X, Y[:, 1])
    np.testing.assert_allclose(model.coef_[2], alone.coef_[0], rtol=1e-12)


def test_warm_start_goes_on_from_the_weights():
    X, Y = labels()
    estimator = TorchLogisticClassifier(solver=SOLVERS[1], warm_start=True)
    model = trained(trained(MultiLabel(estimator), X, Y), X, Y)
    alone = [trained(trained(copy.deepcopy(estimator), X, Y[:, k]), X, Y[:, k]) for k in range(3)]
    assert_equal_to(model, alone)


def test_verbose_tells_the_epochs(capsys):
    X, Y = labels()
    trained(MultiLabel(TorchLogisticClassifier(solver=SGD(epochs=2), verbose=1)), X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[1].split(":")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert "nan" not in "".join(lines)


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (TorchLogisticClassifier(solver=SGD(validation_fraction=0.1)), "validation_fraction=0.1"),
        (TorchLogisticClassifier(solver=SGD(checkpoint="file.npz")), "has a checkpoint"),
        (TorchLogisticClassifier(solver=LBFGS(checkpoint="file.npz")), "has a checkpoint"),
        (TorchLogisticClassifier(solver=SGD(on_interrupt="keep")), "on_interrupt='keep'"),
        (TorchLogisticClassifierCV(solver=SGD(), l1_ratios=(0,), scoring="accuracy"), "SGD"),
    ],
    ids=["held out", "checkpoint", "convex checkpoint", "keep", "cv"],
)
def test_what_is_one_models_is_refused(estimator, words):
    X, Y = labels()
    with pytest.raises(ValueError, match=words):
        MultiLabel(estimator).fit(X, Y)


# ---------------------------------------------------------------- partial_fit


def parts(n_parts=4):
    X, Y = labels()
    return [(X[i::n_parts], Y[i::n_parts]) for i in range(n_parts)]


@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.parametrize("solver", ["auto", *SOLVERS[:5]], ids=["auto", *IDS[:5]])
def test_08_by_parts_each_label_is_its_own_classifier(form, solver):
    """With weights, and between calls through pickle."""
    options = {"solver": solver, "random_state": 3, "class_weight": {1: 2.0}}
    model = MultiLabel(TorchLogisticClassifier(**options), C=[0.1, 1.0, np.inf])
    alone = [TorchLogisticClassifier(C=C, **options) for C in (0.1, 1.0, np.inf)]
    for X, Y in parts() * 2:
        weight = np.arange(len(X)) % 3.0
        model = pickle.loads(pickle.dumps(model.partial_fit(form(X), form(Y), None, weight)))
        for k, one in enumerate(alone):
            one.partial_fit(form(X), Y[:, k], [0, 1], weight)
    assert_equal_to(model, alone)
    assert model.n_iter_.tolist() == [8, 8, 8]
    assert np.isnan(model.optimality_).all()
    assert not model.converged_.any()


def test_by_parts_as_scikit_learn_does_it():
    model = MultiLabel(TorchLogisticClassifier(solver=SOLVERS[1]))
    theirs = MultiOutputClassifier(TorchLogisticClassifier(solver=SOLVERS[1]))
    for X, Y in parts():
        model.partial_fit(X, Y, classes=[[0, 1]] * 3)
        theirs.partial_fit(X, Y, classes=[[0, 1]] * 3)
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X))
    np.testing.assert_allclose(model.coef_, np.vstack([one.coef_ for one in theirs.estimators_]))


@pytest.mark.parametrize("solver", [SOLVERS[0], SOLVERS[4]], ids=["sgd", "lbfgs"])
def test_a_part_without_a_label_leaves_it_as_it_is(solver):
    """Its optimiser too, wherever the others have got to meanwhile."""
    model = MultiLabel(TorchLogisticClassifier(solver=solver))
    alone = [TorchLogisticClassifier(solver=solver) for _ in range(3)]
    seen = [[1, 0, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]]
    for (X, Y), known in zip(parts(5), np.array(seen, dtype=bool), strict=True):
        model.partial_fit(X, Y, label_mask=np.broadcast_to(known, Y.shape))
        for k in np.flatnonzero(known):
            alone[k].partial_fit(X, Y[:, k], [0, 1])
    assert_equal_to(model, alone)


def test_a_label_of_one_value_so_far_is_trained():
    """And a label that was certain after `fit` begins anew, with the weight that it has seen."""
    X, Y = labels()
    constant = np.c_[np.ones(len(X)), Y[:, 1]]
    solver = SOLVERS[0]
    model = MultiLabel(TorchLogisticClassifier(solver=solver)).partial_fit(X, constant)
    alone = TorchLogisticClassifier(solver=solver).partial_fit(X, constant[:, 0], [0, 1])
    np.testing.assert_allclose(model.coef_[0], alone.coef_[0], rtol=1e-12)
    with pytest.warns(ConstantLabelWarning):
        trained(model, X, constant)
    model.partial_fit(X, Y[:, :2])
    other = trained(TorchLogisticClassifier(solver=solver), X, Y[:, 1]).partial_fit(X, Y[:, 1])
    np.testing.assert_allclose(model.coef_[1], other.coef_[0], rtol=1e-12)
    twice = TorchLogisticClassifier(solver=solver, C=2.0).partial_fit(X, Y[:, 0], [0, 1])
    np.testing.assert_allclose(model.coef_[0], twice.coef_[0], rtol=1e-12)


@pytest.mark.parametrize("first", ["auto", SOLVERS[0]], ids=["auto", "sgd"])
def test_after_fit_it_goes_on_from_there(first):
    """With the weight of all rows so far; its optimiser if that is the same."""
    rtol = 1e-11 if first == "auto" else 1e-12  # exact fits of a batch differ by rounding
    X, Y = labels()
    weight = np.arange(len(X)) % 3.0
    options = {"solver": first, "class_weight": {1: 2.0}, "C": 0.01, "tol": 1e-12}
    model = trained(MultiLabel(TorchLogisticClassifier(**options)), X, Y, sample_weight=weight)
    model.partial_fit(X[:50], Y[:50])
    alone = [
        trained(TorchLogisticClassifier(**options), X, Y[:, k], sample_weight=weight)
        for k in range(3)
    ]
    assert_equal_to(
        model, [one.partial_fit(X[:50], Y[:50, k]) for k, one in enumerate(alone)], rtol
    )
    model.estimator = TorchLogisticClassifier(**options | {"solver": SOLVERS[1]})
    model.partial_fit(X[50:], Y[50:])
    alone = [one.set_params(solver=SOLVERS[1]).partial_fit(X[50:], Y[50:, k])
             for k, one in enumerate(alone)]  # fmt: skip
    assert_equal_to(model, alone, rtol)


def test_soft_labels_by_parts():
    X, Y = labels()
    Q = np.where(Y == 1, 0.8, 0.1)
    options = {"soft_labels": True, "label_smoothing": 0.1, "solver": SOLVERS[0]}
    model = MultiLabel(TorchLogisticClassifier(**options))
    alone = [TorchLogisticClassifier(**options) for _ in range(3)]
    for rows in (slice(0, 70), slice(70, None)):
        model.partial_fit(X[rows], Q[rows])
        for k, one in enumerate(alone):
            one.partial_fit(X[rows], Q[rows, k], classes=[0, 1])
    assert_equal_to(model, alone)


def test_one_column_of_classes_by_parts():
    """A part may lack classes; they are the first call's."""
    X, y = multi()
    names = np.array(["a", "b", "c"])
    model = MultiLabel(TorchLogisticClassifier(solver=SOLVERS[1]))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, names[y])
    order = np.argsort(y)
    alone = [TorchLogisticClassifier(solver=SOLVERS[1]) for _ in range(3)]
    for rows in np.array_split(order, 3):
        model.partial_fit(X[rows], names[y[rows]], classes=names)
        for k, one in enumerate(alone):
            one.partial_fit(X[rows], y[rows] == k, [False, True])
    assert_equal_to(model, alone)
    assert set(model.predict(X)) <= set(names)
    with pytest.raises(ValueError, match=r"\['d'\]"):
        model.partial_fit(X[:2], ["a", "d"])
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit(X, names[y], classes=["a", "b"])


def test_the_first_part_says_what_the_labels_are():
    X, Y = labels()
    frame = pd.DataFrame(Y, columns=list("abc"))
    model = MultiLabel().partial_fit(X, frame)
    assert model.label_names_.tolist() == ["a", "b", "c"]
    model.partial_fit(X, sp.csr_array(Y)).partial_fit(X, frame)
    assert isinstance(model.predict(X), np.ndarray)
    assert model.predict(X).dtype == Y.dtype
    assert model.label_names_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("y", "kwargs", "words"),
    [
        (lambda Y: Y[:, :2], {}, "y has 2 labels, but it had 3 before"),
        (lambda Y: Y[:, 0], {}, "an indicator of 3 labels before"),
        (lambda Y: pd.DataFrame(Y, columns=list("abd")), {}, "columns"),
        (lambda Y: Y, {"classes": [0, 1]}, "indicator of 3 labels"),
        (lambda Y: Y, {"classes": [[0, 2]] * 3}, "indicator of 3 labels"),
        (lambda Y: Y, {"label_mask": np.ones((2, 3))}, "label_mask has shape"),
        (lambda Y: Y, {"sample_weight": [-1.0] * 120}, "sample_weight|weight"),
    ],
    ids=["width", "column", "names", "classes", "pairs", "mask", "weight"],
)
def test_other_parts_are_refused_without_a_trace(y, kwargs, words):
    X, Y = labels()
    model = MultiLabel().partial_fit(X, pd.DataFrame(Y, columns=list("abc")))
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match=words):
        model.partial_fit(X, y(Y), **kwargs)
    assert pickle.dumps(model) == before


def test_12_a_part_that_diverges_leaves_no_trace():
    """Not even in the optimiser's memory, which works in place."""
    X, Y = labels()
    solver = SGD(1e200, 0.9, batch_size=16)
    model = MultiLabel(TorchLogisticClassifier(solver=SGD(0.1, 0.9, batch_size=16)))
    model.partial_fit(X, Y)
    model.estimator.solver = solver
    getattr(model, TRAINING)["solver"] = repr(solver)
    before = pickle.dumps(model)
    with pytest.raises(DivergenceError):
        model.partial_fit(X * 1e200, Y)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (MultiLabel(TorchLogisticClassifier(solver="lbfgs")), "lbfgs"),
        (MultiLabel(TorchLogisticClassifierCV()), "TorchLogisticClassifierCV"),
        (MultiLabel(class_weight="balanced"), "balanced"),
        (MultiLabel(class_weight=[{1: 2.0}, "balanced", None]), "balanced"),
        (MultiLabel(TorchLogisticClassifier(class_weight="balanced")), "balanced"),
    ],
    ids=["convex", "cv", "balanced", "one", "its own"],
)
def test_partial_fit_is_offered_where_it_can_be(model, words):
    assert not hasattr(model, "partial_fit")
    with pytest.raises(AttributeError) as error:
        model.partial_fit  # noqa: B018
    assert words in str(error.value.__cause__)
    own = MultiLabel(TorchLogisticClassifier(class_weight="balanced"), class_weight={1: 2.0})
    assert hasattr(own, "partial_fit")
    for asked in (
        {"validation_fraction": 0.1},
        {"finish": "exact"},
        {"checkpoint": "a.npz"},
        {"on_interrupt": "keep"},
    ):
        solver = SGD(**asked)
        assert not hasattr(MultiLabel(TorchLogisticClassifier(solver=solver)), "partial_fit")
