"""ONNX graphs of linear classifiers, and their steps in the graphs of pipelines by skl2onnx."""

from typing import Any

import numpy as np

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import FLOATS

_OPSET = 17  # version of ONNX's operators
_Node = tuple[str, str, str, dict[str, Any]]  # operator, names of the inputs, output, attributes


def classifier(
    kind: str,
    coef: np.ndarray,
    intercept: np.ndarray,
    classes: np.ndarray,
    thresholds: np.ndarray,
    *,
    dtype: Any = None,
) -> Any:
    """Build the ONNX graph of a fitted linear classifier, with arithmetic of a type.

    The arguments are those of `operators`.
    """
    try:
        floats = np.dtype(coef.dtype if dtype is None else dtype)
    except TypeError:  # not a dtype
        floats = np.dtype(object)
    if floats not in FLOATS:
        raise ParameterError(f"dtype={dtype!r} must be 'float32', 'float64' or None.")
    classes = answers(classes)
    try:
        import onnx
    except ImportError as error:
        raise ImportError('to_onnx needs onnx: pip install "skorch-logreg[onnx]".') from error
    nodes, constants = operators(kind, coef, intercept, classes, thresholds, floats=floats)
    model = _model(nodes, constants, is_indicator=kind == "indicator")
    onnx.checker.check_model(model, full_check=True)
    return model


def operators(
    kind: str,
    coef: np.ndarray,
    intercept: np.ndarray,
    classes: np.ndarray,
    thresholds: np.ndarray,
    *,
    floats: np.dtype,
) -> tuple[list[_Node], dict[str, np.ndarray]]:
    """Return the operators from X to label and probabilities, and their constants.

    ``kind`` is "binary", "multinomial", "one-vs-rest" or "indicator". The coefficients are
    (n_outputs, n_features). ``classes`` are the labels that are predicted, for "indicator" those
    for absence and presence, and ``thresholds`` (n_outputs,) the smallest probabilities of a
    positive prediction, for "binary" and "indicator".
    """
    constants = {"classes": classes}
    if kind == "binary":  # the first logit is 0: a runtime's Softmax is exact in the tails
        coef, intercept = (np.concatenate([0 * part, part]) for part in (coef, intercept))
    constants |= {"coef": coef.astype(floats), "intercept": intercept.astype(floats)}
    nodes: list[_Node] = [("Gemm", "X coef intercept", "logits", {"transB": 1})]
    for part, values in (_link(kind, floats), _decision(kind, thresholds, floats)):
        nodes += part
        constants |= values
    nodes.append(("Gather", "classes index", "label", {}))
    return nodes, constants


def _link(kind: str, floats: np.dtype) -> tuple[list[_Node], dict[str, Any]]:
    """Return the nodes from logits to probabilities, and their constants."""
    if kind in ("binary", "multinomial"):
        return [("Softmax", "logits", "probabilities", {"axis": 1})], {}
    # log(sigmoid(z)) = min(z, 0) - log(1 + exp(-|z|)): Sigmoid is not exact in the tails
    nodes: list[_Node] = [
        ("Abs", "logits", "size", {}),
        ("Neg", "size", "decay", {}),
        ("Exp", "decay", "rest", {}),
        ("Add", "one rest", "total", {}),
        ("Log", "total", "log_total", {}),
        ("Min", "logits zero", "lower", {}),
        ("Sub", "lower log_total", "log_sigmoid", {}),
    ]
    if kind == "indicator":
        nodes.append(("Exp", "log_sigmoid", "probabilities", {}))
    else:
        nodes.append(("Softmax", "log_sigmoid", "probabilities", {"axis": 1}))
    return nodes, {"zero": np.zeros(1, floats), "one": np.ones(1, floats)}


def _decision(
    kind: str, thresholds: np.ndarray, floats: np.dtype
) -> tuple[list[_Node], dict[str, Any]]:
    """Return the nodes from logits and probabilities to class indices, and their constants."""
    if kind in ("multinomial", "one-vs-rest"):
        return [("ArgMax", "logits", "index", {"axis": 1, "keepdims": 0})], {}
    from onnx import TensorProto

    nodes: list[_Node] = []
    constants: dict[str, Any] = {}
    logit, probability = "logits", "probabilities"
    if kind == "binary":
        logit, probability, thresholds = "log_odds", "present", thresholds[0]
        constants["second"] = np.array(1)
        nodes = [
            ("Gather", "logits second", logit, {"axis": 1}),
            ("Gather", "probabilities second", probability, {"axis": 1}),
        ]
    # at 0.5 compare the logit with 0, which does not depend on the rounding of probabilities
    half = thresholds == 0.5
    constants["half"] = np.asarray(half)
    constants["least"] = np.where(half, 0.0, thresholds).astype(floats)
    nodes += [
        ("Where", f"half {logit} {probability}", "score", {}),
        ("GreaterOrEqual", "score least", "positive", {}),
        ("Cast", "positive", "index", {"to": TensorProto.INT64}),
    ]
    return nodes, constants


def _model(nodes: list[_Node], constants: dict[str, Any], *, is_indicator: bool) -> Any:
    """Build the model; ``is_indicator`` means a label per logit."""
    from onnx import helper, numpy_helper

    n_columns, n_features = constants["coef"].shape
    number = helper.np_dtype_to_tensor_dtype(constants["coef"].dtype)
    tensors = {name: numpy_helper.from_array(value, name) for name, value in constants.items()}
    label_shape: list[Any] = ["n_samples", n_columns] if is_indicator else ["n_samples"]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(op, takes.split(), [gives], **how) for op, takes, gives, how in nodes],
        "logistic_regression",
        [value("X", number, ["n_samples", n_features])],
        [
            value("label", tensors["classes"].data_type, label_shape),
            value("probabilities", number, ["n_samples", n_columns]),
        ],
        list(tensors.values()),
    )
    opset = [helper.make_opsetid("", _OPSET)]
    # the oldest format that has the operators, so that older runtimes can read it
    return helper.make_model(
        graph,
        opset_imports=opset,
        ir_version=helper.find_min_ir_version_for(opset),
        producer_name="skorch_logreg",
    )


def answers(classes: np.ndarray) -> np.ndarray:
    """Convert labels to types of ONNX: numbers, or strings, which NumPy stores as objects."""
    if classes.dtype.kind in "biuf":
        return classes
    if classes.dtype.kind in "UO" and all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object)
    raise ParameterError(
        f"classes_ has labels of type {type(classes[0]).__name__}; ONNX has numbers, booleans "
        "and strings: fit to labels of such a type."
    )


def declare_outputs(scope: Any, inputs: Any, classes: np.ndarray, n_labels: int | None) -> Any:
    """Declare the outputs label and probabilities; ``n_labels`` is None if there is one label."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, guess_data_type

    labels = answers(classes)
    ((_, label),) = guess_data_type(labels.astype(str) if labels.dtype == object else labels)
    label.shape = [None] if n_labels is None else [None, n_labels]
    is_double = isinstance(inputs[0].type, DoubleTensorType)
    number = DoubleTensorType if is_double else FloatTensorType
    return [
        scope.declare_local_variable("label", label),
        scope.declare_local_variable("probabilities", number([None, n_labels or len(classes)])),
    ]


def add_operators(scope: Any, operator: Any, container: Any, fitted: Any) -> None:
    """Add the operators of a fitted classifier.

    ``fitted`` holds the first arguments of `operators`, its kind to its thresholds.
    """
    from onnx import helper
    from skl2onnx.common.data_types import DoubleTensorType

    (given,), outputs = operator.inputs, operator.outputs
    floats = np.dtype("float64" if isinstance(given.type, DoubleTensorType) else "float32")
    nodes, constants = operators(*fitted, floats=floats)
    to = helper.np_dtype_to_tensor_dtype(floats)
    nodes = [("Cast", "given", "X", {"to": to}), *nodes]  # of integers, or of nothing
    outer = {"given": given, "label": outputs[0], "probabilities": outputs[1]}
    names = {name: variable.full_name for name, variable in outer.items()}

    def unique(name: str) -> str:
        if name not in names:
            names[name] = scope.get_unique_variable_name(name)
        return names[name]

    for name, value in constants.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        values = value.ravel().tolist()
        container.add_initializer(unique(name), kind, list(value.shape), values)
    for op, takes, gives, how in nodes:
        container.add_node(op, [unique(name) for name in takes.split()], [unique(gives)], **how)
