"""What of a model travels, and what a fit that fails leaves behind."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import skorch_logreg
from skorch_logreg.exceptions import VersionMismatchWarning

__all__ = ["TRAINING", "all_or_nothing", "fitted", "pack", "replace_fitted", "unpack"]

TRAINING = "_training"  # from where `partial_fit` goes on
_VERSION, _DEVICES = "_skorch_logreg_version", "_skorch_logreg_devices"


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Stamp a state with the version; tensors go to the CPU, so that any machine can read it."""
    places = {name: _device(value) for name, value in state.items()}
    devices = {name: str(d) for name, d in places.items() if d is not None and d.type != "cpu"}
    packed = state | {name: _moved(state[name], torch.device("cpu")) for name in devices}
    if TRAINING in packed:  # an optimiser takes its state to where the weights are by itself
        packed[TRAINING] = _on_cpu(packed[TRAINING])
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
        moved = {name: _moved(state[name], torch.device(d)) for name, d in devices.items()}
    except (RuntimeError, AssertionError, NotImplementedError):  # no such device here
        moved = {}
    return state | moved


@contextmanager
def all_or_nothing(estimator: Any) -> Iterator[None]:
    """Put back the fitted attributes as they were if the block raises or is interrupted."""
    before = fitted(estimator)
    try:
        yield
    except BaseException:
        replace_fitted(estimator, before)
        raise


def replace_fitted(estimator: Any, attributes: dict[str, Any]) -> None:
    """Have these attributes in the place of those that `fit` has set."""
    for name in fitted(estimator).keys() - attributes.keys():
        delattr(estimator, name)
    vars(estimator).update(attributes)


def _device(value: Any) -> torch.device | None:
    """Where a tensor or a module is; None for anything else."""
    if isinstance(value, nn.Module):
        value = next((t for t in (*value.parameters(), *value.buffers())), None)
    return value.device if isinstance(value, Tensor) else None


def _moved(value: Any, device: torch.device) -> Any:
    """Take a tensor, or a copy of a module, elsewhere."""
    return copy.deepcopy(value).to(device) if isinstance(value, nn.Module) else value.to(device)


def _on_cpu(tree: Any) -> Any:
    """Tensors of dicts, lists and tuples, on the CPU."""
    if isinstance(tree, Tensor):
        return tree.cpu()
    if isinstance(tree, dict):
        return {key: _on_cpu(value) for key, value in tree.items()}
    return type(tree)(map(_on_cpu, tree)) if isinstance(tree, (list, tuple)) else tree


def fitted(estimator: Any) -> dict[str, Any]:
    """Return what `fit` has set."""
    return {
        name: value
        for name, value in vars(estimator).items()
        if (name.endswith("_") and not name.startswith("_")) or name == TRAINING
    }
