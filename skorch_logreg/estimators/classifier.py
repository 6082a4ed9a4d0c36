"""Logistic regression as a scikit-learn classifier."""

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import torch
from scipy.optimize import Bounds
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Hidden, Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from skorch_logreg import fitting
from skorch_logreg.data import RankRows, scratch_folders
from skorch_logreg.estimators import (
    convergence,
    dask,
    datasets,
    elsewhere,
    epochs,
    liblinear,
    options,
    partial,
    persistence,
    ranks,
    soft,
    streams,
    weights,
)
from skorch_logreg.estimators.arrays import Home
from skorch_logreg.estimators.callbacks import CallbackSupportMixin, IterationReporter
from skorch_logreg.estimators.epochs import Rows
from skorch_logreg.estimators.isolation import own_randomness, plain_torch
from skorch_logreg.estimators.leaving import Leaving
from skorch_logreg.estimators.parameters import ValidatedParameters
from skorch_logreg.estimators.problem import Problem
from skorch_logreg.estimators.soft import SoftTargets
from skorch_logreg.estimators.streamed import fit_stream
from skorch_logreg.estimators.validate import validated
from skorch_logreg.fitting import Params
from skorch_logreg.solvers import MiniBatch

__all__ = ["TorchLogisticClassifier"]


class TorchLogisticClassifier(
    persistence.VersionedState,
    ValidatedParameters,
    CallbackSupportMixin,
    Leaving,
    ClassifierMixin,
    BaseEstimator,
):
    """Logistic regression that takes the place of scikit-learn's and runs on PyTorch.

    It minimises, over coefficients ``w`` and intercept ``b``,

        sum_i s_i loss(y_i, x_i w + b)  +  1/C sum_j f_j [(1 - r)/2 w_j^2 + r |w_j|]

    with ``s`` sample weight times class weight, ``f`` `penalty_factor`, ``r`` `l1_ratio` and
    the binomial loss for two classes, the multinomial loss for more. The intercept is not
    penalised. This is the objective of `sklearn.linear_model.LogisticRegression` divided by C,
    so both have the same minimiser.

    Parameters
    ----------
    penalty : {"l1", "l2", "elasticnet"}, GroupL2 or None, default="deprecated"
        Names are deprecated as in scikit-learn 1.8: use `l1_ratio` and `C`. An object takes the
        place of ridge and lasso: `skorch_logreg.penalties.GroupL2` has features come in by groups.
    C : float, default=1.0
        Inverse strength of the penalty, positive; ``np.inf``: no penalty.
    l1_ratio : float, default=0.0
        Share of L1 in the penalty, from 0 (ridge) to 1 (lasso).
    dual : bool, default=False
        Accepted with ``solver="liblinear"`` and L2, where it has no effect: both formulations
        have one answer.
    tol : float, default=1e-4
        What `optimality_` has to reach. It means the same for every solver, penalty and
        container: the objective is then within about ``tol ** 2`` of its minimum, relatively.
    fit_intercept : bool, default=True
        Whether there is an intercept; else it is 0.
    intercept_scaling : float, default=1
        With ``solver="liblinear"`` the intercept is this times the penalised weight of a column
        of this value. No effect elsewhere.
    class_weight : dict, "balanced" or None, default=None
        Weight of every class; a class that a dict leaves out counts 1. "balanced" gives all
        classes the same total weight, ``sum(s) / (n_classes * sum(s of the class))``.
    random_state : int, RandomState or None, default=None
        Of what solvers of mini-batches draw: the order of rows, and those held out; None: 0. All
        others are deterministic.
    solver : str or solver, default="auto"
        "auto" chooses by size and takes every penalty. "lbfgs", "newton-cg" and
        "newton-cholesky" name solvers of this package. "liblinear", "sag" and "saga" run what
        "auto" chooses; "liblinear" keeps its own objective, whose intercept is penalised, and
        is for two classes. The six names take the penalties that scikit-learn's table allows.
        A solver object of `skorch_logreg.solvers` is taken as it is; `SGD`, `Adam`, `AdamW` and
        `Optimizer` train in epochs of mini-batches.
    max_iter : int, default=100
        Most iterations, beside the epochs of a solver of mini-batches.
    verbose : int, default=0
        Above 0, `fit` prints a line an iteration or epoch.
    warm_start : bool, default=False
        Start from the previous `coef_` and `intercept_`; no effect with "liblinear".
    n_jobs : None
        Deprecated as in scikit-learn 1.8; no effect.
    threshold : float, default=0.5
        `predict` answers ``classes_[1]`` where its probability is at least this; two classes
        only. May be set after `fit`.
    device : str, torch.device or None, default=None
        Where a dense X is fitted, such as "cuda"; None: where it is. Results return to where X
        is.
    penalty_factor : array-like of shape (n_features,) or None, default=None
        Strength of the penalty of every feature, ``f``; 0: not penalised, inf: left out, with a
        coefficient of 0 (not with solvers of mini-batches). None: 1 for all.
    bounds : (low, high), scipy.optimize.Bounds or None, default=None
        Bounds of the coefficients, those of all classes alike: each a number for all features or
        an array-like of shape (n_features,), None or infinite where there is none. ``(0, None)``:
        no coefficient is negative. A coefficient at its bound is exactly there. With
        ``solver="auto"`` or `ProximalNewton`.
    soft_labels : bool, default=False
        Whether `fit` takes probabilities for y, in [0, 1]: of shape (n_samples,), of the second
        of two classes, or of shape (n_samples, n_classes), rows that sum to 1. `classes_` is
        then ``arange(n_classes)``. A row of weight s and probabilities q is one row of every
        class c, of weight ``s * q_c``, and so meets `class_weight`.
    label_smoothing : float, default=0.0
        Share e of every row, in [0, 1), that is spread evenly over the K classes: the row is one
        of every class c, of weight ``s * ((1 - e) q_c + e / K)``, and so meets `class_weight`.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Sorted labels, of y's dtype.
    coef_ : array of shape (1, n_features) or (n_classes, n_features)
        Coefficients, one row for two classes: float32 for data of float32 or bfloat16, float64
        for all others. NumPy arrays; under array API dispatch of X's library, on its device.
    intercept_ : array of shape (1,) or (n_classes,)
        Intercepts.
    n_iter_ : array of shape (1,), int32
        Iterations, epochs included.
    history_ : dict of str to list
        "loss" (the objective per unit of weight, mean of the mini-batches), "learning_rate" and
        "seconds" of every epoch, and "valid_score" where rows are held out; after training in
        mini-batches alone.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.
    optimality_ : float
        How far from the optimum the fit may be: the square root of the relative decrease of the
        objective that is still predicted.
    duality_gap_ : float
        Upper bound of the relative distance to the minimum; nan where there is none.
    converged_ : bool
        Whether ``optimality_ <= tol`` was reached, at a minimiser that exists: False where
        classes are separable by coefficients without a penalty, partly or completely.
    n_passes_ : int
        How often all of X was read.
    module_ : torch.nn.Linear
        The model as a module over the memory of `coef_` and `intercept_`.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : Whose place it takes.

    Notes
    -----
    X is validated once and not copied; only ``solver="liblinear"`` with an intercept copies it.
    Beyond a dense X, a fit takes ``n (32 + 16 K)`` bytes for n rows of K logits (1 for two
    classes), ``32 s^2`` bytes for a Hessian of side ``s = K (n_features + 1)``, 7 % of X for
    samples of its rows and 12 MB of buffers; where s exceeds 3000 it takes ``n (32 + 48 K)``
    bytes and has no such Hessian.

    With three classes or more, a constant added to a feature's coefficients of all classes changes
    no probability. Where the penalty and the bounds do not settle it (no penalty; the lasso of an
    even number of classes), `coef_` is the minimiser of least norm, so that it does not depend on
    the order of rows: the limit of an elastic net whose ridge vanishes.

    The one deliberate difference from scikit-learn is a tie at a probability of 0.5: here
    ``classes_[1]`` is predicted, there ``classes_[0]``.

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
        "penalty_factor": ["array-like", None],
        "bounds": [tuple, list, Bounds, None],
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
            Rows. Not copied, never written: an array or a tensor keeps its type, half precision,
            integers and booleans included, which are multiplied block by block in float64. A
            torch tensor needs no switch: it is fitted on its device, and gets no gradient; a
            sparse one is what SciPy makes of it, on the CPU. Chunks are an object with
            ``len(X)`` and ``X.chunk(i)``, such as those of `skorch_logreg.data`: rows that are
            read again in every pass, two chunks at a time. Of a Dask array or data frame the
            blocks stay where they are; `RankRows` marks the rows of this rank of a process group,
            all of which call `fit`. A data set or loader of
            `torch.utils.data` gives (X, y) or (X, y, weight) itself: `y` and `sample_weight` are
            None then. Solvers of mini-batches take the batches of a loader, or of an
            IterableDataset, as they come, and nothing is proven; all else is read into memory,
            or if that is more than 1 GiB, again in every pass.
            A loader with ``pin_memory=True`` has its batches copied to `device` as it goes on.
        y : array-like of shape (n_samples,) or (n_samples, n_classes), or None
            Labels of two classes or more; probabilities with `soft_labels`.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row: 2 is the row twice, 0 is none. Successes and
            trials go in as two weighted rows.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters, X, y or weights are not allowed; scikit-learn's words where it has
            some.
        ParameterError
            If `penalty`, `penalty_factor`, `bounds`, `threshold`, `class_weight`, `device` or
            `solver` does not go with the data.
        DivergenceError
            If training on mini-batches ends at no finite loss.

        Warns
        -----
        ConvergenceWarning
            If ``optimality_ <= tol`` was not reached: with the figure, the reason and the way
            out. Not where a solver of mini-batches stopped because rows held out were scored no
            better, as it was told to.

        Notes
        -----
        A fit that raises or is interrupted leaves the fitted attributes as they were.
        """
        with persistence.all_or_nothing(self), plain_torch(), scratch_folders():
            if isinstance(X, RankRows):
                ranks.fit_together(self, X, y, sample_weight)
            else:
                self._fit(X, y, sample_weight)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, offset: Any = None) -> None:
        chosen = options.resolve(self)
        device = options.resolve_device(self.device)
        if streams.is_stream(X):
            streams.refuse_beside(y, sample_weight)
            weights.refuse_offset(offset, "a data set of torch")
            seed, place = epochs.seed_of(self.random_state), device or torch.device("cpu")
            with own_randomness(seed, place):
                if streams.streams(X, chosen.solver):
                    fit_stream(self, X, chosen, place, seed)
                    return
                X, y, sample_weight = datasets.read(
                    X, again=not isinstance(chosen.solver, MiniBatch)
                )
        home = Home.of(X)
        sample_weight = home.adopt(sample_weight)
        if elsewhere.is_elsewhere(X):
            y = elsewhere.check_labels(y, self.soft_labels)
            X = elsewhere.adopt(self, X, len(y), chosen, device)
            sample_weight = dask.collected(sample_weight)
        else:
            X, y = validated(self, X, y, multi_output=self.soft_labels)
        options.check_device_takes(device, X)
        targets = soft.encode(y, self.soft_labels, self.label_smoothing)
        self._check_classes(targets.classes, chosen)
        sample_weight = weights.check_sample_weight(sample_weight, X, home)
        offset = weights.check_offset(dask.collected(offset), X.shape[0], targets.n_classes)
        seed, rows, held_out = 0, Rows(X, y, targets, sample_weight), None
        trains = isinstance(chosen.solver, MiniBatch)
        if trains:
            weights.refuse_offset(offset, f"solver={self.solver!r}")
            seed = epochs.seed_of(self.random_state)
            rows, held_out = epochs.split(rows, chosen.solver, seed)
        problem = Problem.of(
            self, chosen, home, X, targets.n_classes, isinstance(targets, SoftTargets)
        )
        factor = weights.check_penalty_factor(self.penalty_factor, problem.n_features)
        y_core, weight = soft.weigh(self.class_weight, rows.labels, rows.weight)
        warm = self.warm_start and hasattr(self, "coef_")
        start = problem.previous(self.coef_, self.intercept_) if warm else None
        data = problem.data(rows.X, y_core, weight, device)
        self.classes_ = targets.classes
        held_out_score = None
        if held_out is not None:
            score = held_out.score_function(self, chosen.solver.scoring)

            def held_out_score(params: Params) -> float:
                return score(problem.fitted(params))

        task = {
            "X": X,
            "y": y,
            "metadata": None if sample_weight is None else {"sample_weight": sample_weight},
        }
        n_tasks = convergence.most_iterations(chosen.solver, self.max_iter)
        context = self._init_callback_context(max_subtasks=n_tasks)
        context.call_on_fit_task_begin(estimator=self, **task)
        watched = hasattr(self, "_skl_callbacks") or self.verbose
        reporter = None
        if watched:
            first = start or problem.zeros()
            reporter = IterationReporter(context, self, task, first, problem.fitted, n_tasks)
        solution = fitting.fit(
            data,
            problem.loss,
            problem.penalty(factor, data.device),
            C=chosen.C,
            fit_intercept=problem.core_intercept,
            solver=chosen.solver,
            tol=self.tol,
            max_iter=self.max_iter,
            start=None if start is None else problem.on(data.device, start),
            callback=reporter,
            held_out_score=held_out_score,
            seed=seed,
            offset=offset,
            dtype=problem.stored_dtype,
        )
        if reporter is not None:
            reporter.close()
        partial.remember(self, solution.trained, solution.total_weight)
        for name, value in problem.fitted(solution.params).items():
            setattr(self, name, value)
        self.n_iter_ = home.from_tensor(solution.n_iter.to(torch.int32))
        self.n_passes_ = int(solution.n_passes)
        self.optimality_ = float(solution.optimality[0])
        self.duality_gap_ = float(solution.duality_gap[0])
        (status,) = solution.status
        self.converged_ = status is fitting.Status.CONVERGED
        if not convergence.is_as_asked(status):
            columns = convergence.columns_to_infinity(
                solution.directions[0], getattr(self, "feature_names_in_", None)
            )
            self._warn(status, problem.dtype, columns)
        context.call_on_fit_task_end(estimator=self, **task, reconstruction_attributes={})

    @available_if(partial.offered)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Go on for one epoch over some of the rows, from where the model stands.

        The optimiser, its learning rate and its schedule are those of the `solver`, which has to
        be one of mini-batches; "auto" is ``Adam(learning_rate=0.01, batch_size=32)``. They go on
        from call to call. The penalty stands beside the weight of all rows seen so far, a row
        given twice counting twice; a `fit` before counts as well.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Their labels, of one class or more.
        classes : array-like of shape (n_classes,) or None, default=None
            All classes; needed in the first call, where there was no `fit`.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            As in `fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As `fit`, or if labels are not among the classes.
        ParameterError
            If the solver cannot go on, or asks for what needs all rows.

        Notes
        -----
        Nothing is proven: `optimality_` and `duality_gap_` are nan, `converged_` is False.
        Callbacks are not called.
        """
        with persistence.all_or_nothing(self), plain_torch():
            partial.partial_fit(self, X, y, classes, sample_weight)
        return self

    def _check_classes(self, classes: Any, chosen: options.Options) -> None:
        """Refuse numbers of classes that the solver or the threshold cannot do."""
        n_classes = int(classes.shape[0])
        if n_classes < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes"
                " in the data, but the data contains only one"
                f" class: {classes[0]!r}"
            )
        if chosen.is_liblinear and n_classes > 2:
            raise ValueError(liblinear.MULTICLASS)
        options.check_threshold_classes(self.threshold, n_classes)

    def _warn(self, status: fitting.Status, dtype: torch.dtype, columns: str) -> None:
        text = convergence.message(
            status,
            solver=self.solver,
            n_iter=int(self.n_iter_[0]),
            max_iter=self.max_iter,
            optimality=self.optimality_,
            tol=self.tol,
            dtype=str(dtype).removeprefix("torch."),
            columns=columns,
        )
        warnings.warn(text, ConvergenceWarning, stacklevel=5)

    def __sklearn_tags__(self) -> Tags:
        """Say what it takes: sparse data, arrays of any library; liblinear two classes only."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        named = isinstance(self.solver, str)
        tags.classifier_tags.multi_class = not (named and self.solver == "liblinear")
        return tags
