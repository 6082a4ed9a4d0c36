"""Plot of cross-validated scores by regularization strength."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.displays.axes import (
    foreground_color,
    n_colors,
    prepare_axes,
    set_log_axis,
    shorten_labels,
)
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import index_of
from skorch_logreg.pipelines import class_names, final_step, last_step


@dataclass(eq=False, repr=False)
class CVScoresDisplay:
    """Mean cross-validated scores as a function of C, with bands of one standard error.

    Parameters
    ----------
    Cs : array-like of shape (n_cs,)
        Inverse regularization strengths; infinity is plotted one decade to the right of the rest.
    scores : array-like of shape (n_folds, n_l1_ratios, n_cs)
        Scores, where larger is better; nan where there is none.
    l1_ratios : sequence of shape (n_l1_ratios,) or None
        Elastic net mixing parameters, or the parameters of a search other than C as dicts; None if
        there is only one. Of more than ten, those of the best scores are plotted.
    score_name : str, default="score"
        Name of the score, for the axis.

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        Mean scores, one line per plotted l1_ratio.
    bands_ : list of matplotlib PolyCollection
        Bands of one standard error of the mean; empty with a single fold.
    best_ : (float, float or None)
        C and l1_ratio of the best mean score.
    simplest_ : (float, float or None) or None
        Smallest C whose mean score is within one standard error of the best one, and its l1_ratio,
        which is that of `best_`; None with a single fold.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Axes and figure of the plot.

    See Also
    --------
    skorch_logreg.TorchLogisticClassifierCV : Selects either one, by its `selection`.

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

    Cs: Any
    scores: Any
    _: KW_ONLY
    l1_ratios: Any = None
    score_name: str = "score"

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, label: Any = None, ax: Any = None, **kwargs: Any
    ) -> Self:
        """Plot the scores of a cross-validated classifier, or of a search over its C.

        Parameters
        ----------
        estimator : TorchLogisticClassifierCV, MultiLabel of one, Pipeline, or search
            Fitted estimator, with or without legacy attributes; or a fitted BatchedGridSearchCV,
            GridSearchCV or the like. Of several metrics that of `refit` is plotted.
        label : label, default=None
            Label to plot, for a `MultiLabel`.
        ax, **kwargs
            Axes to draw on, by default those of a new figure, and keyword arguments of
            `matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : CVScoresDisplay
            The plotted display.

        Raises
        ------
        ParameterError
            If the estimator has neither `scores_` nor searched over one C, or the label is unknown.
        """
        if hasattr(estimator, "cv_results_") and label is None:
            return cls(**_search_scores(estimator)).plot(ax, **kwargs)
        model = last_step(estimator)
        check_is_fitted(model)
        if not hasattr(model, "scores_"):
            raise ParameterError(
                f"{type(model).__name__} has no scores_; a TorchLogisticClassifierCV has."
            )
        scores, ratios = model.scores_, model.l1_ratios_
        if isinstance(scores, dict):  # legacy layout: Cs before l1_ratios, the same for all classes
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
        name = _score_name(getattr(getattr(model, "estimator", model), "scoring", None))
        ratios = None if ratios[0] is None else ratios
        display = cls(model.Cs_, scores, l1_ratios=ratios, score_name=name)
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the visualization with the parameters of `from_estimator`; return the display."""
        ax = prepare_axes(self, ax)
        order = np.argsort(self.Cs, kind="stable")
        Cs = np.asarray(self.Cs, dtype=np.float64)[order]
        scores = np.asarray(self.scores, dtype=np.float64)[:, :, order]
        ratios = [None] * scores.shape[1] if self.l1_ratios is None else list(self.l1_ratios)
        n_folds, mean, error = len(scores), scores.mean(axis=0), None
        if n_folds > 1:
            error = scores.std(axis=0, ddof=1) / np.sqrt(n_folds)
        is_finite = np.isfinite(Cs)
        x = np.where(is_finite, Cs, 10 * max(Cs[is_finite], default=0.1))
        self.lines_, self.bands_ = [], []
        finite = np.where(np.isnan(mean), -np.inf, mean)
        for k in np.sort(np.argsort(-finite.max(axis=1), kind="stable")[: n_colors()]):
            label = None if len(ratios) == 1 else _setting_label(ratios[k])
            style = {"marker": "o", "markersize": 4, "label": label}
            known = ~np.isnan(mean[k])
            (line,) = ax.plot(x[known], mean[k, known], **{**style, **kwargs})
            self.lines_.append(line)
            if error is not None:
                low, high = (mean[k] + sign * error[k] for sign in (-1, 1))
                alpha = 0.2 if len(ratios) == 1 else 0.12
                style = {"color": line.get_color(), "alpha": alpha, "linewidth": 0}
                self.bands_.append(ax.fill_between(x[known], low[known], high[known], **style))
        vertical = {"color": foreground_color(ax), "linewidth": 1, "zorder": 0}
        c, ratio = np.unravel_index(finite.T.argmax(), finite.T.shape)  # ties: the smallest C
        self.best_ = (float(Cs[c]), ratios[ratio])
        ax.axvline(x[c], label=f"best, C = {Cs[c]:.3g}", linestyle="-", **vertical)
        self.simplest_ = None
        if error is not None:
            within = finite[ratio] >= finite[ratio, c] - error[ratio, c]
            first = int(within.argmax()) if within.any() else int(c)
            self.simplest_ = (float(Cs[first]), ratios[ratio])
            label = f"one standard error, C = {Cs[first]:.3g}"
            ax.axvline(x[first], label=label, linestyle="--", **vertical)
        set_log_axis(ax, "C")
        ax.set_ylabel(self.score_name)
        if not is_finite.all():
            above = ax.get_xaxis_transform()  # of the axes, where no legend is
            ax.text(x[-1], 1.01, "no penalty", transform=above, ha="center", fontsize="small")
        ax.legend(fontsize="small")
        return self


def _setting_label(setting: Any) -> str:
    """Return the text of an l1_ratio, or of a dict of parameters."""
    if not isinstance(setting, dict):
        setting = {"l1_ratio": setting}
    return ", ".join(shorten_labels(f"{name} = {value}" for name, value in setting.items()))


def _score_name(scoring: Any) -> str:
    """Return the name of a score for an axis."""
    scoring = "accuracy" if scoring in (None, "warn") else scoring
    return scoring.replace("_", " ") if isinstance(scoring, str) else "score"


def _search_scores(search: Any) -> dict[str, Any]:
    """Return the arguments of the display of a search: scores by fold, other parameters and C."""
    results, metric = search.cv_results_, "score"
    if getattr(search, "multimetric_", False):
        metric = search.refit
        if not isinstance(metric, str):
            raise ParameterError("the search has several metrics; one is drawn: name it by refit=.")
    candidates = _shorten_parameters(results["params"], final_step(search.estimator)[0])
    if any(np.ndim(params.get("C", ())) > 0 for params in candidates):
        raise ParameterError(f"{type(search).__name__} has candidates without one C, the axis.")
    Cs = np.unique([params["C"] for params in candidates])
    places: dict[str, int] = {}
    settings: list[dict[str, Any]] = []
    cells = []
    for params in candidates:
        setting = {name: value for name, value in params.items() if name != "C"}
        place = places.setdefault(repr(setting), len(places))
        if place == len(settings):
            settings.append(setting)
        cells.append((place, np.searchsorted(Cs, params["C"])))
    scores = np.full((search.n_splits_, len(settings), len(Cs)), np.nan)
    for fold, fold_scores in enumerate(scores):
        fold_scores[tuple(np.transpose(cells))] = results[f"split{fold}_test_{metric}"]
    name = _score_name(metric if metric != "score" else search.scoring)
    ratios = None if settings == [{}] else settings
    return {"Cs": Cs, "scores": scores, "l1_ratios": ratios, "score_name": name}


def _shorten_parameters(candidates: Sequence[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    """Name parameters by their last part, where only one has it, and the classifier's C by "C".

    ``prefix`` is that of the parameters of the last step.
    """
    names = dict.fromkeys(name for params in candidates for name in params)
    last = {name: name.rpartition("__")[2] for name in names}
    counts = Counter(last.values())
    own = [name for name in names if last[name] == "C" and name.startswith(prefix)]
    short = {name: end if counts[end] == 1 or own == [name] else name for name, end in last.items()}
    return [{short[name]: value for name, value in params.items()} for params in candidates]
