"""One network for all labels: a backbone under a head with a logit for each."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import _safe_indexing
from torch import Tensor, nn

from skorch_logreg.checkpoint import named
from skorch_logreg.data import InMemory, from_arrays
from skorch_logreg.estimators import options, validation_split
from skorch_logreg.estimators import partial as parts
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel import partial, per_label
from skorch_logreg.estimators.multilabel.company import SATURATED_LOGIT, Company, Fits
from skorch_logreg.estimators.multilabel.fits import LabelProblem, Reporter, company_of
from skorch_logreg.estimators.multilabel.given import Given, checked_estimator
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.neural.fits import NetworkFit
from skorch_logreg.estimators.neural.validate import (
    TrainingMode,
    ValidatedInput,
    check_sizes,
    device_and_dtype,
)
from skorch_logreg.estimators.options import Options
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.torch_context import seeded_generators
from skorch_logreg.estimators.validation_split import LabelledRows
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import Params
from skorch_logreg.training import LinearHead, Trained

__all__ = ["Fitted", "fit", "partial_fit"]

_OF_THE_HEAD = (
    *("C", "l1_ratio", "class_weight", "tol", "max_iter", "random_state", "verbose"),
    *("soft_labels", "label_smoothing"),
)


@dataclass(frozen=True)
class Fitted:
    """A network for all labels.

    Parameters
    ----------
    given : Given
    attributes : dict
        Fitted attributes.
    memory : dict
        What `partial_fit` goes on from.
    work : LabelProblem or None
        The fit of an exact head to the features, and what became of it; None: there was none.
    fits : Fits or None
    """

    given: Given
    attributes: dict[str, Any]
    memory: dict[str, Any]
    work: LabelProblem | None
    fits: Fits | None


def fit(model: Any, estimator: Any, X: Any, y: Any, sample_weight: Any, label_mask: Any) -> Fitted:
    """Fit a network to all labels.

    Parameters
    ----------
    model : MultiLabel
    estimator : NeuralLogisticClassifier
        Its estimator, validated.
    X, y, sample_weight, label_mask
        As in `MultiLabel.fit`.
    """
    mode = TrainingMode.of(estimator)
    head, chosen = _head(model, estimator, mode)
    _check(mode.solver)
    if estimator.module is None:
        check_sizes(estimator.hidden_layer_sizes)
    n_features = getattr(model, "n_features_in_", None)
    given = Given.of(
        model, estimator, X, y, sample_weight, label_mask, allow_nd=estimator.module is not None
    )
    if mode.trains:
        given = given.counting()
    seed = validation_split.seed_of(estimator.random_state)
    warm_start = _WarmStart.start(model, estimator, given, seed, n_features, estimator.warm_start)
    trained = work = fits = None
    with seeded_generators(seed, warm_start.device):
        run = _LabelNetworkFit.start(warm_start, model, head, chosen, mode.frozen)
        company = company_of(model, given, head, chosen.solver, warm_start.device)
        if not mode.frozen:
            report = Reporter(np.arange(company.labels.n_labels)) if estimator.verbose else None
            trained = run.train(mode, run.rows(company, on_features=False), callback=report)
        if mode.frozen or mode.polish:
            work = LabelProblem.of(model, replace(given, X=run.features(given.X)), head, chosen)
            fits = Fits(work.problem, work.company.constant, work.company.device)
            warm = trained is not None or warm_start.previous is not None
            start = Params(*LinearHead(run.head, len(run.C)).params()) if warm else None
            work.fit(fits, run.C, start, verbose=bool(estimator.verbose))
            LinearHead(run.head, len(run.C)).load(fits.params.coef, fits.params.intercept)
    found = run.attributes(trained, fits)
    state = None if trained is None else trained.state
    if mode.frozen:
        state = _of_all(fits, len(run.C))
    memory = {"weight": company.total.tolist(), "state": state, "solver": named(mode.solver)}
    return Fitted(given, found, memory, work, fits)


def partial_fit(
    model: Any, X: Any, y: Any, classes: Any, sample_weight: Any, label_mask: Any
) -> None:
    """Go on with a network for one epoch over some rows."""
    estimator = checked_estimator(model, NeuralLogisticClassifier)
    mode = TrainingMode.for_partial_fit(estimator)
    head, chosen = _head(model, estimator, mode)
    if estimator.module is None:
        check_sizes(estimator.hidden_layer_sizes)
    given = partial.read(model, estimator, X, y, classes, sample_weight, label_mask).counting()
    seed = validation_split.seed_of(estimator.random_state)
    warm_start = _WarmStart.start(model, estimator, given, seed, given.X.shape[1], True)
    with seeded_generators(seed, warm_start.device):
        run = _LabelNetworkFit.start(warm_start, model, head, chosen, mode.frozen)
        company = company_of(model, given, head, chosen.solver, warm_start.device, part=True)
        rows = run.rows(company, on_features=mode.frozen)
        state, total = None, rows.weight.sum(dim=0).expand(len(run.C))
        if warm_start.previous is not None:
            state, total = parts.resume_state(model, mode.solver, rows.weight)
        trained = run.train(
            mode,
            rows,
            state=state,
            epochs=1 if state is None else state["n_epochs"] + 1,
            total_weight=total,
        )
    model._keep(run.attributes(trained, None), given.labels)
    setattr(model, TRAINING, parts.training_state(total, trained, mode.solver))


def _head(
    model: Any, estimator: Any, mode: TrainingMode
) -> tuple[TorchLogisticClassifier, Options]:
    """Return the classifier that is fitted to the features of a frozen backbone."""
    solver = mode.solver if mode.frozen else "auto"
    of_head = {name: getattr(estimator, name) for name in _OF_THE_HEAD}
    head = TorchLogisticClassifier(solver=solver, **of_head)
    chosen = options.resolve(per_label.WithC(head, model.C))
    return head, chosen


def _of_all(fits: Any, n_labels: int) -> dict[str, Any] | None:
    """State of the optimiser of a head if it has seen all labels together."""
    groups = fits.trained
    return groups[0][1] if groups and len(groups[0][0]) == n_labels else None


def _check(solver: Any) -> None:
    """Refuse what a network takes by itself alone."""
    for name, plain in (
        ("validation_fraction", 0.0),
        ("checkpoint", None),
        ("on_interrupt", "raise"),
    ):
        value = getattr(solver, name, plain)
        if value != plain:
            raise ParameterError(
                f"{name}={value!r} of {type(solver).__name__} is for a NeuralLogisticClassifier "
                f"by itself; under MultiLabel leave {name}={plain!r}."
            )


@dataclass(frozen=True)
class _WarmStart(ValidatedInput):
    """What the network of all labels is fitted to.

    Parameters
    ----------
    labels : Indicator
    """

    labels: Indicator

    @classmethod
    def start(
        cls,
        model: Any,
        estimator: Any,
        given: Given,
        seed: int,
        n_features: int | None,
        warm: bool,
    ) -> "_WarmStart":
        """Begin with the network before, or with none.

        Parameters
        ----------
        n_features : int or None
            Of the network before.
        warm : bool
            Whether to start from there if there is one.
        """
        device, dtype = device_and_dtype(estimator, given.X, given.device)
        known = copy.copy(estimator)
        labels: Any = given.labels
        rows = LabelledRows(given.X, None, labels, None)
        warm_start = cls(known, rows, given.namespace, device, dtype, seed, None, labels)
        if not warm or "module_" not in vars(model):
            return warm_start
        known.module_ = model.module_
        previous = warm_start._previous(n_features)
        head: Any = previous.head
        with torch.no_grad():
            certain = (head.weight == 0).all(dim=1) & (head.bias.abs() == SATURATED_LOGIT)
            head.bias[certain] = 0
        return replace(warm_start, previous=previous)

    @property
    def n_outputs(self) -> int:
        """Logits a row."""
        return self.labels.n_labels


@dataclass(frozen=True)
class _LabelNetworkFit(NetworkFit):
    """A network of all labels on its way.

    Parameters
    ----------
    C : Tensor of shape (n_labels,)
    """

    C: Tensor

    @classmethod
    def start(
        cls, warm_start: _WarmStart, model: Any, head: Any, chosen: Options, frozen: bool
    ) -> "_LabelNetworkFit":
        """Build the network."""
        labels = warm_start.labels
        network: Any = warm_start.network(frozen)
        problem = Problem(
            options=chosen,
            namespace=warm_start.namespace,
            dtype=warm_start.dtype,
            n_classes=2,
            n_features=int(network.head.in_features),
            fit_intercept=True,
            intercept_scaling=1.0,
            is_soft=labels.is_soft or head.label_smoothing > 0,
        )
        C = per_label.strengths(model.C, head, chosen, labels.n_labels)
        return cls(warm_start, network, problem, C)

    def reg_strength(self, device: torch.device) -> Tensor:
        """``1 / C`` of every label."""
        return (1 / self.C).to(device)

    def rows(self, company: Company, on_features: bool) -> InMemory:
        """Rows with a cell that counts, or what the backbone makes of them."""
        X: Any = self.validated_input.rows.X
        targets, weight = company.cells(np.arange(len(self.C)))
        if weight is not None:
            counts = weight > 0 if weight.ndim == 1 else (weight > 0).any(dim=1)
            if not bool(counts.any()):
                raise ValueError("No cell of y is known and counts: there is nothing to fit to.")
            if not bool(counts.all()):
                X = _safe_indexing(X, counts.nonzero()[:, 0].cpu().numpy())
                targets, weight = targets[counts], weight[counts]
        if on_features:
            return from_arrays(self.features(X), targets, weight)
        return from_arrays(
            self.problem.design(X), targets, weight, device=self.validated_input.device
        )

    def attributes(self, trained: Trained | None, fits: Fits | None) -> dict[str, Any]:
        """Fitted attributes."""
        network: nn.Module = self.network.eval()
        network.zero_grad()
        n_epochs = 0 if trained is None else trained.n_epochs
        found: dict[str, Any] = {}
        if fits is not None:
            found = fits.attributes()
            del found["coef_"], found["intercept_"]
            found["n_iter_"] = found["n_iter_"] + n_epochs
        else:
            n_iter = torch.full((len(self.C),), n_epochs, dtype=torch.int32)
            found["n_iter_"] = self.validated_input.namespace.from_tensor(n_iter)
        if trained is not None:
            found["history_"] = trained.history
        return found | {"module_": network}
