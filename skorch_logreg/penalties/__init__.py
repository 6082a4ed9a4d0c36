"""Penalties: what coefficients cost."""

from skorch_logreg.penalties.box import Box
from skorch_logreg.penalties.elastic_net import ElasticNet
from skorch_logreg.penalties.group import GroupL2
from skorch_logreg.penalties.l2 import L2
from skorch_logreg.penalties.protocol import Penalty

PENALTIES = {"l2": L2, "elasticnet": ElasticNet, "group": GroupL2, "box": Box}

__all__ = ["L2", "PENALTIES", "Box", "ElasticNet", "GroupL2", "Penalty"]
