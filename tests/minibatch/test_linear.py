"""Linear models in the training loop: the loop that one writes by hand, and its objective."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import nn

from skorch_logreg import fitting
from skorch_logreg.data import from_arrays
from skorch_logreg.fitting import Params, Status
from skorch_logreg.losses import Binomial, Multinomial
from skorch_logreg.minibatch import InMemoryBatches, TrainingRequest
from skorch_logreg.objective import Objective
from skorch_logreg.penalties import L2, ElasticNet
from skorch_logreg.solvers import SGD, Adam, AdamW, Checkpoint, Optimizer
from tests.catalogue import LOSSES, PENALTIES, problem


def blobs(dtype=torch.float32):
    """The classic example: 1000 points around (-2, -2) and (2, 2)."""
    torch.manual_seed(0)
    X = torch.cat([torch.randn(500, 2) - 2, torch.randn(500, 2) + 2]).to(dtype)
    y = torch.cat([torch.zeros(500), torch.ones(500)])
    return X, y, nn.Linear(2, 1, dtype=dtype)


def by_hand(X, y, layer, optimizer, loss_function, n_steps):
    """Losses, weights and biases of the loop of the tutorials."""
    seen = []
    for _ in range(n_steps):
        optimizer.zero_grad()
        logits = layer(X)
        loss = loss_function(logits[:, 0] if layer.out_features == 1 else logits, y)
        loss.backward()
        optimizer.step()
        seen.append((loss.item(), layer.weight.detach().clone(), layer.bias.detach().clone()))
    return seen


@pytest.fixture
def rng_kept():
    with torch.random.fork_rng([]):
        yield


@pytest.mark.usefixtures("rng_kept")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_classic_example_step_by_step(dtype):
    """BCEWithLogitsLoss, SGD with learning rate 0.1, 200 steps: losses and weights to 1e-6."""
    X, y, layer = blobs(dtype)
    start = Params(
        layer.weight.detach().to(torch.float64)[None], layer.bias.detach().to(torch.float64)[None]
    )
    ours = []
    _, trained = fitting.train(
        from_arrays(X, y.to(torch.int64)),
        Binomial(),
        L2(),
        C=float("inf"),
        fit_intercept=True,
        solver=SGD(learning_rate=0.1, epochs=200),
        start=start,
        callback=lambda progress: ours.append(progress.params()),
    )
    sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
    theirs = by_hand(X, y.to(dtype), layer, sgd, nn.BCEWithLogitsLoss(), 200)
    assert len(ours) == len(theirs) == trained.n_epochs == 200
    for params, loss, (hand, weight, bias) in zip(
        ours, trained.history["loss"], theirs, strict=True
    ):
        assert abs(loss - hand) <= 1e-6
        torch.testing.assert_close(params.coef[0], weight.double(), rtol=0, atol=1e-6)
        torch.testing.assert_close(params.intercept[0], bias.double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(0.05, 0.9, nesterov=True), lambda p: torch.optim.SGD(p, 0.05, 0.9, nesterov=True)),
        (Adam(0.02, betas=(0.8, 0.9)), lambda p: torch.optim.Adam(p, 0.02, (0.8, 0.9))),
        (AdamW(0.02, weight_decay=0.1), lambda p: torch.optim.AdamW(p, 0.02, weight_decay=0.1)),
        (Optimizer(torch.optim.RMSprop, lr=0.01), lambda p: torch.optim.RMSprop(p, 0.01)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
@pytest.mark.parametrize("n_classes", [2, 4])
def test_optimisers_are_torchs(ours, theirs, n_classes):
    """With a penalty that is weight decay: ``|w|^2 / (2 C n)`` decays by ``1 / (C n)``."""
    loss = Binomial() if n_classes == 2 else Multinomial(n_classes)
    X, y, _ = problem(loss)
    X, n, C = torch.from_numpy(X), len(y), 0.5
    layer = nn.Linear(5, loss.n_outputs, dtype=torch.float64)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    mean = nn.BCEWithLogitsLoss() if n_classes == 2 else nn.CrossEntropyLoss()
    target = torch.from_numpy(y).double() if n_classes == 2 else torch.from_numpy(y)
    hand = by_hand(
        X, target, layer, theirs(layer.parameters()),
        lambda logits, y: mean(logits, y) + layer.weight.square().sum() / (2 * C * n), 20,
    )  # fmt: skip
    params, trained = fitting.train(
        from_arrays(X, y), loss, L2(), C=C, fit_intercept=True, solver=replace_epochs(ours, 20)
    )
    torch.testing.assert_close(params.coef[0], layer.weight.detach(), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(params.intercept[0], layer.bias.detach(), rtol=1e-9, atol=1e-12)
    assert trained.history["loss"] == pytest.approx([step[0] for step in hand], rel=1e-9)


def replace_epochs(solver, epochs, **options):
    if isinstance(solver, Optimizer):
        return Optimizer(solver.optimizer_class, epochs=epochs, **options, **solver.options)
    return replace(solver, epochs=epochs, **options)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("name", [n for n, p in PENALTIES.items() if not p.constrains])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_mini_batches_add_up_to_the_objective(loss, name, batch_size):
    """The batches' shares are those of the convex solvers' F, whatever loss, penalty, weights."""
    penalty = PENALTIES[name]
    X, y, weight = problem(loss)
    data = from_arrays(X, y, weight)
    strength = torch.tensor([0.7], dtype=torch.float64)
    exact = Objective(
        data.standardised(data.center, data.scale, loss.encode(data.targets)),
        loss, penalty, strength, True,
    )  # fmt: skip
    params = torch.randn(exact.shape, dtype=torch.float64, generator=torch.Generator())
    targets = data.targets.double() if loss.n_outputs == 1 else data.targets
    total_weight = data.weight.sum(dim=0)
    X, weight = data.X, data.weight / total_weight * 60
    rows = InMemoryBatches(X, targets, weight, batch_size, True, 3)
    head = nn.utils.skip_init(nn.Linear, X.shape[1], loss.n_outputs, dtype=torch.float64)
    shares = TrainingRequest(
        network=head, head=head, loss=loss, penalty=penalty, reg_strength=strength, solver=SGD()
    ).objective(total_weight)
    total = 0.0
    for batch in rows.epoch(0):
        logits = batch.inputs @ params[0, :, :-1].T + params[0, :, -1]
        total += shares.loss(logits, batch) * len(batch.inputs) / 60
    total += shares.penalty_value(params[0, :, :-1])
    expected = exact.evaluate(params).value / data.weight.sum()
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)


def test_every_epoch_has_all_rows_in_an_order_of_its_own():
    X, y = torch.arange(20.0)[:, None], torch.zeros(20, 1)
    batches = InMemoryBatches(X, y, None, 6, True, 1)
    orders = [torch.cat([b.inputs for b in batches.epoch(e)])[:, 0].tolist() for e in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[1]) == X[:, 0].tolist()
    assert [len(b.inputs) for b in batches.epoch(0)] == [6, 6, 6, 2]
    other = InMemoryBatches(X, y, None, 6, True, 2)
    assert torch.cat([b.inputs for b in other.epoch(0)])[:, 0].tolist() != orders[0]


def solve(loss, penalty, make, C, solver, **options):
    X, y, weight = problem(loss)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    return fitting.fit(
        from_arrays(make(X), y, weight), loss, penalty, C=C, solver=solver, **options
    )


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("penalty", [L2(), ElasticNet(0.5)], ids=["l2", "elastic-net"])
@pytest.mark.parametrize(
    ("solver", "C", "factor"),
    [
        (SGD(1.0, batch_size=20, schedule="inverse"), 0.1, 0.3),
        (SGD(0.1, momentum=0.9, batch_size=20, schedule="cosine"), 1.0, 0.03),
        (Adam(0.1, batch_size=20, schedule="cosine"), 1.0, 0.03),
    ],
    ids=["sgd-inverse", "momentum-cosine", "adam-cosine"],
)
def test_a_falling_schedule_goes_to_the_optimum(loss, penalty, solver, C, factor):
    """Ten times the epochs bring the objective much nearer to the minimum of the exact solvers."""
    best = solve(loss, penalty, np.asarray, C, "auto", tol=1e-9)
    excess = [
        float(solve(loss, penalty, np.asarray, C, replace(solver, epochs=e)).value - best.value)
        / float(best.value)
        for e in (10, 100)
    ]
    assert -1e-12 <= excess[1] < factor * excess[0]


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@pytest.mark.parametrize("batch_size", [None, 16])
def test_sparse_rows_are_dense_rows(loss, batch_size):
    solver = Adam(0.1, batch_size=batch_size, epochs=10)
    dense, sparse = (
        solve(loss, ElasticNet(0.5), make, 1.0, solver).params
        for make in (np.asarray, sp.csr_array)
    )
    torch.testing.assert_close(sparse.coef, dense.coef, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(sparse.intercept, dense.intercept, rtol=1e-9, atol=1e-10)


def test_an_exact_finish_is_the_exact_fit():
    for loss in LOSSES.values():
        best = solve(loss, L2(), np.asarray, 1.0, "auto", tol=1e-9)
        found = solve(loss, L2(), np.asarray, 1.0, SGD(epochs=5, finish="exact"), tol=1e-9)
        assert found.status == (Status.CONVERGED,)
        assert 5 < int(found.n_iter) < 20
        assert found.n_passes > 5
        torch.testing.assert_close(found.params.coef, best.params.coef, rtol=1e-7, atol=1e-8)


def test_what_was_trained_is_proven():
    """The optimality of where the epochs end predicts the true distance."""
    best = solve(Binomial(), L2(), np.asarray, 1.0, "auto", tol=1e-10).value
    solver = SGD(1.0, batch_size=20, schedule="inverse", epochs=100)
    found = solve(Binomial(), L2(), np.asarray, 1.0, solver)
    true = float((found.value - best) / found.value)
    assert found.status == (Status.EPOCHS,)
    assert float(found.optimality) ** 2 == pytest.approx(true, rel=0.3)
    assert true <= float(found.duality_gap) < 1
    enough = solve(Binomial(), L2(), np.asarray, 1.0, solver, tol=0.1)
    assert enough.status == (Status.CONVERGED,)


@pytest.mark.parametrize("clip", [None, Fraction(1, 20)])
@pytest.mark.parametrize("solver", [SGD(0.5), Adam(0.1)], ids=["sgd", "adam"])
def test_models_side_by_side_are_models_alone(solver, clip):
    """Promise 8, also for clipping, whose norm is a model's own."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(50, 4)), rng.integers(0, 2, (50, 3))
    weight = rng.uniform(0, 2, (50, 3))
    C = torch.tensor([0.1, 1.0, 10.0])
    solver = replace(solver, batch_size=16, epochs=20, clip=clip)
    options = {"fit_intercept": True, "solver": solver, "seed": 5}
    together, _ = fitting.train(from_arrays(X, Y, weight), Binomial(), L2(), C=C, **options)
    for k in range(3):
        data = from_arrays(X, Y[:, k], weight[:, k])
        alone, _ = fitting.train(data, Binomial(), L2(), C=C[k : k + 1], **options)
        torch.testing.assert_close(together.coef[k], alone.coef[0], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_training_goes_on_from_its_state(fit_intercept):
    """Momentum, schedule and order of the rows: two halves are the whole."""
    X, y, weight = problem(Binomial())
    data = from_arrays(X, y, weight)
    solver = SGD(0.1, momentum=0.9, batch_size=16, epochs=10, schedule="cosine")
    options = {"C": 1.0, "fit_intercept": fit_intercept, "solver": solver}
    whole, _ = fitting.train(data, Binomial(), L2(), **options)
    half, trained = fitting.train(data, Binomial(), L2(), epochs=4, **options)
    rest, trained = fitting.train(
        data, Binomial(), L2(), start=half, state=trained.state, **options
    )
    assert torch.equal(rest.coef, whole.coef)
    assert torch.equal(rest.intercept, whole.intercept)
    assert len(trained.history["loss"]) == trained.n_epochs == 10
    assert bool(whole.intercept.any()) is fit_intercept


class Interrupt(KeyboardInterrupt):
    """Stands for the user's."""


@pytest.mark.parametrize(
    "solver",
    [
        SGD(0.1, momentum=0.9, schedule="inverse"),
        Adam(0.1, schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)),
        Optimizer(torch.optim.Adagrad, lr=0.1),
        Optimizer(torch.optim.NAdam, lr=0.1),
    ],
    ids=["sgd", "adam", "adagrad", "nadam"],
)
@pytest.mark.parametrize("cut_at", [1, 3, 7])
def test_a_checkpoint_continues_bit_for_bit(solver, cut_at, tmp_path):
    """Promise 17, for mini-batches."""
    X, y, weight = problem(Multinomial(4))
    data, file = from_arrays(X, y, weight), tmp_path / "fit.npz"
    options = {"C": 1.0, "batch_size": 16, "epochs": 8}
    solver = (
        replace_epochs(solver, 8, batch_size=16, schedule=solver.schedule)
        if isinstance(solver, Optimizer)
        else replace(solver, batch_size=16, epochs=8)
    )
    kept = _with(solver, checkpoint=Checkpoint(file, every=2))

    def run(solver, callback=None):
        return fitting.train(
            data, Multinomial(4), L2(), C=options["C"], fit_intercept=True, solver=solver,
            callback=callback,
        )  # fmt: skip

    whole, trained = run(solver)

    def cut(progress):
        if progress.n_iter == cut_at:
            raise Interrupt

    with pytest.raises(Interrupt):
        run(kept, cut)
    assert file.exists() is (cut_at >= 2)
    resumed, again = run(kept)
    assert torch.equal(resumed.coef, whole.coef)
    assert torch.equal(resumed.intercept, whole.intercept)
    assert again.history["loss"] == trained.history["loss"]


def _with(solver, **options):
    if isinstance(solver, Optimizer):
        return Optimizer(
            solver.optimizer_class, batch_size=16, epochs=8, **solver.options, **options
        )
    return replace(solver, **options)


def test_an_interrupt_can_keep_what_there_is():
    X, y, weight = problem(Binomial())

    def interrupt(progress):
        if progress.n_iter == 3:
            raise KeyboardInterrupt

    found = fitting.fit(
        from_arrays(X, y, weight), Binomial(), L2(), callback=interrupt,
        solver=SGD(0.1, epochs=9, on_interrupt="keep"),
    )  # fmt: skip
    assert found.status == (Status.INTERRUPTED,)
    assert int(found.n_iter) == 3
    alone = fitting.fit(from_arrays(X, y, weight), Binomial(), L2(), solver=SGD(0.1, epochs=3))
    assert torch.equal(found.params.coef, alone.params.coef)


@pytest.mark.parametrize("penalty", [L2(), ElasticNet(1.0)], ids=["ridge", "lasso"])
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_certificate_is_that_of_the_trained_parameters(n_classes, dtype, penalty):
    """A column of ones trains to more than zero, and Adam does not keep a sum over classes.

    A lasso is certified at its best intercepts, which are not those that were trained.
    """
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(200, 3)), np.ones(200)]).astype(dtype)
    y = np.digitize(X[:, 0] + rng.normal(size=200), [-0.5, 0.5][: n_classes - 1])
    loss = Binomial() if n_classes == 2 else Multinomial(n_classes)
    data, C = from_arrays(X, y), 0.1

    def value(result):
        coef, intercept = result.params.coef[0].double(), result.params.intercept[0].double()
        logits = torch.from_numpy(X).double() @ coef.T + intercept
        own = loss.value(logits[:, None], loss.encode(torch.from_numpy(y)[:, None])).sum()
        return float(own + penalty.value(coef[None])[0] / C)

    best = value(fitting.fit(from_arrays(X.astype(float), y), loss, penalty, C=C, tol=1e-8))
    for tol in (1e-2, 0.1):
        found = fitting.fit(data, loss, penalty, C=C, tol=tol, solver=Adam(0.02, epochs=40))
        assert abs(float(found.params.coef[0, 0, -1])) > 1e-3
        true = (value(found) - best) / value(found)
        assert true <= float(found.duality_gap) <= 20 * true + 1e-6
        assert float(found.value) == pytest.approx(value(found), rel=1e-6)
        assert (found.status == (Status.CONVERGED,)) == (float(found.optimality) <= tol)
