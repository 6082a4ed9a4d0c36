"""Which curvature and which solver serve a problem best, by a model of their cost."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from skorch_logreg.curvature import (
    Curvature,
    DualHessian,
    ExactHessian,
    FrequentColumns,
    MultinomialBound,
    RoughHessian,
    SharedHessian,
    blocks_seconds,
    dual_cost,
    exact_seconds,
    pass_seconds,
    rough_seconds,
)
from skorch_logreg.objective import Objective, Point, sampled_at

MAX_SIDE = 3000  # of a matrix that is factored
_EXACT_PROOF_RATE = 0.3  # contraction of the decrement that proves an exact Hessian's
_SAMPLED_PROOF_RATE = 0.1  # and one from a sample of the rows
_MAX_FIRST_PASSES = 4.0  # passes: beyond, an exact Hessian is not the first choice
_MAX_ROW_PRODUCT_PASSES = (
    10.0  # passes: beyond, pairs of rows are multiplied in low precision first
)
_MAX_FACTOR_NUMBERS = 1 << 26  # numbers in the factors of all models: half a gigabyte
_MAX_EXACT_PASSES = 60.0  # passes over X that an exact Hessian may cost
_SMALL_PASS_NUMBERS = 1 << 21  # numbers: about 0.6 ms
_SMALL_HESSIAN_FLOPS = 1e8  # floating point operations: a few ms
MANY_MODELS = 4  # models that are worth a factorisation which they share
_MIN_ROWS_MANY_MODELS = 1500  # rows of a sample of their own
_SHARED_ROWS_PER_COLUMN = 200  # for that: its error is the root of columns over rows
_MIN_SAMPLE_ROWS = 10_000  # rows that a sample has at least
_ESTIMATE_ROWS_PER_COEF = 4  # a column, from which a decrement is told to some per cent
_MAX_LOW_PRECISION_PASSES = 1.5  # passes: up to here more rows are worth their price
_LOW_PRECISION_ROWS_PER_COEF = (100, 50, 25, 10)  # a coefficient, of a Hessian in low precision
_MIN_BLOCK_SAVING = 2.5  # how much less blocks of classes cost than their joint Hessian, at least
_N_LOW_PRECISION = 6  # that it is made before an exact one
_MIN_ROWS_RATIO = 2  # how many times as many rows the data must have
_MIN_LOW_PRECISION_SAVING = 3  # times as cheap as the exact one it has to be
_SAMPLE_GROWTH = 10  # times the rows of a sample that the next one has
_LAST_SAMPLE_RATIO = 15  # times the rows of the last, all rows are: its copy is kept
_MIN_SAMPLE_GROWTH = 4  # and has at least
_MIN_SAMPLE_RATIO = 8  # how many times as many rows the data must have
_MIN_BLOCK_ROWS = 3000  # of blocks, whose errors the solver corrects
_BLOCK_ROWS_PER_COLUMN = 16  # a column, at least: half as many take three steps more
_MAX_BLOCK_COLUMNS = 1000  # columns of a partial Hessian
_FEW_BLOCK_COLUMNS = 300  # the same where each class has its own, or rows are few
_MAX_BLOCK_PASSES = 20.0  # passes that a block of many may cost


@dataclass(frozen=True)
class CurvaturePlan:
    """A curvature with its price.

    Attributes
    ----------
    build : callable
        ``build(objective, point) -> Curvature``.
    exact : bool
    cost : callable
        ``cost(m)``: of building it for m models, or the stronger one if there is one, in passes
        of m models over X.
    trust : float
        Contraction of the decrement by a step that proves it; 0: none does.
    stronger : Model or None
        What takes its place when it wears out; None: the same, built anew.
    follows : bool
        Whether it follows the models, and so does not age.
    size : int
        Numbers that it, or the stronger one, keeps for each model.
    """

    build: Callable[[Objective, Point], Curvature]
    exact: bool
    cost: Callable[[int], float]
    proof_rate: float
    fallback: "CurvaturePlan | None" = None
    is_adaptive: bool = False
    size: int = 0

    def max_models(self) -> int:
        """Count the models that may have one of their own at once."""
        return max(_MAX_FACTOR_NUMBERS // max(self.next.size, 1), 1)

    @property
    def next(self) -> "CurvaturePlan":
        """What is built when it wears out."""
        return self.fallback or self

    @property
    def last(self) -> "CurvaturePlan":
        """What comes in the end."""
        return self if self.fallback is None else self.fallback.last


def choose_curvature(objective: Objective) -> CurvaturePlan:
    """Take what models of their own need, or for many the factorisation that they share.

    Classes differ by more than a factor, so that blocks of their own save many steps.
    """
    own = _own_curvature(objective)
    m, n_outputs, side = objective.shape
    affordable = own.cost(m) <= _MAX_FIRST_PASSES if own.exact else n_outputs > 1
    if m < MANY_MODELS or (affordable and m <= own.max_models()):
        return own
    columns = min(_MAX_BLOCK_COLUMNS, side - 1)
    rows = max(_MIN_ROWS_MANY_MODELS, _SHARED_ROWS_PER_COLUMN * (columns + 1))
    n_rows = rows if objective.data.n_samples >= 2 * rows else None
    build = partial(SharedHessian.build, n_columns=columns, n_rows=n_rows)
    return CurvaturePlan(build, False, own.cost, _SAMPLED_PROOF_RATE, own, is_adaptive=True)


def _own_curvature(objective: Objective) -> CurvaturePlan:
    """Take the exact Hessian where it is affordable, else the cheapest that leads there.

    Columns or rows, whichever are fewer, are the side of the exact one.  Where that is expensive,
    one of a sample comes first, or several of low precision.  Blocks of classes do not see how
    classes are coupled, as ordered ones are: they are taken where they cost much less than all of
    these.  What is left has a block of the columns with most entries.
    """
    _, n_outputs, side = objective.shape
    n = objective.data.n_samples
    choices = []
    if n_outputs * side <= MAX_SIDE:
        choices.append(exact_hessian(objective))
    if n < 2 * side and n * n_outputs <= MAX_SIDE and allows_dual(objective):
        choices.append(_dual_hessian(n, n_outputs))
    joint = exact = min(choices, key=lambda plan: plan.cost(1), default=None)
    if exact is not None:
        sampled = _sampled_hessian(objective, exact)
        if sampled is not None:
            return sampled
        joint = _low_precision_hessian(objective, exact) or exact
    if n_outputs > 1 and n_outputs * side**2 <= _MAX_FACTOR_NUMBERS:
        blocks = _block_of(objective, side - 1)
        least = max(_MIN_BLOCK_SAVING * blocks.cost(1), _MAX_FIRST_PASSES)
        if joint is None or joint.cost(1) > least:
            return blocks
    if joint is not None and (
        joint is not exact or joint.cost(1) <= _MAX_EXACT_PASSES or side <= 500
    ):
        return joint
    if n_outputs > 1 and side <= MAX_SIDE // 2:
        return _bound(objective)
    return _frequent_columns(objective)


def _bound(objective: Objective) -> CurvaturePlan:
    """Take the bound of all classes, which is near their Hessian where rows are many."""
    n, p = objective.data.n_samples, objective.data.n_features
    cost = _passes(objective, partial(rough_seconds, n, 1, p))
    return CurvaturePlan(MultinomialBound.build, False, cost, 0.0)


def exact_hessian(objective: Objective, n_rows: int | None = None) -> CurvaturePlan:
    """Take the Hessian of all rows, or of a sample of them."""
    _, n_outputs, side = objective.shape
    rows = n_rows or objective.data.n_samples
    cost = _passes(objective, partial(exact_seconds, rows, n_outputs, side - 1))
    size = (n_outputs * side) ** 2
    if n_rows is None:
        return CurvaturePlan(ExactHessian.build, True, cost, _EXACT_PROOF_RATE, size=size)
    return CurvaturePlan(
        partial(_on_sample, n_rows=n_rows), False, cost, _SAMPLED_PROOF_RATE, size=size
    )


def _dual_hessian(n: int, n_outputs: int) -> CurvaturePlan:
    """Take a matrix of rows, first of low precision where the exact one is dear."""
    cost, size = partial(dual_cost, n, n_outputs), (n * n_outputs) ** 2
    exact = CurvaturePlan(DualHessian.build, True, cost, _EXACT_PROOF_RATE, size=size)
    if not is_low_precision_first(n, n_outputs):
        return exact
    return CurvaturePlan(
        partial(DualHessian.build, rough=True), False, cost, _SAMPLED_PROOF_RATE, exact, size=size
    )


def is_low_precision_first(n: int, n_outputs: int) -> bool:
    """Whether a product of all pairs of rows is so dear that one of low precision comes first."""
    return dual_cost(n, n_outputs) > _MAX_ROW_PRODUCT_PASSES


def _sampled_hessian(objective: Objective, exact: CurvaturePlan) -> CurvaturePlan | None:
    """Take an exact one of so many rows that it is as good as that of all, where it is cheap."""
    sizes = sample_sizes(replace(objective, reg_strength=objective.reg_strength[:1]))
    if not sizes:
        return None
    for n_rows, max_passes in ((sizes[-1], 1.0), (sizes[0], _MAX_FIRST_PASSES)):
        sampled = exact_hessian(objective, n_rows)
        if sampled.cost(1) <= max_passes:
            return replace(sampled, cost=exact.cost, fallback=exact)
    return None


def _low_precision_hessian(objective: Objective, exact: CurvaturePlan) -> CurvaturePlan | None:
    """Take low precision, if an exact Hessian of the same columns costs several times as much.

    It is made anew where the solver wears it out, and of as many rows as are cheap.
    """
    _, n_outputs, side = objective.shape
    n, whole = objective.data.n_samples, n_outputs * side
    if exact.build != ExactHessian.build or exact.cost(1) <= _MAX_FIRST_PASSES:
        return None
    for share in _LOW_PRECISION_ROWS_PER_COEF:
        rows = share * whole
        n_rows = rows if n >= _MIN_ROWS_RATIO * rows else None
        cost = _passes(objective, partial(rough_seconds, n_rows or n, n_outputs, side - 1))
        if cost(1) <= _MAX_LOW_PRECISION_PASSES:
            break
    if _MIN_LOW_PRECISION_SAVING * cost(1) > exact.cost(1):
        return None
    build = partial(RoughHessian.build, n_rows=n_rows)
    plan = exact
    for _ in range(_N_LOW_PRECISION):
        price = exact.cost if plan is exact else cost
        plan = CurvaturePlan(build, False, price, _SAMPLED_PROOF_RATE, plan, size=exact.size)
    return plan


def _frequent_columns(objective: Objective) -> CurvaturePlan:
    """Take blocks of the columns with most entries, from a sample of rows."""
    _, n_outputs, side = objective.shape
    widths = (_MAX_BLOCK_COLUMNS, _FEW_BLOCK_COLUMNS) if n_outputs == 1 else (_FEW_BLOCK_COLUMNS,)
    for width in widths:
        plan = _block_of(objective, min(width, side - 1))
        if plan.cost(1) <= _MAX_BLOCK_PASSES:
            break
    return plan


def _block_of(objective: Objective, columns: int) -> CurvaturePlan:
    """Take a block of some columns for each output, and a diagonal for the rest."""
    _, n_outputs, side = objective.shape
    n = objective.data.n_samples
    rows = max(_MIN_BLOCK_ROWS, _BLOCK_ROWS_PER_COLUMN * columns)
    n_rows = rows if n >= _MIN_ROWS_RATIO * rows else None
    build = partial(FrequentColumns.build, n_columns=columns, n_rows=n_rows)
    products = _passes(objective, partial(blocks_seconds, n_rows or n, n_outputs, columns))
    reads = 1 if columns == side - 1 else 3  # the curvature of rows; the diagonal

    def cost(n_models: int) -> float:
        return reads + products(n_models)

    return CurvaturePlan(build, False, cost, 0.0, size=n_outputs * columns**2)


def _passes(objective: Objective, seconds: Callable[..., float]) -> Callable[[int], float]:
    """Price in passes over X of as many models."""
    n, n_outputs = objective.data.n_samples, objective.shape[1]
    a_pass = partial(pass_seconds, n, n_outputs, objective.data.row_size)
    return lambda m: seconds(n_models=m) / a_pass(n_models=m)


def sample_rows(objective: Objective) -> int | None:
    """Rows that stand for all in a first curvature; None if that would save little.

    The error of a Hessian from so many rows is the square root of columns over rows, a tenth,
    and a step's decrement falls by its square.  Many models share a curvature that is worse.
    """
    m, n_outputs, side = objective.shape
    if m >= MANY_MODELS:
        rows, share = max(_MIN_ROWS_MANY_MODELS, 30 * n_outputs * side), _MIN_SAMPLE_RATIO - 2
    else:
        rows, share = max(_MIN_SAMPLE_ROWS, 100 * n_outputs * side), _MIN_SAMPLE_RATIO
    return rows if objective.data.n_samples >= share * rows else None


def sample_sizes(objective: Objective) -> tuple[int, ...]:
    """Rows of the samples on which a fit starts, one after another; the last is a fifteenth of all.

    The distance of a sample's solution falls as its rows grow: a pass over a fifteenth saves
    one over all.
    """
    rows = sample_rows(objective)
    if rows is None:
        return ()
    sizes, last = [rows], objective.data.n_samples // _LAST_SAMPLE_RATIO
    if len(objective.reg_strength) < MANY_MODELS:
        while sizes[-1] * _MIN_SAMPLE_GROWTH <= last:
            sizes.append(min(sizes[-1] * _SAMPLE_GROWTH, last))
    return tuple(sizes)


def subsampled_curvature(objective: Objective) -> CurvaturePlan:
    """Take what tells how far a point is to some per cent, where no step is to be taken.

    Decrements of a Hessian from ``r`` rows are too large by about ``1 / (1 - side / r)``.
    """
    best = choose_curvature(objective)
    m, n_outputs, side = objective.shape
    rows = _ESTIMATE_ROWS_PER_COEF * n_outputs * side
    if m > 1 or n_outputs * side > MAX_SIDE or objective.data.n_samples < 2 * rows:
        return best
    sampled = partial(_on_sample, n_rows=rows)
    return CurvaturePlan(sampled, False, best.cost, 0.0, best.next, size=best.size)


def _on_sample(objective: Objective, point: Point, n_rows: int) -> Curvature:
    return ExactHessian.build(*sampled_at(objective, point, n_rows))


def is_small(n: int, m: int, n_outputs: int, side: int) -> bool:
    """Whether a pass and a Hessian are too short for a second thread to pay."""
    rows = min(n, side) * n_outputs
    flops = max(n, side) * rows**2
    return m * n * (side + 8 * n_outputs) <= _SMALL_PASS_NUMBERS and flops <= _SMALL_HESSIAN_FLOPS


def allows_dual(objective: Objective) -> bool:
    """Whether the Hessian can be inverted through a matrix of rows."""
    penalised = bool(objective.penalty.coercive(objective.reg_strength).all())
    return penalised and objective.data.single_block
