"""Calibration curve with a histogram of the predicted probabilities."""

from typing import Any, Self

import numpy as np
from sklearn.calibration import CalibrationDisplay

from skorch_logreg.displays.axes import foreground_color, prepare_axes, shorten_labels
from skorch_logreg.pipelines import to_dense_numpy


class ReliabilityDisplay(CalibrationDisplay):
    """Calibration curve, with a histogram of the probabilities below it.

    This is scikit-learn's display, with the same parameters, `from_estimator` and
    `from_predictions`. The histogram shows how many rows the points of the curve represent.

    Parameters
    ----------
    prob_true, prob_pred, y_prob, estimator_name, pos_label
        As in `sklearn.calibration.CalibrationDisplay`.

    Attributes
    ----------
    line_ : matplotlib Line2D
        Calibration curve.
    reference_ : matplotlib Line2D or None
        Diagonal of perfect calibration; None if it is not plotted.
    bars_ : matplotlib BarContainer
        Histogram with 10 bins.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Axes and figure of the plot.
    ax_histogram_ : matplotlib Axes
        Axes of the histogram, below the curve in the space of the given axes.

    See Also
    --------
    sklearn.calibration.CalibrationDisplay : Without the histogram.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.displays import ReliabilityDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier().fit(scale(X), y)
    >>> display = ReliabilityDisplay.from_estimator(model, scale(X), y)
    >>> int(display.bars_.datavalues.sum()) == len(y)
    True
    """

    def plot(
        self, *, ax: Any = None, name: str | None = None, ref_line: bool = True, **kwargs: Any
    ) -> Self:
        """Plot the visualization, with the parameters of `CalibrationDisplay.plot`."""
        ax = prepare_axes(self, ax, (6.4, 5.6))
        self.reference_ = None
        if ref_line:  # that of scikit-learn is always black
            style = {"color": foreground_color(ax), "linestyle": ":"}
            (self.reference_,) = ax.plot([0, 1], [0, 1], label="Perfectly calibrated", **style)
        super().plot(ax=ax, name=name, ref_line=False, **kwargs)
        below = _split_axes(ax)
        counts, edges = np.histogram(to_dense_numpy(self.y_prob), range=(0, 1))
        color = self.line_.get_color()
        self.bars_ = below.bar(edges[:-1], counts, np.diff(edges), align="edge", color=color)
        name = "" if self.pos_label is None else shorten_labels([self.pos_label], 24)[0]
        below.set_xlabel("Mean predicted probability" + (name and f" (Positive class: {name})"))
        below.set_ylabel("rows")
        ax.set(xlabel="", ylabel="Fraction of positives", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        ax.tick_params(labelbottom=False)
        ax.legend(loc="best")
        self.ax_histogram_ = below
        return self


def _split_axes(ax: Any) -> Any:
    """Return new axes in the lower quarter of the given ones, with any layout engine."""
    place = ax.get_subplotspec()
    if place is None:
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position((left, bottom + 0.3 * height, width, 0.7 * height))
        return ax.figure.add_axes((left, bottom, width, 0.25 * height), sharex=ax)
    upper, lower = place.subgridspec(2, 1, height_ratios=(3, 1))
    ax.set_subplotspec(upper)
    return ax.figure.add_subplot(lower, sharex=ax)
