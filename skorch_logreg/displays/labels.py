"""Labels that stay readable: short enough, and apart from one another."""

import numpy as np
from sklearn.isotonic import isotonic_regression

__all__ = ["shorten_label", "spread_positions"]

_MAX_LABEL_LENGTH = 32  # characters


def shorten_label(name: object, longest: int = _MAX_LABEL_LENGTH) -> str:
    """Leave out the middle of a long name: what tells names apart is often at their end."""
    # a dollar would begin a formula
    text = str(name)
    if len(text) > longest:
        head = longest // 4
        text = f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"
    return text.replace("$", r"\$")


def spread_positions(heights: np.ndarray, gap: float, low: float, high: float) -> np.ndarray:
    """Move heights as little as possible, in squares, until they are a gap apart.

    With ``i * gap`` taken from the i-th from below, to be a gap apart is to be in order: an
    isotonic regression.

    Parameters
    ----------
    heights : ndarray of shape (n,)
        In any order.
    gap : float
        At most ``(high - low) / (n - 1)``.
    low, high : float
        Bounds of the heights returned.

    Returns
    -------
    moved : ndarray of shape (n,)
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
