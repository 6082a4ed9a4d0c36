"""Fits on mini-batches, and the certificate of their last point."""

from dataclasses import replace
from typing import Any

import torch

from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.data import Data, InMemory
from skorch_logreg.fitting.exact import minimise
from skorch_logreg.fitting.request import (
    FitRequest,
    FitResult,
    Progress,
    epoch_callback,
    predicted_logits,
)
from skorch_logreg.losses import Loss
from skorch_logreg.minibatch import LinearHead, TrainingRequest, TrainingResult, train_in_memory
from skorch_logreg.objective import Params
from skorch_logreg.penalties import Penalty
from skorch_logreg.solvers import LBFGS, Solver, Status


def train(
    data: Data, loss: Loss, penalty: Penalty, **options: Any
) -> tuple[Params, TrainingResult]:
    """Train on mini-batches, from any start and state, without a certificate.

    The arguments are those of `fit`, with a solver for mini-batches. The parameters are those after
    the last epoch, or after the best one with early stopping.
    """
    return _train(FitRequest.of(data, loss=loss, penalty=penalty, **options))


def _train(request: FitRequest) -> tuple[Params, TrainingResult]:
    data, loss, C = request.data, request.loss, request.C
    solver: Any = request.solver
    assert isinstance(data, InMemory)  # estimators refuse mini-batches of other rows
    weight = data.weight.sum(dim=0) if request.total_weight is None else request.total_weight
    head = LinearHead.zeros(
        (len(C), loss.n_outputs, data.n_features),
        bias=request.fit_intercept,
        dtype=data.dtype,
        device=data.device,
    )
    if request.start is not None:
        head.load(request.start)
    score = request.held_out_score
    training = TrainingRequest(
        network=head.layer,
        head=head.layer,
        loss=loss,
        penalty=request.penalty,
        reg_strength=1 / C,
        solver=solver,
        forward=head.logits,
        held_out_score=score and (lambda: score(head.params())),
        callback=epoch_callback(request.callback, weight, head.params),
        state=request.state,
        epochs=request.epochs,
        seed=request.seed,
    )
    trained = train_in_memory(training, data, weight)
    return head.params(), trained


def fit_minibatch(request: FitRequest) -> FitResult:
    """Train on mini-batches, then certify the last point or continue to the minimum from it."""
    solver: Any = request.solver
    reached, trained = _train(request)
    exact = solver.finish == "exact" and trained.is_complete
    n_epochs, callback = trained.n_epochs, request.callback

    def with_epochs(progress: Progress) -> bool:
        n_iter, n_passes = n_epochs + progress.n_iter, n_epochs + progress.n_passes
        return bool(callback and callback(replace(progress, n_iter=n_iter, n_passes=n_passes)))

    certifier: str | Solver = LBFGS() if request.effective_penalty.smooth else "auto"
    certified = replace(request, solver=certifier, max_iter=0, start=reached, callback=None)
    polished = replace(request, start=reached, callback=callback and with_epochs)
    try:
        found = minimise(polished if exact else certified)
    except KeyboardInterrupt:
        if solver.on_interrupt != "keep":
            raise
        exact, trained = False, replace(trained, status=Status.INTERRUPTED)
        found = minimise(certified)
    if Status.INTERRUPTED not in (trained.status, *found.status):
        CheckpointWriter(solver.checkpoint, {}).finish()
    final = (Status.CONVERGED, Status.SEPARABLE)
    if not exact:
        found = _certified_at(request, found, reached)
    return replace(
        found,
        status=tuple(end if exact or end in final else trained.status for end in found.status),
        n_iter=found.n_iter + n_epochs,
        n_passes=found.n_passes + n_epochs,
        trained=trained,
    )


def _certified_at(request: FitRequest, found: FitResult, reached: Params) -> FitResult:
    """Return a certificate of the trained parameters, which have a larger objective.

    That of ``found`` is of the same logits without a constant for all classes, and without
    coefficients of constant columns, which do not train to zero; under a penalty that is not smooth
    it is of the best intercepts, and X is read once more.
    """
    penalty, _ = request.effective_penalty.without_excluded()
    at, before = (penalty.value(params.coef.double()) for params in (reached, found.params))
    value = found.value + ((at - before) / request.C).clamp(min=0.0)
    if not penalty.smooth:
        data, loss = request.data, request.loss
        logits = predicted_logits(data, loss, reached)
        losses = loss.value(logits, loss.encode(data.targets)) * data.weight
        value = torch.maximum(found.value, losses.sum(dim=0) + at / request.C)
    added = (value - found.value) / value.clamp(min=torch.finfo(value.dtype).tiny)
    optimality = (found.optimality.square() + added).sqrt()
    status = tuple(
        Status.MAX_ITER if how is Status.CONVERGED and more > request.tol else how
        for how, more in zip(found.status, optimality.tolist(), strict=True)
    )
    return replace(
        found,
        params=reached,
        value=value,
        duality_gap=found.duality_gap + added,
        optimality=optimality,
        status=status,
    )
