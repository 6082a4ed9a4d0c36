"""Penalties of the coefficients.

## Adding a penalty

A penalty is a function of the coefficients (m, K, p) of m models with K logits: it knows no data,
no loss and no intercept, and its strength comes from the objective. Its class derives from
`Penalty`, whose methods have defaults, and defines four:

- `value`.
- `prox` and `subgradient_distance`: the proximal operator, and the distance of a gradient from
  the negative subdifferential. Tests check the first with the second.
- `conjugate`: for the duality gap, and so for the certificate.

It declares what it is: `smooth` if it has a gradient, so that every solver can minimise it (else
only `ProximalNewton` can), `separable`, `constrains`. With `terms` it names a quadratic solver of
`skorch_logreg.subproblems` that is faster than the one for any `prox`. A `FeaturePenalty` may be
given to an estimator as ``penalty=``.

Write it in a file of its own, name it in `PENALTIES`, and add a line to the tests' catalogue: the
laws there hold its gradient to autograd, its prox to its subgradient and its conjugate to the
definition, and every solver that takes it to `tol`. The smallest is the ridge:

```python
.. include:: l2.py
```
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
