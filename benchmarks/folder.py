"""One's own data, a file a problem.

- ``.npz``: arrays ``X`` and ``y``;
- ``.csv`` and ``.parquet`` (with pandas): the column ``target`` or else the last one is y;
  columns that are not numbers become indicators, rows with gaps are left out;
- ``.svmlight``, ``.svm`` and ``.libsvm``: sparse.

Dense columns are standardised. Labels may be anything that can be sorted.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_svmlight_file
from sklearn.preprocessing import scale


def load(path: Path):
    """Return X (n, p) and codes y (n,) of a file."""
    X, y = LOADERS[path.suffix](path)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{path} has the labels {classes.tolist()}, expected two or more.")
    X = sp.csr_matrix(X) if sp.issparse(X) else scale(np.asarray(X, dtype=np.float64))
    return X, codes


def files(folder: Path) -> list[Path]:
    """Files of a folder that `load` reads, sorted."""
    found = sorted(path for path in folder.iterdir() if path.suffix in LOADERS)
    if not found:
        raise ValueError(f"{folder} has no file ending in {', '.join(LOADERS)}.")
    return found


def _arrays(path):
    with np.load(path) as arrays:
        return arrays["X"], arrays["y"]


def _table(path):
    import pandas as pd

    frame = (pd.read_csv if path.suffix == ".csv" else pd.read_parquet)(path).dropna()
    y = frame.pop("target" if "target" in frame else frame.columns[-1])
    return pd.get_dummies(frame).to_numpy(dtype=np.float64), y.to_numpy()


LOADERS = {
    ".npz": _arrays,
    ".csv": _table,
    ".parquet": _table,
    **dict.fromkeys((".svmlight", ".svm", ".libsvm"), lambda path: load_svmlight_file(str(path))),
}
