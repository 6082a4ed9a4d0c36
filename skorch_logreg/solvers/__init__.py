"""Solvers that minimise the objective.

## Choosing a solver

All solvers minimise the same objective to the same `tol` and differ only in time.
``solver="auto"`` chooses by the size of the data, the penalty, and the estimated cost of a pass, a
product and a factorisation (see `solvers/choose.py` and `curvature/cost.py`).

| problem | what "auto" runs |
| --- | --- |
| ridge or no penalty, few columns or few rows | Newton's method with the exact Hessian |
| the same, with an expensive Hessian | L-BFGS, or chord steps, with an approximate Hessian |
| lasso, elastic net, groups, bounds | `ProximalNewton` |
| many models on the same rows | the same, with shared passes and one factorisation |

Choose a solver explicitly if you know more than the cost model does:

| solver | use it if |
| --- | --- |
| `NewtonCholesky` | a Hessian fits into memory and high accuracy is needed |
| `NewtonCG` | it does not fit, or a second method should confirm a result |
| `LBFGS` | the penalty is smooth; it needs the least memory |
| `ProximalNewton` | the penalty is not smooth, or coefficients have bounds |
| `SGD`, `Adam`, `AdamW`, `Optimizer` | rows are streamed, or epochs of mini-batches are wanted |

The four exact solvers verify convergence. A training loop does not end at the optimum by itself;
``finish="exact"`` continues with an exact solver until `tol` is reached.

>>> from sklearn.datasets import load_breast_cancer
>>> from sklearn.preprocessing import scale
>>> from skorch_logreg import TorchLogisticClassifier
>>> from skorch_logreg.solvers import SGD, SOLVERS
>>> X, y = load_breast_cancer(return_X_y=True)
>>> [TorchLogisticClassifier(solver=s()).fit(scale(X), y).converged_ for s in SOLVERS.values()]
[True, True, True, True]
>>> loop = SGD(learning_rate=0.1, epochs=20, finish="exact")
>>> TorchLogisticClassifier(solver=loop).fit(scale(X), y).converged_
True

A solver is a frozen dataclass of settings. `Solver` is its protocol, and `drive` runs it.
"""

from skorch_logreg.checkpoint import Checkpoint
from skorch_logreg.solvers.chord import ChordNewton
from skorch_logreg.solvers.driver import Iterate, drive
from skorch_logreg.solvers.lbfgs import LBFGS
from skorch_logreg.solvers.minibatch import SGD, Adam, AdamW, MiniBatch, Optimizer
from skorch_logreg.solvers.newton import NewtonCG, NewtonCholesky
from skorch_logreg.solvers.outcome import Outcome, Status
from skorch_logreg.solvers.protocol import Solver
from skorch_logreg.solvers.proximal import ProximalNewton
from skorch_logreg.solvers.small import SmallNewton

SOLVERS = {
    "lbfgs": LBFGS,
    "newton-cg": NewtonCG,
    "newton-cholesky": NewtonCholesky,
    "proximal-newton": ProximalNewton,
}
# what `choose_solver` names
AUTO_SOLVERS = {**SOLVERS, "small-newton": SmallNewton, "chord-newton": ChordNewton}

__all__ = [
    "LBFGS",
    "SGD",
    "SOLVERS",
    "Adam",
    "AdamW",
    "Checkpoint",
    "Iterate",
    "MiniBatch",
    "NewtonCG",
    "NewtonCholesky",
    "Optimizer",
    "Outcome",
    "ProximalNewton",
    "Solver",
    "Status",
    "drive",
]
