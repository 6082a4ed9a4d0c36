"""Solvers: how the objective is minimised."""

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
