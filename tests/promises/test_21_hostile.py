"""Promise 21: bounded and quiet; hostile input is an error and not a crash."""

import multiprocessing
import os
import threading

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from skorch_logreg import TorchLogisticClassifier
from tests.problems import load
from tests.promises.models import run_python


class Deep:
    """Pretends to be an array, endlessly."""

    def __len__(self):
        return 4

    def __getitem__(self, key):
        return Deep()

    def __array__(self, *_, **__):
        raise TypeError("not an array after all")


class Explosive:
    """A label that can be neither compared nor hashed."""

    def __eq__(self, other):
        raise TypeError("no comparison")

    __hash__ = None


def nested(depth):
    made = [1.0]
    for _ in range(depth):
        made = [made]
    return made


def _labels(*values):
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return np.resize(made, 6)


X, Y = np.arange(12.0).reshape(6, 2), np.array([0, 1] * 3)
HOSTILE = {
    "deep list": lambda: (nested(60), Y),
    "very deep list": lambda: (nested(500), Y),
    "deep object": lambda: (Deep(), Y),
    "self-containing list": lambda: (_cyclic(), Y),
    "generator": lambda: ((row for row in X), Y),
    "set": lambda: ({1.0, 2.0}, Y),
    "string": lambda: ("X", Y),
    "bytes": lambda: (b"12345678", Y),
    "number": lambda: (3.0, Y),
    "structured": lambda: (np.zeros(6, dtype=[("a", float), ("b", float)]), Y),
    "void": lambda: (np.zeros((6, 2), dtype="V8"), Y),
    "huge integers": lambda: (np.full((6, 2), 10**400, dtype=object), Y),
    "objects": lambda: (np.full((6, 2), object(), dtype=object), Y),
    "None inside": lambda: (np.full((6, 2), None, dtype=object), Y),
    "complex": lambda: (X * 1j, Y),
    "longdouble beyond float64": lambda: (np.full((6, 2), np.longdouble("1e4000")), Y),
    "float64 as float32 inf": lambda: (np.full((6, 2), np.inf, dtype=np.float32), Y),
    "4-D": lambda: (np.zeros((6, 2, 1, 1)), Y),
    "no rows": lambda: (np.zeros((0, 2)), np.zeros(0)),
    "no columns": lambda: (np.zeros((6, 0)), Y),
    "broadcast to a terabyte, 3-D": lambda: (np.broadcast_to(1.0, (10**6, 10**6, 2)), Y),
    "frame of text": lambda: (pd.DataFrame({"a": list("abcdef")}), Y),
    "frame of mixed names": lambda: (pd.DataFrame(X, columns=["a", 0]), Y),
    "labels nested": lambda: (X, _labels([1], [2])),
    "labels of dicts": lambda: (X, _labels({"a": 1}, {"b": 2})),
    "labels of lists": lambda: (X, [[1], [2, 3], [1], [1], [1], [1]]),
    "labels explosive": lambda: (X, _labels(Explosive(), Explosive())),
    "labels huge": lambda: (X, _labels(10**400, -(10**400))),
    "labels NaN": lambda: (X, np.array([0, np.nan] * 3)),
    "labels mixed": lambda: (X, _labels("a", 1)),
    "labels None": lambda: (X, _labels("a", None)),
    "labels complex": lambda: (X, Y * 1j),
    "labels structured": lambda: (X, np.zeros(6, dtype=[("a", int)])),
    "labels void": lambda: (X, np.zeros(6, dtype="V4")),
    "labels sparse": lambda: (X, sp.csr_array(Y[:, None])),
    "labels 3-D": lambda: (X, Y.reshape(6, 1, 1)),
    "labels too many": lambda: (X, np.r_[Y, Y]),
    "labels a string": lambda: (X, "010101"),
    "labels a generator": lambda: (X, (v for v in Y)),
}


def _cyclic():
    made = []
    made.append(made)
    return made


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, on casts that overflow
@pytest.mark.parametrize("kind", HOSTILE)
def test_21_hostile_data_are_an_error(kind):
    """An ordinary exception that says something, and an estimator as before."""
    model = TorchLogisticClassifier()
    made, y = HOSTILE[kind]()
    with pytest.raises(Exception, match=r"\w") as caught:
        model.fit(made, y)
    assert not isinstance(caught.value, (AttributeError, IndexError, AssertionError, KeyError))
    assert vars(model) == vars(TorchLogisticClassifier())


@pytest.mark.parametrize(
    "weight",
    ["abc", object(), {"a": 1}, np.full(6, 10**400, dtype=object), np.full(6, 1j), [[1]] * 6,
     np.full(6, np.nan), np.full(6, np.inf), nested(60), np.zeros(6), np.ones(7), []],
    ids=lambda w: type(w).__name__,
)  # fmt: skip
def test_21_hostile_weights_are_an_error(weight):
    model = TorchLogisticClassifier()
    with pytest.raises((ValueError, TypeError, OverflowError), match=r"\w"):
        model.fit(X, Y, sample_weight=weight)
    assert vars(model) == vars(TorchLogisticClassifier())


@pytest.mark.parametrize("C", [5e-324, 1e-300, 1e300, 1.7e308])
@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_21_extreme_strengths_stay_finite(C, l1_ratio):
    """Whatever `C` may be: an answer without NaN."""
    case = load("binary")
    model = TorchLogisticClassifier(C=C, l1_ratio=l1_ratio).fit(case.X, case.y)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    assert np.isfinite(model.predict_proba(case.X)).all()


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e30, 1e150, 1e300])
@pytest.mark.parametrize("form", [np.array, sp.csr_array])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_21_extreme_columns_stay_finite_or_are_refused(size, form):
    """Squares of the entries leave float64 on both sides."""
    case = load("binary")
    try:
        model = TorchLogisticClassifier().fit(form(case.X * size), case.y)
    except ValueError as refusal:
        assert "large" in str(refusal) or "small" in str(refusal)  # noqa: PT017
        return
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_).all()
    p = model.predict_proba(form(case.X * size))
    assert np.isfinite(p).all()


# Sparse matrices whose index arrays lie: each in a process of its own, where a crash is seen.
CORRUPT = """
import os, sys, numpy as np, scipy.sparse as sp, torch
from itertools import product
from skorch_logreg import TorchLogisticClassifier
torch.set_num_threads(1)
class Chunks:
    def __init__(self, *parts): self.parts = parts
    def __len__(self): return len(self.parts)
    def chunk(self, index): return self.parts[index]
rng = np.random.default_rng(0)
X = sp.csr_array(rng.random((200, 5)) * (rng.random((200, 5)) < 0.5))
y = np.arange(200) % 2
model = TorchLogisticClassifier().fit(X, y)
def spoiled(kind):
    bad = X.tocsc() if "csc" in kind else X.copy()
    if kind == "csr column too large": bad.indices[7] = 10**6
    if kind == "csr column far too large": bad.indices[7] = 2**31 - 1
    if kind == "csr column negative": bad.indices[7] = -(10**6)
    if kind == "csr rows decreasing": bad.indptr[5] = bad.indptr[-1]
    if kind == "csr rows negative": bad.indptr[5] = -3
    if kind == "csr rows beyond the data": bad.indptr[-1] += 10**6
    if kind == "csc row too large": bad.indices[7] = 10**6
    if kind == "csc row negative": bad.indices[7] = -(10**6)
    return bad
def refuses(use):
    try:
        use()
    except (ValueError, IndexError, RuntimeError):
        return True
    return False
for kind, name, wrap in product(sys.argv[1:], ("fit", "predict_proba"), (False, True)):
    child = os.fork()
    if not child:
        bad = Chunks(spoiled(kind)) if wrap else spoiled(kind)
        if name == "fit":
            refused = refuses(lambda: TorchLogisticClassifier().fit(bad, y))
        else:
            refused = refuses(lambda: model.predict_proba(bad))
        os._exit(0 if refused else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        how = "accepted" if status > 0 else f"crashed with signal {-status}"
        print(kind, name, "in chunks" * wrap, how)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="one process a matrix would take a minute")
def test_21_sparse_indices_that_lie_are_an_error_and_not_a_crash():
    kinds = [
        "csr column too large", "csr column far too large", "csr column negative",
        "csr rows decreasing", "csr rows negative", "csr rows beyond the data",
        "csc row too large", "csc row negative",
    ]  # fmt: skip
    assert run_python(CORRUPT, *kinds) == ""


QUIET = """
import sys, threading, multiprocessing, numpy as np, scipy.sparse as sp, warnings
from skorch_logreg import TorchLogisticClassifier
rng = np.random.default_rng(0)
X = rng.normal(size=(3000, 40))
y = (X[:, :3] + rng.gumbel(size=(3000, 3))).argmax(axis=1)
def work():
    for Z in (X, X.astype(np.float32), sp.csr_array(X * (X > 1))):
        for l1_ratio in (0.0, 0.5):
            for labels in (y, y == 1):
                model = TorchLogisticClassifier(l1_ratio=l1_ratio, C=0.1).fit(Z, labels)
                model.predict(Z), model.predict_proba(Z), model.module_
seen = []
def hook(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if isinstance(mode, str) and not set(mode) & set("wax+"):
            return
        if mode is None and not flags & 3:
            return
        seen.append((event, arguments))
    elif event.split(".")[0] in ("socket", "subprocess", "http", "ftplib", "urllib", "pickle",
                                 "marshal", "shutil", "tempfile", "ctypes"):
        seen.append((event, arguments))
    elif event in ("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.remove", "os.mkdir",
                   "os.rename", "exec", "compile", "os.putenv"):
        seen.append((event, arguments))
work()  # lazy imports are done
sys.addaudithook(hook)
work()
assert not seen, seen[:5]
assert threading.active_count() == 1
assert not multiprocessing.active_children()
print("quiet")
"""


@pytest.mark.slow
def test_21_no_network_no_process_no_file():
    """What Python itself reports of a run: nothing opened to write, sent, started or executed."""
    assert run_python(QUIET).strip() == "quiet"


def test_21_threads_and_processes_are_ended():
    before = set(threading.enumerate())
    rng = np.random.default_rng(0)
    made = rng.normal(size=(20_000, 30))
    TorchLogisticClassifier().fit(made, made[:, 0] + rng.logistic(size=20_000) > 0)
    assert set(threading.enumerate()) == before
    assert not multiprocessing.active_children()
