"""Resolution of the parameters of a cross-validated fit, with scikit-learn's defaults.

The tables of deprecated values become obsolete with scikit-learn 1.10.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from torch import Tensor

from skorch_logreg.checkpoint import require_no_checkpoint
from skorch_logreg.exceptions import ParameterError, warn_user
from skorch_logreg.inputs.options import Options, check_solver, default_grid, resolve
from skorch_logreg.solvers.minibatch import trains_in_epochs

# scikit-learn changes some of them, which it announces by the default "warn"
DEFAULTS = LogisticRegressionCV().get_params()

_L1_RATIOS_NONE = (
    "'l1_ratios=None' was deprecated in version 1.8 and will "
    "trigger an error in 1.10. Use an array-like with values"
    "in [0, 1] instead."
)
_PENALTY_DEPRECATED = (
    "'penalty' was deprecated in version 1.8 and will be removed in"
    " 1.10. To avoid this warning, leave 'penalty' set to its default"
    " value and use 'l1_ratios' and 'Cs' instead."
    " Use l1_ratios=(0,) instead of penalty='l2',"
    " l1_ratios=(1,) instead of penalty='l1',"
    " l1_ratios set to floats between 0 and 1 instead of"
    " penalty='elasticnet', and Cs=(np.inf,) instead of penalty=None."
)


@dataclass(frozen=True)
class CVOptions:
    """Candidates, scoring and solver that the parameters specify.

    ``Cs`` and ``l1_ratios`` are those of the attributes, ``effective_l1_ratios`` the share of L1 in
    the penalty for every entry of ``l1_ratios``, and ``first`` the options of a fit with the first
    penalty.
    """

    Cs: np.ndarray
    l1_ratios: Sequence[float] | None
    effective_l1_ratios: tuple[float, ...]
    scoring: Any
    use_legacy_attributes: bool
    first: Options

    @property
    def c_values(self) -> Tensor:
        """Values of C as float64."""
        return torch.from_numpy(self.Cs.astype(np.float64))

    @property
    def penalties(self) -> list[Options]:
        """Options of a fit with every penalty."""
        return [replace(self.first, l1_ratio=l1_ratio) for l1_ratio in self.effective_l1_ratios]

    @property
    def l1_ratio_values(self) -> np.ndarray:
        """Values of `l1_ratios` as float64, even if `penalty` overrides them."""
        given = self.effective_l1_ratios if self.l1_ratios is None else self.l1_ratios
        return np.asarray(given, dtype=np.float64)

    def attributes(self) -> dict[str, Any]:
        """Return the fitted attributes of the candidates."""
        ratios = [None] if self.l1_ratios is None else self.l1_ratios
        return {"Cs_": self.Cs, "l1_ratios_": np.asarray(ratios)}


def resolve_cv(parameters: Any) -> CVOptions:
    """Resolve parameters to options, with scikit-learn's warnings and errors in its order."""
    l1_ratios, penalty = _resolve_penalty(parameters)
    check_solver(parameters.solver, penalty, parameters.dual)
    require_no_checkpoint(parameters.solver)  # which is for one fit
    if trains_in_epochs(parameters.solver):
        raise ParameterError(
            f"solver={parameters.solver!r} trains in epochs, but all folds and penalties are "
            "solved exactly and at once here; search with "
            "GridSearchCV(TorchLogisticClassifier(solver=...), {'C': [...]})."
        )
    l1_ratios = _check_l1_ratios(l1_ratios, penalty)
    given = None if isinstance(parameters.penalty, str) else parameters.penalty
    named = given is None and parameters.penalty != "deprecated"
    if named and penalty != "elasticnet" and l1_ratios is not None:
        warn_user(
            "l1_ratios parameter is only used when penalty is 'elasticnet'. "
            f"Got (penalty={penalty})"
        )
    Cs = _check_grid(parameters.Cs)
    solver = parameters.solver
    if solver == "liblinear" and np.isinf(Cs).any():
        check_solver(solver, None, parameters.dual)
    effective_l1_ratios = [float(ratio) for ratio in l1_ratios or [0]]
    if penalty != "elasticnet":
        effective_l1_ratios = [float(penalty == "l1")] * len(effective_l1_ratios)
    return CVOptions(
        Cs=Cs,
        l1_ratios=l1_ratios,
        effective_l1_ratios=tuple(effective_l1_ratios),
        scoring=unless_default(parameters.scoring, None),
        use_legacy_attributes=bool(unless_default(parameters.use_legacy_attributes, True)),
        first=Options.of(1.0, effective_l1_ratios[0], solver, given),
    )


def _resolve_penalty(parameters: Any) -> tuple[Any, Any]:
    """Return `l1_ratios` and the name of the penalty; that of a penalty object is "l2"."""
    l1_ratios, penalty = unless_default(parameters.l1_ratios, None), parameters.penalty
    if not isinstance(penalty, str | None):
        own = {name: getattr(parameters, name) for name in ("penalty", "dual", "solver")}
        resolve(SimpleNamespace(C=1.0, l1_ratio=0.0, n_jobs=None, **own))
        if l1_ratios is not None and np.any(np.asarray(l1_ratios) != 0):
            raise ParameterError(
                f"l1_ratios={l1_ratios!r} mix ridge and lasso, but penalty={penalty!r} is neither; "
                "pass l1_ratios=(0,)."
            )
        return l1_ratios, "l2"
    if penalty != "deprecated":
        warn_user(_PENALTY_DEPRECATED, FutureWarning)
        return l1_ratios, penalty
    if parameters.l1_ratios is None:
        warn_user(_L1_RATIOS_NONE, FutureWarning)
    ratios = np.zeros(1) if l1_ratios is None else np.asarray(l1_ratios)
    ends = [name for name, end in (("l2", 0), ("l1", 1)) if np.all(ratios == end)]
    return l1_ratios, ends[0] if ends else "elasticnet"


def unless_default(value: Any, default: Any) -> Any:
    """Return the value of a parameter, or ``default`` in place of scikit-learn's "warn"."""
    return default if isinstance(value, str) and value == "warn" else value


def _check_l1_ratios(l1_ratios: Any, penalty: str) -> Sequence[float] | None:
    """Raise an error for ratios outside [0, 1], or for missing ratios of an elastic net."""
    if l1_ratios is None and penalty != "elasticnet":
        return None
    given = () if l1_ratios is None else l1_ratios
    if not len(given) or not all(isinstance(r, Real) and 0 <= float(r) <= 1 for r in given):
        raise ValueError(
            f"l1_ratios must be an array-like of numbers between 0 and 1; got "
            f"(l1_ratios={l1_ratios!r})"
        )
    return list(l1_ratios)


def _check_grid(Cs: Any) -> np.ndarray:
    """Return the values of C; an int is the size of scikit-learn's grid."""
    if isinstance(Cs, Integral):
        return default_grid(int(Cs))
    try:
        grid = np.asarray(Cs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"Cs must be a number or hold numbers: {error}") from error
    if grid.ndim != 1 or grid.size == 0:
        raise ParameterError(
            f"Cs has shape {grid.shape}; expected at least one value in one dimension, or an int."
        )
    wrong = grid[~(grid > 0)]
    if wrong.size:
        raise ParameterError(f"Cs holds {wrong[0]}; its values must be positive (inf: no penalty).")
    return np.array(Cs)
