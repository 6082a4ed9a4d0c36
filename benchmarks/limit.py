"""Show how near to the memory's limit a fit of many rows is, in float64 and in float32.

    python -m benchmarks.limit [--scale 1.0] [--output FILE.json]

The same numbers, stored as float32 and as float64, fitted in turns. For each target: seconds,
passes over X, and bytes read by them (two reads a pass) over the seconds, as a share of the
bandwidth that a plain sum reaches in the same run; `a pass more` is what the settings of the
ladder that take more passes add, which leaves out what a fit does once.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import machine, race
from benchmarks.curves import add_rules, write
from benchmarks.peers import Ours
from benchmarks.problems import Recipe
from benchmarks.result import MAIN

PROBLEMS = ("tall-float32", "tall100-float32")


@dataclass(frozen=True)
class In(Ours):
    """As `Ours`, C as it is, on X in a type."""

    dtype: str = "float64"

    def convert(self, problem):
        """Cast."""
        return problem.X.astype(self.dtype), problem.y


def bytes_read(shape, dtype, passes):
    """Bytes that so many passes read."""
    return 2 * passes * shape[0] * shape[1] * np.dtype(dtype).itemsize


def pass_seconds(entry):
    """Seconds that a pass more takes: the slope over the ladder; nan where it has one number."""
    passes = [step["passes"] for step in entry["ladder"]]
    if len(set(passes)) < 2:
        return float("nan")
    return float(np.polyfit(passes, [median(step["seconds"]) for step in entry["ladder"]], 1)[0])


def main(arguments=None):
    """Race, print and write; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_rules(parser, cap=20.0, rounds=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of the rows")
    parser.add_argument("--output", type=Path, default=Path("limit.json"), metavar="FILE")
    options = parser.parse_args(arguments)
    rules = race.Rules(rounds=options.rounds, cap=options.cap, prune=options.prune)
    peers = [In(label="ours"), In(label="float32", dtype="float32")]
    bandwidth = machine.read_bandwidth()
    print(f"a sum reads {bandwidth / 1e9:.3g} GB/s\n")
    print("| X | dtype | target | seconds | passes | GB/s | share | a pass more |")
    print("| --- " * 8 + "|")
    results = []
    with race.field(peers) as (contestants, references):
        for name in PROBLEMS:
            recipe = Recipe(name, options.scale)
            result = race.race(recipe, contestants, references, rules) | {"bandwidth": bandwidth}
            results.append(result)
            for peer, entry in zip(peers, result["peers"], strict=True):
                _print(result["shape"], peer.dtype, entry, bandwidth)
            double, single = (e["reached"][MAIN] for e in result["peers"])
            if double and single:
                print(f"float64 / float32 to 1e-6: {double['seconds'] / single['seconds']:.2f}\n")
            write(options.output, peers, options, results)
    return 0


def _print(shape, dtype, entry, bandwidth):
    more = pass_seconds(entry)
    share = bytes_read(shape, dtype, 1) / more / bandwidth
    for target, found in entry["reached"].items():
        cells = [f"{shape[0]} x {shape[1]}", dtype, target]
        if found:
            rate = bytes_read(shape, dtype, found["passes"]) / found["seconds"]
            cells += [f"{found['seconds']:.3g}", str(found["passes"]), f"{rate / 1e9:.3g}"]
            cells += [f"{rate / bandwidth:.0%}", f"{more:.3g} s, {share:.0%}"]
        else:
            cells += ["-"] * 5
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
