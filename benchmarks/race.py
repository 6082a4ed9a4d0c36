"""How long does each peer take to a suboptimality? The one measurement behind the pictures.

A peer climbs its ladder of settings, from loose to tight, until `F - F*` is below the last target
or its seconds are spent; then everyone repeats his ladder in turns. The time to a target is the
shortest median over the settings whose *worst* run reached it. F* is the lowest value that
anybody found, tight fits of several solvers among them, with a rigorous bound on its own error.
"""

from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.peers import PEERS
from benchmarks.racing import ExpiredError, FailedError, Seat
from benchmarks.timing import seated

TARGETS = (1e-3, 1e-6, 1e-9)
TIGHT = 1e-10  # tolerance of the reference fits
ROUNDING = 1e-15  # relative, of the judge's own sums
REFERENCES = ("ours", *(f"scikit-learn {s}" for s in ("newton-cholesky", "newton-cg")), "skglm")
N_REFERENCES = 2  # of those that take the problem


@dataclass(frozen=True)
class Rules:
    """How long and how often.

    Attributes
    ----------
    targets : tuple of float
        Relative suboptimalities; the last one ends a ladder.
    rounds : int
        Runs of each setting, the climb included.
    cap : float
        Seconds of a peer's climb.
    prune : float
        Who took so many times as long as the best to the target `prune_at` is not repeated.
    """

    targets: tuple[float, ...] = TARGETS
    prune_at: float = 1e-6
    rounds: int = 3
    cap: float = 8.0
    prune: float = 10.0


@contextmanager
def field(peers, sit=Seat):
    """Contestants for some peers, and those who find the minima, whether they take part or not."""
    others = [peer for peer in PEERS if peer.name in REFERENCES and peer not in peers]
    with seated([*peers, *others], sit) as everyone:
        yield everyone[: len(peers)], [c for c in everyone if c.peer.name in REFERENCES]


def race(recipe, contestants, references, rules):
    """Let contestants solve a problem; return what a result file holds of it.

    Parameters
    ----------
    recipe : Recipe or Shape
    contestants, references : list of Contestant
        As `field` gives them.
    rules : Rules
    """
    problem = recipe.make()
    refusals = [contestant.peer.refuses(problem) for contestant in contestants]
    references = [c for c in references if not c.peer.refuses(problem)][:N_REFERENCES]
    described = problem.describe()
    del problem
    known = minimum(recipe, references, rules)
    entries = [_Entry(c, refused) for c, refused in zip(contestants, refusals, strict=True)]
    for entry in entries:
        if not entry.note:
            entry.climb(recipe, known["value"], rules)
    lowest = min([known["value"], *(run["value"] for e in entries for run in e.runs())])
    _repeat([entry for entry in entries if entry.ladder], lowest, rules)
    lowest = min([lowest, *(run["value"] for e in entries for run in e.runs())])
    return {
        **described,
        "minimum": lowest,
        "minimum_bound": max(known["bound"] - (known["value"] - lowest), ROUNDING * abs(lowest)),
        "references": known["references"],
        "peers": [entry.record(lowest, rules.targets) for entry in entries],
    }


def minimum(recipe, references, rules):
    """Lowest value of tight reference fits, and how far it can be from the minimum."""
    found = {}
    for contestant in references:
        try:
            contestant.prepare(recipe)
            run = contestant.solve(TIGHT, max(10 * rules.cap, 60), certify=True)
        except (ExpiredError, FailedError) as failure:
            found[contestant.peer.name] = {"note": _words(failure, "reference")}
        else:
            kept = {key: run[key] for key in ("value", "bound", "seconds")}
            found[contestant.peer.name] = kept
    solved = [run for run in found.values() if "value" in run]
    if not solved:
        raise RuntimeError(f"No reference solver solves {recipe.name}: {found}.")
    value = min(run["value"] for run in solved)
    # F* lies above every lower bound
    above = max(run["value"] - run["bound"] for run in solved)
    return {"value": value, "bound": max(value - above, 0.0), "references": found}


def _words(failure, what):
    if isinstance(failure, ExpiredError):
        return f"{what}: stopped, out of time"
    return f"{what}: {failure}"


class _Entry:
    """A contestant's runs on one problem: a list for each of its settings."""

    def __init__(self, contestant, refused):
        self.contestant = contestant
        self.note = refused or ""
        self.preparation = None
        self.ladder = {}

    def runs(self):
        return [run for runs in self.ladder.values() for run in runs]

    def climb(self, recipe, value, rules):
        """Fit with tighter and tighter settings."""
        left = rules.cap
        goal = value + rules.targets[-1] * abs(value)
        try:
            self.preparation = self.contestant.prepare(recipe)
            for setting in self.contestant.peer.settings:
                run = self.contestant.solve(setting, left)
                self.ladder[setting] = [run]
                left -= run["seconds"]
                if run["value"] <= goal:
                    return
                if left <= 0:
                    raise ExpiredError
            self.note = "no setting reaches the last target"
        except (ExpiredError, FailedError) as failure:
            self.note = _words(failure, "climb")

    def repeat(self, rules):
        """Run the ladder once more."""
        try:
            for setting, runs in self.ladder.items():
                runs.append(self.contestant.solve(setting, 10 * rules.cap))
        except (ExpiredError, FailedError) as failure:
            self.note = _words(failure, "repeat")

    def seconds_to(self, target, lowest):
        """Fastest setting whose worst run reaches a target, and its runs; None if none does."""
        reached = {
            setting: runs
            for setting, runs in self.ladder.items()
            if max(suboptimality(run, lowest) for run in runs) <= target
        }
        if not reached:
            return None
        return min(reached.items(), key=lambda item: median(run["seconds"] for run in item[1]))

    def record(self, lowest, targets):
        peaks = [run["peak"] for run in self.runs() if run["peak"] is not None]
        reached = {}
        for target in targets:
            found = self.seconds_to(target, lowest)
            reached[f"{target:g}"] = found and _summary(*found)
        return {
            "name": self.contestant.peer.name,
            "library": self.contestant.peer.distribution,
            "note": self.note,
            "preparation": self.preparation,
            "setting": self.contestant.peer.setting,
            "peak": max(peaks, default=None),
            "reached": reached,
            "ladder": [
                {
                    "setting": setting,
                    "passes": runs[0]["passes"],
                    "seconds": [run["seconds"] for run in runs],
                    "cpu": [run["cpu"] for run in runs],
                    "suboptimality": [suboptimality(run, lowest) for run in runs],
                }
                for setting, runs in self.ladder.items()
            ],
        }


def suboptimality(run, lowest):
    """Relative distance to the minimum; infinite where the answer is not finite."""
    excess = (run["value"] - lowest) / abs(lowest)
    return excess if excess < float("inf") else float("inf")


def _summary(setting, runs):
    seconds = [run["seconds"] for run in runs]
    return {
        "setting": setting,
        "seconds": median(seconds),
        "fastest": min(seconds),
        "slowest": max(seconds),
        "runs": len(seconds),
        "cpu": median(run["cpu"] for run in runs),
        "passes": runs[0]["passes"],
    }


def _repeat(entries, lowest, rules):
    """Let all who are not far behind repeat their ladders in turns."""
    times = {}
    for entry in entries:
        found = entry.seconds_to(rules.prune_at, lowest)
        if found:
            times[entry] = found[1][0]["seconds"]
    limit = rules.prune * min(times.values(), default=0.0)
    turn = [entry for entry in entries if times.get(entry, float("inf")) <= limit]
    for entry in entries:
        if entry not in turn:
            entry.contestant.close()
    for _ in range(rules.rounds - 1):
        for entry in turn:
            entry.repeat(rules)
        turn = turn[1:] + turn[:1]
