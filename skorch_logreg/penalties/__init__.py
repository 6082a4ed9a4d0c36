"""Penalties of the coefficients.

The guide `notebooks/penalties.md` says how to use them, and how to add one.
"""

from skorch_logreg.penalties.box import Box
from skorch_logreg.penalties.elastic_net import ElasticNet
from skorch_logreg.penalties.group import GroupL2
from skorch_logreg.penalties.l2 import L2
from skorch_logreg.penalties.protocol import FeaturePenalty, Penalty
from skorch_logreg.penalties.sparse_group_lasso import SparseGroupLasso

PENALTIES = {
    "l2": L2,
    "elasticnet": ElasticNet,
    "group": GroupL2,
    "sparse-group": SparseGroupLasso,
    "box": Box,
}

__all__ = [
    "L2",
    "PENALTIES",
    "Box",
    "ElasticNet",
    "FeaturePenalty",
    "GroupL2",
    "Penalty",
    "SparseGroupLasso",
]
