"""Logistic regression with cross-validated choice of the penalty."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import StratifiedKFold, check_cv
from sklearn.utils import Bunch
from sklearn.utils._array_api import move_to
from sklearn.utils._param_validation import Hidden, Interval, StrOptions
from sklearn.utils.metadata_routing import (
    UNUSED,
    _raise_for_params,
    _routing_enabled,
    process_routing,
)
from sklearn.utils.validation import _deprecate_positional_args

from skorch_logreg.estimators import certificate, persistence
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.cv.grid import GridSearch, held_out_scorer, split_rows
from skorch_logreg.estimators.cv.options import DEFAULTS, resolve_cv
from skorch_logreg.estimators.export import ExportMixin
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.dask import collect, computed_predictions
from skorch_logreg.inputs.validate import validate

_CONSTRAINTS_OF_ONE = TorchLogisticClassifier._parameter_constraints


class TorchLogisticClassifierCV(
    persistence.VersionedState, ExportMixin, ClassifierMixin, BaseEstimator
):
    """Logistic regression whose C and l1_ratio are chosen by cross-validation.

    This is a drop-in for `sklearn.linear_model.LogisticRegressionCV`. The models of all folds and
    all values of C are solved together: they share every pass over X, and the held-out rows are
    scored from the logits of the last pass. The chosen candidate is fitted on all rows.

    Parameters
    ----------
    Cs : int or array-like of float, default=10
        Values of C; an int is their number, on a logarithmic scale from 1e-4 to 1e4. ``np.inf``:
        no penalty.
    l1_ratios : array-like of float or None
        Values of the share of L1 in the penalty, from 0 (ridge) to 1 (lasso). None, which is
        deprecated as in scikit-learn 1.8, acts as (0,). For its default see the notes.
    fit_intercept : bool, default=True
        Whether to fit an intercept; otherwise it is 0.
    cv : int, splitter or iterable of (train, test), default=None
        Folds; an int is the number of stratified folds, None is 5. Rows that a splitter yields
        twice count twice.
    dual : bool, default=False
        Accepted as in `TorchLogisticClassifier`; no effect.
    penalty : {"l1", "l2", "elasticnet"}, default="deprecated"
        Penalty. Names are deprecated as in scikit-learn 1.8: use `l1_ratios` and `Cs`. An object
        such as `skorch_logreg.penalties.GroupL2` replaces ridge and lasso.
    scoring : str, callable or None
        Score to maximise, an argument of `sklearn.metrics.get_scorer`; None: accuracy. Scorers
        with a parameter ``labels`` get all classes. For its default see the notes.
    solver : str or solver, default="auto"
        Algorithm, as in `TorchLogisticClassifier`.
    tol : float, default=1e-4
        Convergence threshold on the optimality of every model.
    max_iter : int, default=100
        Largest number of iterations of a model.
    class_weight : dict, "balanced" or None, default=None
        Weight of every class; "balanced" is computed from all rows, not per fold.
    n_jobs : int or None, default=None
        No effect: models are solved together, not in parallel jobs.
    verbose : int, default=0
        If positive, print a line an iteration of every batch.
    refit : bool, default=True
        Whether to fit the chosen candidate on all rows; otherwise coefficients, C and l1_ratio
        are means over the best candidates of the folds.
    intercept_scaling : float, default=1.0
        Value of liblinear's constant column, as in `TorchLogisticClassifier`.
    random_state : int, RandomState or None, default=None
        Accepted for compatibility; the solvers are deterministic.
    use_legacy_attributes : bool
        Layout of the fitted attributes, see below. For its default see the notes.
    threshold : float, default=0.5
        Threshold of `predict`, as in `TorchLogisticClassifier`, which scorers of labels also use.
    device : str, torch.device or None, default=None
        Device on which a dense X is fitted; None: X's own.
    penalty_factor : array-like of shape (n_features,), dict or None, default=None
        Multiplier of the penalty of every feature; 0: not penalised, inf: excluded. None: 1 for
        all. A dict has those of features by name, as in `TorchLogisticClassifier`.
    bounds : (low, high), dict, scipy.optimize.Bounds or None, default=None
        Bounds of the coefficients, as in `TorchLogisticClassifier`.
    selection : {"best", "1se"}, default="best"
        "best" chooses the candidate with the largest mean score. "1se" chooses, with the same
        l1_ratio, the smallest C whose mean score is within one standard error of the largest: a
        simpler model whose score is not clearly worse. It requires `refit`.
    memory_budget : int or None, default=None
        Limit in bytes of the arrays whose length is the number of rows; None: 1 GiB. Models are
        solved in batches within this limit.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels, of y's dtype.
    coef_ : array of shape (1, n_features) or (n_classes, n_features)
        Coefficients, one row for two classes: float32 for data of float32 or bfloat16, float64
        for all others. A NumPy array; with array API dispatch an array of X's library on X's
        device.
    intercept_ : array of shape (1,) or (n_classes,)
        Intercepts.
    Cs_ : ndarray of shape (n_cs,)
        Values of C.
    l1_ratios_ : ndarray of shape (n_l1_ratios,)
        Values of l1_ratio; ``[None]`` if none were given.
    C_ : float, or ndarray of shape (n_classes,) or (1,)
        Chosen C. In the legacy layout an array with this value for every class.
    l1_ratio_ : float, or ndarray of shape (n_classes,) or (1,)
        Chosen l1_ratio, in the same layout.
    scores_ : ndarray of shape (n_folds, n_l1_ratios, n_cs), or dict
        Scores of the held-out rows. Legacy: a dict from class labels to equal arrays (n_folds,
        n_cs, n_l1_ratios), without the last axis if no l1_ratios were given.
    coefs_paths_ : ndarray of shape (n_folds, n_l1_ratios, n_cs, n_classes or 1, n_dof), or dict
        Coefficients of all models, followed by the intercept if there is one. Legacy: a dict from
        class labels to arrays (n_folds, n_cs, n_l1_ratios, n_dof), without the axis of l1_ratios
        if none were given.
    n_iter_ : ndarray of shape (n_folds, n_l1_ratios, n_cs), int32
        Number of iterations of all models. Legacy: (1, n_folds, n_cs, n_l1_ratios), without the
        last axis if no l1_ratios were given.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, only if all names of X's columns are strings.
    optimality_ : float
        Distance to the optimum of the model on all rows, as in `TorchLogisticClassifier`; without
        `refit` the largest of the averaged models.
    duality_gap_ : float
        Upper bound of the relative distance to the minimum of the model on all rows; nan where no
        bound is known.
    converged_ : bool
        Whether ``optimality_ <= tol`` was reached.
    n_passes_ : int
        Number of full reads of X for all models together.
    module_ : torch.nn.Linear
        The model as a module over the memory of `coef_` and `intercept_`.

    See Also
    --------
    TorchLogisticClassifier : Logistic regression with a given C.
    sklearn.linear_model.LogisticRegressionCV : The estimator of scikit-learn.

    Notes
    -----
    The defaults of `l1_ratios`, `scoring` and `use_legacy_attributes` are those of the installed
    scikit-learn, so that a change of the import does not change the result. The default "warn" of
    versions 1.8 and 1.9 acts as None, None and True; scikit-learn will change it to (0,) and False
    in 1.10 and "neg_log_loss" in 1.11, without a warning here. Recommended are
    ``scoring="neg_log_loss", use_legacy_attributes=False``.

    X is validated once and not copied; it keeps its type, with sums in float64. Scores that
    are means over rows ("neg_log_loss", "accuracy", "neg_brier_score", "balanced_accuracy") and
    "roc_auc" are computed for all models at once; other scorers get a fitted classifier and the
    held-out rows of X.

    If the training rows of a fold lack a class, the intercept of that class has no finite
    minimiser. scikit-learn returns the iterate at which its solver stopped. This estimator solves
    the fold for its classes and gives the absent class a probability of zero to machine precision:
    each of its rows adds 36 to the log loss, for every C.

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
            for name, constraint in _CONSTRAINTS_OF_ONE.items()
            if name not in ("C", "l1_ratio", "warm_start", "soft_labels", "label_smoothing")
        },
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like", None, Hidden(StrOptions({"warn"}))],
        "cv": ["cv_object"],
        "penalty": [kind for kind in _CONSTRAINTS_OF_ONE["penalty"] if kind is not None],
        "scoring": [
            StrOptions(set(get_scorer_names())),
            callable,
            None,
            Hidden(StrOptions({"warn"})),
        ],
        "refit": ["boolean"],
        "use_legacy_attributes": ["boolean", Hidden(StrOptions({"warn"}))],
        "selection": [StrOptions({"best", "1se"})],
        "memory_budget": [Interval(Real, 0, None, closed="neither"), None],
    }

    def __init__(
        self,
        *,
        Cs: Any = 10,
        l1_ratios: Any = DEFAULTS["l1_ratios"],
        fit_intercept: bool = True,
        cv: Any = None,
        dual: bool = False,
        penalty: Any = "deprecated",
        scoring: Any = DEFAULTS["scoring"],
        solver: Any = "auto",
        tol: float = 1e-4,
        max_iter: int = 100,
        class_weight: dict[Any, float] | str | None = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        refit: bool = True,
        intercept_scaling: float = 1.0,
        random_state: Any = None,
        use_legacy_attributes: bool | str = DEFAULTS["use_legacy_attributes"],
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
            Training rows, neither copied nor modified; an array or tensor keeps its type. Chunks,
            Dask collections and map-style data sets of torch are accepted as in
            `TorchLogisticClassifier.fit`.
        y : array-like of shape (n_samples,)
            Labels of two classes or more.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row in training. Scores use it too, unless metadata
            routing is enabled and the scorer does not request it.
        **params
            Metadata for the splitter (``groups``) and the scorer, if metadata routing is enabled.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters, X, y or weights are not valid; with scikit-learn's message where it has
            one.
        ParameterError
            If a parameter does not suit the data, or a fold has no training row.

        Warns
        -----
        ConvergenceWarning
            If models did not reach ``tol``, with their number and the worst optimality.

        Notes
        -----
        If a fit raises or is interrupted, the fitted attributes stay as they were.
        """
        _raise_for_params(params, self, "fit")
        with persistence.isolated_fit(self):
            self._fit(X, y, sample_weight, params)
        return self

    # requests for `score` belong to the scorer; obsolete with scikit-learn 1.11
    __metadata_request__score: ClassVar[dict[str, Any]] = {"sample_weight": UNUSED}

    @_deprecate_positional_args(version="1.11")
    def score(self, X: Any, y: Any, *, sample_weight: Any = None, **score_params: Any) -> float:
        """Compute the score `scoring` of predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows to score; or chunks of them, or a Dask collection.
        y : array-like of shape (n_samples,)
            True labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights for the scorer.
        **score_params
            Other metadata for the scorer, if metadata routing is enabled.

        Returns
        -------
        score : float
        """
        namespace = ArrayNamespace.of(X)
        y, sample_weight = (collect(namespace.detach(array)) for array in (y, sample_weight))
        score = LogisticRegressionCV.score
        with computed_predictions():
            result: float = score(self, X, y, sample_weight=sample_weight, **score_params)
        return result

    get_metadata_routing = LogisticRegressionCV.get_metadata_routing
    _get_scorer = LogisticRegressionCV._get_scorer

    def _fit(self, X: Any, y: Any, sample_weight: Any, params: dict[str, Any]) -> None:
        chosen = resolve_cv(self)
        if self.selection == "1se" and not self.refit:
            raise ParameterError("selection='1se' needs refit=True: each fold has its own best.")
        inputs = validate(X, y, sample_weight, model=self, chosen=chosen.first)
        y, classes = inputs.y, inputs.labels.classes
        keys = self.class_weight.keys() if isinstance(self.class_weight, dict) else set()
        if not keys <= set(classes.tolist()):
            raise ValueError(
                "The given class_weight dict must have the class labels as keys; "
                f"classes={classes} but key={keys}"
            )
        problem = inputs.problem(self, chosen.first)
        routed = self._routed(inputs.sample_weight, params)
        if inputs.namespace.xp is not None:
            y, classes = move_to(y, classes, xp=np, device="cpu")
        cv = _default_folds(y) if self.cv is None else self.cv
        # y is known to hold classes, which check_cv would check again
        splitter = StratifiedKFold(cv) if isinstance(cv, Integral) else check_cv(cv)
        split_params = routed["splitter"]["split"]
        train, held_out = split_rows(self.cv, splitter, inputs.X, y, **split_params)
        self.classes_ = inputs.labels.classes
        metadata = routed["scorer"]["score"]
        if chosen.scoring is None:  # accuracy, to which the weights of the fit go
            weight = inputs.sample_weight
            metadata = {} if weight is None else {"sample_weight": weight}
        scorer = held_out_scorer(
            self,
            inputs,
            chosen,
            index=inputs.labels.index[:, None],
            classes=classes,
            thresholds=[self.threshold],
            held_out=held_out,
            params=metadata,
        )
        fit, attributes, outcomes = GridSearch(self, inputs, problem, chosen, train, scorer).run()
        fitted = problem.fitted(fit.params) | certificate.attributes(fit) | attributes
        self.__dict__.update(fitted)
        certificate.warn_unless_all_converged(self, outcomes, "models", problem.dtype)

    def _routed(self, sample_weight: Any, params: dict[str, Any]) -> Bunch:
        """Return the metadata of splitter and scorer; without routing, the scorer gets weights."""
        if _routing_enabled():
            return process_routing(self, "fit", sample_weight=sample_weight, **params)
        score = {} if sample_weight is None else {"sample_weight": sample_weight}
        return Bunch(splitter=Bunch(split={}), scorer=Bunch(score=score))


def _default_folds(y: np.ndarray) -> int:
    """Return the default number of folds: 5, or the size of the largest class if it is smaller."""
    largest = int(np.unique(y, return_counts=True)[1].max())
    if largest >= 5:
        return 5
    n_folds = max(largest, 2)
    warn_user(
        f"cv=None means 5 folds, but no class has more than {largest} members; "
        f"there will be {n_folds}."
    )
    return n_folds
