"""Show what a fit on a Dask cluster costs: beside memory, beside peers, and with more workers.

    python -m benchmarks.on_dask [--rows 10000000] [--columns 30] [--blocks 8] [--repeat 3]
        [--peers dask-ml spark] [--model]

Rows are generated on the workers of a local cluster, one thread each, and kept there; fits are
unpenalised.  Everyone climbs a ladder of settings, and the first that brings the sum of losses
within 1e-6 of the minimum counts; what starts a cluster, or brings rows into it, is apart.  The
last lines are the same rows in memory, one worker with half of the rows (weak scaling), and the
bytes that a pass moves.  ``--model`` prints what 1 to 1000 workers would take, from constants that
it measures: where it stops scaling.
"""

import argparse
import contextlib
import sys
import warnings
from statistics import median
from time import perf_counter

import numpy as np

from skorch_logreg import TorchLogisticClassifier
from skorch_logreg.data import DaskParts

_TARGET = 1e-6
_PART = 1 << 20  # rows that are judged at a time


def slope(n_columns):
    """Coefficients of the model that labels follow."""
    return np.random.default_rng(0).normal(size=n_columns) / np.sqrt(n_columns)


def block(seed, n_rows, n_columns):
    """Make rows, with their label in the last column."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_columns + 1))
    X[:, -1] = X[:, :-1] @ slope(n_columns) + rng.logistic(size=n_rows) > 0
    return X


def cluster(n_workers):
    """Start workers of one thread each, and connect."""
    from dask.distributed import Client, LocalCluster

    stack = contextlib.ExitStack()
    local = stack.enter_context(
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=None, memory_limit=0
        )
    )
    stack.enter_context(Client(local))
    return stack


def rows_here(n_blocks, n_rows, n_columns):
    """Rows and labels in memory."""
    X, y = np.empty((n_rows, n_columns)), np.empty(n_rows, dtype=np.int8)
    length = n_rows // n_blocks
    for seed in range(n_blocks):
        some, part = block(seed, length, n_columns), slice(seed * length, (seed + 1) * length)
        X[part], y[part] = some[:, :-1], some[:, -1]
    return X, y


def rows_there(n_blocks, n_rows, n_columns):
    """Make the same rows and labels where the workers are, and have them kept there."""
    import dask
    import dask.array as da

    shape = n_rows // n_blocks, n_columns + 1
    parts = [
        da.from_delayed(dask.delayed(block)(seed, shape[0], n_columns), shape, np.float64)
        for seed in range(n_blocks)
    ]
    both = da.concatenate(parts)
    X, y = both[:, :-1].map_blocks(np.ascontiguousarray), both[:, -1].astype(np.int8)
    X, y = dask.persist(X, y)
    y.sum().compute(), X.sum().compute()
    return X, y


def loss(X, y, coef, intercept):
    """Sum of losses in float64."""
    total = 0.0
    for start in range(0, len(X), _PART):
        z = X[start : start + _PART] @ coef + intercept
        total += np.logaddexp(0.0, np.where(y[start : start + _PART] > 0, -z, z)).sum()
    return total


def ours(X, y, tol):
    """Coefficients, intercept and passes."""
    model = TorchLogisticClassifier(C=np.inf, tol=tol).fit(X, y)
    return model.coef_[0], model.intercept_[0], model.n_passes_


def dask_ml(X, y, setting):
    """Coefficients and intercept of dask-ml: it penalises the intercept too, so hardly at all."""
    from dask_ml.linear_model import LogisticRegression

    solver, tol, max_iter = setting
    model = LogisticRegression(C=1e12, solver=solver, tol=tol, max_iter=max_iter).fit(X, y)
    return np.ravel(model.coef_), float(np.ravel(model.intercept_)[0]), None


DASK_ML = [
    (solver, tol, n)
    for solver in ("lbfgs", "newton", "admm")
    for tol, n in ((1e-4, 3), (1e-4, 5), (1e-4, 10), (1e-6, 30), (1e-9, 100))
]
SPARK = [(1e-3, 3), (1e-3, 5), (1e-5, 7), (1e-5, 10), (1e-7, 30), (1e-10, 100)]


class Spark:
    """Spark MLlib in local mode, with as many threads as there are workers."""

    def __init__(self, X, y, n_workers, folder):
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyspark.ml.feature import VectorAssembler
        from pyspark.sql import SparkSession

        self.session = (
            SparkSession.builder.master(f"local[{n_workers}]")
            .config("spark.driver.memory", "12g")
            .config("spark.ui.enabled", "false")
            .getOrCreate()
        )
        self.session.sparkContext.setLogLevel("ERROR")
        names = [f"x{i}" for i in range(X.shape[1])]
        for part, start in enumerate(range(0, len(X), _PART)):
            rows = slice(start, start + _PART)
            columns = [*X[rows].T, y[rows].astype(float)]
            pq.write_table(pa.table(columns, [*names, "label"]), f"{folder}/{part}.parquet")
        assembled = VectorAssembler(inputCols=names, outputCol="features").transform(
            self.session.read.parquet(str(folder))
        )
        self.frame = assembled.select("features", "label").cache()
        self.frame.count()

    def __call__(self, setting):
        """Coefficients and intercept."""
        from pyspark.ml.classification import LogisticRegression

        tol, max_iter = setting
        model = LogisticRegression(regParam=0.0, tol=tol, maxIter=max_iter).fit(self.frame)
        return np.asarray(model.coefficients), float(model.intercept), None


def climb(name, fit, ladder, excess, repeat):
    """Print the first setting that reaches the target, and return its median seconds."""
    for setting in ladder:
        seconds, reached, passes = [], [], None
        try:
            for _ in range(repeat):
                begun = perf_counter()
                coef, intercept, passes = fit(setting)
                seconds.append(perf_counter() - begun)
                reached.append(excess(coef, intercept))
                if reached[-1] > _TARGET:
                    break
        except Exception as failure:
            print(f"| {name} | {setting} | {type(failure).__name__}: {failure} | | |", flush=True)
            continue
        found = "" if passes is None else passes
        print(
            f"| {name} | {setting} | {median(seconds):.3g} | {max(reached):.1e} | {found} |",
            flush=True,
        )
        if max(reached) <= _TARGET:
            return median(seconds)
    return None


class Moved:
    """What every piece of work sends to its blocks, and gets back."""

    def __init__(self):
        self.passes = []
        self._run = DaskParts.run

    def __enter__(self):
        moved = self

        def run(parts, work, held, n_kept, reads):
            import cloudpickle

            terms, handles = moved._run(parts, work, held, n_kept, reads)
            if reads:
                back = sum(term.numel() * term.element_size() for term in terms)
                moved.passes.append((len(cloudpickle.dumps(work)), back))
            return terms, handles

        DaskParts.run = run
        return self

    def __exit__(self, *error):
        DaskParts.run = self._run


def model(n_rows, n_columns, n_blocks, pass_seconds):
    """Print what a pass takes with more workers, each with as many rows as one here."""
    from dask.distributed import get_client

    client = get_client()
    begun = perf_counter()
    client.gather(client.map(abs, range(1000), pure=False))
    task = (perf_counter() - begun) / 1000
    begun = perf_counter()
    client.submit(abs, 1, pure=False).result()
    trip = perf_counter() - begun
    side = 8 * (n_columns + 2)
    print(f"\nA task costs the scheduler {task * 1e3:.2f} ms, a round trip {trip * 1e3:.1f} ms.")
    print("| workers | rows | pass: products, s | tasks, s | trips, s | labels once, s | share |")
    print("| --- " * 7 + "|")
    for workers in (1, 2, 10, 100, 1000):
        blocks = n_blocks * workers
        levels = max(int(np.ceil(np.log(blocks) / np.log(8))), 1)
        tasks = task * blocks * (1 + 1 / 7)
        trips = trip * (1 + levels) + side * levels / 1e9
        labels = n_rows * workers / 1e9
        total = pass_seconds + tasks + trips
        print(
            f"| {workers} | {n_rows * workers:.0e} | {pass_seconds:.2f} | {tasks:.3f} "
            f"| {trips:.3f} | {labels:.2f} | {pass_seconds / total:.0%} |"
        )


def main(arguments=None):
    """Fit and print; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=("dask-ml", "spark"), default=[])
    parser.add_argument("--model", action="store_true")
    options = parser.parse_args(arguments)
    options.rows -= options.rows % (2 * options.blocks)
    warnings.simplefilter("ignore")
    print("| who | setting | seconds | (F - F*) / F* | passes |")
    print("| --- " * 5 + "|", flush=True)
    with cluster(options.workers):
        X, y = rows_there(options.blocks, options.rows, options.columns)
        held, labels = rows_here(options.blocks, options.rows, options.columns)
        best = loss(held, labels, *ours(X, y, 1e-8)[:2])

        def excess(coef, intercept):
            return loss(held, labels, coef, intercept) / best - 1

        with Moved() as moved:
            found = climb("Dask", lambda t: ours(X, y, t), [1e-3], excess, options.repeat)
        if "dask-ml" in options.peers:
            climb("dask-ml", lambda s: dask_ml(X, y, s), DASK_ML, excess, 1)
        if options.model:
            passes = ours(X, y, 1e-3)[2]
            model(
                options.rows // options.workers,
                options.columns,
                options.blocks // options.workers,
                found / passes,
            )
    here = climb("in memory", lambda t: ours(held, labels, t), [1e-3], excess, options.repeat)
    if "spark" in options.peers:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            climb("Spark", Spark(held, labels, options.workers, folder), SPARK, excess, 1)
    with cluster(1):
        X, y = rows_there(max(options.blocks // 2, 1), options.rows // 2, options.columns)
        ours(X, y, 1e-3)
        begun = [perf_counter()]
        for _ in range(options.repeat):
            ours(X, y, 1e-3)
            begun.append(perf_counter())
        half = median(np.diff(begun))
    print(f"\nDask over memory: {found / here:.2f}")
    print(f"1 worker with half of the rows: {half:.3g} s; efficiency {half / found:.0%}")
    work, back = zip(*moved.passes, strict=True)
    print(f"Bytes of a pass: {median(work):.0f} to every block, {median(back):.0f} back")
    return 0


if __name__ == "__main__":
    sys.exit(main())
