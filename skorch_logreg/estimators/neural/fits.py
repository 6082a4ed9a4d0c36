"""How a network is fitted: trained in mini-batches, its head exactly, or part by part."""

import copy
import warnings
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
from skorch_logreg.checkpoint import Journal, exclusive
from skorch_logreg.data import Data, InMemory, from_arrays
from skorch_logreg.estimators import convergence, datasets, epochs, partial, soft, streams
from skorch_logreg.estimators.arrays import Home
from skorch_logreg.estimators.callbacks import IterationReporter
from skorch_logreg.estimators.epochs import Rows
from skorch_logreg.estimators.isolation import own_randomness
from skorch_logreg.estimators.neural import networks
from skorch_logreg.estimators.neural.given import Given, Way, rows_like_before
from skorch_logreg.estimators.options import Options
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.soft import SoftTargets
from skorch_logreg.estimators.streamed import Stream
from skorch_logreg.exceptions import DivergenceError, ParameterError
from skorch_logreg.fitting import Params, Progress, Solution, Status
from skorch_logreg.training import Epoch, LinearHead, Trained, train_network

__all__ = ["fit", "frozen_features", "partial_fit"]

_PROOF = ("optimality_", "duality_gap_", "converged_", "n_passes_")


def fit(model: Any, X: Any, y: Any, sample_weight: Any) -> None:
    """Fit a `NeuralLogisticClassifier`."""
    way, stream, classes, source = Way.of(model), None, None, X
    seed = epochs.seed_of(model.random_state)
    if streams.is_stream(X):
        streams.refuse_beside(y, sample_weight)
        with own_randomness(seed, torch.device("cpu")):
            if streams.streams(X, way.solver):
                stream = Stream.of(model, X, way.over_batches(X))
                (X, y), classes = stream.survey.first, stream.survey.classes
            else:
                X, y, sample_weight = datasets.read(X)
    warm = model.warm_start and hasattr(model, "module_")
    given = Given.of(model, X, y, sample_weight, seed, anew=True, classes=classes, warm=warm)
    rows, held_out = given.rows.counting(), None
    if way.trains:
        rows, held_out = epochs.split(rows, way.solver, seed)
    model.classes_ = given.rows.labels.classes
    with own_randomness(seed, given.device):
        run = Run.of(given, given.network(way.frozen))
        task = {"X": given.rows.X, "y": given.rows.y, "metadata": given.metadata}
        if stream is not None:
            task = {"X": source, "y": None, "metadata": None}
        n_tasks = way.most_iterations(model.max_iter)
        context = model._init_callback_context(max_subtasks=n_tasks)
        context.call_on_fit_task_begin(estimator=model, **task)
        reporter = None
        if hasattr(model, "_skl_callbacks") or model.verbose:
            reporter = IterationReporter(context, model, task, None, run.reconstruct, n_tasks)
        if stream is None:
            fit_rows = run.fit_head if way.frozen else run.fit_network
            trained, solution, weight = fit_rows(way, rows, held_out, reporter)
        else:
            trained, solution = run.train(way, stream, callback=reporter), None
            weight = stream.weight
        if reporter is not None:
            reporter.close()
    partial.remember(model, trained, weight, way.solver)
    run.finish(trained, solution)
    context.call_on_fit_task_end(estimator=model, **task, reconstruction_attributes={})


def partial_fit(model: Any, X: Any, y: Any, classes: Any, sample_weight: Any) -> None:
    """Go on with a `NeuralLogisticClassifier` for one epoch over some rows."""
    way = Way.by_parts(model)
    first = _check_partial_fit_first_call(model, Home.of(X).beside(classes))
    seed = epochs.seed_of(model.random_state)
    given = Given.of(
        model, X, y, sample_weight, seed, anew=first, classes=model.classes_, warm=not first
    )
    with own_randomness(seed, given.device):
        run = Run.of(given, given.network(way.frozen))
        data = run.data(given.rows.counting(), on_features=way.frozen)
        state, total = partial.past(model, way.solver, data.weight)
        trained = run.train(
            way,
            data,
            state=state,
            epochs=1 if state is None else state["n_epochs"] + 1,
            total_weight=total,
        )
    partial.remember(model, trained, total, way.solver)
    run.finish(trained, None)


def frozen_features(model: Any, X: Any, y: Any, *others: Any) -> list[np.ndarray]:
    """Features (n_rows, n_features) of rows, to which `fit` would fit an exact head, and of others.

    Parameters
    ----------
    model : NeuralLogisticClassifier
        With a frozen backbone, and a `random_state` that gives the same one again.
    X, y : array-like
        As for `fit`.
    *others : array-like
        Further rows, which are not fitted to.
    """
    seed = epochs.seed_of(model.random_state)
    given = Given.of(model, X, y, None, seed, anew=True, classes=None, warm=False)
    with own_randomness(seed, given.device):
        run = Run.of(given, given.network(frozen=True))
    checked = (rows_like_before(model, rows) for rows in others)
    return [run.features(rows).cpu().numpy() for rows in (given.rows.X, *checked)]


@dataclass(frozen=True)
class Run:
    """A network on its way.

    Parameters
    ----------
    given : Given
    network : nn.Sequential
        Backbone and head; trained in place.
    problem : Problem
        Of the head.
    """

    given: Given
    network: Any
    problem: Problem

    @classmethod
    def of(cls, given: Given, network: Any) -> "Run":
        """State the fit of the head in the core's terms."""
        model = given.model
        problem = Problem(
            options=Options(float(model.C), float(model.l1_ratio), "auto", False),
            home=given.home,
            dtype=_wide(given.dtype),
            n_classes=given.rows.labels.n_classes,
            n_features=int(network.head.in_features),
            fit_intercept=True,
            intercept_scaling=1.0,
            is_soft=isinstance(given.rows.labels, SoftTargets),
        )
        return cls(given, network, problem)

    @property
    def head(self) -> nn.Linear:
        """The last layer."""
        head: nn.Linear = self.network.head
        return head

    def strength(self, device: torch.device) -> Tensor:
        """``1 / C``, (1,)."""
        return torch.tensor([1 / self.problem.options.C], dtype=torch.float64, device=device)

    def data(self, rows: Rows, on_features: bool) -> InMemory:
        """Wrap rows, or what the backbone makes of them, with targets and weights."""
        targets, weight = soft.weigh(self.given.model.class_weight, rows.labels, rows.weight)
        if on_features:
            return from_arrays(self.features(rows.X), targets, weight)
        design = self.problem.design(rows.X)
        return from_arrays(design, targets, weight, device=self.given.device)

    def features(self, X: Any) -> Tensor:
        """Features (n_samples, n_features) of rows, float32 or float64."""
        features = networks.applied(self.network.backbone, X, self.head)
        if not bool(features.isfinite().all()):
            row = int((~features.isfinite().all(dim=1)).nonzero()[0, 0])
            raise ParameterError(
                f"The backbone gives features that are not finite for row {row} of X; scale the "
                "columns of X, for example with StandardScaler."
            )
        return features.to(_wide(features.dtype))

    def reconstruct(self, params: Params | None) -> dict[str, Any]:
        """Fitted attributes of the present network, with these parameters of the head if given."""
        network = copy.deepcopy(self.network).eval()
        if params is not None:
            LinearHead(network.head, 1).load(params.coef, params.intercept)
        return {"module_": network}

    def fit_network(
        self, way: Way, rows: Rows, held_out: Rows | None, callback: Any
    ) -> tuple[Trained, Solution | None, Tensor]:
        """Train the network, and end with an exact head if that is asked for."""
        held_out_score = None
        if held_out is not None:
            score = held_out.score_function(self.given.model, way.solver.scoring)

            def held_out_score() -> float:
                return score({"module_": self.network})

        data = self.data(rows, on_features=False)
        with exclusive(way.solver.checkpoint):
            trained, solution = (
                self.train(way, data, held_out_score=held_out_score, callback=callback),
                None,
            )
            if way.polish:
                solution = self.polish(way, rows, trained, callback)
            ends = {trained.status} if solution is None else {trained.status, *solution.status}
            if Status.INTERRUPTED not in ends:
                Journal(way.solver.checkpoint, {}).finish()
        return trained, solution, data.weight.sum(dim=0)

    def polish(self, way: Way, rows: Rows, trained: Trained, callback: Any) -> Solution:
        """Go on with the head alone, to its exact optimum."""
        max_iter = self.given.model.max_iter if trained.is_complete else 0

        def go_on(progress: Progress) -> bool:
            return callback(replace(progress, n_iter=trained.n_epochs + progress.n_iter))

        solution = self.solve(
            self.data(rows, on_features=True),
            replace(way.solver, epochs=0, checkpoint=None),
            max_iter=max_iter,
            start=Params(*LinearHead(self.head, 1).params()),
            callback=None if callback is None else go_on,
        )
        solution = replace(solution, n_iter=solution.n_iter + trained.n_epochs)
        if not max_iter and solution.status[0] is Status.MAX_ITER:
            solution = replace(solution, status=(trained.status,))
        return solution

    def fit_head(
        self, way: Way, rows: Rows, held_out: Rows | None, callback: Any
    ) -> tuple[Trained | None, Solution, Tensor]:
        """Fit the head alone, to features that are computed once."""
        held_out_score = None
        if held_out is not None:
            held_out = replace(held_out, X=self.features(held_out.X).cpu().numpy())
            score = held_out.score_function(self.given.model, way.solver.scoring)
            n_features = self.head.in_features

            def held_out_score(params: Params) -> float:
                head = self.reconstruct(params)["module_"].head
                alone = nn.Sequential(OrderedDict(backbone=nn.Identity(), head=head))
                return score({"module_": alone, "n_features_in_": n_features})

        data = self.data(rows, on_features=True)
        warm = self.given.previous is not None
        solution = self.solve(
            data,
            way.solver,
            max_iter=self.given.model.max_iter,
            start=Params(*LinearHead(self.head, 1).params()) if warm else None,
            callback=callback,
            held_out_score=held_out_score,
        )
        return solution.trained, solution, solution.total_weight

    def solve(self, data: Data, solver: Any, **how: Any) -> Solution:
        """Fit the head to features exactly, and set its weights."""
        solution = fitting.fit(
            data,
            self.problem.loss,
            self.problem.penalty(None, data.device),
            C=self.problem.options.C,
            solver=solver,
            tol=self.given.model.tol,
            seed=self.given.seed,
            dtype=self.head.weight.dtype,
            **how,
        )
        LinearHead(self.head, 1).load(solution.params.coef, solution.params.intercept)
        return solution

    def train(
        self,
        way: Way,
        rows: InMemory | Stream,
        *,
        held_out_score: Callable[[], float] | None = None,
        callback: Callable[[Progress], bool] | None = None,
        state: dict[str, Any] | None = None,
        epochs: int | None = None,
        total_weight: Tensor | None = None,
    ) -> Trained:
        """Train the network on rows, or its head alone: on features, or on those of a stream."""
        head, problem, seed = self.head, self.problem, self.given.seed
        streaming = isinstance(rows, Stream)
        network: nn.Module = head if way.frozen else self.network
        weight = rows.weight if streaming else rows.weight.sum(dim=0).mean(dim=0, keepdim=True)

        def forward(batch: Any) -> Tensor:
            features = self.features(batch) if streaming and way.frozen else batch
            rows = networks.inputs(features, head)
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

        def report(epoch: Epoch) -> bool:
            nowhere: Any = None  # the network knows where it is
            progress = Progress.of_epoch(epoch, weight, lambda: nowhere)
            return bool(callback is not None and callback(progress))

        watch: dict[str, Any] = {
            "forward": forward,
            "callback": None if callback is None else report,
        }
        if isinstance(rows, Stream):
            trained = rows.train(network, head, problem, None, way.solver, seed=~seed, **watch)
        else:
            trained = train_network(
                network,
                head,
                rows,
                problem.loss,
                problem.penalty(None, rows.device),
                self.strength(rows.device),
                way.solver,
                seed=seed,
                held_out_score=held_out_score,
                state=state,
                epochs=epochs,
                total_weight=total_weight,
                **watch,
            )
        if not all(bool(p.isfinite().all()) for p in self.network.parameters()):
            raise DivergenceError(
                f"{type(way.solver).__name__} diverged in epoch {trained.n_epochs}: weights are "
                "no longer finite. Lower the learning rate, scale the columns of X (for example "
                "with StandardScaler), or set clip."
            )
        return trained

    def finish(self, trained: Trained | None, solution: Solution | None) -> None:
        """Set the fitted attributes, and forget those of another kind of fit."""
        model = self.given.model
        model.module_ = self.network.eval()
        self.network.zero_grad()
        n_iter = torch.tensor([0 if trained is None else trained.n_epochs])
        if solution is not None:
            n_iter = solution.n_iter.cpu()
        model.n_iter_ = self.given.home.from_tensor(n_iter.to(torch.int32))
        if solution is None:
            for name in _PROOF:
                vars(model).pop(name, None)
            if trained is not None and trained.status is Status.INTERRUPTED:
                text = convergence.message_of_interrupted(model.solver, trained.n_epochs)
                warnings.warn(text, ConvergenceWarning, stacklevel=5)
            return
        (status,) = solution.status
        model.optimality_ = float(solution.optimality[0])
        model.duality_gap_ = float(solution.duality_gap[0])
        model.converged_ = status is Status.CONVERGED
        model.n_passes_ = int(solution.n_passes)
        if not convergence.is_as_asked(status):
            text = convergence.message(
                status,
                solver="auto" if model.solver is None else model.solver,
                n_iter=int(n_iter[0]),
                max_iter=model.max_iter,
                optimality=model.optimality_,
                tol=model.tol,
                dtype=str(self.given.dtype).removeprefix("torch."),
            )
            warnings.warn(text, ConvergenceWarning, stacklevel=5)


def _wide(dtype: torch.dtype) -> torch.dtype:
    """Return the type in which a head is fitted and asked: half precision becomes float32."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32
