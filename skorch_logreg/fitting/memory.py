"""Number of models that are solved together."""

# bytes of a batch's arrays that are as long as the data
_MEMORY_BUDGET = 1 << 30
# bytes per row and logit: target, weight, the logits of three points, temporaries
ROW_BYTES = 72
# logits per row beyond which a wider batch saves no time
_WIDEST = 512
# coefficients of all models of a batch: 16 MiB, beyond which they leave the cache
_COEFFICIENTS = 1 << 21
# logits per row that are worth a batch whatever the number of columns
_LEAST = 16


def models_at_once(
    n_samples: int, n_features: int, n_outputs: int, memory_budget: int | None = None
) -> int:
    """Return the number of models that one solve may take.

    Arrays as long as the data have to fit the budget.  Beyond some hundred logits per row a read
    of X gets no cheaper per model, and the coefficients leave the cache.

    Parameters
    ----------
    n_samples, n_features : int
        Shape of X.
    n_outputs : int
        Number of logits of each model.
    memory_budget : int or None, default=None
        Budget in bytes; None means 1 GiB.
    """
    worthwhile = min(_WIDEST, max(_COEFFICIENTS // n_features, _LEAST))
    return max(min(at_once(n_samples, memory_budget), worthwhile) // n_outputs, 1)


def at_once(size: int, memory_budget: int | None = None) -> int:
    """Return the number of columns of ``size`` rows that fit a budget, temporaries included."""
    budget = _MEMORY_BUDGET if memory_budget is None else memory_budget
    return max(int(budget) // (ROW_BYTES * size), 1)
