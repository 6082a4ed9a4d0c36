"""Checkpoint files, from which an interrupted fit continues."""

import json
import math
import os
import re
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from hashlib import sha256
from numbers import Integral, Real
from pathlib import Path
from types import CellType, CodeType, FunctionType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from skorch_logreg import lock
from skorch_logreg.archive import Decoder, check_headers, checksum, encode
from skorch_logreg.exceptions import CheckpointError, ParameterError

_KIND = "skorch_logreg checkpoint"
_FORMAT = 7  # version of the format; raise it if equal fingerprints would be read differently
_DOCUMENT = "document"
_ZIP = b"PK\x03\x04"  # first bytes of an .npz


@dataclass(frozen=True)
class Checkpoint:
    """A file to which a fit writes its state.

    A fit that finds the file continues from it, and its result has the same bits as that of an
    uninterrupted fit. The file is removed at the end of a fit, converged or not, and remains if
    the fit was interrupted, failed or killed.

    Parameters
    ----------
    path : str or path-like
        Path of the file, an ``.npz`` of arrays and JSON, which is replaced atomically. Its folder
        has to exist. It can be used by one fit at a time: during a fit the file ``path.lock``
        keeps out others, of any process.
    every : int, default=1
        Minimum number of iterations between two writes (epochs for mini-batch solvers).
    seconds : float or None, default=None
        Minimum number of seconds between two writes; None: 0. If both are given, both have to
        have passed.

    Notes
    -----
    The file is not trusted: it is read only if its headers claim no more than its fit can have
    written, and no code is loaded. A continued fit evaluates the objective at the parameters
    that it reads, and a model that then converges is proven with a new curvature, which costs a
    pass and a Hessian, or its products. `CheckpointError` is raised if a file is damaged,
    belongs to another fit, or is in use.

    A write takes the memory of the arrays of a solver's state: the logits of all rows, and the
    factored curvature. It does not read X.

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
    """Parameters of all solvers for fits that may be interrupted.

    Parameters
    ----------
    checkpoint : str, path-like, Checkpoint or None, default=None
        File to which a fit writes its state and from which it continues; None: no file. A path
        is ``Checkpoint(path)``, which writes at every iteration.
    on_interrupt : {"raise", "keep"}, default="raise"
        Effect of a KeyboardInterrupt: "raise" lets it through and leaves the estimator as it
        was; "keep" ends the fit at the best state so far, not converged.
    """

    # not in a solver's repr, because they do not change the result of a fit
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
        """Return these two parameters, for a solver that replaces this one."""
        return {"checkpoint": self.checkpoint, "on_interrupt": self.on_interrupt}


def require_no_checkpoint(solver: Any) -> None:
    """Raise a `ParameterError` if a solver has parameters for a single fit."""
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


def exclusive(
    checkpoint: str | os.PathLike[str] | Checkpoint | None,
) -> AbstractContextManager[None]:
    """Lock a checkpoint, if it is not None, against other fits.

    A `CheckpointError` is raised if another running fit uses it, or its folder does not exist or
    cannot be written to.
    """
    if checkpoint is None:
        return nullcontext()
    path = Path(checkpoint.path if isinstance(checkpoint, Checkpoint) else checkpoint)
    _require_folder(path)
    return lock.exclusive(path)


class CheckpointWriter:
    """Writer and reader of the checkpoint of one fit.

    Trees are nested dicts, lists and tuples of tensors, arrays, numbers, strings, booleans and
    None. They are restored bit for bit, as tensors on the CPU with the same strides, because the
    order of a sum may depend on these.

    Without a checkpoint nothing is written or read. ``fingerprint`` holds properties of the fit
    that have to be equal when it continues: numbers, strings and lists of them, by name. A file
    that takes more than ``limit`` bytes is not read. ``clock`` returns the time in seconds.
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike[str] | Checkpoint | None,
        fingerprint: dict[str, Any],
        limit: int | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        self._settings = checkpoint
        self._path = None if checkpoint is None else Path(checkpoint.path)
        self._fingerprint, self._limit = fingerprint, limit
        self._clock = clock
        self._time, self._n_iter = clock(), 0

    def resume(self) -> Any:
        """Return the tree that was written last, or None without a file.

        A `CheckpointError` is raised if the file is damaged, foreign, too new, of another fit, or
        cannot be read.
        """
        if self._path is None:
            return None
        _require_folder(self._path)
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._error(f"cannot be read: {error}.") from error
        with file:
            try:
                arrays, document = self._opened(file)
                self._compare(document["fingerprint"])
                tree = Decoder(arrays, document["sums"], self._limit).decode(document["tree"])
                self._n_iter = int(document["n_iter"])
            except CheckpointError:
                raise
            except Exception as error:  # zipfile raises many kinds
                raise self.damaged() from error
        return tree

    def _opened(self, file: Any) -> tuple[Any, dict[str, Any]]:
        """Open the arrays of a file, check their headers, and read the document."""
        foreign = CheckpointError(
            f"{str(self._path)!r} is not a checkpoint of this package; it was not changed. Name "
            "another file."
        )
        if not _ZIP.startswith(file.peek(len(_ZIP))[: len(_ZIP)]):
            raise foreign
        arrays: Any = np.load(file, allow_pickle=False)
        if _DOCUMENT not in arrays.files:
            raise foreign
        n_bytes = os.fstat(file.fileno()).st_size
        check_headers(arrays.zip, n_bytes if self._limit is None else min(n_bytes, self._limit))
        document = json.loads(arrays[_DOCUMENT].tobytes())
        if not isinstance(document, dict) or document.get("kind") != _KIND:
            raise foreign
        if document.get("format") != _FORMAT:
            raise self._error(
                f"has format {document.get('format')!r}, and this version of the package reads "
                f"format {_FORMAT}; go on with the version that wrote it, or delete the file."
            )
        return arrays, document

    def _compare(self, stored: Any) -> None:
        """Raise an error that names the properties in which this fit differs from the stored."""
        here = dict(json.loads(json.dumps(encode(self._fingerprint, {})))["dict"])
        there = {}
        with suppress(TypeError, ValueError, KeyError):
            there = dict(stored["dict"])
        differing = []
        for name in here | there:
            values = str(there.get(name)), str(here.get(name))
            if there.get(name) != here.get(name):
                shown = max(map(len, values)) < 2 * sha256().digest_size  # a digest says nothing
                differing.append(f"{name} (there {values[0]}, here {values[1]})" if shown else name)
        if differing:
            raise self._error(
                f"is of another fit. What differs: {', '.join(map(str, differing))}. Fit what it "
                "was written for, delete the file, or name another one."
            )

    def _error(self, what: str) -> CheckpointError:
        return CheckpointError(f"The checkpoint {str(self._path)!r} {what}")

    def damaged(self) -> CheckpointError:
        """Return the error for a file whose tree is invalid."""
        return self._error(
            "is damaged: it is cut short or was changed. Delete the file to start again."
        )

    def is_outdated(self, n_iter: int) -> bool:
        """Return True if the file is from an earlier iteration."""
        return self._settings is not None and n_iter > self._n_iter

    def due(self, n_iter: int) -> bool:
        """Return True if the state after ``n_iter`` iterations has to be written."""
        if self._settings is None or n_iter - self._n_iter < self._settings.every:
            return False
        seconds = self._settings.seconds
        return seconds is None or self._clock() - self._time >= seconds

    def write(self, n_iter: int, tree: Any) -> None:
        """Replace the file atomically by the state after ``n_iter`` iterations."""
        if self._path is None:
            return
        arrays: dict[str, Any] = {}
        document = {
            "kind": _KIND,
            "format": _FORMAT,
            "fingerprint": encode(self._fingerprint, arrays),
            "n_iter": n_iter,
            "tree": encode(tree, arrays),
            "sums": {name: checksum(array) for name, array in arrays.items()},
        }
        text = json.dumps(document, allow_nan=False).encode("ascii")
        arrays[_DOCUMENT] = np.frombuffer(text, dtype=np.uint8)
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
        """Remove the file at the end of a fit."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._partial.unlink(missing_ok=True)  # of a process killed during a write

    @property
    def _partial(self) -> Path:
        assert self._path is not None
        return self._path.with_name(self._path.name + ".partial")


def digest(*arrays: Tensor) -> str:
    """Return a hash of the types, shapes and entries of tensors, for a fingerprint."""
    found = sha256()
    for array in arrays:
        found.update(f"{array.dtype} {tuple(array.shape)};".encode())
        flat = array.detach().cpu().contiguous().view(-1)
        found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def stable_repr(thing: object, within: tuple[int, ...] = ()) -> str:
    """Return the repr of an object without memory addresses, for a fingerprint.

    If the repr has an address, a digest of what distinguishes functions is added. ``within`` has
    the ids of the objects that hold this one.
    """
    if isinstance(thing, frozenset):  # in an order that does not depend on the process
        return str(sorted(map(stable_repr, thing)))
    text = re.sub(r' at 0x[0-9A-Fa-f]+(, file "[^"]*", line \d+)?', "", repr(thing))
    if text == repr(thing) or id(thing) in within:
        return text
    parts = [stable_repr(part, (*within, id(thing))) for part in _parts(thing)]
    return f"{text} {sha256(str(parts).encode()).hexdigest()}"


def _parts(thing: Any) -> Iterable[object]:
    """Return what distinguishes a function, or the functions in a collection or in settings."""
    if isinstance(thing, CodeType):
        return thing.co_code, thing.co_names, *thing.co_consts
    if isinstance(thing, FunctionType):
        held = [cell.cell_contents for cell in thing.__closure__ or () if cell != CellType()]
        # without lists and dicts, which a function may fill
        held = [content for content in held if isinstance(content, Hashable)]
        return thing.__code__, thing.__defaults__, thing.__kwdefaults__, *held
    if isinstance(thing, partial):
        return thing.func, thing.args, thing.keywords
    if is_dataclass(thing):
        return [getattr(thing, field.name) for field in fields(thing) if field.repr]
    if isinstance(thing, dict):
        return thing.values()
    return thing if isinstance(thing, list | tuple) else ()


def _require_path(path: object, name: str = "path", others: str = "") -> None:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ParameterError(f"{name} is {path!r}, expected the path of a file{others}.")


def _require_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise CheckpointError(
            f"checkpoint is {str(path)!r}, and the folder {str(path.parent)!r} does not exist; "
            "make it first."
        )
