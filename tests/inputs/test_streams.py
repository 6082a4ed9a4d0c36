"""Data sets and loaders of torch, for a linear model and for a network."""

import warnings
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from skorch_logreg import (
    MultiLabel,
    NeuralLogisticClassifier,
    TorchLogisticClassifier,
    TorchLogisticClassifierCV,
)
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import datasets
from skorch_logreg.solvers import SGD, Adam, Optimizer
from tests.estimators.data import binary, multi

SIZE = 32
MODELS = {
    "linear": TorchLogisticClassifier(),
    "network": NeuralLogisticClassifier((6,), activation="tanh"),
    "frozen": NeuralLogisticClassifier((6,), freeze_backbone=True),
}
EXACT = {"linear": TorchLogisticClassifier(tol=1e-8), "frozen": MODELS["frozen"]}
QUICK = Adam(learning_rate=0.05, epochs=4)

each_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


class Rows(IterableDataset):
    """Rows that come one after the other."""

    def __init__(self, *columns):
        self.columns = [column.copy() for column in columns]

    def __iter__(self):
        return zip(*self.columns, strict=True)


def tensors(*arrays):
    return TensorDataset(*(torch.from_numpy(array.copy()) for array in arrays))


def items(n_features=4, label=lambda k: k, **parts):
    """Return rows with labels, and the weight that is asked for, as a list."""
    X, y = binary()
    weight = (parts["weight"],) if parts else ()
    return [
        (x[:n_features], label(k), *weight)
        for x, k in zip(X.astype(np.float32), y.tolist(), strict=True)
    ]


def weighed(y):
    return np.random.default_rng(0).uniform(0.2, 2, len(y))


def fitted(model, *data, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return clone(model).set_params(**parameters).fit(*data)


def assert_same_model(got, expected, X, atol=1e-12):
    np.testing.assert_array_equal(got.classes_, expected.classes_)
    np.testing.assert_allclose(
        got.decision_function(X), expected.decision_function(X), rtol=0, atol=atol
    )


@each_model
@pytest.mark.parametrize("data", [binary, multi])
@pytest.mark.parametrize("kind", ["loader", "iterable", "loader of iterable"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"C": 0.05, "l1_ratio": 0.5, "solver": SGD(epochs=3, momentum=0.9)},
        {"class_weight": "balanced"},
        {"class_weight": {0: 3.0}, "label_smoothing": 0.2},
        {"solver": Optimizer(torch.optim.RMSprop, epochs=3, clip=0.1, schedule="cosine")},
    ],
    ids=["plain", "penalty", "balanced", "smoothed", "optimizer"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_that_stream_are_those_in_memory(model, data, kind, options, weighted):
    X, y = data()
    weight = weighed(y) if weighted else None
    columns = (X, y, weight) if weighted else (X, y)
    options = {"solver": QUICK} | options
    solver = options["solver"]
    expected = fitted(model, X, y, weight, **options | {"solver": in_order(solver, SIZE)})
    rows = tensors(*columns) if kind == "loader" else Rows(*columns)
    stream = rows if kind == "iterable" else DataLoader(rows, SIZE)
    if kind == "iterable":
        options["solver"] = in_order(solver, SIZE)
    got = fitted(model, stream, None, **options)
    assert_same_model(got, expected, X)
    np.testing.assert_allclose(got.history_["loss"], expected.history_["loss"], rtol=1e-12)
    assert got.n_iter_ == expected.n_iter_
    assert got.n_features_in_ == 4


def in_order(solver, batch_size):
    options = {name: getattr(solver, name) for name in ("epochs", "clip", "schedule")}
    options |= {"batch_size": batch_size, "shuffle": False}
    if isinstance(solver, Optimizer):
        return Optimizer(solver.optimizer_class, **options, **solver.options)
    if isinstance(solver, SGD):
        return SGD(solver.learning_rate, solver.momentum, **options)
    return Adam(solver.learning_rate, **options)


@pytest.mark.parametrize("model", EXACT.values(), ids=EXACT.keys())
@pytest.mark.parametrize("wrap", [lambda rows: rows, partial(DataLoader, batch_size=7)])
def test_a_convex_solver_reads_a_map_style_data_set(model, wrap):
    X, y = multi()
    weight = weighed(y)
    got = clone(model).fit(wrap(tensors(X, y, weight)), None)
    assert_same_model(got, clone(model).fit(X, y, sample_weight=weight), X)
    assert got.converged_
    assert got.optimality_ <= got.tol


def test_folds_and_labels_are_read_from_a_map_style_data_set():
    X, y = binary()
    folds = TorchLogisticClassifierCV(
        Cs=[0.1, 1.0], l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False
    )
    for model, labels in ((folds, y), (MultiLabel(), np.column_stack([y, 1 - y]))):
        expected = clone(model).fit(X, labels)
        found = clone(model).fit(tensors(X, labels), None)
        np.testing.assert_array_equal(found.coef_, expected.coef_)
        with pytest.raises(ParameterError, match="y is given in addition to a data set"):
            clone(model).fit(tensors(X, labels), labels)


@pytest.mark.parametrize("options", [{}, {"shuffle": True}])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_large_data_set_is_read_in_every_pass(options, weighted):
    X, y = multi()
    columns = (X, y, weighed(y)) if weighted else (X, y)
    asked = []

    class Counted(TensorDataset):
        def __getitem__(self, index):
            asked.append(index)
            return super().__getitem__(index)

    rows = Counted(*tensors(*columns).tensors)
    model = TorchLogisticClassifier(tol=1e-8)
    loader = DataLoader(rows, 7, **options)
    budgets = {"max_memory_bytes": 100, "chunk_bytes": 40 * 32}
    got = clone(model).fit(*datasets.read(loader, allow_rereading=True, **budgets))
    assert_same_model(got, clone(model).fit(*columns), X, atol=1e-7)
    assert len(asked) >= 4 * len(X)


@pytest.mark.parametrize(
    "options",
    [
        {"drop_last": True},
        {"sampler": torch.utils.data.SubsetRandomSampler(range(40))},
        {"sampler": torch.utils.data.RandomSampler(range(50), replacement=True)},
        {"sampler": torch.utils.data.SequentialSampler(range(40))},
        *(
            {"batch_sampler": torch.utils.data.BatchSampler(sampler, 7, drop_last)}
            for sampler, drop_last in (
                (torch.utils.data.SubsetRandomSampler(range(40)), False),
                (torch.utils.data.SequentialSampler(range(60)), True),
            )
        ),
    ],
)
def test_rows_that_a_loader_chooses_are_read_once(options):
    X, y = binary()
    rows, drawn = tensors(X, y), []

    def collate(batch):
        drawn.extend(batch)
        return torch.utils.data.default_collate(batch)

    torch.manual_seed(0)
    size = {} if "batch_sampler" in options else {"batch_size": 7}
    loader = DataLoader(rows, collate_fn=collate, **size, **options)
    X, y, _ = datasets.read(loader, allow_rereading=True, max_memory_bytes=100)
    got = TorchLogisticClassifier().fit(X, y)
    expected = TorchLogisticClassifier().fit(
        np.array([x.numpy() for x, _ in drawn]), np.array([int(k) for _, k in drawn])
    )
    assert_same_model(got, expected, X)


@each_model
def test_a_map_style_data_set_is_split_like_arrays(model):
    X, y = binary()
    solver = Adam(0.05, batch_size=16, epochs=4, validation_fraction=0.25)
    got = fitted(model, tensors(X, y), None, solver=solver)
    assert_same_model(got, fitted(model, X, y, solver=solver), X, atol=0)
    assert len(got.history_["valid_score"]) == 4


@pytest.mark.slow
def test_the_default_of_a_network_leaves_the_batches_to_the_loader():
    X, y = binary()
    model = NeuralLogisticClassifier((3,))
    got = clone(model).fit(DataLoader(tensors(X, y), SIZE), None)
    solver = Adam(0.01, batch_size=SIZE, epochs=200, shuffle=False)
    assert_same_model(got, model.set_params(solver=solver).fit(X, y), X)
    assert len(clone(model).set_params(solver=None).fit(Rows(X, y), None).history_["loss"]) == 200


@each_model
@pytest.mark.parametrize("label", [lambda k: ("a", "longer")[k], bool, float, lambda k: 7 - k])
def test_16_labels_are_anything(model, label):
    """Also where the first batches lack a class."""
    rows = sorted(items(label=label), key=lambda row: row[1])
    X, y = (np.array(column) for column in zip(*rows, strict=True))
    got = fitted(model, DataLoader(rows, SIZE), None, solver=QUICK)
    assert_same_model(got, fitted(model, X, y, solver=in_order(QUICK, SIZE)), X, atol=1e-5)
    assert got.classes_.dtype.kind == y.dtype.kind


@each_model
def test_soft_labels_stream(model):
    X, y = multi()
    share = np.eye(3)[y] * 0.8 + 0.2 / 3
    options = {"soft_labels": True, "class_weight": "balanced"}
    expected = fitted(model, X, share, solver=in_order(QUICK, SIZE), **options)
    got = fitted(model, DataLoader(tensors(X, share), SIZE), None, solver=QUICK, **options)
    assert_same_model(got, expected, X)


@each_model
def test_09_and_11_a_shuffled_loader_is_reproducible_and_leaves_no_trace(model):
    X, y = binary()
    loader = DataLoader(tensors(X, y), SIZE, shuffle=True)
    torch.manual_seed(6)
    first = fitted(model, loader, None, solver=QUICK)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = fitted(model, loader, None, solver=QUICK)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same_model(again, first, X, atol=0)
    other = fitted(model, loader, None, solver=QUICK, random_state=1)
    assert not np.array_equal(other.decision_function(X), first.decision_function(X))


def test_dropout_draws_from_the_seed():
    X, y = binary()
    model = NeuralLogisticClassifier((6,), dropout=0.5, solver=QUICK)
    first, again = (fitted(model, DataLoader(tensors(X, y), SIZE), None) for _ in range(2))
    assert_same_model(again, first, X, atol=0)


@each_model
def test_10_batches_are_read_only(model):
    """A collate_fn may give views of what lies in memory, and a module may work in place."""
    X, y = binary()
    loader = DataLoader(
        range(len(y)), SIZE, collate_fn=lambda rows: (X[rows[0] : rows[-1] + 1], y[rows])
    )
    rows = X.copy()
    inplace = {} if "module" not in model.get_params() else {"module": nn.ReLU(inplace=True)}
    got = fitted(model, loader, None, solver=QUICK, **inplace)
    np.testing.assert_array_equal(X, rows)
    assert_same_model(got, fitted(model, X, y, solver=in_order(QUICK, SIZE), **inplace), X)


@pytest.mark.parametrize("freeze", [False, True])
def test_images_stream(freeze):
    X, y = multi()
    images = np.repeat(X.astype(np.float32)[:, None, :, None], 3, axis=3)
    module = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU())
    model = NeuralLogisticClassifier(module=module, freeze_backbone=freeze)
    got = fitted(model, DataLoader(tensors(images, y), SIZE), None, solver=QUICK)
    expected = fitted(model, images, y, solver=in_order(QUICK, SIZE))
    assert_same_model(got, expected, images, atol=1e-5)
    kept = torch.equal(got.module_.backbone[0][0].weight, module[0].weight)
    assert kept is freeze


@each_model
def test_a_warm_start_and_parts_go_on_from_a_stream(model):
    X, y = binary()
    loader = DataLoader(tensors(X, y), SIZE)
    options = {"solver": SGD(0.1, epochs=3, momentum=0.9), "warm_start": True}
    got = fitted(model, loader, None, **options)
    expected = fitted(model, X, y, **options | {"solver": in_order(options["solver"], SIZE)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        got.fit(loader, None)
        expected.fit(X, y)
    assert_same_model(got, expected, X)
    got.partial_fit(X[:50], y[:50])
    assert got.n_iter_ == len(got.history_["loss"]) == 4
    assert got._training["weight"] == [170.0]


def test_18_nothing_is_proven_and_that_is_said():
    X, y = binary()
    model = TorchLogisticClassifier(solver=QUICK)
    with pytest.warns(ConvergenceWarning, match="nothing is proven") as caught:
        model.fit(DataLoader(tensors(X, y), SIZE), None)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert np.isnan(model.optimality_)
    assert not model.converged_
    assert model.n_passes_ == 5
    network = NeuralLogisticClassifier((3,), freeze_backbone=True).fit(X, y)
    network.set_params(freeze_backbone=False, solver=QUICK)
    network.fit(DataLoader(tensors(X, y), SIZE), None)
    assert not hasattr(network, "optimality_")


@each_model
def test_verbose_prints_a_line_an_epoch(model, capsys):
    X, y = binary()
    fitted(model, DataLoader(tensors(X, y), SIZE), None, solver=QUICK, verbose=1)
    assert capsys.readouterr().out.count("epoch") == 4


nothing = TensorDataset(torch.zeros(0, 4), torch.zeros(0))
holes = np.where(np.arange(480).reshape(120, 4) == 470, np.nan, binary()[0])


@each_model
@pytest.mark.parametrize(
    ("options", "stream", "text"),
    [
        ({}, DataLoader([{"X": x, "y": k} for x, k in items()]), "A batch is a dict of 2 parts"),
        ({}, DataLoader([x for x, _ in items()], SIZE), "A batch is a Tensor of 32 parts"),
        ({}, DataLoader([(x,) for x, _ in items()]), "A batch is a list of 1 parts"),
        ({}, DataLoader([*items()[:8], *items(weight=1.0)], 8), "list of 3 parts; .* in all of"),
        ({}, DataLoader(nothing, 5), "the data set is empty"),
        ({}, nothing, "the data set is empty"),
        ({}, DataLoader(tensors(holes, binary()[1]), SIZE), "Input X contains NaN"),
        ({}, DataLoader(items()[:40] + items(3), 40), r"shape \(3,\), the first has \(4,\)"),
        ({}, DataLoader(items(weight=-1.0), SIZE), "weights that are negative, NaN or infinite"),
        ({}, DataLoader(items(weight=np.nan), SIZE), "weights that are negative, NaN or infinite"),
        ({}, DataLoader(items(weight=0.0), SIZE), "at least one non-zero"),
        ({}, DataLoader(items(weight=[1.0, 2.0]), SIZE), "expected .rows, ...., .rows,. and .row"),
        ({}, DataLoader(items(label=lambda k: np.eye(2)[k]), SIZE), r"y of shape \(32, 2\)"),
        ({}, DataLoader(items(label=lambda k: k + 0.5), SIZE), "Unknown label type: continuous"),
        ({}, DataLoader(items(label=lambda k: 1), SIZE), "contains only one class"),
        ({}, DataLoader(items(), None), "The DataLoader has batch_size=None"),
        ({"solver": Adam(batch_size=9)}, DataLoader(items()), "batch_size=9 is given, but a DataL"),
        ({}, Rows(*binary()), r"which an IterableDataset does not give; set it, as in Adam\(bat"),
        ({"solver": Adam(validation_fraction=0.1)}, DataLoader(items()), "validation_fraction=0.1"),
        ({"solver": Adam(finish="exact")}, DataLoader(items()), "finish='exact'.* needs rows in m"),
        ({"solver": Adam(checkpoint="file")}, DataLoader(items()), "checkpoint='file' needs rows"),
        (
            {},
            DataLoader(range(120), 60, collate_fn=lambda i: (sp.csr_array(binary()[0][i]), i)),
            "Sparse data was passed for X",
        ),
    ],
)  # fmt: skip
def test_12_errors_say_what_to_do_and_leave_no_trace(model, options, stream, text):
    options = {"solver": QUICK} | options
    model = fitted(model, *multi(), solver=SGD(epochs=1))
    before = {name: id(value) for name, value in vars(model).items() if name.endswith("_")}
    kind = TypeError if "Sparse" in text else ValueError
    with pytest.raises(kind, match=text):
        model.set_params(**options).fit(stream, None)
    after = {name: id(value) for name, value in vars(model).items() if name.endswith("_")}
    assert after == before


@pytest.mark.parametrize("model", EXACT.values(), ids=EXACT.keys())
def test_a_convex_solver_does_not_take_what_only_streams(model):
    with pytest.raises(ParameterError, match="An IterableDataset gets mini-batches only"):
        clone(model).fit(Rows(*binary()), None)


@each_model
@pytest.mark.parametrize(("name", "index"), [("y", 0), ("sample_weight", 1)])
def test_a_data_set_brings_labels_and_weights_itself(model, name, index):
    X, y = binary()
    beside = [None, None]
    beside[index] = y
    with pytest.raises(ParameterError, match=f"{name} is given in addition to a data set of torch"):
        clone(model).fit(tensors(X, y), *beside)


def test_a_polished_head_needs_rows_in_memory():
    X, y = binary()
    model = NeuralLogisticClassifier((4,), solver=QUICK, polish_head=True)
    with pytest.raises(ParameterError, match="polish_head=True, or finish='exact', needs rows"):
        model.fit(DataLoader(tensors(X, y), SIZE), None)
    assert fitted(model, tensors(X, y), None).converged_


def test_an_interrupted_stream_says_so():
    class Rows(IterableDataset):
        n_read = 0

        def __iter__(self):
            self.n_read += 1
            if self.n_read == 3:
                raise KeyboardInterrupt
            X, y = binary()
            return zip(torch.tensor(X), torch.tensor(y), strict=True)

    solver = SGD(batch_size=50, epochs=9, on_interrupt="keep")
    with pytest.warns(ConvergenceWarning, match=r"after 1 epoch\(s\) it was interrupted"):
        model = TorchLogisticClassifier(solver=solver).fit(Rows(), None)
    assert model.n_iter_.tolist() == [1]
