"""The loop over epochs: schedules, rows held out, divergence, any optimiser and module."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from skorch_logreg.exceptions import DivergenceError, ParameterError
from skorch_logreg.losses import Binomial
from skorch_logreg.minibatch import BatchObjective, InMemoryBatches, TrainingRequest, train
from skorch_logreg.penalties import L2
from skorch_logreg.solvers import SGD, Adam, AdamW, Optimizer, Status


def task(n=40, scale=1.0):
    """Network, batches and objective of a small binary problem."""
    rng = np.random.default_rng(0)
    X = torch.from_numpy(scale * rng.normal(size=(n, 3)))
    y = (X[:, :1] + 0.5 * torch.from_numpy(rng.normal(size=(n, 1))) > 0).double()
    head = nn.utils.skip_init(nn.Linear, 3, 1, dtype=torch.float64)
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    objective = BatchObjective(1, 1, L2(), None)
    return head, InMemoryBatches(X, y, None, 8, True, 0), objective


def request(network, head, solver, **options):
    return TrainingRequest(
        network=network, head=head, loss=Binomial(), penalty=L2(),
        reg_strength=torch.zeros(1), solver=solver, **options,
    )  # fmt: skip


def run(solver, **options):
    head, batches, objective = task()
    batches = replace(batches, batch_size=solver.batch_size or batches.batch_size)
    return train(request(head, head, solver, **options), batches.epoch, objective)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (None, [0.4, 0.4, 0.4, 0.4]),
        ("inverse", [0.4, 0.2, 0.4 / 3, 0.1]),
        ("inverse-sqrt", [0.4, 0.4 / math.sqrt(2), 0.4 / math.sqrt(3), 0.2]),
        ("cosine", [0.4, 0.2 + 0.2 / math.sqrt(2), 0.2, 0.2 - 0.2 / math.sqrt(2)]),
        (lambda optimizer: StepLR(optimizer, 2), [0.4, 0.4, 0.04, 0.04]),
        (
            lambda optimizer: ReduceLROnPlateau(optimizer, patience=0, threshold=10.0, factor=0.5),
            [0.4, 0.2, 0.1, 0.05],
        ),
    ],
    ids=["none", "inverse", "inverse-sqrt", "cosine", "step", "plateau"],
)
def test_schedules(schedule, expected):
    trained = run(SGD(0.4, epochs=4, schedule=schedule))
    assert trained.history["learning_rate"] == pytest.approx(expected)


def test_a_schedule_leaves_the_users_learning_rate_as_it_is():
    """torch's schedulers write a learning rate that is a tensor in place."""
    solver = Optimizer(torch.optim.SGD, lr=torch.tensor(0.4), epochs=4, schedule="inverse")
    rates = [run(solver).history["learning_rate"] for _ in range(2)]
    assert rates[0] == rates[1] == pytest.approx([0.4, 0.2, 0.4 / 3, 0.1])


def test_a_schedule_returns_a_scheduler():
    with pytest.raises(ParameterError, match="schedule=.* of SGD returned None.*torch.optim.lr_s"):
        run(SGD(schedule=lambda optimizer: None))


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (
            SGD(batch_size=np.int64(8), epochs=np.int32(2), patience=np.int64(1)),
            SGD(batch_size=8, epochs=2, patience=1),
        ),
        (
            Adam(Fraction(1, 8), betas=(Fraction(1, 2),) * 2, eps=Fraction(1, 4), epochs=2),
            Adam(0.125, betas=(0.5, 0.5), eps=0.25, epochs=2),
        ),
    ],
    ids=["whole", "adam"],
)
def test_numbers_of_any_type(given, plain):
    trained, expected = run(given), run(plain)
    assert trained.history["loss"] == expected.history["loss"]
    assert type(given.epochs) is type(given.patience) is int


@pytest.mark.parametrize("patience", [2, None])
def test_the_best_epoch_is_kept(patience):
    scores = [0.1, 0.5, 0.3, 0.5, 0.2, 0.7]
    head, batches, objective = task()
    weights, given = [], iter(scores)

    def held_out_score():
        assert not head.training
        weights.append(head.weight.detach().clone())
        return next(given)

    solver = SGD(0.4, epochs=6, patience=patience)
    trained = train(
        request(head, head, solver, held_out_score=held_out_score), batches.epoch, objective
    )
    n_epochs, best = (4, 1) if patience else (6, 5)
    assert trained.n_epochs == n_epochs
    assert trained.status is (Status.EARLY if patience else Status.EPOCHS)
    assert trained.history["valid_score"] == scores[:n_epochs]
    assert torch.equal(head.weight, weights[best])


def test_a_callback_stops():
    trained = run(SGD(epochs=9), callback=lambda n_epochs, loss: n_epochs == 2)
    assert trained.status is Status.STOPPED
    assert trained.n_epochs == len(trained.history["seconds"]) == 2


def test_divergence_is_an_error_with_a_way_out():
    head, batches, _ = task()
    objective = BatchObjective(1, 1, L2(), torch.tensor([100.0], dtype=torch.float64))
    with pytest.raises(DivergenceError, match="SGD diverged: .* in epoch .* Lower the learning"):
        train(request(head, head, SGD(1.0, epochs=200)), batches.epoch, objective)


@pytest.mark.parametrize("interrupted", [False, True])
def test_weights_that_overflow_in_the_last_step_are_an_error(interrupted):
    head, batches, objective = task(scale=100)
    head = head.float()
    batches = replace(batches, X=batches.X.float(), targets=batches.targets.float())

    def epoch(number):
        yield from replace(batches, batch_size=None).epoch(number)
        if interrupted:
            raise KeyboardInterrupt

    def held_out_score():
        raise AssertionError("the weights are not finite")

    solver = SGD(1e38, epochs=1, on_interrupt="keep")
    with pytest.raises(DivergenceError, match="SGD diverged: weights are not finite in epoch 1"):
        train(request(head, head, solver, held_out_score=held_out_score), epoch, objective)


def test_clipping_bounds_the_step():
    head, batches, objective = task()
    train(request(head, head, SGD(1.0, epochs=1, clip=0.01)), batches.epoch, objective)
    assert (
        float(torch.cat([p.detach().flatten() for p in head.parameters()]).norm())
        <= 5 * 0.01 + 1e-12
    )


def test_an_optimiser_with_a_closure():
    """torch's L-BFGS evaluates several times a step; the history has one loss an epoch."""
    head, batches, objective = task()
    solver = Optimizer(torch.optim.LBFGS, lr=1.0, line_search_fn="strong_wolfe", epochs=5)
    trained = train(request(head, head, solver), replace(batches, batch_size=None).epoch, objective)
    assert len(trained.history["loss"]) == 5
    assert trained.history["loss"][-1] < 0.6 * trained.history["loss"][0]


def test_frozen_parts_stay_and_hidden_layers_learn():
    torch_state = torch.get_rng_state()
    _, batches, objective = task()
    frozen, hidden, head = (nn.Linear(3, k, dtype=torch.float64) for k in (3, 3, 1))
    torch.set_rng_state(torch_state)
    frozen.requires_grad_(False)
    before = [frozen.weight.clone(), hidden.weight.clone()]
    network = nn.Sequential(frozen, nn.Tanh(), hidden, nn.Tanh(), nn.Dropout(0.5), head)
    trained = train(
        request(network, head, Adam(0.01, epochs=30), layer_seed=1), batches.epoch, objective
    )
    assert trained.history["loss"][-1] < trained.history["loss"][0]
    assert torch.equal(frozen.weight, before[0])
    assert not torch.equal(hidden.weight, before[1])
    assert not network.training
    torch.set_rng_state(torch_state)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SGD(0.0), "learning_rate=0.0 of SGD must be a finite positive number"),
        (lambda: SGD(float("nan")), "learning_rate"),
        (lambda: SGD(momentum=1.0), "momentum=1.0 of SGD must be a number in"),
        (lambda: SGD(nesterov=True), "nesterov=True of SGD must be False where momentum is 0"),
        (lambda: SGD(batch_size=0), "batch_size=0 of SGD must be an integer from 1 on or None"),
        (lambda: SGD(batch_size=True), "batch_size"),
        (lambda: SGD(epochs=1.5), "epochs=1.5 of SGD"),
        (lambda: SGD(shuffle="no"), "shuffle='no' of SGD must be True or False"),
        (lambda: SGD(schedule="fast"), "schedule='fast' of SGD must be one of cosine, inverse"),
        (lambda: SGD(clip=-1), "clip=-1 of SGD must be a finite positive number or None"),
        (lambda: SGD(validation_fraction=1.0), "validation_fraction=1.0 of SGD"),
        (lambda: SGD(scoring=3), "scoring=3 of SGD"),
        (lambda: SGD(scoring="roc_auc"), "None where validation_fraction is 0"),
        (lambda: SGD(patience=0), "patience=0 of SGD"),
        (lambda: SGD(finish="rough"), "finish='rough' of SGD must be 'exact' or None"),
        (lambda: SGD(on_interrupt="stop"), "on_interrupt"),
        (lambda: SGD(checkpoint=3), "checkpoint"),
        (lambda: Adam(betas=(1.0, 0.9)), "betas=\\(1.0, 0.9\\) of Adam must be two numbers in"),
        (lambda: AdamW(weight_decay=-1), "weight_decay=-1 of AdamW must be a finite non-negative"),
        (lambda: Optimizer("adam"), "optimizer_class='adam' of Optimizer must be a class of torch"),
        (lambda: Optimizer(torch.optim.Adam, rate=1), "Adam does not take {'rate': 1}"),
        (lambda: Optimizer(torch.optim.Adam, lr=-1), "Adam does not take {'lr': -1}"),
    ],
)
def test_settings_are_refused_where_they_are_made(make, text):
    with pytest.raises(ParameterError, match=text):
        make()
