"""A process of its own for whoever is timed, which can be stopped at any moment.

`Seat(make, *arguments)` starts a process and calls ``make(*arguments)`` there; what that returns
is called with the arguments of `seat.ask`. It answers by a generator: what it yields first is
waited for under a limit, what follows (judging) is not. Not a benchmark by itself.
"""

import contextlib
import multiprocessing
import os
import signal
import time

START_LIMIT = 600.0


class ExpiredError(Exception):
    """An answer took longer than it was given."""


class FailedError(Exception):
    """The process raised; the text says what."""


def _serve(connection, make, arguments):
    if hasattr(os, "setsid"):
        os.setsid()  # so that its own workers end with it
    os.environ["PYTHONWARNINGS"] = "ignore"  # of its workers
    try:
        answer = make(*arguments)
        connection.send(("ready", None))
        while True:
            request = connection.recv()
            for part in answer(*request):
                connection.send(("part", part))
    except (EOFError, BrokenPipeError):
        pass
    except BaseException as failure:
        words = f"{type(failure).__name__}: {failure}".splitlines()[0]
        with contextlib.suppress(BrokenPipeError):
            connection.send(("failed", words[:160]))


class Seat:
    """A process that answers; a context manager that ends it and its workers."""

    def __init__(self, make, *arguments):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        # not a daemon: it may have workers of its own
        self._process = context.Process(target=_serve, args=(theirs, make, arguments))
        self._process.start()
        theirs.close()
        self._started = time.perf_counter()
        self.start_seconds = None

    def wait(self):
        """Wait until it is ready."""
        if self.start_seconds is None:
            self._receive(START_LIMIT)
            self.start_seconds = time.perf_counter() - self._started

    def ask(self, *request, limit=None):
        """Return the two parts of an answer, the first within `limit` seconds."""
        self.wait()
        self._connection.send(request)
        return self._receive(limit), self._receive(None)

    def _receive(self, limit):
        if not self._connection.poll(limit):
            self.close()
            raise ExpiredError
        try:
            kind, what = self._connection.recv()
        except EOFError:
            self.close()
            raise FailedError("the process died") from None
        if kind == "failed":
            self.close()
            raise FailedError(what)
        return what

    def close(self):
        """End the process and all that it started."""
        if self._process.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if hasattr(os, "killpg") and os.getpgid(self._process.pid) == self._process.pid:
                    os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
        self._process.join()
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
