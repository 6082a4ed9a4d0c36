"""Settings that must precede every import, in each test process."""

import os

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # scipy reads it once, for the array API tests

import torch

# tests run side by side, and idle threads spin at every barrier
torch.set_num_threads(1)
