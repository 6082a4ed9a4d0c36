"""Show how the time to 1e-6 grows with the rows and with the columns.

    python -m benchmarks.scaling [--memory GB] [--peers TEXT ...] [--output FILE.json]
                                 [--figure FILE.svg]

Dense float64 data: 1e3 to 1e7 rows of 20 columns, 10 to 1e4 columns of 10,000 rows. Ours against
the peers that lead there; sizes of X beyond `--memory` (GB, 0.25 by default; 2 for all) are left
out, and so is a peer from the size on at which his seconds were spent. `floor` is the time in
which the machine reads X twice, which any gradient has to, at the bandwidth measured in this run.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import machine, picture, race
from benchmarks.curves import add_rules, write
from benchmarks.peers import named
from benchmarks.problems import Shape
from benchmarks.result import MAIN, best_peer, seconds

DIRECTIONS = {
    "rows, of 20 columns": [Shape(10**k, 20) for k in range(3, 8)],
    "columns, of 10,000 rows": [Shape(10_000, p) for p in (10, 30, 100, 300, 1000, 3000, 10_000)],
}
LEADERS = ("scikit-learn lbfgs", "scikit-learn newton-chol", "intelex lbfgs", "torch L-BFGS")


def floor_seconds(shape: Shape, bandwidth: float) -> float:
    """Seconds that two reads of X take."""
    return 2 * 8 * shape.n_samples * shape.n_features / bandwidth


def climb(shapes, contestants, references, rules, bandwidth):
    """Race from the smallest size to the largest; a result a size."""
    taking_part, results = list(contestants), []
    for shape in shapes:
        result = race.race(shape, taking_part, references[:1], rules)
        result["floor"] = floor_seconds(shape, bandwidth)
        results.append(result)
        reached = {c.peer.name for c in taking_part if seconds(result, c.peer.name)}
        for contestant in taking_part:
            if contestant.peer.name not in reached:
                contestant.close()
        taking_part = [c for c in taking_part if c.peer.name in reached]
        print(_line(shape, result), flush=True)
    return results


def _line(shape, result):
    ours, best = seconds(result, "ours"), best_peer(result)
    (entry,) = (entry for entry in result["peers"] if entry["name"] == "ours")
    passes = entry["reached"][MAIN]["passes"] if ours else "-"
    cells = [shape.name, f"{ours:.3g}" if ours else "-", str(passes), f"{result['floor']:.2g}"]
    cells += [f"{ours / result['floor']:.3g}" if ours else "-"]
    cells += [best[0], f"{best[1]:.3g}"] if best else ["-", "-"]
    cells += [f"{best[1] / ours:.2f}" if best and ours else "-"]
    return f"| {' | '.join(cells)} |"


def lines(results):
    """Sizes and seconds of each peer, for the figure."""
    found = {}
    for result in results:
        for entry in result["peers"]:
            reached = entry["reached"][MAIN]
            if reached:
                _, sizes, times = found.setdefault(entry["name"], (entry["library"], [], []))
                sizes.append(result["shape"])
                times.append(reached["seconds"])
    return found


def main(arguments=None):
    """Race, print, write and draw; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peers", nargs="+", default=LEADERS, metavar="TEXT", help="and ours")
    add_rules(parser, cap=20.0, prune=30.0)
    parser.add_argument("--memory", type=float, default=0.25, metavar="GB", help="of X")
    parser.add_argument("--output", type=Path, default=Path("scaling.json"), metavar="FILE")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw an earlier result")
    options = parser.parse_args(arguments)
    if options.draw:
        results = json.loads(options.draw.read_text(encoding="utf-8"))["problems"]
    else:
        results = run(options)
    if options.figure:
        drawn = {
            name: {peer: (library, [s[place] for s in sizes], times)
                   for peer, (library, sizes, times) in lines(results[name]).items()}
            for place, name in enumerate(DIRECTIONS)
        }  # fmt: skip
        floors = [
            ([r["shape"][place] for r in results[name]], [r["floor"] for r in results[name]])
            for place, name in enumerate(DIRECTIONS)
        ]
        picture.scaling(options.figure, drawn, floors)
    return 0


def run(options):
    """Race in both directions."""
    rules = race.Rules((1e-6,), rounds=options.rounds, cap=options.cap, prune=options.prune)
    peers = [peer for peer in named(options.peers) if peer.version]
    bandwidth = machine.read_bandwidth()
    print(f"reads {bandwidth / 1e9:.3g} GB/s; floor: two reads of X\n")
    results = {}
    with race.field(peers) as (contestants, references):
        for name, shapes in DIRECTIONS.items():
            fitting = [s for s in shapes if 8 * s.n_samples * s.n_features <= options.memory * 1e9]
            print(f"### {name}\n")
            print("| X | ours, s | passes | floor, s | ours / floor | best peer | s | ratio |")
            print("| --- " * 8 + "|")
            results[name] = climb(fitting, contestants, references, rules, bandwidth)
            print()
            write(options.output, peers, options, results)
    return results


if __name__ == "__main__":
    sys.exit(main())
