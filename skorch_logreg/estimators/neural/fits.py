"""Fits of a network: training in mini-batches, exact fits of the head, incremental fits."""

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import _check_partial_fit_first_call
from torch import Tensor, nn

from skorch_logreg import fitting
from skorch_logreg.checkpoint import CheckpointWriter, exclusive
from skorch_logreg.data import Data, InMemory, from_arrays
from skorch_logreg.estimators import convergence_messages, partial, validation_split
from skorch_logreg.estimators.callbacks import callback_task
from skorch_logreg.estimators.neural import networks
from skorch_logreg.estimators.neural.validate import TrainingMode, ValidatedInput, rows_like_before
from skorch_logreg.estimators.streamed import Stream
from skorch_logreg.exceptions import DivergenceError, ParameterError, warn_user
from skorch_logreg.fitting import FitResult, Params, Progress, Status, epoch_callback
from skorch_logreg.inputs import datasets
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.labels import SoftTargets
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.torch_context import seed_of, seeded_generators
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.training import LinearHead, TrainingRequest, TrainingResult, train_in_memory

__all__ = ["fit", "frozen_features", "partial_fit"]

# attributes of an exact fit of the head
_CERTIFIED = ("optimality_", "duality_gap_", "converged_", "n_passes_")


def fit(model: Any, X: Any, y: Any, sample_weight: Any) -> None:
    """Fit a `NeuralLogisticClassifier`."""
    mode, stream, classes, source = TrainingMode.of(model), None, None, X
    seed = seed_of(model.random_state)
    if datasets.is_streamed(X, mode.solver):
        datasets.require_no_labels(y, sample_weight)
        with seeded_generators(seed, torch.device("cpu")):
            stream = Stream.of(model, X, mode.stream_solver(X))
            (X, y), classes = stream.summary.first, stream.summary.classes
    warm = model.warm_start and hasattr(model, "module_")
    validated_input = ValidatedInput.of(
        model, X, y, sample_weight, seed, reset=True, classes=classes, warm=warm
    )
    rows, held_out = validated_input.rows.drop_zero_weight(), None
    if mode.trains:
        rows, held_out = validation_split.split(rows, mode.solver, seed)
    model.classes_ = validated_input.rows.labels.classes
    with seeded_generators(seed, validated_input.device):
        network_fit = NetworkFit.of(validated_input, validated_input.network(mode.frozen))
        task = validated_input.rows.task
        if stream is not None:
            task = {"X": source, "y": None, "metadata": None}
        n_tasks = mode.iteration_limit(model.max_iter)
        with callback_task(
            model, task, lambda: None, network_fit.reconstruct, n_tasks=n_tasks
        ) as reporter:
            if stream is None:
                fit_rows = network_fit.fit_head if mode.frozen else network_fit.fit_network
                trained, solution, weight = fit_rows(mode, rows, held_out, reporter)
            else:
                trained, solution = network_fit.train(mode, stream, callback=reporter), None
                weight = stream.weight
            partial.store_training(model, trained, weight, mode.solver)
            network_fit.finish(trained, solution)


def partial_fit(model: Any, X: Any, y: Any, classes: Any, sample_weight: Any) -> None:
    """Train a `NeuralLogisticClassifier` for one epoch over some rows."""
    mode = TrainingMode.for_partial_fit(model)
    first = _check_partial_fit_first_call(model, ArrayNamespace.of(X).detach(classes))
    seed = seed_of(model.random_state)
    validated_input = ValidatedInput.of(
        model, X, y, sample_weight, seed, reset=first, classes=model.classes_, warm=not first
    )
    with seeded_generators(seed, validated_input.device):
        network_fit = NetworkFit.of(validated_input, validated_input.network(mode.frozen))
        data = network_fit.data(validated_input.rows.drop_zero_weight(), on_features=mode.frozen)
        state, total = partial.resume_state(model, mode.solver, data.weight)
        trained = network_fit.train(
            mode,
            data,
            state=state,
            epochs=1 if state is None else state["n_epochs"] + 1,
            total_weight=total,
        )
    partial.store_training(model, trained, total, mode.solver)
    network_fit.finish(trained, None)


def frozen_features(model: Any, X: Any, y: Any, *others: Any) -> list[np.ndarray]:
    """Compute the features (n_rows, n_features) of training rows and of other rows.

    `fit` would fit an exact head to the features of the training rows.

    Parameters
    ----------
    model : NeuralLogisticClassifier
        Model with a frozen backbone, and a `random_state` that is reproducible.
    X, y : array-like
        Training rows and labels, as in `fit`.
    *others : array-like
        Other rows.
    """
    seed = seed_of(model.random_state)
    validated_input = ValidatedInput.of(
        model, X, y, None, seed, reset=True, classes=None, warm=False
    )
    with seeded_generators(seed, validated_input.device):
        network_fit = NetworkFit.of(validated_input, validated_input.network(frozen=True))
    checked = (rows_like_before(model, rows) for rows in others)
    return [network_fit.features(rows).cpu().numpy() for rows in (validated_input.rows.X, *checked)]


@dataclass(frozen=True)
class NetworkFit:
    """Network under training, with the problem of its head.

    Parameters
    ----------
    validated_input : ValidatedInput
    network : nn.Sequential
        Backbone and head; trained in place.
    problem : Problem
        Problem of the head.
    """

    validated_input: ValidatedInput
    network: Any
    problem: Problem

    @classmethod
    def of(cls, validated_input: ValidatedInput, network: Any) -> "NetworkFit":
        """Build the fit of a network and the problem of its head."""
        model = validated_input.model
        problem = Problem(
            options=Options(float(model.C), float(model.l1_ratio), "auto", False),
            namespace=validated_input.namespace,
            dtype=_head_dtype(validated_input.dtype),
            n_classes=validated_input.rows.labels.n_classes,
            n_features=int(network.head.in_features),
            fit_intercept=True,
            intercept_scaling=1.0,
            is_soft=isinstance(validated_input.rows.labels, SoftTargets),
        )
        return cls(validated_input, network, problem)

    @property
    def head(self) -> nn.Linear:
        """Head: the last layer of the network."""
        head: nn.Linear = self.network.head
        return head

    def reg_strength(self, device: torch.device) -> Tensor:
        """Return the regularization strength ``1 / C`` of shape (1,)."""
        return torch.tensor([1 / self.problem.options.C], dtype=torch.float64, device=device)

    def data(self, rows: FitInput, on_features: bool) -> InMemory:
        """Combine rows, or their features, with targets and weights."""
        targets, weight = rows.weighted_targets(self.validated_input.model.class_weight)
        if on_features:
            return from_arrays(self.features(rows.X), targets, weight)
        design = self.problem.design(rows.X)
        return from_arrays(design, targets, weight, device=self.validated_input.device)

    def features(self, X: Any) -> Tensor:
        """Compute the features (n_samples, n_features) of rows, float32 or float64."""
        features = networks.apply_network(self.network.backbone, X, self.head)
        if not bool(features.isfinite().all()):
            row = int((~features.isfinite().all(dim=1)).nonzero()[0, 0])
            raise ParameterError(
                f"The backbone gives features that are not finite for row {row} of X; scale the "
                "columns of X, for example with StandardScaler."
            )
        return features.to(_head_dtype(features.dtype))

    def reconstruct(self, params: Params | None) -> dict[str, Any]:
        """Return the attributes of the current network; ``params``, if given, are its head's."""
        network = copy.deepcopy(self.network).eval()
        if params is not None:
            LinearHead(network.head, 1).load(params)
        return {"module_": network}

    def fit_network(
        self, mode: TrainingMode, rows: FitInput, held_out: FitInput | None, callback: Any
    ) -> tuple[TrainingResult, FitResult | None, Tensor]:
        """Train the network, then fit the head exactly if ``mode.polish`` is True."""
        held_out_score = None
        if held_out is not None:
            score = validation_split.scorer(
                held_out, self.validated_input.model, mode.solver.scoring
            )

            def held_out_score() -> float:
                return score({"module_": self.network})

        data = self.data(rows, on_features=False)
        with exclusive(mode.solver.checkpoint):
            trained, solution = (
                self.train(mode, data, held_out_score=held_out_score, callback=callback),
                None,
            )
            if mode.polish:
                solution = self.polish(mode, rows, trained, callback)
            ends = {trained.status} if solution is None else {trained.status, *solution.status}
            if Status.INTERRUPTED not in ends:
                CheckpointWriter(mode.solver.checkpoint, {}).finish()
        return trained, solution, data.weight.sum(dim=0)

    def polish(
        self, mode: TrainingMode, rows: FitInput, trained: TrainingResult, callback: Any
    ) -> FitResult:
        """Fit the head of a trained network exactly."""
        max_iter = self.validated_input.model.max_iter if trained.is_complete else 0

        def report_total(progress: Progress) -> bool:
            return callback(replace(progress, n_iter=trained.n_epochs + progress.n_iter))

        solution = self.solve(
            self.data(rows, on_features=True),
            replace(mode.solver, epochs=0, checkpoint=None),
            max_iter=max_iter,
            start=LinearHead(self.head, 1).params(),
            callback=None if callback is None else report_total,
        )
        solution = replace(solution, n_iter=solution.n_iter + trained.n_epochs)
        if not max_iter and solution.status[0] is Status.MAX_ITER:
            solution = replace(solution, status=(trained.status,))
        return solution

    def fit_head(
        self, mode: TrainingMode, rows: FitInput, held_out: FitInput | None, callback: Any
    ) -> tuple[TrainingResult | None, FitResult, Tensor]:
        """Fit only the head, to features that are computed once."""
        held_out_score = None
        if held_out is not None:
            held_out = replace(held_out, X=self.features(held_out.X).cpu().numpy())
            score = validation_split.scorer(
                held_out, self.validated_input.model, mode.solver.scoring
            )
            n_features = self.head.in_features

            def held_out_score(params: Params) -> float:
                head = self.reconstruct(params)["module_"].head
                alone = nn.Sequential(OrderedDict(backbone=nn.Identity(), head=head))
                return score({"module_": alone, "n_features_in_": n_features})

        data = self.data(rows, on_features=True)
        warm = self.validated_input.previous is not None
        solution = self.solve(
            data,
            mode.solver,
            max_iter=self.validated_input.model.max_iter,
            start=LinearHead(self.head, 1).params() if warm else None,
            callback=callback,
            held_out_score=held_out_score,
        )
        return solution.trained, solution, solution.total_weight

    def solve(self, data: Data, solver: Any, **how: Any) -> FitResult:
        """Fit the head to features with `fitting.fit`, and set its weights."""
        solution = fitting.fit(
            data,
            self.problem.loss,
            self.problem.penalty(None, data.device),
            C=self.problem.options.C,
            solver=solver,
            tol=self.validated_input.model.tol,
            seed=self.validated_input.seed,
            dtype=self.head.weight.dtype,
            **how,
        )
        LinearHead(self.head, 1).load(solution.params)
        return solution

    def train(
        self,
        mode: TrainingMode,
        rows: InMemory | Stream,
        *,
        held_out_score: Callable[[], float] | None = None,
        callback: Callable[[Progress], bool] | None = None,
        state: dict[str, Any] | None = None,
        epochs: int | None = None,
        total_weight: Tensor | None = None,
    ) -> TrainingResult:
        """Train the network on rows or a stream; train only the head if the backbone is frozen.

        A frozen backbone takes features as rows, but computes them for the batches of a stream.
        """
        head, problem, seed = self.head, self.problem, self.validated_input.seed
        is_stream, device = isinstance(rows, Stream), head.weight.device
        network: nn.Module = head if mode.frozen else self.network
        weight = rows.weight if is_stream else rows.weight.sum(dim=0).mean(dim=0, keepdim=True)
        nowhere: Any = None  # `reconstruct` copies the current network

        def forward(batch: Any) -> Tensor:
            features = self.features(batch) if is_stream and mode.frozen else batch
            rows = networks.to_input(features, head)
            try:
                logits: Tensor = network(rows)
            except ValueError as error:
                if len(rows) > 1:
                    raise
                raise ParameterError(
                    f"A mini-batch has one row, which module does not train on: {error}. Choose "
                    "another batch_size."
                ) from error
            return logits

        request = TrainingRequest(
            network=network,
            head=head,
            loss=problem.loss,
            penalty=problem.penalty(None, device),
            reg_strength=self.reg_strength(device),
            solver=mode.solver,
            shares_scale=True,
            forward=forward,
            held_out_score=held_out_score,
            callback=epoch_callback(callback, weight, lambda: nowhere),
            state=state,
            epochs=epochs,
            seed=seed,
            layer_seed=~seed,  # another stream of random numbers than that of the order of rows
        )
        if isinstance(rows, Stream):
            trained = rows.train(request)
        else:
            trained = train_in_memory(request, rows, total_weight)
        if not all(bool(p.isfinite().all()) for p in self.network.parameters()):
            raise DivergenceError(
                f"{type(mode.solver).__name__} diverged in epoch {trained.n_epochs}: weights are "
                "no longer finite. Lower the learning rate, scale the columns of X (for example "
                "with StandardScaler), or set clip."
            )
        return trained

    def finish(self, trained: TrainingResult | None, solution: FitResult | None) -> None:
        """Set the fitted attributes, and delete those of another kind of fit."""
        model = self.validated_input.model
        model.module_ = self.network.eval()
        self.network.zero_grad()
        n_iter = torch.tensor([0 if trained is None else trained.n_epochs])
        if solution is not None:
            n_iter = solution.n_iter.cpu()
        model.n_iter_ = self.validated_input.namespace.from_tensor(n_iter.to(torch.int32))
        if solution is None:
            for name in _CERTIFIED:
                vars(model).pop(name, None)
            if trained is not None and trained.status is Status.INTERRUPTED:
                text = convergence_messages.message_for_interrupted(model.solver, trained.n_epochs)
                warn_user(text, ConvergenceWarning)
            return
        (status,) = solution.status
        model.optimality_ = float(solution.optimality[0])
        model.duality_gap_ = float(solution.duality_gap[0])
        model.converged_ = status is Status.CONVERGED
        model.n_passes_ = int(solution.n_passes)
        if not convergence_messages.ended_as_requested(status):
            text = convergence_messages.message(
                status,
                solver="auto" if model.solver is None else model.solver,
                n_iter=int(n_iter[0]),
                max_iter=model.max_iter,
                optimality=model.optimality_,
                tol=model.tol,
                dtype=str(self.validated_input.dtype).removeprefix("torch."),
            )
            warn_user(text, ConvergenceWarning)


def _head_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the head's fits and predictions: float32 for half precision."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32
