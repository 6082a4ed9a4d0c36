"""Labels to indices: counting and sorting agree with NumPy."""

import numpy as np
import pytest

from skorch_logreg.inputs.labels import encode

LABELS = {
    "short range": np.array([5, 3, 3, 9, 5]),
    "consecutive": np.array([0, 2, 1, 1, 0]),
    "negative": np.array([-1, 1, 1, -1]),
    "int8 over its range": np.array([-128, 127, 127, -128] * 200, dtype=np.int8),
    "long range": np.array([10**12, -(10**12), 10**12]),
    "uint64 beyond int64": np.array([2**64 - 1, 2**64 - 2, 2**64 - 1], dtype=np.uint64),
    "int64 at its ends": np.array([-(2**63), 2**63 - 1, -(2**63)]),
    "bool": np.array([True, False, True]),
    "all true": np.array([True, True]),
    "float": np.array([2.0, 1.0, 2.0]),
    "text": np.array(["b", "a", "c", "b"]),
    "object": np.array(["b", "a", "b"], dtype=object),
}


@pytest.mark.filterwarnings("ignore:The number of unique classes:UserWarning")
@pytest.mark.parametrize("name", LABELS)
def test_encoding_is_unique_with_inverse(name):
    y = LABELS[name]
    y.setflags(write=False)
    classes, index = np.unique(y, return_inverse=True)
    targets = encode(y)
    np.testing.assert_array_equal(targets.classes, classes)
    assert targets.classes.dtype == y.dtype
    np.testing.assert_array_equal(targets.index.numpy(), index)
    assert targets.n_classes == len(classes)


def test_many_classes_are_warned_of_as_scikit_learn_does():
    with pytest.warns(UserWarning, match="greater than 50% of the number of samples"):
        encode(np.arange(30))
    encode(np.arange(30) // 3)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        encode(np.linspace(0, 1, 9))
