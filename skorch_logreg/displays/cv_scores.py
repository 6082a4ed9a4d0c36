"""Cross-validated scores over the strengths of the penalty."""

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.displays.axes import foreground_color, prepare_axes
from skorch_logreg.displays.model_attributes import class_names, index_of, last_step
from skorch_logreg.exceptions import ParameterError

__all__ = ["CVScoresDisplay"]


class CVScoresDisplay:
    """Mean scores over C, with a band of one standard error.

    Parameters
    ----------
    Cs : array-like of shape (n_cs,)
        Inverse strengths; infinity, which has no place on the axis, is drawn at its right end.
    scores : array-like of shape (n_folds, n_l1_ratios, n_cs)
        Larger is better.
    l1_ratios : sequence of shape (n_l1_ratios,) or None
        None: there was no choice of them.
    score_name : str, default="score"

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        Means, one an l1_ratio.
    bands_ : list of matplotlib PolyCollection
        Mean and standard error of the folds; none with one fold.
    best_ : (float, float or None)
        C and l1_ratio of the best mean.
    simplest_ : (float, float or None) or None
        Of its l1_ratio the smallest C within one standard error of it; None with one fold.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    skorch_logreg.TorchLogisticClassifierCV : Chooses either, by its `selection`.

    References
    ----------
    Breiman, Friedman, Olshen, Stone (1984). Classification and Regression Trees, section 3.4.3.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import TorchLogisticClassifierCV
    >>> from skorch_logreg.displays import CVScoresDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifierCV(
    ...     l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False
    ... ).fit(scale(X), y)
    >>> display = CVScoresDisplay.from_estimator(model)
    >>> display.simplest_[0] <= display.best_[0] == model.C_
    True
    """

    def __init__(
        self, Cs: Any, scores: Any, *, l1_ratios: Any = None, score_name: str = "score"
    ) -> None:
        self.Cs = Cs
        self.scores = scores
        self.l1_ratios = l1_ratios
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, label: Any = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Draw what a fitted classifier found by cross-validation.

        Parameters
        ----------
        estimator : TorchLogisticClassifierCV, Pipeline that ends with one, or MultiLabel of one
            Fitted, in either layout of its attributes.
        label : label, default=None
            Of a `MultiLabel`, the one that is drawn.
        ax : matplotlib Axes or None
            None: of a new figure.
        **kwargs
            For `matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : CVScoresDisplay

        Raises
        ------
        ParameterError
            If the estimator has no such scores, or the label is none of its.
        """
        model = last_step(estimator)
        check_is_fitted(model)
        if not hasattr(model, "scores_"):
            raise ParameterError(
                f"{type(model).__name__} has no scores_; a TorchLogisticClassifierCV has."
            )
        scores, ratios = model.scores_, model.l1_ratios_
        if isinstance(scores, dict):  # legacy: Cs before l1_ratios, for every class the same
            scores = next(iter(scores.values()))
            scores = scores[:, None] if scores.ndim == 2 else scores.swapaxes(1, 2)
        if scores.ndim == 4:
            names = class_names(model)
            if label is None:
                raise ParameterError(
                    f"the model has {len(scores)} labels, and one is drawn: name it by label=."
                )
            scores = scores[index_of(label, names, "label")]
        elif label is not None:
            raise ParameterError(f"label is {label!r}, but the model has none.")
        scoring = getattr(getattr(model, "estimator", model), "scoring", None)
        name = "score"
        if scoring is None or scoring == "warn":
            name = "accuracy"
        elif isinstance(scoring, str):
            name = scoring.replace("_", " ")
        ratios = None if ratios[0] is None else ratios
        display = cls(model.Cs_, scores, l1_ratios=ratios, score_name=name)
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
        order = np.argsort(self.Cs, kind="stable")
        Cs = np.asarray(self.Cs, dtype=np.float64)[order]
        scores = np.asarray(self.scores, dtype=np.float64)[:, :, order]
        ratios = [None] * scores.shape[1] if self.l1_ratios is None else list(self.l1_ratios)
        mean, error = scores.mean(axis=0), _standard_error(scores)
        x, unbounded = _finite_positions(Cs)
        self.lines_, self.bands_ = [], []
        for k, ratio in enumerate(ratios):
            label = None if len(ratios) == 1 else f"l1_ratio = {ratio:g}"
            style = {"marker": "o", "markersize": 4, "label": label}
            (line,) = ax.plot(x, mean[k], **{**style, **kwargs})
            self.lines_.append(line)
            if error is not None:
                ends = mean[k] - error[k], mean[k] + error[k]
                color = line.get_color()
                alpha = 0.2 if len(ratios) == 1 else 0.12
                self.bands_.append(ax.fill_between(x, *ends, color=color, alpha=alpha, linewidth=0))
        finite = np.where(np.isnan(mean), -np.inf, mean)
        c, ratio = np.unravel_index(finite.T.argmax(), finite.T.shape)  # of equals the first C
        self.best_ = (float(Cs[c]), ratios[ratio])
        self._draw_vertical_line(ax, x[c], f"best, C = {Cs[c]:.3g}", "-")
        self.simplest_ = None
        if error is not None:
            within = finite[ratio] >= finite[ratio, c] - error[ratio, c]
            first = int(within.argmax()) if within.any() else int(c)
            self.simplest_ = (float(Cs[first]), ratios[ratio])
            self._draw_vertical_line(ax, x[first], f"one standard error, C = {Cs[first]:.3g}", "--")
        ax.set_xscale("log")
        if unbounded:
            ax.annotate(
                "no penalty",
                xy=(x[-1], 0),
                xycoords=("data", "axes fraction"),
                xytext=(0, 4),
                textcoords="offset points",
                rotation=90,
                ha="center",
                va="bottom",
                fontsize="small",
            )
        ax.set_xlabel("C")
        ax.set_ylabel(self.score_name)
        ax.legend(fontsize="small")
        return self

    def _draw_vertical_line(self, ax: Any, x: float, label: str, linestyle: str) -> None:
        ax.axvline(
            x, color=foreground_color(ax), linestyle=linestyle, linewidth=1, label=label, zorder=0
        )


def _standard_error(scores: np.ndarray) -> np.ndarray | None:
    """Of the mean over the folds, (n_l1_ratios, n_cs); one fold has none."""
    n_folds = len(scores)
    return None if n_folds < 2 else scores.std(axis=0, ddof=1) / np.sqrt(n_folds)


def _finite_positions(Cs: np.ndarray) -> tuple[np.ndarray, bool]:
    """Put infinity a decade to the right of the rest; whether there is one."""
    finite = Cs[np.isfinite(Cs)]
    unbounded = len(finite) < len(Cs)
    right = 10 * finite.max() if len(finite) else 1.0
    return np.where(np.isfinite(Cs), Cs, right), unbounded
