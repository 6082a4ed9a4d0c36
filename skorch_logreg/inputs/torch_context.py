"""Isolation of a fit from torch's global settings and generators."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from threading import RLock
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from sklearn.utils import check_random_state

from skorch_logreg.data.threads import single_thread, workers
from skorch_logreg.minibatch import reseed

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_GENERATORS = RLock()  # torch's global generators, of which the process has one of each device


@contextmanager
def default_torch_state() -> Iterator[None]:
    """Run with torch's default state on one thread: the package's own threads process blocks."""
    with workers(), single_thread(), _default_modes():
        yield


def with_default_modes(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorate a function to run without gradients, inference mode, autocast or default device."""

    @wraps(function)
    def run(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with _default_modes():
            return function(*args, **kwargs)

    return run


@contextmanager
def _default_modes() -> Iterator[None]:
    """Run without gradients, inference mode, autocast or default device.

    Otherwise fitted tensors would remain inference tensors, and new tensors would be on the user's
    default device. The default dtype applies to the whole process and is not changed: this package
    names its dtypes.
    """
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for device_type in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device_type):
                stack.enter_context(torch.autocast(device_type, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


@contextmanager
def seeded_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators of the CPU and a device, and restore their state at exit.

    Layers, dropout and loaders draw from these global generators. Other threads wait until the
    state is restored.
    """
    with _GENERATORS, torch.random.fork_rng([device] if device.type == "cuda" else []):
        reseed(seed, device)
        yield


def seed_of(random_state: Any) -> int:
    """Return the seed of a fit; None gives 0, so that fits are reproducible."""
    if random_state is None:
        return 0
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
