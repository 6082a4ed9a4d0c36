"""Penalties: what coefficients cost.

## Adding a penalty

A penalty is a function of the coefficients (m, K, p) of m models with K logits: it knows no data,
no loss and no intercept, and its strength comes from the objective. `Penalty` lists the methods.
Four decide what it is:

- `smooth`: it has a gradient, and every solver takes it; else its `prox` does, and
  `ProximalNewton` alone.
- `prox` and `subgradient_distance`: where it is least near a point, and how far a gradient is from
  being answered by it. The second is the judge of the first.
- `conjugate` and `dual_scale`: they make the duality gap, and with it the proof.
- `of_features`, where it has one: it may be given to an estimator as ``penalty=``.

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
from skorch_logreg.penalties.protocol import Penalty

PENALTIES = {"l2": L2, "elasticnet": ElasticNet, "group": GroupL2, "box": Box}

__all__ = ["L2", "PENALTIES", "Box", "ElasticNet", "GroupL2", "Penalty"]
