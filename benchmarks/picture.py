"""The figures: transparent, in tones that can be read on light and on dark pages."""

import math
from statistics import median

INK = "#808080"
OURS = "#e8590c"
LOOKS = {  # library: colour; the others share the last one
    "skorch-logreg": OURS,
    "scikit-learn": "#3b8eea",
    "scikit-learn-intelex": "#12a594",
    "torch": "#b05cc6",
    "others": "#9a9a9a",
}
FLOOR = 1e-12  # a suboptimality below is rounding


def curves(path, results):
    """Draw suboptimality over seconds, a panel a problem."""
    from matplotlib.ticker import NullFormatter

    from benchmarks.curves import best_peer, seconds, title

    columns = min(3, len(results))
    rows = math.ceil(len(results) / columns)
    figure, panels = _canvas(rows, columns)
    for panel, result in zip(panels, results, strict=False):
        for entry in reversed(result["peers"]):  # ours on top
            _curve(panel, entry)
        panel.set(xscale="log", yscale="log", ylim=(FLOOR / 2, 2))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.axhline(1e-6, color=INK, linewidth=0.6, linestyle=":")
        text, best, ours = title(result).split(",")[0], best_peer(result), seconds(result, "ours")
        if best and ours:
            text += f"\n{best[0]}: {best[1] / ours:.3g} x ours to 1e-6"
        panel.set_title(text, loc="left", fontsize=9, color=INK)
    for panel in panels[len(results) :]:
        panel.set_axis_off()
    for panel in panels[-columns:]:
        panel.set_xlabel("seconds", color=INK, fontsize=8)
    for panel in panels[::columns]:
        panel.set_ylabel("(F - F*) / F*", color=INK, fontsize=8)
    names = ("ours", "scikit-learn, each solver", "scikit-learn-intelex", "torch L-BFGS", "others")
    _finish(figure, path, zip(names, LOOKS.values(), strict=True))


def scaling(path, series, floors):
    """Draw seconds over size, log-log, a panel a direction, with the bandwidth's floor."""
    figure, panels = _canvas(1, len(series))
    for panel, (name, lines), floor in zip(panels, series.items(), floors, strict=True):
        for peer, (library, sizes, times) in lines.items():
            ours = peer == "ours"
            panel.plot(sizes, times, color=_colour(library), linewidth=2.4 if ours else 1.2,
                       marker="o", markersize=3, zorder=3 if ours else 2)  # fmt: skip
            panel.annotate(peer, (sizes[-1], times[-1]), (4, 0), textcoords="offset points",
                           fontsize=7, color=_colour(library), va="center")  # fmt: skip
        panel.plot(*floor, color=INK, linestyle="--", linewidth=1)
        panel.annotate("X read twice", (floor[0][-1], floor[1][-1]), (4, 0), fontsize=7,
                       textcoords="offset points", color=INK, va="center")  # fmt: skip
        panel.set(xscale="log", yscale="log")
        panel.set_title(name, loc="left", fontsize=9, color=INK)
        panel.set_xlim(right=panel.get_xlim()[1] ** 1.2)
    figure.supylabel("seconds to 1e-6", color=INK, fontsize=9)
    _finish(figure, path, [])


def _canvas(rows, columns):
    import matplotlib as mpl

    mpl.use("agg")
    mpl.rcParams["svg.fonttype"] = "none"  # text stays text, and the file small
    mpl.rcParams["svg.hashsalt"] = "fixed"  # the same picture is the same file
    from matplotlib import pyplot as plt

    size = (3.4 * columns, 2.5 * rows + 0.4)
    figure, panels = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for panel in panels.flat:
        panel.tick_params(which="both", colors=INK, labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["bottom", "left"]].set_color(INK)
        panel.patch.set_alpha(0)
        panel.grid(color=INK, alpha=0.2, linewidth=0.5)
    return figure, panels.ravel()


def _colour(library):
    return LOOKS.get(library, LOOKS["others"])


def _curve(panel, entry):
    """Draw the points of a ladder that are better than all sooner ones."""
    points = sorted((median(p["seconds"]), max(p["suboptimality"])) for p in entry["ladder"])
    best, kept = math.inf, []
    for seconds, suboptimality in points:
        if suboptimality < best:
            best = suboptimality
            kept.append((seconds, max(best, FLOOR)))
    if kept:
        ours = entry["name"] == "ours"
        panel.plot(*zip(*kept, strict=True), color=_colour(entry["library"]),
                   linewidth=2.4 if ours else 1, marker="o",
                   markersize=4 if ours else 2)  # fmt: skip


def _finish(figure, path, legend):
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=c, linewidth=2, label=name) for name, c in legend]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8,
                      frameon=False, labelcolor=INK)  # fmt: skip
    undated = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, transparent=True, dpi=120, metadata=undated)
    plt.close(figure)
