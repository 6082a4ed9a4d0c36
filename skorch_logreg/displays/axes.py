"""Axes to draw on, and colours that are seen on light and dark ones."""

from typing import Any

__all__ = ["foreground_color", "prepare_axes"]


def prepare_axes(display: Any, ax: Any, size: tuple[float, float] | None = None) -> Any:
    """Give the display's axes and figure, new ones where none are given.

    Parameters
    ----------
    display : object
        Gets ``ax_`` and ``figure_``.
    ax : matplotlib Axes or None
    size : (width, height) or None
        Inches of a new figure; None: matplotlib's default.

    Raises
    ------
    ImportError
        If matplotlib is missing: with the command that installs it.
    """
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__}.plot needs matplotlib; "
            'install it by: pip install "skorch-logreg[plots]"'
        ) from error
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    display.ax_, display.figure_ = ax, ax.figure
    return ax


def foreground_color(ax: Any) -> Any:
    """Colour of the axes' own frame, which is seen on their background."""
    return ax.spines["left"].get_edgecolor()
