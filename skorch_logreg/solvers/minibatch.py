"""Settings of training on mini-batches with optimisers of torch."""

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar, TypeGuard

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.exceptions import ParameterError

SCHEDULES = ("cosine", "inverse", "inverse-sqrt")


@dataclass(frozen=True, kw_only=True, repr=False)
class MiniBatch(Resumable):
    """Base class of mini-batch solvers, with the settings that all optimisers share.

    Every step follows the gradient of the objective divided by the total weight of all rows, with
    the loss of a mini-batch: for rows of weight 1 the mean loss of its rows plus
    ``penalty / (C n)``.  Columns are not standardised internally, so scale them first.

    Parameters
    ----------
    batch_size : int or None, default=None
        Number of rows of a mini-batch; None uses all rows, which is gradient descent.
    epochs : int, default=200
        Number of passes over all rows.
    shuffle : bool, default=True
        Whether rows are shuffled in every epoch, with the estimator's `random_state`.  Streamed
        rows keep the order of their loader.
    schedule : {"cosine", "inverse", "inverse-sqrt"}, callable or None, default=None
        Decay of the learning rate per epoch: to 0 along half a cosine, as ``1 / (1 + epoch)``, or
        as its square root; or a function of the optimiser that returns a scheduler of
        `torch.optim.lr_scheduler`. None keeps the learning rate constant. If `partial_fit` runs
        for more than `epochs`, the cosine rises again.
    clip : float or None, default=None
        Maximum norm of a model's gradient; larger gradients are scaled down.
    validation_fraction : float, default=0.0
        Fraction of the rows that are held out, stratified by class, and scored after every epoch;
        the weights of the best epoch are kept.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn for the held-out rows; None means "neg_log_loss".
    patience : int or None, default=10
        Number of epochs without a better score after which training stops, without a convergence
        warning; None never stops early.
    finish : "exact" or None, default=None
        "exact" continues with a convex solver after the last epoch until `tol` is reached.
    """

    requires: ClassVar[frozenset[str]] = frozenset({"batches"})
    batch_size: int | None = None
    epochs: int = 200
    shuffle: bool = True
    schedule: Any = None
    clip: float | None = None
    validation_fraction: float = 0.0
    scoring: Any = None
    patience: int | None = 10
    finish: str | None = None

    def __post_init__(self) -> None:
        """Validate the parameters."""
        super().__post_init__()
        self._whole("batch_size", 1, or_none=True)
        self._whole("epochs", 0)
        self._whole("patience", 1, or_none=True)
        self._positive("clip", or_none=True)
        if not isinstance(self.shuffle, bool):
            self._refuse("shuffle", "True or False")
        if not (callable(self.schedule) or self.schedule in (None, *SCHEDULES)):
            self._refuse("schedule", f"one of {', '.join(SCHEDULES)}, a callable or None")
        if not (_is_real(self.validation_fraction) and 0 <= self.validation_fraction < 1):
            self._refuse("validation_fraction", "a number in [0, 1)")
        if not (self.scoring is None or isinstance(self.scoring, str) or callable(self.scoring)):
            self._refuse("scoring", "the name of a scorer, a callable or None")
        if self.scoring is not None and not self.validation_fraction:
            self._refuse("scoring", "None where validation_fraction is 0")
        if self.finish not in (None, "exact"):
            self._refuse("finish", "'exact' or None")

    def __repr__(self) -> str:
        """Show the parameters that differ from their defaults."""
        of_loop = {field.name for field in fields(MiniBatch)}
        changed = [f for f in fields(self) if f.repr and getattr(self, f.name) != f.default]
        changed.sort(key=lambda field: field.name in of_loop)
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in changed)
        return f"{type(self).__name__}({shown})"

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Create the optimiser of some parameters."""
        raise NotImplementedError

    def scheduler(self, optimizer: torch.optim.Optimizer) -> LRScheduler | None:
        """Create the scheduler of the learning rate, or return None."""
        if self.schedule is None:
            return None
        if self.schedule == "cosine":
            return CosineAnnealingLR(optimizer, max(int(self.epochs), 1))
        if self.schedule in SCHEDULES:
            power = 1.0 if self.schedule == "inverse" else 0.5
            return LambdaLR(optimizer, lambda epoch: (1 + epoch) ** -power)
        scheduler = self.schedule(optimizer)
        if not (hasattr(scheduler, "step") and hasattr(scheduler, "state_dict")):
            raise ParameterError(
                f"schedule={self.schedule!r} of {type(self).__name__} returned {scheduler!r}; it "
                "must return a scheduler, as those of torch.optim.lr_scheduler."
            )
        return scheduler

    def _whole(self, name: str, least: int, or_none: bool = False) -> None:
        value = getattr(self, name)
        if or_none and value is None:
            return
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            self._refuse(name, f"an integer from {least} on" + " or None" * or_none)
        object.__setattr__(self, name, int(value))  # torch does not take NumPy's integers

    def _positive(self, name: str, or_none: bool = False, or_zero: bool = False) -> None:
        value = getattr(self, name)
        if or_none and value is None:
            return
        if not (_is_real(value) and 0 <= value < float("inf")) or (value == 0 and not or_zero):
            least = "non-negative" if or_zero else "positive"
            self._refuse(name, f"a finite {least} number" + " or None" * or_none)

    def _refuse(self, name: str, allowed: str) -> None:
        raise ParameterError(
            f"{name}={getattr(self, name)!r} of {type(self).__name__} must be {allowed}."
        )


@dataclass(frozen=True, repr=False)
class SGD(MiniBatch):
    """Stochastic gradient descent; with ``batch_size=None`` gradient descent.

    Parameters
    ----------
    learning_rate : float, default=0.1
        Initial learning rate.
    momentum : float, default=0.0
        Momentum in [0, 1).
    nesterov : bool, default=False
        Whether to use Nesterov's momentum.
    batch_size, epochs, shuffle, schedule, clip, validation_fraction, scoring, patience, finish
        As in `MiniBatch`.

    References
    ----------
    Robbins, Monro (1951). A stochastic approximation method, DOI 10.1214/aoms/1177729586.

    Examples
    --------
    >>> from skorch_logreg.solvers import SGD
    >>> SGD(learning_rate=0.5, batch_size=32, epochs=10, schedule="inverse")
    SGD(learning_rate=0.5, batch_size=32, epochs=10, schedule='inverse')
    """

    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        """Validate the parameters."""
        super().__post_init__()
        self._positive("learning_rate")
        if not (_is_real(self.momentum) and 0 <= self.momentum < 1):
            self._refuse("momentum", "a number in [0, 1)")
        if self.nesterov and not self.momentum:
            self._refuse("nesterov", "False where momentum is 0")

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Create the optimiser of some parameters."""
        return torch.optim.SGD(
            parameters,
            lr=float(self.learning_rate),
            momentum=float(self.momentum),
            nesterov=self.nesterov,
        )


@dataclass(frozen=True, repr=False)
class Adam(MiniBatch):
    """Adam, whose steps have about the size of the learning rate for gradients of any size.

    Parameters
    ----------
    learning_rate : float, default=0.001
        Initial learning rate.
    betas : pair of float, default=(0.9, 0.999)
        Decay rates of the running means of the gradient and of its square.
    eps : float, default=1e-8
        Added to the root of the mean square.
    batch_size, epochs, shuffle, schedule, clip, validation_fraction, scoring, patience, finish
        As in `MiniBatch`.

    References
    ----------
    Kingma, Ba (2015). Adam: a method for stochastic optimization, algorithm 1.
    """

    _class: ClassVar[type[torch.optim.Optimizer]] = torch.optim.Adam
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Validate the parameters."""
        super().__post_init__()
        self._positive("learning_rate")
        self._positive("eps")
        pair = isinstance(self.betas, (tuple, list)) and len(self.betas) == 2
        if not (pair and all(_is_real(beta) and 0 <= beta < 1 for beta in self.betas)):
            self._refuse("betas", "two numbers in [0, 1)")

    def options(self) -> dict[str, Any]:
        """Return the options of torch's optimiser."""
        betas = tuple(map(float, self.betas))
        return {"lr": float(self.learning_rate), "betas": betas, "eps": float(self.eps)}

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Create the optimiser of some parameters."""
        return self._class(parameters, **self.options())


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay of all weights, including intercepts.

    The decay is not part of the objective, whose penalty is controlled by `C`.  It is meant for
    the hidden layers of a `NeuralLogisticClassifier`.

    Parameters
    ----------
    learning_rate, betas, eps
        As in `Adam`.
    weight_decay : float, default=0.01
        Weight decay coefficient.
    batch_size, epochs, shuffle, schedule, clip, validation_fraction, scoring, patience, finish
        As in `MiniBatch`.

    References
    ----------
    Loshchilov, Hutter (2019). Decoupled weight decay regularization, algorithm 2.
    """

    _class: ClassVar[type[torch.optim.Optimizer]] = torch.optim.AdamW
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        """Validate the parameters."""
        super().__post_init__()
        self._positive("weight_decay", or_zero=True)

    def options(self) -> dict[str, Any]:
        """Return the options of torch's optimiser."""
        return {**super().options(), "weight_decay": float(self.weight_decay)}


@dataclass(frozen=True, init=False, repr=False)
class Optimizer(MiniBatch):
    """Mini-batch solver with any other optimiser of torch.

    Parameters
    ----------
    optimizer_class : callable
        Class of the optimiser, such as `torch.optim.RMSprop`; called with the parameters and the
        options.
    **options
        Options of the optimiser, such as ``lr``, and of `MiniBatch`.

    Examples
    --------
    >>> import torch
    >>> from skorch_logreg.solvers import Optimizer
    >>> Optimizer(torch.optim.RMSprop, lr=0.01, batch_size=32).options
    {'lr': 0.01}
    """

    optimizer_class: Callable[..., torch.optim.Optimizer]
    options: dict[str, Any]

    def __init__(
        self, optimizer_class: Callable[..., torch.optim.Optimizer], **options: Any
    ) -> None:
        loop = {field.name: field.default for field in fields(MiniBatch)}
        set_to = {name: options.pop(name, default) for name, default in loop.items()}
        options = options.pop("options", {}) | options  # from `dataclasses.replace`
        set_to |= {"optimizer_class": optimizer_class, "options": options}
        for name, value in set_to.items():
            object.__setattr__(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Validate the parameters, including those of the optimiser."""
        super().__post_init__()
        if not callable(self.optimizer_class):
            self._refuse("optimizer_class", "a class of torch.optim")
        try:
            self.optimizer([torch.nn.Parameter(torch.zeros(1, device="cpu"))])
        except (TypeError, ValueError) as error:
            name = getattr(self.optimizer_class, "__name__", repr(self.optimizer_class))
            raise ParameterError(f"{name} does not take {self.options}: {error}") from error

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Create the optimiser of some parameters."""
        # copies, because schedulers change a learning rate that is a tensor in place
        return self.optimizer_class(parameters, **copy.deepcopy(self.options))

    def __hash__(self) -> int:
        """Hash the hashable settings."""
        return hash((self.optimizer_class, self.batch_size, self.epochs, *self.options))


def trains_in_epochs(solver: Any) -> TypeGuard[MiniBatch]:
    """Return True if a solver needs mini-batches; False for names of solvers and None."""
    return not isinstance(solver, type) and "batches" in getattr(solver, "requires", ())


def iteration_limit(solver: Any, max_iter: int) -> int:
    """Return the largest number of iterations of a fit: epochs and those of an exact finish."""
    if not trains_in_epochs(solver):
        return max_iter
    return solver.epochs + (max_iter if solver.finish == "exact" else 0)


def changed_settings(solver: Any, *names: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, value and default of those settings that are not at their default."""
    defaults = {field.name: field.default for field in fields(MiniBatch)}
    for name in names:
        value = getattr(solver, name, defaults[name])
        if value != defaults[name]:
            yield name, value, defaults[name]


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
