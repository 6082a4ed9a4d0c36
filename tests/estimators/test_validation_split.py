"""Linear models trained in epochs: rows held out, reproducibility, what stays true of a fit."""

import os
import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, make_scorer, matthews_corrcoef
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from skorch_logreg import NeuralLogisticClassifier, TorchLogisticClassifier
from skorch_logreg.exceptions import DivergenceError, ParameterError
from skorch_logreg.solvers import SGD, Adam, AdamW, Optimizer
from tests.estimators.data import assert_same_state, binary, multi, state

QUICK = Adam(learning_rate=0.05, batch_size=32, epochs=5)
FULL = SGD(learning_rate=0.5, epochs=5)

# nobody asks these fits for proof
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

each_data = pytest.mark.parametrize("data", [binary, multi])


def fitted(X, y, solver=QUICK, sample_weight=None, **options):
    return TorchLogisticClassifier(solver=solver, **options).fit(X, y, sample_weight)


def assert_same_model(got, expected, rtol=0, atol=0):
    for name in ("coef_", "intercept_"):
        np.testing.assert_allclose(
            np.asarray(getattr(got, name)), getattr(expected, name), rtol=rtol, atol=atol
        )


def held_out_rows(y, fraction, seed=0):
    train, held_out = train_test_split(
        np.arange(len(y)), test_size=fraction, random_state=seed, stratify=y
    )
    return np.sort(train), np.sort(held_out)


def mean_probability(estimator, X, y):
    """A scorer of one's own."""
    return estimator.predict_proba(X)[np.arange(len(y)), y].mean()


@each_data
@pytest.mark.parametrize(
    "scoring",
    [None, "accuracy", "f1_macro", "roc_auc_ovr", make_scorer(matthews_corrcoef), mean_probability],
    ids=["default", "accuracy", "f1", "auc", "scorer", "callable"],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_best_epoch_on_rows_held_out_is_kept(data, scoring, weighted):
    """Whatever the metric; weights count in those that have a name."""
    X, y = data()
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y)) if weighted else None
    solver = Adam(
        0.3, batch_size=16, epochs=40, validation_fraction=0.3, scoring=scoring, patience=6
    )
    model = fitted(X, y, solver, weight)
    scores = model.history_["valid_score"]
    best = int(np.argmax(scores))
    assert len(scores) == min(best + 1 + 6, 40)
    train, held_out = held_out_rows(y, 0.3)
    part, rest = (None, None) if weight is None else (weight[train], weight[held_out])
    plain = replace(solver, epochs=best + 1, validation_fraction=0.0, scoring=None)
    assert_same_model(model, fitted(X[train], y[train], plain, part))
    named = scoring is None or isinstance(scoring, str)
    counted = {"sample_weight": rest} if weighted and named else {}
    judge = get_scorer("neg_log_loss" if scoring is None else scoring)
    assert scores[best] == pytest.approx(judge(model, X[held_out], y[held_out], **counted))
    assert model.n_iter_[0] == len(scores)


def test_a_score_that_is_undefined_is_never_the_best():
    X, y = binary()
    scores = iter([0.3, 0.9, float("nan"), 0.5])
    options = {"validation_fraction": 0.2, "patience": None}
    solver = replace(QUICK, epochs=4, scoring=lambda *_: next(scores), **options)
    train, _ = held_out_rows(y, 0.2)
    assert_same_model(fitted(X, y, solver), fitted(X[train], y[train], replace(QUICK, epochs=2)))


def test_without_patience_all_epochs_are_gone_through():
    X, y = binary()
    solver = Adam(0.5, epochs=30, validation_fraction=0.5, patience=None)
    assert len(fitted(X, y, solver).history_["valid_score"]) == 30


def test_rows_held_out_follow_random_state():
    X, y = multi()
    solver = replace(QUICK, validation_fraction=0.3)
    first, other = (fitted(X, y, solver, random_state=seed).history_ for seed in (0, 1))
    assert first["valid_score"] != other["valid_score"]


@each_data
def test_the_history_has_a_value_an_epoch(data):
    X, y = data()
    model = fitted(X, y, replace(QUICK, schedule="inverse"))
    assert model.history_.keys() == {"loss", "learning_rate", "seconds"}
    assert {len(values) for values in model.history_.values()} == {5}
    np.testing.assert_allclose(model.history_["learning_rate"], 0.05 / np.arange(1, 6))
    assert sorted(model.history_["seconds"]) == model.history_["seconds"]
    assert model.n_iter_.tolist() == [5]
    full = fitted(X, y, replace(FULL, epochs=1), C=0.1)
    assert full.history_["loss"] == pytest.approx([np.log(len(model.classes_))])  # at zero
    exact = model.set_params(solver="auto").fit(X, y)
    assert exact.history_.keys() == {"n_passes", "optimality"}
    assert exact.history_["optimality"][-1] == exact.optimality_


def test_09_and_11_the_same_call_gives_the_same_bits_and_leaves_no_trace():
    X, y = multi()
    first = fitted(X, y, random_state=3)
    torch.manual_seed(5)
    before, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert_same_model(fitted(X, y, random_state=3), first)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)
    assert not np.array_equal(fitted(X, y, random_state=4).coef_, first.coef_)
    assert_same_model(fitted(X, y, FULL, random_state=4), fitted(X, y, FULL, random_state=3))
    unshuffled = replace(QUICK, shuffle=False)
    assert_same_model(fitted(X, y, unshuffled, random_state=4), fitted(X, y, unshuffled))


@each_data
@pytest.mark.parametrize(
    "solver", [FULL, Adam(0.1, epochs=5), Optimizer(torch.optim.RMSprop, epochs=5)]
)
def test_04_weights_are_repetitions_in_gradient_descent(data, solver):
    X, y = data()
    times = np.random.default_rng(0).integers(0, 4, len(y))
    repeated = fitted(np.repeat(X, times, axis=0), np.repeat(y, times), solver, C=0.1)
    assert_same_model(fitted(X, y, solver, times, C=0.1), repeated, atol=1e-12)
    scaled = fitted(X, y, solver, 3.0 * times, C=0.1 / 3)
    assert_same_model(scaled, repeated, atol=1e-10)


@pytest.mark.parametrize("validation_fraction", [0.0, 0.2])
def test_04_weight_zero_is_removal_from_mini_batches(validation_fraction):
    X, y = multi()
    weight = np.where(np.arange(len(y)) % 3, 0.7, 0.0)
    rows = weight > 0
    solver = replace(QUICK, validation_fraction=validation_fraction)
    got, fewer = fitted(X, y, solver, weight), fitted(X[rows], y[rows], solver, weight[rows])
    assert_same_model(got, fewer)
    assert got.history_["loss"] == fewer.history_["loss"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("unit", [1e-300, 1e300])
@pytest.mark.parametrize("way", ["fit", "stream", "partial_fit", "network"])
def test_04_the_unit_of_weights_does_not_matter_to_float32(unit, way):
    """Weights are scaled before they are rounded to a type that cannot hold them."""
    X, y = binary()
    X, weight = X.astype(np.float32), np.random.default_rng(0).uniform(1, 2, len(y))
    kind = NeuralLogisticClassifier if way == "network" else TorchLogisticClassifier

    def logits(unit):
        model = kind(solver=SGD(epochs=2), C=1 / unit)
        if way == "stream":
            rows = TensorDataset(*map(torch.tensor, (X, y, weight * unit)))
            model.fit(DataLoader(rows, batch_size=50), None)
        else:
            how = {"classes": np.unique(y)} if way == "partial_fit" else {}
            getattr(model, "fit" if way == "network" else way)(
                X, y, sample_weight=weight * unit, **how
            )
        return model.decision_function(X)

    np.testing.assert_allclose(logits(unit), logits(1.0), rtol=1e-4, atol=1e-6)


@each_data
@pytest.mark.parametrize("class_weight", ["balanced", {0: 2.5, 1: 0.5}])
def test_class_weights_are_weights_of_rows(data, class_weight):
    X, y = data()
    by_class = np.ones(len(np.unique(y)))
    if class_weight == "balanced":
        by_class = len(y) / (len(by_class) * np.bincount(y))
    else:
        by_class[:2] = 2.5, 0.5
    got = fitted(X, y, class_weight=class_weight)
    assert_same_model(got, fitted(X, y, sample_weight=by_class[y]), atol=1e-12)


def objective(model, X, y):
    """The objective as the class's docstring has it."""
    log_proba = model.predict_log_proba(X)[np.arange(len(y)), y]
    w, r = model.coef_, model.l1_ratio
    factor = 1.0 if model.penalty_factor is None else np.asarray(model.penalty_factor)
    return -log_proba.sum() + (factor * ((1 - r) / 2 * w**2 + r * abs(w))).sum() / model.C


@each_data
@pytest.mark.parametrize(
    "options",
    [
        {"C": 0.1},
        {"C": 0.1, "fit_intercept": False},
        {"C": 0.1, "penalty_factor": [0, 1, 10, 0.5]},
        {"C": 0.1, "l1_ratio": 0.5, "penalty_factor": [0, 1, 10, 0.5]},
        {"C": 0.1, "l1_ratio": 1.0},
        {"C": np.inf},
    ],
    ids=str,
)
def test_01_the_epochs_lead_to_the_convex_answer(data, options):
    X, y = data()
    best = objective(TorchLogisticClassifier(tol=1e-8, **options).fit(X, y), X, y)
    solver = Adam(0.05, batch_size=50, epochs=150, schedule="cosine")
    model = fitted(X, y, solver, **options)
    excess = objective(model, X, y) / best - 1
    assert -1e-12 < excess < 3e-4
    assert model.optimality_ > excess**0.5 / 2  # which is proven
    assert not model.converged_


@each_data
@pytest.mark.parametrize("options", [{}, {"l1_ratio": 0.5, "C": 0.2}, {"validation_fraction": 0.2}])
def test_01_an_exact_finish_is_the_convex_fit(data, options):
    X, y = data()
    fraction = options.get("validation_fraction", 0)
    rows = held_out_rows(y, fraction)[0] if fraction else slice(None)
    options = {k: v for k, v in options.items() if k != "validation_fraction"} | {"tol": 1e-9}
    solver = AdamW(0.1, epochs=4, finish="exact", validation_fraction=fraction)
    model = fitted(X, y, solver, **options)
    assert_same_model(model, fitted(X[rows], y[rows], "auto", **options), atol=1e-7)
    assert model.converged_
    assert model.optimality_ <= 1e-9
    assert model.n_iter_[0] > len(model.history_["loss"]) == 4


def test_18_epochs_that_are_over_are_one_warning(recwarn):
    X, y = binary()
    warnings.simplefilter("always")
    fitted(X, y)
    (warning,) = recwarn.list
    assert issubclass(warning.category, ConvergenceWarning)
    assert "the epochs are over" in str(warning.message)
    recwarn.clear()
    assert fitted(X, y, replace(FULL, epochs=300), tol=0.01).converged_
    assert not recwarn.list


@each_data
def test_07_the_container_does_not_matter(data):
    X, y = data()
    X = np.where(abs(X) > 0.3, X, 0)
    solver = replace(QUICK, validation_fraction=0.2, scoring="accuracy")
    expected = fitted(X, y, solver)
    for form in (sp.csr_matrix, sp.csc_array, np.asfortranarray, torch.from_numpy):
        got = fitted(form(X.copy()), y, solver)
        assert_same_model(got, expected, atol=1e-12)
        assert got.history_["valid_score"] == expected.history_["valid_score"]
    single = fitted(X.astype(np.float32), y, solver)
    assert single.coef_.dtype == np.float32
    assert_same_model(single, expected, atol=1e-5)


@pytest.mark.skipif("SCIPY_ARRAY_API" not in os.environ, reason="needs SCIPY_ARRAY_API=1")
@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_07_tensors_stay_tensors(scoring):
    X, y = (torch.from_numpy(array.copy()) for array in multi())
    solver = replace(QUICK, validation_fraction=0.2, scoring=scoring)
    with config_context(array_api_dispatch=True):
        model = fitted(X, y, solver, torch.ones(len(y), dtype=torch.float64))
        assert isinstance(model.coef_, torch.Tensor)
    assert_same_model(model, fitted(*multi(), solver), atol=1e-12)


def test_10_inputs_are_read_only():
    X, y = (array.copy() for array in binary())
    for solver in (FULL, QUICK):
        fitted(X, y, solver)
        np.testing.assert_array_equal(X, binary()[0])
        np.testing.assert_array_equal(y, binary()[1])


def test_a_warm_start_goes_on_from_the_coefficients():
    X, y = binary()
    model = fitted(X, y, FULL, warm_start=True).fit(X, y)
    assert_same_model(model, fitted(X, y, replace(FULL, epochs=10)), atol=1e-12)


@pytest.mark.parametrize("finish", [None, "exact"])
def test_verbose_prints_a_line_an_epoch(capsys, finish):
    model = fitted(*binary(), replace(QUICK, finish=finish), verbose=1, tol=1e-6)
    lines = capsys.readouterr().out.splitlines()
    for i, line in enumerate(lines, start=1):
        kind = "epoch" if i <= 5 else "iteration"
        assert line.startswith(f"[TorchLogisticClassifier] {kind} {i}: objective ")
        assert line.endswith(" s")
    assert len(lines) == model.n_iter_[0]


def test_the_objective_that_is_printed_falls_to_that_of_the_model(capsys):
    X, y = binary()
    model = fitted(X, y, replace(FULL, epochs=200), verbose=1, C=0.1)
    value = float(capsys.readouterr().out.splitlines()[-1].split("objective ")[1].split(",")[0])
    assert value == pytest.approx(objective(model, X, y), rel=1e-6)


def test_callbacks_see_every_epoch():
    callback = pytest.importorskip("sklearn.callback")
    X, y = binary()
    plain = fitted(X, y)

    class Recorder:
        def __init__(self):
            self.coefs = []

        def setup(self, estimator, context): ...

        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context, **_): ...

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            if context.parent is not None:
                self.coefs.append(fitted_estimator.coef_)
            return len(self.coefs) == 4

    recorder = Recorder()
    model = TorchLogisticClassifier(solver=QUICK).set_callbacks(recorder)
    with pytest.warns(ConvergenceWarning, match="a callback asked to stop"):
        model.fit(X, y)
    assert len(recorder.coefs) == model.n_iter_[0] == 4
    np.testing.assert_array_equal(recorder.coefs[-1], model.coef_)
    shown = TorchLogisticClassifier(solver=QUICK).set_callbacks(callback.ProgressBar())
    assert_same_model(shown.fit(X, y), plain)


def test_a_pipeline_and_a_grid_search():
    X, y = binary()
    pipeline = make_pipeline(StandardScaler(), TorchLogisticClassifier(solver=QUICK))
    assert pipeline.fit(X, y).score(X, y) > 0.6
    grid = {"torchlogisticclassifier__solver": [SGD(1e-9), replace(QUICK, epochs=20), "auto"]}
    search = GridSearchCV(pipeline, grid, cv=3, scoring="neg_log_loss").fit(X, y)
    slow, quick, exact = search.cv_results_["mean_test_score"]
    assert slow == pytest.approx(-np.log(2))
    assert exact == pytest.approx(quick, abs=0.02)
    assert exact > slow + 0.05


def test_clones_are_told_the_same():
    X, y = binary()
    model = fitted(X, y, Optimizer(torch.optim.SGD, lr=0.1, momentum=0.5, epochs=3))
    assert_same_model(clone(model).fit(X, y), model)
    assert_same_model(model, fitted(X, y, SGD(0.1, momentum=0.5, epochs=3)))


@pytest.mark.parametrize(
    ("solver", "options", "text"),
    [
        (SGD, {}, "solver=<class '.*SGD'> is not a solver; expected .* or an instance of"),
        (
            replace(QUICK, validation_fraction=0.001),
            {},
            "validation_fraction=0.001 does not go with these rows: .* number of classes = 2",
        ),
        (
            replace(QUICK, validation_fraction=0.2, scoring="acuracy"),
            {},
            "'acuracy' is not a valid scoring value",
        ),
        (
            replace(QUICK, validation_fraction=0.2, scoring="accuracy"),
            {"soft_labels": True},
            "scoring='accuracy' scores classes, but y holds probabilities",
        ),
        (SGD(1e200), {"C": 1e-5}, "SGD diverged: .* Lower the learning rate"),
    ],
)  # fmt: skip
def test_12_errors_say_what_to_do_and_leave_no_trace(solver, options, text):
    X, y = binary()
    model = fitted(X, y)
    before = state(model)
    kind = DivergenceError if "diverged" in text else ValueError
    with pytest.raises(kind, match=text):
        model.set_params(solver=solver, **options).fit(X, y)
    assert_same_state(state(model), before)
    assert issubclass(ParameterError, ValueError)


@pytest.mark.parametrize("smoothing", [0.0, 1e-9])
def test_smoothed_classes_are_classes(smoothing):
    """They are stratified, and scorers of classes take them."""
    X, y = np.zeros((100, 1)), np.arange(100) < 6
    solver = SGD(4.0, epochs=300, validation_fraction=0.5, patience=None)
    model = TorchLogisticClassifier(C=np.inf, tol=0.1, label_smoothing=smoothing, solver=solver)
    for seed in range(4):
        model.set_params(random_state=seed).fit(X, y)
        assert model.predict_proba(X[:1])[0, 1] == pytest.approx(0.06, abs=0.005)
    model.set_params(solver=replace(solver, epochs=1, scoring="accuracy")).fit(X, y)
    assert model.history_["valid_score"] == [0.94]
