"""Test plotted scores against those of `predict` at each threshold."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib import pyplot as plt
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.metrics import confusion_matrix, f1_score, precision_score, recall_score

from skorch_logreg import MultiLabel, ParameterError, TorchLogisticClassifier
from skorch_logreg.data import ArrayChunks
from skorch_logreg.displays import ThresholdDisplay
from tests.estimators.data import binary

COSTS = np.array([[0.5, 1.0], [5.0, -1.0]])


def at(display, key, threshold):
    """Height of a line at a threshold, read as it is drawn: in steps, up to each point."""
    x, values = display.lines_[key].get_data()
    assert display.lines_[key].get_drawstyle() == "steps-pre"
    return values[np.searchsorted(x, threshold)]


@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_scores_of_predictions(weighted):
    X, y = binary()
    weight = np.random.default_rng(0).uniform(size=len(y)) if weighted else None
    labels = np.array(["no", "yes"])[y]
    model = TorchLogisticClassifier(C=0.01, threshold=0.35).fit(X, labels)
    display = ThresholdDisplay.from_estimator(
        model, X, labels, sample_weight=weight, cost_matrix=COSTS
    )
    assert (np.asarray(display.threshold_line_.get_xdata()) == 0.35).all()
    assert "'yes'" in display.ax_.get_xlabel()
    middle = np.linspace(display.thresholds[0] / 2, display.thresholds[-1], 7)
    for threshold in [*display.thresholds[::9], *middle]:
        predicted = model.set_params(threshold=threshold).predict(X)
        options = {"pos_label": "yes", "sample_weight": weight}
        for key, score in [
            ("precision", precision_score),
            ("recall", recall_score),
            ("f1", f1_score),
        ]:
            expected = score(labels, predicted, **options)
            assert at(display, key, threshold) == pytest.approx(expected)
        cells = confusion_matrix(labels, predicted, sample_weight=weight)
        expected = (COSTS * cells).sum() / cells.sum()
        assert at(display, "cost", threshold) == pytest.approx(expected)


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array, pd.DataFrame])
def test_one_label_of_many(kind):
    X, Y = make_multilabel_classification(n_classes=3, random_state=0)
    model = MultiLabel(threshold=[0.5, 0.4, 0.3]).fit(X, Y)
    display = ThresholdDisplay.from_estimator(model, X, kind(Y), label=2)
    assert display.threshold == 0.3
    predicted = model.predict(X)[:, 2]
    assert at(display, "f1", 0.3) == pytest.approx(f1_score(Y[:, 2], predicted))
    with pytest.raises(ParameterError, match="y has 3 labels, and one is drawn"):
        ThresholdDisplay.from_estimator(model, X, Y)
    with pytest.raises(ParameterError, match="label is 3; it must be one of 0, 1, 2"):
        ThresholdDisplay.from_estimator(model, X, Y, label=3)


def test_rows_in_chunks_and_float32():
    X, y = binary()
    X = X.astype(np.float32)
    model = TorchLogisticClassifier().fit(X, y)
    whole = ThresholdDisplay.from_estimator(model, X, y)
    chunks = ThresholdDisplay.from_estimator(model, ArrayChunks(X, rows=50), y)
    np.testing.assert_allclose(chunks.thresholds, whole.thresholds, rtol=1e-6)


def test_a_class_that_is_missing():
    X, y = binary()
    model = TorchLogisticClassifier().fit(X, y)
    display = ThresholdDisplay.from_estimator(model, X[y == 1], y[y == 1])
    assert (display.precision == 1).all()
    with pytest.raises(ParameterError, match="y holds no row of the positive class"):
        ThresholdDisplay.from_estimator(model, X[y == 0], y[y == 0])
    with pytest.raises(ParameterError, match="positive class, .*, with a positive weight"):
        ThresholdDisplay.from_estimator(model, X, y, sample_weight=1.0 * (y == 0))


@pytest.mark.parametrize("label", [None, 0])
def test_a_single_label(label):
    X, y = binary()
    model = MultiLabel(threshold=[0.3]).fit(X, y[:, None])
    display = ThresholdDisplay.from_estimator(model, X, y[:, None], label=label)
    assert at(display, "f1", 0.3) == pytest.approx(f1_score(y, model.predict(X)[:, 0]))


def test_axes_in_axes_out():
    _, ax = plt.subplots()
    display = ThresholdDisplay.from_predictions([0, 1, 1], [0.2, 0.4, 0.9], ax=ax, linewidth=3)
    assert display.ax_ is ax
    assert display.ax_cost_ is display.threshold_line_ is None
    assert {line.get_linewidth() for line in display.lines_.values()} == {3}
    with pytest.raises(ParameterError, match=r"expected shape \(2, 2\)"):
        ThresholdDisplay.from_predictions([0, 1], [0.2, 0.4], cost_matrix=[1, 2])


def test_three_classes_have_no_threshold():
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ParameterError, match="has 3 classes; a threshold is of two"):
        ThresholdDisplay.from_estimator(TorchLogisticClassifier().fit(X, y), X, y)


def test_cells_that_are_not_known_do_not_count():
    X, y = make_multilabel_classification(n_classes=3, random_state=0)
    y = y.astype(float)
    y[::4, 1] = np.nan
    weight = np.random.default_rng(0).uniform(size=len(y))
    model = MultiLabel().fit(X, y)
    display = ThresholdDisplay.from_estimator(model, X, y, label=1, sample_weight=weight)
    known = ~np.isnan(y[:, 1])
    expected = ThresholdDisplay.from_estimator(
        model, X[known], y[known], label=1, sample_weight=weight[known]
    )
    np.testing.assert_array_equal(display.precision, expected.precision)
    predicted = model.predict_proba(X[known])[:, 1] >= display.thresholds[9]
    options = {"sample_weight": weight[known]}
    precision = precision_score(y[known, 1], predicted, **options)
    assert display.precision[9] == pytest.approx(precision, rel=1e-12)


def test_labels_in_another_order_are_refused():
    X, Y = make_multilabel_classification(n_classes=3, random_state=0)
    frame = pd.DataFrame(Y, columns=list("abc"))
    model = MultiLabel().fit(X, frame)
    with pytest.raises(ValueError, match="y has the columns c, b, a"):
        ThresholdDisplay.from_estimator(model, X, frame[list("cba")], label="a")


def test_probabilities_are_no_classes():
    X, y = binary()
    q = np.where(np.arange(len(y)) % 3 == 0, 1.0, 0.1 + 0.8 * y)
    model = TorchLogisticClassifier(soft_labels=True).fit(X, q)
    with pytest.raises(ParameterError, match=r"y holds \[.*\], expected classes of the model"):
        ThresholdDisplay.from_estimator(model, X, q)
