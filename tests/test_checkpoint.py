"""The file of a fit that may be cut: what it holds, and what is refused (promises 17 and 21)."""

import errno
import io
import json
import math
import struct
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from functools import partial

import numpy as np
import pytest
import torch

from skorch_logreg.checkpoint import (
    Checkpoint,
    CheckpointWriter,
    digest,
    exclusive,
    stable_repr,
)
from skorch_logreg.exceptions import CheckpointError, ParameterError
from skorch_logreg.solvers import SGD, Optimizer

FINGERPRINT = {"solver": "LBFGS(memory=10)", "tol": 1e-4, "strength": [0.5, math.inf], "rows": 7}


def bits(value):
    """What two trees that are the same to the last bit have in common."""
    if isinstance(value, torch.Tensor):
        if value.dtype is torch.bfloat16:
            value = value.view(torch.int16)
        return "tensor", tuple(value.stride()), bits(value.numpy())
    if isinstance(value, np.ndarray):
        return "array", value.dtype, value.shape, value.tobytes()
    if isinstance(value, float):
        return "float", struct.pack(">d", value)
    if isinstance(value, dict):
        return "dict", [(bits(k), bits(v)) for k, v in value.items()]
    if isinstance(value, list | tuple):
        return type(value), [bits(v) for v in value]
    return type(value), value


def another_nan():
    """A nan whose bits are not those of math.nan."""
    return struct.unpack(">d", bytes.fromhex("fff8000000000123"))[0]


UGLY = {
    "floats": [0.1, -0.0, 5e-324, math.inf, -math.inf, math.nan, another_nan(), 1.0, 1e308],
    "others": (None, True, False, 0, 2**200, -(2**63), "", "tensor", "é\ud800\n\0", [], (), {}),
    "lists are not tuples": [(1, [2]), [(3,)]],
    1: {"keys of a state of torch": {0: {"step": torch.tensor(3.0)}}, (1, "a"): None},
    "dict": {"dict": [["a", 1]], "bits": "00", "tensor": ["x", "torch.float64", [1], [1]]},
    "tensors": [
        torch.tensor([math.nan, -math.inf, -0.0, another_nan()], dtype=torch.float64),
        torch.tensor(1.5, dtype=torch.bfloat16),
        torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T,
        torch.tensor([True, False]),
        torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1),
        torch.arange(12.0)[::3],
        torch.arange(3.0)[:, None].expand(3, 4),
        torch.tensor(2.0).expand(2, 2),
        torch.empty(0, 3, dtype=torch.int64),
        torch.ones(3, requires_grad=True).detach(),
    ],
    "arrays": [
        *(np.arange(3, dtype=">i2"), np.array(["ab", "c"]), np.asfortranarray(np.eye(2))),
        *(np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2), np.arange(9.0)[::2], np.array(2.5)),
    ],
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.npz"


def written(path, tree=UGLY, n_iter=3, **changes):
    CheckpointWriter(path, FINGERPRINT | changes).write(n_iter, tree)
    return path


def test_promise_17_a_tree_comes_back_bit_for_bit(path):
    assert bits(CheckpointWriter(written(path), FINGERPRINT).resume()) == bits(UGLY)


def test_a_tree_does_not_share_memory_with_what_was_written(path):
    tensor = torch.zeros(3)
    tree = CheckpointWriter(written(path, [tensor, tensor]), FINGERPRINT).resume()
    tree[0] += 1
    assert tensor.sum() == tree[1].sum() == 0


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", np.array([None]), np.int64, 1j])
def test_what_has_no_place_in_a_tree_is_refused_and_no_file_is_left(tmp_path, path, value):
    with pytest.raises(TypeError, match="a checkpoint holds no"):
        written(path, {"x": value})
    assert list(tmp_path.iterdir()) == []


def test_no_file_means_a_new_start(path):
    assert CheckpointWriter(path, FINGERPRINT).resume() is None


def test_no_checkpoint_does_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = CheckpointWriter(None, FINGERPRINT)
    assert writer.resume() is None
    assert not writer.due(1_000_000)
    writer.write(1, UGLY)
    writer.finish()
    assert list(tmp_path.iterdir()) == []


def test_finish_removes_the_file_and_what_a_killed_writer_left(tmp_path, path):
    written(path)
    (tmp_path / "fit.npz.partial").write_bytes(b"PK")
    writer = CheckpointWriter(path, FINGERPRINT)
    writer.finish()
    writer.finish()
    assert list(tmp_path.iterdir()) == []


def test_a_writing_that_fails_leaves_the_file_before(tmp_path, path, monkeypatch):
    written(path, "before")

    def full(file, **arrays):
        file.write(b"PK\x03\x04")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        written(path, "after")
    assert list(tmp_path.iterdir()) == [path]
    assert CheckpointWriter(path, FINGERPRINT).resume() == "before"


# ---------------------------------------------------------------------------- when it is due


def test_due_every_so_many_iterations(path):
    writer = CheckpointWriter(Checkpoint(path, every=3), FINGERPRINT)
    due = []
    for n_iter in range(1, 10):
        if writer.due(n_iter):
            due.append(n_iter)
            writer.write(n_iter, None)
    assert due == [3, 6, 9]


def test_a_resumed_fit_counts_on_from_the_last_writing(path):
    written(path, n_iter=5)
    writer = CheckpointWriter(Checkpoint(path, every=3), FINGERPRINT)
    writer.resume()
    assert [writer.due(n) for n in (5, 7, 8)] == [False, False, True]


def test_due_when_so_many_seconds_have_passed(path):
    now = [100.0]
    settings = Checkpoint(path, seconds=10)
    writer = CheckpointWriter(settings, FINGERPRINT, clock=lambda: now[0])
    due = []
    for n_iter in range(1, 9):
        now[0] += 4
        if writer.due(n_iter):
            due.append(n_iter)
            writer.write(n_iter, None)
    assert due == [3, 6]


def test_both_have_to_have_passed(path):
    now = [0.0]
    writer = CheckpointWriter(
        Checkpoint(path, every=4, seconds=10), FINGERPRINT, clock=lambda: now[0]
    )
    now[0] = 20.0
    assert not writer.due(3)
    assert writer.due(4)


# ---------------------------------------------------------------------------- what is refused


def refused(path, text, fingerprint=FINGERPRINT):
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match=text) as caught:
        CheckpointWriter(path, fingerprint).resume()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_promise_17_a_truncated_file_is_refused_wherever_it_was_cut(path):
    whole = written(path).read_bytes()
    for size in [0, 2, 4, 100, len(whole) // 2, len(whole) - 30, len(whole) - 1]:
        path.write_bytes(whole[:size])
        refused(path, "damaged.*Delete the file to start again")


def test_promise_17_a_flipped_bit_is_noticed(path):
    whole = bytearray(written(path, torch.arange(1000.0)).read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    refused(path, "damaged")


@pytest.mark.parametrize("content", [b"hello", b"\x80\x04\x95", b"\x93NUMPY\x01\x00"])
def test_what_is_no_zip_is_refused(path, content):
    path.write_bytes(content)
    refused(path, "not a checkpoint of this package")


def test_the_archive_of_another_program_is_refused(path):
    np.savez(path, coef=np.eye(2))
    refused(path, "not a checkpoint of this package")
    np.savez(path, document=np.frombuffer(b'{"kind": "something else"}', dtype=np.uint8))
    refused(path, "not a checkpoint of this package")


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("code was loaded from a checkpoint",)


def test_promise_21_nothing_pickled_is_loaded(path):
    with np.load(written(path)) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays | {"array_0": np.array([Bomb()], dtype=object)})
    refused(path, "damaged")


def rewritten(path, **changes):
    """A file whose document says something else."""
    with np.load(written(path)) as archive:
        arrays = dict(archive)
    document = json.loads(arrays["document"].tobytes()) | changes
    arrays["document"] = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)
    np.savez(path, **arrays)


def test_a_newer_format_is_refused(path):
    rewritten(path, format=8)
    refused(path, "has format 8, and this version of the package reads format 7")


@pytest.mark.parametrize(
    "tree",
    [
        {"unknown": 1},
        {"tensor": ["array_99", "torch.float64", [1], [1]]},
        {"tensor": ["array_0", "torch.float32", [4], [1]]},
        {"tensor": ["array_0", "os.system", [4], [1]]},
        {"tensor": ["array_0", "torch.float64", [4], [1 << 60]]},
        {"tensor": ["array_0", "torch.float64", [5], [1]]},
        {"bits": "00"},
    ],
)
def test_a_tree_that_makes_no_sense_is_refused(path, tree):
    rewritten(path, tree=tree)
    refused(path, "damaged")


def test_json_that_is_too_deep_is_refused(path):
    np.savez(path, document=np.frombuffer(b"[" * 100_000, dtype=np.uint8))
    refused(path, "damaged")


def test_an_empty_archive_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", "")
    refused(path, "damaged|not a checkpoint")


def test_promise_17_a_checkpoint_of_another_fit_is_refused_and_says_what_differs(path):
    written(path, solver="LBFGS(memory=5)", data="0" * 64)
    refused(
        path,
        r"another fit. What differs: solver \(there LBFGS\(memory=5\), here LBFGS\(memory=10\)\), "
        r"data. .*delete the file, or name another one",
        FINGERPRINT | {"data": "1" * 64},
    )


def test_a_name_that_is_missing_differs(path):
    written(path)
    refused(path, r"penalty \(there None, here L2\)", FINGERPRINT | {"penalty": "L2"})


def test_a_folder_that_does_not_exist_is_refused_before_any_work(tmp_path):
    path = tmp_path / "nowhere" / "fit.npz"
    with pytest.raises(CheckpointError, match="nowhere' does not exist; make it first"):
        CheckpointWriter(path, FINGERPRINT).resume()


# ---------------------------------------------------------------------------- refused by headers


@pytest.mark.parametrize("save", [np.savez_compressed, np.savez])
@pytest.mark.parametrize("name", ["array_0", "array_999", "document"])
def test_promise_21_what_unpacks_to_more_than_its_fit_writes_is_not_read(path, name, save):
    """Sixteen megabytes where one is the limit: nothing is read but headers."""
    with np.load(written(path)) as archive:
        arrays = dict(archive)
    save(path, **arrays | {name: np.zeros(1 << 21)})
    writer = CheckpointWriter(path, FINGERPRINT, 1 << 20)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="damaged"):
        writer.resume()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_promise_21_tensors_that_their_strides_make_large_are_not_made(path, fill):
    tensor = torch.full((1,), fill).expand(1 << 22)
    assert CheckpointWriter(written(path, tensor), FINGERPRINT).resume().shape == tensor.shape
    with pytest.raises(CheckpointError, match="damaged"):
        CheckpointWriter(path, FINGERPRINT, 1 << 20).resume()
    gaps = torch.empty_strided((2,), (1 << 22,)).fill_(fill)
    with pytest.raises(CheckpointError, match="damaged"):
        CheckpointWriter(written(path, gaps), FINGERPRINT, 1 << 20).resume()


def test_promise_21_arrays_that_lie_inside_each_other_are_refused(path):
    """Each is as long as it says, and all together are longer than the file."""

    def npy(content):
        out = io.BytesIO()
        np.lib.format.write_array(out, np.frombuffer(content, dtype=np.uint8))
        return out.getvalue()

    with np.load(written(path)) as archive:
        arrays = dict(archive)
    entry = io.BytesIO()
    with zipfile.ZipFile(entry, "w") as inner:
        inner.writestr("array_900.npy", npy(bytes(50_000)))
        (info,) = inner.infolist()
        stored = entry.getvalue()  # up to here there is no directory
    np.savez(path, **arrays | {"array_901": np.frombuffer(stored, dtype=np.uint8)})
    with zipfile.ZipFile(path, "a") as outer:
        info.header_offset = path.read_bytes().index(stored)
        outer.filelist.append(info)
        outer._didModify = True
    with zipfile.ZipFile(path) as whole:
        assert len(whole.read("array_900.npy")) > 50_000
    refused(path, "damaged")


def test_promise_21_a_compressed_file_is_none_of_ours(path):
    with np.load(written(path)) as archive:
        arrays = dict(archive)
    np.savez_compressed(path, **arrays)
    refused(path, "damaged")


def test_numbers_that_another_program_has_changed_are_noticed(path):
    """Though the checksums of the zip are right again."""
    with np.load(written(path, torch.arange(1000.0))) as archive:
        arrays = dict(archive)
    arrays["array_0"][500] += 1.0
    np.savez(path, **arrays)
    refused(path, "damaged")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        CheckpointWriter(tmp_path, FINGERPRINT).resume()


# ---------------------------------------------------------------------------- one fit at a time


def test_a_path_is_for_one_fit_at_a_time(tmp_path, path):
    in_use = pytest.raises(CheckpointError, match="in use by another fit")
    with exclusive(path), in_use, exclusive(Checkpoint(path)):
        pass
    with exclusive(path), exclusive(tmp_path / "other.npz"), exclusive(None):
        assert {p.name for p in tmp_path.iterdir()} == {"fit.npz.lock", "other.npz.lock"}
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_free_when_its_fit_fails(path):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), exclusive(path):
            raise KeyboardInterrupt


def test_a_lock_file_that_was_left_is_no_lock(tmp_path, path):
    (tmp_path / "fit.npz.lock").write_bytes(b"")
    with exclusive(path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_threads_exclude_each_other(path):
    """A hundred short turns of four threads: never two at once, and no error but ours."""
    inside, most, others = [], [], []

    def work():
        for _ in range(100):
            try:
                with exclusive(path):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
            except CheckpointError as error:
                others.append("in use" in str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) + len(others) == 400
    assert max(most) == 1
    assert all(others)
    assert not path.with_name("fit.npz.lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no open file")
def test_a_lock_file_that_is_removed_as_it_is_taken_is_made_again(path, monkeypatch):
    """Its fit came to an end between the two: who comes next would hold another one."""
    fcntl = pytest.importorskip("fcntl")
    flock, name, times = fcntl.flock, path.with_name("fit.npz.lock"), []

    def late(file, how):
        if how & fcntl.LOCK_EX:
            if not times:
                name.unlink()
            times.append(1)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with exclusive(path):
        assert name.exists()
        in_use = pytest.raises(CheckpointError, match="in use by another fit")
        with in_use, exclusive(path):
            pass
    assert len(times) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="permissions as POSIX has them")
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, path, monkeypatch):
    def refuses(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuses)
    refused = pytest.raises(CheckpointError, match="cannot be written: .*Permission denied")
    with refused, exclusive(path):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="locks as POSIX has them")
def test_a_file_system_without_locks_is_taken_as_it_is(tmp_path, path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")

    def flock(file, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive(path):
        pass
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"path": 3}, "path is 3, expected the path of a file"),
        ({"path": ""}, "path is ''"),
        ({"path": io.BytesIO()}, "path is <_io.BytesIO"),
        ({"every": 0}, "every is 0, expected a whole number from 1"),
        ({"every": 1.5}, "every is 1.5"),
        ({"every": True}, "every is True"),
        ({"seconds": 0}, "seconds is 0, expected a positive finite number, or None"),
        ({"seconds": math.nan}, "seconds is nan"),
        ({"seconds": math.inf}, "seconds is inf"),
        ({"seconds": "60"}, "seconds is '60'"),
    ],
)
def test_settings_are_looked_at_when_they_are_made(settings, text):
    with pytest.raises(ParameterError, match=text):
        Checkpoint(**{"path": "fit.npz"} | settings)


def test_a_digest_is_of_numbers_shapes_and_types():
    x = torch.arange(6.0)
    digests = {
        digest(x),
        digest(x.double()),
        digest(x.reshape(2, 3)),
        digest(x.reshape(2, 3).T),
        digest(x.nextafter(x + 1)),
        digest(x[:3], x[3:]),
        digest(),
    }
    assert len(digests) == 7
    assert digest(x.reshape(3, 2).T) == digest(x.reshape(3, 2).T.contiguous())


# ---------------------------------------------------------------------------- settings as text


def halves(optimizer, factor=0.5, *, every=1):
    kinds = {"step", "linear", "cosine"}  # the order of a set of strings is that of its process
    return [optimizer, factor, every, [1 for kind in sorted(kinds) if kind in {"a", "step", "b"}]]


def scaled(factor):
    def schedule(optimizer):
        return factor * optimizer if factor else schedule(optimizer)

    return schedule


def counting(calls):
    return lambda optimizer: calls.append(optimizer)


def test_functions_are_told_apart_by_their_code():
    functions = [
        lambda x: x + 1,
        lambda x: x + 2,
        lambda x: x.real + 1,
        lambda x: x.imag + 1,
        lambda x, step=1: x + step,
        lambda x, step=2: x + step,
        lambda x, *, step=1: x + step,
        lambda x: [x + i for i in (1, 2)],
        lambda x: (lambda y: y + 1)(x),
        lambda x: (lambda y: y + 2)(x),
        scaled(1),
        scaled(2),
        scaled(lambda x: x + 1),
        scaled(lambda x: x + 2),
        partial(scaled(1), 3),
        partial(scaled(2), 3),
    ]
    texts = [stable_repr(SGD(schedule=function)) for function in functions]
    assert len(set(texts)) == len(texts)
    assert not any("0x" in text for text in texts)
    options = [Optimizer(torch.optim.SGD, lr=0.1, schedule=f) for f in functions]
    assert len({stable_repr(option) for option in options}) == len(functions)
    again = [stable_repr(scaled(1)), stable_repr(counting([])), stable_repr(SGD(schedule=halves))]
    assert again == [
        stable_repr(scaled(1)), stable_repr(counting([3])),
        stable_repr(SGD(schedule=halves, checkpoint="fit.npz")),
    ]  # fmt: skip


def test_the_text_of_a_function_is_that_of_other_processes():
    code = (
        "from skorch_logreg.checkpoint import stable_repr; from tests.test_checkpoint import *; "
        "print(stable_repr(halves), stable_repr(scaled(scaled(2))))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == f"{stable_repr(halves)} {stable_repr(scaled(scaled(2)))}\n"
