"""Serialization of estimators, and restoration of fitted attributes after a failed fit."""

import copy
import copyreg
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import skorch_logreg
from skorch_logreg.checkpoint import decode_tree, encode_tree
from skorch_logreg.exceptions import VersionMismatchWarning, warn_user

__all__ = [
    "TRAINING",
    "VersionedState",
    "fitted_attributes",
    "pack",
    "replace_fitted",
    "restore_on_failure",
    "unpack",
]

TRAINING = "_training"  # attribute with the state from which `partial_fit` resumes
_VERSION, _DEVICES = "_skorch_logreg_version", "_skorch_logreg_devices"
_TENSORS = "_skorch_logreg_tensors"


class VersionedState:
    """Mixin that stores the package version in the state for pickle, copy and skops.

    pickle and copy serialize tensors and modules, through `__reduce_ex__`. skops, which reads
    `__getstate__`, does not support tensors: that state holds arrays in their place, also in
    modules.
    """

    def _state(self) -> dict[str, Any]:
        """Return the state for pickle and copy."""
        state: Any = super().__getstate__()
        return pack(state)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Return a constructor and the state, for pickle and copy."""
        return copyreg.__newobj__, (type(self),), self._state()  # type: ignore[attr-defined]

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with arrays in place of tensors."""
        return _without_tensors(self._state(), type(self).__name__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a state; warn if another version wrote it."""
        super().__setstate__(unpack(state, type(self).__name__))  # type: ignore[misc]


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Add the package version to a state, and move tensors to the CPU, for any machine."""
    places = {name: _device(value) for name, value in state.items()}
    devices = {name: str(d) for name, d in places.items() if d is not None and d.type != "cpu"}
    packed = state | {name: _to_device(state[name], torch.device("cpu")) for name in devices}
    if TRAINING in packed:  # an optimiser moves its state to the device of the weights itself
        packed[TRAINING] = _on_cpu(packed[TRAINING])
    return packed | {_VERSION: skorch_logreg.__version__, _DEVICES: devices}


def unpack(state: dict[str, Any], estimator_name: str) -> dict[str, Any]:
    """Undo `pack`; move tensors back to their device if it is available."""
    state = _with_tensors(dict(state))
    version, devices = state.pop(_VERSION, "unknown"), state.pop(_DEVICES, {})
    if version != skorch_logreg.__version__:
        warn_user(
            VersionMismatchWarning(
                estimator_name=estimator_name,
                current_version=skorch_logreg.__version__,
                saved_version=version,
            )
        )
    try:
        moved = {name: _to_device(state[name], torch.device(d)) for name, d in devices.items()}
    except (RuntimeError, AssertionError, NotImplementedError):  # the device is not available
        moved = {}
    return state | moved


def _without_tensors(state: dict[str, Any], estimator_name: str) -> dict[str, Any]:
    """Replace the tensors of a state by an encoding with arrays."""
    state, tree = dict(state), {}
    for name in [name for name, value in state.items() if isinstance(value, nn.Module)]:
        state[name], tree[name] = _strip_tensors(state[name], name, estimator_name)
    for name in [n for n, value in state.items() if n == TRAINING or isinstance(value, Tensor)]:
        tree[name] = state.pop(name)
    if not tree:
        return state
    try:
        document, arrays = encode_tree(tree)
    except TypeError as error:
        raise TypeError(f"{estimator_name} cannot be saved but by pickle: {error}.") from error
    return state | {_TENSORS: {"document": document, "arrays": arrays}}


def _with_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Restore the tensors that `_without_tensors` replaced."""
    stored = state.pop(_TENSORS, None)
    for name, value in ({} if stored is None else decode_tree(**stored)).items():
        if isinstance(state.get(name), nn.Module):
            _restore_tensors(state[name], value)
        else:
            state[name] = value
    return state


def _strip_tensors(
    module: nn.Module, name: str, estimator_name: str
) -> tuple[nn.Module, list[Any]]:
    """Copy a module with indices in place of its tensors; return the copy and the tensors.

    Each tensor comes with a flag: whether it is a parameter that requires a gradient, None for a
    buffer. A tensor that the module holds twice has one index.
    """
    found: dict[int, tuple[Tensor, bool | None]]
    found = {id(t): (t, t.requires_grad) for t in module.parameters()}
    found |= {id(t): (t, None) for t in module.buffers()}
    places = {key: place for place, key in enumerate(found)}
    try:
        stripped = copy.deepcopy(module, dict(places))
    except Exception as error:  # the module's own copy may use its tensors
        raise TypeError(
            f"{name} of {estimator_name} cannot be saved but by pickle: {error}."
        ) from error
    for part in stripped.modules():
        for attribute, value in vars(part).items():
            if isinstance(value, Tensor):
                raise TypeError(
                    f"{name} of {estimator_name} cannot be saved but by pickle: {attribute} of "
                    f"{type(part).__name__} is a tensor; register it as a buffer."
                )
    return stripped, list(found.values())


def _restore_tensors(stripped: nn.Module, tensors: list[Any]) -> None:
    """Replace the indices of a stripped module by tensors, in place."""
    filled = [t if grad is None else nn.Parameter(t, grad) for t, grad in tensors]
    for part in stripped.modules():
        for held in (part._parameters, part._buffers):
            held.update({key: filled[n] for key, n in held.items() if n is not None})


@contextmanager
def restore_on_failure(estimator: Any) -> Iterator[None]:
    """Restore the previous fitted attributes if the block raises or is interrupted."""
    before = fitted_attributes(estimator)
    try:
        yield
    except BaseException:
        replace_fitted(estimator, before)
        raise


def replace_fitted(estimator: Any, attributes: dict[str, Any]) -> None:
    """Replace all fitted attributes by the given ones."""
    for name in fitted_attributes(estimator).keys() - attributes.keys():
        delattr(estimator, name)
    vars(estimator).update(attributes)


def _device(value: Any) -> torch.device | None:
    """Return the device of a tensor or a module; None for anything else."""
    if isinstance(value, nn.Module):
        value = next((t for t in (*value.parameters(), *value.buffers())), None)
    return value.device if isinstance(value, Tensor) else None


def _to_device(value: Any, device: torch.device) -> Any:
    """Move a tensor, or a copy of a module, to a device."""
    return copy.deepcopy(value).to(device) if isinstance(value, nn.Module) else value.to(device)


def _on_cpu(tree: Any) -> Any:
    """Move the tensors in nested dicts, lists and tuples to the CPU."""
    if isinstance(tree, Tensor):
        return tree.cpu()
    if isinstance(tree, dict):
        return {key: _on_cpu(value) for key, value in tree.items()}
    return type(tree)(map(_on_cpu, tree)) if isinstance(tree, (list, tuple)) else tree


def fitted_attributes(estimator: Any) -> dict[str, Any]:
    """Return the attributes that `fit` has set."""
    return {
        name: value
        for name, value in vars(estimator).items()
        if (name.endswith("_") and not name.startswith("_")) or name == TRAINING
    }
