"""One's own data: every format gives the same problem."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file

from benchmarks import folder
from tests.benchmarks import small


def written(path):
    frame = pd.DataFrame(small.X, columns=[f"x{j}" for j in range(6)])
    frame.insert(0, "target", small.BINARY)
    if path.suffix == ".npz":
        np.savez(path, X=small.X, y=small.BINARY)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        dump_svmlight_file(small.X, small.BINARY, str(path))
    return path


@pytest.mark.parametrize("suffix", folder.LOADERS)
def test_every_format_gives_the_same_data(tmp_path, suffix):
    X, y = folder.load(written(tmp_path / f"data{suffix}"))
    np.testing.assert_array_equal(y, small.BINARY)
    if sp.issparse(X):
        np.testing.assert_allclose(X.toarray(), small.X)
    else:
        np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(X.std(axis=0), 1)


def test_a_table_may_have_words_gaps_and_its_labels_last(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("colour,size,kind\nred,1,a\nblue,2,b\nred,,b\nred,4,a\n")
    X, y = folder.load(path)
    assert X.shape == (3, 3)
    np.testing.assert_array_equal(y, [0, 1, 0])


def test_what_cannot_be_raced_is_refused_with_its_name(tmp_path):
    with pytest.raises(ValueError, match=r"no file ending in \.npz, \.csv"):
        folder.files(tmp_path)
    np.savez(tmp_path / "one.npz", X=small.X, y=np.ones(120))
    with pytest.raises(ValueError, match=r"one\.npz has the labels \[1\.0\]"):
        folder.load(tmp_path / "one.npz")
