"""How a fit came to its end."""

from typing import Any, Self

import numpy as np
from sklearn.base import clone

from skorch_logreg.displays.axes import foreground_color, prepare_axes
from skorch_logreg.displays.model_attributes import last_step
from skorch_logreg.exceptions import ParameterError

__all__ = ["ConvergenceDisplay"]


class ConvergenceDisplay:
    """Optimality against passes over X, or a history against epochs.

    Parameters
    ----------
    steps : array-like of shape (n_steps,)
        Passes or epochs.
    values : array-like of shape (n_steps,)
        On a logarithmic axis where all are positive.
    step_name, value_name : str
        Of the axes.
    tol : float or None
        Where the fit may end.
    name : str or None
        Of the fit, for a legend.

    Attributes
    ----------
    line_ : matplotlib Line2D
    tol_line_ : matplotlib Line2D or None
        None too where the axes have one.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Notes
    -----
    Several fits compare on one axes: pass ``display.ax_`` on as `ax`.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.displays import ConvergenceDisplay
    >>> from skorch_logreg.solvers import Adam
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier(solver=Adam(epochs=20, finish="exact")).fit(scale(X), y)
    >>> display = ConvergenceDisplay.from_estimator(model)
    >>> display.ax_.get_ylabel()
    'loss'
    """

    def __init__(
        self,
        steps: Any,
        values: Any,
        *,
        step_name: str = "passes over X",
        value_name: str = "optimality",
        tol: float | None = None,
        name: str | None = None,
    ) -> None:
        self.steps = steps
        self.values = values
        self.step_name = step_name
        self.value_name = value_name
        self.tol = tol
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        value: str = "loss",
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the history of a training in mini-batches.

        Parameters
        ----------
        estimator : fitted classifier, Pipeline or search
            With `history_`.
        value : str, default="loss"
            Its key: "loss", "learning_rate", "seconds", or "valid_score" where rows are held out.
        name : str or None
            For a legend.
        ax : matplotlib Axes or None
            None: of a new figure.
        **kwargs
            For `matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ConvergenceDisplay

        Raises
        ------
        ParameterError
            If there is no such history.
        """
        history = getattr(last_step(estimator), "history_", None)
        if history is None:
            raise ParameterError(
                f"{type(last_step(estimator)).__name__} has no history_, which solvers of "
                "mini-batches leave; from_fit records the iterations of the others."
            )
        if value not in history:
            raise ParameterError(f"value is {value!r}; history_ has {', '.join(sorted(history))}.")
        values = np.asarray(history[value], dtype=np.float64)
        display = cls(
            np.arange(1, len(values) + 1),
            values,
            step_name="epoch",
            value_name=value.replace("_", " "),
            name=name,
        )
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
        """Fit a clone, and draw the optimality after each of its iterations.

        Parameters
        ----------
        estimator : TorchLogisticClassifier, or Pipeline that ends with one
            Not changed.
        X, y
            As its `fit` takes them.
        name : str or None
            For a legend.
        ax : matplotlib Axes or None
            None: of a new figure.
        fit_params : dict or None
            More arguments of `fit`.
        **kwargs
            For `matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ConvergenceDisplay

        Raises
        ------
        ParameterError
            If the estimator takes no callbacks, or if nothing is proven of its iterations.

        Examples
        --------
        >>> from sklearn.datasets import load_breast_cancer
        >>> from sklearn.preprocessing import scale
        >>> from skorch_logreg import TorchLogisticClassifier
        >>> from skorch_logreg.displays import ConvergenceDisplay
        >>> X, y = load_breast_cancer(return_X_y=True)
        >>> display = ConvergenceDisplay.from_fit(TorchLogisticClassifier(), scale(X), y)
        >>> bool(display.values[-1] <= display.tol)
        True
        """
        fitted = clone(estimator)
        model = last_step(fitted)
        if not hasattr(model, "set_callbacks"):
            raise ParameterError(
                f"{type(model).__name__} takes no callbacks: from_fit needs a "
                "TorchLogisticClassifier, and scikit-learn 1.9."
            )
        recorder = _OptimalityRecorder()
        model.set_callbacks(recorder)
        fitted.fit(X, y, **(fit_params or {}))
        if not recorder.optimality:
            raise ParameterError(
                "no iteration was proven: of a training in mini-batches draw history_, with "
                "from_estimator."
            )
        display = cls(recorder.passes, recorder.optimality, tol=model.tol, name=name)
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the display.

        Parameters
        ----------
        ax, **kwargs
            As in `from_estimator`.

        Returns
        -------
        self
        """
        ax = prepare_axes(self, ax)
        values = np.asarray(self.values, dtype=np.float64)
        label = {} if self.name is None else {"label": self.name}
        # one of many epochs is no event
        marker = {"marker": "o", "markersize": 4} if len(values) <= 50 else {}
        (self.line_,) = ax.plot(self.steps, values, **{**label, **marker, **kwargs})
        known = values[np.isfinite(values)]
        # an optimality of zero, which an exact step may reach, has no place on a logarithmic axis
        if len(known) and (known >= 0).all() and (known > 0).any():
            ax.set_yscale("log", nonpositive="mask")
        self.tol_line_ = None
        tol_text = None if self.tol is None else f"tol = {self.tol:g}"
        if tol_text is not None and tol_text not in [text.get_text() for text in ax.texts]:
            self.tol_line_ = ax.axhline(
                self.tol, color=foreground_color(ax), linestyle=":", linewidth=1
            )
            ax.annotate(
                tol_text,
                xy=(1, self.tol),
                xycoords=("axes fraction", "data"),
                xytext=(-3, 3),
                textcoords="offset points",
                ha="right",
                fontsize="small",
            )
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_xlabel(self.step_name)
        ax.set_ylabel(self.value_name)
        if ax.get_legend_handles_labels()[1]:
            ax.legend()
        return self


class _OptimalityRecorder:
    """Callback that keeps what is proven of every iteration."""

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.optimality: list[float] = []

    def setup(self, estimator: Any, context: Any) -> None:
        """Do nothing; the protocol asks for it."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Do nothing."""

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Keep an iteration's figures; the end of the fit, and an epoch, has none."""
        if context.task_name == "solver-iter" and hasattr(fitted_estimator, "n_passes_"):
            self.passes.append(fitted_estimator.n_passes_)
            self.optimality.append(fitted_estimator.optimality_)
