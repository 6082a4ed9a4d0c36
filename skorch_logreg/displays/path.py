"""Plot of coefficients along a regularization path."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.isotonic import isotonic_regression

from skorch_logreg import pipelines
from skorch_logreg.displays.axes import (
    foreground_color,
    prepare_axes,
    set_log_axis,
    shorten_labels,
)
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import index_of
from skorch_logreg.pipelines import to_dense_numpy


@dataclass(eq=False, repr=False)
class CoefficientPathDisplay:
    """Coefficients along a regularization path.

    Parameters
    ----------
    Cs : array-like of shape (n_Cs,)
        Positive inverse regularization strengths, in any order.
    coefs : array-like of shape (n_Cs, n_features) or (n_Cs, n_classes, n_features)
        Coefficients. With three axes, their Euclidean norm over the classes is plotted.
    feature_names : array-like of shape (n_features,) or None
        Names of the features; None uses x0, x1, ...

    Attributes
    ----------
    features_ : ndarray of shape (n_labels,)
        Indices of the labelled features, in descending order of their size at the largest C.
    lines_ : list of matplotlib Line2D
        Lines of the labelled features.
    others_ : matplotlib LineCollection
        Lines of all other features with a nonzero coefficient anywhere on the path.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Axes and figure of the plot.

    See Also
    --------
    skorch_logreg.regularization_path : Compute the path.

    References
    ----------
    Friedman, Hastie, Tibshirani (2010). Regularization paths for generalized linear models via
    coordinate descent.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import regularization_path
    >>> from skorch_logreg.displays import CoefficientPathDisplay
    >>> data = load_breast_cancer()
    >>> path = regularization_path(scale(data.data), data.target, Cs=20, C_max=1.0)
    >>> display = CoefficientPathDisplay.from_path(path, feature_names=data.feature_names)
    >>> display.lines_[0].get_label()
    'radius error'
    """

    Cs: Any
    coefs: Any
    _: KW_ONLY
    feature_names: Any = None

    @classmethod
    def from_path(
        cls,
        path: Any,
        *,
        feature_names: Any = None,
        class_of_interest: Any = None,
        against: str = "C",
        n_labels: int = 8,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the result of `regularization_path`.

        Parameters
        ----------
        path : RegularizationPath
            Path, or any object with attributes `Cs`, `coefs` and `classes`.
        feature_names : array-like of shape (n_features,) or None
            Names of the features; None uses those of the path, or else x0, x1, ...
        class_of_interest : class, default=None
            Class whose coefficients are plotted; None plots the norm over all classes if there are
            three or more.
        against : {"C", "lambda"}, default="C"
            Quantity on the horizontal axis; lambda is ``1 / C`` and decreases to the right.
        n_labels : int, default=8
            Number of labelled features, those with the largest coefficients at the largest C.
        ax, **kwargs
            Axes to draw on, by default those of a new figure, and keyword arguments of
            `matplotlib.axes.Axes.plot` for the labelled features.

        Returns
        -------
        display : CoefficientPathDisplay
            The plotted display.

        Raises
        ------
        ParameterError
            If the names or the class do not match the path.
        """
        coefs = to_dense_numpy(path.coefs)
        given = getattr(path, "feature_names", None) if feature_names is None else feature_names
        names = pipelines.feature_names(None, coefs.shape[-1], given)
        if class_of_interest is not None:
            index = index_of(class_of_interest, path.classes, "class_of_interest")
            if coefs.ndim == 3:
                coefs = coefs[:, index]
            elif index == 0:  # coefficients of two classes refer to the second
                coefs = -coefs
        display = cls(path.Cs, coefs, feature_names=names)
        return display.plot(ax, against=against, n_labels=n_labels, **kwargs)

    def plot(self, ax: Any = None, *, against: str = "C", n_labels: int = 8, **kwargs: Any) -> Self:
        """Plot the visualization with the parameters of `from_path`; return the display."""
        if against not in ("C", "lambda"):
            raise ParameterError(f"against is {against!r}; it must be 'C' or 'lambda'.")
        ax = prepare_axes(self, ax)
        order = np.argsort(self.Cs, kind="stable")
        Cs, coefs = np.asarray(self.Cs)[order], to_dense_numpy(self.coefs)[order].astype(np.float64)
        is_norm = coefs.ndim == 3
        if is_norm:
            coefs = np.linalg.norm(coefs, axis=1)
        x = Cs if against == "C" else 1 / Cs
        active = np.flatnonzero((coefs != 0).any(axis=0))
        largest = active[np.argsort(-np.abs(coefs[-1, active]), kind="stable")]
        self.features_, rest = largest[:n_labels], largest[n_labels:]
        self._draw_unlabelled(ax, x, coefs[:, rest])
        names = pipelines.feature_names(None, coefs.shape[1], self.feature_names)
        style = {"marker": "o" if len(x) == 1 else None, **kwargs}
        self.lines_ = [
            ax.plot(x, coefs[:, j], **{"label": str(names[j]), **style})[0] for j in self.features_
        ]
        ax.axhline(0, color=foreground_color(ax), linewidth=0.8, zorder=0)
        set_log_axis(ax, "C" if against == "C" else "lambda = 1 / C")
        # of a single point, a decade on both sides
        ends = (x[0], x[-1]) if len(x) > 1 else ax.xaxis.get_major_locator().nonsingular(*x, *x)
        ax.set_xlim(*ends)
        ax.set_ylabel("norm of the coefficients over the classes" if is_norm else "coefficient")
        if len(self.features_):
            self._label_lines(ax, coefs[-1, self.features_])
        elif not len(active):
            ax.text(0.5, 0.6, "all coefficients are zero", transform=ax.transAxes, ha="center")
        return self

    def _draw_unlabelled(self, ax: Any, x: np.ndarray, coefs: np.ndarray) -> None:
        """Draw the unlabelled features, possibly thousands, as one line collection."""
        from matplotlib.collections import LineCollection

        lines = [np.column_stack([x, column]) for column in coefs.T]
        alpha = float(np.clip(50 / max(len(lines), 1), 0.05, 0.35))
        color = foreground_color(ax)
        self.others_ = LineCollection(lines, colors=[color], alpha=alpha, linewidths=0.8, zorder=1)
        if len(x) == 1:  # lines of one point are not drawn
            points = {"linestyle": "", "marker": "o", "color": color, "alpha": alpha, "zorder": 1}
            ax.plot(np.repeat(x, len(lines)), coefs[0], **points)
        ax.add_collection(self.others_)
        ax.autoscale_view()

    def _label_lines(self, ax: Any, ends: np.ndarray) -> None:
        """Label the lines to the right of the axes, without overlap."""
        from matplotlib import pyplot as plt

        low, high = ax.get_ylim()
        ax.set_ylim(low, high)
        size = plt.rcParams["font.size"] * 0.85
        inches = ax.get_position().height * ax.figure.get_figheight()
        gap = min(1.35 * size / 72 / inches, 1 / len(ends))
        ends = (ends - low) / (high - low)
        heights = spread_positions(ends, gap, gap / 2, 1 - gap / 2)
        connector = {"arrowstyle": "-", "linewidth": 0.7, "relpos": (0, 0.5)}
        names = shorten_labels(line.get_label() for line in self.lines_)
        for name, line, end, height in zip(names, self.lines_, ends, heights, strict=True):
            color = line.get_color()
            ax.annotate(
                name,
                xy=(1, end),
                xytext=(1.05, height),
                xycoords="axes fraction",
                textcoords="axes fraction",
                color=color,
                fontsize=size,
                va="center",
                annotation_clip=False,
                arrowprops={**connector, "color": color, "shrinkA": 1, "shrinkB": 0},
            )


def spread_positions(heights: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Move positions apart to a minimum gap, with the least sum of squared changes.

    After subtracting ``i * gap`` from the i-th smallest position, the positions must be
    non-decreasing, which is an isotonic regression. ``gap`` is at most ``(high - low) / (n - 1)``.
    """
    order = np.argsort(heights, kind="stable")
    shift = gap * np.arange(len(heights))
    moved = np.empty(len(heights))
    moved[order] = shift + isotonic_regression(
        np.asarray(heights, dtype=np.float64)[order] - shift,
        y_min=low,
        y_max=max(high - gap * (len(heights) - 1), low),
    )
    return moved
