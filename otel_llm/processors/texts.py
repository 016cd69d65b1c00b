"""The texts among a span's attributes, found in a few steps of C: which names have texts is nearly always the same.

Every stage that looks at texts would else ask each attribute what it is, and that is most of what such a stage costs.
What kinds of values a set of names has is noted once; afterwards the values are only held against it.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BETWEEN", "Texts", "texts_of"]

_Getter: TypeAlias = "Callable[[dict[str, Any]], tuple[Any, ...]]"
_MOST_KNOWN: Final = 1024
_NUMBERS: Final = frozenset({int, float, bool})
BETWEEN: Final = " \n"
"""Stands between texts that are searched together."""


class Texts(NamedTuple):
    """All texts among the values of some attributes."""

    each: list[str]
    """Those of one list in one."""
    together: str
    """All in one, with `BETWEEN` between them."""


class _Kinds(NamedTuple):
    """Attributes by what their values are."""

    texts: _Getter
    numbers: _Getter
    lists: tuple[str, ...]
    """Names of tuples of texts."""


_known: dict[tuple[str, ...], _Kinds | None] = {}
"""By the names of attributes; None where there is something else among them."""


def texts_of(attributes: dict[str, Any]) -> Texts | None:
    """All texts among the values; None where a value is neither text, nor a tuple of texts, nor a number.

    What is none of these may hold texts, too: whoever needs them all looks at each value then.
    """
    names = tuple(attributes)
    try:
        kinds = _known[names]
    except KeyError:
        kinds = _noted(names, attributes)
    if kinds is None:
        return None
    try:
        texts = [*kinds.texts(attributes)]
        for name in kinds.lists:
            value = attributes[name]
            if type(value) is not tuple:
                return None
            texts.append(BETWEEN.join(value))
        sum(kinds.numbers(attributes))  # raises for what is no number, as `join` does for what is no text
        return Texts(texts, BETWEEN.join(texts))
    except Exception:  # noqa: BLE001  (a value that is not what the name's was before; it raises what it likes)
        return None


def _noted(names: tuple[str, ...], attributes: dict[str, Any]) -> _Kinds | None:
    texts, lists, numbers = [], [], []
    for name, value in attributes.items():
        kind = type(value)
        if kind is str:
            texts.append(name)
        elif kind in _NUMBERS:
            numbers.append(name)
        elif kind is tuple and all(type(entry) is str for entry in value):
            lists.append(name)
    whole = len(texts) + len(lists) + len(numbers) == len(attributes)
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    found = _known[names] = _Kinds(_getter(texts), _getter(numbers), tuple(lists)) if whole else None
    return found


def _getter(names: list[str]) -> _Getter:
    """A function that answers the values of these names."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda attributes: tuple([attributes[name] for name in names])
