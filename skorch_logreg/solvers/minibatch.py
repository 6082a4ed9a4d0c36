"""Settings of the classic training loop: an optimiser of torch on mini-batches."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, ClassVar

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from skorch_logreg.checkpoint import Resumable
from skorch_logreg.exceptions import ParameterError

SCHEDULES = ("cosine", "inverse", "inverse-sqrt")


@dataclass(frozen=True, kw_only=True, repr=False)
class MiniBatch(Resumable):
    """What the loop is told, whatever the optimiser.

    Every step follows the gradient of the objective divided by the weight of all rows, with the
    loss taken from a mini-batch: for rows of weight 1 the mean loss of its rows plus
    ``penalty / (C n)``.  Columns are taken as they are: scale them first.

    Parameters
    ----------
    batch_size : int or None, default=None
        Rows of a mini-batch; None: all, which is gradient descent.
    epochs : int, default=200
        How often all rows are gone through.
    shuffle : bool, default=True
        Whether every epoch has an order of its own, drawn from the estimator's `random_state`.
        Rows that stream come in the order of their loader.
    schedule : {"cosine", "inverse", "inverse-sqrt"}, callable or None, default=None
        How the learning rate falls from epoch to epoch: to 0 along half a cosine, as
        ``1 / (1 + epoch)``, or as its root. Or a function of the optimiser that returns a
        scheduler of `torch.optim.lr_scheduler`. None: it stays. Should `partial_fit` go on for
        more than `epochs`, the cosine rises again.
    clip : float or None, default=None
        Largest norm of a model's gradient; a larger one is scaled down.
    validation_fraction : float, default=0.0
        Share of the rows that are held out and scored after every epoch; the weights of the
        best epoch are kept. Stratified by class.
    scoring : str, callable or None, default=None
        Scorer of scikit-learn for the rows held out; None: "neg_log_loss".
    patience : int or None, default=10
        Epochs without a better score after which training stops, and no warning says that the
        optimum was not reached; None: it goes on.
    finish : "exact" or None, default=None
        Whether a convex solver goes on from where the epochs end, until `tol` is reached.
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
        """Refuse what is not allowed."""
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
        """Say what is not a default."""
        of_loop = {field.name for field in fields(MiniBatch)}
        changed = [f for f in fields(self) if f.repr and getattr(self, f.name) != f.default]
        changed.sort(key=lambda field: field.name in of_loop)
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in changed)
        return f"{type(self).__name__}({shown})"

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of some parameters."""
        raise NotImplementedError

    def scheduler(self, optimizer: torch.optim.Optimizer) -> LRScheduler | None:
        """Make what changes the learning rate after every epoch."""
        if self.schedule is None:
            return None
        if self.schedule == "cosine":
            return CosineAnnealingLR(optimizer, max(self.epochs, 1))
        if self.schedule in SCHEDULES:
            power = 1.0 if self.schedule == "inverse" else 0.5
            return LambdaLR(optimizer, lambda epoch: (1 + epoch) ** -power)
        return self.schedule(optimizer)

    def _whole(self, name: str, least: int, or_none: bool = False) -> None:
        value = getattr(self, name)
        if or_none and value is None:
            return
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            self._refuse(name, f"an integer from {least} on" + " or None" * or_none)

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
    momentum : float, default=0.0
        In [0, 1).
    nesterov : bool, default=False
        Whether the momentum is Nesterov's.
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
        """Refuse what is not allowed."""
        super().__post_init__()
        self._positive("learning_rate")
        if not (_is_real(self.momentum) and 0 <= self.momentum < 1):
            self._refuse("momentum", "a number in [0, 1)")
        if self.nesterov and not self.momentum:
            self._refuse("nesterov", "False where momentum is 0")

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of some parameters."""
        return torch.optim.SGD(
            parameters,
            lr=float(self.learning_rate),
            momentum=float(self.momentum),
            nesterov=self.nesterov,
        )


@dataclass(frozen=True, repr=False)
class Adam(MiniBatch):
    """Adam, whose steps have the size of the learning rate whatever that of the gradient.

    Parameters
    ----------
    learning_rate : float, default=0.001
    betas : pair of float, default=(0.9, 0.999)
        Memory of the mean and of the square of the gradient.
    eps : float, default=1e-8
        Added to the root of the squares.
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
        """Refuse what is not allowed."""
        super().__post_init__()
        self._positive("learning_rate")
        self._positive("eps")
        pair = isinstance(self.betas, (tuple, list)) and len(self.betas) == 2
        if not (pair and all(_is_real(beta) and 0 <= beta < 1 for beta in self.betas)):
            self._refuse("betas", "two numbers in [0, 1)")

    def options(self) -> dict[str, Any]:
        """Return what torch's optimiser is told."""
        return {"lr": float(self.learning_rate), "betas": tuple(self.betas), "eps": self.eps}

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of some parameters."""
        return self._class(parameters, **self.options())


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with weight decay beside the gradient; it acts on all weights, intercepts too.

    The decay is no part of the objective, whose penalty is `C`'s: it is meant for the hidden
    layers of a `NeuralLogisticClassifier`.

    Parameters
    ----------
    learning_rate, betas, eps
        As in `Adam`.
    weight_decay : float, default=0.01
    batch_size, epochs, shuffle, schedule, clip, validation_fraction, scoring, patience, finish
        As in `MiniBatch`.

    References
    ----------
    Loshchilov, Hutter (2019). Decoupled weight decay regularization, algorithm 2.
    """

    _class: ClassVar[type[torch.optim.Optimizer]] = torch.optim.AdamW
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        """Refuse what is not allowed."""
        super().__post_init__()
        self._positive("weight_decay", or_zero=True)

    def options(self) -> dict[str, Any]:
        """Return what torch's optimiser is told."""
        return {**super().options(), "weight_decay": float(self.weight_decay)}


@dataclass(frozen=True, init=False, repr=False)
class Optimizer(MiniBatch):
    """Any other optimiser of torch.

    Parameters
    ----------
    optimizer_class : callable
        Such as `torch.optim.RMSprop`: called with the parameters and the options.
    **options
        The optimiser's own, such as ``lr``, and those of `MiniBatch`.

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
        """Refuse what is not allowed, by the optimiser too."""
        super().__post_init__()
        if not callable(self.optimizer_class):
            self._refuse("optimizer_class", "a class of torch.optim")
        try:
            self.optimizer([torch.nn.Parameter(torch.zeros(1, device="cpu"))])
        except (TypeError, ValueError) as error:
            name = getattr(self.optimizer_class, "__name__", repr(self.optimizer_class))
            raise ParameterError(f"{name} does not take {self.options}: {error}") from error

    def optimizer(self, parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of some parameters."""
        return self.optimizer_class(parameters, **self.options)

    def __hash__(self) -> int:
        """Hash by what can be hashed."""
        return hash((self.optimizer_class, self.batch_size, self.epochs, *self.options))


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
