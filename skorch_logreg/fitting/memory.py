"""Number of models that are solved together."""

# bytes per row and logit: target, weight, the logits of three points, temporaries
ROW_BYTES = 72
_MAX_ROW_LOGITS = 512  # logits per row beyond which a wider batch saves no time
_MIN_ROW_LOGITS = 16  # logits per row that are worth a batch whatever the number of columns
# coefficients of all models of a batch: 16 MiB, beyond which they leave the cache
_MAX_COEFFICIENTS = 1 << 21


def models_at_once(
    n_samples: int, n_features: int, n_outputs: int, memory_budget: int | None = None
) -> int:
    """Return the number of models, of ``n_outputs`` logits each, that one solve may take.

    Arrays as long as the data have to fit the budget in bytes, of 1 GiB by default.  Beyond some
    hundred logits per row a read of X gets no cheaper per model, and the coefficients leave the
    cache.
    """
    worthwhile = min(_MAX_ROW_LOGITS, max(_MAX_COEFFICIENTS // n_features, _MIN_ROW_LOGITS))
    return max(min(at_once(n_samples, memory_budget), worthwhile) // n_outputs, 1)


def at_once(size: int, memory_budget: int | None = None) -> int:
    """Return the number of columns of ``size`` rows that fit a budget, by default 1 GiB."""
    budget = 1 << 30 if memory_budget is None else memory_budget
    return max(int(budget) // (ROW_BYTES * size), 1)
