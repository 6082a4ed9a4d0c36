"""Plot of the largest coefficients of a model."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skorch_logreg import pipelines
from skorch_logreg.displays.axes import (
    draw_legend_above,
    foreground_color,
    prepare_axes,
    set_log_axis,
    shorten_labels,
)
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import index_of
from skorch_logreg.pipelines import class_names, last_step, to_dense_numpy

_MAX_COLORS = 6  # classes whose points can be told apart by their colours; more: a heat map


@dataclass(eq=False, repr=False)
class CoefficientDisplay:
    """Largest coefficients of a model, with feature names and intervals.

    More than six classes are drawn as a heat map, unless there are intervals.

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
        Plotted coefficients, one container per class; empty for a heat map.
    image_ : matplotlib AxesImage or None
        Heat map of features and classes, if it is one.
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
        odds_ratios: bool = False,
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
        odds_ratios : bool, default=False
            Whether to plot ``exp(coef)`` on a logarithmic axis. For two classes this is the factor
            of the odds if a feature increases by one.
        ax, **kwargs
            Axes to draw on, by default those of a new figure, and keyword arguments of
            `matplotlib.axes.Axes.errorbar`, or of `imshow` for a heat map.

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
        return display.plot(ax, n_features=n_features, odds_ratios=odds_ratios, **kwargs)

    @classmethod
    def from_inference(cls, result: Any, *, ax: Any = None, **kwargs: Any) -> Self:
        """Plot estimates and confidence intervals, without intercepts and thresholds.

        Parameters
        ----------
        result : Inference, FirthFit or ProfileIntervals
            Result of `summary`, `firth` or `profile_intervals`.
        ax, **kwargs
            As in `from_estimator`, with `n_features` and `odds_ratios`.

        Returns
        -------
        display : CoefficientDisplay
            The plotted display.
        """
        kept = ~_are_intercepts(result)
        names = np.array(result.names, dtype=object)[kept]
        display = cls(result.coef[kept], intervals=result.interval[kept], feature_names=names)
        return display.plot(ax, **kwargs)

    def plot(
        self, ax: Any = None, *, n_features: int = 20, odds_ratios: bool = False, **kwargs: Any
    ) -> Self:
        """Plot the visualization with the parameters of `from_estimator`; return the display."""
        coef = np.atleast_2d(to_dense_numpy(self.coef)).astype(np.float64)
        intervals = _check_intervals(self.intervals, coef)
        names = pipelines.feature_names(None, coef.shape[1], self.feature_names)
        size = np.abs(coef).max(axis=0)
        shown = np.argsort(-size, kind="stable")[:n_features]
        shown = shown[size[shown] > 0]
        is_heat_map = len(coef) > _MAX_COLORS and intervals is None and len(shown) > 0
        width = max(6.4, 2.5 + 0.22 * len(coef)) if is_heat_map else 6.4  # inches
        height = 0.22 if is_heat_map else 0.16 + 0.1 * len(coef)  # of a row
        has_own_figure = ax is None
        ax = prepare_axes(self, ax, (width, 1.2 + max(height * len(shown), 1)))
        self.features_, self.image_ = shown, None
        self.points_: list[Any] = []
        if is_heat_map:
            self._draw_heat_map(ax, coef[:, shown], odds_ratios, **kwargs)
            if has_own_figure:
                _make_room_for_classes(ax)
        else:
            limits = None if intervals is None else intervals[:, shown]
            self._draw_points(ax, coef[:, shown], limits, odds_ratios, **kwargs)
        ax.set_yticks(np.arange(len(shown)), shorten_labels(names[shown]))
        ax.set_ylim(max(len(shown), 1) - 0.4, -0.6)
        if not size.any():
            ax.text(0.5, 0.5, "all coefficients are zero", transform=ax.transAxes, ha="center")
        return self

    def _class_labels(self, n_classes: int) -> list[str]:
        return shorten_labels(range(n_classes) if self.classes is None else self.classes)

    def _draw_points(
        self, ax: Any, coef: np.ndarray, limits: Any, odds_ratios: bool, **kwargs: Any
    ) -> None:
        """Draw the points of all classes side by side, with their intervals."""
        name = "coefficient"
        transform: Any = np.asarray
        if odds_ratios:
            name, transform = "odds ratio" if len(coef) == 1 else "exp(coefficient)", np.exp
            set_log_axis(ax, name)
        ax.axvline(transform(0), color=foreground_color(ax), linewidth=0.8, zorder=0)
        for k, (row, label) in enumerate(zip(coef, self._class_labels(len(coef)), strict=True)):
            bars, x = None, transform(row)
            if limits is not None:
                # the interval need not contain the coefficient; lengths must not be negative
                low, high = transform(limits[k].T)
                bars = np.maximum([x - low, high - x], 0)
            y = np.arange(len(row)) + 0.7 * ((k + 0.5) / len(coef) - 0.5)
            style = {"fmt": "o", "markersize": 5, "elinewidth": 1.2, "label": label, **kwargs}
            points = ax.errorbar(x, y, xerr=bars, **style)
            if bars is None:
                color = points.lines[0].get_color()
                ax.hlines(y, transform(0), x, color=color, linewidth=1.2)
            self.points_.append(points)
        ax.set_xlabel(name)
        if len(coef) > 1 and coef.size:
            longest = max(len(points.get_label()) for points in self.points_)
            draw_legend_above(ax, self.points_, ncols=max(1, 60 // (longest + 6)))  # characters

    def _draw_heat_map(self, ax: Any, coef: np.ndarray, odds_ratios: bool, **kwargs: Any) -> None:
        """Draw features and classes as an image, white at zero."""
        limit = np.abs(coef).max()
        style = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "aspect": "auto", **kwargs}
        self.image_ = ax.imshow(coef.T, **style)
        bar = ax.figure.colorbar(self.image_, ax=ax, label="coefficient")
        if odds_ratios:
            bar.set_label("exp(coefficient)")
            bar.formatter = lambda value, _: f"{np.exp(value):.2g}"
        classes = self._class_labels(len(coef))
        ax.set_xticks(np.arange(len(coef)), classes, rotation=90 * (max(map(len, classes)) > 3))


def _make_room_for_classes(ax: Any) -> None:
    """Make the figure higher by the length of the class names, if they are upright."""
    labels = [label for label in ax.get_xticklabels() if label.get_rotation()]
    longest = max((label.get_window_extent().height for label in labels), default=0.0)  # pixels
    ax.figure.set_figheight(ax.figure.get_figheight() + longest / ax.figure.dpi)


def _are_intercepts(result: Any) -> np.ndarray:
    """Return a mask of the parameters of a table that are intercepts or thresholds."""
    size = len(result.names)
    count = getattr(result, "n_intercepts", int(result.names[-1] == "intercept"))
    if getattr(result, "is_ordered", False) or not count:
        return np.arange(size) >= size - count
    width = size // count  # the intercept is the last parameter of its class
    return np.arange(size) % width == width - 1


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
