"""Fit one network to all labels: a backbone and a head with one logit per label."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.utils import _safe_indexing
from torch import Tensor, nn

from skorch_logreg.checkpoint import stable_repr
from skorch_logreg.data import InMemory, from_arrays
from skorch_logreg.estimators import partial as parts
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel import partial, per_label
from skorch_logreg.estimators.multilabel.binary_problems import (
    SATURATED_LOGIT,
    BinaryProblems,
    LabelResults,
)
from skorch_logreg.estimators.multilabel.indicator import Indicator
from skorch_logreg.estimators.multilabel.label_problem import (
    LabelProblem,
    ProgressPrinter,
    make_binary_problems,
)
from skorch_logreg.estimators.multilabel.validate import checked_estimator, validate_labels
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.neural.fits import NetworkFit
from skorch_logreg.estimators.neural.validate import TrainingMode, check_sizes, device_and_dtype
from skorch_logreg.estimators.neural.validate import ValidatedInput as ValidatedNetworkInput
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import options
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.torch_context import seed_of, seeded_generators
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.training import LinearHead, TrainingResult

__all__ = ["NetworkResult", "fit", "partial_fit"]

_HEAD_PARAMETERS = (
    *("C", "l1_ratio", "class_weight", "tol", "max_iter", "random_state", "verbose"),
    *("soft_labels", "label_smoothing"),
)


@dataclass(frozen=True)
class NetworkResult:
    """Result of fitting a network to all labels.

    Parameters
    ----------
    inputs : FitInput
        Rows and targets.
    attributes : dict
        Fitted attributes.
    training_state : dict
        State from which `partial_fit` continues.
    label_problem : LabelProblem or None
        Problem of the head on the features, if the head was solved exactly.
    label_results : LabelResults or None
        Its results.
    """

    inputs: FitInput
    attributes: dict[str, Any]
    training_state: dict[str, Any]
    label_problem: LabelProblem | None
    label_results: LabelResults | None


def fit(
    model: Any, estimator: Any, X: Any, y: Any, sample_weight: Any, *, label_mask: Any
) -> NetworkResult:
    """Fit a network to all labels.

    Parameters
    ----------
    model : MultiLabel
        Model to fit.
    estimator : NeuralLogisticClassifier
        Its validated estimator.
    X, y, sample_weight, label_mask
        As in `MultiLabel.fit`.

    Returns
    -------
    result : NetworkResult
        Fitted attributes and the state for `partial_fit`.
    """
    mode = TrainingMode.of(estimator)
    head, resolved = _head(model, estimator, mode)
    _check_solver(mode.solver)
    if estimator.module is None:
        check_sizes(estimator.hidden_layer_sizes)
    n_features = getattr(model, "n_features_in_", None)
    inputs = validate_labels(
        model,
        estimator,
        X,
        y,
        sample_weight,
        label_mask=label_mask,
        allow_nd=estimator.module is not None,
    )
    if mode.trains:
        inputs = inputs.drop_zero_weight()
    seed = seed_of(estimator.random_state)
    network_input = _NetworkInput.start(
        model, estimator, inputs, seed, n_features, warm=estimator.warm_start
    )
    trained = label_problem = label_results = None
    with seeded_generators(seed, network_input.device):
        network_fit = _NetworkFit.start(network_input, model, head, resolved, mode.frozen)
        binary_problems = make_binary_problems(
            model, inputs, head, resolved.solver, network_input.device
        )
        if not mode.frozen:
            report = (
                ProgressPrinter(np.arange(binary_problems.labels.n_labels))
                if estimator.verbose
                else None
            )
            trained = network_fit.train(
                mode, network_fit.rows(binary_problems, on_features=False), callback=report
            )
        if mode.frozen or mode.polish:
            label_problem = LabelProblem.of(
                model, replace(inputs, X=network_fit.features(inputs.X)), head, resolved
            )
            label_results = LabelResults(
                label_problem.problem,
                label_problem.binary_problems.constant,
                label_problem.binary_problems.device,
            )
            warm = trained is not None or network_input.previous is not None
            head_params = LinearHead(network_fit.head, len(network_fit.C))
            start = head_params.params() if warm else None
            label_problem.fit(label_results, network_fit.C, start, verbose=bool(estimator.verbose))
            head_params.load(label_results.params)
    found = network_fit.attributes(trained, label_results)
    state = None if trained is None else trained.state
    if mode.frozen:
        state = _shared_training_state(label_results, len(network_fit.C))
    training_state = {
        "weight": binary_problems.total_weight.tolist(),
        "state": state,
        "solver": stable_repr(mode.solver),
    }
    return NetworkResult(inputs, found, training_state, label_problem, label_results)


def partial_fit(
    model: Any, X: Any, y: Any, classes: Any, sample_weight: Any, *, label_mask: Any
) -> None:
    """Train the network for one epoch over some rows."""
    estimator = checked_estimator(model, NeuralLogisticClassifier)
    mode = TrainingMode.for_partial_fit(estimator)
    head, resolved = _head(model, estimator, mode)
    if estimator.module is None:
        check_sizes(estimator.hidden_layer_sizes)
    inputs = partial.validate_part(
        model, estimator, X, y, classes, sample_weight=sample_weight, label_mask=label_mask
    ).drop_zero_weight()
    seed = seed_of(estimator.random_state)
    network_input = _NetworkInput.start(
        model, estimator, inputs, seed, inputs.X.shape[1], warm=True
    )
    with seeded_generators(seed, network_input.device):
        network_fit = _NetworkFit.start(network_input, model, head, resolved, mode.frozen)
        binary_problems = make_binary_problems(
            model, inputs, head, resolved.solver, network_input.device, part=True
        )
        rows = network_fit.rows(binary_problems, on_features=mode.frozen)
        state, total_weight = None, rows.weight.sum(dim=0).expand(len(network_fit.C))
        if network_input.previous is not None:
            state, total_weight = parts.resume_state(model, mode.solver, rows.weight)
        trained = network_fit.train(
            mode,
            rows,
            state=state,
            epochs=1 if state is None else state["n_epochs"] + 1,
            total_weight=total_weight,
        )
    model._set_fitted(network_fit.attributes(trained, None), inputs.labels)
    setattr(model, TRAINING, parts.training_state(total_weight, trained, mode.solver))


def _head(
    model: Any, estimator: Any, mode: TrainingMode
) -> tuple[TorchLogisticClassifier, Options]:
    """Return the classifier that is fitted to the features of a frozen backbone."""
    solver = mode.solver if mode.frozen else "auto"
    head_params = {name: getattr(estimator, name) for name in _HEAD_PARAMETERS}
    head = TorchLogisticClassifier(solver=solver, **head_params)
    resolved = options.resolve(per_label.EstimatorWithC(head, model.C))
    return head, resolved


def _shared_training_state(label_results: Any, n_labels: int) -> dict[str, Any] | None:
    """Return the optimiser state of the head if all labels were trained together."""
    groups = label_results.trained
    return groups[0][1] if groups and len(groups[0][0]) == n_labels else None


def _check_solver(solver: Any) -> None:
    """Refuse settings that are only supported without `MultiLabel`."""
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
class _NetworkInput(ValidatedNetworkInput):
    """Input of a network with one logit per label.

    Parameters
    ----------
    labels : Indicator
        Targets.
    """

    labels: Indicator

    @classmethod
    def start(
        cls,
        model: Any,
        estimator: Any,
        inputs: FitInput,
        seed: int,
        n_features: int | None,
        *,
        warm: bool,
    ) -> "_NetworkInput":
        """Create the input, with the previous network as the initial one if there is one.

        Parameters
        ----------
        n_features : int or None
            Number of features of the previous network.
        warm : bool
            Whether to start from the previous network.
        """
        device, dtype = device_and_dtype(estimator, inputs.X, inputs.device)
        known = copy.copy(estimator)
        labels: Any = inputs.labels
        rows = replace(inputs, weight=None)
        network_input = cls(known, rows, inputs.namespace, device, dtype, seed, None, labels)
        if not warm or "module_" not in vars(model):
            return network_input
        known.module_ = model.module_
        previous = network_input._previous(n_features)
        head: Any = previous.head
        with torch.no_grad():
            saturated = (head.weight == 0).all(dim=1) & (head.bias.abs() == SATURATED_LOGIT)
            head.bias[saturated] = 0
        return replace(network_input, previous=previous)

    @property
    def n_outputs(self) -> int:
        """Number of logits per row."""
        return self.labels.n_labels


@dataclass(frozen=True)
class _NetworkFit(NetworkFit):
    """Fit of a network with one logit per label.

    Parameters
    ----------
    C : Tensor of shape (n_labels,)
        Inverse regularisation strengths.
    """

    C: Tensor

    @classmethod
    def start(
        cls, network_input: _NetworkInput, model: Any, head: Any, resolved: Options, frozen: bool
    ) -> "_NetworkFit":
        """Create the network and the problem of its head."""
        labels = network_input.labels
        network: Any = network_input.network(frozen)
        problem = Problem(
            options=resolved,
            namespace=network_input.namespace,
            dtype=network_input.dtype,
            n_classes=2,
            n_features=int(network.head.in_features),
            fit_intercept=True,
            intercept_scaling=1.0,
            is_soft=labels.is_soft or head.label_smoothing > 0,
        )
        C = per_label.c_per_label(model.C, head, resolved, labels.n_labels)
        return cls(network_input, network, problem, C)

    def reg_strength(self, device: torch.device) -> Tensor:
        """Return ``1 / C`` of every label."""
        return (1 / self.C).to(device)

    def rows(self, binary_problems: BinaryProblems, on_features: bool) -> InMemory:
        """Return the rows that have a target of positive weight, or their features."""
        X: Any = self.validated_input.rows.X
        targets, weight = binary_problems.targets_and_weights(np.arange(len(self.C)))
        if weight is not None:
            has_weight = weight > 0 if weight.ndim == 1 else (weight > 0).any(dim=1)
            if not bool(has_weight.any()):
                raise ValueError("No cell of y is known and counts: there is nothing to fit to.")
            if not bool(has_weight.all()):
                X = _safe_indexing(X, has_weight.nonzero()[:, 0].cpu().numpy())
                targets, weight = targets[has_weight], weight[has_weight]
        if on_features:
            return from_arrays(self.features(X), targets, weight)
        return from_arrays(
            self.problem.design(X), targets, weight, device=self.validated_input.device
        )

    def attributes(
        self, trained: TrainingResult | None, label_results: LabelResults | None
    ) -> dict[str, Any]:
        """Return the fitted attributes."""
        network: nn.Module = self.network.eval()
        network.zero_grad()
        n_epochs = 0 if trained is None else trained.n_epochs
        found: dict[str, Any] = {}
        if label_results is not None:
            found = label_results.attributes()
            del found["coef_"], found["intercept_"]
            found["n_iter_"] = found["n_iter_"] + n_epochs
        else:
            n_iter = torch.full((len(self.C),), n_epochs, dtype=torch.int32)
            found["n_iter_"] = self.validated_input.namespace.from_tensor(n_iter)
        if trained is not None:
            found["history_"] = trained.history
        return found | {"module_": network}
