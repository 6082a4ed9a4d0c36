"""Validation of the parameter `bounds` of the coefficients."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import copy_numbers
from skorch_logreg.inputs.options import Options
from skorch_logreg.names import in_order, place_of


def check_bounds(
    bounds: Any, n_features: int, dtype: torch.dtype, options: Options, names: Any = None
) -> tuple[Tensor, Tensor] | None:
    """Validate bounds of coefficients of ``dtype``, and that solver and penalty support them.

    ``bounds`` is a pair (or `scipy.optimize.Bounds`) of numbers, None, or arrays (n_features,), or
    a dict with pairs of numbers or None for some features by ``names``. Return low and high
    (n_features,), float64, rounded to numbers of ``dtype``, so that a coefficient can equal them.
    """
    if bounds is None:
        return None
    _check_options(options)
    if isinstance(bounds, optimize.Bounds):
        # SciPy stores numbers as arrays of one
        bounds = tuple(end.item() if np.size(end) == 1 else end for end in (bounds.lb, bounds.ub))
    if isinstance(bounds, Mapping):
        for name, pair in bounds.items():
            if not isinstance(pair, (tuple, list)) or len(pair) != 2:
                raise ParameterError(f"bounds[{name!r}] is {pair!r}; expected a pair (low, high).")
        bounds = tuple(zip(*in_order(bounds, names, "bounds", (None, None)), strict=True))
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        raise ParameterError(
            "bounds must be a pair (low, high), each a number, None or of shape (n_features,) = "
            f"({n_features},), or a dict of pairs by name; got {bounds!r}."
        )
    limits = []
    for place, (given, none) in enumerate(zip(bounds, (-np.inf, np.inf), strict=True)):
        given = in_order(given, names, f"bounds[{place}]", none)
        kind = getattr(getattr(given, "dtype", None), "kind", None)
        if isinstance(given, (list, tuple)) or (kind == "O" and given.ndim):
            given = [none if number is None else number for number in given]
        given = none if given is None else given
        each = copy_numbers(given, f"bounds[{place}]", "numbers or None")
        if each.ndim > 1 or each.ndim == 1 and len(each) != n_features:
            raise ParameterError(
                f"bounds[{place}] has shape {tuple(each.shape)}, expected a number or "
                f"(n_features,) = ({n_features},); all classes share their bounds."
            )
        limits.append(each.expand(n_features))
    low, high = limits
    for wrong, why in (
        (low.isnan() | high.isnan(), "a bound is not NaN; None or inf is none"),
        (low > high, "low must not exceed high"),
        ((low == torch.inf) | (high == -torch.inf), "no finite number is in between"),
    ):
        if bool(wrong.any()):
            place = int(wrong.nonzero()[0, 0])
            raise ParameterError(
                f"bounds of feature {place_of(place, names)} are ({float(low[place])}, "
                f"{float(high[place])}): {why}."
            )
    return _representable(low, high, dtype)


def _check_options(options: Options) -> None:
    solver = options.solver
    exact = solver == "auto" or "prox" in getattr(solver, "requires", ())
    if options.is_liblinear or not exact:
        name = "liblinear" if options.is_liblinear else solver
        raise ParameterError(
            f"solver={name!r} knows no bounds; use solver='auto' or "
            "skorch_logreg.solvers.ProximalNewton()."
        )
    if options.penalty is not None:
        raise ParameterError(
            f"bounds go with ridge, lasso and elastic net, not with penalty={options.penalty!r}; "
            "leave one of them out."
        )


def _representable(low: Tensor, high: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Round bounds to numbers of a type: inwards, or to the nearest if that leaves no number."""
    up, down = low.to(dtype), high.to(dtype)
    endless = torch.tensor(torch.inf, dtype=dtype)
    up = torch.where(up.to(low) < low, up.nextafter(endless), up)
    down = torch.where(down.to(high) > high, down.nextafter(-endless), down)
    nearest = ((low + high) / 2).to(dtype)
    empty = up > down
    up, down = torch.where(empty, nearest, up), torch.where(empty, nearest, down)
    return up.to(torch.float64), down.to(torch.float64)
