"""Cumulative probabilities of ordered classes along the linear predictor."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.displays.axes import prepare_axes, shorten_labels
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.pipelines import last_step, to_dense_numpy, transform_before_last


@dataclass
class CumulativeProbabilityDisplay:
    """Curves of ``P(y <= k)`` for every threshold, and the shares of groups of rows.

    Under proportional odds the curves are shifted copies of each other, and the observed shares of
    rows with similar scores lie on them.

    Parameters
    ----------
    scores : ndarray of shape (n_points,)
        Linear predictors ``x w``.
    cumulative : ndarray of shape (n_points, n_classes - 1)
        Probabilities ``P(y <= k)`` at `scores`.
    classes : ndarray of shape (n_classes,)
        Classes from the lowest to the highest.
    group_scores : ndarray of shape (n_groups,) or None
        Mean linear predictors of groups of rows.
    group_shares : ndarray of shape (n_groups, n_classes - 1) or None
        Observed shares of rows of class k or below in the groups.

    Attributes
    ----------
    lines_ : list of matplotlib Line2D
        Curves.
    points_ : list of matplotlib Line2D
        Observed shares; empty without groups.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Axes and figure of the plot.

    See Also
    --------
    skorch_logreg.analysis.brant_test : Test of proportional odds.

    Examples
    --------
    >>> import numpy as np
    >>> from skorch_logreg import OrdinalLogisticClassifier
    >>> from skorch_logreg.displays import CumulativeProbabilityDisplay
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(500, 2))
    >>> y = np.digitize(X @ [1.0, -0.5] + rng.logistic(size=500), [-1.0, 1.0])
    >>> model = OrdinalLogisticClassifier().fit(X, y)
    >>> display = CumulativeProbabilityDisplay.from_estimator(model, X, y)
    >>> len(display.lines_), display.group_shares.shape
    (2, (10, 2))
    """

    scores: np.ndarray
    cumulative: np.ndarray
    classes: np.ndarray
    group_scores: np.ndarray | None = None
    group_shares: np.ndarray | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any = None,
        *,
        n_groups: int = 10,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot the curves of a fitted model over the scores of rows.

        Parameters
        ----------
        estimator : OrdinalLogisticClassifier, or a pipeline or search that ends with one
            Fitted model.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or None, default=None
            Their classes, for the observed shares; None: curves only.
        n_groups : int, default=10
            Number of groups of equally many rows, in the order of their scores.
        ax, **kwargs
            Axes to draw on, by default those of a new figure, and keyword arguments of
            `matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : CumulativeProbabilityDisplay
            The plotted display.

        Raises
        ------
        ParameterError
            If the model has no thresholds, or y holds other classes.
        """
        model = last_step(estimator)
        check_is_fitted(model)
        if not hasattr(model, "thresholds_"):
            raise ParameterError(
                f"{type(model).__name__} has no thresholds_; expected an OrdinalLogisticClassifier."
            )
        rows = model.linear_predictor(transform_before_last(estimator, X))
        found = to_dense_numpy(rows).astype(np.float64)
        thresholds = to_dense_numpy(model.thresholds_)
        every = np.concatenate([found, thresholds])
        grid = np.linspace(every.min(), every.max())
        cumulative = expit(thresholds - grid[:, None])
        classes = to_dense_numpy(model.classes_)
        groups: tuple[np.ndarray, ...] = ()
        if y is not None:
            known = {label: place for place, label in enumerate(classes.tolist())}
            labels = np.asarray(y).tolist()
            strange = [label for label in labels if label not in known]
            if strange:
                raise ParameterError(f"y holds {strange[0]!r}, but classes_ are {list(known)}.")
            index = np.array([known[label] for label in labels])
            parts = np.array_split(found.argsort(kind="stable"), min(n_groups, len(found)))
            is_below = index[:, None] <= np.arange(len(classes) - 1)
            groups = (
                np.array([found[part].mean() for part in parts]),
                np.array([is_below[part].mean(axis=0) for part in parts]),
            )
        return cls(grid, cumulative, classes, *groups).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the curves, and points of the observed shares.

        Parameters
        ----------
        ax, **kwargs
            Axes to draw on, by default those of a new figure, and keyword arguments of
            `matplotlib.axes.Axes.plot` for the curves.

        Returns
        -------
        display : CumulativeProbabilityDisplay
            This display.
        """
        ax = prepare_axes(self, ax)
        self.lines_, self.points_ = [], []
        for k, name in enumerate(shorten_labels(self.classes[:-1], 24)):
            style = {"label": f"P(y ≤ {name})"} | kwargs
            self.lines_ += ax.plot(self.scores, self.cumulative[:, k], **style)
            if self.group_scores is not None and self.group_shares is not None:
                style = {"color": self.lines_[-1].get_color(), "marker": "o", "linestyle": "none"}
                self.points_ += ax.plot(self.group_scores, self.group_shares[:, k], **style)
        ax.set(xlabel="linear predictor x w", ylabel="probability", ylim=(-0.02, 1.02))
        ax.legend(loc="best")
        return self
