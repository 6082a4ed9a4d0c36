"""One of each: losses, penalties, containers, curvatures, solvers, for the laws of each room."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import scipy.sparse as sp
import torch

from skorch_logreg import curvature, data, losses, penalties, solvers
from skorch_logreg.objective import Objective

FACTOR = torch.tensor([1.0, 0.5, 2.0, 1.0, 3.0], dtype=torch.float64)
LOW = torch.tensor([-0.2, -torch.inf, 0.0, -torch.inf, -1.0], dtype=torch.float64)
HIGH = torch.tensor([0.3, 0.4, torch.inf, torch.inf, -0.1], dtype=torch.float64)

LOSSES = {
    "binomial": losses.Binomial(),
    "multinomial": losses.Multinomial(4),
    "soft-binomial": losses.SoftBinomial(),
    "soft-multinomial": losses.SoftMultinomial(4),
}
PENALTIES = {
    "l2": penalties.L2(),
    "l2-factor": penalties.L2(FACTOR),
    "lasso": penalties.ElasticNet(1.0),
    "elastic-net": penalties.ElasticNet(0.4, FACTOR),
    "group": penalties.GroupL2(torch.tensor([0, 1, 0, 2, 1]), FACTOR),
    "sparse-group": penalties.SparseGroupLasso(torch.tensor([0, 1, 0, 2, 1]), 0.4, FACTOR),
    "box": penalties.Box(penalties.ElasticNet(0.4, FACTOR), LOW, HIGH),
    "signs": penalties.Box(penalties.ElasticNet(0.0), torch.zeros(5), torch.full((5,), torch.inf)),
}
MINI_BATCH_SOLVERS = {
    "sgd": solvers.SGD(),
    "adam": solvers.Adam(),
    "adamw": solvers.AdamW(),
    "optimizer": solvers.Optimizer(torch.optim.RMSprop, lr=0.01),
}
SOLVERS = {
    "lbfgs": solvers.LBFGS(),
    "newton-cg": solvers.NewtonCG(),
    "newton-cholesky": solvers.NewtonCholesky(),
    "proximal-newton": solvers.ProximalNewton(),
}


def _mixed(objective, point):
    """One model with a Hessian of its own beside those that share."""
    own, rest = torch.tensor([0]), torch.arange(1, len(objective.reg_strength))
    parts = [(own, curvature.ExactHessian.build(objective.select(own), point.select(own)))]
    if len(rest):
        shared = curvature.SharedHessian.build(objective.select(rest), point.select(rest))
        parts.append((rest, shared))
    return curvature.MixedCurvature(tuple(parts))


CURVATURES = {
    "classes": curvature.ClassBlocks.build,
    "classes-sample": lambda objective, point: curvature.ClassBlocks.build(objective, point, 20),
    "exact": curvature.ExactHessian.build,
    "dual": curvature.DualHessian.build,
    "diagonal": partial(curvature.UncorrelatedColumns.build, with_means=False),
    "rough-dual": partial(curvature.DualHessian.build, rough=True),
    "rough": curvature.RoughHessian.build,
    "rough-sample": lambda objective, point: curvature.RoughHessian.build(objective, point, 20),
    "shared": curvature.SharedHessian.build,
    "uncorrelated": curvature.UncorrelatedColumns.build,
    "mixed": _mixed,
}
# what a public class of each room is called here; a test finds those that are missing
CLASSES = {
    losses: {type(x) for x in LOSSES.values()} | {losses.CumulativeLogit},
    penalties: {type(x) for x in PENALTIES.values()},
    solvers: {type(x) for x in (*SOLVERS.values(), *MINI_BATCH_SOLVERS.values())},
    curvature: {
        curvature.ClassBlocks,
        curvature.ExactHessian,
        curvature.DualHessian,
        curvature.MixedCurvature,
        curvature.RoughHessian,
        curvature.SharedHessian,
        curvature.UncorrelatedColumns,
    },
    data: {
        data.ArrayChunks,
        data.ChunkParts,
        data.ComputedRows,
        data.DaskParts,
        data.PartitionedData,
        data.RankParts,
        data.RankRows,
        data.RemoteRows,
        data.DenseBlock,
        data.InMemory,
        data.NpyChunks,
        data.ParquetChunks,
        data.SparseBlock,
    },
}
NOT_CATALOGUED = {
    "Block", "Checkpoint", "Chunks", "Curvature", "Data", "FeaturePenalty", "FirstPassSample",
    "Iterate", "Loss", "MiniBatch", "NuisanceLoss", "Outcome", "Partitions", "Penalty", "Rank",
    "Solver", "Status",
}  # fmt: skip


@dataclass(frozen=True)
class Container:
    """How rows are held: a function of a dense array, a size of blocks, and whether logits are."""

    make: object
    block_rows: int | None = None
    stores_logits: bool = True

    def __call__(self, X, y, weight=None):
        held = data.from_arrays(self.make(X), y, weight)
        return replace(held, block_rows=self.block_rows, stores_logits=self.stores_logits)


def _read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


CONTAINERS = {
    "c-order": Container(np.ascontiguousarray),
    "f-order": Container(np.asfortranarray),
    "strided": Container(lambda X: np.repeat(np.repeat(X, 2, axis=0), 2, axis=1)[::2, ::2]),
    "reversed": Container(lambda X: X[::-1].copy()[::-1]),
    "read-only": Container(_read_only),
    "tensor": Container(lambda X: torch.from_numpy(X.copy())),
    "csr": Container(sp.csr_array),
    "csr-64": Container(lambda X: _wide(sp.csr_array(X))),
    "blocks-of-7": Container(np.ascontiguousarray, 7),
    "f-order-blocks-of-7": Container(np.asfortranarray, 7),
    "csr-blocks-of-7": Container(sp.csr_array, 7),
    "computed-logits": Container(np.ascontiguousarray, 7, stores_logits=False),
    "csr-computed-logits": Container(sp.csr_array, 7, stores_logits=False),
}


def _wide(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


def problem(loss, n=60, p=5, seed=0):
    """Dense rows with a few zeros, classes or shares of them, and weights (one of them zero)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.logspace(-1, 1, p) + np.linspace(0, 3, p)
    X[rng.random((n, p)) < 0.3] = 0.0
    n_classes = max(loss.n_outputs, 2)
    y = np.r_[np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)]
    weight = rng.uniform(0.2, 2.0, n)
    weight[3] = 0.0
    if isinstance(loss, (losses.SoftBinomial, losses.SoftMultinomial)):
        y = shares(y, n_classes, rng)
    return X, y, weight


def shares(classes, n_classes, rng):
    """Probabilities as the core takes them; some rows have a class alone, or nearly."""
    own = np.where(np.arange(len(classes)) % 3 == 0, 1.0, rng.uniform(0.2, 0.8, len(classes)))
    own[1::6] = 0.999
    others = rng.dirichlet(np.ones(n_classes), len(classes))
    share = own[:, None] * np.eye(n_classes)[classes] + (1 - own)[:, None] * others
    return share[:, 1] if n_classes == 2 else share[:, None]


def objective(
    loss=LOSSES["binomial"],
    penalty=PENALTIES["l2"],
    container=CONTAINERS["c-order"],
    reg_strength=(0.7,),
    fit_intercept=True,
    standardised=True,
    **kwargs,
):
    """An objective over a catalogue problem, in units of its own."""
    X, y, weight = problem(loss, **kwargs)
    held = container(X, y, weight)
    center, scale = torch.zeros(X.shape[1]).double(), torch.ones(X.shape[1]).double()
    if standardised:
        center, scale = held.column_moments()
    if not fit_intercept:
        center = torch.zeros_like(center)
    held = held.standardised(center, scale, loss.encode(held.targets))
    lam = torch.tensor(reg_strength, dtype=torch.float64)
    return Objective(held, loss, penalty, lam, fit_intercept)


def parameters(of, seed=1, size=0.5):
    """Random parameters of an objective; of classes, summing to zero."""
    generator = torch.Generator().manual_seed(seed)
    params = size * torch.randn(of.shape, generator=generator, dtype=torch.float64)
    if not of.fit_intercept:
        params[..., -1] = 0.0
    if of.loss.n_outputs > 1:  # where solvers move
        params -= params.mean(dim=1, keepdim=True)
    return params
