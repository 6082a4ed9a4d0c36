"""Solvers: how the objective is minimised."""

from skorch_logreg.solvers.driver import Iterate, Outcome, Status, drive
from skorch_logreg.solvers.lbfgs import LBFGS
from skorch_logreg.solvers.newton import NewtonCG, NewtonCholesky
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
    "SOLVERS",
    "Iterate",
    "NewtonCG",
    "NewtonCholesky",
    "Outcome",
    "ProximalNewton",
    "Solver",
    "Status",
    "drive",
]
