"""Find and load the shared library of compiled kernels."""

import os
from ctypes import CDLL, c_char_p, c_double, c_int, c_int64, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MODULE = "skorch_logreg.kernels._compiled"
SOURCES = [*Path(__file__).parent.glob("*.[ch]")]  # a checkout has them, a wheel does not
VARIABLE = "SKORCH_LOGREG_KERNELS"

_DENSE = (c_void_p, c_int64, c_int64, c_int64, c_int64, c_int)
_SPARSE = (c_void_p, c_void_p, c_void_p, c_int64, c_int64, c_int)
_BY_ROW = (c_void_p, c_int64, c_int64)  # one number for each row, or row and model
_LOSS = (c_void_p, c_void_p, c_int64, *(c_void_p,) * 8)
_HESSIAN_PRODUCT = (c_void_p, c_void_p, c_int64, *(c_void_p,) * 5)
_LOGISTIC = (c_void_p, c_int64, c_int64, *_BY_ROW, *_BY_ROW)
_MULTINOMIAL = (c_void_p, c_int, c_int64, c_int64, c_int64, *_BY_ROW)
# arguments of the functions, as in their sources
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "dense_loss": (*_DENSE, *_LOSS, c_void_p),
    "dense_hessian_product": (*_DENSE, *_HESSIAN_PRODUCT),
    "dense_moments": (*_DENSE, c_void_p, c_void_p, c_int64, c_void_p),
    "dense_distances": (*_DENSE, c_void_p, c_void_p),
    "dense_newton": (
        *(*_DENSE, c_void_p, c_void_p, c_int64, *(c_void_p,) * 3, c_int, c_int64),
        *(c_void_p,) * 5,
    ),
    "dense_newton_steps": (
        *(*_DENSE, *_BY_ROW, *_BY_ROW, *(c_void_p,) * 3, c_double, c_int, c_double),
        *(*(c_int64,) * 3, *(c_void_p,) * 3),
    ),
    "dense_multinomial_newton": (
        *(*_DENSE, c_void_p, c_void_p, c_int64, *(c_void_p,) * 3, c_int64, c_int64),
        *(c_void_p,) * 5,
    ),
    "newton_step": (
        *(c_int64, c_int64, c_void_p, c_void_p, c_double, c_int, c_int64, *(c_void_p,) * 3),
    ),
    "dense_models": (
        *(*_DENSE, c_void_p, c_int, c_int64, c_int64, *_BY_ROW, *_BY_ROW),
        *(c_void_p,) * 7,
    ),
    "dense_models_buffer": (c_int64,) * 3,
    "dense_grams": (
        *(*_DENSE, c_void_p, c_int64, *(c_void_p,) * 3, c_int64, c_int, c_int),
        *(c_void_p, c_void_p),
    ),
    "dense_grams_buffer": (*(c_int64,) * 3, c_int),
    "dense_rows": (*_DENSE, c_void_p, c_void_p, c_int, c_void_p, c_int64),
    "sparse_loss": (*_SPARSE, *_LOSS),
    "sparse_hessian_product": (*_SPARSE, *_HESSIAN_PRODUCT),
    "sparse_product": (*_SPARSE, c_void_p, c_int64, c_void_p),
    "sparse_transposed_product": (*_SPARSE, c_void_p, c_int64, c_int, c_void_p),
    "sparse_gram": (*_SPARSE, c_void_p, c_void_p, c_int64, *(c_void_p,) * 3),
    "sparse_gram_rows": (*_SPARSE, c_void_p, c_void_p, c_int64, c_int64, *(c_void_p,) * 3),
    "logistic_models": (*_LOGISTIC, c_void_p, c_void_p),
    "logistic_along": (*_LOGISTIC, *(c_void_p,) * 3),
    "logistic_moved": (*_LOGISTIC, *(c_void_p,) * 3),
    "cumulative_sums": (*_LOGISTIC, *(c_void_p,) * 2),
    "cumulative_models": (*_LOGISTIC, *(c_void_p,) * 4),
    "multinomial_models": (*_MULTINOMIAL, *_BY_ROW, c_void_p, c_void_p),
    "multinomial_along": (*_MULTINOMIAL, *_BY_ROW, *(c_void_p,) * 3),
    "multinomial_moved": (*_MULTINOMIAL, *_BY_ROW, *(c_void_p,) * 3),
    "multinomial_product": (*_MULTINOMIAL, c_void_p),
    "mirror": (c_void_p, c_int64, c_int64),
    "gram_side": (c_int64,),
    "gram_buffer": (c_int64,),
    "multinomial_max_classes": (),
    "coordinate_descent": (c_void_p, *(c_int64,) * 2, *(c_void_p,) * 9, c_int64, c_double),
    "column_descent": (
        *(*(c_void_p,) * 3, c_int64, c_int, c_void_p, c_int64, *(c_void_p,) * 3),
        *(c_double, c_double, *(c_void_p,) * 9, c_int64, c_double),
    ),
}
_RESULTS = {
    "dense_loss": c_double,
    "sparse_loss": c_double,
    "newton_step": c_int,
    "dense_models_buffer": c_int64,
    "dense_grams_buffer": c_int64,
    "gram_side": c_int64,
    "gram_buffer": c_int64,
    "multinomial_max_classes": c_int64,
    "coordinate_descent": c_double,
    "column_descent": c_double,
}


def library() -> CDLL | None:
    """Return the compiled kernels, or None where torch takes their place."""
    return _load()[0]


@cache
def compiled(name: str) -> Any:
    """Return a function of the library; None without it, or if it has no such function."""
    loaded, arguments = library(), _ARGUMENTS.get(name.removesuffix("_single"))
    if loaded is None or arguments is None:
        return None
    function = getattr(loaded, name)
    function.argtypes, function.restype = arguments, _RESULTS.get(name)
    return function


def status() -> str:
    """Return the instruction set that the kernels use, or why there are none."""
    return _load()[1]


@cache
def _load() -> tuple[CDLL | None, str]:
    """Load the library once, and return it with its status."""
    if os.environ.get(VARIABLE) == "0":
        return None, f"off, because {VARIABLE}=0"
    spec = find_spec(MODULE)
    if spec is None or spec.origin is None:
        return None, "not built, because no C compiler was found or it failed"
    newest = max(SOURCES, key=lambda path: path.stat().st_mtime, default=None)
    if newest is not None and newest.stat().st_mtime > Path(spec.origin).stat().st_mtime:
        return None, f"older than {newest.name}; to build them again: pip install -e ."
    try:
        loaded = CDLL(spec.origin)
    except OSError as error:
        return None, f"not loaded: {error}"
    loaded.skorch_logreg_instruction_set.restype = c_char_p
    return loaded, loaded.skorch_logreg_instruction_set().decode()
