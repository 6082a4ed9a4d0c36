"""Logistic regression that chooses its penalty by cross-validation."""

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.utils import Tags
from sklearn.utils._array_api import move_to
from sklearn.utils._param_validation import HasMethods, Hidden, Interval, StrOptions
from sklearn.utils.metadata_routing import (
    _raise_for_params,
)

from skorch_logreg.data import scratch_folders
from skorch_logreg.estimators import (
    convergence,
    elsewhere,
    liblinear,
    options,
    persistence,
    weights,
)
from skorch_logreg.estimators.arrays import Home
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.folds import FoldProblem
from skorch_logreg.estimators.cv.grid import search
from skorch_logreg.estimators.cv.options import CVOptions, resolve_cv
from skorch_logreg.estimators.cv.routing import RoutesToScorer
from skorch_logreg.estimators.cv.scores import FoldScores
from skorch_logreg.estimators.dask import collected
from skorch_logreg.estimators.isolation import plain_torch
from skorch_logreg.estimators.leaving import Leaving
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.scoring import Rows
from skorch_logreg.estimators.targets import Targets, encode
from skorch_logreg.estimators.validate import validated
from skorch_logreg.exceptions import ParameterError

__all__ = ["TorchLogisticClassifierCV"]


class TorchLogisticClassifierCV(
    persistence.VersionedState, RoutesToScorer, Leaving, ClassifierMixin, BaseEstimator
):
    """Logistic regression whose C, and l1_ratio, are chosen by cross-validation.

    Takes the place of `sklearn.linear_model.LogisticRegressionCV`. The models of all folds and
    all values of C are solved together: they share every pass over X, and the held-out rows are
    scored from the logits of the last one. The chosen candidate is fitted on all rows.

    Parameters
    ----------
    Cs : int or array-like of float, default=10
        Values of C, or how many, from 1e-4 to 1e4 in equal ratios. ``np.inf``: no penalty.
    l1_ratios : array-like of float or None, default="warn"
        Values of the share of L1 in the penalty, from 0 (ridge) to 1 (lasso). None, as which
        the default acts, is (0,) and is deprecated as in scikit-learn 1.8.
    fit_intercept : bool, default=True
        Whether there is an intercept; else it is 0.
    cv : int, splitter or iterable of (train, test), default=None
        Folds: stratified, of this number; None: 5. Rows that a splitter yields twice count
        twice.
    dual : bool, default=False
        As for `TorchLogisticClassifier`: no effect.
    penalty : {"l1", "l2", "elasticnet"}, default="deprecated"
        Names are deprecated as in scikit-learn 1.8: use `l1_ratios` and `Cs`. An object such as
        `skorch_logreg.penalties.GroupL2` takes the place of ridge and lasso.
    scoring : str, callable or None, default="warn"
        What is maximised, as `sklearn.metrics.get_scorer` takes it. None, as which the default
        acts, is accuracy. Scorers that take ``labels`` are told all classes.
    solver : str or solver, default="auto"
        As for `TorchLogisticClassifier`.
    tol : float, default=1e-4
        What the optimality of every model has to reach.
    max_iter : int, default=100
        Most iterations of a model.
    class_weight : dict, "balanced" or None, default=None
        Weight of every class; "balanced" is computed from all rows, not per fold.
    n_jobs : int or None, default=None
        No effect: models are solved together, not side by side.
    verbose : int, default=0
        Above 0, print a line an iteration of every batch.
    refit : bool, default=True
        Whether the chosen candidate is fitted on all rows; else coefficients, C and l1_ratio are
        means over the folds, of the best candidate of each.
    intercept_scaling : float, default=1.0
        As for `TorchLogisticClassifier`.
    random_state : int, RandomState or None, default=None
        Accepted for compatibility; the solvers are deterministic.
    use_legacy_attributes : bool, default="warn"
        Layout of the fitted attributes, see there. The default acts as True and is deprecated
        as in scikit-learn 1.8.
    threshold : float, default=0.5
        As for `TorchLogisticClassifier`; scorers that ask for labels use it too.
    device : str, torch.device or None, default=None
        Where a dense X is fitted; None: where it is.
    penalty_factor : array-like of shape (n_features,) or None, default=None
        Strength of the penalty of every feature; 0: not penalised, inf: left out. None: 1 for
        all.
    bounds : (low, high), scipy.optimize.Bounds or None, default=None
        Of the coefficients, as for `TorchLogisticClassifier`.
    selection : {"best", "1se"}, default="best"
        "best" chooses the candidate of the largest mean score. "1se" chooses, with its l1_ratio,
        the smallest C whose mean score is within one standard error of that: a simpler model
        that is as good as can be told. Needs `refit`.
    memory_budget : int or None, default=None
        Bytes that what is as long as the data may take; None: 1 GiB. Models are solved in
        batches that fit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels, of y's dtype.
    coef_ : array of shape (1, n_features) or (n_classes, n_features)
        Coefficients, one row for two classes: float32 for data of float32 or bfloat16, float64
        for all others. NumPy arrays; under array API dispatch of X's library, on its device.
    intercept_ : array of shape (1,) or (n_classes,)
        Intercepts.
    Cs_ : ndarray of shape (n_cs,)
        Values of C.
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
        Values of l1_ratio; ``[None]`` if none were given.
    C_ : float, or ndarray of shape (n_classes,) or (1,)
        Chosen; an array in the legacy layout, with one and the same value.
    l1_ratio_ : float, or ndarray of shape (n_classes,) or (1,)
        Chosen.
    scores_ : ndarray of shape (n_folds, n_l1_ratios, n_cs), or dict
        Scores of the held-out rows. Legacy: by class label the same (n_folds, n_cs,
        n_l1_ratios), without the last axis if no l1_ratios were given.
    coefs_paths_ : ndarray of shape (n_folds, n_l1_ratios, n_cs, n_classes or 1, n_dof), or dict
        Coefficients of all models, the intercept last where there is one. Legacy: by class
        label (n_folds, n_cs, n_l1_ratios, n_dof), likewise.
    n_iter_ : ndarray of shape (n_folds, n_l1_ratios, n_cs), int32
        Iterations of all models. Legacy: (1, n_folds, n_cs, n_l1_ratios), likewise.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.
    optimality_ : float
        Of the model on all rows, as for `TorchLogisticClassifier`; without `refit` the largest
        of the averaged models.
    duality_gap_ : float
        Of the model on all rows; nan where there is none.
    converged_ : bool
        Whether ``optimality_ <= tol`` was reached.
    n_passes_ : int
        How often all of X was read, for all models together.
    module_ : torch.nn.Linear
        The model as a module over the memory of `coef_` and `intercept_`.

    See Also
    --------
    TorchLogisticClassifier : With a given C.
    sklearn.linear_model.LogisticRegressionCV : Whose place it takes.

    Notes
    -----
    X is validated once and not copied; it keeps its type, with sums in float64. Scorers that
    are means over rows ("neg_log_loss", "accuracy", "neg_brier_score", "balanced_accuracy") and
    "roc_auc" are computed for all models at once; others get a fitted classifier and the
    held-out rows of X.

    Where the training rows of a fold lack a class, its intercept has no finite minimiser.
    scikit-learn returns where its solver stopped; here the fold is solved for the classes that
    it has, and the absent class gets a probability of zero to machine precision: its rows cost
    36 each in "neg_log_loss", for every C alike.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skorch_logreg import TorchLogisticClassifierCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TorchLogisticClassifierCV(
    ...     l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False
    ... ).fit(X, y)
    >>> model.predict(X[:2])
    array([0, 0])
    >>> model.scores_.shape
    (5, 1, 10)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **{
            name: constraint
            for name, constraint in TorchLogisticClassifier._parameter_constraints.items()
            if name
            not in ("C", "l1_ratio", "penalty", "warm_start", "soft_labels", "label_smoothing")
        },
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like", None, Hidden(StrOptions({"warn"}))],
        "cv": ["cv_object"],
        "penalty": [
            StrOptions({"l1", "l2", "elasticnet"}),
            Hidden(StrOptions({"deprecated"})),
            HasMethods("of_features"),
        ],
        "scoring": [
            StrOptions(set(get_scorer_names())),
            callable,
            None,
            Hidden(StrOptions({"warn"})),
        ],
        "solver": [StrOptions(set(options.SOLVERS)), HasMethods("step"), HasMethods("optimizer")],
        "refit": ["boolean"],
        "use_legacy_attributes": ["boolean", Hidden(StrOptions({"warn"}))],
        "selection": [StrOptions({"best", "1se"})],
        "memory_budget": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        Cs: Any = 10,
        l1_ratios: Any = "warn",
        fit_intercept: bool = True,
        cv: Any = None,
        dual: bool = False,
        penalty: Any = "deprecated",
        scoring: Any = "warn",
        solver: Any = "auto",
        tol: float = 1e-4,
        max_iter: int = 100,
        class_weight: dict[Any, float] | str | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        refit: bool = True,
        intercept_scaling: float = 1.0,
        random_state: Any = None,
        use_legacy_attributes: bool | str = "warn",
        threshold: float = 0.5,
        device: str | torch.device | None = None,
        penalty_factor: Any = None,
        bounds: Any = None,
        selection: str = "best",
        memory_budget: int | None = None,
    ) -> None:
        self.Cs = Cs
        self.l1_ratios = l1_ratios
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.dual = dual
        self.penalty = penalty
        self.scoring = scoring
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.refit = refit
        self.intercept_scaling = intercept_scaling
        self.random_state = random_state
        self.use_legacy_attributes = use_legacy_attributes
        self.threshold = threshold
        self.device = device
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.selection = selection
        self.memory_budget = memory_budget

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Self:
        """Choose the penalty and fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows. Not copied, never written; an array or tensor keeps its type. Or chunks or a Dask
            collection, as `TorchLogisticClassifier.fit` takes them.
        y : array-like of shape (n_samples,)
            Labels of two classes or more.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row, in training. Scores use it too, unless metadata
            routing is on and the scorer does not request it.
        **params
            Metadata for the splitter (``groups``) and the scorer, if metadata routing is on.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters, X, y or weights are not allowed; scikit-learn's words where it has
            some.
        ParameterError
            If a parameter does not go with the data, or a fold has no training row.

        Warns
        -----
        ConvergenceWarning
            If a model did not reach ``tol``: how many, and how far the worst is.

        Notes
        -----
        A fit that raises or is interrupted leaves the fitted attributes as they were.
        """
        _raise_for_params(params, self, "fit")
        with persistence.all_or_nothing(self), plain_torch(), scratch_folders():
            self._fit(X, y, sample_weight, params)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, params: dict[str, Any]) -> None:
        chosen = resolve_cv(self)
        if self.selection == "1se" and not self.refit:
            raise ParameterError("selection='1se' needs refit=True: each fold has its own best.")
        device = options.resolve_device(self.device)
        home = Home.of(X)
        sample_weight = home.adopt(sample_weight)
        if elsewhere.is_elsewhere(X):
            y = elsewhere.check_labels(y)
            X = elsewhere.adopt(self, X, len(y), chosen.options(chosen.shares[0]), device)
            sample_weight = collected(sample_weight)
        else:
            X, y = validated(self, X, y)
        options.check_device_takes(device, X)
        targets = encode(y)
        self._check_classes(targets, chosen)
        sample_weight = weights.check_sample_weight(sample_weight, X, home)
        factor = weights.check_penalty_factor(self.penalty_factor, int(X.shape[1]))
        routed = self._routed(sample_weight, params)
        classes = targets.classes
        if home.xp is not None:
            y, classes = move_to(y, classes, xp=np, device="cpu")
        train, test = self._split(X, y, routed["splitter"]["split"])
        weight = weights.with_class_weight(self.class_weight, targets, sample_weight)
        self.classes_ = targets.classes

        problem = Problem.of(self, chosen.options(chosen.shares[0]), home, X, targets.n_classes)
        fold_scores = FoldScores(
            scoring=chosen.scoring,
            template=TorchLogisticClassifier(solver=self.solver, threshold=self.threshold),
            X=X,
            y=y,
            index=targets.index,
            classes=classes,
            Cs=chosen.Cs,
            parts=test,
            sample_weight=sample_weight,
            params=routed["scorer"]["score"],
            home=home,
        )
        folds = FoldProblem(
            problem=problem,
            design=problem.design(X, device),
            index=targets.index,
            weight=weight,
            train=Rows.of(train, len(y)),
            factor=factor,
            tol=self.tol,
            max_iter=self.max_iter,
            memory_budget=self.memory_budget,
            verbose=self.verbose > 0,
        )
        kept = search(folds, chosen, classes, fold_scores, self.refit, self.selection)
        fitted = problem.fitted(kept.params)
        fitted |= kept.found.attributes(chosen.use_legacy_attributes, self.refit)
        for name, value in fitted.items():
            setattr(self, name, value)
        self.optimality_ = kept.optimality
        self.duality_gap_ = kept.duality_gap
        self.converged_ = kept.converged
        self.n_passes_ = kept.n_passes
        text = convergence.message_of_several(
            kept.ends,
            what="models",
            max_iter=self.max_iter,
            tol=self.tol,
            dtype=str(problem.dtype).removeprefix("torch."),
        )
        if text is not None:
            warnings.warn(text, ConvergenceWarning, stacklevel=4)

    def _check_classes(self, targets: Targets, chosen: CVOptions) -> None:
        """Refuse classes that the solver, the threshold or the class weights do not go with."""
        if targets.n_classes < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes"
                " in the data, but the data contains only one"
                f" class: {targets.classes[0]}."
            )
        if chosen.is_liblinear and targets.n_classes > 2:
            raise ValueError(liblinear.MULTICLASS)
        options.check_threshold_classes(self.threshold, targets.n_classes)
        keys = self.class_weight.keys() if isinstance(self.class_weight, dict) else set()
        if not keys <= set(targets.classes.tolist()):
            raise ValueError(
                "The given class_weight dict must have the class labels as keys; "
                f"classes={targets.classes} but key={keys}"
            )

    def _split(self, X: Any, y: Any, params: dict[str, Any]) -> tuple[list[Any], list[Any]]:
        """Training and held-out rows of every fold."""
        cv = _default_folds(y) if self.cv is None else self.cv
        # y holds classes, so that check_cv, which looks once more, would say the same
        cv = StratifiedKFold(cv) if isinstance(cv, Integral) else check_cv(cv)
        splits = list(cv.split(elsewhere.for_splitter(X), y, **params))
        if not splits:
            raise ParameterError(f"cv={self.cv!r} yields no folds.")
        return [train for train, _ in splits], [test for _, test in splits]

    def __sklearn_tags__(self) -> Tags:
        """Say what it takes: sparse data; liblinear two classes only."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        named = isinstance(self.solver, str)
        tags.classifier_tags.multi_class = not (named and self.solver == "liblinear")
        return tags


def _default_folds(y: np.ndarray) -> int:
    """Choose how many folds there are by default: 5, or as many as the largest class has rows."""
    largest = int(np.unique(y, return_counts=True)[1].max())
    if largest >= 5:
        return 5
    n_folds = max(largest, 2)
    warnings.warn(
        f"cv=None means 5 folds, but no class has more than {largest} members; "
        f"there will be {n_folds}.",
        stacklevel=6,
    )
    return n_folds
