"""Axes of displays, and a foreground colour for light and dark backgrounds."""

from typing import Any

__all__ = ["foreground_color", "prepare_axes"]


def prepare_axes(display: Any, ax: Any, size: tuple[float, float] | None = None) -> Any:
    """Set the axes and figure of a display, and create them if necessary.

    Parameters
    ----------
    display : object
        Display whose attributes ``ax_`` and ``figure_`` are set.
    ax : matplotlib Axes or None
        Axes to draw on; None creates a new figure.
    size : (width, height) or None
        Size of a new figure in inches; None is matplotlib's default.

    Returns
    -------
    ax : matplotlib Axes
        Axes to draw on.

    Raises
    ------
    ImportError
        If matplotlib is missing. The message contains the command that installs it.
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
    """Return the colour of the axes' frame, which is visible on their background."""
    return ax.spines["left"].get_edgecolor()
