"""What of a model travels, and what a fit that fails leaves behind."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

import skorch_logreg
from skorch_logreg.exceptions import VersionMismatchWarning

__all__ = ["all_or_nothing", "pack", "unpack"]

_VERSION, _DEVICES = "_skorch_logreg_version", "_skorch_logreg_devices"


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Stamp a state with the version; tensors go to the CPU, so that any machine can read it."""
    devices = {
        name: str(value.device)
        for name, value in state.items()
        if isinstance(value, Tensor) and value.device.type != "cpu"
    }
    packed = state | {name: state[name].cpu() for name in devices}
    return packed | {_VERSION: skorch_logreg.__version__, _DEVICES: devices}


def unpack(state: dict[str, Any], estimator_name: str) -> dict[str, Any]:
    """Undo `pack`; tensors return to their device if it exists here.

    Warns
    -----
    VersionMismatchWarning
        If another version wrote the state.
    """
    state = dict(state)
    version, devices = state.pop(_VERSION, "unknown"), state.pop(_DEVICES, {})
    if version != skorch_logreg.__version__:
        warnings.warn(
            VersionMismatchWarning(
                estimator_name=estimator_name,
                current_version=skorch_logreg.__version__,
                saved_version=version,
            ),
            stacklevel=3,
        )
    try:
        moved = {name: state[name].to(torch.device(device)) for name, device in devices.items()}
    except (RuntimeError, AssertionError, NotImplementedError):  # no such device here
        moved = {}
    return state | moved


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Put back the fitted attributes as they were if the block raises or is interrupted."""
    before = _fitted(estimator)
    try:
        yield
    except BaseException:
        for name in _fitted(estimator).keys() - before.keys():
            delattr(estimator, name)
        vars(estimator).update(before)
        raise


def _fitted(estimator: Any) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(estimator).items()
        if name.endswith("_") and not name.startswith("_")
    }
