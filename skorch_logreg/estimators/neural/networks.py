"""Networks of a backbone and a linear head."""

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from skorch_logreg.data.tensors import BLOCK_ELEMENTS
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs import options
from skorch_logreg.inputs.arrays import to_tensor
from skorch_logreg.inputs.rows import torch_dtype

ACTIVATIONS = {
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def device_and_dtype(
    model: Any, X: Any, device: torch.device | None
) -> tuple[torch.device, torch.dtype]:
    """Return the device and type of a model's network: those of the module, or else of the rows.

    ``device``, if it is given, takes precedence.
    """
    dtype, module = torch_dtype(X), model.module
    parts = () if module is None else (*module.parameters(), *module.buffers())
    first = next((part for part in parts if part.is_floating_point()), None)
    if first is not None:
        device, dtype = first.device if device is None else device, first.dtype
    if device is None:
        device = X.device if isinstance(X, Tensor) else torch.device("cpu")
    options.check_device_takes(device, X)
    return device, dtype


def new_network(
    model: Any, X: Any, n_outputs: int, *, device: torch.device, dtype: torch.dtype
) -> nn.Sequential:
    """Build the network of a model for validated rows, with random weights.

    Weights are drawn from torch's CPU generator, so that a seed gives the same ones on any device.
    The head of a frozen backbone starts at zero.
    """
    if model.module is not None:
        backbone, width = _copy_backbone(model.module, X[:2], device, dtype)
    else:
        width = int(X.shape[1])
        layers: list[nn.Module] = []
        for size in layer_sizes(model):
            layers.append(nn.Linear(width, size, dtype=dtype, device="cpu"))
            layers.append(ACTIVATIONS[model.activation]())
            if model.dropout:
                layers.append(nn.Dropout(float(model.dropout)))
            width = size
        backbone = nn.Sequential(*layers)
    head = nn.Linear(width, n_outputs, dtype=dtype, device="cpu")
    for parameter in head.parameters() if model.freeze_backbone else ():
        nn.init.zeros_(parameter)
    return nn.Sequential(OrderedDict(backbone=backbone, head=head)).to(device)


def layer_sizes(model: Any) -> list[int]:
    """Return the sizes of the hidden layers; raise a ParameterError if one is not allowed."""
    sizes = model.hidden_layer_sizes
    found: list[Any] = [sizes] if isinstance(sizes, Integral) else list(sizes)
    if not all(isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= 1 for n in found):
        raise ParameterError(f"hidden_layer_sizes={sizes!r} must hold integers from 1 on.")
    return [int(n) for n in found]


def _copy_backbone(
    module: nn.Module, rows: Any, device: torch.device, dtype: torch.dtype
) -> tuple[nn.Module, int]:
    """Copy a user's module to a device; return features in one axis, and their number.

    The copy is tried on a few rows, of the type of the module's input.
    """
    name = type(module).__name__
    try:
        backbone = copy.deepcopy(module)
    except Exception as error:
        raise ParameterError(
            f"module {name} cannot be copied, and fit trains a copy: {error}"
        ) from error
    backbone.to(device)
    trial = to_tensor(rows).to(device, dtype, copy=True)
    try:
        with _eval_mode(backbone), torch.no_grad():
            features = backbone(trial)
    except Exception as error:
        raise ParameterError(
            f"module {name} does not take rows of X, of shape {tuple(trial.shape)} and type "
            f"{str(trial.dtype).removeprefix('torch.')}: {error}"
        ) from error
    is_array = isinstance(features, Tensor) and features.ndim > 1 and features.is_floating_point()
    if not (is_array and len(features) == len(trial) and features[0].numel()):
        got = f"type {type(features).__name__}"
        if isinstance(features, Tensor):
            got = f"shape {tuple(features.shape)} and type {features.dtype}"
        raise ParameterError(
            f"module {name} gives an output of {got} for {len(trial)} rows, expected floating "
            "point numbers of shape (n_samples, ...) with features for every row."
        )
    if features.ndim > 2:
        backbone = nn.Sequential(backbone, nn.Flatten())
    return backbone, features[0].numel()


def detach_stored(network: nn.Module) -> None:
    """Detach tensors that modules stored in their forward, because a graph cannot be copied."""
    for part in network.modules():
        for stored in (vars(part), part._buffers):
            for name, value in stored.items():
                if isinstance(value, Tensor) and not value.is_leaf:
                    stored[name] = value.detach()


def to_input(rows: Any, head: nn.Linear) -> Tensor:
    """Copy rows to a dense tensor of the network's type and device.

    The rows are always copied, because a module may modify its input.
    """
    return to_tensor(rows).to(head.weight.device, head.weight.dtype, copy=True)


def apply_network(module: nn.Module, X: Any, head: nn.Linear) -> Tensor:
    """Apply a network with a head, or its backbone, to all rows, without gradients."""
    widths = [part.out_features for part in module.modules() if isinstance(part, nn.Linear)]
    step = max(BLOCK_ELEMENTS // max(math.prod(X.shape[1:]), *widths, 1), 1)
    device = head.weight.device
    with torch.no_grad(), torch.autocast(device.type, enabled=False), _eval_mode(module):
        parts = [
            module(to_input(X[i : i + step], head)) for i in range(0, max(X.shape[0], 1), step)
        ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def head_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the type of the head's fits and predictions: float32 for half precision."""
    return dtype if dtype in (torch.float32, torch.float64) else torch.float32


def logits(network: Any, X: Any) -> Tensor:
    """Compute the finite logits (n_samples, n_outputs) of a network, float32 or float64."""
    found = apply_network(network, X, network.head)
    found = found.to(head_dtype(found.dtype))
    if not bool(found.isfinite().all()):
        raise ValueError(
            f"module_ gives logits that are not finite for X, of type {found.dtype}: scale its "
            "columns, for example with StandardScaler."
        )
    return found


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode, and restore the mode of its parts at exit."""
    training = [part for part in module.modules() if part.training]
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True
