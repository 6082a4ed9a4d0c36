"""Look-up of features, classes and labels by their names."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import count
from os.path import commonprefix
from typing import Any

import numpy as np

from skorch_logreg.exceptions import ParameterError


def first_names(names: Iterable[Any]) -> str:
    """Join at most five names for a message, with the number of the others."""
    texts = list(map(str, names))
    shown = texts[:5]
    if len(texts) > len(shown):
        shown[-1] += f" and {len(texts) - len(shown)} more"
    return ", ".join(shown)


def index_of(name: Any, names: Any, parameter: str) -> int:
    """Return the index of a name among all; raise a ParameterError unless it is there once."""
    names = np.asarray(names)
    found = np.flatnonzero(names == name)
    if not len(found):
        known = ", ".join(map(repr, names.tolist()[:10])) + (", ..." if len(names) > 10 else "")
        raise ParameterError(f"{parameter} is {name!r}; it must be one of {known}.")
    if len(found) > 1:
        raise ParameterError(f"{parameter} is {name!r}, which is the name of {len(found)} of them.")
    return int(found[0])


def in_order(given: Any, names: Any, parameter: str, default: Any) -> Any:
    """Return a dict, or a pandas Series, of named features as a list in the order of the names.

    Features that are left out get the default. All else is returned as it is.
    """
    if is_series(given) and all(isinstance(name, str) for name in given.index):
        given = given.to_dict()
    if not isinstance(given, Mapping):
        return given
    values = [default] * len(names if names is not None else ())
    places = indices_by_name(given, names, parameter)
    for place, value in zip(places, given.values(), strict=True):
        values[place] = value
    return values


def is_series(given: Any) -> bool:
    """Return True for a pandas Series."""
    return hasattr(given, "to_dict") and hasattr(given, "index") and given.ndim == 1


def value_of_each(given: Any, names: Any, parameter: str) -> Any:
    """Return a dict, or a pandas Series, with a value for each name as a list in their order.

    All else is returned as it is.
    """
    if not (isinstance(given, Mapping) or is_series(given)):
        return given
    if Counter(given.keys()) != Counter(names):
        raise ParameterError(
            f"{parameter} has values for {first_names(given.keys())}; expected one for each of "
            f"{first_names(names)}."
        )
    by_name = dict(given.items())
    return [by_name[name] for name in names]


def indices_by_name(wanted: Collection[Any], names: Any, parameter: str) -> list[int]:
    """Return the indices of features; raise a ParameterError if X has no or other names."""
    if names is None:
        raise ParameterError(
            f"{parameter} names features, but X has no names of features. Fit a data frame; behind "
            "transformers, call set_output(transform='pandas') of the pipeline."
        )
    places = {name: place for place, name in enumerate(names)}
    counts = Counter(names)
    repeated = [name for name in wanted if counts[name] > 1]
    if repeated:
        raise ParameterError(
            f"{parameter} names {repeated[0]!r}, which {counts[repeated[0]]} features of X are."
        )
    return [
        places[name] if name in places else index_of(name, names, f"A feature of {parameter}")
        for name in wanted
    ]


def place_of(index: int, names: Any) -> str:
    """Return the quoted name of a feature, or its index if X has no names."""
    return str(index) if names is None else repr(str(names[index]))


def shorten(names: Iterable[Any], longest: int = 32) -> list[str]:
    """Replace the middle of long names by an ellipsis; different names stay different.

    Names with the same beginning and end show the part that differs too, or else a number.
    """
    texts, head = [str(name) for name in names], longest // 4
    alike: dict[str, list[str]] = defaultdict(list)
    short: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        tail = text[len(text) - (longest - head - 1) :]
        alike[text if len(text) <= longest else f"{text[:head]}…{tail}"].append(text)
    for common, group in alike.items():
        shown = [common] * len(group)
        if len(group) > 1 and longest >= 16:
            rests = [text[len(commonprefix(group)) :] for text in group]
            end = len(commonprefix([rest[::-1] for rest in rests]))
            room = longest - head - 2
            middles = shorten([rest[: len(rest) - end] for rest in rests], room)
            tails = (common[len(common) - min(room - len(middle), end) :] for middle in middles)
            shown = [f"{common[:head]}…{m}…{tail}" for m, tail in zip(middles, tails, strict=True)]
        short |= dict(zip(group, shown, strict=True))
    counts, numbers = Counter(short.values()), count(1)
    for text, shown_as in short.items():
        if counts[shown_as] > 1:
            short[text] = f"{shown_as[: longest - 6]}… #{next(numbers)}"
    return [short[text] for text in texts]
