"""Show how long each peer takes to be how close to the minimum.

    python -m benchmarks.curves [--problem NAME ...] [--data FOLDER] [--peers TEXT ...]
                                [--output FILE.json] [--figure FILE.svg]
    python -m benchmarks.curves --draw FILE.json --figure FILE.svg

Without arguments: generated data and sets that come with scikit-learn, nothing is downloaded.
FOLDER holds one's own data, a file a problem: .npz (arrays X and y), .csv and .parquet (the column
`target`, or else the last, is y), .svmlight, .svm, .libsvm. OMP_NUM_THREADS sets everyone's
threads. What is printed for each problem, and kept in the result file:

    1e-3, 1e-6, 1e-9   seconds until (F - F*) / F* is as small in float64: the fastest setting whose
                       every run reaches it, median over runs; "-" where none does
    spread, runs       least and most seconds to 1e-6, in how many runs
    / ours             those seconds in units of ours
    cpu, passes        processor seconds of all threads; passes (two reads of X) where known
    peak               MB beyond what the process held before its first fit, data included
    import + ...       seconds of import, of converting X, and of a warm-up on 200 rows: apart
    note               why a peer did not take part, or what ended its climb
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks import folder, machine, picture
from benchmarks.peers import THREADS, named
from benchmarks.problems import PROBLEMS, Recipe
from benchmarks.race import TARGETS, Rules, field, race
from benchmarks.result import MAIN, seconds, seconds_of, title

DEFAULT = ("cancer", "digits", "tall", "square", "text", "lasso")
HEAD = ("peer", *(f"{t:g}" for t in TARGETS), "spread", "runs", "/ ours", "cpu", "passes")
HEAD += ("peak", "import + convert + warm-up", "note")


def table(result):
    """Lines of a table of one problem, the fastest first, those who refused in one line."""
    yield f"## {title(result)}"
    yield (
        f"F* = {result['minimum']:.10g}, known to {result['minimum_bound'] / result['minimum']:.0e}"
        f" by {', '.join(result['references'])}"
    )
    yield ""
    yield f"| {' | '.join(HEAD)} |"
    yield f"| {' | '.join(['---'] * len(HEAD))} |"
    ours = seconds(result, "ours")
    took_part = [entry for entry in result["peers"] if entry["ladder"] or entry["preparation"]]
    for entry in sorted(took_part, key=lambda e: seconds_of(e) or float("inf")):
        yield f"| {' | '.join(_cells(entry, ours))} |"
    yield ""
    others = [entry for entry in result["peers"] if entry not in took_part]
    yield from (f"{entry['name']}: {entry['note']}" for entry in others)
    yield ""


def _cells(entry, ours):
    reached, main = entry["reached"], entry["reached"][MAIN]
    times = [f"{found['seconds']:.3g}" if found else "-" for found in reached.values()]
    yield entry["name"]
    yield from times
    yield f"{main['fastest']:.3g} to {main['slowest']:.3g}" if main else "-"
    yield str(main["runs"]) if main else "-"
    yield f"{main['seconds'] / ours:.2f}" if main and ours else "-"
    yield f"{main['cpu']:.3g}" if main else "-"
    yield str(main["passes"]) if main and main["passes"] is not None else "-"
    yield f"{entry['peak'] / 1e6:.0f}" if entry["peak"] is not None else "-"
    costs = entry["preparation"]
    yield " + ".join(f"{cost:.2g}" for cost in costs.values()) if costs else "-"
    yield entry["note"]


def add_rules(parser, cap=8.0, rounds=3, prune=10.0):
    """Options that every race has."""
    parser.add_argument("--rounds", type=int, default=rounds, help="runs of each setting")
    parser.add_argument("--cap", type=float, default=cap, help="seconds of a peer's climb")
    parser.add_argument("--prune", type=float, default=prune, help="times the best: not repeated")


def write(path, peers, options, results):
    """Write the result file: machine, versions, options, results."""
    document = {
        "machine": machine.describe(peers, THREADS),
        "options": {key: what for key, what in vars(options).items() if what is not None},
        "problems": results,
    }
    path.write_text(json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8")


def main(arguments=None):
    """Race, print the tables, write the result and the figure; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = f"of {', '.join(PROBLEMS)}; by default {', '.join(DEFAULT)}"
    parser.add_argument("--problem", nargs="+", choices=PROBLEMS, metavar="NAME", help=names)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="one's own data")
    parser.add_argument("--scale", type=float, default=1.0, help="size of generated problems")
    parser.add_argument("--peers", nargs="+", default=[], metavar="TEXT", help="and ours")
    add_rules(parser)
    parser.add_argument("--output", type=Path, default=Path("curves.json"), metavar="FILE")
    parser.add_argument("--figure", type=Path, metavar="FILE")
    parser.add_argument("--draw", type=Path, metavar="FILE", help="draw an earlier result")
    options = parser.parse_args(arguments)
    if options.draw:
        results = json.loads(options.draw.read_text(encoding="utf-8"))["problems"]
    else:
        results = run(options)
    if options.figure:
        picture.curves(options.figure, results)
    return 0


def run(options):
    """Race on each problem in turn; the result file is complete after each."""
    own = folder.files(options.data) if options.data else []
    names = options.problem or ([] if own else DEFAULT)
    recipes = [Recipe(name, options.scale) for name in names]
    recipes += [Recipe(path.name, file=path) for path in own]
    rules = Rules(rounds=options.rounds, cap=options.cap, prune=options.prune)
    peers = named(options.peers)
    results = []
    with field([peer for peer in peers if peer.version]) as (contestants, references):
        print(f"not installed: {', '.join(p.name for p in peers if not p.version) or 'none'}\n")
        for recipe in recipes:
            results.append(race(recipe, contestants, references, rules))
            print("\n".join(table(results[-1])), flush=True)
            write(options.output, peers, options, results)
    return results


if __name__ == "__main__":
    sys.exit(main())
