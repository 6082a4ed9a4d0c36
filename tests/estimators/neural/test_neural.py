"""A network under a logistic head: trained, frozen, polished, or fitted part by part."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skorch_logreg import MultiLabel, NeuralLogisticClassifier, TorchLogisticClassifier
from skorch_logreg.exceptions import DivergenceError, ParameterError
from skorch_logreg.minibatch import InMemoryBatches
from skorch_logreg.solvers import LBFGS, SGD, Adam, AdamW
from tests.estimators.data import binary, multi

QUICK = Adam(learning_rate=0.01, batch_size=50, epochs=5)
SHORT = Adam(learning_rate=0.02, batch_size=200, epochs=100)


@parametrize_with_checks(
    [
        NeuralLogisticClassifier((16,), solver=SHORT),
        NeuralLogisticClassifier((16,), freeze_backbone=True, class_weight="balanced"),
        NeuralLogisticClassifier(module=nn.Identity(), solver=SHORT, polish_head=True),
    ]
)
def test_sklearn_checks(estimator, check):
    name = getattr(check, "func", check).__name__
    if name.startswith("check_sample_weight_equivalence") and estimator.freeze_backbone:
        estimator.set_params(tol=1e-10)  # it compares two fits to 1e-7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # some checks set max_iter=1
        check(estimator)


def weights(model):
    return [p.detach().numpy().copy() for p in model.module_.state_dict().values()]


def assert_same_weights(got, expected, **tolerance):
    for one, other in zip(weights(got), weights(expected), strict=True):
        np.testing.assert_allclose(one, other, **({"rtol": 0, "atol": 0} | tolerance))


def objective(model, X, y):
    """Loss of all rows and the penalty of the head, of two classes or more."""
    log_proba = model.predict_log_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)]
    penalty = model.module_.head.weight.detach().double().square().sum().item() / 2
    return -log_proba.sum() + penalty / model.C


def test_two_moons_need_a_hidden_layer():
    X, y = make_moons(600, noise=0.1, random_state=0)
    X, y, X_new, y_new = X[:300], y[:300], X[300:], y[300:]
    assert TorchLogisticClassifier().fit(X, y).score(X_new, y_new) < 0.92
    assert NeuralLogisticClassifier((32,), C=100).fit(X, y).score(X_new, y_new) > 0.99


@pytest.mark.parametrize("data", [binary, multi])
@pytest.mark.parametrize("penalty", [{}, {"C": 0.3, "l1_ratio": 0.5}, {"C": np.inf}])
def test_a_frozen_identity_is_a_linear_model(data, penalty):
    X, y = data()
    weight = np.linspace(0, 2, len(y))
    options = {"tol": 1e-10, "class_weight": "balanced"} | penalty
    model = NeuralLogisticClassifier(module=nn.Identity(), freeze_backbone=True, **options)
    linear = TorchLogisticClassifier(**options).fit(X, y, sample_weight=weight)
    model.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(model.predict_proba(X), linear.predict_proba(X), atol=1e-8)
    coef = model.module_.head.weight.detach().numpy()
    np.testing.assert_allclose(coef, linear.coef_, atol=1e-8)
    assert model.converged_
    assert model.optimality_ <= model.tol


@pytest.mark.parametrize("data", [binary, multi])
def test_a_polished_head_is_optimal_and_no_worse(data):
    X, y = data()
    rough = NeuralLogisticClassifier((8,), solver=QUICK).fit(X, y)
    polished = NeuralLogisticClassifier((8,), solver=QUICK, polish_head=True).fit(X, y)
    assert polished.converged_
    assert polished.optimality_ <= polished.tol
    assert polished.n_iter_ > rough.n_iter_
    assert objective(polished, X, y) <= objective(rough, X, y)
    assert_same_weights_of_backbones(polished, rough)
    # a linear model on the features is the judge
    features = polished.module_.backbone(torch.from_numpy(X.copy())).detach().numpy()
    exact = TorchLogisticClassifier(tol=1e-8).fit(features, y)
    np.testing.assert_allclose(polished.predict_proba(X), exact.predict_proba(features), atol=1e-3)


def assert_same_weights_of_backbones(got, expected):
    for one, other in zip(
        got.module_.backbone.parameters(), expected.module_.backbone.parameters(), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("data", [binary, multi])
def test_training_is_the_loop_that_one_writes_by_hand(data, weighted):
    X, y = data()
    weight = np.random.default_rng(0).uniform(0.5, 2, len(y)) if weighted else None
    module = nn.Sequential(nn.Linear(4, 6, dtype=torch.float64), nn.Tanh())
    solver = SGD(learning_rate=0.1, momentum=0.9, batch_size=32, epochs=4)
    model = NeuralLogisticClassifier(module=module, solver=solver, C=0.2, random_state=3)
    start = copy.deepcopy(model).set_params(solver=SGD(epochs=0)).fit(X, y).module_
    model.fit(X, y, sample_weight=weight)

    total = len(y) if weight is None else weight.sum()
    rows = torch.ones(len(y), 1).double() if weight is None else torch.tensor(weight)[:, None]
    targets = torch.tensor(y)[:, None]
    seed = int(np.random.RandomState(3).randint(np.iinfo(np.int32).max))
    batches = InMemoryBatches(torch.from_numpy(X.copy()), targets, rows, 32, True, seed)
    network = copy.deepcopy(start)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(4):
        for batch in batches.epoch(epoch):
            logits, label = network(batch.inputs), batch.targets[:, 0]
            if logits.shape[1] == 1:
                loss = nn.functional.softplus(logits[:, 0] * (1 - 2 * label))
            else:
                loss = torch.logsumexp(logits, 1) - logits[torch.arange(len(label)), label]
            mean = (loss * batch.weight[:, 0]).sum() / (len(label) * total / len(y))
            penalty = network.head.weight.square().sum() / (2 * 0.2 * total)
            optimizer.zero_grad()
            (mean + penalty).backward()
            optimizer.step()
    for got, expected in zip(model.module_.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_09_the_same_call_twice_gives_the_same_bits():
    X, y = binary()
    options = {"hidden_layer_sizes": (8,), "dropout": 0.3, "solver": QUICK}
    torch.manual_seed(6)
    first = NeuralLogisticClassifier(**options).fit(X, y)
    torch.manual_seed(7)
    assert_same_weights(NeuralLogisticClassifier(**options).fit(X, y), first)
    assert_same_weights(clone(first).set_params(random_state=None).fit(X, y), first)
    other = NeuralLogisticClassifier(**options, random_state=1).fit(X, y)
    assert not np.array_equal(weights(other)[0], weights(first)[0])


def test_11_the_world_is_left_as_it_was():
    X, y = binary()
    numbers, generator = np.random.get_state()[1].copy(), torch.get_rng_state()
    model = NeuralLogisticClassifier((8,), dropout=0.5, solver=QUICK, polish_head=True).fit(X, y)
    model.partial_fit(X, y).predict(X)
    assert torch.equal(torch.get_rng_state(), generator)
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)


def test_10_the_module_and_the_rows_are_read_only():
    X, y = binary()
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 3, dtype=torch.float64))
    before, rows = copy.deepcopy(module.state_dict()), X.copy()
    for options in ({"solver": SGD(epochs=3)}, {"freeze_backbone": True}):
        model = NeuralLogisticClassifier(module=module, **options).fit(X, y)
        model.predict(X)
        assert all(torch.equal(module.state_dict()[k], v) for k, v in before.items())
        assert module.training
        assert model.module is module
        np.testing.assert_array_equal(X, rows)


def test_14_the_module_is_the_model():
    """Dropout is off, also where the module was left in training mode."""
    X, y = multi()
    model = NeuralLogisticClassifier((8,), dropout=0.5, solver=QUICK).fit(X, y)
    expected = model.module_(torch.from_numpy(X.copy())).detach().numpy()
    np.testing.assert_array_equal(model.decision_function(X), expected)
    model.module_.train()
    np.testing.assert_array_equal(model.decision_function(X), expected)
    assert model.module_.backbone[2].training


def test_the_network_is_of_the_type_of_the_rows_or_the_module():
    X, y = binary()
    single = NeuralLogisticClassifier((4,), solver=QUICK).fit(X.astype(np.float32), y)
    assert single.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert NeuralLogisticClassifier((4,), solver=QUICK).fit(X, y).module_[1].weight.dtype == (
        torch.float64
    )
    half = nn.Linear(4, 3, dtype=torch.bfloat16)
    for options in ({"solver": QUICK}, {"freeze_backbone": True}, {"polish_head": True}):
        model = NeuralLogisticClassifier(module=half, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(X, y)
        assert model.predict_proba(X).dtype == np.float32


def test_07_sparse_rows_and_images():
    X, y = multi()
    held = sp.csr_array(np.where(np.abs(X) > 0.5, X, 0))
    for options in ({"solver": QUICK}, {"freeze_backbone": True}):
        model = NeuralLogisticClassifier((8,), **options).fit(held, y)
        dense = NeuralLogisticClassifier((8,), **options).fit(held.toarray(), y)
        assert_same_weights(model, dense, atol=1e-12)
        np.testing.assert_allclose(model.predict_proba(held), dense.predict_proba(held.toarray()))
    images = np.repeat(X.astype(np.float32)[:, None, :, None], 3, axis=3)
    convolution = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU())
    model = NeuralLogisticClassifier(module=convolution, solver=QUICK).fit(images, y)
    assert model.n_features_in_ == 1
    assert model.module_.head.in_features == 2 * 3 * 2
    assert model.predict(images).shape == y.shape


def test_04_weight_zero_is_removal():
    X, y = binary()
    weight = np.where(np.arange(len(y)) % 3, 1.0, 0.0)
    module = nn.Sequential(nn.BatchNorm1d(4, dtype=torch.float64), nn.Linear(4, 3).double())
    model = NeuralLogisticClassifier(module=module, solver=QUICK).fit(X, y, sample_weight=weight)
    fewer = NeuralLogisticClassifier(module=module, solver=QUICK)
    assert_same_weights(model, fewer.fit(X[weight > 0], y[weight > 0]), atol=1e-12)


def test_rows_held_out_choose_the_epoch():
    X, y = binary()
    for options in ({}, {"freeze_backbone": True}):
        solver = Adam(learning_rate=0.3, epochs=30, validation_fraction=0.3, patience=4)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = NeuralLogisticClassifier((32,), solver=solver, **options).fit(X, y)
        scores = model.history_["valid_score"]
        assert len(scores) == len(model.history_["loss"])
        assert len(scores) < 30
        assert np.argmax(scores) == len(scores) - 5


def test_part_by_part():
    X, y = multi()
    model = NeuralLogisticClassifier((16,), solver=Adam(learning_rate=0.02, batch_size=25))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    assert not hasattr(model, "module_")
    model.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert model.predict_proba(X).shape == (len(y), 3)
    for _ in range(60):
        model.partial_fit(X, y)
    assert model.n_iter_ == 61
    assert len(model.history_["loss"]) == 61
    assert not hasattr(model, "converged_")
    assert model.score(X, y) > TorchLogisticClassifier().fit(X, y).score(X, y) - 0.02
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit(X, y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match="7"):
        model.partial_fit(X, np.where(y == 2, 7, y))
    with pytest.raises(AttributeError) as error:
        model.set_params(class_weight="balanced").partial_fit(X, y)
    assert "class_weight='balanced'" in str(error.value.__cause__)


@pytest.mark.parametrize("frozen", [False, True])
def test_17_parts_are_epochs_and_survive_a_pickle(frozen):
    """Whole calls are whole epochs: with the optimiser's state kept, the same bits but for C."""
    X, y = binary()
    options = {"dropout": 0.2, "C": np.inf, "freeze_backbone": frozen}
    solver = AdamW(learning_rate=0.02, batch_size=40, epochs=3)
    model = NeuralLogisticClassifier((8,), solver=solver, **options)
    for _ in range(3):
        model = pickle.loads(pickle.dumps(model.partial_fit(X, y, classes=[0, 1])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        whole = NeuralLogisticClassifier((8,), solver=solver, **options).fit(X, y)
    assert_same_weights(model, whole)


def test_the_penalty_stands_beside_all_rows_so_far():
    """The second call over the same rows has half the pull of the first, by hand."""
    X, y = binary()
    solver = SGD(learning_rate=0.5)
    model = NeuralLogisticClassifier((), C=0.01, solver=solver).partial_fit(X, y, classes=[0, 1])
    before = copy.deepcopy(model.module_)
    model.partial_fit(X, y)
    z = before(torch.from_numpy(X.copy()))[:, 0]
    label = torch.tensor(y).double()
    loss = nn.functional.binary_cross_entropy_with_logits(z, label)
    (loss + before.head.weight.square().sum() / (2 * 0.01 * 2 * len(y))).backward()
    expected = before.head.weight - 0.5 * before.head.weight.grad
    torch.testing.assert_close(model.module_.head.weight, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_12_a_fit_that_fails_leaves_no_trace(method, monkeypatch):
    X, y = binary()
    model = NeuralLogisticClassifier((8,), solver=QUICK, warm_start=True).fit(X, y)
    attributes = {name: id(value) for name, value in vars(model).items()}
    expected, loss = weights(model), list(model.history_["loss"])

    def interrupted(self, number):
        yield from list(InMemoryBatches.epoch.__wrapped__(self, number))[:1]
        raise KeyboardInterrupt

    interrupted_epoch = InMemoryBatches.epoch
    InMemoryBatches.epoch.__wrapped__ = interrupted_epoch
    monkeypatch.setattr(InMemoryBatches, "epoch", interrupted)
    interrupted.__wrapped__ = interrupted_epoch
    with pytest.raises(KeyboardInterrupt):
        getattr(model, method)(X, y)
    assert {name: id(value) for name, value in vars(model).items()} == attributes
    assert model.history_["loss"] == loss
    for one, other in zip(weights(model), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_13_travels(tmp_path):
    X, y = binary()
    model = NeuralLogisticClassifier((8,), solver=QUICK, polish_head=True).fit(X, y)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
        assert other.module_ is not model.module_
    assert not hasattr(clone(model), "module_")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_13_a_model_of_a_gpu_travels_to_the_cpu():
    X, y = binary()
    model = NeuralLogisticClassifier((8,), solver=QUICK, device="cuda").fit(X, y)
    state = model.__reduce_ex__(4)[2]
    assert {p.device.type for p in state["module_"].parameters()} == {"cpu"}
    other = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    assert other.module_.head.weight.device.type == "cuda"


def test_another_kind_of_fit_forgets_the_proof():
    X, y = binary()
    model = NeuralLogisticClassifier((8,), freeze_backbone=True).fit(X, y)
    proof = {"optimality_", "duality_gap_", "converged_", "n_passes_"}
    assert proof <= vars(model).keys()
    assert not hasattr(model, "history_")
    model.set_params(freeze_backbone=False, solver=QUICK).fit(X, y)
    assert not proof & vars(model).keys()
    assert len(model.history_["loss"]) == 5


def test_18_one_warning_of_an_exact_head():
    X, y = binary()
    model = NeuralLogisticClassifier((8,), freeze_backbone=True, max_iter=1, tol=1e-12)
    with pytest.warns(ConvergenceWarning, match="optimality_ = .* max_iter was reached") as caught:
        model.fit(X, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not model.converged_


def test_a_warm_start_goes_on():
    X, y = binary()
    model = NeuralLogisticClassifier((8,), solver=QUICK, warm_start=True).fit(X, y)
    first = model.history_["loss"]
    assert model.fit(X, y).history_["loss"][0] < first[-1]
    with pytest.raises(ValueError, match="previous module_, where warm_start=True starts"):
        model.fit(X[:, :3], y)
    assert model.n_features_in_ == 4
    frozen = NeuralLogisticClassifier((8,), freeze_backbone=True, warm_start=True).fit(X, y)
    assert frozen.fit(X, y).n_iter_ <= 1


def test_soft_and_smoothed_labels():
    X, y = multi()
    share = np.eye(3)[y] * 0.8 + 0.2 / 3
    soft = NeuralLogisticClassifier((8,), solver=QUICK, soft_labels=True).fit(X, share)
    smoothed = NeuralLogisticClassifier((8,), solver=QUICK, label_smoothing=0.2).fit(X, y)
    assert_same_weights(soft, smoothed, atol=1e-12)
    exact = {"module": nn.Identity(), "freeze_backbone": True, "tol": 1e-9}
    model = NeuralLogisticClassifier(**exact, label_smoothing=0.2).fit(X, y)
    linear = TorchLogisticClassifier(tol=1e-9, label_smoothing=0.2).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), linear.predict_proba(X), atol=1e-8)


def test_15_the_threshold_needs_no_refit():
    X, y = binary()
    model = NeuralLogisticClassifier((8,), solver=QUICK).fit(X, y)
    model.threshold = 0.3
    np.testing.assert_array_equal(model.predict(X), model.predict_proba(X)[:, 1] >= 0.3)


def test_17_a_checkpoint_goes_on_to_the_same_bits(tmp_path):
    X, y = binary()
    path = tmp_path / "fit.npz"
    options = {"hidden_layer_sizes": (8,), "dropout": 0.2}
    solver = Adam(batch_size=32, epochs=6, checkpoint=path)
    expected = NeuralLogisticClassifier(**options, solver=Adam(batch_size=32, epochs=6)).fit(X, y)

    class StopError(Exception):
        pass

    class Hook:
        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context, **_): ...

        def on_fit_task_end(self, estimator, context, **_):
            if context.parent is not None and context.task_id == 3:
                raise StopError

    pytest.importorskip("sklearn.callback")
    with pytest.raises(StopError):
        NeuralLogisticClassifier(**options, solver=solver).set_callbacks(Hook()).fit(X, y)
    assert path.exists()
    resumed = NeuralLogisticClassifier(**options, solver=solver).fit(X, y)
    assert not path.exists()
    assert_same_weights(resumed, expected)


class WithBuffer(nn.Module):
    """A layer with a buffer, which may be anything, and an extra state."""

    def __init__(self, buffer):
        super().__init__()
        self.layer = nn.Linear(4, 5, dtype=torch.float64)
        self.register_buffer("buffer", buffer)

    def forward(self, X):
        return torch.tanh(self.layer(X))

    def get_extra_state(self):
        return {"version": 3}

    def set_extra_state(self, state):
        assert state == {"version": 3}


@pytest.mark.parametrize(
    "buffer",
    [
        torch.full((3, 3), -torch.inf).triu(1),
        torch.ones(3, dtype=torch.complex64),
        torch.ones(3, dtype=torch.uint16),
    ],
)
def test_17_buffers_and_extra_states_go_through_the_file(buffer, tmp_path):
    X, y = binary()
    module, end = WithBuffer(buffer), [3]

    def schedule(optimizer):
        def factor(epoch):
            if epoch in end:
                end.clear()
                raise KeyboardInterrupt
            return 0.9**epoch

        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    options = {"epochs": 6, "batch_size": 20, "validation_fraction": 0.2, "schedule": schedule}
    kept = NeuralLogisticClassifier(
        module=module, solver=Adam(**options, checkpoint=tmp_path / "fit.npz")
    )
    with pytest.raises(KeyboardInterrupt):
        kept.fit(X, y)
    kept.fit(X, y)
    expected = NeuralLogisticClassifier(module=module, solver=Adam(**options)).fit(X, y)
    np.testing.assert_array_equal(kept.decision_function(X), expected.decision_function(X))


def test_callbacks_see_every_epoch(capsys):
    pytest.importorskip("sklearn.callback")
    X, y = binary()
    seen = []

    class Recorder:
        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context, **_): ...

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.parent is not None and fitted_estimator is not None:
                seen.append(fitted_estimator.predict_proba(X))
            return len(seen) == 4

    model = NeuralLogisticClassifier((8,), solver=QUICK, verbose=1).set_callbacks(Recorder())
    model.fit(X, y)
    assert len(seen) == model.n_iter_[0] == 4
    np.testing.assert_array_equal(seen[-1], model.predict_proba(X))
    assert not np.array_equal(seen[0], seen[1])
    assert capsys.readouterr().out.count("epoch") == 4


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"solver": LBFGS()}, "freeze_backbone=True"),
        ({"solver": "lbfgs"}, "is for convex problems"),
        ({"solver": Adam}, "is not a solver"),
        ({"hidden_layer_sizes": (4, 0)}, "must hold integers from 1 on"),
        ({"hidden_layer_sizes": (4.5,)}, "must hold integers from 1 on"),
        ({"module": nn.Linear(7, 2)}, "module Linear does not take rows of X, of shape"),
        ({"module": nn.LSTM(4, 2)}, "gives an output of type tuple"),
        ({"module": nn.Flatten(0)}, r"shape \(8,\)"),
        ({"device": "nowhere"}, "device='nowhere' is not available"),
        ({"class_weight": {0: -1}}, "finite and non-negative"),
    ],
)
def test_errors_say_what_to_do(options, text):
    X, y = binary()
    model = NeuralLogisticClassifier(**options)
    with pytest.raises(ParameterError, match=text):
        model.fit(X, y)
    assert not hasattr(model, "module_")


def test_divergence_is_an_error():
    X, y = binary()
    with pytest.raises(DivergenceError, match="learning rate"):
        NeuralLogisticClassifier(solver=SGD(learning_rate=1e200, epochs=5)).fit(X * 1e3, y)
    module = nn.Linear(4, 2)
    with torch.no_grad():
        module.weight.fill_(1e38)
    with pytest.raises(ParameterError, match="not finite for row"):
        NeuralLogisticClassifier(module=module, freeze_backbone=True).fit(X, y)


def test_a_lone_row_that_the_module_does_not_train_on():
    X, y = binary()
    norm = nn.BatchNorm1d(X.shape[1], dtype=torch.float64)
    model = NeuralLogisticClassifier(module=norm, solver=SGD(batch_size=len(X) - 1, epochs=1))
    with pytest.raises(ParameterError, match="A mini-batch has one row.*another batch_size"):
        model.fit(X, y)


def test_sizes_of_layers_are_checked_though_a_network_is_there():
    X, y = binary()
    model = NeuralLogisticClassifier((3,), warm_start=True, solver=Adam(epochs=1)).fit(X, y)
    model.hidden_layer_sizes = (0,)
    for fit in (model.fit, model.partial_fit):
        with pytest.raises(ParameterError, match="must hold integers from 1 on"):
            fit(X, y)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
def test_predictions_of_chunks_some_without_rows(method):
    X, y = binary()
    parts = [X[:50], X[:0], X[50:]]

    class Chunks:
        def __len__(self):
            return len(parts)

        def chunk(self, i):
            return parts[i]

    model = NeuralLogisticClassifier((3,), solver=Adam(epochs=1)).fit(X, y)
    labels = MultiLabel(model).fit(X, np.c_[y, 1 - y])
    for fitted in (model, labels):
        expected = getattr(fitted, method)(X)
        np.testing.assert_allclose(getattr(fitted, method)(Chunks()), expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_partial_fit_after_a_backbone_is_freed_or_a_head_is_polished():
    X, y = binary()
    solver = Adam(0.01, batch_size=40, epochs=4, schedule="inverse")
    frozen = NeuralLogisticClassifier((3,), solver=solver, freeze_backbone=True).fit(X, y)
    before = copy.deepcopy(frozen.module_.state_dict())
    frozen.set_params(freeze_backbone=False).partial_fit(X, y)
    after = frozen.module_.state_dict()
    assert not any(torch.equal(before[name], after[name]) for name in before)
    rates = []
    for polish_head in (False, True):
        model = NeuralLogisticClassifier((3,), solver=solver, polish_head=polish_head).fit(X, y)
        rates.append(model.partial_fit(X, y).history_["learning_rate"])
    assert len(rates[0]) == 5
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    "schedule",
    ["inverse", "cosine", lambda optimizer: ReduceLROnPlateau(optimizer, patience=0, threshold=10)],
    ids=["inverse", "cosine", "plateau"],
)
def test_a_schedule_goes_on_after_a_backbone_is_freed(schedule):
    X, y = binary()
    solver = SGD(0.1, epochs=5, schedule=schedule)
    model = NeuralLogisticClassifier((3,), solver=solver, freeze_backbone=True)
    model.partial_fit(X, y, classes=[0, 1]).partial_fit(X, y).partial_fit(X, y)
    frozen = copy.deepcopy(model)
    for _ in range(2):
        expected = frozen.partial_fit(X, y).history_["learning_rate"]
        found = model.set_params(freeze_backbone=False).partial_fit(X, y).history_["learning_rate"]
        assert found == expected
        assert found[-1] < found[0]


class Stores(nn.Module):
    """A layer that stores its output, and a running mean with its graph."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 5, dtype=torch.float64)
        self.register_buffer("mean", torch.zeros(5, dtype=torch.float64))

    def forward(self, X):
        self.features = torch.tanh(self.layer(X))
        self.mean = 0.9 * self.mean + self.features.mean(dim=0)
        return self.features


@pytest.mark.parametrize("make", [Stores, lambda: nn.utils.spectral_norm(Stores().layer)])
def test_modules_that_store_what_they_compute(make):
    X, y = binary()
    model = NeuralLogisticClassifier(module=make(), solver=SGD(epochs=2))
    if hasattr(model, "set_callbacks"):  # scikit-learn 1.8 has no callbacks
        callback = pytest.importorskip("sklearn.callback")
        model.set_callbacks(callback.ScoringMonitor(scoring="accuracy"))
    for other in (model.fit(X, y), model.partial_fit(X, y), model.set_params(warm_start=True)):
        for again in (copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
            np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    model.module_(torch.tensor(X))
    model.fit(X, y)


def test_a_module_that_cannot_be_copied_is_refused():
    X, y = binary()
    module = Stores()
    module(torch.tensor(X))
    with pytest.raises(ParameterError, match="module Stores cannot be copied.*graph leaves"):
        NeuralLogisticClassifier(module=module).fit(X, y)
