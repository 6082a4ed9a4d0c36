"""Fitting labels a part of the rows at a time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.utils.multiclass import _check_partial_fit_first_call
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.checkpoint import named
from skorch_logreg.data import from_arrays
from skorch_logreg.estimators import options, partial, validation_split
from skorch_logreg.estimators.multilabel import per_label
from skorch_logreg.estimators.multilabel.fits import LabelProblem
from skorch_logreg.estimators.multilabel.given import Given, checked_estimator
from skorch_logreg.estimators.neural.classifier import NeuralLogisticClassifier
from skorch_logreg.estimators.persistence import TRAINING
from skorch_logreg.estimators.targets import Targets, encode_known
from skorch_logreg.fitting import Params

__all__ = ["memory", "offered", "partial_fit", "read"]

_COLUMN = ("binary", "multiclass")


def offered(model: Any) -> bool:
    """Whether `MultiLabel` can go on from some of the rows; see `partial.supports_partial_fit`."""
    estimator = checked_estimator(model, NeuralLogisticClassifier)
    own = model.class_weight
    each = own if isinstance(own, (list, tuple)) else [own]
    each = [estimator.class_weight if entry is None else entry for entry in each]
    named = [entry for entry in each if isinstance(entry, str)]
    return partial.supports_partial_fit(
        SimpleNamespace(
            solver=estimator.solver,
            class_weight=named[0] if named else None,
            bounds=getattr(estimator, "bounds", None),
        )
    )


def partial_fit(
    model: Any, X: Any, y: Any, classes: Any, sample_weight: Any, label_mask: Any
) -> None:
    """Go on with every label for one epoch over some rows."""
    estimator = checked_estimator(model)
    chosen = options.resolve(per_label.WithC(estimator, model.C))
    chosen = replace(chosen, solver=validation_split.partial_solver(chosen.solver))
    given = read(model, estimator, X, y, classes, sample_weight, label_mask).counting()
    n_labels = given.labels.n_labels
    work = LabelProblem.of(model, given, estimator, chosen, part=True)
    start = model._previous(work.problem, n_labels)
    before = getattr(model, TRAINING, None) if start is not None else None
    run = _Run.of(work, per_label.strengths(model.C, estimator, chosen, n_labels), start, before)
    groups = list(run.groups(before))
    trained = [group for some in groups for group in run.train(some)]
    n_iter = torch.zeros(n_labels, dtype=torch.int32)
    for labels, state in trained:
        n_iter[labels] = state["n_epochs"]
    found: dict[str, Any] = {
        "n_iter_": n_iter,
        "optimality_": torch.full((n_labels,), torch.nan, dtype=torch.float64),
        "converged_": torch.zeros(n_labels, dtype=torch.bool),
    }
    found = {name: given.namespace.from_tensor(value) for name, value in found.items()}
    found["n_passes_"] = getattr(model, "n_passes_", 0) + len(groups)
    model._keep(found | run.attributes(), given.labels)
    setattr(model, TRAINING, memory(run.total, chosen.solver, trained))


def memory(
    total: Tensor, solver: Any, trained: list[tuple[np.ndarray, dict[str, Any]]]
) -> dict[str, Any]:
    """Value of the attribute that holds what `partial_fit` goes on from.

    Parameters
    ----------
    total : Tensor of shape (n_labels,)
        Weight of all cells so far.
    solver : object
    trained : list of (ndarray of int, dict)
        Labels that were trained together, and the state of their optimiser.
    """
    groups = [{"labels": labels.tolist(), "state": state} for labels, state in trained]
    return {"weight": total.tolist(), "solver": named(solver), "groups": groups}


def read(
    model: Any,
    estimator: Any,
    X: Any,
    y: Any,
    classes: Any,
    sample_weight: Any,
    label_mask: Any,
) -> Given:
    """Validate a part of the rows; its labels are those of the parts before.

    Raises
    ------
    ValueError
        If they are not, or classes of a column are missing.
    """
    kind = getattr(model, "target_kind_", None)
    n_before = getattr(model, "n_labels_", None)

    def column(y: Any) -> Targets:
        if kind is not None and kind not in _COLUMN:
            raise ValueError(
                f"y is one column of classes, but it was an indicator of {n_before} labels before."
            )
        _check_partial_fit_first_call(model, classes)
        if len(model.classes_) < 2:
            raise ValueError(f"classes must be at least 2, got {classes!r}.")
        return encode_known(y, model.classes_)

    given = Given.of(
        model, estimator, X, y, sample_weight, label_mask,
        column=column, anew=kind is None,
        allow_nd=getattr(estimator, "module", None) is not None,
    )  # fmt: skip
    labels = given.labels
    if labels.kind not in _COLUMN:
        if kind in _COLUMN:
            raise ValueError("y is an indicator, but it was one column of classes before.")
        if n_before not in (None, labels.n_labels):
            raise ValueError(f"y has {labels.n_labels} labels, but it had {n_before} before.")
        _check_numbers(classes, labels.n_labels)
    if kind is None:
        return given
    names = getattr(model, "label_names_", None)
    if labels.names is not None and names is not None and any(names != labels.names):
        raise ValueError(f"y has columns {labels.names!r}, but they were {names!r} before.")
    labels = replace(
        labels, kind=kind, dtype=model.target_dtype_, classes=model.classes_, names=names
    )
    return replace(given, labels=labels)


def _check_numbers(classes: Any, n_labels: int) -> None:
    """Refuse classes that are not those of an indicator."""
    if classes is None:
        return
    each = [np.asarray(entry).tolist() for entry in classes]
    of_outputs = len(each) == n_labels and all(entry in ([0], [1], [0, 1]) for entry in each)
    if each != list(range(n_labels)) and not of_outputs:
        raise ValueError(
            f"classes={classes!r} are not those of an indicator of {n_labels} labels: leave them "
            f"out, or give numpy.arange({n_labels})."
        )


_Trained = tuple[np.ndarray, dict[str, Any]]


@dataclass(frozen=True)
class _Run:
    """All labels on their way.

    Parameters
    ----------
    work : LabelProblem
        Of a part of the rows.
    C : Tensor of shape (n_labels,)
    coef, intercept : Tensor of shape (n_labels, 1, n_features) and (n_labels, 1)
        Written into.
    total : Tensor of shape (n_labels,)
        Weight of all cells so far; written into.
    """

    work: LabelProblem
    C: Tensor
    coef: Tensor
    intercept: Tensor
    total: Tensor

    @classmethod
    def of(
        cls, work: LabelProblem, C: Tensor, start: Params | None, before: dict[str, Any] | None
    ) -> "_Run":
        """Begin where the parts before have ended."""
        if start is None:
            zeros = work.problem.zeros()
            start = Params(zeros.coef.repeat(len(C), 1, 1), zeros.intercept.repeat(len(C), 1))
        total = torch.zeros_like(C)
        if before is not None:
            total += torch.tensor(before["weight"], dtype=torch.float64)
        return cls(work, C, start.coef, start.intercept, total)

    def groups(
        self, before: dict[str, Any] | None
    ) -> Iterator[tuple[np.ndarray, dict[str, Any] | None]]:
        """Labels that go together: those that did, and those that no optimiser has seen."""
        new = np.ones(len(self.C), dtype=bool)
        if before is not None and before["solver"] == named(self.work.problem.options.solver):
            for group in before["groups"]:
                labels = np.array(group["labels"])
                new[labels] = False
                yield labels, group["state"]
        for labels in self.work.company.batches(np.flatnonzero(new)):
            yield labels, None

    def train(self, group: tuple[np.ndarray, dict[str, Any] | None]) -> Iterator[_Trained]:
        """Train a group; labels of which the part has no cell stay as they are."""
        labels, state = group
        targets, weight = self.work.company.cells(labels)
        own = torch.full((len(labels),), float(len(targets)), dtype=torch.float64)
        if weight is not None:
            own = weight.sum(dim=0).expand(len(labels)).cpu()
        counts = own > 0
        if weight is not None and not bool(counts.all()):
            if state is not None:
                yield labels[~counts.numpy()], _of_some(state, ~counts)
                state = _of_some(state, counts)
            labels, own = labels[counts.numpy()], own[counts]
            targets = targets[:, counts.to(targets.device)]
            weight = weight[:, counts.to(weight.device)]
        if len(labels):
            yield labels, self._train(labels, state, targets, weight, own)

    def _train(
        self,
        labels: np.ndarray,
        state: dict[str, Any] | None,
        targets: Tensor,
        weight: Tensor | None,
        own: Tensor,
    ) -> dict[str, Any]:
        problem, device = self.work.problem, self.work.company.device
        self.total[labels] += own
        start = Params(self.coef[labels], self.intercept[labels])
        params, trained = fitting.train(
            from_arrays(self.work.design, targets, weight),
            problem.loss,
            problem.penalty(self.work.factor, device),
            C=self.C[labels].to(device),
            fit_intercept=problem.has_free_intercept,
            solver=problem.options.solver,
            start=problem.to_device(device, start),
            seed=self.work.seed,
            state=state,
            epochs=1 if state is None else state["n_epochs"] + 1,
            total_weight=self.total[labels].to(device),
        )
        self.coef[labels] = params.coef.cpu()
        self.intercept[labels] = params.intercept.cpu()
        return trained.state

    def attributes(self) -> dict[str, Any]:
        """`coef_` and `intercept_`."""
        params = Params(self.coef[None, :, 0], self.intercept[None, :, 0])
        return self.work.problem.fitted(params)


def _of_some(state: dict[str, Any], which: Tensor) -> dict[str, Any]:
    """State of the optimiser of some of its labels (m,)."""

    def part(value: Any) -> Any:
        by_label = isinstance(value, Tensor) and value.ndim and len(value) == len(which)
        return value[which.to(value.device)] if by_label else value

    moments = {
        number: {name: part(value) for name, value in of_parameter.items()}
        for number, of_parameter in state["optimizer"]["state"].items()
    }
    return state | {"optimizer": state["optimizer"] | {"state": moments}}
