"""Tables of results: as text, in notebooks and as data frames."""

from collections.abc import Collection, Sequence
from dataclasses import fields
from html import escape
from itertools import product
from typing import Any

import numpy as np
from scipy import stats

from skorch_logreg.exceptions import ParameterError
from skorch_logreg.names import index_of, shorten

_MAX_ROWS = 60  # shown, as in pandas; of a longer table the first and the last ones


class Table:
    """Mixin that shows a result as a table: printed, in notebooks and as a data frame.

    A subclass has `_columns`, `names` of the rows or `_index`, and may have `_notes`.
    """

    names: Any

    def _index(self) -> Any:
        """Return the names of the rows."""
        return self.names

    def _columns(self) -> dict[str, Any]:
        """Return the columns by their heads."""
        raise NotImplementedError

    def _notes(self) -> list[str]:
        """Return the lines below the table."""
        return []

    def _text(self, shown: list[int]) -> dict[str, list[str]]:
        """Return the columns of some rows as text."""
        columns = self._columns().items()
        return {head: [_format(values[row]) for row in shown] for head, values in columns}

    def _rows(self) -> list[list[str]]:
        """Return the cells of all rows that are shown, the first row with the heads."""
        index, half = self._index(), _MAX_ROWS // 2
        is_long = len(index) > _MAX_ROWS
        shown = [*range(half), *range(-half, 0)] if is_long else list(range(len(index)))
        columns = self._text(shown)
        names = shorten([_format(index[row]) for row in shown], 40)
        rows = list(map(list, zip(names, *columns.values(), strict=True)))
        if is_long:
            rows.insert(half, [f"… {len(index) - _MAX_ROWS} more", *["…"] * len(columns)])
        return [["", *columns], *rows]

    def to_frame(self) -> Any:
        """Return the table as a data frame of pandas, which has to be installed."""
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ImportError('to_frame needs pandas: pip install "skorch-logreg[cli]".') from error
        return DataFrame(self._columns(), index=list(self._index()))

    def __str__(self) -> str:
        return "\n".join([*align_columns(self._rows(), least=10), *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table in HTML, as notebooks show it."""
        head, *rows = ([escape(cell) for cell in row] for row in self._rows())
        lines = ["<table><thead><tr>", *(f"<th>{cell}</th>" for cell in head), "</tr></thead>"]
        for name, *cells in rows:
            lines += [f"<tr><th>{name}</th>", *(f"<td>{cell}</td>" for cell in cells), "</tr>"]
        notes = (f"<p>{escape(note)}</p>" for note in self._notes())
        return "".join([*lines, "</table>", *notes])


def check_single_outcome(**tables: Any) -> None:
    """Raise a ParameterError if one of some named tables is that of many outcomes."""
    for name, table in tables.items():
        if isinstance(table, OutcomeRows):
            raise ParameterError(
                f"{name} has {len(table.outcomes)} outcomes; choose the table of one: "
                f"{name}[{table.outcomes[0]!r}]."
            )


class OutcomeRows(Table):
    """Mixin of a table with a row for each parameter, ``names``, of each of the ``outcomes``."""

    outcomes: Any
    p_value: Any

    @property
    def adjusted_p(self) -> np.ndarray:
        """P-values adjusted over the outcomes, of shape (n_outcomes, n_params).

        A test without a p-value is left out, and the number of tests of its parameter is smaller.
        """
        p_value = self.p_value
        found, is_known = np.full_like(p_value, np.nan), ~np.isnan(p_value)
        for param, known in enumerate(is_known.T):
            if known.any():
                adjusted = stats.false_discovery_control(p_value[known, param])
                found[known, param] = adjusted
        return found

    def _columns(self) -> dict[str, Any]:
        columns = super()._columns() | {"adjusted p": self.adjusted_p}
        return {head: values.ravel() for head, values in columns.items()}

    def _fields_of(self, outcome: Any) -> dict[str, Any]:
        """Return the fields of the table of one outcome."""
        this: Any = self  # a dataclass
        each = index_of(outcome, self.outcomes, "The outcome")
        found = {field.name: getattr(self, field.name) for field in fields(this)}
        del found["outcomes"], found["messages"]
        for name, value in found.items():
            if isinstance(value, np.ndarray):
                found[name] = value[each] if value.ndim > 1 else value[each].item()
        return found | {"classes": np.arange(2)}

    def _index(self) -> list[tuple[Any, str]]:
        return list(product(self.outcomes.tolist(), self.names))

    def to_frame(self) -> Any:
        """Return the table as a data frame of pandas, indexed by outcome and term."""
        frame = super().to_frame()
        from pandas import MultiIndex

        frame.index = MultiIndex.from_tuples(self._index(), names=["outcome", "term"])
        return frame


def align_columns(
    rows: Sequence[Sequence[str]], left: Collection[int] = (0,), least: int = 0
) -> list[str]:
    """Align the columns ``left`` to the left, and others to the right, with a ``least`` width."""
    columns = []
    for index, column in enumerate(zip(*rows, strict=True)):
        width = max(map(len, column))
        columns.append(
            [c.ljust(width) if index in left else c.rjust(max(width, least)) for c in column]
        )
    return ["  ".join(row).rstrip() for row in zip(*columns, strict=True)]


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return ": ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
