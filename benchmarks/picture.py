"""The figures: transparent, in tones that can be read on light and on dark pages."""

import math
from statistics import median

from benchmarks.result import best_peer, seconds, title

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
    columns = min(3, len(results))
    rows = math.ceil(len(results) / columns)
    figure, panels = _canvas(rows, columns)
    for panel, result in zip(panels, results, strict=False):
        for entry in reversed(result["peers"]):  # ours on top
            _curve(panel, entry)
        panel.set(xscale="log", yscale="log", ylim=(FLOOR / 2, 2))
        panel.minorticks_off()
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
    looks = [{"color": colour, "linewidth": 2} for colour in LOOKS.values()]
    _finish(figure, path, dict(zip(names, looks, strict=True)))


def scaling(path, series, floors):
    """Draw seconds over size, log-log, a panel a direction, with the bandwidth's floor."""
    figure, panels = _canvas(1, len(series))
    looks = {}
    for panel, (name, lines), floor in zip(panels, series.items(), floors, strict=True):
        for peer, (library, sizes, times) in lines.items():
            same = [look for look in looks.values() if look["color"] == _colour(library)]
            looks.setdefault(peer, {
                "color": _colour(library), "linestyle": ("-", "--", ":")[len(same) % 3],
                "linewidth": 2.4 if peer == "ours" else 1.3,
            })  # fmt: skip
            panel.plot(sizes, times, marker="o", markersize=3, **looks[peer])
        panel.plot(*floor, color=INK, linewidth=0.8)
        panel.annotate("X read twice", (floor[0][-1], floor[1][-1]), (0, -4), fontsize=7,
                       textcoords="offset points", color=INK, ha="right", va="top")  # fmt: skip
        panel.set(xscale="log", yscale="log")
        panel.minorticks_off()
        panel.set_xlabel(name, color=INK, fontsize=8)
    panels[0].set_ylabel("seconds to 1e-6", color=INK, fontsize=8)
    _finish(figure, path, looks)


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
    for time, suboptimality in points:
        if suboptimality < best:
            best = suboptimality
            kept.append((time, max(best, FLOOR)))
    if kept:
        ours = entry["name"] == "ours"
        panel.plot(*zip(*kept, strict=True), color=_colour(entry["library"]),
                   linewidth=2.4 if ours else 1, marker="o" if ours or len(kept) == 1 else None,
                   markersize=4)  # fmt: skip


def _finish(figure, path, legend):
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], label=name, **look) for name, look in legend.items()]
    figure.legend(handles=handles, loc="outside lower center", fontsize=8, frameon=False,
                  ncols=int(figure.get_figwidth() // 2),
                  labelcolor=INK)  # fmt: skip
    undated = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, transparent=True, dpi=120, metadata=undated)
    plt.close(figure)
