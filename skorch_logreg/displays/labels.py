"""Shortening and spacing of text labels."""

import numpy as np
from sklearn.isotonic import isotonic_regression


def shorten_label(name: object, longest: int = 32) -> str:
    """Replace the middle of a long name by an ellipsis; names often differ at their end."""
    # matplotlib interprets an unescaped dollar as the start of a formula
    text = str(name)
    if len(text) > longest:
        head = longest // 4
        text = f"{text[:head]}…{text[len(text) - (longest - head - 1) :]}"
    return text.replace("$", r"\$")


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
