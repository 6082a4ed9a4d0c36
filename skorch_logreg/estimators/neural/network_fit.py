"""A network under training, with the problem of its head."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skorch_logreg.data import InMemory, from_arrays
from skorch_logreg.estimators.neural import networks
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.fitting import Params, Progress, epoch_callback
from skorch_logreg.inputs.datasets import Stream
from skorch_logreg.inputs.options import Options
from skorch_logreg.inputs.problem import Problem
from skorch_logreg.inputs.torch_context import seeded_generators
from skorch_logreg.inputs.validate import FitInput
from skorch_logreg.minibatch import LinearHead, TrainingRequest, TrainingResult, train_in_memory


@dataclass(frozen=True)
class NetworkFit:
    """Network under training, with the problem of its head.

    The network, of a backbone and a head, is trained in place. The head has one model for classes,
    or one for each label, whose `C` (m,) may differ; ``problem`` is that of each. The solver is
    that of the head if the backbone is frozen. A warm fit started from the previous network.
    """

    model: Any
    network: Any
    problem: Problem
    C: Tensor
    seed: int
    solver: Any
    is_warm: bool

    @property
    def is_frozen(self) -> bool:
        """True if the backbone is frozen."""
        return bool(self.model.freeze_backbone)

    @property
    def head(self) -> LinearHead:
        """Weights of the last layer of the network."""
        return LinearHead(self.network.head, len(self.C))

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        device: torch.device = self.network.head.weight.device
        return device

    def data(
        self, X: Any, targets: Tensor, weight: Tensor | None, *, on_features: bool
    ) -> InMemory:
        """Combine rows, or their features, with targets and weights."""
        if on_features:
            return from_arrays(self.features(X), targets, weight)
        return from_arrays(self.problem.design(X), targets, weight, device=self.device)

    def features(self, X: Any) -> Tensor:
        """Compute the features (n_samples, n_features) of rows, float32 or float64."""
        features = networks.apply_network(self.network.backbone, X, self.network.head)
        if not bool(features.isfinite().all()):
            row = int((~features.isfinite().all(dim=1)).nonzero()[0, 0])
            raise ParameterError(
                f"The backbone gives features that are not finite for row {row} of X; scale the "
                "columns of X, for example with StandardScaler."
            )
        return features.to(networks.head_dtype(features.dtype))

    def attributes(self, params: Params) -> dict[str, Any]:
        """Return the fitted attributes of the present backbone and a head of given parameters."""
        networks.detach_stored(self.network)
        network = copy.deepcopy(self.network).eval()
        LinearHead(network.head, len(self.C)).load(params)
        return {"module_": network}

    def train(
        self,
        rows: InMemory | Stream,
        *,
        callback: Callable[[Progress], bool] | None = None,
        total_weight: Tensor | None = None,
        **options: Any,
    ) -> TrainingResult:
        """Train the network on rows or a stream; train only the head if the backbone is frozen.

        A frozen backbone takes features as rows, but computes them for the batches of a stream.
        ``options`` are further fields of the `TrainingRequest`.
        """
        head: nn.Linear = self.network.head
        is_stream = isinstance(rows, Stream)
        network: nn.Module = head if self.is_frozen else self.network
        weight = rows.weight if is_stream else rows.weight.sum(dim=0).mean(dim=0, keepdim=True)

        def forward(batch: Any) -> Tensor:
            inputs = self.features(batch) if is_stream and self.is_frozen else batch
            rows = networks.to_input(inputs, head)
            try:
                return network(rows)
            except ValueError as error:
                if len(rows) > 1:
                    raise
                raise ParameterError(
                    f"A mini-batch has one row, which module does not train on: {error}. Choose "
                    "another batch_size."
                ) from error

        request = TrainingRequest(
            network=network,
            head=head,
            loss=self.problem.loss,
            penalty=self.problem.penalty(self.device),
            reg_strength=(1 / self.C).to(self.device),
            solver=self.solver,
            shares_scale=True,
            forward=forward,
            callback=epoch_callback(callback, weight, self.head.params),
            seed=self.seed,
            layer_seed=~self.seed,  # other random numbers than those of the order of rows
            **options,
        )
        if isinstance(rows, Stream):
            return rows.train(request)
        return train_in_memory(request, rows, total_weight)

    def finished(self) -> nn.Sequential:
        """Return the network in evaluation mode, without gradients."""
        network: nn.Sequential = self.network.eval()
        network.zero_grad()
        networks.detach_stored(network)
        return network


@contextmanager
def start(
    model: Any,
    inputs: FitInput,
    solver: Any,
    *,
    seed: int,
    previous: tuple[nn.Module, int] | None,
    options: Options | None = None,
    C: Tensor | None = None,
) -> Iterator[NetworkFit]:
    """Create the network to train, with torch's generators seeded until the end of the block.

    It starts from ``previous``, a result of `previous_network`, or else from random weights. Labels
    are classes; or an indicator, with ``C`` (m,) of each label and the ``options`` of the head.
    """
    if model.module is None:
        networks.layer_sizes(model)
    device, dtype = networks.device_and_dtype(model, inputs.X, inputs.device)
    n_classes = inputs.labels.n_classes
    if C is None:
        C = torch.tensor([float(model.C)], dtype=torch.float64)
    n_outputs = len(C) * (1 if n_classes == 2 else n_classes)
    network: Any
    with seeded_generators(seed, device):
        if previous is None:
            network = networks.new_network(model, inputs.X, n_outputs, device=device, dtype=dtype)
        else:
            (network, before), n_features = previous, inputs.X.shape[1]
            if before != n_features or network.head.out_features != n_outputs:
                raise ValueError(
                    f"The previous module_, where warm_start=True starts, is of {before} features "
                    f"and {network.head.out_features} logits; X has {n_features} features, and y "
                    f"needs {n_outputs} logits. Fit with warm_start=False."
                )
            networks.detach_stored(network)
            network = copy.deepcopy(network).to(device)
            network = network.to(dtype) if model.module is None else network
        problem = Problem(
            options=options or Options.of(model.C, model.l1_ratio, "auto"),
            namespace=inputs.namespace,
            dtype=networks.head_dtype(dtype),
            n_classes=n_classes,
            n_features=int(network.head.in_features),
            fit_intercept=True,
            intercept_scaling=1.0,
            is_soft=bool(model.soft_labels or model.label_smoothing),
        )
        yield NetworkFit(model, network, problem, C, seed, solver, previous is not None)


def previous_network(model: Any) -> tuple[nn.Module, int] | None:
    """Return a model's fitted network and its number of features; None if it has none."""
    network = vars(model).get("module_")
    return None if network is None else (network, model.n_features_in_)
