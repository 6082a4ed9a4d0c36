"""Axes, colours and labels of displays, for light and dark backgrounds."""

from collections.abc import Iterable
from typing import Any

from skorch_logreg.names import shorten


def prepare_axes(display: Any, ax: Any, size: tuple[float, float] | None = None) -> Any:
    """Set ``ax_`` and ``figure_`` of a display, and return the axes.

    Without axes a new figure is created, of a size in inches or of matplotlib's default. The
    message of an ImportError contains the command that installs matplotlib.
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


def n_colors() -> int:
    """Return the number of colours that matplotlib uses in turn."""
    from matplotlib import rcParams

    return len(rcParams["axes.prop_cycle"])


def foreground_color(ax: Any) -> Any:
    """Return the colour of the axes' frame, which is visible on their background."""
    return ax.spines["left"].get_edgecolor()


def set_log_axis(ax: Any, name: str) -> None:
    """Label a logarithmic horizontal axis; one of few decades also at 2 and 5."""

    def minor_label(value: float, position: int) -> str:
        low, high = sorted(ax.get_xlim())
        return f"{value:g}" if high < 300 * low else ""  # more would overlap

    ax.set_xscale("log", subs=[2, 5])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(minor_label)
    ax.set_xlabel(name)


def draw_legend_above(ax: Any, handles: Any, ncols: int) -> None:
    """Draw a legend above the axes, where it hides nothing."""
    style = {"fontsize": "small", "frameon": False, "columnspacing": 1, "handlelength": 1.5}
    ax.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=ncols, **style)


def shorten_labels(names: Iterable[Any], longest: int = 32) -> list[str]:
    """Replace the middle of long names by an ellipsis; names often differ at their end."""
    # matplotlib interprets an unescaped dollar as the start of a formula
    return [text.replace("$", r"\$") for text in shorten(names, longest)]
