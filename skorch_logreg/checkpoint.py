"""Where a fit writes down how far it has come, and from where it goes on."""

import json
import math
import os
import re
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from skorch_logreg.exceptions import CheckpointError, ParameterError

__all__ = [
    "Checkpoint",
    "Journal",
    "Resumable",
    "decoded",
    "digest",
    "encoded",
    "named",
    "require_no_checkpoint",
]

_KIND = "skorch_logreg checkpoint"
_FORMAT = 1  # raise it when a tree of the same fingerprint would be read otherwise
_DOCUMENT = "document"
_ZIP = b"PK\x03\x04"  # what an .npz begins with
_SHORT = 40  # characters of a value that a message shows; a digest has more
_DTYPES = {
    str(dtype): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}


@dataclass(frozen=True)
class Checkpoint:
    """A file to which a fit writes how far it has come.

    A fit that finds the file goes on from it, and ends with the same bits as one that was never
    cut.  The file is removed when a fit has come to its end, converged or not, and stays when it
    was interrupted, failed or killed.

    Parameters
    ----------
    path : str or path-like
        One ``.npz`` of arrays and JSON, replaced in one step; its folder has to exist.
    every : int, default=1
        Iterations (of a solver of mini-batches, epochs) from one writing to the next, at least.
    seconds : float or None, default=None
        Seconds from one writing to the next, at least; None: none.  Where both are given, both
        have to have passed.

    Notes
    -----
    A writing takes what the arrays of a solver's state take: the logits of all rows, and the
    factored curvature.  It reads no X.

    Examples
    --------
    >>> from skorch_logreg.solvers import LBFGS, Checkpoint
    >>> solver = LBFGS(checkpoint=Checkpoint("fit.npz", seconds=60))
    """

    path: str | os.PathLike[str]
    every: int = 1
    seconds: float | None = None

    def __post_init__(self) -> None:
        _require_path(self.path)
        if not isinstance(self.every, Integral) or isinstance(self.every, bool) or self.every < 1:
            raise ParameterError(f"every is {self.every!r}, expected a whole number from 1.")
        seconds = self.seconds
        if seconds is not None and not (isinstance(seconds, Real) and 0 < seconds < math.inf):
            raise ParameterError(
                f"seconds is {seconds!r}, expected a positive finite number, or None."
            )


@dataclass(frozen=True, kw_only=True)
class Resumable:
    """What every solver offers to a fit that may be cut.

    Parameters
    ----------
    checkpoint : str, path-like, Checkpoint or None, default=None
        Where a fit writes its state, and from where it goes on; None: nowhere.  A path is
        ``Checkpoint(path)``, which writes at every iteration.
    on_interrupt : {"raise", "keep"}, default="raise"
        What a KeyboardInterrupt does: it comes through and leaves the estimator as it was, or
        the fit ends at the best state so far, not converged.
    """

    # they do not change what a fit finds, so a solver's repr leaves them out
    checkpoint: str | os.PathLike[str] | Checkpoint | None = field(default=None, repr=False)
    on_interrupt: Literal["raise", "keep"] = field(default="raise", repr=False)

    def __post_init__(self) -> None:
        if self.checkpoint is not None and not isinstance(self.checkpoint, Checkpoint):
            _require_path(self.checkpoint, "checkpoint", ", a Checkpoint or None")
        if self.on_interrupt not in ("raise", "keep"):
            raise ParameterError(
                f"on_interrupt is {self.on_interrupt!r}, expected 'raise' or 'keep'."
            )

    def resuming(self) -> dict[str, Any]:
        """Return these two settings, for a solver that takes the place of this one."""
        return {"checkpoint": self.checkpoint, "on_interrupt": self.on_interrupt}


def require_no_checkpoint(solver: Any) -> None:
    """Refuse what is for one fit, where there are many.

    Raises
    ------
    ParameterError
        If the solver has a checkpoint or keeps what an interrupted fit has reached.
    """
    if not isinstance(solver, Resumable):
        return
    if solver.checkpoint is not None:
        raise ParameterError(
            f"solver={solver!r} has a checkpoint, which is the file of one fit, and here are "
            "many. Leave checkpoint=None; or fit a TorchLogisticClassifier, which is one."
        )
    if solver.on_interrupt != "raise":
        raise ParameterError(
            f"solver={solver!r} has on_interrupt='keep', which ends one fit, and here are many. "
            "Leave on_interrupt='raise'; or fit a TorchLogisticClassifier, which is one."
        )


class Journal:
    """The checkpoint of one fit.

    Trees are nested dicts, lists and tuples of tensors, arrays, numbers, strings, booleans and
    None.  They come back bit for bit, tensors on the CPU and with their strides: the order of a
    sum may hang on those.

    Parameters
    ----------
    checkpoint : str, path-like, Checkpoint or None
        None: nothing is written or read, and nothing is ever due.
    fingerprint : dict
        What has to be the same for a continuation to mean anything: numbers, strings and lists
        of them, by name.
    clock : callable, default=time.monotonic
        Seconds.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | Checkpoint | None,
        fingerprint: dict[str, Any],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        self._settings = checkpoint
        self._path = None if checkpoint is None else Path(checkpoint.path)
        self._fingerprint = fingerprint
        self._clock = clock
        self._time, self._n_iter = clock(), 0

    def resume(self) -> Any:
        """Return the tree that was written last; None where there is no file.

        Raises
        ------
        CheckpointError
            If the file is damaged, foreign, too new or of another fit, or cannot be written.
        """
        if self._path is None:
            return None
        if not self._path.parent.is_dir():
            raise CheckpointError(
                f"checkpoint is {str(self._path)!r}, and the folder "
                f"{str(self._path.parent)!r} does not exist; make it first."
            )
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            document, arrays = _read(self._path, file)
        self._compare(document["fingerprint"])
        try:
            tree = _Reader(arrays).value(document["tree"])
            self._n_iter = int(document["n_iter"])
        except Exception as error:
            raise self.damaged() from error
        return tree

    def damaged(self) -> CheckpointError:
        """Make the error of a file whose tree makes no sense."""
        return _damaged(self._path)

    def behind(self, n_iter: int) -> bool:
        """Whether the file is of fewer iterations."""
        return self._settings is not None and n_iter > self._n_iter

    def due(self, n_iter: int) -> bool:
        """Whether the state after ``n_iter`` iterations is to be written."""
        if self._settings is None or n_iter - self._n_iter < self._settings.every:
            return False
        seconds = self._settings.seconds
        return seconds is None or self._clock() - self._time >= seconds

    def write(self, n_iter: int, tree: Any) -> None:
        """Replace the file in one step by the state after ``n_iter`` iterations."""
        if self._path is None:
            return
        writer = _Writer()
        document = {
            "kind": _KIND,
            "format": _FORMAT,
            "fingerprint": writer.value(self._fingerprint),
            "n_iter": n_iter,
            "tree": writer.value(tree),
        }
        text = json.dumps(document, allow_nan=False).encode("ascii")
        arrays: Any = writer.arrays | {_DOCUMENT: np.frombuffer(text, dtype=np.uint8)}
        partial = self._partial
        try:
            with partial.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._time, self._n_iter = self._clock(), n_iter

    def finish(self) -> None:
        """Remove the file: the fit has come to its end."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)  # of a process that was killed as it wrote

    @property
    def _partial(self) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + ".partial")

    def _compare(self, stored: Any) -> None:
        here = json.loads(json.dumps(_Writer().value(self._fingerprint)))
        there, here = _by_name(stored), _by_name(here)
        differing = [
            _difference(name, there.get(name), here.get(name))
            for name in here | there
            if here.get(name) != there.get(name)
        ]
        if differing:
            raise CheckpointError(
                f"The checkpoint {str(self._path)!r} is of another fit. What differs: "
                f"{', '.join(differing)}. Fit what it was written for, delete the file, or "
                "name another one."
            )


def digest(*arrays: Tensor) -> str:
    """Stand for tensors in a fingerprint: for their types, shapes and numbers."""
    found = sha256()
    for array in arrays:
        found.update(f"{array.dtype} {tuple(array.shape)};".encode())
        flat = array.detach().cpu().contiguous().view(-1)
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def named(thing: object) -> str:
    """Stand for settings in a fingerprint: their repr, without addresses in this process."""
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", repr(thing))


def encoded(tree: Any) -> tuple[str, dict[str, np.ndarray]]:
    """Encode a tree, as a `Journal` holds it, as JSON and arrays, which may share its memory.

    Raises
    ------
    TypeError
        If it holds something else.
    """
    writer = _Writer()
    return json.dumps(writer.value(tree)), writer.arrays


def decoded(document: str, arrays: dict[str, np.ndarray]) -> Any:
    """Decode a tree that `encoded` has made; its tensors are new."""
    return _Reader(arrays).value(json.loads(document))


def _require_path(path: object, name: str = "path", others: str = "") -> None:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ParameterError(f"{name} is {path!r}, expected the path of a file{others}.")


def _read(path: Path, file: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Document and arrays of a file of ours; nothing is built from it that is code."""
    foreign = CheckpointError(
        f"{str(path)!r} is no checkpoint of this package; it is left as it is. Name another file."
    )
    head = file.peek(len(_ZIP))[: len(_ZIP)]
    if not _ZIP.startswith(head):
        raise foreign
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile and NumPy have a dozen of them
        raise _damaged(path) from error
    if _DOCUMENT not in arrays:
        raise foreign
    try:
        document = json.loads(arrays.pop(_DOCUMENT).tobytes())
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(document, dict) or document.get("kind") != _KIND:
        raise foreign
    if document.get("format") != _FORMAT:
        raise CheckpointError(
            f"The checkpoint {str(path)!r} has format {document.get('format')!r}, and this "
            f"version of the package reads format {_FORMAT}; go on with the version that wrote "
            "it, or delete the file."
        )
    if not {"fingerprint", "n_iter", "tree"} <= document.keys():
        raise _damaged(path)
    return document, arrays


def _damaged(path: Path | None) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint {str(path)!r} is damaged: it is cut short or was changed. Delete the "
        "file to start anew."
    )


def _by_name(encoded: Any) -> dict[Any, Any]:
    """Pairs of an encoded dict, still encoded; of anything else, none."""
    with suppress(TypeError, ValueError, KeyError):
        return dict(encoded["dict"])
    return {}


def _difference(name: Any, there: Any, here: Any) -> str:
    values = str(there), str(here)
    if max(map(len, values)) > _SHORT:
        return str(name)
    return f"{name} (there {values[0]}, here {values[1]})"


class _Writer:
    """Makes JSON of a tree, and sets its arrays aside."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def value(self, tree: Any) -> Any:
        """Encode one value.

        What JSON has stands for itself, anything else is an object with one name that says
        what it is.
        """
        match tree:
            case None | bool() | str():
                return tree
            case int():
                return int(tree)
            case float():
                # the shortest decimals that are read as this number; no others are written
                finite = math.isfinite(tree)
                return float(tree) if finite else {"bits": struct.pack(">d", tree).hex()}
            case list():
                return [self.value(item) for item in tree]
            case tuple():
                return {"tuple": [self.value(item) for item in tree]}
            case dict():
                return {"dict": [[self.value(k), self.value(v)] for k, v in tree.items()]}
            case Tensor():
                return {"tensor": self._tensor(tree)}
            case np.ndarray() if not tree.dtype.hasobject:
                return {"array": self._keep(tree)}
        raise TypeError(f"a checkpoint holds no {type(tree).__name__}")

    def _tensor(self, tensor: Tensor) -> list[Any]:
        tensor = tensor.detach()
        shape, strides = list(tensor.shape), list(tensor.stride())
        for axis, stride in enumerate(strides):
            if stride == 0:  # expanded: one of each is enough
                tensor = tensor.narrow(axis, 0, min(shape[axis], 1))
        flat = tensor.cpu().contiguous()
        if flat.dtype is torch.bfloat16:  # which NumPy does not have
            flat = flat.view(torch.int16)
        return [self._keep(flat.numpy()), str(tensor.dtype), shape, strides]

    def _keep(self, array: np.ndarray) -> str:
        name = f"array_{len(self.arrays)}"
        self.arrays[name] = array
        return name


class _Reader:
    """Makes a tree of JSON and arrays."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays = arrays

    def value(self, encoded: Any) -> Any:
        """Decode one value."""
        match encoded:
            case None | bool() | int() | float() | str():
                return encoded
            case list():
                return [self.value(item) for item in encoded]
            case {"bits": text}:
                return struct.unpack(">d", bytes.fromhex(text))[0]
            case {"tuple": items}:
                return tuple(self.value(item) for item in items)
            case {"dict": pairs}:
                return {self.value(key): self.value(item) for key, item in pairs}
            case {"tensor": [name, dtype, shape, strides]}:
                return self._tensor(name, _DTYPES[dtype], shape, strides)
            case {"array": name}:
                return self._arrays[name]
        raise ValueError(encoded)

    def _tensor(
        self, name: str, dtype: torch.dtype, shape: list[int], strides: list[int]
    ) -> Tensor:
        stored = torch.from_numpy(self._arrays[name])
        stored = stored.view(dtype) if dtype is torch.bfloat16 else stored
        if stored.dtype is not dtype:
            raise ValueError(name)
        tensor = torch.empty_strided(stored.shape, strides, dtype=dtype).copy_(stored)
        return tensor.expand(shape)
