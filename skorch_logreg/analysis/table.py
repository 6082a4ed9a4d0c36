"""Tables of results: as text, in notebooks and as data frames."""

from html import escape
from typing import Any

import numpy as np

from skorch_logreg.names import shorten

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

    def _text(self) -> dict[str, list[str]]:
        """Return the columns as text."""
        return {head: list(map(_format, values)) for head, values in self._columns().items()}

    def _rows(self) -> list[list[str]]:
        """Return the cells of all rows that are shown, the first row with the heads."""
        columns = self._text()
        names = shorten(map(_format, self._index()), 40)
        rows = list(map(list, zip(names, *columns.values(), strict=True)))
        if len(rows) > _MAX_ROWS:
            rows[_MAX_ROWS // 2 : -_MAX_ROWS // 2] = [["…"] * (1 + len(columns))]
        return [["", *columns], *rows]

    def to_frame(self) -> Any:
        """Return the table as a data frame of pandas, which has to be installed."""
        from pandas import DataFrame

        return DataFrame(self._columns(), index=list(self._index()))

    def __str__(self) -> str:
        rows = self._rows()
        width, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [
            name.ljust(width)
            + "".join(f"  {cell:>{max(w, 10)}}" for cell, w in zip(cells, widths, strict=True))
            for name, *cells in rows
        ]
        return "\n".join([*lines, *self._notes()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return the table in HTML, as notebooks show it."""
        head, *rows = ([escape(cell) for cell in row] for row in self._rows())
        lines = ["<table><thead><tr>", *(f"<th>{cell}</th>" for cell in head), "</tr></thead>"]
        for name, *cells in rows:
            lines += [f"<tr><th>{name}</th>", *(f"<td>{cell}</td>" for cell in cells), "</tr>"]
        notes = (f"<p>{escape(note)}</p>" for note in self._notes())
        return "".join([*lines, "</table>", *notes])


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)
