"""A contestant in a process of its own, and what each of its fits costs.

The clock runs while `Peer.solve` does. What comes before (import, conversion, a first fit on 200
rows that loads and compiles) and what comes after (the judge's float64 objective) is apart.
"""

import contextlib
import gc
import importlib
import os
import sys
import time
import warnings

from benchmarks import judge, machine
from benchmarks.racing import ExpiredError, FailedError, Seat

WARM_UP_ROWS = 200
PREPARATION_LIMIT = 300.0  # seconds


class Here:
    """What a `Seat` is, in this process: it starts at once, and cannot be stopped."""

    def __init__(self, make, *arguments):
        self._answer = make(*arguments)

    def ask(self, *request, limit=None):
        """Return the two parts of an answer."""
        try:
            first, second = self._answer(*request)
        except Exception as failure:
            raise FailedError(f"{type(failure).__name__}: {failure}") from None
        return first, second

    def close(self):
        """Let go of the problem."""
        self._answer = None


class Contestant:
    """A peer in a process of its own, which is started anew where it had to be stopped.

    `sit` is `Here` for one in this process.
    """

    def __init__(self, peer, sit=Seat):
        self.peer = peer
        self._sit = sit
        self.recipe = None
        self._seat = None
        self._loaded = None
        self._costs = None

    def prepare(self, recipe):
        """Load a problem and warm up; return the seconds of import, conversion and warm-up.

        Raises
        ------
        ExpiredError, FailedError
            If that takes minutes, or the library raises.
        """
        self.recipe = recipe
        self._ready()
        return self._costs

    def _ready(self):
        if self._seat is None:
            self._seat = self._sit(desk if self._sit is Here else silent_desk, self.peer)
            self._loaded = None
        if self._loaded != self.recipe:
            self._costs = self._ask("prepare", self.recipe, limit=PREPARATION_LIMIT)[0]
            self._loaded = self.recipe

    def solve(self, setting, limit, certify=False):
        """Fit once within so many seconds; return costs, objective, and a bound if asked for.

        Raises
        ------
        ExpiredError, FailedError
            If it takes longer, or the library raises.
        """
        self._ready()
        costs, judged = self._ask("solve", setting, certify, limit=limit)
        return costs | judged

    def _ask(self, *request, limit):
        try:
            return self._seat.ask(*request, limit=limit)
        except (ExpiredError, FailedError):
            self._seat = None
            raise

    def close(self):
        """End the process."""
        if self._seat is not None:
            self._seat.close()
            self._seat = None


def silent_desk(peer):
    """Answer what a `Contestant` asks, in a process that prints nothing."""
    warnings.simplefilter("ignore")
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)  # compiled libraries print
    os.dup2(silence, 2)
    return desk(peer)


def desk(peer):
    """Answer what a `Contestant` asks: a generator's two parts a request."""
    start = time.perf_counter()
    importlib.import_module(peer.library)
    import_seconds = time.perf_counter() - start
    problem = X = y = None

    def answer(what, *arguments):
        nonlocal problem, X, y
        if what == "prepare":
            (recipe,) = arguments
            problem = X = y = None
            gc.collect()
            problem = recipe.make()
            (X, y), convert = _timed(peer.convert, problem)
            head = problem.head(WARM_UP_ROWS)
            _, warm_up = _timed(lambda: peer.solve(*peer.convert(head), head, peer.settings[0]))
            yield {"import": import_seconds, "convert": convert, "warm_up": warm_up}
            yield None
        else:
            setting, certify = arguments
            before = machine.resident_bytes() if machine.forget_peak() else None
            cpu = time.process_time()
            found, seconds = _timed(peer.solve, X, y, problem, setting)
            cpu = time.process_time() - cpu
            peak = None if before is None else machine.peak_bytes() - before
            yield {"seconds": seconds, "cpu": cpu, "peak": peak, "passes": found.passes}
            judged = {"value": judge.value(problem, found.coef, found.intercept)}
            if certify:
                judged["bound"] = judge.bound(problem, found.coef, found.intercept)
            yield judged

    return answer


def _timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - start


@contextlib.contextmanager
def seated(peers, sit=Seat):
    """Contestants for some peers, ended at the end."""
    contestants = [Contestant(peer, sit) for peer in peers]
    try:
        yield contestants
    finally:
        for contestant in contestants:
            contestant.close()
