"""The largest coefficients of a model, by name."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.displays.axes import foreground_color, prepare_axes
from skorch_logreg.displays.labels import shorten_label
from skorch_logreg.displays.model_attributes import (
    class_names,
    index_of,
    last_step,
    resolve_feature_names,
    to_dense_numpy,
)
from skorch_logreg.exceptions import ParameterError

__all__ = ["CoefficientDisplay"]


class CoefficientDisplay:
    """Largest coefficients, with names and intervals.

    Parameters
    ----------
    coef : array-like of shape (n_features,) or (n_classes, n_features)
        Coefficients; a row for every class or label.
    intervals : array-like of shape (n_features, 2) or (n_classes, n_features, 2), or None
        Lower and upper ends, drawn as bars.
    feature_names : array-like of shape (n_features,) or None
        None: x0, x1, ...
    classes : array-like of shape (n_classes,) or None
        Names of the rows, for the legend.

    Attributes
    ----------
    features_ : ndarray of shape (n_drawn,)
        Columns drawn, the largest absolute coefficient first.
    points_ : list of matplotlib ErrorbarContainer
        One a class.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    CoefficientPathDisplay : Coefficients against the strength of the penalty.

    Notes
    -----
    Sizes compare where the features have one scale.

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

    def __init__(
        self, coef: Any, *, intervals: Any = None, feature_names: Any = None, classes: Any = None
    ) -> None:
        self.coef = coef
        self.intervals = intervals
        self.feature_names = feature_names
        self.classes = classes

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
        """Draw the coefficients of a fitted model.

        Parameters
        ----------
        estimator : fitted classifier, Pipeline or search
            With `coef_`, dense or sparse.
        intervals : array-like of shape (n_features, 2) or (n_classes, n_features, 2), or None
            Lower and upper ends.
        feature_names : array-like of shape (n_features,) or None
            None: those that the model saw.
        class_of_interest : class or label, default=None
            None: all, in one colour each.
        n_features : int, default=20
            How many at most.
        ax : matplotlib Axes or None
            None: of a new figure.
        **kwargs
            For `matplotlib.axes.Axes.errorbar`.

        Returns
        -------
        display : CoefficientDisplay

        Raises
        ------
        ParameterError
            If names, intervals or the class do not go with the model.
        """
        model = last_step(estimator)
        check_is_fitted(model)
        if not hasattr(model, "coef_"):
            raise ParameterError(
                f"{type(model).__name__} has no coef_; a network's features have no coefficients."
            )
        coef = np.atleast_2d(to_dense_numpy(model.coef_))
        names = resolve_feature_names(estimator, feature_names, coef.shape[1])
        classes = class_names(model)
        if len(coef) == 1:  # of two classes the second, or the one label
            classes = classes[-1:]
        if intervals is not None:
            intervals = _check_intervals(intervals, coef)
        if class_of_interest is not None:
            row = index_of(class_of_interest, classes, "class_of_interest")
            coef, classes = coef[row : row + 1], classes[row : row + 1]
            intervals = None if intervals is None else intervals[row : row + 1]
        display = cls(coef, intervals=intervals, feature_names=names, classes=classes)
        return display.plot(ax, n_features=n_features, **kwargs)

    def plot(self, ax: Any = None, *, n_features: int = 20, **kwargs: Any) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax, n_features, **kwargs
            As in `from_estimator`.

        Returns
        -------
        self
        """
        coef = np.atleast_2d(to_dense_numpy(self.coef)).astype(np.float64)
        intervals = None if self.intervals is None else _check_intervals(self.intervals, coef)
        names = resolve_feature_names(None, self.feature_names, coef.shape[1])
        size = np.abs(coef).max(axis=0)
        shown = np.argsort(-size, kind="stable")[:n_features]
        shown = shown[size[shown] > 0]
        row_height = 0.16 + 0.1 * len(coef)
        ax = prepare_axes(self, ax, (6.4, 1.2 + max(row_height * len(shown), 1)))
        ax.axvline(0, color=foreground_color(ax), linewidth=0.8, zorder=0)
        rows = np.arange(len(shown))
        self.features_, self.points_ = shown, []
        for k, row in enumerate(coef):
            bars = None
            if intervals is not None:
                # the ends need not lie about the coefficient: a bar's length is not negative
                ends = intervals[k, shown].T
                bars = np.maximum([row[shown] - ends[0], ends[1] - row[shown]], 0)
            # side by side within the row
            offset = 0.7 * ((k + 0.5) / len(coef) - 0.5)
            label = None if self.classes is None else shorten_label(self.classes[k])
            style = {"fmt": "o", "markersize": 5, "elinewidth": 1.2, "label": label, **kwargs}
            points = ax.errorbar(row[shown], rows + offset, xerr=bars, **style)
            if bars is None:
                color = points.lines[0].get_color()
                ax.hlines(rows + offset, 0, row[shown], color=color, linewidth=1.2)
            self.points_.append(points)
        ax.set_yticks(rows, [shorten_label(name) for name in names[shown]])
        ax.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        ax.set_xlabel("coefficient")
        if not len(shown):
            ax.text(0.5, 0.5, "all coefficients are zero", transform=ax.transAxes, ha="center")
        elif len(coef) > 1:
            ax.legend()
        return self


def _check_intervals(intervals: Any, coef: np.ndarray) -> np.ndarray:
    """Intervals of shape (n_classes, n_features, 2)."""
    ends = np.asarray(intervals, dtype=np.float64)
    if ends.ndim == 2:
        ends = ends[None]
    if ends.shape != (*coef.shape, 2):
        raise ParameterError(
            f"intervals has shape {np.shape(intervals)}, expected lower and upper ends, "
            f"{(*coef.shape, 2) if len(coef) > 1 else (coef.shape[1], 2)}."
        )
    return ends
