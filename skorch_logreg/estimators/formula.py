"""Model matrices and logistic regressions of formulas."""

import re
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.pipeline import Pipeline
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skorch_logreg.estimators.classifier import TorchLogisticClassifier
from skorch_logreg.estimators.persistence import restore_on_failure
from skorch_logreg.exceptions import ParameterError
from skorch_logreg.inputs.arrays import are_missing


class FormulaFeatures(TransformerMixin, BaseEstimator):
    """Transform the columns of a data frame into the features of a formula.

    Formulas are those of R's `glm` and statsmodels, as `formulaic` reads them: ``a + b``,
    ``a * b``, ``C(g)``, ``bs(x, 4)``, ``np.log(x)``, ```mean radius```, and ``.`` for the sum of
    all columns. It needs ``pip install "skorch-logreg[formula]"``.

    Parameters
    ----------
    formula : str
        Right side of a formula. It is Python code: do not use one from a source that you do not
        trust.
    sparse_output : bool, default=False
        Whether `transform` returns a CSR array.

    Attributes
    ----------
    spec_ : formulaic.ModelSpec
        Terms with the levels, knots, means and so on of the rows of the fit.
    n_features_in_, feature_names_in_
        Number and names of the columns that the formula uses; of an array, all columns.

    See Also
    --------
    logit : Fit a logistic regression of a formula.

    Notes
    -----
    The constant is never a feature, as the classifier's intercept is one. A formula with ``0 +`` or
    ``- 1`` has a column for every level of its first factor.

    Columns of an array are named x0, x1 and so on. Other columns of a data frame are ignored.
    Values that the formula cannot use are an error, in `fit` and `transform`: a missing value
    (impute it first), a level that `fit` has not seen, a value beyond the knots
    of ``bs(x, 4)``, for which ``bs(x, 4, extrapolation="extend")`` is another choice.

    A fitted one can be pickled, but skops cannot write formulaic's terms.

    Examples
    --------
    >>> import pandas as pd
    >>> from skorch_logreg import FormulaFeatures
    >>> data = pd.DataFrame({"dose": [1.0, 2.0, 4.0], "drug": ["new", "old", "new"]})
    >>> features = FormulaFeatures("np.log(dose) * drug").fit(data)
    >>> features.get_feature_names_out().tolist()
    ['np.log(dose)', 'drug[T.old]', 'np.log(dose):drug[T.old]']
    >>> features.transform(data).round(2)
    array([[0.  , 0.  , 0.  ],
           [0.69, 1.  , 0.69],
           [1.39, 0.  , 0.  ]])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "formula": [str],
        "sparse_output": ["boolean"],
    }

    def __init__(self, formula: str, *, sparse_output: bool = False) -> None:
        self.formula = formula
        self.sparse_output = sparse_output

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the levels, knots and so on of the formula's terms.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ParameterError
            If the formula cannot be read, names an unknown column or has no features, or X has a
            missing value in one of its columns.
        ImportError
            If formulaic is not installed.
        """
        with restore_on_failure(self):
            is_frame = hasattr(X, "columns")
            frame = X if is_frame else self._named(validate_data(self, X))
            if len(frame) == 0:
                raise ValueError("X has 0 rows; a minimum of 1 is required.")
            right, outcome, _ = _parse(self.formula, frame.columns)
            if outcome is not None:
                raise ParameterError(f"formula={self.formula!r} has an outcome; see logit.")
            spec = self._materialise(right, frame).model_spec
            if set(spec.column_names) <= {"Intercept"}:
                raise ParameterError(f"formula={self.formula!r} has no features.")
            if is_frame:
                used = [name for name in frame.columns if name in spec.required_variables]
                self.feature_names_in_ = np.array(used, dtype=object)
                self.n_features_in_ = len(used)
            self.spec_ = spec
        return self

    def transform(self, X: Any) -> Any:
        """Compute the features of rows.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            Rows with the columns of the formula.

        Returns
        -------
        features : ndarray or csr_array of shape (n_samples, n_features_out), float64

        Raises
        ------
        ParameterError
            If X lacks a column, or has a missing value, a level that `fit` has not seen, or numbers
            for categories or the reverse.
        """
        check_is_fitted(self)
        if not hasattr(X, "columns"):
            X = self._named(validate_data(self, X, reset=False))
        # a copy: formulaic writes the kinds of the factors of X into it
        spec = self.spec_.update(encoder_state=dict(self.spec_.encoder_state))
        matrix = self._materialise(spec, X)
        for name, (kind, _) in matrix.model_spec.encoder_state.items():
            known = self.spec_.encoder_state[name][0]
            if kind is not known:
                raise ParameterError(
                    f"formula={self.formula!r}: {name!r} is {kind.value} in X and was "
                    f"{known.value} in fit; convert the column to the type that it had."
                )
        kept = [name != "Intercept" for name in self.spec_.column_names]
        if self.sparse_output:
            return sp.csr_array(matrix, dtype=np.float64)[:, kept]
        return np.asarray(matrix, dtype=np.float64)[:, kept]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the features, as formulaic writes them.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        names = [name for name in self.spec_.column_names if name != "Intercept"]
        return np.array(names, dtype=object)

    def _materialise(self, formula: Any, frame: Any) -> Any:
        """Evaluate a formula, or its specification from another frame."""
        formulaic = _formulaic()
        columns = list(getattr(formula, "required_variables", ()))
        unknown = sorted(name for name in columns if name not in list(frame.columns))
        if unknown:
            raise ParameterError(
                f"formula={self.formula!r} names {unknown[0]!r}, which X lacks; its columns are "
                f"{', '.join(map(str, list(frame.columns)[:10]))}."
            )
        output = "sparse" if self.sparse_output else "numpy"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", formulaic.errors.DataMismatchWarning)
                return formulaic.model_matrix(
                    formula, frame, context={}, na_action="raise", output=output
                )
        except (formulaic.errors.FormulaicError, Warning, ValueError, TypeError) as error:
            raise ParameterError(f"formula={self.formula!r}: {error}") from error

    def _named(self, X: Any) -> Any:
        from pandas import DataFrame

        return DataFrame(X, columns=[f"x{j}" for j in range(X.shape[1])])

    def __sklearn_tags__(self) -> Tags:
        """Return tags: columns may hold strings."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        return tags


def logit(
    formula: str, data: Any, *, C: float = np.inf, sample_weight: Any = None, **params: Any
) -> Pipeline:
    """Fit a logistic regression of a formula.

    Parameters
    ----------
    formula : str
        Outcome and terms, such as ``"sick ~ age * C(drug)"``; see `FormulaFeatures`. With ``0 +``
        or ``- 1`` the model has no intercept; ``.`` is the sum of all columns but the outcome.
    data : data frame
        Rows with the columns of the formula.
    C : float, default=inf
        Inverse regularisation strength; inf: no penalty.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        Weights of the rows.
    **params
        Other parameters of `TorchLogisticClassifier`.

    Returns
    -------
    model : Pipeline
        Fitted steps "features", a `FormulaFeatures`, and "classifier", a
        `TorchLogisticClassifier`. It takes data frames, as do `summary`, `marginal_effects` and
        so on, whose tables have the formula's names.

    Raises
    ------
    ParameterError
        If the formula cannot be read, has no outcome or names an unknown column, the outcome does
        not have two values, or a value is missing.
    ImportError
        If formulaic is not installed.

    Examples
    --------
    >>> import pandas as pd
    >>> from skorch_logreg import logit, summary, wald_test
    >>> data = pd.DataFrame({"dose": [1, 2, 3, 4, 5, 6, 7, 8] * 9, "drug": list("abc") * 24})
    >>> data["cured"] = [(i * 7 + dose) % 12 > 6 for i, dose in enumerate(data["dose"])]
    >>> model = logit("cured ~ dose + drug", data)
    >>> found = summary(model, data, data["cured"])
    >>> found.names
    ('dose', 'drug[T.b]', 'drug[T.c]', 'intercept')
    >>> wald_test(found, "`drug[T.b]` = `drug[T.c]`").df
    1
    """
    right, outcome, terms = _parse(formula, data.columns)
    if outcome is None:
        raise ParameterError(f"formula={formula!r} has no outcome; expected 'outcome ~ terms'.")
    if outcome not in data.columns:
        raise ParameterError(
            f"formula={formula!r} has the outcome {outcome!r}, expected a column of data: "
            f"{', '.join(map(str, list(data.columns)[:10]))}."
        )
    y = np.asarray(data[outcome])
    missing = are_missing(y)
    values = list(dict.fromkeys(y[~missing].tolist()))
    if len(values) != 2 or missing.any() or len(set(map(type, values))) > 1:
        raise ParameterError(
            f"The outcome {outcome!r} must have two values of one type and no missing ones; it has "
            f"{values[:5]}{' and missing ones' if missing.any() else ''}."
        )
    params.setdefault("fit_intercept", "1" in map(str, right))
    features = FormulaFeatures(terms)
    classifier = TorchLogisticClassifier(C=C, **params)
    weights = {} if sample_weight is None else {"classifier__sample_weight": sample_weight}
    return Pipeline([("features", features), ("classifier", classifier)]).fit(data, y, **weights)


def _parse(formula: str, columns: Iterable[Any]) -> tuple[Any, str | None, str]:
    """Return the terms of a formula, the name of its outcome or None, and its right side.

    ``.`` is replaced there by all other columns.
    """
    formulaic = _formulaic()
    left, tilde, terms = formula.partition("~") if "~" in formula else ("", "", formula)
    outcome = left.strip().strip("`")
    terms = _with_columns(terms.strip(), [name for name in columns if name != outcome])
    try:
        found = formulaic.Formula(left + tilde + terms)
    except formulaic.errors.FormulaicError as error:
        reason = str(error).splitlines()[0]  # the others mark the place with colours
        raise ParameterError(f"formula={formula!r} cannot be read: {reason}") from error
    right = getattr(found, "rhs", found)
    if not hasattr(right, "required_variables"):
        raise ParameterError(f"formula={formula!r} has several parts; expected one, without '|'.")
    return right, outcome if hasattr(found, "lhs") else None, terms


def _with_columns(terms: str, columns: Iterable[Any]) -> str:
    """Replace ``.`` by the sum of the columns, but not in quoted names, strings and numbers."""
    every = " + ".join(f"`{name}`" for name in columns)
    other = r"""(`[^`]*`|'[^']*'|"[^"]*")"""
    return re.sub(rf"{other}|(?<![\w.)\]])\.(?![\w.])", lambda at: at[1] or f"({every})", terms)


def _formulaic() -> Any:
    try:
        import formulaic
    except ImportError as error:
        raise ImportError(
            'Formulas need formulaic: pip install "skorch-logreg[formula]".'
        ) from error
    return formulaic
