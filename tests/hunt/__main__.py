"""Hunt for fits that break a promise: ``python -m tests.hunt --seconds 3600 --seed 0``.

One line a finding, with the command that shows it once more.
"""

import argparse
import time
from collections import Counter

from tests.hunt.draws import draw
from tests.hunt.laws import check


def hunt(first, n_fits, seconds):
    """Check problems one after another, and say what was found."""
    begin, counts, n_done = time.monotonic(), Counter(), 0
    while n_done < n_fits and time.monotonic() - begin < seconds:
        for finding in check(draw(first + n_done)):
            counts[finding.law] += 1
            print(finding, flush=True)
        n_done += 1
    print(f"{n_done} problems from seed {first}: {dict(counts) or 'nothing found'}")
    return not counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first problem")
    parser.add_argument("--fits", type=float, default=float("inf"), help="problems at most")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="time at most")
    given = parser.parse_args()
    raise SystemExit(not hunt(given.seed, given.fits, given.seconds))
