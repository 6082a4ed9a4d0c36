"""Classifier with a neural backbone and a logistic head."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import torch
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skorch_logreg.estimators import persistence
from skorch_logreg.estimators.callbacks import CallbackSupportMixin
from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.neural import fits, networks
from skorch_logreg.estimators.partial import PartialFitMixin
from skorch_logreg.estimators.prediction import LogitPrediction
from skorch_logreg.inputs.arrays import NUMPY, ArrayNamespace
from skorch_logreg.inputs.chunks import is_chunked, iterate_chunks
from skorch_logreg.inputs.rows import validate_rows

_CONVEX = ("auto", "lbfgs", "newton-cg", "newton-cholesky")
# parameters that are validated as those of a linear classifier
_SHARED = (
    *("C", "class_weight", "tol", "max_iter", "random_state", "verbose", "warm_start"),
    *("threshold", "device", "soft_labels", "label_smoothing"),
)


class NeuralLogisticClassifier(
    persistence.VersionedState,
    CallbackSupportMixin,
    PartialFitMixin,
    LogitPrediction,
    ClassifierMixin,
    BaseEstimator,
):
    """Logistic regression on the features of a neural network.

    A backbone turns every row into features, and a linear head turns features into logits. Both
    are trained together, in mini-batches, on the objective of `TorchLogisticClassifier`, with a
    penalty only on the head. For fixed features, the fit of the head is a convex problem: with
    `freeze_backbone`, or after training with `polish_head`, it is solved exactly and certified.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int, default=(64,)
        Number of units of every hidden layer; ``()`` gives a linear model. No effect if `module`
        is given.
    activation : {"relu", "tanh", "gelu", "silu", "logistic", "identity"}, default="relu"
        Activation after every hidden layer. No effect if `module` is given.
    dropout : float, default=0.0
        Probability, in [0, 1), of dropping a hidden unit in training. No effect if `module` is
        given.
    module : torch.nn.Module or None, default=None
        Backbone in place of hidden layers. It maps rows of X, in its own type, to features with
        any number of axes. A copy is trained; parameters that do not require a gradient stay
        fixed.
    solver : SGD, Adam, AdamW, Optimizer or None, default=None
        Mini-batch solver of `skorch_logreg.solvers`; None: ``Adam(learning_rate=0.01,
        batch_size=200, epochs=200)``. ``finish="exact"`` is the same as ``polish_head=True``.
        With `freeze_backbone`, any solver of `TorchLogisticClassifier`; None: "auto".
    C : float, default=1.0
        Inverse of the regularization strength of the head, positive; ``np.inf``: no penalty. The
        backbone can be regularized by the optimiser's weight decay.
    l1_ratio : float, default=0.0
        Share of L1 in the penalty, from 0 (ridge) to 1 (lasso).
    class_weight : dict, "balanced" or None, default=None
        Weight of every class, as in `TorchLogisticClassifier`.
    freeze_backbone : bool, default=False
        Whether to fit only the head. Features are computed once, without dropout.
    polish_head : bool, default=False
        Whether to fit the head exactly after training.
    tol : float, default=1e-4
        Convergence threshold on `optimality_` of an exact head.
    max_iter : int, default=100
        Largest number of iterations of an exact head.
    random_state : int, RandomState or None, default=None
        Seed of the initial weights, the order of rows and dropout; None: 0. The state of torch's
        own generators is not changed; fits in several threads train one after the other.
    verbose : int, default=0
        If positive, `fit` prints a line an epoch.
    warm_start : bool, default=False
        Start from the previous `module_`, even if `hidden_layer_sizes` or `module` changed.
    threshold : float, default=0.5
        Smallest probability of ``classes_[1]`` at which `predict` returns it; two classes only.
        It may be set after `fit`.
    device : str, torch.device or None, default=None
        Device of the fit, such as "cuda"; None: that of `module`, or else of X.
    soft_labels : bool, default=False
        Whether y holds probabilities, as in `TorchLogisticClassifier`.
    label_smoothing : float, default=0.0
        Share of every row that is spread evenly over the classes.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Sorted labels, of y's dtype.
    module_ : torch.nn.Sequential
        Fitted backbone and head in evaluation mode, which map rows to the logits of
        `decision_function`. Predictions use it, so that changing it changes them.
    n_iter_ : array of shape (1,), int32
        Number of epochs, and of iterations of an exact head.
    history_ : dict of str to list
        "loss" (the objective per unit of weight, mean of the mini-batches), "learning_rate" and
        "seconds" of every epoch, and "valid_score" where rows are held out. Not set if only an
        exact head was fitted.
    n_features_in_ : int
        Number of features: ``X.shape[1]``.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the features, only if all names of X's columns are strings.
    optimality_ : float
        Distance of the head to its optimum for the features, as in `TorchLogisticClassifier`.
        This and the next three attributes are set only with `freeze_backbone` or `polish_head`,
        because the training of a network is not certified.
    duality_gap_ : float
        Upper bound of the head's relative distance to the minimum; nan where no bound is known.
    converged_ : bool
        Whether ``optimality_ <= tol`` was reached.
    n_passes_ : int
        Number of full reads of the features.

    See Also
    --------
    TorchLogisticClassifier : Logistic regression without a backbone.

    Notes
    -----
    Rows of sparse X are made dense for each mini-batch. X may have more than two axes if `module`
    is given. The network has X's float type (float32 for bfloat16, float64 for half precision and
    integers), or the module's; mini-batches are converted to it.

    Rows of weight 0 are dropped before training. They are kept in the batches of a loader, whose
    features are computed again in every epoch if `freeze_backbone` is True.

    Predictions are computed for blocks of about 4 million elements, to limit memory. Within one
    block, they are bitwise equal to ``module_(X)``.

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
        name: TorchLogisticClassifier._parameter_constraints[name] for name in _SHARED
    } | {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(networks.ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "module": [nn.Module, None],
        "solver": [StrOptions(set(_CONVEX)), HasMethods("step"), HasMethods("optimizer"), None],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "freeze_backbone": ["boolean"],
        "polish_head": ["boolean"],
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
            Training rows, of shape (n_samples, ...) if `module` takes more axes. A data set or
            loader of `torch.utils.data` yields (X, y) or (X, y, weight); `y` and `sample_weight`
            must be None. Mini-batch solvers train on the batches of a loader or an
            IterableDataset as they are yielded; everything else is read into memory. The batches
            of a loader with ``pin_memory=True`` are copied to `device` asynchronously.
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
            If parameters, X, y or weights are not valid.
        ParameterError
            If `module`, `solver`, `threshold`, `class_weight` or `device` does not suit the data
            or the other parameters.
        DivergenceError
            If the loss or the weights of training are not finite.

        Warns
        -----
        ConvergenceWarning
            If an exact head did not reach ``optimality_ <= tol``.

        Notes
        -----
        If a fit raises or is interrupted, the fitted attributes stay as they were.
        """
        with persistence.isolated_fit(self):
            fits.fit(self, X, y, sample_weight)
        return self

    _run_epoch = fits.partial_fit

    def _logits(self, X: Any, method: str) -> tuple[Tensor, ArrayNamespace]:
        check_is_fitted(self)
        if is_chunked(X):
            parts = [networks.logits(self.module_, rows) for rows in iterate_chunks(self, X)]
            return torch.cat(parts), NUMPY
        rows = validate_rows(self, X, reset=False, allow_nd=self.module is not None)
        return networks.logits(self.module_, rows), ArrayNamespace.of(X)
