"""Plot of the convergence of a fit."""

from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.displays.axes import foreground_color, prepare_axes
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.pipelines import last_step


@dataclass(eq=False, repr=False)
class ConvergenceDisplay:
    """Convergence of a fit: optimality by passes over X, or training history by epochs.

    Parameters
    ----------
    steps : array-like of shape (n_steps,)
        Numbers of passes or epochs.
    values : array-like of shape (n_steps,)
        Values to plot, on a logarithmic axis if none is negative and some are positive.
    step_name, value_name : str
        Labels of the axes.
    tol : float or None
        Convergence threshold, plotted as a horizontal line.
    name : str or None
        Name of the fit, for the legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
        Plotted values.
    tol_line_ : matplotlib Line2D or None
        Line at `tol`; None if `tol` is None, or if the axes already have one at this `tol`.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Axes and figure of the plot.

    Notes
    -----
    To compare several fits on the same axes, pass ``display.ax_`` of one display as `ax`.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.displays import ConvergenceDisplay
    >>> from skorch_logreg.solvers import Adam
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier().fit(scale(X), y)
    >>> display = ConvergenceDisplay.from_estimator(model)
    >>> bool(display.values[-1] <= display.tol)
    True
    >>> model = TorchLogisticClassifier(solver=Adam(epochs=20, finish="exact")).fit(scale(X), y)
    >>> ConvergenceDisplay.from_estimator(model).ax_.get_ylabel()
    'loss'
    """

    steps: Any
    values: Any
    _: KW_ONLY
    step_name: str = "passes over X"
    value_name: str = "optimality"
    tol: float | None = None
    name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        value: str | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the history of a fit.

        Parameters
        ----------
        estimator : fitted classifier, Pipeline or search
            Model with `history_`.
        value : str or None, default=None
            Key of `history_`: "optimality" of iterations; "loss", "learning_rate", "seconds", or
            "valid_score" of epochs. None: the first of them.
        name : str or None
            Name of the fit, for the legend.
        ax, **kwargs
            Axes to draw on, by default those of a new figure, and keyword arguments of
            `matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ConvergenceDisplay
            The plotted display.

        Raises
        ------
        ParameterError
            If the model has no `history_`, or `value` is not one of its keys.
        """
        model = last_step(estimator)
        check_is_fitted(model)
        if not hasattr(model, "history_"):
            raise ParameterError(
                f"{type(model).__name__} has no history_, which a TorchLogisticClassifier and "
                "trained networks have."
            )
        history = dict(model.history_)
        passes = history.pop("n_passes", None)
        value = next(iter(history)) if value is None else value
        if value not in history:
            raise ParameterError(f"value is {value!r}; history_ has {', '.join(sorted(history))}.")
        values = np.asarray(history[value], dtype=np.float64)
        labels: dict[str, Any] = {"value_name": value.replace("_", " "), "name": name}
        if passes is None:
            display = cls(np.arange(1, len(values) + 1), values, step_name="epoch", **labels)
        else:
            display = cls(passes, values, tol=model.tol, **labels)
        return display.plot(ax, **kwargs)

    @classmethod
    def from_fit(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        name: str | None = None,
        ax: Any = None,
        fit_params: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Fit a clone and plot its history.

        Parameters
        ----------
        estimator : classifier, Pipeline or search
            Estimator to clone; it is not modified.
        X, y
            Training data, as for `fit`.
        name, ax, **kwargs
            As in `from_estimator`.
        fit_params : dict or None
            Additional arguments of `fit`.

        Returns
        -------
        display : ConvergenceDisplay
            The plotted display.

        Raises
        ------
        ParameterError
            If the fitted estimator has no `history_`.
        """
        fitted = clone(estimator).fit(X, y, **(fit_params or {}))
        return cls.from_estimator(fitted, name=name, ax=ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the visualization with the parameters of `from_estimator`; return the display."""
        ax = prepare_axes(self, ax)
        values = np.asarray(self.values, dtype=np.float64)
        label = {} if self.name is None else {"label": self.name}
        # no markers for many epochs
        marker = {"marker": "o", "markersize": 4} if len(values) <= 50 else {}
        (self.line_,) = ax.plot(self.steps, values, **{**label, **marker, **kwargs})
        known = values[np.isfinite(values)]
        # an exact step may reach an optimality of zero, which a logarithmic axis masks
        if len(known) and (known >= 0).all() and (known > 0).any():
            ax.set_yscale("log", nonpositive="mask")
        self.tol_line_ = None
        tol_text = None if self.tol is None else f"tol = {self.tol:g}"
        if tol_text is not None and tol_text not in [text.get_text() for text in ax.texts]:
            style = {"color": foreground_color(ax), "linestyle": ":", "linewidth": 1}
            self.tol_line_ = ax.axhline(self.tol, **style)
            ax.annotate(
                tol_text,
                xy=(0, self.tol),
                xycoords=("axes fraction", "data"),
                xytext=(3, 3),
                textcoords="offset points",
                fontsize="small",
            )
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel=self.step_name, ylabel=self.value_name)
        if ax.get_legend_handles_labels()[1]:
            ax.legend()
        return self
