"""Solvers that minimise the objective.

All solvers minimise the same objective to the same `tol` and differ only in time. A solver is a
frozen dataclass of settings; `Solver` is its protocol, and `drive` runs it. The guide
`notebooks/solvers.md` says when to use which.
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
