"""Validation of the parameters that are not their defaults."""

import inspect
from functools import cache
from typing import Any, ClassVar

from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints


class ValidatedParameters:
    """Mixin that validates only parameters that differ from their defaults.

    scikit-learn's estimators inspect their signature and check all parameters in every fit, which
    takes longer than the fit of a few rows.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]]

    def _validate_params(self) -> None:
        kind: Any = type(self)
        defaults = _valid_defaults(kind)
        values = {name: getattr(self, name) for name in defaults}
        given = {name: value for name, value in values.items() if value is not defaults[name]}
        validate_parameter_constraints(
            self._parameter_constraints, given, caller_name=kind.__name__
        )


@cache
def _valid_defaults(kind: Any) -> dict[str, Any]:
    """Return the valid defaults of an estimator's parameters; a new object for an invalid one."""
    found, signature = {}, inspect.signature(kind.__init__)
    for name in kind._get_param_names():
        found[name] = signature.parameters[name].default
        try:
            validate_parameter_constraints(
                kind._parameter_constraints, {name: found[name]}, caller_name=kind.__name__
            )
        except InvalidParameterError:  # a subclass may have an invalid default
            found[name] = object()
    return found
