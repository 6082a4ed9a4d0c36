"""Labels under one network: one backbone, a head with a logit for each, one objective."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skorch_logreg import (
    ConstantLabelWarning,
    MultiLabel,
    NeuralLogisticClassifier,
    ParameterError,
    TorchLogisticClassifier,
)
from skorch_logreg.fitting import ROW_BYTES
from skorch_logreg.solvers import SGD, Adam
from tests.estimators.data import multi
from tests.estimators.labels import labels

QUICK = Adam(0.02, batch_size=30, epochs=5)
LINEAR = SGD(0.5, 0.9, batch_size=None, epochs=20)


def network(sizes=(8,), solver=QUICK, **options):
    return NeuralLogisticClassifier(sizes, solver=solver, **options)


def weights(model):
    return [p.detach().numpy().copy() for p in model.module_.parameters()]


def by_hand(X, Y, cells, C, n_steps, seed=None):
    """The usual loop: binary cross entropies, their sum over all cells, and the penalty."""
    model = MultiLabel(network(solver=SGD(epochs=0), random_state=seed)).fit(X, Y)
    net = copy.deepcopy(model.module_).train()
    X, Y, cells, C = (torch.from_numpy(np.array(a, dtype=float)) for a in (X, Y, cells, C))
    loss_function = nn.BCEWithLogitsLoss(reduction="none")
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = (cells * loss_function(net(X), Y)).sum()
        loss = loss + (net.head.weight.square().sum(dim=1) / (2 * C)).sum()
        loss = loss / (cells.sum() / Y.shape[1])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return net, losses


# ---------------------------------------------------------------- what is trained


def test_the_usual_network_step_by_step():
    """A cell counts the same in every label, however many of its cells are known."""
    X, Y = labels()
    rng = np.random.default_rng(0)
    weight = rng.integers(1, 4, len(X)).astype(float)
    known = rng.random(Y.shape) < [0.2, 0.6, 1.0]
    C, by_class = [0.1, 1.0, np.inf], [{1: 3.0}, None, {0: 0.5}]
    net, losses = by_hand(
        X, Y, known * weight[:, None] * np.where(Y == 1, [3, 1, 1], [1, 1, 0.5]), C, 6
    )
    model = MultiLabel(
        network(solver=Adam(0.02, batch_size=None, epochs=6)), C=C, class_weight=by_class
    ).fit(X, Y, weight, known)
    for ours, theirs in zip(weights(model), net.parameters(), strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.history_["loss"], losses, rtol=1e-12)


def test_without_a_hidden_layer_it_is_one_classifier_a_label():
    """Where all cells count; labels share nothing but the order of the rows then."""
    X, Y = labels()
    start = {"freeze_backbone": True, "max_iter": 0, "warm_start": True}
    model = MultiLabel(network((), **start | {"solver": None}), C=[0.1, 1.0, 10.0])
    with pytest.warns(ConvergenceWarning):
        model.fit(X, Y)
    with torch.no_grad():
        model.module_.head.weight.zero_()
        model.module_.head.bias.zero_()
    model.estimator.set_params(freeze_backbone=False, solver=LINEAR)
    model.fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        linear = MultiLabel(TorchLogisticClassifier(solver=LINEAR), C=[0.1, 1.0, 10.0]).fit(X, Y)
    np.testing.assert_allclose(weights(model)[0], linear.coef_, rtol=1e-9)
    np.testing.assert_allclose(weights(model)[1], linear.intercept_, rtol=1e-9)


def test_it_learns_what_no_linear_model_can():
    X = np.random.default_rng(0).uniform(-1, 1, size=(300, 2))
    Y = np.c_[X[:, 0] * X[:, 1] > 0, (X**2).sum(axis=1) > 0.6].astype(int)
    assert MultiLabel().fit(X, Y).score(X, Y) < 0.5
    model = MultiLabel(network((32,), Adam(0.02, batch_size=50, epochs=60))).fit(X, Y)
    assert model.score(X, Y) > 0.9


def test_07_containers():
    X, Y = labels()
    dense = MultiLabel(network()).fit(X, Y)
    model = MultiLabel(network()).fit(sp.csr_array(X), sp.csr_array(Y))
    np.testing.assert_allclose(
        model.predict_proba(sp.csr_array(X)), dense.predict_proba(X), rtol=1e-9
    )
    assert isinstance(model.predict(X), sp.csr_array)
    X = X.astype(np.float32)
    assert MultiLabel(network()).fit(X, Y).predict_proba(X).dtype == np.float32


def test_soft_labels_and_smoothing():
    X, Y = labels()
    soft = MultiLabel(network(soft_labels=True)).fit(X, 0.9 * Y + 0.05)
    smooth = MultiLabel(network(label_smoothing=0.1)).fit(X, Y)
    for ours, theirs in zip(weights(soft), weights(smooth), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_04_a_weight_is_a_repetition_and_0_is_none():
    """Also a row of which no label is known."""
    X, Y = labels()
    solver = Adam(0.02, batch_size=None, epochs=5)
    twice = MultiLabel(network(solver=solver)).fit(np.r_[X, X[:40]], np.r_[Y, Y[:40]])
    weight = np.where(np.arange(len(X)) < 40, 2.0, 1.0)
    weighted = MultiLabel(network(solver=solver)).fit(X, Y, weight)
    np.testing.assert_allclose(weights(weighted)[0], weights(twice)[0], rtol=1e-9)
    known = np.ones(Y.shape, dtype=bool)
    known[60:] = False
    few = MultiLabel(network()).fit(X[:60], Y[:60])
    for kwargs in ({"label_mask": known}, {"sample_weight": known[:, 0].astype(float)}):
        np.testing.assert_array_equal(
            weights(MultiLabel(network()).fit(X, Y, **kwargs))[0], weights(few)[0]
        )


def test_a_constant_label_is_trained_like_any_other():
    X, Y = labels()
    model = MultiLabel(network()).fit(X, np.c_[Y[:, 0], np.ones(len(X))])
    p = model.predict_proba(X)[:, 1]
    assert (p > 0.5).all()
    assert (p < 1).all()


def test_09_the_same_call_gives_the_same_bits():
    X, Y = labels()
    before = torch.random.get_rng_state()
    first, again, other = (
        weights(MultiLabel(network(dropout=0.2, random_state=seed)).fit(X, Y)) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != other[0]).any()


# ---------------------------------------------------------------- exact heads


@pytest.mark.parametrize("solver", [None, SGD(0.1, batch_size=20, epochs=3)], ids=["auto", "sgd"])
def test_on_a_frozen_backbone_it_is_multilabel_on_the_features(solver):
    """Strengths, weights, masks and certain labels included."""
    X, Y = labels()
    known = np.random.default_rng(1).random((len(X), 4)) < 0.7
    Y = np.c_[Y, np.zeros(len(X))]
    options = {"C": [0.1, 1.0, 10.0, 1.0], "class_weight": "balanced", "threshold": 0.4}
    frozen = network(solver=solver, freeze_backbone=True, tol=1e-8, random_state=2)
    model = MultiLabel(frozen, **options)
    linear = TorchLogisticClassifier(solver="auto" if solver is None else solver, tol=1e-8,
                                     random_state=2)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.warns(ConstantLabelWarning, match="always 0: 3"):
            model.fit(X, Y, label_mask=known)
        features = model.module_.backbone(torch.from_numpy(X.copy())).detach().numpy()
        with pytest.warns(ConstantLabelWarning):
            alone = MultiLabel(linear, **options).fit(features, Y, label_mask=known)
    np.testing.assert_array_equal(weights(model)[2], alone.coef_)
    np.testing.assert_array_equal(weights(model)[3], alone.intercept_)
    np.testing.assert_array_equal(model.predict(X), alone.predict(features))
    for name in ("n_iter_", "optimality_", "converged_"):
        np.testing.assert_array_equal(getattr(model, name), getattr(alone, name))


@pytest.mark.parametrize(
    "how",
    [{"polish_head": True}, {"solver": Adam(0.02, batch_size=30, epochs=5, finish="exact")}],
    ids=["polish", "exact"],
)
def test_polish_ends_with_the_exact_head_of_every_label(how):
    X, Y = labels()
    model = MultiLabel(network(tol=1e-9, max_iter=500, **how)).fit(X, Y)
    assert model.converged_.all()
    assert (model.n_iter_ > 5).all()
    assert len(model.history_["loss"]) == 5
    features = model.module_.backbone(torch.from_numpy(X.copy())).detach().numpy()
    exact = MultiLabel(TorchLogisticClassifier(tol=1e-9, max_iter=500)).fit(features, Y)
    np.testing.assert_allclose(weights(model)[2], exact.coef_, rtol=1e-6, atol=1e-7)
    plain = MultiLabel(network()).fit(X, Y)
    np.testing.assert_array_equal(weights(model)[0], weights(plain)[0])


def test_one_warning_of_heads_that_did_not_converge():
    X, Y = labels()
    model = MultiLabel(network(solver=None, freeze_backbone=True, max_iter=1, tol=1e-12))
    with pytest.warns(ConvergenceWarning, match="3 of 3 labels") as caught:
        model.fit(X, Y)
    assert [w.filename for w in caught] == [__file__]


# ---------------------------------------------------------------- predictions


def test_14_the_module_is_the_model():
    X, Y = labels()
    model = MultiLabel(network(dropout=0.5), threshold=[0.3, 0.5, 0.7]).fit(X, Y)
    z = model.module_(torch.from_numpy(X.copy())).detach().numpy()
    np.testing.assert_array_equal(model.decision_function(X), z)
    p = model.predict_proba(X)
    np.testing.assert_allclose(p, 1 / (1 + np.exp(-z)), rtol=1e-12)
    np.testing.assert_allclose(model.predict_log_proba(X), np.log(p), rtol=1e-9)
    np.testing.assert_array_equal(model.predict(X), p >= [0.3, 0.5, 0.7])
    assert not hasattr(model, "coef_")
    whole = model.predict(X)
    model.memory_budget = ROW_BYTES * 3 * 7
    np.testing.assert_array_equal(model.predict(X), whole)
    with torch.no_grad():
        model.module_.head.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        model.predict(X)


def test_one_column_of_classes():
    X, y = multi()
    names = np.array(["a", "b", "c"])[y]
    model = MultiLabel(network(solver=Adam(0.02, batch_size=30, epochs=20))).fit(X, names)
    assert model.score(X, names) > 0.5
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    two = MultiLabel(network()).fit(X, y > 0)
    assert two.decision_function(X).shape == (len(X),)
    assert two.predict_proba(X).shape == (len(X), 2)


def test_images_go_through_the_callers_module():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 1, 6, 6)).astype(np.float32)
    Y = np.c_[X[:, 0, 0, 0] > 0, X[:, 0, 5, 5] > 0].astype(int)
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    model = MultiLabel(NeuralLogisticClassifier(module=module, solver=QUICK)).fit(X, Y)
    assert model.predict(X).shape == (40, 2)
    with pytest.raises(ValueError, match="dim 4"):
        MultiLabel(network()).fit(X, Y)


# ---------------------------------------------------------------- by parts, warm starts, travel


def test_by_parts_it_is_the_same_network():
    """In one part an epoch is a fit's; optimiser, history and the sight of all rows go on."""
    X, Y = labels()
    solver = Adam(0.02, batch_size=30, epochs=3)
    known = np.random.default_rng(1).random(Y.shape) < [0.3, 0.6, 1.0]
    whole = MultiLabel(network(solver=solver, C=np.inf)).fit(X, Y, label_mask=known)
    model = MultiLabel(network(solver=solver, C=np.inf))
    for _ in range(3):
        model = pickle.loads(pickle.dumps(model.partial_fit(X, Y, label_mask=known)))
    for ours, theirs in zip(weights(model), weights(whole), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    np.testing.assert_allclose(model.history_["loss"], whole.history_["loss"], rtol=1e-9)
    assert model.n_iter_.tolist() == [3, 3, 3]
    np.testing.assert_allclose(
        weights(whole.partial_fit(X, Y))[0], weights(model.partial_fit(X, Y))[0], rtol=1e-9
    )


def test_a_frozen_backbone_goes_on_with_its_optimiser():
    X, Y = labels()

    def fitted(epochs):
        solver = SGD(0.1, 0.9, batch_size=30, epochs=epochs)
        model = MultiLabel(network(solver=solver, freeze_backbone=True, C=np.inf))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(X, Y)

    np.testing.assert_allclose(
        weights(fitted(2).partial_fit(X, Y))[2], weights(fitted(3))[2], rtol=1e-9
    )


def test_the_penalty_stands_beside_all_rows_so_far():
    X, Y = labels()
    solver = SGD(0.1, batch_size=None, shuffle=False, epochs=1)
    model = MultiLabel(network(solver=solver, C=0.05)).partial_fit(X, Y)
    whole = MultiLabel(network(solver=solver, C=0.05)).fit(X, Y)
    np.testing.assert_allclose(weights(model)[2], weights(whole)[2], rtol=1e-12)
    other = copy.deepcopy(model)
    other.estimator.C = 0.1
    other._training["weight"] = [0.0] * 3
    other._training["solver"] = model._training["solver"]
    np.testing.assert_allclose(
        weights(model.partial_fit(X, Y))[2], weights(other.partial_fit(X, Y))[2], rtol=1e-9
    )


def test_parts_may_lack_labels_but_not_all():
    X, Y = labels()
    model = MultiLabel(network()).partial_fit(X, Y, label_mask=np.ones(Y.shape) * [1, 0, 1])
    assert all(np.isfinite(w).all() for w in weights(model))
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match="No cell of y is known"):
        model.partial_fit(X, Y, label_mask=np.zeros(Y.shape))
    with pytest.raises(ValueError, match="y has 2 labels, but it had 3"):
        model.partial_fit(X, Y[:, :2])
    assert pickle.dumps(model) == before
    assert not hasattr(MultiLabel(network(class_weight="balanced")), "partial_fit")
    frozen = MultiLabel(network(freeze_backbone=True)).partial_fit(X, Y)
    backbone = weights(frozen)[0]
    np.testing.assert_array_equal(weights(frozen.partial_fit(X, Y))[0], backbone)


def test_warm_start():
    X, Y = labels()
    model = MultiLabel(network(warm_start=True)).fit(X, Y)
    loss = model.history_["loss"][-1]
    assert model.fit(X, Y).history_["loss"][0] < loss
    with pytest.raises(ValueError, match="3 logits"):
        model.fit(X, Y[:, :2])


def test_a_certain_label_begins_anew():
    X, Y = labels()
    model = MultiLabel(network(solver=None, freeze_backbone=True))
    with pytest.warns(ConstantLabelWarning):
        model.fit(X, np.c_[Y[:, 0], np.ones(len(X))])
    assert (model.predict_proba(X)[:, 1] == 1).all()
    assert (model.partial_fit(X, Y[:, :2]).predict_proba(X)[:, 1] < 1).all()


def test_other_estimators_leave_nothing_behind():
    X, Y = labels()
    model = MultiLabel().fit(X, Y)
    linear = set(vars(model))
    model.set_params(estimator=network()).fit(X, Y)
    assert not {"coef_", "intercept_", "optimality_"} & set(vars(model))
    assert set(vars(model.set_params(estimator=None).fit(X, Y))) == linear
    assert isinstance(model.module_, nn.Linear)
    model.set_params(estimator=network()).partial_fit(X, Y)
    model.set_params(estimator=TorchLogisticClassifier()).partial_fit(X, Y)
    fresh = MultiLabel(TorchLogisticClassifier()).partial_fit(X, Y)
    np.testing.assert_array_equal(model.coef_, fresh.coef_)


def test_13_travels():
    X, Y = labels()
    model = MultiLabel(network()).fit(X, Y)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    assert clone(model).get_params()["estimator__hidden_layer_sizes"] == (8,)


def test_tensors_in_tensors_out():
    X, Y = labels()
    with config_context(array_api_dispatch=True):
        model = MultiLabel(network()).fit(torch.tensor(X), torch.tensor(Y))
        p = model.predict_proba(torch.tensor(X))
    assert isinstance(p, torch.Tensor)
    np.testing.assert_array_equal(p.numpy(), MultiLabel(network()).fit(X, Y).predict_proba(X))


def test_12_all_or_nothing():
    X, Y = labels()
    model = MultiLabel(network()).fit(X, Y)
    before = pickle.dumps(model)
    with pytest.raises(ValueError, match="diverged"):
        model.set_params(estimator__solver=SGD(1e150, epochs=9)).fit(X * 1e100, 1 - Y)
    assert pickle.dumps(model.set_params(estimator__solver=QUICK)) == before


def test_verbose(capsys):
    X, Y = labels()
    MultiLabel(network(verbose=1)).fit(X, Y)
    assert "labels 0 to 2, epoch 5: mean objective" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (network(solver=SGD(validation_fraction=0.1)), "validation_fraction=0.1"),
        (network(solver=SGD(checkpoint="a.npz")), "has a checkpoint"),
        (network(solver=SGD(on_interrupt="keep")), "on_interrupt='keep'"),
        (network(solver="lbfgs"), "is for convex problems"),
        (network(sizes=(0,)), "hidden_layer_sizes"),
        (network(threshold=0.3), "MultiLabel's that decides"),
    ],
    ids=["held out", "checkpoint", "keep", "convex", "sizes", "threshold"],
)
def test_what_cannot_be_is_refused(estimator, words):
    X, Y = labels()
    with pytest.raises(ParameterError, match=words):
        MultiLabel(estimator).fit(X, Y)
