"""What a caller has switched on in torch does not reach into a fit."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

from skorch_logreg.data.threads import single_threaded
from skorch_logreg.training import reseed

__all__ = ["seeded_generators", "default_torch_state"]


@contextmanager
def default_torch_state() -> Iterator[None]:
    """Run without gradients, inference mode, autocast or another default device, on few threads.

    Fitted tensors would be inference tensors for good, and new ones would land on the default
    device. The default dtype is the process's and not set here: the core names its dtypes.
    """
    with ExitStack() as stack:
        stack.enter_context(single_threaded())
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
    """Set torch's generators, of the CPU and of a device, and give them back as they were.

    Layers, dropout and loaders draw from them, whatever a caller would rather have.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        reseed(seed, device)
        yield
