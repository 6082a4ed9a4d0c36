"""ONNX graphs of linear classifiers, which use only operators of ONNX itself."""

from os import PathLike
from typing import Any

import numpy as np

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import FLOATS

__all__ = ["classifier", "save"]

_OPSET = 17  # version of ONNX's operators


def classifier(
    kind: str,
    coef: np.ndarray,
    intercept: np.ndarray,
    classes: np.ndarray,
    thresholds: np.ndarray,
    *,
    dtype: Any = None,
) -> Any:
    """Build the ONNX graph of a fitted linear classifier.

    Parameters
    ----------
    kind : {"binary", "multinomial", "one-vs-rest", "indicator"}
        Function from logits to probabilities and labels.
    coef : ndarray of shape (n_outputs, n_features)
    intercept : ndarray of shape (n_outputs,)
    classes : ndarray of shape (n_classes,)
        Labels that are predicted; for "indicator" those for absence and presence.
    thresholds : ndarray of shape (n_outputs,)
        Smallest probabilities of a positive prediction, for "binary" and "indicator".
    dtype : {"float32", "float64"} or None, default=None
        Type of the arithmetic; None: that of `coef`.

    Returns
    -------
    model : onnx.ModelProto

    Raises
    ------
    ParameterError
        If ONNX does not support the labels or the dtype.
    ImportError
        If onnx is not installed.
    """
    floats = _float_type(coef.dtype if dtype is None else dtype)
    answers = _answers(classes)
    onnx = _onnx()
    from onnx import helper, numpy_helper

    node = helper.make_node
    binary = kind == "binary"
    if binary:  # the first class gets a logit of 0: a runtime's Softmax is exact in the tails
        coef, intercept = (np.concatenate([0 * part, part]) for part in (coef, intercept))
    constants = {"coef": coef.astype(floats), "intercept": intercept.astype(floats)}
    constants["classes"] = answers
    nodes = [node("Gemm", ["X", "coef", "intercept"], ["logits"], transB=1)]
    scores = "logits"
    if kind in ("one-vs-rest", "indicator"):
        # log(sigmoid(z)) = min(z, 0) - log(1 + exp(-|z|)): Sigmoid is not exact in the tails
        scores = "log_sigmoid"
        constants |= {"zero": np.zeros(1, floats), "one": np.ones(1, floats)}
        nodes += [
            node("Abs", ["logits"], ["size"]),
            node("Neg", ["size"], ["decay"]),
            node("Exp", ["decay"], ["rest"]),
            node("Add", ["one", "rest"], ["total"]),
            node("Log", ["total"], ["log_total"]),
            node("Min", ["logits", "zero"], ["lower"]),
            node("Sub", ["lower", "log_total"], [scores]),
        ]
    if kind == "indicator":
        nodes.append(node("Exp", [scores], ["probabilities"]))
    else:
        nodes.append(node("Softmax", [scores], ["probabilities"], axis=1))
    if kind in ("multinomial", "one-vs-rest"):
        nodes.append(node("ArgMax", ["logits"], ["index"], axis=1, keepdims=0))
    else:
        # at 0.5 compare the logit with 0, which does not depend on the rounding of probabilities
        logit, probability = "logits", "probabilities"
        if binary:
            logit, probability = "log_odds", "present"
            thresholds = thresholds[0]
            constants["second"] = np.array(1)
            nodes += [
                node("Gather", ["logits", "second"], [logit], axis=1),
                node("Gather", ["probabilities", "second"], [probability], axis=1),
            ]
        half = thresholds == 0.5
        constants["half"] = np.asarray(half)
        constants["least"] = np.where(half, 0.0, thresholds).astype(floats)
        nodes += [
            node("Where", ["half", logit, probability], ["score"]),
            node("GreaterOrEqual", ["score", "least"], ["positive"]),
            node("Cast", ["positive"], ["index"], to=onnx.TensorProto.INT64),
        ]
    nodes.append(node("Gather", ["classes", "index"], ["label"]))

    number = helper.np_dtype_to_tensor_dtype(floats)
    n_columns = len(coef)
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    label_type = next(tensor.data_type for tensor in held if tensor.name == "classes")
    label_shape: list[str | int | None] = (
        ["n_samples", n_columns] if kind == "indicator" else ["n_samples"]
    )
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "logistic_regression",
        [value("X", number, ["n_samples", coef.shape[1]])],
        [
            value("label", label_type, label_shape),
            value("probabilities", number, ["n_samples", n_columns]),
        ],
        held,
    )
    opset = [helper.make_opsetid("", _OPSET)]
    # the oldest format that has the operators, so that older runtimes can read it
    model = helper.make_model(
        graph,
        opset_imports=opset,
        ir_version=helper.find_min_ir_version_for(opset),
        producer_name="skorch_logreg",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def save(model: Any, path: str | PathLike[str]) -> None:
    """Write an ONNX graph to a file."""
    _onnx().save(model, path)


def _onnx() -> Any:
    try:
        import onnx
    except ImportError as error:
        raise ImportError('to_onnx needs onnx: pip install "skorch-logreg[onnx]".') from error
    return onnx


def _float_type(dtype: Any) -> np.dtype:
    try:
        found = np.dtype(dtype)
    except TypeError:  # not a dtype
        found = np.dtype(object)
    if found not in FLOATS:
        raise ParameterError(f"dtype={dtype!r} must be 'float32', 'float64' or None.")
    return found


def _answers(classes: np.ndarray) -> np.ndarray:
    """Convert labels to types of ONNX: numbers, or strings, which NumPy stores as objects."""
    if classes.dtype.kind in "biuf":
        return classes
    if classes.dtype.kind in "UO" and all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object)
    raise ParameterError(
        f"classes_ has labels of type {type(classes[0]).__name__}; ONNX has numbers, booleans "
        "and strings: fit to labels of such a type."
    )
