"""Conversion of linear classifiers by skl2onnx, as steps of its graphs of pipelines."""

from typing import Any

import numpy as np

from skorch_logreg.estimators import onnx_graph


def declare_outputs(scope: Any, inputs: Any, classes: np.ndarray, n_labels: int | None) -> Any:
    """Declare the outputs label and probabilities; ``n_labels`` is None if there is one label."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, guess_data_type

    answers = onnx_graph.answers(classes)
    ((_, label),) = guess_data_type(answers.astype(str) if answers.dtype == object else answers)
    label.shape = [None] if n_labels is None else [None, n_labels]
    is_double = isinstance(inputs[0].type, DoubleTensorType)
    number = DoubleTensorType if is_double else FloatTensorType
    return [
        scope.declare_local_variable("label", label),
        scope.declare_local_variable("probabilities", number([None, n_labels or len(classes)])),
    ]


def add_operators(scope: Any, operator: Any, container: Any, fitted: Any) -> None:
    """Add the operators of a fitted classifier.

    ``fitted`` holds the first arguments of `onnx_graph.operators`, its kind to its thresholds.
    """
    from onnx import helper
    from skl2onnx.common.data_types import DoubleTensorType

    (given,), outputs = operator.inputs, operator.outputs
    floats = np.dtype("float64" if isinstance(given.type, DoubleTensorType) else "float32")
    nodes, constants = onnx_graph.operators(*fitted, floats=floats)
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
