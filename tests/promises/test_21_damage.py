"""Promises 17 and 21: a damaged checkpoint is refused, or its fit ends where it would have."""

import warnings

import numpy as np
import pytest

from skorch_logreg.checkpoint import CheckpointWriter
from skorch_logreg.exceptions import CheckpointError, DivergenceError
from tests import damage
from tests.promises.test_17_resume import CASES, CutError, started

SEED = 20_240
CONVEX = ["lbfgs", "sparse", "classes", "newton-cg", "newton-cholesky", "l1"]
EPOCHS = ["sgd", "network, rows held out"]
# what epochs end with is not proven: numbers that were forged are numbers
STRUCTURAL = [d for d in damage.DAMAGES if d not in (damage.forged, damage.other_json)]


def cut(name, path, after):
    """Content of the file of a fit that was cut after so many writings."""
    data, make = CASES[name]
    write = CheckpointWriter.write

    def stop(self, n_iter, tree):
        write(self, n_iter, tree)
        if n_iter >= after:
            raise CutError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWriter, "write", stop)
        with pytest.raises(CutError):
            make(checkpoint=path).fit(*data())
    return path.read_bytes()


def damaged(name, path, kinds, n):
    """Yield the damage, and the model of a fit that found it, or None where it was refused."""
    data, make = CASES[name]
    X, y = data()
    files = [cut(name, path, after) for after in (1, 2)]
    for i in range(n):
        rng = np.random.default_rng([SEED, i])
        kind = kinds[i % len(kinds)]
        model = make(checkpoint=path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path.write_bytes(kind(rng, files[int(rng.integers(2))]))
            try:
                found = model.fit(X, y)
            except (CheckpointError, DivergenceError):  # a learning rate may be a large number
                found = None
        assert found is model or not hasattr(model, "classes_")
        yield f"{kind.__name__} {i}", found
        path.unlink(missing_ok=True)
        assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("name", CONVEX)
def test_21_three_hundred_damages_give_an_error_or_the_right_answer(name, tmp_path):
    """Fifty of each fit: bits, lengths, headers, bombs, names, types, numbers."""
    data, make = CASES[name]
    X, _ = data()
    whole, n_refused = make().fit(*data()), 0
    for what, model in damaged(name, tmp_path / "fit.npz", damage.DAMAGES, 50):
        if model is None:
            n_refused += 1
            continue
        assert model.converged_, what
        apart = np.abs(model.decision_function(X) - whole.decision_function(X)).max()
        assert apart <= 1e-6, what
    assert n_refused >= 30


@pytest.mark.parametrize("name", EPOCHS)
def test_21_damages_of_the_file_of_epochs_give_an_error_or_the_same_bits(name, tmp_path):
    data, make = CASES[name]
    X, _ = data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, n_refused = make().fit(*data()), 0
    for what, model in damaged(name, tmp_path / "fit.npz", STRUCTURAL, 40):
        if model is None:
            n_refused += 1
            continue
        np.testing.assert_array_equal(model.predict_proba(X), whole.predict_proba(X), what)
    assert n_refused >= 30


@pytest.mark.parametrize("name", EPOCHS)
def test_21_other_numbers_of_epochs_are_refused_or_end_without_an_error_of_python(name, tmp_path):
    for _ in damaged(name, tmp_path / "fit.npz", [damage.other_json], 40):
        pass


FITS = """
import sys, numpy as np, torch
from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.exceptions import CheckpointError
from skorch_logreg.solvers import LBFGS
torch.set_num_threads(1)
rng = np.random.default_rng(0)
X = rng.normal(size=(3000, 30))
y = X[:, 0] + rng.logistic(size=3000) > 0
whole = TorchLogisticClassifier(solver=LBFGS(), tol=1e-9).fit(X, y)
model = TorchLogisticClassifier(solver=LBFGS(checkpoint=sys.argv[1]), tol=1e-9)
print("ready", flush=True)
n_fits = 0
while n_fits < 10:
    try:
        print("right" if (model.fit(X, y).coef_ == whole.coef_).all() else "wrong")
        n_fits += 1
    except CheckpointError as error:
        print("in use" if "in use by another fit" in str(error) else error)
"""


@pytest.mark.slow
def test_17_two_processes_on_one_path_end_right_or_say_that_it_is_in_use(tmp_path):
    path = tmp_path / "fit.npz"
    with started(FITS, path) as one, started(FITS, path) as other:
        found = [child.communicate()[0].split("\n") for child in (one, other)]
    ends = [line for lines in found for line in lines if line not in ("ready", "")]
    assert set(ends) <= {"right", "in use"}
    assert ends.count("right") == 20
    assert list(tmp_path.iterdir()) == []
