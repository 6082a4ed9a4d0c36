"""The rooms: sorted exports, and nothing public that the catalogue does not know."""

import importlib
import inspect
import subprocess
import sys

import pytest

import skorch_logreg
from tests import catalogue

ROOMS = [
    *("losses", "penalties", "data", "curvature", "solvers", "estimators", "analysis"),
    "displays",
]


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_exports_are_sorted_and_exist(room):
    module = importlib.import_module(f"skorch_logreg.{room}".rstrip("."))
    names = module.__all__
    plain = [name for name in names if not name.startswith("__")]
    assert plain == sorted(plain, key=lambda n: (not n.isupper(), n))
    assert all(hasattr(module, name) for name in names)


@pytest.mark.parametrize("module", catalogue.CLASSES, ids=lambda m: m.__name__.split(".")[-1])
def test_every_public_class_is_in_the_catalogue(module):
    public = [getattr(module, name) for name in module.__all__]
    classes = {c for c in public if inspect.isclass(c)}
    missing = {c.__name__ for c in classes - catalogue.CLASSES[module]}
    assert missing <= catalogue.NOT_CATALOGUED


def test_registries_name_public_classes():
    named = set(skorch_logreg.solvers.SOLVERS.values())
    assert named == {type(solver) for solver in catalogue.SOLVERS.values()}
    registered = set(skorch_logreg.penalties.PENALTIES.values())
    assert registered == catalogue.CLASSES[skorch_logreg.penalties]


def test_importing_the_package_leaves_out_what_takes_long():
    """Cross-validation, searches and their part of scikit-learn come when they are asked for."""
    code = (
        "import sys, skorch_logreg as s; "
        "late = {'sklearn.linear_model', 'sklearn.model_selection', 'skorch_logreg.analysis', "
        "'skorch_logreg.displays'}; "
        "assert not late & set(sys.modules); "
        "assert set(s.__all__) <= set(dir(s)); "
        "assert s.MultiLabel is s.MultiLabel and not hasattr(s, 'Multilabel')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
