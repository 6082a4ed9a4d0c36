"""Serialization of estimators, and restoration of fitted attributes after a failed fit."""

import copy
import copyreg
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import skorch_logreg
from skorch_logreg.archive import Decoder, encode
from skorch_logreg.data import scratch_folders
from skorch_logreg.exceptions import VersionMismatchWarning, warn_user
from skorch_logreg.inputs.torch_context import default_torch_state

# types of saved models that skops does not trust by default, for `skops.io.load(trusted=...)`:
# estimators, solver objects, penalties, layers of networks, and coefficients after `sparsify`
TRUSTED_TYPES = [
    "scipy.sparse._csr.csr_matrix",
    "sklearn.metrics._scorer._PassthroughScorer",
    "skorch_logreg.checkpoint.Checkpoint",
    "skorch_logreg.estimators.classifier.TorchLogisticClassifier",
    "skorch_logreg.estimators.cv.classifier.TorchLogisticClassifierCV",
    "skorch_logreg.estimators.multilabel.classifier.MultiLabel",
    "skorch_logreg.estimators.neural.classifier.NeuralLogisticClassifier",
    "skorch_logreg.estimators.offset.OffsetLogisticClassifier",
    "skorch_logreg.estimators.ordinal.OrdinalLogisticClassifier",
    "skorch_logreg.estimators.search.searches.BatchedGridSearchCV",
    "skorch_logreg.estimators.search.searches.BatchedRandomizedSearchCV",
    "skorch_logreg.penalties.group.GroupL2",
    "skorch_logreg.penalties.l2.L2",
    "skorch_logreg.penalties.sparse_group_lasso.SparseGroupLasso",
    "skorch_logreg.solvers.lbfgs.LBFGS",
    "skorch_logreg.solvers.minibatch.Adam",
    "skorch_logreg.solvers.minibatch.AdamW",
    "skorch_logreg.solvers.minibatch.Optimizer",
    "skorch_logreg.solvers.minibatch.SGD",
    "skorch_logreg.solvers.newton.NewtonCG",
    "skorch_logreg.solvers.newton.NewtonCholesky",
    "skorch_logreg.solvers.proximal.ProximalNewton",
    "torch.device",
    "torch.nn.modules.activation.GELU",
    "torch.nn.modules.activation.ReLU",
    "torch.nn.modules.activation.SiLU",
    "torch.nn.modules.activation.Sigmoid",
    "torch.nn.modules.activation.Tanh",
    "torch.nn.modules.container.Sequential",
    "torch.nn.modules.dropout.Dropout",
    "torch.nn.modules.linear.Identity",
    "torch.nn.modules.linear.Linear",
]
TRAINING = "_training"  # attribute with the state from which `partial_fit` resumes
_VERSION, _DEVICES = "_skorch_logreg_version", "_skorch_logreg_devices"
_TENSORS = "_skorch_logreg_tensors"
_ONLY_PICKLE = "cannot be saved but by pickle"


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
    cpu, devices = torch.device("cpu"), {}
    for name, value in state.items():
        tensors = [value]
        if isinstance(value, nn.Module):
            tensors = [*value.parameters(), *value.buffers()]
        if tensors and isinstance(tensors[0], Tensor) and tensors[0].device != cpu:
            devices[name] = str(tensors[0].device)
    # an optimiser moves its state to the device of the weights itself
    moved = devices.keys() | ({TRAINING} & state.keys())
    packed = state | {name: _move(state[name], cpu) for name in moved}
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
        moved = {name: _move(state[name], torch.device(d)) for name, d in devices.items()}
    except (RuntimeError, AssertionError, NotImplementedError):  # the device is not available
        moved = {}
    return state | moved


def _move(tree: Any, device: torch.device) -> Any:
    """Move a tensor, a copy of a module, or the tensors in a nested collection to a device."""
    if isinstance(tree, nn.Module):
        return copy.deepcopy(tree).to(device)
    if isinstance(tree, Tensor):
        return tree.to(device)
    if isinstance(tree, dict):
        return {key: _move(value, device) for key, value in tree.items()}
    return type(tree)(_move(x, device) for x in tree) if isinstance(tree, list | tuple) else tree


def _without_tensors(state: dict[str, Any], estimator_name: str) -> dict[str, Any]:
    """Replace the tensors of a state by an encoding with arrays."""
    stripped, tree = dict(state), {}
    for name, value in state.items():
        if isinstance(value, nn.Module):
            what = f"{name} of {estimator_name}"
            stripped[name], tree[name] = _strip_tensors(value, what)
        elif name == TRAINING or isinstance(value, Tensor):
            tree[name] = stripped.pop(name)
    if not tree:
        return state
    arrays: dict[str, np.ndarray] = {}
    try:
        document = json.dumps(encode(tree, arrays))
    except TypeError as error:
        raise TypeError(f"{estimator_name} {_ONLY_PICKLE}: {error}.") from error
    return stripped | {_TENSORS: {"document": document, "arrays": arrays}}


def _strip_tensors(module: nn.Module, what: str) -> tuple[nn.Module, list[Any]]:
    """Copy a module with indices in place of its tensors; return the copy and the tensors.

    Each tensor comes with a flag: whether it is a parameter that requires a gradient, None for a
    buffer. A tensor that the module holds twice has one index.
    """
    found: dict[int, tuple[Tensor, bool | None]]
    found = {id(t): (t, t.requires_grad) for t in module.parameters()}
    found |= {id(t): (t, None) for t in module.buffers()}
    try:
        stripped = copy.deepcopy(module, {key: index for index, key in enumerate(found)})
    except Exception as error:  # the module's own copy may use its tensors
        raise TypeError(f"{what} {_ONLY_PICKLE}: {error}.") from error
    for part in stripped.modules():
        for attribute, value in vars(part).items():
            if isinstance(value, Tensor):
                raise TypeError(
                    f"{what} {_ONLY_PICKLE}: {attribute} of {type(part).__name__} is a tensor; "
                    "register it as a buffer."
                )
    return stripped, list(found.values())


def _with_tensors(state: dict[str, Any]) -> dict[str, Any]:
    """Restore the tensors that `_without_tensors` replaced."""
    stored = state.pop(_TENSORS, None)
    if stored is None:
        return state
    for name, value in Decoder(stored["arrays"]).decode(json.loads(stored["document"])).items():
        if not isinstance(state.get(name), nn.Module):
            state[name] = value
            continue
        tensors = [t if grad is None else nn.Parameter(t, grad) for t, grad in value]
        for part in state[name].modules():
            for held in (part._parameters, part._buffers):
                held.update({key: tensors[n] for key, n in held.items() if n is not None})
    return state


@contextmanager
def isolated_fit(estimator: Any) -> Iterator[None]:
    """Run a fit in torch's default state, and undo it if it raises or is interrupted."""
    with restore_on_failure(estimator), default_torch_state(), scratch_folders():
        yield


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
        del vars(estimator)[name]
    vars(estimator).update(attributes)


def feature_attributes(estimator: Any) -> dict[str, Any]:
    """Return the attributes of the features of X."""
    names = vars(estimator).keys() & {"n_features_in_", "feature_names_in_"}
    return {name: vars(estimator)[name] for name in names}


def fitted_attributes(estimator: Any) -> dict[str, Any]:
    """Return the attributes that `fit` has set."""
    return {
        name: value
        for name, value in vars(estimator).items()
        if (name.endswith("_") and not name.startswith("_")) or name == TRAINING
    }
