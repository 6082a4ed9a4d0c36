"""Plot of precision, recall, F1 and cost by decision threshold."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.metrics import confusion_matrix_at_thresholds
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.validation import check_is_fitted

from skorch_logreg.displays.axes import (
    draw_legend_above,
    foreground_color,
    prepare_axes,
    shorten_labels,
)
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.indicator import check_label_names
from skorch_logreg.names import index_of
from skorch_logreg.pipelines import (
    check_classes,
    class_names,
    decision_threshold,
    is_multilabel,
    last_step,
    to_dense_numpy,
)


@dataclass(kw_only=True, eq=False, repr=False)
class ThresholdDisplay:
    """Precision, recall, F1 and cost as functions of the decision threshold.

    Parameters
    ----------
    thresholds : ndarray of shape (n_thresholds,)
        Distinct probabilities in ascending order. A row is predicted positive if its probability
        is at least the threshold.
    precision, recall, f1 : ndarray of shape (n_thresholds,)
        Scores at every threshold.
    cost : ndarray of shape (n_thresholds,) or None
        Mean cost of a row at every threshold.
    threshold : float or None
        Threshold to mark.
    name : str or None
        Name of the positive class or label.

    Attributes
    ----------
    lines_ : dict of str to matplotlib Line2D
        Lines, with keys "precision", "recall", "f1" and "cost".
    threshold_line_ : matplotlib Line2D or None
        Vertical line at the marked threshold.
    ax_, figure_ : matplotlib Axes, matplotlib Figure
        Axes and figure of the plot.
    ax_cost_ : matplotlib Axes or None
        Axes of the cost, with the scale on the right.

    See Also
    --------
    sklearn.metrics.PrecisionRecallDisplay : Precision against recall.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skorch_logreg import TorchLogisticClassifier
    >>> from skorch_logreg.displays import ThresholdDisplay
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = TorchLogisticClassifier(threshold=0.4).fit(scale(X), y)
    >>> display = ThresholdDisplay.from_estimator(
    ...     model, scale(X), y, cost_matrix=[[0, 5], [1, 0]]
    ... )
    >>> bool(0.4 < display.thresholds[display.cost.argmin()])
    True
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    cost: np.ndarray | None = None
    threshold: float | None = None
    name: str | None = None

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        label: Any = None,
        sample_weight: Any = None,
        cost_matrix: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot scores of a fitted classifier by threshold, and mark its own threshold.

        Parameters
        ----------
        estimator : fitted classifier, Pipeline or search
            Model of two classes, or of several labels.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, as for `predict_proba`.
        y : array-like of shape (n_samples,), or (n_samples, n_labels)
            Classes, or an indicator matrix, where nan is unknown and ignored.
        label : label, default=None
            Label to plot, if there are several.
        sample_weight : array-like of shape (n_samples,) or None
            Sample weights.
        cost_matrix : array-like of shape (2, 2) or None
            Costs by true class (row) and prediction (column); None plots no cost.
        ax, **kwargs
            Axes to draw on, by default those of a new figure, and keyword arguments of
            `matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.

        Raises
        ------
        ParameterError
            If there are more than two classes, no row is positive, y has unknown classes, or the
            label or the costs do not match the model.
        """
        check_is_fitted(estimator)
        probability = to_dense_numpy(estimator.predict_proba(X))
        target, names = to_dense_numpy(y), class_names(estimator)
        index, positive = None, names[-1]
        if is_multilabel(estimator):
            check_label_names(y, getattr(last_step(estimator), "label_names_", None))
            target = target.reshape(len(target), -1)
            if label is None and target.shape[1] > 1:
                raise ParameterError(
                    f"y has {target.shape[1]} labels, and one is drawn: name it by label=."
                )
            index = 0 if label is None else index_of(label, names, "label")
            positive = 1
            known = ~np.isnan(target[:, index].astype(np.float64))
            target, probability = target[known, index], probability[known, index]
            if sample_weight is not None:
                sample_weight = np.asarray(sample_weight)[known]
        else:
            if label is not None:
                raise ParameterError(f"label is {label!r}, but y has one column.")
            if probability.shape[1] != 2:
                raise ParameterError(
                    f"{type(last_step(estimator)).__name__} has {probability.shape[1]} classes; a "
                    "threshold is of two."
                )
            check_classes(target, to_dense_numpy(estimator.classes_))
            probability = probability[:, 1]
        return cls.from_predictions(
            target,
            probability,
            pos_label=positive,
            sample_weight=sample_weight,
            cost_matrix=cost_matrix,
            threshold=decision_threshold(estimator, index),
            name=str(names[-1 if index is None else index]),
            ax=ax,
            **kwargs,
        )

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_prob: Any,
        *,
        pos_label: Any = 1,
        sample_weight: Any = None,
        cost_matrix: Any = None,
        threshold: float | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Plot scores of predicted probabilities by threshold.

        Parameters
        ----------
        y_true : array-like of shape (n_samples,)
            True labels; all except `pos_label` are negative.
        y_prob : array-like of shape (n_samples,)
            Predicted probabilities of `pos_label`.
        pos_label : class, default=1
            Positive class.
        sample_weight, cost_matrix, ax, **kwargs
            As in `from_estimator`.
        threshold : float or None
            Threshold to mark.
        name : str or None
            Name of the positive class or label.

        Returns
        -------
        display : ThresholdDisplay
            The plotted display.
        """
        positive = column_or_1d(to_dense_numpy(y_true)) == pos_label
        probability = column_or_1d(to_dense_numpy(y_prob))
        check_consistent_length(positive, probability)
        weight = 1.0 if sample_weight is None else to_dense_numpy(sample_weight)
        if not (positive & (weight > 0)).any():
            raise ParameterError(
                f"y holds no row of the positive class, {pos_label!r}, with a positive weight: "
                "there is nothing to recall."
            )
        tn, fp, fn, tp, thresholds = (
            counts[::-1]  # ascending
            for counts in confusion_matrix_at_thresholds(
                positive, probability, pos_label=True, sample_weight=sample_weight
            )
        )
        cost = None
        if cost_matrix is not None:
            costs = np.asarray(cost_matrix, dtype=np.float64)
            if costs.shape != (2, 2) or not np.isfinite(costs).all():
                raise ParameterError(
                    f"cost_matrix is {cost_matrix!r}; expected shape (2, 2), finite: cost by "
                    "class and prediction."
                )
            cells = np.array([[tn, fp], [fn, tp]])
            cost = np.einsum("ij,ijt->t", costs, cells) / cells.sum(axis=(0, 1))
        display = cls(
            thresholds=thresholds,
            precision=tp / (tp + fp),
            recall=tp / (tp + fn),
            f1=2 * tp / (2 * tp + fp + fn),
            cost=cost,
            threshold=threshold,
            name=name,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Plot the visualization with the parameters of `from_estimator`; return the display."""
        ax = prepare_axes(self, ax)
        # a row is positive for all thresholds up to its probability: steps extend to the left
        style = {"drawstyle": "steps-pre", **kwargs}
        curves = {"precision": self.precision, "recall": self.recall, "f1": self.f1}
        # below the smallest probability all rows are positive, as at that probability
        x = np.r_[min(0.0, self.thresholds[0]), self.thresholds]
        self.lines_ = {
            key: ax.plot(x, np.r_[values[0], values], label=key.capitalize(), **style)[0]
            for key, values in curves.items()
        }
        self.ax_cost_ = None
        if self.cost is not None:
            self.ax_cost_ = ax.twinx()
            style = {"color": f"C{len(curves)}", "linestyle": "--", "label": "Cost", **style}
            (line,) = self.ax_cost_.plot(x, np.r_[self.cost[0], self.cost], **style)
            self.lines_["cost"] = line
            self.ax_cost_.set_ylabel("mean cost of a row")
        handles = list(self.lines_.values())
        self.threshold_line_ = None
        if self.threshold is not None:
            style = {"color": foreground_color(ax), "linestyle": ":"}
            label = f"threshold = {self.threshold:.3g}"
            self.threshold_line_ = ax.axvline(self.threshold, label=label, **style)
            handles.append(self.threshold_line_)
        of = "" if self.name is None else f" of {shorten_labels([self.name])[0]!r}"
        ax.set(xlim=(0, 1), ylim=(-0.02, 1.02), ylabel="precision, recall, F1")
        ax.set_xlabel(f"threshold on the probability{of}")
        draw_legend_above(ax, handles, ncols=len(handles))
        return self
