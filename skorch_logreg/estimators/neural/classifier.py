"""Logistic regression on what a network makes of the rows."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import torch
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import Tags
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skorch_logreg.estimators import partial, persistence
from skorch_logreg.estimators.arrays import ArrayNamespace
from skorch_logreg.estimators.callbacks import CallbackSupportMixin
from skorch_logreg.estimators.neural import fits, networks
from skorch_logreg.estimators.neural.validate import rows_like_before
from skorch_logreg.estimators.prediction import LogitPrediction
from skorch_logreg.estimators.torch_context import default_torch_state

__all__ = ["NeuralLogisticClassifier"]

_CONVEX = ("auto", "lbfgs", "newton-cg", "newton-cholesky")


class NeuralLogisticClassifier(
    persistence.VersionedState,
    CallbackSupportMixin,
    LogitPrediction,
    ClassifierMixin,
    BaseEstimator,
):
    """Logistic regression on what a network makes of the rows.

    A backbone turns every row into features, and a linear head turns those into logits. Both
    are trained together, in mini-batches, on the objective of `TorchLogisticClassifier`, whose
    penalty is on the head alone. A head by itself is a convex problem: with `freeze_backbone`,
    or after training with `polish_head`, it is solved exactly, with proof.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(64,)
        Units of every hidden layer; ``()``: none, which is a linear model. No effect where
        `module` is given.
    activation : {"relu", "tanh", "gelu", "silu", "logistic", "identity"}, default="relu"
        What follows every hidden layer; no effect where `module` is given, nor has `dropout`.
    dropout : float, default=0.0
        Probability with which a hidden unit is left out as a mini-batch is trained on, in
        [0, 1).
    module : torch.nn.Module or None, default=None
        Backbone to take instead of hidden layers: from rows of X, in its own type, to features,
        of any number of axes. It is copied, and never trained itself. Its parameters that do
        not require a gradient stay as they are.
    solver : SGD, Adam, AdamW, Optimizer or None, default=None
        How it is trained, see `skorch_logreg.solvers`; None: ``Adam(learning_rate=0.01,
        batch_size=200, epochs=200)``. ``finish="exact"`` is ``polish_head=True``. With
        `freeze_backbone` any solver of a `TorchLogisticClassifier`; None: "auto".
    C : float, default=1.0
        Inverse strength of the penalty on the head, positive; ``np.inf``: no penalty. For the
        backbone there is the optimiser's weight decay.
    l1_ratio : float, default=0.0
        Share of L1 in the penalty.
    class_weight : dict, "balanced" or None, default=None
        As in `TorchLogisticClassifier`.
    freeze_backbone : bool, default=False
        Whether only the head is fitted. Features are computed once, without dropout.
    polish_head : bool, default=False
        Whether training ends with an exact fit of the head.
    tol : float, default=1e-4
        What `optimality_` of an exact head has to reach.
    max_iter : int, default=100
        Most iterations of an exact head.
    random_state : int, RandomState or None, default=None
        Of first weights, of the order of rows and of dropout; None: 0. torch's own generators
        are left as they were.
    verbose : int, default=0
        Above 0, `fit` prints a line an epoch.
    warm_start : bool, default=False
        Start from the previous `module_`, whatever `hidden_layer_sizes` or `module` say by now.
    threshold : float, default=0.5
        `predict` answers ``classes_[1]`` where its probability is at least this; two classes
        only. May be set after `fit`.
    device : str, torch.device or None, default=None
        Where it is fitted, such as "cuda"; None: where `module` is, or else X.
    soft_labels : bool, default=False
        Whether y holds probabilities, as in `TorchLogisticClassifier`.
    label_smoothing : float, default=0.0
        Share of every row that is spread evenly over the classes.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Sorted labels, of y's dtype.
    module_ : torch.nn.Sequential
        The fitted backbone and head, without dropout: from rows to the logits of
        `decision_function`. It is the model: to change it is to change predictions.
    n_iter_ : array of shape (1,), int32
        Epochs, and iterations of an exact head.
    history_ : dict of str to list
        "loss" (the objective per unit of weight, mean of the mini-batches), "learning_rate" and
        "seconds" of every epoch, and "valid_score" where rows are held out; not after an exact
        head alone.
    n_features_in_ : int
        Number of features: ``X.shape[1]``.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X has names that are strings.
    optimality_ : float
        How far the head may be from its optimum on the features, as in
        `TorchLogisticClassifier`; this and the next three with `freeze_backbone` or
        `polish_head` alone: there is no proof for a network.
    duality_gap_ : float
        Upper bound of the head's relative distance to the minimum; nan where there is none.
    converged_ : bool
        Whether ``optimality_ <= tol`` was reached.
    n_passes_ : int
        How often all features were read.

    See Also
    --------
    TorchLogisticClassifier : Without a backbone, exactly.

    Notes
    -----
    Rows of sparse X become dense mini-batch by mini-batch. X may have more than two axes where
    `module` is given. The network is of X's float type (float32 for bfloat16, float64
    for half precision and integers), or of the module's; mini-batches are converted to it.

    Rows of weight 0 are left out before training begins, but not out of a loader's batches, of
    which `freeze_backbone` computes the features anew every epoch.

    Prediction takes some 4 million numbers at once, which bounds its memory; up to there it has
    the bits of ``module_(X)``.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from skorch_logreg import NeuralLogisticClassifier, TorchLogisticClassifier
    >>> X, y = make_moons(200, noise=0.1, random_state=0)
    >>> TorchLogisticClassifier().fit(X, y).score(X, y) < 0.9
    True
    >>> model = NeuralLogisticClassifier((32,)).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    >>> model.module_.head
    Linear(in_features=32, out_features=1, bias=True)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(networks.ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "module": [nn.Module, None],
        "solver": [StrOptions(set(_CONVEX)), HasMethods("step"), HasMethods("optimizer"), None],
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "freeze_backbone": ["boolean"],
        "polish_head": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "threshold": [Interval(Real, 0, 1, closed="both")],
        "device": [str, torch.device, None],
        "soft_labels": ["boolean"],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (64,),
        *,
        activation: str = "relu",
        dropout: float = 0.0,
        module: nn.Module | None = None,
        solver: Any = None,
        C: float = 1.0,
        l1_ratio: float = 0.0,
        class_weight: dict[Any, float] | str | None = None,
        freeze_backbone: bool = False,
        polish_head: bool = False,
        tol: float = 1e-4,
        max_iter: int = 100,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
        threshold: float = 0.5,
        device: str | torch.device | None = None,
        soft_labels: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.module = module
        self.solver = solver
        self.C = C
        self.l1_ratio = l1_ratio
        self.class_weight = class_weight
        self.freeze_backbone = freeze_backbone
        self.polish_head = polish_head
        self.tol = tol
        self.max_iter = max_iter
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start
        self.threshold = threshold
        self.device = device
        self.soft_labels = soft_labels
        self.label_smoothing = label_smoothing

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features), or Dataset or DataLoader
            Rows; of shape (n_samples, ...) where `module` takes more axes. A data set or loader
            of `torch.utils.data` gives (X, y) or (X, y, weight) itself: `y` and `sample_weight`
            are None then. Batches of a loader, or of an IterableDataset, are trained on as they
            come, by a solver of mini-batches; all else is read into memory. A loader with
            ``pin_memory=True`` has its batches copied to `device` as it goes on.
        y : array-like of shape (n_samples,), or None
            Labels of two classes or more.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If parameters, X, y or weights are not allowed.
        ParameterError
            If `module`, `solver`, `threshold`, `class_weight` or `device` does not go with the
            data, or with the other parameters.
        DivergenceError
            If training ends at no finite loss.

        Warns
        -----
        ConvergenceWarning
            If an exact head did not reach ``optimality_ <= tol``.

        Notes
        -----
        A fit that raises or is interrupted leaves the fitted attributes as they were.
        """
        with persistence.restore_on_failure(self), default_torch_state():
            fits.fit(self, X, y, sample_weight)
        return self

    @available_if(partial.supports_partial_fit)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Go on with training for one epoch over some rows.

        The optimiser goes on too, and the penalty stands beside the weight of all rows so far.
        After `fit` it goes on from there. `polish_head` has no part in it, and callbacks are not
        called.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Labels.
        classes : array-like of shape (n_classes,) or None, default=None
            All labels that there will be; needed at the first call.
        sample_weight : array-like of shape (n_samples,), float or None, default=None
            Non-negative weight of every row.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in `fit`; or if classes are missing, or others than before.
        ParameterError
            If `solver` asks for what needs all rows at once.
        """
        with persistence.restore_on_failure(self), default_torch_state():
            fits.partial_fit(self, X, y, classes, sample_weight)
        return self

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        check_is_fitted(self)
        return networks.logits(self.module_, rows_like_before(self, X)), ArrayNamespace.of(X)

    def __sklearn_tags__(self) -> Tags:
        """Say what it takes: sparse data."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
