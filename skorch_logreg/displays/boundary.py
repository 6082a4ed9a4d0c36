"""Decision boundary and class probabilities of two features."""

import math
from typing import Any, Self

import numpy as np
from sklearn import inspection

from skorch_logreg.displays.axes import foreground_color, n_colors, prepare_axes, shorten_labels
from skorch_logreg.names import shorten
from skorch_logreg.pipelines import check_classes, decision_threshold, to_dense_numpy

_CONTOUR_LEVELS = np.arange(1, 10) / 10  # probabilities at contour lines


class DecisionBoundaryDisplay(inspection.DecisionBoundaryDisplay):
    """Decision boundary of two features, with contours of the probability from 0.1 to 0.9.

    This is scikit-learn's display with contour lines, created by `from_estimator`. With three
    classes or more the contours show the probability of the most likely class.

    Attributes
    ----------
    surface_ : matplotlib ContourSet or list of them
        Filled areas, as in scikit-learn.
    contours_ : matplotlib ContourSet or None
        Lines of equal probability; None if the probability crosses none of the levels.
    boundary_ : list of matplotlib ContourSet
        Lines where the probability equals the threshold of the estimator. With three classes or
        more, one per class, where it is as likely as the most likely other class. Empty if the
        decision does not change, or only one of these classes is drawn.
    points_ : list of matplotlib PathCollection
        Scattered rows, one collection per class.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Axes and figure of the plot.

    See Also
    --------
    sklearn.inspection.DecisionBoundaryDisplay : For any response and any estimator.

    Examples
    --------
    >>> from sklearn.datasets import make_moons
    >>> from skorch_logreg import NeuralLogisticClassifier
    >>> from skorch_logreg.displays import DecisionBoundaryDisplay
    >>> X, y = make_moons(200, noise=0.2, random_state=0)
    >>> model = NeuralLogisticClassifier((16,), threshold=0.3).fit(X, y)
    >>> display = DecisionBoundaryDisplay.from_estimator(model, X, y)
    >>> display.boundary_[0].levels
    array([0.3])
    """

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        grid_resolution: int = 200,
        eps: float = 0.5,
        xlabel: str | None = None,
        ylabel: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the probabilities of a fitted classifier of two features.

        Parameters
        ----------
        estimator : fitted classifier
            Classifier with `predict_proba`.
        X : array-like or data frame of shape (n_samples, 2)
            Rows, which determine the range of the axes.
        y : array-like of shape (n_samples,) or None
            Labels of the rows; if None, the rows are not plotted.
        grid_resolution, eps, xlabel, ylabel, ax, **kwargs
            As in `sklearn.inspection.DecisionBoundaryDisplay.from_estimator`, with a finer grid
            and narrower margins by default.

        Returns
        -------
        display : DecisionBoundaryDisplay
            The plotted display.

        Raises
        ------
        ValueError
            If X does not have two columns, or y has labels that are not among the classes.
        """
        threshold, classes = decision_threshold(estimator), to_dense_numpy(estimator.classes_)
        if y is not None:
            check_classes(to_dense_numpy(y), classes)
        drawn = kwargs.get("class_of_interest")
        if drawn is not None and len(classes) > 2:
            threshold = math.nan  # one probability does not show where another is larger
        elif drawn is not None and drawn == classes[0]:
            threshold = 1 - threshold
        display: Self = super().from_estimator(
            estimator,
            X,
            response_method="predict_proba",
            grid_resolution=grid_resolution,
            eps=eps,
            xlabel=xlabel,
            ylabel=ylabel,
            ax=ax,
            threshold=threshold,
            **kwargs,
        )
        if y is not None:
            display.scatter(X, y, classes, drawn)
        return display

    def plot(
        self,
        plot_method: str = "contourf",
        ax: Any = None,
        xlabel: str | None = None,
        ylabel: str | None = None,
        *,
        threshold: float | None = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the visualization.

        Parameters
        ----------
        plot_method, ax, xlabel, ylabel, **kwargs
            As in `sklearn.inspection.DecisionBoundaryDisplay.plot`.
        threshold : float or None
            Decision threshold for two classes; None keeps the previous one, initially 0.5.

        Returns
        -------
        self : object
            The display itself.
        """
        if threshold is not None or not hasattr(self, "threshold"):
            self.threshold = 0.5 if threshold is None else threshold
        ax = prepare_axes(self, ax)
        binary = self.response.ndim == 2
        style = {"alpha": 0.5, **kwargs}
        if plot_method != "pcolormesh":
            style.setdefault("levels", np.r_[0, _CONTOUR_LEVELS, 1])
        if binary:
            style.setdefault("cmap", "coolwarm")
        super().plot(plot_method=plot_method, ax=ax, xlabel=xlabel, ylabel=ylabel, **style)
        # a column's name may be longer than the axis
        xlabel, ylabel = shorten([ax.get_xlabel(), ax.get_ylabel()], 45)
        ax.set(xlabel=xlabel, ylabel=ylabel)
        max_proba = self.response if binary else self.response.max(axis=2)
        self.contours_ = self._contour(max_proba, _CONTOUR_LEVELS, linewidths=0.6, alpha=0.6)
        if self.contours_ is not None:
            ax.clabel(self.contours_, fmt="%.1f", fontsize="x-small")
        if binary:
            fields, level = [self.response], self.threshold
        else:  # each class's probability minus the largest one of the other classes
            classes, level = range(self.response.shape[2]), 0.0
            others = [np.delete(self.response, k, axis=2).max(axis=2) for k in classes]
            fields = [self.response[:, :, k] - others[k] for k in classes]
        lines = [self._contour(field, np.array([level]), linewidths=2) for field in fields]
        self.boundary_ = [line for line in lines if line is not None]
        return self

    def _contour(self, field: np.ndarray, levels: np.ndarray, **style: Any) -> Any:
        """Draw lines at those levels that a field crosses, or return None if there are none."""
        crossed = levels[(field.min() < levels) & (field.max() > levels)]
        if not len(crossed):
            return None
        style["colors"] = [foreground_color(self.ax_)]
        return self.ax_.contour(self.xx0, self.xx1, field, levels=crossed, **style)

    def scatter(self, X: Any, y: Any, classes: Any, class_of_interest: Any = None) -> None:
        """Scatter rows over the areas, in the colours of their classes.

        With more classes than matplotlib has colours, their names are written at the median of
        their rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, 2)
            Rows to plot.
        y : array-like of shape (n_samples,)
            Labels of the rows.
        classes : array-like of shape (n_classes,)
            All classes. The colours do not depend on which of them occur in y.
        class_of_interest : class or None
            The class whose probability is drawn, if only one is; None: the last one of two.
        """
        from matplotlib import colormaps

        X, y, classes = np.asarray(X), np.asarray(y), to_dense_numpy(classes)
        drawn = classes == (classes[-1] if class_of_interest is None else class_of_interest)
        colors = getattr(self, "multiclass_colors_", colormaps["coolwarm"](1.0 * drawn))
        has_legend = len(classes) <= n_colors()  # the names of more are written at their rows
        n_shown = 32 if has_legend else 16  # characters
        names = shorten_labels(classes, n_shown)
        self.points_ = [
            self.ax_.scatter(
                *X[y == label].T, s=18, color=colors[k], edgecolors=[foreground_color(self.ax_)],
                linewidths=0.5, label=names[k],
            )
            for k, label in enumerate(classes)
            if (y == label).any()
        ]  # fmt: skip
        if has_legend:
            self.ax_.legend(fontsize="small")
            return
        box = {"facecolor": self.ax_.get_facecolor(), "alpha": 0.7, "linewidth": 0, "pad": 1}
        style = {"fontsize": "x-small", "ha": "center", "va": "center", "bbox": box}
        for points in self.points_:
            x, y = np.median(np.asarray(points.get_offsets()), axis=0)
            self.ax_.text(x, y, points.get_label(), **style)
