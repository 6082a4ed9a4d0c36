"""Convert targets from and to a binary indicator with one column per label."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils._array_api import move_to
from sklearn.utils.validation import _check_y, _get_feature_names
from torch import Tensor

from skorch_logreg.data.tensors import CACHED_ENTRIES
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import FLOATS, ArrayNamespace, to_tensor
from skorch_logreg.inputs.labels import Targets, encode, read_probabilities
from skorch_logreg.inputs.rows import check_indices
from skorch_logreg.names import first_names

COLUMN_KINDS = ("binary", "multiclass")  # kinds of a 1-D y of classes

_TORCH_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")
_COLLECTIONS = (set, frozenset, list, tuple, dict, np.ndarray)
_LABEL_SETS = (
    "y seems to hold sets of labels; make them an indicator of zeros and ones with "
    "sklearn.preprocessing.MultiLabelBinarizer."
)


@dataclass(frozen=True)
class Indicator:
    """Binary targets, one problem per column.

    ``kind`` is that of y and of predictions: "array", "csr_array", "csr_matrix", or "binary" and
    "multiclass" for a 1-D y of classes. ``values`` (n_samples, n_labels), a Tensor or csc_array,
    are 0, 1 or nan (unknown), or probabilities; or class indices (n_samples,). ``mask`` is 0 for
    unknown targets.
    """

    kind: str
    classes: Any
    dtype: str
    names: Any
    values: Any
    mask: Any = None
    is_soft: bool = False
    n_classes: ClassVar[int] = 2  # of each problem

    @property
    def is_column(self) -> bool:
        """True if y is a 1-D array of classes."""
        return self.kind in COLUMN_KINDS

    @property
    def n_labels(self) -> int:
        """Number of binary problems."""
        return 1 if self.kind == "binary" else int(self.classes.shape[0])

    @property
    def class_pair(self) -> np.ndarray:
        """Values that stand for absence and presence in one problem."""
        if self.kind != "binary":
            return np.arange(2)
        return np.asarray(move_to(self.classes, xp=np, device="cpu"))

    def describe(self, labels: np.ndarray) -> str:
        """Name some labels for a message."""
        names = self.classes if self.names is None else self.names
        chosen = (names[int(label)] for label in labels)
        return first_names(repr(name) if isinstance(name, str) else name for name in chosen)

    def take(self, rows: np.ndarray) -> "Indicator":
        """Copy some rows."""
        mask = None if self.mask is None else self.mask[rows]
        return replace(self, values=self.values[rows], mask=mask)

    def columns(self, labels: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Convert some labels to dense columns.

        Return targets (n_samples, m), which are float64 if soft, else int8, and 0 if unknown; and
        a mask (n_samples, m) of known targets, or None if all are known.
        """
        known = None
        if self.kind == "binary":
            values = self.values[:, None]
        elif self.kind == "multiclass":
            values = self.values[:, None] == torch.from_numpy(labels).to(self.values.device)
        else:
            values = _columns(self.values, labels)
            if values.is_floating_point():
                known = ~values.isnan()
                values = values.nan_to_num(0.0) if self.is_soft else values == 1
                known = None if bool(known.all()) else known.to(device)
        targets = values.to(device, torch.float64 if self.is_soft else torch.int8)
        if self.mask is not None:
            in_mask = _columns(self.mask, labels).to(device) != 0
            known = in_mask if known is None else known & in_mask
        return (targets if known is None else targets * known), known


def encode_column(y: Any) -> Targets:
    """Encode a 1-D y of two or more classes."""
    targets = encode(y)
    if targets.n_classes < 2:
        raise ValueError(
            "This solver needs samples of at least 2 classes in the data, but the data contains "
            f"only one class: {targets.classes[0]!r}; an indicator of shape (n_samples, 1) may "
            "have one."
        )
    return targets


def read(
    y: Any,
    label_mask: Any,
    X: Any,
    soft_labels: bool = False,
    column: Callable[[Any], Targets] = encode_column,
) -> Indicator:
    """Validate targets y and the mask of known targets, for validated rows X.

    y is not modified, viewed if possible, and not converted from sparse to dense. ``column``
    encodes a 1-D y of classes.
    """
    names = column_names(y)
    y = _as_array(y, "y")
    check_consistent_length(X, y)
    read_cells = _probabilities if soft_labels else _parse_entries
    values = read_cells(y) if soft_labels or y.ndim == 2 else None
    if values is not None:
        # objects, as scorers would take the integers 0 and 1 of two labels for two classes
        classes: Any = np.arange(values.shape[1]).astype(object)
        kind = "array"
        if sp.issparse(y):
            kind = "csr_array" if isinstance(y, sp.sparray) else "csr_matrix"
        found = Indicator(kind, classes, _dtype_name(y), names, values, is_soft=soft_labels)
    else:
        _check_single_column(y)
        targets = column(_check_y(y))
        kind = "binary" if targets.n_classes == 2 else "multiclass"
        found = Indicator(kind, targets.classes, _dtype_name(y), None, targets.index)
    if label_mask is None:
        return found
    check_label_names(label_mask, found.names, "label_mask")
    return replace(found, mask=_read_mask(label_mask, (y.shape[0], found.n_labels)))


def check_label_names(y: Any, names: Any, parameter: str = "y") -> None:
    """Raise an error if y is a data frame whose columns are not the labels, in their order.

    ``names`` are the names of the labels; None: they have none.
    """
    given = column_names(y)
    if given is not None and names is not None and list(given) != list(names):
        raise ValueError(
            f"{parameter} has the columns {first_names(given)}, which must be the labels in their "
            f"order: {first_names(names)}."
        )


def write(positive: Tensor, kind: str, dtype: str, namespace: ArrayNamespace) -> Any:
    """Convert predictions (n_samples, n_labels) to y's kind and dtype, in X's namespace."""
    if kind != "array":
        return getattr(sp, kind)(positive.cpu().numpy(), dtype=dtype)
    if namespace.is_torch:
        return positive.to(namespace.device, getattr(torch, dtype))
    return namespace.convert(positive.cpu().numpy().astype(dtype, copy=False))


def for_metrics(y: Any) -> Any:
    """Convert an indicator to float64 if scikit-learn's metrics do not accept its type.

    These are pandas' extension types, objects, float16 and numbers in another byte order. Any
    other y is returned unchanged.
    """
    is_array = isinstance(y, np.ndarray) and y.dtype.isnative
    is_plain = is_array and (y.dtype.kind in "biu" or y.dtype in FLOATS)
    if is_plain or sp.issparse(y) or getattr(y, "ndim", 1) != 2:
        return y
    array = _as_array(y, "y")
    entries = _parse_entries(array) if isinstance(array, np.ndarray) else None
    return y if entries is None else entries.to(torch.float64).numpy()


def column_names(array: Any) -> Any:
    """Return the column names of a data frame if they are strings, else None."""
    try:
        return _get_feature_names(array)
    except TypeError:  # names of several types
        return None


def _as_array(array: Any, name: str) -> Any:
    """Return an array of any library and shape, or a canonical CSC array or matrix."""
    if sp.issparse(array):
        if array.ndim != 2:
            raise ValueError(f"{name} is a sparse array of {array.ndim} dimensions, expected 2.")
        check_indices(array, name)
        columns = array.tocsc(copy=False)
        if not columns.has_canonical_format:
            columns = columns.copy() if columns is array else columns
            columns.sum_duplicates()
        return columns
    try:
        return check_array(
            array, accept_sparse="csc", dtype=None, ensure_2d=False, ensure_all_finite=False,
            allow_nd=True, ensure_min_samples=0, ensure_min_features=0, input_name=name,
        )  # fmt: skip
    except ValueError as error:
        if "inhomogeneous" in str(error):
            raise ValueError(_LABEL_SETS) from error
        raise


def _parse_entries(array: Any) -> Any:
    """Return zeros, ones and nan (n, K) as a Tensor or CSC array; None for any other value."""
    entries = array.data if sp.issparse(array) else array
    if isinstance(entries, np.ndarray) and entries.dtype.name not in _TORCH_DTYPES:
        is_text = entries.dtype.kind in "USO" and any(
            isinstance(entry, (str, bytes)) for entry in entries.flat
        )
        if is_text:  # NumPy would read the numbers in it
            return None
        try:
            entries = entries.astype(np.float64)
        except (TypeError, ValueError):
            return None
    entries = to_tensor(entries)
    if 0 in array.shape or _find_invalid(entries) is not None:
        return None
    if sp.issparse(array):
        return sp.csc_array((entries.numpy(), array.indices, array.indptr), shape=array.shape)
    return entries


def _probabilities(array: Any) -> Tensor:
    """Return a Tensor of probabilities and nan (n, K)."""
    shape = tuple(array.shape)
    if sp.issparse(array) or len(shape) != 2 or 0 in shape:
        kind = "is sparse, of shape" if sp.issparse(array) else "has shape"
        raise ParameterError(
            f"y {kind} {shape}; with soft_labels=True it must be dense, of shape "
            "(n_samples, n_labels). Pass a single column as y[:, None]."
        )
    return read_probabilities(array, allow_nan=True)


def _find_invalid(entries: Tensor) -> Any:
    """Return a value other than 0, 1 and nan, or None; a part is checked at a time."""
    if entries.dtype == torch.bool:
        return None
    width = max(entries[:1].numel(), 1)
    for part in entries.split(max(CACHED_ENTRIES // width, 1)):
        invalid = part[~((part == 0) | (part == 1) | part.isnan())]
        if len(invalid):
            return invalid[0].item()
    return None


def _check_single_column(y: Any) -> None:
    """Raise if y is neither an indicator nor a single column of classes."""
    shape = tuple(y.shape)
    if not sp.issparse(y) and (y.ndim == 1 or (y.ndim == 2 and shape[1] == 1)):
        if y.dtype == object and len(y) and isinstance(y.flat[0], _COLLECTIONS):
            raise ValueError(_LABEL_SETS)
        return
    if y.ndim != 2 or 0 in shape:
        raise ValueError(f"y has shape {shape}, expected (n_samples, n_labels) or (n_samples,).")
    kind = getattr(y.dtype, "kind", "f")
    if kind in "OUS":
        raise ValueError(
            f"y of shape {shape} holds objects such as {y[0].tolist()[0]!r}, but an indicator "
            "holds the numbers 0 and 1 (nan: not known): convert strings with astype(int), and "
            "sets of labels with sklearn.preprocessing.MultiLabelBinarizer."
        )
    value = y.flat[0] if kind in "mM" else _find_invalid(to_tensor(y.data if sp.issparse(y) else y))
    raise ValueError(
        f"Unknown label type: y of shape {shape} is not an indicator of zeros and ones (nan: not "
        f"known), it holds {value}. Use sklearn.preprocessing.MultiLabelBinarizer for sets of "
        "labels and sklearn.multioutput.MultiOutputClassifier for columns of several classes."
    )


def _read_mask(label_mask: Any, shape: tuple[int, int]) -> Any:
    mask = _as_array(label_mask, "label_mask")
    if mask.ndim == 1:
        mask = mask[:, None]
    if tuple(mask.shape) != shape:
        raise ValueError(
            f"label_mask has shape {tuple(mask.shape)}, expected (n_samples, n_labels) = {shape}."
        )
    cells = _parse_entries(mask)
    entries = to_tensor(cells.data if sp.issparse(cells) else cells) if cells is not None else None
    if entries is None or (entries.is_floating_point() and bool(entries.isnan().any())):
        raise ValueError("label_mask must hold True where a label is known and False elsewhere.")
    return cells


def _columns(values: Any, labels: np.ndarray) -> Tensor:
    """Return some columns as a dense tensor, without a copy if they are all."""
    if sp.issparse(values):
        return torch.from_numpy(values[:, labels].toarray())
    if np.array_equal(labels, np.arange(values.shape[1])):
        return values
    return values[:, torch.from_numpy(labels).to(values.device)]


def _dtype_name(y: Any) -> str:
    """Return the name of y's native dtype; "float64" for numbers that are stored as objects."""
    if getattr(y.dtype, "kind", "O") in "biuf":
        return str(y.dtype.name)
    name = str(y.dtype).rsplit(".", 1)[-1]
    return "float64" if name == "object" else name
