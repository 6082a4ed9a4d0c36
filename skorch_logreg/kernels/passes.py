"""Typed calls of the compiled kernels.

A function returns None where no kernel takes its arguments. The caller then computes the same sums
in torch, which is also the reference that tests compare the kernels with.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from skorch_logreg.kernels.library import compiled, library

_FLOATS = (torch.float64, torch.float32)
_INTEGERS = (np.int32, np.int64)
# types of `write_rows`, as in dense.c
_WRITTEN = {torch.float64: 0, torch.float32: 1, torch.bfloat16: 2}
# classes, side of their Hessian, and its side with one output, up to which `newton_sums` is faster
# than torch: a fit of 500 x 63 with 3 classes takes .6 of the time, one of 800 x 10 with 15 classes
# 1.1, one of 5000 x 400 .77, one of 5000 x 800 1.03
_NEWTON_CLASSES, _NEWTON_SIDE, _NEWTON_SIDE_OF_ONE = 10, 192, 640


def is_supported(X: Any) -> bool:
    """Return True if there are kernels for rows of this type, layout and device."""
    return library() is not None and _matrix(X) is not None


def _matrix(X: Any) -> tuple[str, tuple[int, ...]] | None:
    """Return the kind of rows and the arguments that describe them."""
    if not isinstance(X, Tensor):
        arrays, kind = (X.data, X.indices, X.indptr), X.indices.dtype
        if X.dtype != np.float64 or kind not in _INTEGERS or X.indptr.dtype != kind:
            return None
        if not all(array.flags.c_contiguous for array in arrays):
            return None
        pointers = (array.ctypes.data for array in arrays)
        return "sparse", (*pointers, *X.shape, kind == np.int64)
    (n_rows, n_columns), (row_stride, column_stride) = X.shape, X.stride()
    if X.dtype not in _FLOATS or X.device.type != "cpu":
        return None
    if column_stride != 1 and row_stride != 1:
        if n_columns > 1:
            return None
        column_stride = 1
    strides = row_stride, column_stride
    return "dense", (X.data_ptr(), n_rows, n_columns, *strides, X.dtype == torch.float32)


def of_rows(X: Any, name: str) -> Callable[..., Any] | None:
    """Return a kernel for rows, which takes all other arguments; None if there is none for them."""
    matrix = _matrix(X)
    kernel = None if matrix is None else compiled(f"{matrix[0]}_{name}")
    return None if matrix is None or kernel is None else partial(kernel, *matrix[1])


def by_row(array: Tensor) -> tuple[int, int, int]:
    """Return the address and the strides of one number for each row, or row and model."""
    return array.data_ptr(), array.stride(0), array.stride(1) if array.shape[1] > 1 else 0


def _address(array: Tensor, dtype: torch.dtype = torch.float64) -> int | None:
    """Return the address of one number per row without gaps, None of another array."""
    is_one = array.numel() == array.shape[0] and array.dtype == dtype
    return array.data_ptr() if is_one and array.is_contiguous() else None


def _weight(weight: Tensor) -> tuple[int, int] | None:
    """Return the address and the stride of one weight per row."""
    fits = weight.dtype == torch.float64 and weight.shape[1] == 1
    return (weight.data_ptr(), weight.stride(0)) if fits else None


def logistic_loss(
    X: Any,
    targets: Tensor,
    weight: Tensor,
    params: Tensor,
    *,
    units: tuple[Tensor, Tensor] | None,
    logits: Tensor,
    before: Tensor | None = None,
    second: bool = False,
    largest: Tensor | None = None,
) -> tuple[Tensor, ...] | None:
    """Write the logits of one model, and sum its logistic loss, in one read of X.

    Parameters
    ----------
    X : Tensor or csr_array of shape (rows, p)
    targets : Tensor of shape (rows, 1, 1)
        Signs of the classes, as `Binomial` encodes them.
    weight : Tensor of shape (rows, 1)
    params : Tensor of shape (1, 1, p + 1)
    units : tuple of two Tensors of shape (p,), or None
        Center and scale: the rows Z are ``(X - center) / scale``; None: X itself.
    logits : Tensor of shape (rows, 1, 1)
        Where ``before + [Z 1] params`` is written.
    before : Tensor of shape (rows, 1, 1) or None
    second : bool
        Whether to return the third result.
    largest : Tensor of shape (p,) or None
        Raised to the largest distances of the entries of every column from its center; only of
        dense rows with units.

    Returns
    -------
    value : Tensor of shape (1,)
        Weighted loss.
    gradient : Tensor of shape (1, 1, p + 1)
        ``[Z 1]' r`` of the weighted residuals r.
    second : Tensor of shape (1, 1, p + 1)
        ``[Z 1]' d`` of the weighted second derivatives d of the loss.
    """
    kernel, factor = of_rows(X, "loss"), _weight(weight)
    sign, at = _address(targets), _address(logits)
    start = None if before is None else _address(before)
    if kernel is None or factor is None or sign is None or at is None:
        return None
    if before is not None and start is None:
        return None
    # few calls of torch: threads wait for each other at every one
    params = params.contiguous()
    slope, *sums = params.new_zeros(2 + second, *params.shape)
    places = [each.data_ptr() for each in (params, slope)]
    ends = [each.data_ptr() for each in sums] + [None] * (1 - second)
    if isinstance(X, Tensor):
        ends.append(None if largest is None else largest.data_ptr())
    value = kernel(sign, *factor, *_addresses(units), *places, start, at, *ends)
    return torch.tensor([value], dtype=torch.float64, device="cpu"), *sums


def logistic_hessian_product(
    X: Any,
    curvature: Tensor,
    weight: Tensor,
    params: Tensor,
    units: tuple[Tensor, Tensor] | None,
) -> Tensor | None:
    """Compute ``[Z 1]' D [Z 1] params`` (1, 1, p + 1) in one read of X; see `logistic_loss`.

    D are the second derivatives of the loss, curvature (rows, 1, 1), times weight (rows, 1).
    """
    kernel, factor, own = of_rows(X, "hessian_product"), _weight(weight), _address(curvature)
    if kernel is None or factor is None or own is None:
        return None
    params = params.contiguous()
    slope, product = params.new_zeros(2, *params.shape)
    places = params.data_ptr(), slope.data_ptr(), product.data_ptr()
    kernel(own, *factor, *_addresses(units), *places)
    return product


def moments(X: Tensor, about: Tensor, weight: Tensor) -> Tensor | None:
    """Compute weighted sums of ``X - about`` and of its squares, (2, p), in one read of X.

    about has shape (p,) and weight (rows,), both in float64.
    """
    kernel = of_rows(X, "moments")
    if kernel is None:
        return None
    about = about.contiguous()
    sums = about.new_zeros(2, len(about))
    kernel(about.data_ptr(), weight.data_ptr(), weight.stride(0), sums.data_ptr())
    return sums


def largest_distances(X: Tensor, about: Tensor) -> Tensor:
    """Return the largest distance of the entries of every column from ``about``, (p,), float64."""
    largest, kernel = torch.zeros_like(about), of_rows(X, "distances")
    if kernel is not None:
        kernel(about.data_ptr(), largest.data_ptr())
        return largest
    for rows in X.split(max(len(X) // X.shape[1], 1)):  # copies of as many numbers as rows, or less
        largest = torch.maximum(largest, (rows.to(about.dtype) - about).abs_().amax(dim=0))
    return largest


def write_rows(X: Tensor, center: Tensor, unit: Tensor, out: Tensor) -> Tensor:
    """Write ``(X - center) * unit`` into ``out`` (rows, p), of any type, and return it.

    center and unit have shape (p,), in float64.
    """
    kernel, kind = of_rows(X, "rows"), _WRITTEN.get(out.dtype)
    if kernel is not None and kind is not None and X.stride(1) == out.stride(1) == 1:
        kernel(center.data_ptr(), unit.data_ptr(), kind, out.data_ptr(), out.stride(0))
        return out
    is_half = out.dtype not in _FLOATS
    wide = torch.empty_like(out, dtype=torch.float32) if is_half else out
    torch.sub(X, center, out=wide).mul_(unit.to(wide.dtype))
    return out.copy_(wide) if is_half else out


def _addresses(units: tuple[Tensor, Tensor] | None) -> tuple[int | None, int | None]:
    """Return the addresses of center and scale."""
    return (None, None) if units is None else (units[0].data_ptr(), units[1].data_ptr())


def sparse_product(X: Any, dense: Tensor) -> Tensor:
    """Compute ``X @ dense`` (rows, k) of a csr_array and dense (p, k), in the type of X."""
    kernel = of_rows(X, "product")
    if kernel is None:
        return _scipy_product(X, dense)
    dense = dense.to(torch.float64).contiguous()
    out = dense.new_empty(X.shape[0], dense.shape[1])
    kernel(dense.data_ptr(), dense.shape[1], out.data_ptr())
    return out


def sparse_transposed_product(X: Any, dense: Tensor, power: int = 1) -> Tensor:
    """Compute ``(X ** power).T @ dense`` (p, k) of a csr_array and dense (rows, k).

    The power is 0, 1 or 2, and that of an entry that is not stored is 0.
    """
    kernel = of_rows(X, "transposed_product")
    if kernel is None:
        entries = X.data if power == 1 else X.data**power
        return _scipy_product(sp.csr_array((entries, X.indices, X.indptr), shape=X.shape).T, dense)
    dense = dense.to(torch.float64).contiguous()
    out = dense.new_zeros(X.shape[1], dense.shape[1])
    kernel(dense.data_ptr(), dense.shape[1], power, out.data_ptr())
    return out


def _scipy_product(matrix: Any, dense: Tensor) -> Tensor:
    """Compute ``matrix @ dense``; for one column, SciPy's product with a vector is faster."""
    array = dense.numpy().astype(matrix.dtype, copy=False)
    if array.shape[1] == 1:
        return torch.from_numpy(matrix @ array[:, 0])[:, None]
    return torch.from_numpy(matrix @ np.ascontiguousarray(array))


def has_newton_sums(loss: str | None, n_outputs: int, side: int) -> bool:
    """Return True if `newton_sums` takes dense rows of a loss with K and p + 1 of this size."""
    if loss != "multinomial":
        return loss == "logistic" and side <= _NEWTON_SIDE_OF_ONE
    return n_outputs <= _NEWTON_CLASSES and n_outputs * side <= _NEWTON_SIDE


def takes_newton_sums(
    X: Any, targets: Tensor, weight: Tensor, params: Tensor, loss: str | None
) -> bool:
    """Return True if `newton_sums` takes these rows, and parameters of this shape."""
    is_one = isinstance(X, Tensor) and len(params) == 1 and is_supported(X)
    dtype = torch.float64 if loss == "logistic" else torch.int64
    has_rows = is_one and _address(targets, dtype) is not None and _weight(weight) is not None
    return has_rows and has_newton_sums(loss, *params.shape[1:])


def newton_sums(
    X: Tensor,
    targets: Tensor,
    weight: Tensor,
    params: Tensor,
    *,
    loss: str | None,
    units: tuple[Tensor, Tensor] | None,
    logits: Tensor,
    is_rough: bool,
) -> Tensor:
    """Write the logits of one model, and sum what a Newton step needs, over dense rows.

    `takes_newton_sums` says whether there is a kernel for the arguments.

    Parameters
    ----------
    X : Tensor of shape (rows, p)
    targets : Tensor of shape (rows, 1, 1)
        As the loss encodes classes.
    weight : Tensor of shape (rows, 1)
    params : Tensor of shape (1, K, p + 1)
        Coefficients and intercepts.
    loss : {"logistic", "multinomial"}
    units : tuple of two Tensors of shape (p,), or None
        Center and scale: the rows are ``(X - center) / scale``; None: X itself.
    logits : Tensor of shape (rows, 1, K)
        Where they are written.
    is_rough : bool
        Whether the Hessian of one output has float32 products, which take half the time.

    Returns
    -------
    sums : Tensor of shape (size,)
        Loss, gradient and Hessian, as `newton_step` takes the sum of those of all rows.
    """
    (n_outputs, side), n_rows = params.shape[-2:], X.shape[0]
    is_logistic = loss == "logistic"
    kernel: Any = of_rows(X, "newton" if is_logistic else "multinomial_newton")
    padded, room = _panels(side)
    n_buffer = n_rows + room + 2 * padded
    if not is_logistic:
        n_buffer = (n_outputs + 4) * n_rows + room + padded * (padded + 1) + n_outputs * side
    sums = params.new_zeros(sum(_newton_sizes(n_outputs, side)))
    places = map(Tensor.data_ptr, _newton_parts(sums, n_outputs, side))
    buffer = params.new_empty(n_buffer)
    shape = is_rough if is_logistic else n_outputs, padded
    kernel(
        *(targets.data_ptr(), weight.data_ptr(), weight.stride(0), *_addresses(units)),
        *(params.data_ptr(), *shape, logits.data_ptr(), *places, buffer.data_ptr()),
    )
    return sums


def newton_step(
    sums: Tensor, params: Tensor, ridge: Tensor, *, shift: float, fit_intercept: bool
) -> tuple[Tensor, ...] | None:
    """Compute what a Newton step from params needs, in place of the sums of `newton_sums`.

    Parameters
    ----------
    sums : Tensor of shape (size,)
    params, ridge : Tensor of shape (1, K, p + 1)
        Coefficients and intercepts, and the diagonal of the penalty's Hessian.
    shift : float
        Relative shift of the diagonal of the Hessian.
    fit_intercept : bool

    Returns
    -------
    terms : Tensor of shape (4 or 3, K, p + 1)
        Gradient of the objective, diagonal of the shifted Hessian H, ``H^-1 gradient``, and for one
        output the row of the loss's Hessian for the intercept.
    factor : Tensor of shape (K (p + 1), K (p + 1))
        Cholesky factor of H in its lower triangle. The result is None if there is none.
    ends : Tensor of shape (2,)
        Objective, and decrement ``gradient' H^-1 gradient / 2``.
    """
    n_outputs, side = params.shape[-2:]
    terms, factor, ends = _newton_parts(sums, n_outputs, side)
    found = compiled("newton_step")(
        *(n_outputs, side, params.data_ptr(), ridge.data_ptr(), shift, fit_intercept),
        *(factor.stride(0), *map(Tensor.data_ptr, (terms, factor, ends))),
    )
    return (terms, factor, ends) if found else None


def _newton_sizes(n_outputs: int, side: int) -> list[int]:
    """Return the numbers of the vectors, the Hessian with padded rows, and the two values."""
    size = n_outputs * side
    return [4 * side, _panels(side)[0] ** 2, 2] if n_outputs == 1 else [3 * size, size**2, 2]


def _newton_parts(sums: Tensor, n_outputs: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
    terms, hessian, ends = sums.split_with_sizes(_newton_sizes(n_outputs, side))
    size = n_outputs * side
    stride = size if n_outputs > 1 else _panels(side)[0]
    return terms.view(-1, n_outputs, side), hessian.as_strided((size, size), (stride, 1)), ends


def newton_steps(
    X: Tensor,
    targets: Tensor,
    weight: Tensor,
    params: Tensor,
    ridge: Tensor,
    *,
    units: tuple[Tensor, Tensor] | None,
    shift: float,
    fit_intercept: bool,
    goal: float,
    max_steps: int,
) -> tuple[Tensor, Tensor] | None:
    """Take Newton steps of models with logistic loss, on few dense rows.

    The arguments are those of `newton_step`, for parameters and ridge (m, 1, p + 1), and targets
    and weights of a row, or of a row and a model.  A model stops after a step from a decrement of
    at most ``goal`` times its objective, where its objective rises, and after ``max_steps`` steps.
    One with the targets and weights of the model before begins where that one stopped, not at its
    own parameters.

    Returns
    -------
    params : Tensor of shape (m, 1, p + 1)
        Parameters after the last steps.
    n_steps : Tensor of shape (m,)
        Number of steps.
    """
    kernel, side = of_rows(X, "newton_steps"), params.shape[2]
    if kernel is None or not targets.dtype == weight.dtype == torch.float64:
        return None
    padded, room = _panels(side)
    found, n_steps = params.clone(), params.new_empty(len(params), dtype=torch.int64)
    buffer = params.new_empty(4 * len(X) + room + 2 * padded + padded**2 + 5 * side)
    kernel(
        *by_row(targets),
        *by_row(weight),
        *_addresses(units),
        *(ridge.data_ptr(), shift, fit_intercept, goal, max_steps, len(params), padded),
        *map(Tensor.data_ptr, (found, n_steps, buffer)),
    )
    return found, n_steps


@cache
def _panels(side: int) -> tuple[int, int]:
    """Return the padded side of a Gram matrix, and the size of the buffer that it needs."""
    padded = compiled("gram_side")(side)
    return padded, compiled("gram_buffer")(padded)


def sparse_gram(X: Any, weight: Tensor, columns: Tensor | None, first: int = 0) -> Tensor | None:
    """Compute ``sum_i weight_i [x_i 1]'[x_i 1]`` (c + 1 - first, c + 1) of a csr_array.

    It is over some columns, or all, and has the rows from the ``first`` on. weight (rows,) is not
    negative.
    """
    kernel = of_rows(X, "gram_rows" if first else "gram")
    if kernel is None or weight.dtype != torch.float64:
        return None
    columns = torch.arange(X.shape[1], device="cpu") if columns is None else columns
    side = len(columns) + 1
    total = weight.new_zeros(side - first, side)
    place = np.full(X.shape[1], -1, dtype=np.int32)
    place[columns.numpy()] = np.arange(side - 1)
    room = 1 + int(np.diff(X.indptr).max(initial=0))
    own, weight = (np.empty(room, dtype=np.int32), np.empty(room)), weight.contiguous()
    kernel(
        *(place.ctypes.data, weight.data_ptr(), side, *((first,) if first else ())),
        *(array.ctypes.data for array in own),
        total.data_ptr(),
    )
    if not first:
        compiled("mirror")(total.data_ptr(), side, side)
    return total
