"""Logistic regression as a scikit-learn classifier."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import torch
from scipy.optimize import Bounds
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Hidden, Interval, StrOptions

from skorch_logreg.estimators import fits, persistence
from skorch_logreg.estimators.callbacks import CallbackSupportMixin
from skorch_logreg.estimators.export import ExportMixin
from skorch_logreg.estimators.partial import PartialFitMixin
from skorch_logreg.inputs import options
from skorch_logreg.inputs.options import ValidatedParameters


class TorchLogisticClassifier(
    persistence.VersionedState,
    ValidatedParameters,
    CallbackSupportMixin,
    PartialFitMixin,
    ExportMixin,
    ClassifierMixin,
    BaseEstimator,
):
    """Logistic regression on PyTorch, a drop-in for scikit-learn's `LogisticRegression`.

    It minimises, over coefficients ``w`` and intercept ``b``::

        sum_i s_i loss(y_i, x_i w + b)  +  1/C sum_j f_j [(1 - r)/2 w_j^2 + r |w_j|]

    with ``s`` sample weight times class weight, ``f`` `penalty_factor`, ``r`` `l1_ratio` and
    the binomial loss for two classes, the multinomial loss for more. The intercept is not
    penalised. This is the objective of `sklearn.linear_model.LogisticRegression` divided by C,
    so both have the same minimiser.

    Parameters
    ----------
    penalty : {"l1", "l2", "elasticnet"}, object or None, default="deprecated"
        Penalty. Names are deprecated as in scikit-learn 1.8: use `l1_ratio` and `C`. An object
        replaces ridge and lasso: `skorch_logreg.penalties.GroupL2` selects groups of features,
        and `skorch_logreg.penalties.L2` is a ridge towards known coefficients.
    C : float, default=1.0
        Inverse of the regularization strength, positive; ``np.inf``: no penalty.
    l1_ratio : float, default=0.0
        Share of L1 in the penalty, from 0 (ridge) to 1 (lasso).
    dual : bool, default=False
        Accepted with ``solver="liblinear"`` and L2, where it has no effect: both formulations
        have the same solution.
    tol : float, default=1e-4
        Convergence threshold on `optimality_`. It means the same for every solver, penalty and
        container: the objective is then within about ``tol ** 2`` of its minimum, relatively.
    fit_intercept : bool, default=True
        Whether to fit an intercept; otherwise it is 0.
    intercept_scaling : float, default=1
        Value of the constant column that ``solver="liblinear"`` appends to X. Its penalised weight
        times this value is the intercept. No effect with other solvers.
    class_weight : dict, "balanced" or None, default=None
        Weight of every class; a class that a dict leaves out counts 1. "balanced" gives all
        classes the same total weight, ``sum(s) / (n_classes * sum(s of the class))``.
    random_state : int, RandomState or None, default=None
        Seed of the order of rows and of the held-out rows of mini-batch solvers; None: 0. All
        other solvers are deterministic.
    solver : str or solver, default="auto"
        Algorithm. "auto" chooses one by the size of the data and supports every penalty. "lbfgs",
        "newton-cg" and "newton-cholesky" name solvers of this package. "liblinear", "sag" and
        "saga" run the solver that "auto" chooses; "liblinear" keeps its own objective, whose
        intercept is penalised, and is limited to two classes. The six names support the penalties
        of scikit-learn's table. Solver objects of `skorch_logreg.solvers` are accepted as well;
        `SGD`, `Adam`, `AdamW` and `Optimizer` train in epochs of mini-batches.
    max_iter : int, default=100
        Largest number of iterations, in addition to the epochs of a mini-batch solver.
    verbose : int, default=0
        If positive, `fit` prints a line an iteration or epoch.
    warm_start : bool, default=False
        Start from the previous `coef_` and `intercept_`; no effect with "liblinear".
    n_jobs : None
        Deprecated as in scikit-learn 1.8; no effect.
    threshold : float, default=0.5
        Smallest probability of ``classes_[1]`` at which `predict` returns it; two classes only.
        It may be set after `fit`.
    device : str, torch.device or None, default=None
        Device on which a dense X is fitted, such as "cuda"; None: X's own. Results are on X's
        device.
    penalty_factor : array-like of shape (n_features,), dict or None, default=None
        Multiplier ``f`` of the penalty of every feature; 0: not penalised, inf: excluded, with a
        coefficient of 0 (not with mini-batch solvers). None: 1 for all. A dict has the factors of
        features by name, if X is a data frame; the others have 1. In a pipeline, names are those
        that its step before yields, after ``set_output(transform="pandas")``.
    bounds : (low, high), dict, scipy.optimize.Bounds or None, default=None
        Bounds of the coefficients, the same for all classes: each a number for all features or
        an array-like of shape (n_features,); None or infinite: no bound. ``(0, None)``: no
        coefficient is negative. A coefficient at its bound equals it exactly: bounds are rounded
        inwards to the type of `coef_` first, and the certificate is of the rounded ones. A dict has
        the bounds of features by name; the others have none. Supported by ``solver="auto"`` and
        `ProximalNewton`.
    soft_labels : bool, default=False
        Whether y holds probabilities in [0, 1]: those of the second of two classes, of shape
        (n_samples,), or those of all classes, of shape (n_samples, n_classes), where rows sum to
        1. `classes_` is then ``arange(n_classes)``. A row of weight s and probabilities q counts
        as one row of every class c with weight ``s * q_c``, which `class_weight` multiplies.
    label_smoothing : float, default=0.0
        Share e of every row, in [0, 1), that is spread evenly over the K classes: the row counts
        as one of every class c with weight ``s * ((1 - e) q_c + e / K)``, which `class_weight`
        multiplies.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Sorted labels, of y's dtype.
    coef_ : array of shape (1, n_features) or (n_classes, n_features)
        Coefficients, one row for two classes: float32 for data of float32 or bfloat16, float64
        for all others. A NumPy array; with array API dispatch an array of X's library on X's
        device.
    intercept_ : array of shape (1,) or (n_classes,)
        Intercepts.
    n_iter_ : array of shape (1,), int32
        Number of iterations, epochs included.
    history_ : dict of str to list
        "n_passes" and "optimality" at the start and after every iteration. With mini-batch solvers
        "loss" (the objective per unit of weight, mean of the mini-batches), "learning_rate" and
        "seconds" of every epoch, and "valid_score" where rows are held out.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, only if all names of X's columns are strings.
    optimality_ : float
        Distance to the optimum: the square root of the relative decrease of the objective that
        is still predicted.
    duality_gap_ : float
        Upper bound of the relative distance of the objective to its minimum; nan where no bound
        is known.
    converged_ : bool
        Whether ``optimality_ <= tol`` was reached and a minimiser exists: False if the classes are
        separable, partly or completely, by coefficients that are not penalised.
    n_passes_ : int
        Number of full reads of X.
    module_ : torch.nn.Linear
        The model as a module over the memory of `coef_` and `intercept_`.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : The estimator of scikit-learn.

    Notes
    -----
    X is validated once and not copied; only ``solver="liblinear"`` with an intercept copies it.
    In addition to a dense X, a fit takes ``n (32 + 16 K)`` bytes for n rows of K logits (1 for two
    classes), ``32 s^2`` bytes for a Hessian of side ``s = K (n_features + 1)``, 7 % of X for
    samples of its rows and 12 MB of buffers. If s exceeds 3000, it takes ``n (32 + 24 K)`` bytes
    and, instead of the Hessian, ``4 s (n_features + 1)`` for a block of it for each class, if that
    is at most 1 GB or half the bytes of X in float64, and ``340 s + 54,000 K`` for pairs of steps
    and the rows of the blocks. Where the logits of three or more classes take more than 32 MiB and
    more than an eighth of X, a fit with an L2 penalty does not store them, and takes ``32 n`` bytes
    for rows, whatever K is.

    With three classes or more, adding a constant to a feature's coefficients of all classes does
    not change the probabilities. Where the penalty and the bounds do not determine this constant
    (no penalty; the lasso with an even number of classes), `coef_` is the minimiser of least norm,
    the limit of an elastic net with a vanishing ridge, so that it does not depend on the order of
    rows.

    The one deliberate difference from scikit-learn is a tie at a probability of 0.5: this
    estimator predicts ``classes_[1]``, scikit-learn's predicts ``classes_[0]``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = TorchLogisticClassifier().fit(X, y)
    >>> model.predict(X[:2])
    array([0, 0])
    >>> model.converged_
    True
    >>> model.module_
    Linear(in_features=4, out_features=3, bias=True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "penalty": [
            StrOptions({"l1", "l2", "elasticnet"}),
            None,
            Hidden(StrOptions({"deprecated"})),
            HasMethods("of_features"),
        ],
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "dual": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "random_state": ["random_state"],
        "solver": [StrOptions(set(options.SOLVERS)), HasMethods("step"), HasMethods("optimizer")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "n_jobs": [None, Integral],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "device": [str, torch.device, None],
        "penalty_factor": ["array-like", dict, None],
        "bounds": [tuple, list, dict, Bounds, None],
        "soft_labels": ["boolean"],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        penalty: Any = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: dict[Any, float] | str | None = None,
        random_state: Any = None,
        solver: Any = "auto",
        max_iter: int = 100,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
        threshold: float = 0.5,
        device: str | torch.device | None = None,
        penalty_factor: Any = None,
        bounds: Any = None,
        soft_labels: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self.penalty = penalty
        self.C = C
        self.l1_ratio = l1_ratio
        self.dual = dual
        self.tol = tol
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.class_weight = class_weight
        self.random_state = random_state
        self.solver = solver
        self.max_iter = max_iter
        self.verbose = verbose
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.threshold = threshold
        self.device = device
        self.penalty_factor = penalty_factor
        self.bounds = bounds
        self.soft_labels = soft_labels
        self.label_smoothing = label_smoothing

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} (n_samples, n_features), chunks, Dask collection, \
                RankRows, Dataset or DataLoader
            Training rows, neither copied nor modified. The following are accepted:

            - An array or tensor keeps its type. Half precision, integers and booleans are
              multiplied block by block in float64.
            - A torch tensor is fitted on its device without gradients; a sparse one is converted
              to SciPy's type on the CPU.
            - Chunks are an object with ``len(X)`` and ``X.chunk(i)``, such as those of
              `skorch_logreg.data`. They are read again in every pass, two chunks at a time.
            - The blocks of a Dask array or data frame are processed where they are stored.
            - `RankRows` marks the rows of this rank of a process group; all ranks call `fit`.
            - A data set or loader of `torch.utils.data` yields (X, y) or (X, y, weight); `y` and
              `sample_weight` must be None. Mini-batch solvers train on the batches of a loader or
              an IterableDataset as they are yielded, and do not certify the result. Everything
              else is read into memory, or in every pass if it exceeds 1 GiB. The batches of a
              loader with ``pin_memory=True`` are copied to `device` asynchronously.
        y : array-like of shape (n_samples,) or (n_samples, n_classes), or None
            Labels of two classes or more; probabilities with `soft_labels`.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row: 2 counts the row twice, 0 ignores it. Successes and
            trials are passed as two weighted rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters, X, y or weights are not valid; with scikit-learn's message where it has
            one.
        ParameterError
            If `penalty`, `penalty_factor`, `bounds`, `threshold`, `class_weight`, `device` or
            `solver` does not suit the data.
        DivergenceError
            If the loss or the weights of training on mini-batches are not finite.

        Warns
        -----
        ConvergenceWarning
            If ``optimality_ <= tol`` was not reached, with the value, the reason and advice. Early
            stopping of a mini-batch solver, by the score of held-out rows, does not warn.

        Notes
        -----
        If a fit raises or is interrupted, the fitted attributes stay as they were.
        """
        with persistence.isolated_fit(self):
            fits.fit(self, X, y, sample_weight)
        return self

    _run_epoch = fits.partial_fit

    def __sklearn_tags__(self) -> Tags:
        """Return tags: the array API is supported."""
        tags: Tags = super().__sklearn_tags__()
        tags.array_api_support = True
        return tags
