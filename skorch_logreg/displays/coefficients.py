"""Plot of the largest coefficients of a model."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skorch_logreg import pipelines
from skorch_logreg.displays.axes import foreground_color, prepare_axes, shorten_labels
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import index_of
from skorch_logreg.pipelines import class_names, last_step, to_dense_numpy


@dataclass(eq=False, repr=False)
class CoefficientDisplay:
    """Largest coefficients of a model, with feature names and intervals.

    Parameters
    ----------
    coef : array-like of shape (n_features,) or (n_classes, n_features)
        Coefficients, with one row per class or label.
    intervals : array-like of shape (n_features, 2) or (n_classes, n_features, 2), or None
        Lower and upper limits, plotted as error bars.
    feature_names : array-like of shape (n_features,) or None
        Names of the features; None uses x0, x1, ...
    classes : array-like of shape (n_classes,) or None
        Names of the rows of `coef`, for the legend.

    Attributes
    ----------
    features_ : ndarray of shape (n_drawn,)
        Indices of the plotted features, in descending order of the absolute coefficient.
    points_ : list of matplotlib ErrorbarContainer
        Plotted coefficients, one container per class.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Axes and figure of the plot.

    See Also
    --------
    CoefficientPathDisplay : Coefficients as a function of the penalty.

    Notes
    -----
    The coefficients are comparable if the features have the same scale.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.displays import CoefficientDisplay
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> X = StandardScaler().set_output(transform="pandas").fit_transform(X)
    >>> model = TorchLogisticClassifier().fit(X, y)
    >>> display = CoefficientDisplay.from_estimator(model, n_features=5)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()][:2]
    ['worst texture', 'radius error']
    """

    coef: Any
    _: KW_ONLY
    intervals: Any = None
    feature_names: Any = None
    classes: Any = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        intervals: Any = None,
        feature_names: Any = None,
        class_of_interest: Any = None,
        n_features: int = 20,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the coefficients of a fitted model.

        Parameters
        ----------
        estimator : fitted classifier, Pipeline or search
            Model with `coef_`, dense or sparse.
        intervals : array-like of shape (n_features, 2) or (n_classes, n_features, 2), or None
            Lower and upper limits, plotted as error bars.
        feature_names : array-like of shape (n_features,) or None
            Names of the features; None uses those seen during fit.
        class_of_interest : class or label, default=None
            Class or label to plot; None plots all, each in its own colour.
        n_features : int, default=20
            Maximum number of features to plot.
        ax, **kwargs
            Axes to draw on, by default those of a new figure, and keyword arguments of
            `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : CoefficientDisplay
            The plotted display.

        Raises
        ------
        ParameterError
            If names, intervals or the class do not match the model.
        """
        model = last_step(estimator)
        check_is_fitted(model)
        if not hasattr(model, "coef_"):
            raise ParameterError(
                f"{type(model).__name__} has no coef_; a network's features have no coefficients."
            )
        coef = np.atleast_2d(to_dense_numpy(model.coef_))
        names = pipelines.feature_names(estimator, coef.shape[1], feature_names)
        classes = class_names(model)[-len(coef) :]  # the second of two, or the only label
        intervals = _check_intervals(intervals, coef)
        if class_of_interest is not None:
            row = index_of(class_of_interest, classes, "class_of_interest")
            coef, classes = coef[row : row + 1], classes[row : row + 1]
            intervals = None if intervals is None else intervals[row : row + 1]
        display = cls(coef, intervals=intervals, feature_names=names, classes=classes)
        return display.plot(ax, n_features=n_features, **kwargs)

    def plot(self, ax: Any = None, *, n_features: int = 20, **kwargs: Any) -> Self:
        """Plot the visualization with the parameters of `from_estimator`; return the display."""
        coef = np.atleast_2d(to_dense_numpy(self.coef)).astype(np.float64)
        intervals = _check_intervals(self.intervals, coef)
        names = pipelines.feature_names(None, coef.shape[1], self.feature_names)
        size = np.abs(coef).max(axis=0)
        shown = np.argsort(-size, kind="stable")[:n_features]
        shown = shown[size[shown] > 0]
        row_height = 0.16 + 0.1 * len(coef)
        ax = prepare_axes(self, ax, (6.4, 1.2 + max(row_height * len(shown), 1)))
        ax.axvline(0, color=foreground_color(ax), linewidth=0.8, zorder=0)
        rows = np.arange(len(shown))
        labels = [None] * len(coef) if self.classes is None else shorten_labels(self.classes)
        self.features_, self.points_ = shown, []
        for k, row in enumerate(coef):
            bars = None
            if intervals is not None:
                # the interval need not contain the coefficient; lengths must not be negative
                limits = intervals[k, shown].T
                bars = np.maximum([row[shown] - limits[0], limits[1] - row[shown]], 0)
            # side by side within the row
            offset = 0.7 * ((k + 0.5) / len(coef) - 0.5)
            style = {"fmt": "o", "markersize": 5, "elinewidth": 1.2, "label": labels[k], **kwargs}
            points = ax.errorbar(row[shown], rows + offset, xerr=bars, **style)
            if bars is None:
                color = points.lines[0].get_color()
                ax.hlines(rows + offset, 0, row[shown], color=color, linewidth=1.2)
            self.points_.append(points)
        ax.set_yticks(rows, shorten_labels(names[shown]))
        ax.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        ax.set_xlabel("coefficient")
        if not len(shown):
            ax.text(0.5, 0.5, "all coefficients are zero", transform=ax.transAxes, ha="center")
        elif len(coef) > 1:
            ax.legend()
        return self


def _check_intervals(intervals: Any, coef: np.ndarray) -> np.ndarray | None:
    """Validate intervals and return them with shape (n_classes, n_features, 2); None stays None."""
    if intervals is None:
        return None
    limits = np.asarray(intervals, dtype=np.float64)
    if limits.ndim == 2:
        limits = limits[None]
    if limits.shape != (*coef.shape, 2):
        raise ParameterError(
            f"intervals has shape {np.shape(intervals)}, expected lower and upper ends, "
            f"{(*coef.shape, 2) if len(coef) > 1 else (coef.shape[1], 2)}."
        )
    return limits
