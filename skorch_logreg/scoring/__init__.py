"""Scores of held-out rows from logits, however the models were fitted."""

from skorch_logreg.scoring.fast import FAST_METRICS, fast_scores, metric_name
from skorch_logreg.scoring.fold_rows import FoldRows
from skorch_logreg.scoring.held_out import HeldOutScorer

__all__ = ["FAST_METRICS", "FoldRows", "HeldOutScorer", "fast_scores", "metric_name"]
