"""Solve many candidates on the same rows, all folds together."""

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import fitting
from skorch_logreg.estimators import certificate, persistence
from skorch_logreg.estimators.cached_logits import CachedLogitsClassifier
from skorch_logreg.estimators.multilabel.classifier import MultiLabel
from skorch_logreg.estimators.multilabel.validation import checked_estimator, validate_labels
from skorch_logreg.estimators.prediction import _affine
from skorch_logreg.estimators.search.candidates import Candidate, identity_key
from skorch_logreg.estimators.search.results import FitOutcome
from skorch_logreg.fitting.batch import Models, classes_shown
from skorch_logreg.inputs import weights
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.scoring import FoldRows


@dataclass(frozen=True)
class FoldData:
    """Validated rows, and their weight in every fold (n_samples, n_folds).

    ``fold_weight`` is the number of times that a row is in the fold's training rows, times its
    sample weight.
    """

    inputs: FitInput
    fold_weight: Tensor
    feature_attributes: dict[str, Any]

    @classmethod
    def of(
        cls,
        final: Any,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        counts: Tensor | None = None,
        **fit_params: Any,
    ) -> Self:
        """Validate as `fit` of ``final`` does, which sets its ``n_features_in_``.

        ``counts`` (n_samples, n_folds) are the numbers of times that every row is in every fold;
        None: one fold of all rows. A ValueError is raised if batches do not support the data.
        """
        if ArrayNamespace.of(X).xp is not None:
            raise ValueError("Arrays of other libraries are not batched.")
        if type(final) is MultiLabel:
            inputs = validate_labels(
                final, checked_estimator(final), X, y, sample_weight, **fit_params
            )
        else:
            inputs = validate(X, y, sample_weight, model=final, **fit_params)
        fold_weight = counts
        if fold_weight is None:
            fold_weight = torch.ones(inputs.X.shape[0], 1, dtype=torch.float64)
        if inputs.weight is not None:
            fold_weight = fold_weight * inputs.weight[:, None]
        return cls(inputs, fold_weight, persistence.feature_attributes(final))

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return int(self.fold_weight.shape[1])

    def apply_class_weight(self, class_weight: Any) -> Tensor | None:
        """Return the weights (n_samples, n_folds) times class weights from each fold's rows.

        None if the class weights are invalid, or if a fold's training rows lack a class, so that
        the model has fewer classes or no minimiser.
        """
        labels, fold_weight = self.inputs.labels, self.fold_weight
        if class_weight is not None:
            try:
                fold_weight = weights.with_class_weight(class_weight, labels, fold_weight)
            except Exception:  # the individual fits report it
                return None
        shown = classes_shown(labels.index, fold_weight, labels.n_classes)
        return fold_weight if shown.all() else None


@dataclass(frozen=True)
class CandidateBatch:
    """Models that were solved together, ordered by fold, then by setting.

    ``final`` has the parameters that all candidates share, and ``settings`` the candidates that
    share each of a fold's models; they differ in `threshold`.
    """

    final: Any
    settings: tuple[tuple[Candidate, ...], ...]
    folds: tuple[int, ...]
    solution: fitting.FitResult
    problem: Problem
    fold_data: FoldData
    constant: ClassVar = ()

    @property
    def outcomes(self) -> list[FitOutcome]:
        """Outcomes of all fits."""
        indices = [served[0].index for served in self.settings] * len(self.folds)
        ends = zip(indices, self.solution.status, self.solution.optimality.tolist(), strict=True)
        return [FitOutcome(*end, self.final, self.problem.dtype) for end in ends]

    @property
    def params(self) -> fitting.Params:
        """Coefficients and intercepts of all models."""
        return self.problem.without_column(self.solution.params)

    def logits(self, rows: FoldRows, part: str, X_test: Any) -> Tensor:
        """Return the logits (n_rows, n_settings, K) of rows by the models of their folds.

        ``part`` is "test" or "train". ``X_test`` is the classifier's input for the test rows of the
        only fold if it was fitted to the output of transformers, else None.
        """
        if X_test is None:
            logits = rows.take(self.solution.logits)
        elif part == "train":
            logits = self.solution.logits
        else:
            coef, intercept = self.params.coef, self.params.intercept
            logits = _affine(X_test, coef.flatten(0, 1), intercept.flatten())
            logits = logits.unflatten(1, coef.shape[:2])
        return logits.to(self.problem.stored_dtype)

    def model(
        self, place: tuple[int, int], candidate: Candidate, X: Any, logits: Tensor
    ) -> CachedLogitsClassifier:
        """Return a candidate's model with the logits (n_rows, n_settings, K) of rows."""
        fold, setting = place
        number, solution = fold * len(self.settings) + setting, self.solution
        fitted = {
            **self.fold_data.feature_attributes,
            "classes_": self.fold_data.inputs.labels.classes,
            **self.problem.fitted(solution.params, number),
            "n_iter_": solution.n_iter[number : number + 1].to("cpu", torch.int32).numpy(),
            **certificate.attributes(solution, number),
        }
        own = logits[:, setting].contiguous()
        return CachedLogitsClassifier.of(self.final, fitted, X, own, **candidate.values)


def solve_batches(
    final: Any, candidates: Sequence[Candidate], fold_data: FoldData
) -> Iterator[list[CandidateBatch]]:
    """Solve candidates for all folds and yield a batch per penalty, or more if memory requires.

    Candidates that cannot be batched are skipped, as are those of a solve that raises an exception
    of any type; they are then fitted individually. ``final`` has the parameters that all share.
    """
    n_classes = fold_data.inputs.labels.n_classes
    weight_by_key: dict[Any, Tensor | None] = {}
    by_penalty: dict[Any, dict[Any, list[Candidate]]] = {}
    for candidate in candidates:
        values, resolved = candidate.values, candidate.options
        if n_classes > 2 and (values["threshold"] != 0.5 or resolved.is_liblinear):
            continue
        key = identity_key(values["class_weight"])
        if key not in weight_by_key:
            weight_by_key[key] = fold_data.apply_class_weight(values["class_weight"])
        if weight_by_key[key] is not None:
            penalty = resolved.l1_ratio, identity_key(values["penalty_factor"])
            settings = by_penalty.setdefault(penalty, {})
            settings.setdefault((resolved.C, key), []).append(candidate)
    for settings in by_penalty.values():
        weight = {key: weight_by_key[key] for _, key in settings}
        yield from _solve(final, settings, weight, fold_data)


def _solve(
    final: Any, settings: dict[Any, list[Candidate]], weight: dict[Any, Any], fold_data: FoldData
) -> Iterator[list[CandidateBatch]]:
    """Solve candidates of one penalty, by their C and the key of their weights."""
    inputs, n_folds = fold_data.inputs, fold_data.n_folds
    first = next(iter(settings.values()))[0]
    try:
        model = copy(final).set_params(penalty_factor=first.values["penalty_factor"])
        problem = inputs.problem(model, first.options)
        design = problem.design(inputs.X, inputs.device)
    except Exception:  # the individual fits report it
        return

    def columns(numbers: np.ndarray) -> tuple[Tensor, Tensor]:
        matrix, fold = np.divmod(numbers, n_folds)
        parts = [w[:, fold[matrix == k]] for k, w in enumerate(weight.values())]
        return inputs.labels.index, parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    fitter = problem.batch_fitter(design, columns, final, dtype=problem.stored_dtype)
    matrices = np.array([list(weight).index(key) for _, key in settings])
    Cs = torch.tensor([C for C, _ in settings], dtype=torch.float64)
    fold, setting = np.indices((n_folds, len(settings))).reshape(2, -1)
    models = Models(matrices[setting] * n_folds + fold, Cs[setting], group=setting)
    by_setting = [tuple(some) for some in settings.values()]
    for part in fitter.batches(models):
        try:
            solution = fitter.fit(models, part)
        except Exception:  # the individual fits report it
            continue
        served = tuple(by_setting[number] for number in np.unique(setting[part]))
        folds = tuple(np.unique(fold[part]).tolist())
        yield [CandidateBatch(final, served, folds, solution, problem, fold_data)]
