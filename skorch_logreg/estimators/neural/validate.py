"""Validation of the parameters and the input of a network's fit."""

import copy
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from skorch_logreg.estimators import validation_split
from skorch_logreg.estimators.neural import networks
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import options, torch_dtype
from skorch_logreg.inputs.arrays import ArrayNamespace
from skorch_logreg.inputs.rows import validate_rows
from skorch_logreg.inputs.validate import FitInput, validate
from skorch_logreg.solvers import Adam, MiniBatch
from skorch_logreg.solvers.minibatch import trains_in_epochs

__all__ = ["TrainingMode", "ValidatedInput", "check_sizes", "device_and_dtype", "rows_like_before"]

_DEFAULT = Adam(learning_rate=0.01, batch_size=200, epochs=200)  # for solver=None


def rows_like_before(model: Any, X: Any) -> Any:
    """Validate rows, whose features must be those of the previous fit."""
    return validate_rows(model, X, reset=False, allow_nd=model.module is not None)


@dataclass(frozen=True)
class TrainingMode:
    """Solver of a network, and which parts it fits.

    Parameters
    ----------
    solver : MiniBatch, str or Solver
        Solver of the network, or of the head if the backbone is frozen.
    frozen : bool
        Whether the backbone is frozen.
    polish : bool
        Whether training ends with an exact fit of the head.
    """

    solver: Any
    frozen: bool
    polish: bool

    @classmethod
    def of(cls, model: Any) -> "TrainingMode":
        """Resolve a model's parameters; raise an error if they cannot be combined."""
        solver, frozen = model.solver, bool(model.freeze_backbone)
        known = solver is None or isinstance(solver, str) or hasattr(solver, "requires")
        if isinstance(solver, type) or not known:
            raise ParameterError(
                f"solver={solver!r} is no solver; expected an instance of a class of "
                "skorch_logreg.solvers, or None."
            )
        trains = trains_in_epochs(solver)
        if solver is not None and not trains and not frozen:
            raise ParameterError(
                f"solver={solver!r} is for convex problems, and a network is none; choose one of "
                "skorch_logreg.solvers.SGD, Adam, AdamW or Optimizer, or freeze_backbone=True."
            )
        polish = model.polish_head or (trains and solver.finish == "exact")
        if solver is None:
            solver = "auto" if frozen else _DEFAULT
        if polish and trains_in_epochs(solver):
            solver = replace(solver, finish="exact")
        return cls(solver, frozen, polish)

    @classmethod
    def for_partial_fit(cls, model: Any) -> "TrainingMode":
        """Resolve a model's parameters for `partial_fit`."""
        mode = cls.of(model)
        return replace(mode, solver=validation_split.partial_solver(model.solver, _DEFAULT))

    def stream_solver(self, X: Any) -> MiniBatch:
        """Return the solver for streamed batches; a loader sets the default's batch size."""
        if self.polish:
            raise ParameterError(
                "polish_head=True, or finish='exact', needs rows in memory, but these stream; "
                "leave it out, or pass arrays."
            )
        if self.solver is _DEFAULT and isinstance(X, DataLoader):
            return replace(_DEFAULT, batch_size=None)
        solver: MiniBatch = self.solver
        return solver

    @property
    def trains(self) -> bool:
        """True if the solver trains in epochs."""
        return trains_in_epochs(self.solver)

    def iteration_limit(self, max_iter: int) -> int:
        """Return the largest number of epochs and iterations."""
        if not self.trains:
            return max_iter
        return int(self.solver.epochs) + self.polish * max_iter


@dataclass(frozen=True)
class ValidatedInput:
    """Validated rows, device and start of a network's fit.

    Parameters
    ----------
    model : NeuralLogisticClassifier
    rows : FitInput
    namespace : ArrayNamespace
        Namespace of the results.
    device : torch.device
        Device of the network.
    dtype : torch.dtype
        Type of the network.
    seed : int
    previous : nn.Sequential or None
        Copy of the fitted network to start from; None: start from a new network.
    """

    model: Any
    rows: FitInput
    namespace: ArrayNamespace
    device: torch.device
    dtype: torch.dtype
    seed: int
    previous: nn.Sequential | None

    @classmethod
    def of(
        cls,
        model: Any,
        X: Any,
        y: Any,
        sample_weight: Any,
        seed: int,
        *,
        reset: bool,
        classes: Any,
        warm: bool,
    ) -> "ValidatedInput":
        """Validate the input of a fit, before any computation.

        Parameters
        ----------
        reset : bool
            Whether X may have other features than before.
        classes : array of shape (n_classes,) or None
            Known classes, not all of them necessarily in y; None: find them in y.
        warm : bool
            Whether to start from ``module_``.
        """
        if model.module is None:
            check_sizes(model.hidden_layer_sizes)
        n_features = getattr(model, "n_features_in_", None)
        allow_nd = model.module is not None
        rows = validate(
            X, y, sample_weight,
            model=model, seed=seed, classes=classes, reset=reset, allow_nd=allow_nd,
        )  # fmt: skip
        device, dtype = device_and_dtype(model, rows.X, rows.device)
        given = cls(model, rows, rows.namespace, device, dtype, seed, None)
        if not warm:
            return given
        return replace(given, previous=given._previous(n_features))

    @property
    def n_outputs(self) -> int:
        """Number of logits of a row."""
        n_classes = self.rows.labels.n_classes
        return 1 if n_classes == 2 else n_classes

    def network(self, frozen: bool) -> nn.Sequential:
        """Return the network to start from: the previous one, or a new one with random weights.

        The head of a frozen backbone starts at zero.
        """
        if self.previous is not None:
            return self.previous
        model, X = self.model, self.rows.X
        if model.module is not None:
            backbone, width = networks.copy_backbone(model.module, X[:2], self.device, self.dtype)
        else:
            sizes = _sizes(model.hidden_layer_sizes)
            width = sizes[-1] if sizes else int(X.shape[1])
            backbone = networks.perceptron(
                int(X.shape[1]), sizes, model.activation, float(model.dropout), self.dtype
            )
        network = networks.add_head(backbone, width, self.n_outputs, self.device, self.dtype)
        for parameter in network[1].parameters() if frozen else ():
            nn.init.zeros_(parameter)
        return network

    def _previous(self, n_features: int | None) -> nn.Sequential:
        """Copy the fitted network for a warm start."""
        X, before = self.rows.X, self.model.module_
        if n_features != X.shape[1] or before.head.out_features != self.n_outputs:
            raise ValueError(
                f"The previous module_, where warm_start=True starts, is of {n_features} features "
                f"and {before.head.out_features} logits; X has {X.shape[1]} features, and y "
                f"needs {self.n_outputs} logits. Fit with warm_start=False."
            )
        network: nn.Sequential = copy.deepcopy(before).to(self.device)
        return network.to(self.dtype) if self.model.module is None else network


def device_and_dtype(
    model: Any, X: Any, device: torch.device | None
) -> tuple[torch.device, torch.dtype]:
    """Return the device and type of the network.

    Parameters
    ----------
    model : NeuralLogisticClassifier
    X : array or Tensor
        Validated rows.
    device : torch.device or None
        Device of the parameter `device`.
    """
    dtype = torch_dtype(X)
    own = None if model.module is None else networks.device_and_dtype_of(model.module)
    if own is not None:
        device, dtype = own[0] if device is None else device, own[1]
    if device is None:
        device = X.device if isinstance(X, Tensor) else torch.device("cpu")
    options.check_device_takes(device, X)
    return device, dtype


def _sizes(hidden_layer_sizes: Any) -> list[int]:
    one = isinstance(hidden_layer_sizes, Integral)
    return [int(size) for size in ([hidden_layer_sizes] if one else hidden_layer_sizes)]


def check_sizes(hidden_layer_sizes: Any) -> None:
    """Raise an error for sizes of hidden layers that are not positive integers."""
    one = isinstance(hidden_layer_sizes, Integral)
    for size in [hidden_layer_sizes] if one else hidden_layer_sizes:
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise ParameterError(
                f"hidden_layer_sizes={hidden_layer_sizes!r} must hold integers from 1 on."
            )
