"""Settings that must precede every import, in each test process, and what is slow."""

import os
from collections import Counter
from zlib import crc32

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scipy reads it once, for the array API tests

import pytest
import torch

# tests run side by side, and idle threads spin at every barrier
torch.set_num_threads(1)

MANY_CASES = 5  # of one test, of which `pytest` runs an eighth, and `pytest -m slow` the others


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark seven eighths of the cases of a test with many as slow, chosen by their names."""
    families = [item.nodeid.partition("[")[0] for item in items]
    sizes = Counter(families)
    for item, family in zip(items, families, strict=True):
        if sizes[family] > MANY_CASES and crc32(item.nodeid.encode()) % 8:
            item.add_marker(pytest.mark.slow)
