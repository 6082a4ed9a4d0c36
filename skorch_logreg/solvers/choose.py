"""Choose the fastest solver, curvature and samples for a problem by a cost model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from skorch_logreg.curvature import (
    ClassBlocks,
    Curvature,
    DualHessian,
    ExactHessian,
    RoughHessian,
    SharedHessian,
    UncorrelatedColumns,
    blocks_seconds,
    dual_cost,
    exact_seconds,
    pass_seconds,
    rough_seconds,
)
from skorch_logreg.data import InMemory
from skorch_logreg.kernels.passes import has_newton_sums
from skorch_logreg.kernels.products import has_grams
from skorch_logreg.objective import MAX_EXCESS, Objective, Point, sampled_at
from skorch_logreg.objective.hessian import MAX_EIGEN_SIDE

# All thresholds of the cost model. Costs are in passes: reads of X by all models of a batch.
# `python -m benchmarks.choose` races the alternatives to what these pick.

# cost up to which a curvature is built
_EVERY_STEP_PASSES = 1.5  # at every step
FIRST_PASSES = 4.0  # as the first one, or for the steps of a whole fit
# above, there are no blocks of classes (with dense rows, twice as much), a joint Hessian of dense
# rows only follows a diagonal (1000 x 10,000 with a penalty of 5 times the number of columns: 2.2
# times as fast), and one of other rows has at most 500 columns
JOINT_PASSES = 25.0
# least ratio of the costs of two curvatures at which the cheaper one is chosen: low precision
# instead of an exact Hessian, blocks of classes instead of a joint one
SAVING = 2.5
PROOF_RATE = 0.1  # contraction of the decrement by a step that confirms it
# sizes
MAX_SIDE = 3000  # side of the largest matrix that is factored
MAX_STORED_NUMBERS = 1 << 26  # numbers in the factors, or pairs, of all models: half a gigabyte
_SMALL_SECONDS = 4e-3  # time of a pass and a Hessian for which a second thread does not pay
_N_LOW_PRECISION = 6  # low-precision Hessians before an exact one (race square: 1.5 times as fast)
# rows of a sample; the relative error of its curvature is sqrt(columns / rows)
ROWS_PER_COEF = 10  # in low precision, which solvers correct (40k x 500: 1.3 times as fast as all)
_ROWS_PER_CLASS_COEF = 5  # of the block of a class (debian_embeddings: .75 of the time of 10)
# sample of rows on which a fit starts: least rows, rows a coefficient, and least ratio of all rows
# to them, of a model (race tall30: 1.5 times as fast as without) and of many models
_START, _MANY_START = (10_000, 100, 8), (1500, 30, 6)
# least and largest ratio of successive samples (500k x 30: 1.1 times as fast as one sample)
_SAMPLE_GROWTH = (4, 10)
_LAST_SAMPLE_RATIO = 15  # rows of the data relative to the last sample, which is kept as a copy


@dataclass(frozen=True)
class CurvaturePlan:
    """Plan of a curvature: how it is built, what it costs and what replaces it.

    ``build(objective, point)`` returns the curvature, and ``cost(m)`` is the cost of building the
    next one for m models (the fallback's if there is one), in passes of m models over X.

    Attributes
    ----------
    exact : bool
        Whether the curvature is the Hessian itself at the point where it is built.
    proof_rate : float
        Contraction of the decrement by one step that confirms the decrement; 0 if none does.
    fallback : CurvaturePlan or None
        Plan that replaces this one when it is stale; None rebuilds the same.
    is_adaptive : bool
        Whether the curvature is updated at every point, and so does not become stale with age.
    size : int
        Numbers that the curvature, or its fallback, stores for each model.
    over_columns : bool
        Whether it is the exact Hessian over all columns.
    is_diagonal : bool
        Whether it is a diagonal.
    by_class : bool
        Whether it consists of a block for each class.
    """

    build: Callable[..., Curvature]
    exact: bool
    cost: Callable[[int], float]
    proof_rate: float
    fallback: "CurvaturePlan | None" = None
    is_adaptive: bool = False
    size: int = 0
    over_columns: bool = False
    is_diagonal: bool = False
    by_class: bool = False

    def max_models(self) -> int:
        """Return the number of models whose own curvatures fit the memory at once."""
        return max(MAX_STORED_NUMBERS // max(self.next.size, 1), 1)

    @property
    def next(self) -> "CurvaturePlan":
        """Plan of the curvature that replaces this one when it is stale."""
        return self.fallback or self

    @property
    def follows_points(self) -> bool:
        """Return True if it is updated at every point and nothing better can be built."""
        return self.is_adaptive and self.fallback is None

    @property
    def chain(self) -> tuple["CurvaturePlan", ...]:
        """The plan and its fallbacks, one after another."""
        return (self,) if self.fallback is None else (self, *self.fallback.chain)

    @property
    def last(self) -> "CurvaturePlan":
        """Last plan of the chain of fallbacks."""
        return self.chain[-1]


def choose_solver(objective: Objective, is_smooth: bool) -> str:
    """Return the name of the fastest solver, a key of `SOLVERS`.

    ``is_smooth`` is also True where the penalty is not smooth but its strength is zero.
    """
    if not is_smooth:
        return "proximal-newton"
    plan, (m, n_outputs, side) = choose_curvature(objective), objective.shape
    if plan.follows_points:
        return "newton-cg"
    most = _EVERY_STEP_PASSES
    if m == 1 and plan.over_columns and has_newton_sums(objective.loss.kernel, n_outputs, side):
        # one kernel computes a step (10,000 x 100: .8 of the time of L-BFGS, 40,000 x 100: 1.3)
        most = _with_calls(objective, 1.0)
    return "newton-cholesky" if plan.exact and plan.cost(m) <= most else "lbfgs"


def choose_curvature(objective: Objective) -> CurvaturePlan:
    """Choose a curvature for each model, or for many models one shared factorisation.

    The Hessian blocks of classes differ by more than a factor, so with several classes a
    curvature for each model saves many steps.
    """
    own = _own_curvature(objective)
    m, n_outputs, side = objective.shape
    if m > 1 and own.is_diagonal:  # a shared factorisation comes first
        own = own.next
    affordable = own.cost(m) <= FIRST_PASSES if own.exact else n_outputs > 1
    if m == 1 or own.follows_points or (affordable and m <= own.max_models()):
        return own
    if objective.loss.nuisance is not None:  # a shared curvature takes no targets
        return own
    # of 5,000 columns of text, with the most frequent ones in a shared Hessian, 15 models took 2.2
    # times as long as on uncorrelated columns
    if side > MAX_EIGEN_SIDE:
        build = UncorrelatedColumns.build
        return CurvaturePlan(build, False, own.cost, 0.0, own, is_adaptive=True)
    n_rows = _sampled(objective, side, _START[1])
    shared = partial(SharedHessian.build, n_rows=n_rows)
    return CurvaturePlan(shared, False, own.cost, PROOF_RATE, own, is_adaptive=True)


def _own_curvature(objective: Objective) -> CurvaturePlan:
    """Choose the curvature of a single model.

    The exact Hessian is used if it is affordable, over columns or rows, whichever are fewer.  If
    it is expensive, a Hessian of a sample, a diagonal of dense rows or several Hessians of low
    precision come first.  Blocks of classes ignore the coupling between classes, which is strong
    for ordered classes, so they are used only if they cost much less.  The last resort is a
    diagonal, with the means of sparse columns.
    """
    m, n_outputs, side = objective.shape
    n = objective.data.n_samples
    choices = []
    if n_outputs * side <= MAX_SIDE:
        choices.append(exact_hessian(objective))
    if n < 2 * side and n * n_outputs <= MAX_SIDE and allows_dual(objective):
        choices.append(_dual_hessian(n, n_outputs, side - 1))
    joint = exact = min(choices, key=lambda plan: plan.cost(1), default=None)
    if exact is not None:
        sampled = _sampled_hessian(objective, exact)
        if sampled is not None:
            return sampled
        joint = _low_precision_hessian(objective, exact) or exact
        if n_outputs == 1 and _is_dense(objective):
            # with few rows, the mean curvature in their space is a quarter of the columns' number:
            # below a penalty of that number, 500 x 20,000 takes 2.7 times as long on a diagonal
            easy = exact.over_columns or bool(objective.reg_strength[0] >= side - 1)
            begins = easy and joint.cost(1) > JOINT_PASSES
            return _diagonal(joint) if begins else joint
    # of several models, solves with their blocks take longer than conjugate gradients on a diagonal
    # (600 x 768, 3 classes, 20 values of C: 7 and 5 s)
    is_wide = exact is not None and n < side
    # a gigabyte of float32, or as many numbers as X has (50,000 x 384, 1000 classes: .43 of the
    # time without blocks)
    most = max(4 * MAX_STORED_NUMBERS, n * objective.data.row_size)
    blocks = None
    if n_outputs > 1 and (m == 1 or not is_wide) and n_outputs * side**2 <= most:
        blocks = _class_blocks(objective)
        least = max(SAVING * blocks.cost(1), FIRST_PASSES)
        # 11,000 texts of 3600 words and 20 classes: .17 s without blocks, whose products take 20 s
        if blocks.cost(1) <= JOINT_PASSES and (joint is None or joint.cost(1) > least):
            return blocks
    if joint is not None and (joint is not exact or joint.cost(1) <= JOINT_PASSES or side <= 500):
        return joint
    # of dense columns, blocks that cost more take .1 to .4 of the time where these are correlated,
    # and 1 to 1.7 where they are not (2000 x 600 and 5000 x 600, 3 classes, 5000 x 500, 5 classes)
    affordable = 2 * JOINT_PASSES if m == 1 and _is_dense(objective) else 0.0
    if blocks is not None and blocks.cost(1) <= affordable:
        return blocks
    if n_outputs == 1 and _is_dense(objective):
        return _diagonal(None)
    return CurvaturePlan(UncorrelatedColumns.build, False, lambda m: 1.0, 0.0, is_adaptive=True)


def affords_hessian(objective: Objective, plan: CurvaturePlan, n_models: int = 1) -> bool:
    """Return True if a Hessian costs less than the conjugate gradients that would take its place.

    They take a product or two with one output, whose Hessian a kernel computes in half the time
    (500,000 x 100, where it costs 2.7 passes: 1.4 times as long with it), and three to five with
    several (diamonds, 2.6 passes: .9).
    """
    is_halved = plan.over_columns and objective.loss.n_outputs == 1 and _has_kernel(objective)
    return plan.exact and plan.cost(n_models) <= FIRST_PASSES / (2 if is_halved else 1)


def needs_hessian(objective: Objective, least_share: float = 0.01) -> bool:
    """Return True if a few rows may hide a decrement from all but an exact Hessian of the point.

    Their curvature may be lost, and conjugate gradients find the long step of such a row last
    (6,202 x 178, two rows of 70 standard deviations: a fit ended 62 % above the minimum).  So they
    may where the square of an entry has the least share of the sum over its column, by default a
    hundredth, and its curvature is ten times that of the penalty.  False where that Hessian takes
    more than some passes.
    """
    plan, data = choose_curvature(objective).last, objective.data
    if not isinstance(data, InMemory) or not plan.exact or plan.cost(1) > JOINT_PASSES:
        return False
    # amax over a stride of 0 is 60 times as slow as over rows in memory
    weight = data.weight if data.weight.stride(0) else data.weight[:1]
    share = (weight.amax(dim=0) / data.weight.sum(dim=0)).amax()
    ridge = objective.ridge[..., :-1].flatten(0, -2).amin(dim=0)
    least = torch.maximum(least_share / share, 4 * MAX_EXCESS * ridge / weight.amax())
    return data.has_entries_above(least.sqrt())


def exact_hessian(objective: Objective, n_rows: int | None = None) -> CurvaturePlan:
    """Return the plan of the Hessian of all rows, or of a sample of them."""
    _, n_outputs, side = objective.shape
    rows = n_rows or objective.data.n_samples
    seconds = partial(exact_seconds, rows, n_outputs, side - 1, has_kernel=_has_kernel(objective))
    cost = _passes(objective, seconds)
    size = (n_outputs * side) ** 2
    if n_rows is None:
        return CurvaturePlan(
            ExactHessian.build, True, cost, PROOF_RATE, size=size, over_columns=True
        )
    build = partial(_on_sample, n_rows=n_rows)
    return CurvaturePlan(build, False, cost, PROOF_RATE, size=size)


def _has_kernel(objective: Objective) -> bool:
    """Return True if a kernel computes exact Hessians."""
    return _is_dense(objective) and has_grams(objective.loss.n_outputs)


def _is_dense(objective: Objective) -> bool:
    return objective.data.row_size >= objective.data.n_features


def _dual_hessian(n: int, n_outputs: int, n_columns: int) -> CurvaturePlan:
    """Return the plan of the Hessian's inverse through a matrix of rows."""
    cost, size = partial(dual_cost, n, n_outputs, n_columns), (n * n_outputs) ** 2
    exact = CurvaturePlan(DualHessian.build, True, cost, PROOF_RATE, size=size)
    if not is_low_precision_first(n, n_outputs, n_columns):
        return exact
    build = partial(DualHessian.build, rough=True)
    return CurvaturePlan(build, False, cost, PROOF_RATE, exact, size=size)


def is_low_precision_first(n: int, n_outputs: int, n_columns: int) -> bool:
    """Return True if a low-precision product of all pairs of rows should come first.

    It saves enough where even that product costs more than a curvature to start on.
    """
    return dual_cost(n, n_outputs, n_columns) > SAVING * FIRST_PASSES


def _diagonal(joint: CurvaturePlan | None) -> CurvaturePlan:
    """Return the plan of a diagonal, which a joint Hessian replaces if convergence is slow."""
    build = partial(UncorrelatedColumns.build, with_means=False)
    if joint is None:
        return CurvaturePlan(build, False, lambda m: 1.0, 0.0, is_diagonal=True)
    return CurvaturePlan(build, False, joint.cost, 0.0, joint, size=joint.size, is_diagonal=True)


def _sampled_hessian(objective: Objective, exact: CurvaturePlan) -> CurvaturePlan | None:
    """Return the plan of a Hessian of enough rows to replace all, or None if it costs too much."""
    sizes = sample_sizes(objective, 1)
    if not sizes:
        return None
    for n_rows, max_passes in ((sizes[-1], 1.0), (sizes[0], FIRST_PASSES)):
        sampled = exact_hessian(objective, n_rows)
        if sampled.cost(1) <= max_passes:
            return replace(sampled, cost=exact.cost, fallback=exact)
    return None


def _low_precision_hessian(objective: Objective, exact: CurvaturePlan) -> CurvaturePlan | None:
    """Return the plan of low-precision Hessians, or None if they do not save enough.

    They are rebuilt when they are stale, `_N_LOW_PRECISION` times.
    """
    _, n_outputs, side = objective.shape
    if not exact.over_columns or exact.cost(1) <= FIRST_PASSES:
        return None
    n_rows, least = _sampled(objective, n_outputs * side), SAVING
    if n_outputs == 1:
        # a sample takes more iterations (20,000 x 200: 1.5 times as long as the exact Hessian), and
        # all rows take no more (2000 x 600: .7 of the time)
        if n_rows is not None and exact.cost(1) <= _with_calls(objective, FIRST_PASSES):
            return None
        least = SAVING / 2
    rows = n_rows or objective.data.n_samples
    cost = _passes(objective, partial(rough_seconds, rows, n_outputs, side - 1))
    if least * cost(1) > exact.cost(1):
        return None
    build = partial(RoughHessian.build, n_rows=n_rows)
    plan = exact
    for _ in range(_N_LOW_PRECISION):
        price = exact.cost if plan is exact else cost
        plan = CurvaturePlan(build, False, price, PROOF_RATE, plan, size=exact.size)
    return plan


def _class_blocks(objective: Objective) -> CurvaturePlan:
    """Return the plan of a block for each class, from a sample of rows for each."""
    _, n_outputs, side = objective.shape
    n_rows = _sampled(objective, side, _ROWS_PER_CLASS_COEF)
    rows = n_rows or objective.data.n_samples
    cost = _passes(objective, partial(blocks_seconds, rows, n_outputs, side - 1))
    build = partial(ClassBlocks.build, n_rows=n_rows)
    size = n_outputs * side**2
    return CurvaturePlan(build, False, lambda m: 1 + cost(m), 0.0, size=size, by_class=True)


def _sampled(objective: Objective, n_coef: int, rows_per_coef: int = ROWS_PER_COEF) -> int | None:
    """Return a number of rows for a curvature, or None for all if no row would be left out."""
    rows = max(_MANY_START[0], rows_per_coef * n_coef)
    return rows if objective.data.n_samples // rows > 1 else None


def _passes(objective: Objective, seconds: Callable[..., float]) -> Callable[[int], float]:
    """Convert seconds to passes over X of the same number of models."""
    n, n_outputs = objective.data.n_samples, objective.shape[1]
    a_pass = partial(pass_seconds, n, n_outputs, objective.data.row_size)
    return lambda m: seconds(n_models=m) / a_pass(n_models=m)


def _with_calls(objective: Objective, passes: float) -> float:
    """Return the cost of iterations of L-BFGS with a pass of one model each, in passes.

    An iteration has five times as many calls of torch as a pass; the time of those of a pass is
    that of a pass over no rows.
    """
    data, n_outputs = objective.data, objective.shape[1]
    a_pass, calls = (pass_seconds(n, n_outputs, data.row_size) for n in (data.n_samples, 0))
    return passes * (1 + 5 * calls / a_pass)


def sample_sizes(objective: Objective, n_models: int | None = None) -> tuple[int, ...]:
    """Return the numbers of rows of the samples on which a fit starts; empty for no sample.

    The relative error of a Hessian from the first is sqrt(columns / rows), about 0.1, and a step
    reduces the decrement by its square.  The suboptimality of a sample's solution decreases with
    its rows: a pass over a fifteenth of the rows saves a pass over all.  Many models share a less
    accurate curvature, so fewer rows suffice.
    """
    m, n_outputs, side = objective.shape
    several = (n_models or m) > 1
    least, rows_per_coef, ratio = _MANY_START if several else _START
    rows, n_samples = max(least, rows_per_coef * n_outputs * side), objective.data.n_samples
    if n_samples < ratio * rows:
        return ()
    sizes, last = [rows], n_samples // _LAST_SAMPLE_RATIO
    while not several and sizes[-1] * _SAMPLE_GROWTH[0] <= last:
        sizes.append(min(sizes[-1] * _SAMPLE_GROWTH[1], last))
    return tuple(sizes)


def newton_samples(objective: Objective, rare: float) -> tuple[int, ...]:
    """Return the numbers of rows of the samples on which Newton steps of a model start.

    They have ten rows of the rarer class, whose share of the weight is ``rare``, for each
    coefficient: with fewer, many are separable.  A step on a sample costs at most a sixth of a
    step on all rows.

    References
    ----------
    Peduzzi et al. (1996). A simulation study of the number of events per variable in logistic
    regression analysis, J. Clin. Epidemiol. 49.
    """
    n_samples, least = objective.data.n_samples, int(ROWS_PER_COEF * objective.shape[2] / rare)
    ratios = {max(rows, least): ratio for rows, _, ratio in (_MANY_START, _START)}
    sizes = [rows for rows, ratio in ratios.items() if rows * ratio <= n_samples]
    if not sizes or not _is_dense(objective):
        return ()
    # without a Hessian of all rows, a step on them is a pass; one thread computes those of samples
    hessian = 0.0 if _own_curvature(objective).exact else 2 * exact_hessian(objective).cost(1)
    return tuple(rows for rows in sizes if rows * ratios[rows] * (1 + hessian) <= n_samples)


def _on_sample(objective: Objective, point: Point, n_rows: int) -> Curvature:
    return ExactHessian.build(*sampled_at(objective, point, n_rows))


def is_small(n: int, m: int, n_outputs: int, side: int) -> bool:
    """Return True if passes and Hessians are too short for a second thread to pay."""
    hessian = exact_seconds(max(n, side), n_outputs, min(n, side) - 1, m)
    return pass_seconds(n, n_outputs, side, m) + hessian <= _SMALL_SECONDS


def allows_dual(objective: Objective) -> bool:
    """Return True if the Hessian can be inverted through a matrix of rows."""
    penalised = bool(objective.penalty.coercive(objective.reg_strength).all())
    return penalised and objective.data.single_block and objective.loss.nuisance is None
