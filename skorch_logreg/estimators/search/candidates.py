"""Which candidates of a search one solve can take together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Number, Real
from types import SimpleNamespace
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import validate_parameter_constraints

from skorch_logreg.checkpoint import require_no_checkpoint
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.neural.fits import frozen_features
from skorch_logreg.estimators.options import resolve
from skorch_logreg.solvers import MiniBatch

__all__ = [
    "Candidate",
    "CandidateGroup",
    "final_step",
    "group_candidates",
    "can_batch",
    "refuse_checkpoints",
    "identity_key",
]

# parameters in which the models of a batch may differ; what they share is a group's
_BATCHED_PARAMETERS = {
    TorchLogisticClassifier: ("C", "l1_ratio", "class_weight", "penalty_factor", "threshold"),
    MultiLabel: (
        "C",
        "class_weight",
        "threshold",
        "estimator__C",
        "estimator__l1_ratio",
        "estimator__class_weight",
        "estimator__penalty_factor",
    ),
    NeuralLogisticClassifier: ("C", "l1_ratio", "class_weight", "threshold"),
}


@dataclass(frozen=True)
class Candidate:
    """A setting of the parameters in which the models of a batch may differ.

    Parameters
    ----------
    place : int
        Among all candidates.
    values : dict
        For a `TorchLogisticClassifier` all of them, for `MultiLabel` those that the search sets.
    options : Options or None
        What they ask for; None for `MultiLabel`.
    """

    index: int
    values: dict[str, Any]
    options: Any = None


@dataclass(frozen=True)
class CandidateGroup:
    """Candidates that share everything else: the other parameters and the transformers.

    Parameters
    ----------
    estimator : TorchLogisticClassifier, MultiLabel or Pipeline
        Not fitted, with the shared parameters; the group's own.
    candidates : tuple of Candidate
    network : NeuralLogisticClassifier or None
        Whose place the classifier takes: it is fitted to what the frozen backbone makes of rows.
    """

    estimator: Any
    candidates: tuple[Candidate, ...]
    network: Any = None

    @property
    def final(self) -> Any:
        """The classifier."""
        return final_step(self.estimator)

    @property
    def has_no_transformers(self) -> bool:
        """Whether nothing is to be fitted before it."""
        return self.estimator is self.final

    def classifier_inputs(self, X: Any, y: Any, *others: Any) -> Any:
        """Give what the classifier sees of the rows that come to the last step, and of others."""
        if self.network is None:
            return X, *others
        return frozen_features(self.network, X, y, *others)


def can_batch(estimator: Any) -> bool:
    """Whether a search over ``estimator`` may have candidates for a batch.

    Subclasses may fit or predict otherwise, so they are never batched.
    """
    return type(estimator) in _BATCHED_PARAMETERS or type(estimator) is Pipeline


def group_candidates(
    estimator: Any, candidates: Sequence[Mapping[str, Any]]
) -> list[CandidateGroup]:
    """Sort the candidates that a batch can take into groups.

    A candidate is left out, for an ordinary fit, if anything about it is unusual: a value that
    is not allowed (the fit says so in its own words), another last step, soft labels, mini-batches,
    callbacks or verbose output of a single fit, which a batch has not.

    Parameters
    ----------
    estimator : estimator for which `can_batch`
    candidates : sequence of dict
    """
    prefix = f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""
    kind = type(final_step(estimator))
    varying = _BATCHED_PARAMETERS.get(kind, _BATCHED_PARAMETERS[TorchLogisticClassifier])
    names = {f"{prefix}{name}": name for name in varying}
    by_shared: dict[Any, list[tuple[int, Mapping[str, Any]]]] = {}
    for candidate_index, parameters in enumerate(candidates):
        shared = [
            (name, identity_key(value)) for name, value in parameters.items() if name not in names
        ]
        by_shared.setdefault(frozenset(shared), []).append((candidate_index, parameters))
    groups = (_group(estimator, members, names) for members in by_shared.values())
    return [group for group in groups if group is not None]


def refuse_checkpoints(estimator: Any, candidates: Sequence[Mapping[str, Any]]) -> None:
    """Refuse solvers that are for one fit: a search has many, which would share the file.

    Raises
    ------
    ParameterError
    """
    for parameters in (estimator.get_params(), *candidates):
        for value in parameters.values():
            require_no_checkpoint(value)


def final_step(estimator: Any) -> Any:
    """Last step of a pipeline; anything else is its own."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def identity_key(value: Any) -> tuple[Any, Any]:
    """Stand for a value: equal for equal numbers and strings of one type, and for one object."""
    if value is None or isinstance(value, (str, bytes, Number)):
        return type(value), value
    return object, id(value)


def _group(
    estimator: Any, members: list[tuple[int, Mapping[str, Any]]], names: Mapping[str, str]
) -> CandidateGroup | None:
    shared = {name: value for name, value in members[0][1].items() if name not in names}
    try:
        template = _copy_with(estimator, shared)
        final = final_step(template)
        cannot_batch = (
            _has_callbacks_or_verbose(template)
            or _has_soft_labels(final)
            or _uses_minibatches(final)
        )
        if _BATCHED_PARAMETERS.get(type(final)) != tuple(names.values()) or cannot_batch:
            return None
        network = None
        if type(final) is NeuralLogisticClassifier:
            network, final = final, _head_classifier(final)
            template = _replace_final_step(template, final)
        settings = [
            (candidate_index, {names[name]: v for name, v in parameters.items() if name in names})
            for candidate_index, parameters in members
        ]
        if type(final) is MultiLabel:
            found = [Candidate(candidate_index, values) for candidate_index, values in settings]
        else:
            found = _valid_candidates(final, settings)
            if not found:
                return None
            final.__dict__.update(found[0].values)
            parameters = {name: getattr(final, name) for name in final._parameter_constraints}
            validate_parameter_constraints(
                final._parameter_constraints, parameters, caller_name=type(final).__name__
            )
    except Exception:  # whatever it is, an ordinary fit meets it again and has the words for it
        return None
    return CandidateGroup(template, tuple(found), network)


def _copy_with(estimator: Any, shared: dict[str, Any]) -> Any:
    """Return an estimator of one's own; nothing is cloned where nothing will be fitted."""
    if not shared and type(estimator) is TorchLogisticClassifier:
        parameters = {name: value for name, value in vars(estimator).items() if name[-1] != "_"}
        template = TorchLogisticClassifier.__new__(TorchLogisticClassifier)
        template.__dict__.update(parameters)
        return template
    template = clone(estimator)
    return template.set_params(**clone(shared, safe=False)) if shared else template


def _head_classifier(network: Any) -> TorchLogisticClassifier:
    """Make the classifier that finds a frozen network's head.

    Raises
    ------
    ValueError
        If the network is trained as well, or its backbone is another one in every fit.
    """
    fixed = network.random_state is None or isinstance(network.random_state, Integral)
    if not (network.freeze_backbone and fixed):
        raise ValueError("The folds do not share a backbone.")
    shared = ("C", "l1_ratio", "class_weight", "tol", "max_iter", "threshold", "device")
    solver = "auto" if network.solver is None else network.solver
    return TorchLogisticClassifier(solver=solver, **{n: getattr(network, n) for n in shared})


def _replace_final_step(estimator: Any, final: Any) -> Any:
    """Put a classifier into the place of the last step."""
    if not isinstance(estimator, Pipeline):
        return final
    name, _ = estimator.steps[-1]
    return Pipeline([*estimator.steps[:-1], (name, final)], memory=estimator.memory)


def _valid_candidates(
    final: Any, settings: Sequence[tuple[int, dict[str, Any]]]
) -> list[Candidate]:
    """Keep what the estimator's constraints, and scikit-learn's table of penalties, allow."""
    defaults = {name: getattr(final, name) for name in _BATCHED_PARAMETERS[TorchLogisticClassifier]}
    shared = {name: getattr(final, name) for name in ("penalty", "dual", "solver", "n_jobs")}
    found = []
    for candidate_index, own in settings:
        values = defaults | own
        if not _is_valid(**values):
            continue
        resolved = SimpleNamespace(C=values["C"], l1_ratio=values["l1_ratio"], **shared)
        try:
            found.append(Candidate(candidate_index, values, resolve(resolved)))
        except ValueError:
            continue
    return found


def _is_valid(
    C: Any, l1_ratio: Any, class_weight: Any, penalty_factor: Any, threshold: Any
) -> bool:
    """Whether the estimator's constraints are met; what depends on the data is seen later."""
    return (
        all(isinstance(number, Real) for number in (C, l1_ratio, threshold))
        and C > 0
        and 0 <= l1_ratio <= 1
        and 0 <= threshold <= 1
        and (
            class_weight is None
            or isinstance(class_weight, dict)
            or (isinstance(class_weight, str) and class_weight == "balanced")
        )
    )


def _has_soft_labels(final: Any) -> bool:
    """Whether y holds probabilities, or is made to: scorers want classes, and so do batches.

    Smoothed labels of `MultiLabel` are its own business.
    """
    if type(final) is MultiLabel:
        return bool(getattr(final.estimator, "soft_labels", False))
    return bool(getattr(final, "soft_labels", False) or getattr(final, "label_smoothing", False))


def _uses_minibatches(final: Any) -> bool:
    """Whether it goes through the rows in mini-batches, in an order of its own."""
    of_one = final.estimator if type(final) is MultiLabel else final
    return isinstance(getattr(of_one, "solver", None), MiniBatch)


def _has_callbacks_or_verbose(estimator: Any) -> bool:
    final = final_step(estimator)
    parts = [estimator, final]
    if type(final) is MultiLabel and final.estimator is not None:
        if type(final.estimator) is not TorchLogisticClassifier:
            raise TypeError("Only the labels of a TorchLogisticClassifier go into a batch.")
        parts.append(final.estimator)
    watched = any(getattr(part, "_skl_callbacks", None) for part in parts)
    return watched or bool(getattr(parts[-1], "verbose", False))
