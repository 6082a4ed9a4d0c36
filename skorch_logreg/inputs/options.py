"""Validation of parameters: scikit-learn's table of solvers and penalties, and deprecations.

scikit-learn 1.10 removes `penalty` and `n_jobs`, which only this file handles.
"""

import inspect
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints

from skorch_logreg.exceptions import DeviceError, ParameterError, warn_user
from skorch_logreg.solvers.minibatch import trains_in_epochs

SOLVERS = ("auto", "lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga")

_PENALTY_DEPRECATED = (
    "'penalty' was deprecated in version 1.8 and will be removed in"
    " 1.10. To avoid this warning, leave 'penalty' set to its default"
    " value and use 'l1_ratio' or 'C' instead."
    " Use l1_ratio=0 instead of penalty='l2',"
    " l1_ratio=1 instead of penalty='l1',"
    " l1_ratio set to a float between 0 and 1 instead of"
    " penalty='elasticnet', and C=np.inf instead of penalty=None."
)


class ValidatedParameters:
    """Mixin that validates only parameters that differ from their defaults.

    scikit-learn's estimators inspect their signature and check all parameters in every fit, which
    takes longer than the fit of a few rows.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]]

    def _validate_params(self) -> None:
        kind: Any = type(self)
        given = {
            name: getattr(self, name)
            for name, default in _defaults(kind).items()
            if getattr(self, name) is not default
        }
        validate_parameter_constraints(kind._parameter_constraints, given, kind.__name__)


@cache
def _defaults(kind: Any) -> dict[str, Any]:
    """Return the defaults of an estimator's parameters, or new objects if one is not valid."""
    signature = inspect.signature(kind.__init__).parameters
    found = {name: signature[name].default for name in kind._get_param_names()}
    try:
        validate_parameter_constraints(kind._parameter_constraints, found, kind.__name__)
    except InvalidParameterError:  # of a subclass, all of whose parameters are validated
        return dict.fromkeys(found, object())
    return found


@dataclass(frozen=True)
class Options:
    """Objective and solver that the parameters of an estimator specify.

    ``C`` is inf without a penalty, ``l1_ratio`` is the share of L1 in the penalty, ``penalty`` is
    the user's penalty object, if any, and the objective of liblinear penalises the intercept.
    """

    C: float
    l1_ratio: float
    solver: Any
    is_liblinear: bool
    penalty: Any = None

    @classmethod
    def of(cls, C: float, l1_ratio: float, solver: Any, penalty: Any = None) -> "Options":
        """Return options where "liblinear", "sag" and "saga" stand for the solver of "auto"."""
        name = solver if isinstance(solver, str) else ""
        solver = "auto" if name in ("liblinear", "sag", "saga") else solver
        return cls(float(C), float(l1_ratio), solver, name == "liblinear", penalty)

    @property
    def trains(self) -> bool:
        """True if the solver trains in epochs of mini-batches."""
        return trains_in_epochs(self.solver)


def default_grid(n_values: int) -> np.ndarray:
    """Return scikit-learn's grid of values of C, from 1e-4 to 1e4."""
    return np.logspace(-4, 4, n_values)


def check_solver(solver: Any, penalty: str | None, dual: bool) -> None:
    """Raise scikit-learn's error for a combination that its table does not allow.

    "auto" and solver objects are accepted with every penalty; a solver object checks its own
    requirements later.
    """
    named = isinstance(solver, str)
    if named and solver != "auto":
        if dual or penalty != "l2":
            from sklearn.linear_model._logistic import _check_solver  # slow to import

            _check_solver(solver, penalty, dual)
    elif dual:
        raise ValueError(f"Solver {solver} supports only dual=False, got dual={dual}")
    if not named and (isinstance(solver, type) or not hasattr(solver, "requires")):
        raise ParameterError(
            f"solver={solver!r} is not a solver; expected one of {', '.join(SOLVERS)} or an "
            "instance of a class of skorch_logreg.solvers."
        )
    if dual and penalty == "l1":
        raise ValueError(
            "Unsupported set of arguments: The combination of penalty='l1' and "
            "loss='logistic_regression' are not supported when dual=True, Parameters: "
            "penalty='l1', loss='logistic_regression', dual=True"
        )


def resolve(parameters: Any) -> Options:
    """Resolve parameters to options, with scikit-learn's warnings and errors in its order."""
    penalty, l1_ratio, C = parameters.penalty, parameters.l1_ratio, parameters.C
    if not isinstance(penalty, str | None):
        return _resolve_object(parameters)
    if penalty == "deprecated":
        if l1_ratio is None:
            warn_user(
                "'l1_ratio=None' was deprecated in version 1.8 and will "
                "trigger an error in 1.10. Use 0<=l1_ratio<=1 instead.",
                FutureWarning,
            )
        mixed = "l1" if l1_ratio == 1 else "elasticnet"
        penalty = None if C == np.inf else mixed if l1_ratio else "l2"
    else:
        warn_user(_PENALTY_DEPRECATED, FutureWarning)
    check_solver(parameters.solver, penalty, parameters.dual)
    if penalty != "elasticnet" and l1_ratio is not None and 0 < l1_ratio < 1:
        warn_user(
            f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={penalty})"
        )
    expected = {"l2": 0, "l1": 1}.get(str(parameters.penalty))
    if expected is not None and l1_ratio != expected:
        warn_user(
            f"Inconsistent values: penalty={parameters.penalty} with l1_ratio={l1_ratio}. "
            "penalty is deprecated. Please use l1_ratio only."
        )
    if penalty == "elasticnet" and l1_ratio is None:
        raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
    if parameters.penalty is None:
        if C != 1.0:
            warn_user("Setting penalty=None will ignore the C and l1_ratio parameters")
        C = np.inf
    if parameters.n_jobs is not None:
        warn_user(
            "'n_jobs' has no effect since 1.8 and will be removed in 1.10. "
            f"You provided 'n_jobs={parameters.n_jobs}', please leave it unspecified.",
            FutureWarning,
        )
    share = {"l1": 1.0, "elasticnet": l1_ratio}.get(str(penalty), 0.0)
    return Options.of(C, share or 0.0, parameters.solver)


def _resolve_object(parameters: Any) -> Options:
    """Resolve parameters with a penalty object, which scikit-learn does not have."""
    penalty, solver = parameters.penalty, parameters.solver
    if isinstance(penalty, type):
        raise ParameterError(
            f"penalty={penalty.__name__} is a class; expected an instance of it, with its groups."
        )
    if parameters.l1_ratio not in (0, None):
        raise ParameterError(
            f"l1_ratio={parameters.l1_ratio} mixes ridge and lasso, but penalty={penalty!r} is "
            "neither; leave l1_ratio at 0."
        )
    takes_all = solver in ("auto", "saga") or penalty.smooth and solver != "liblinear"
    if isinstance(solver, str) and not takes_all:
        raise ParameterError(
            f"solver={solver!r} cannot do with penalty={penalty!r}; use solver='auto'."
        )
    check_solver(solver, None, parameters.dual)
    return Options.of(parameters.C, 0.0, solver, penalty)


def resolve_device(device: str | torch.device | None) -> torch.device | None:
    """Return the device of the parameter; raise a DeviceError if it cannot be used."""
    if device is None:
        return None
    try:
        found = torch.device(device)
        torch.empty(0, dtype=torch.float64, device=found)  # the arithmetic is float64
    except (RuntimeError, AssertionError, NotImplementedError, TypeError, ImportError) as error:
        # torch's list of all its device types is left out
        reason = re.sub("Expected one of .* device type", "Expected a device type", str(error))
        reason = reason.strip().split("\n")[0].split(". ")[0].rstrip(".")
        raise DeviceError(
            f"device={str(device)!r} is not available: {reason}. Leave device=None to fit on the "
            "device of X."
        ) from error
    if found.type == "meta":
        raise DeviceError("device='meta' holds no numbers; leave device=None.")
    return found


def check_device_takes(device: torch.device | None, X: Any) -> None:
    """Raise an error for sparse data on a device other than the CPU."""
    if device is not None and device.type != "cpu" and sp.issparse(X):
        raise DeviceError(
            f"device={str(device)!r} takes dense data only; sparse X is fitted on the CPU: "
            "leave device=None."
        )


def check_threshold_classes(threshold: float, n_classes: int) -> None:
    """Raise an error for a threshold other than 0.5 with more than two classes."""
    if threshold != 0.5 and n_classes > 2:
        raise ParameterError(
            f"threshold={threshold} is for two classes, but y has {n_classes}; with more than "
            "two the most probable class is predicted: leave threshold at 0.5."
        )
