"""Solvers: how the objective is minimised.

## Choosing a solver

All of them minimise one objective to one `tol`, so the choice is one of time alone, and
``solver="auto"`` makes it: by the size of the data, the penalty, and what a pass, a product and a
factorisation cost (`solvers/choose.py` and `curvature/cost.py` hold the model).

| what there is | what "auto" runs |
| --- | --- |
| a ridge or no penalty, and few columns or few rows | Newton's method with the exact Hessian |
| the same, where the Hessian is dear | L-BFGS, or chord steps, with a model of the Hessian |
| lasso, elastic net, groups, bounds | `ProximalNewton` |
| many models over the same rows | the same; they share passes and one factorisation |

Name one where you know more than the cost model does:

| take | where |
| --- | --- |
| `NewtonCholesky` | a Hessian fits into memory, and many digits are wanted |
| `NewtonCG` | it does not, or a plain second method shall confirm a result |
| `LBFGS` | any smooth penalty; least memory |
| `ProximalNewton` | any penalty at all; the only one where it is not smooth, or bounded |
| `SGD`, `Adam`, `AdamW`, `Optimizer` | epochs of mini-batches: rows that stream, or a lesson |

The four exact ones prove what they reached. A training loop does not end at the optimum by
itself: ``finish="exact"`` goes the rest of the way.

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

A solver is frozen settings; `Solver` says what one has to offer, and `drive` runs it.
"""

from skorch_logreg.checkpoint import Checkpoint
from skorch_logreg.solvers.driver import Iterate, drive
from skorch_logreg.solvers.lbfgs import LBFGS
from skorch_logreg.solvers.minibatch import SGD, Adam, AdamW, MiniBatch, Optimizer
from skorch_logreg.solvers.newton import NewtonCG, NewtonCholesky
from skorch_logreg.solvers.outcome import Outcome, Status
from skorch_logreg.solvers.protocol import Solver
from skorch_logreg.solvers.proximal import ProximalNewton

SOLVERS = {
    "lbfgs": LBFGS,
    "newton-cg": NewtonCG,
    "newton-cholesky": NewtonCholesky,
    "proximal-newton": ProximalNewton,
}

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
