"""The public names and signatures are those that were agreed on.

Run as a program, it writes down what they are now.
"""

import importlib
import inspect
import re
import subprocess
import sys
from enum import Enum
from operator import attrgetter
from pathlib import Path

import pytest

import skorch_logreg
from skorch_logreg import MultiLabel, TorchLogisticClassifier
from tests.test_rooms import ROOMS

AGREED = Path(__file__).with_name("api.txt")
ROOT = Path(__file__).parents[1]
USER_CODE = """
import numpy as np
import numpy.typing as npt
from skorch_logreg import BatchedGridSearchCV, MultiLabel, TorchLogisticClassifier
from skorch_logreg import TorchLogisticClassifierCV, regularization_path
from skorch_logreg.penalties import GroupL2
from skorch_logreg.solvers import LBFGS, Adam, Checkpoint

X: npt.NDArray[np.float64] = np.zeros((9, 2))
y: npt.NDArray[np.int64] = np.zeros(9, dtype=np.int64)

model = TorchLogisticClassifier(C=0.5, solver=LBFGS(checkpoint=Checkpoint("fit.npz")))
model = TorchLogisticClassifier(solver=Adam(learning_rate=0.1, epochs=5), penalty_factor=[1, 2])
proba: npt.NDArray[np.float64] = model.fit(X, y).predict_proba(X)
reached: bool = model.converged_ and model.optimality_ <= model.tol
TorchLogisticClassifier(penalty=GroupL2([[0, 1]])).fit(X, y, sample_weight=None).sparsify()
labels = MultiLabel(model, threshold=[0.3, 0.5]).fit(X, np.eye(9)[:, :2])
chosen = TorchLogisticClassifierCV(Cs=5, l1_ratios=(0,), selection="1se").fit(X, y)
search = BatchedGridSearchCV(model, {"C": [0.1, 1.0]}).fit(X, y)
gaps = regularization_path(X, y).duality_gap
layer = model.module_.weight
"""


def signature(thing):
    """Parameters and defaults; without types, of which mypy takes care."""
    found = inspect.signature(thing)
    bare = [p.replace(annotation=p.empty) for p in found.parameters.values() if p.name != "self"]
    return str(found.replace(parameters=bare, return_annotation=found.empty))


def described(name, thing):
    """Lines of a name: its signature and, of a class, those of its own methods."""
    if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, (Exception, Enum))):
        yield name
        return
    yield f"{name}{signature(thing)}"
    if not inspect.isclass(thing):
        return
    for member in sorted({n for base in thing.__mro__ for n in ours(base)}):
        if isinstance(inspect.getattr_static(thing, member), property):
            yield f"{name}.{member}"
        elif callable(getattr(thing, member, None)):
            yield f"{name}.{member}{signature(getattr(thing, member))}"


def ours(base):
    """Public members that this package's classes define."""
    mine = base.__module__.startswith("skorch_logreg")
    made = "set_.*_request"  # by scikit-learn, of the methods' signatures
    return [n for n in vars(base) if mine and n[0] != "_" and not re.fullmatch(made, n)]


def public_names():
    """Yield the full name of every public object, and the object, sorted in each module."""
    for room in ["", "objective.duality", "exceptions", *ROOMS]:
        module = importlib.import_module(f"skorch_logreg.{room}".rstrip("."))
        names = getattr(module, "__all__", None) or [
            name
            for name, value in vars(module).items()
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
        for name in sorted(names):
            yield f"{module.__name__}.{name}", getattr(module, name)


def public():
    lines = [line for name, thing in public_names() for line in described(name, thing)]
    return "".join(f"{line}\n" for line in lines)


def test_it_is_what_was_agreed_on():
    """A change here is one that users meet: it goes with a line of the CHANGELOG."""
    assert public() == AGREED.read_text(encoding="utf-8"), "run: python -m tests.test_api"


def test_the_documentation_has_every_public_name_once():
    """Under one of the modules that export it."""
    public = list(public_names())  # which imports all modules
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / ".ci" / "docs").glob("*.rst")]
    shown = re.findall(r"^   ([A-Za-z]\w*(?:\.\w+)*)$", "\n".join(pages), re.MULTILINE)
    documented = [id(attrgetter(name)(skorch_logreg)) for name in shown]
    assert len(documented) == len(set(documented))
    missing = [name for name, thing in public if id(thing) not in set(documented)]
    assert missing == []


def test_estimators_show_what_is_not_a_default():
    assert repr(TorchLogisticClassifier()) == "TorchLogisticClassifier()"
    shown = repr(MultiLabel(TorchLogisticClassifier(C=0.1), threshold=0.3))
    assert shown == "MultiLabel(estimator=TorchLogisticClassifier(C=0.1), threshold=0.3)"
    assert "TorchLogisticClassifier" in TorchLogisticClassifier(C=0.1)._repr_html_()


def test_tab_completion_knows_every_name():
    """Also in a process that has asked for none of those that are imported on demand."""
    code = (
        "import importlib, sys\n"
        "for room in sys.argv[1:]:\n"
        "    module = importlib.import_module(room)\n"
        "    assert set(module.__all__) <= set(dir(module)), room\n"
    )
    rooms = ["skorch_logreg", *(f"skorch_logreg.{room}" for room in ROOMS)]
    subprocess.run([sys.executable, "-c", code, *rooms], check=True)


def test_what_is_shown_is_there():
    assert not [name for name in dir(skorch_logreg) if not hasattr(skorch_logreg, name)]


@pytest.mark.slow
def test_types_hold_in_the_code_of_a_user(tmp_path):
    """Under mypy --strict; a mistake is found, so that types are seen at all."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir=cache", "--config-file="]

    def checked(source):
        (tmp_path / "user.py").write_text(source, encoding="utf-8")
        return subprocess.run(
            [*command, "user.py"], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert "Success" in (done := checked(USER_CODE)).stdout, done.stdout + done.stderr
    wrong = USER_CODE + "TorchLogisticClassifier(C='one', colour=1)\n"
    errors = checked(wrong).stdout
    assert '"C"' in errors
    assert '"colour"' in errors


if __name__ == "__main__":
    AGREED.write_text(public(), encoding="utf-8")
