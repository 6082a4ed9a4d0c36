"""Group the candidates of a search that can be solved together."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from numbers import Integral, Number
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.neural.fits import frozen_features, head_classifier
from skorch_logreg.estimators.ordinal import OrdinalLogisticClassifier
from skorch_logreg.inputs import out_of_core
from skorch_logreg.inputs.options import Options, resolve_device
from skorch_logreg.solvers.minibatch import trains_in_epochs

# parameters that may differ within a batch; the others are shared by a group
BATCHED_PARAMETERS = {
    TorchLogisticClassifier: ("C", "l1_ratio", "class_weight", "penalty_factor", "threshold"),
    MultiLabel: (
        *("C", "class_weight", "threshold", "estimator__C", "estimator__l1_ratio"),
        *("estimator__class_weight", "estimator__penalty_factor"),
    ),
    OrdinalLogisticClassifier: ("C", "l1_ratio", "class_weight", "penalty_factor"),
    NeuralLogisticClassifier: ("C", "l1_ratio", "class_weight", "threshold"),
}


OnError = Callable[[Iterable[int], Exception], None]  # takes the indices of candidates


class NotBatchedError(Exception):
    """Raised for candidates that batches do not support; the message says why."""


@dataclass(frozen=True)
class Candidate:
    """Unfitted classifier of a candidate, and its index among all candidates."""

    index: int
    model: Any


@dataclass(frozen=True)
class CandidateGroup:
    """Candidates that share all other parameters and the transformers.

    ``estimator`` is unfitted and owned by the group. If its classifier stands for the head of a
    network with a frozen backbone, it is fitted to the features of this ``network``.
    """

    estimator: Any
    candidates: tuple[Candidate, ...]
    network: Any = None

    @property
    def final(self) -> Any:
        """Classifier, the last step of a pipeline."""
        return final_step(self.estimator)

    @property
    def has_no_transformers(self) -> bool:
        """True if the estimator is not a pipeline."""
        return self.estimator is self.final

    def check_out_of_core(self) -> None:
        """Raise an error if the classifier needs rows in memory."""
        model = getattr(self.final, "estimator", self.final)  # None: of default parameters
        solver, device = getattr(model, "solver", "auto"), getattr(model, "device", None)
        out_of_core.check_options(Options.of(1.0, 0.0, solver), resolve_device(device))

    def classifier_inputs(self, X: Any, y: Any, *others: Any) -> Any:
        """Convert the rows that reach the last step, and other rows, to the classifier's inputs."""
        if self.network is None:
            return X, *others
        return frozen_features(self.network, X, y, *others)


def group_candidates(
    estimator: Any, candidates: Sequence[Mapping[str, Any]], on_error: OnError
) -> list[CandidateGroup]:
    """Group the candidates that can be solved together.

    ``on_error`` is called for a candidate that has an invalid value, another type of last step,
    soft labels, mini-batches, callbacks or verbose output, which a batch does not support.
    """
    prefix = f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""
    kind = type(final_step(estimator))
    varying = BATCHED_PARAMETERS.get(kind, BATCHED_PARAMETERS[TorchLogisticClassifier])
    names = {f"{prefix}{name}": name for name in varying}
    by_shared: dict[Any, tuple[dict[str, Any], dict[int, dict[str, Any]]]] = {}
    for index, parameters in enumerate(candidates):
        own = {names[name]: value for name, value in parameters.items() if name in names}
        shared = {name: value for name, value in parameters.items() if name not in names}
        key = frozenset((name, identity_key(value)) for name, value in shared.items())
        by_shared.setdefault(key, (shared, {}))[1][index] = own
    groups = []
    for shared, values in by_shared.values():
        try:
            groups.append(_group(estimator, shared, values, varying, on_error))
        except Exception as error:
            on_error(values, error)
    return [group for group in groups if group.candidates]


def final_step(estimator: Any) -> Any:
    """Return the last step of a pipeline, or the estimator itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def identity_key(value: Any) -> tuple[Any, Any]:
    """Return a key that is equal for equal numbers or strings of one type, and for one object."""
    if value is None or isinstance(value, (str, bytes, Number)):
        return type(value), value
    return object, id(value)


def _group(
    estimator: Any,
    shared: dict[str, Any],
    values: dict[int, dict[str, Any]],
    varying: tuple[str, ...],
    on_error: OnError,
) -> CandidateGroup:
    template = clone(estimator).set_params(**clone(shared, safe=False))
    final, network = final_step(template), None
    if BATCHED_PARAMETERS.get(type(final)) != varying:
        raise NotBatchedError(f"{final!r} takes the place of {final_step(estimator)!r}.")
    _require_batchable(template)
    if type(final) is NeuralLogisticClassifier:
        is_reproducible = isinstance(final.random_state, Integral | None)
        if not (final.freeze_backbone and is_reproducible):
            raise NotBatchedError("The folds do not share a backbone.")
        network = final
        final = head_classifier(network, network.solver or "auto")
        if isinstance(template, Pipeline):
            template.steps[-1] = (template.steps[-1][0], final)
        else:
            template = final
    candidates = []
    for index, own in values.items():
        model = _with_parameters(final, own)
        try:
            model._validate_params()
        except ValueError as error:
            on_error([index], error)
        else:
            candidates.append(Candidate(index, model))
    if "threshold" in varying and type(final) is not MultiLabel:
        final.threshold = 0.5  # rows are validated without what candidates have of their own
    return CandidateGroup(template, tuple(candidates), network)


def _with_parameters(classifier: Any, parameters: dict[str, Any]) -> Any:
    """Copy a classifier, and set parameters of the copy."""
    model = copy(classifier)
    if type(model) is MultiLabel:
        model.estimator = copy(model.estimator)
        return model.set_params(**parameters)
    for name, value in parameters.items():  # as set_params does after it has inspected signatures
        setattr(model, name, value)
    return model


def _require_batchable(estimator: Any) -> None:
    """Raise an error for soft labels, mini-batches, callbacks and verbose output.

    `MultiLabel` smooths labels itself, for other classifiers smoothed labels are soft.
    """
    final = final_step(estimator)
    of_one_model, parts = final, [estimator, final]
    if type(final) is MultiLabel:
        of_one_model = final.estimator
        parts.append(of_one_model)
        if type(of_one_model) not in (TorchLogisticClassifier, type(None)):
            raise NotBatchedError(f"estimator={of_one_model!r} of MultiLabel is not batched.")
    for part, name in (
        *((of_one_model, name) for name in ("soft_labels", "verbose")),
        (final, "label_smoothing"),
        *((part, "_skl_callbacks") for part in parts),
    ):
        if value := getattr(part, name, None):
            raise NotBatchedError(f"{name.replace('_skl_', '')}={value!r} is not batched.")
    solver = getattr(of_one_model, "solver", None)
    if trains_in_epochs(solver):
        raise NotBatchedError(f"solver={solver!r} trains in mini-batches, which are not batched.")
