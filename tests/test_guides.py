"""The guides tell the truth: their examples run, their tables and promises hold.

Run as a program, it writes the tables again.
"""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale

from skorch_logreg.data import CONTAINERS, PLACES, from_arrays
from skorch_logreg.fitting import Status, fit
from skorch_logreg.losses import Binomial
from skorch_logreg.penalties import PENALTIES
from skorch_logreg.solvers import SOLVERS
from tests import catalogue
from tests.solvers import test_choose

ROOT = Path(__file__).parents[1]
GUIDES = sorted((ROOT / "notebooks").glob("*.md"))
SOLVER_GUIDE = ROOT / "notebooks" / "solvers.md"
COMBINATIONS = list(itertools.product(PENALTIES, CONTAINERS, SOLVERS))
# one of every kind, of five features
MADE = {
    name: next(made for made in catalogue.PENALTIES.values() if type(made) is kind)
    for name, kind in PENALTIES.items()
}


def takes(solver, penalty):
    """Whether a penalty has what the solver requires: each has a prox, some are smooth."""
    return SOLVERS[solver].requires <= {"prox", "smooth" if PENALTIES[penalty].smooth else "prox"}


def solver_table():
    rows = [["penalty", "container", *SOLVERS], ["---"] * (2 + len(SOLVERS))]
    for penalty, container in itertools.product(PENALTIES, CONTAINERS):
        cells = ["yes" if takes(solver, penalty) else "-" for solver in SOLVERS]
        rows.append([penalty, container, *cells])
    return markdown(rows)


def container_table():
    return markdown([["container", "what"], ["---"] * 2, *map(list, CONTAINERS.items())])


def place_table():
    return markdown([["where", "what"], ["---"] * 2, *map(list, PLACES.items())])


def markdown(rows):
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def with_tables(text):
    """Return the text of the guide with its tables made from the registries."""
    tables = {
        "solvers": solver_table(),
        "containers": container_table(),
        "places": place_table(),
        "choices": markdown(test_choose.table()),
    }
    for name, table in tables.items():
        pattern = rf"(<!-- table: {name} -->\n).*?(<!-- end -->)"
        text, n_found = re.subn(pattern, rf"\g<1>{table}\g<2>", text, flags=re.DOTALL)
        assert n_found == 1, name
    return text


def test_tables_are_those_of_the_registries():
    text = SOLVER_GUIDE.read_text(encoding="utf-8")
    assert text == with_tables(text), "run: python tests/test_guides.py"


@pytest.mark.parametrize(("penalty", "container", "solver"), COMBINATIONS)
def test_a_cell_of_the_table_is_what_happens(penalty, container, solver):
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:, :5]
    X = {"dense": scale(X), "sparse": sp.csr_array(X / X.max(axis=0))}[container]
    data = from_arrays(X, torch.from_numpy(y), None)
    made = MADE[penalty]
    method = SOLVERS[solver]()
    if takes(solver, penalty):
        assert fit(data, Binomial(), made, solver=method).status == (Status.CONVERGED,)
    else:
        with pytest.raises(ValueError, match=type(method).__name__):
            fit(data, Binomial(), made, solver=method)


@pytest.mark.filterwarnings("ignore:::mlflow")  # it warns of its own modules when it is imported
@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_examples_run(path, tmp_path, monkeypatch):
    """The blocks of a guide are one program; those that SciPy's import has to see are their own."""
    monkeypatch.chdir(tmp_path)  # some write files
    names = {}
    for source in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
        if "SCIPY_ARRAY_API" in source:
            subprocess.run([sys.executable, "-c", source], check=True)
        else:
            exec(compile(source, str(path), "exec"), names)


def test_every_promise_has_a_test_that_names_its_number():
    promises = (ROOT / "notebooks" / "promises.md").read_text(encoding="utf-8")
    numbers = re.findall(r"^(\d+)\. \*\*", promises, re.MULTILINE)
    assert [int(number) for number in numbers] == [*range(1, 22)]
    tests = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    for number in numbers:
        assert re.search(rf"def test_{number}_|[Pp]romises? [^\n]*\b{number}\b", tests), number


if __name__ == "__main__":
    written = with_tables(SOLVER_GUIDE.read_text(encoding="utf-8"))
    SOLVER_GUIDE.write_text(written, encoding="utf-8")
