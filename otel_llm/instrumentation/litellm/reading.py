"""Read a datum out of whatever litellm holds: a dict, a pydantic model, an SDK object, or nothing at all.

litellm answers with its own pydantic models in most places, with dicts in some, and differs between versions.
Nothing here raises for a missing or odd value; it reads as None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from otel_llm.faults import let_through

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["get", "hidden_of", "items", "members_of", "number", "path", "readable", "text", "tokens"]


def readable(value: object) -> bool:
    """Whether `value` can be asked for its class, as `isinstance` does; one whose every attribute raises cannot."""
    try:
        value.__class__  # noqa: B018  (asking is the point)
    except Exception as error:  # noqa: BLE001  (the program's own class raised: that is the answer)
        let_through(error)
        return False
    return True


def get(source: object, name: str) -> Any:
    """`source[name]` or `source.name`; None where there is neither."""
    if type(source) is dict:
        return source.get(name)
    if source is None:
        return None
    if isinstance(source, (dict, Mapping)):  # `Mapping` alone is asked by way of `abc`, which is slow
        return source.get(name)
    return getattr(source, name, None)


def members_of(source: object) -> Callable[[str], Any]:
    """`get` of one source: for who asks it for many names."""
    if isinstance(source, dict):
        return source.get
    return _nothing if source is None else partial(get, source)


def _nothing(_: str) -> None:
    return None


def hidden_of(answer: object) -> Mapping[str, Any]:
    """What litellm keeps beside an answer: a dict, or an object of its own on text completions."""
    hidden = get(answer, "_hidden_params")
    if type(hidden) is dict:
        return hidden
    if isinstance(hidden, Mapping):
        return hidden
    own = getattr(hidden, "__dict__", None)
    return {**own, **(getattr(hidden, "__pydantic_extra__", None) or {})} if isinstance(own, dict) else {}


def path(source: object, *names: str) -> Any:
    """Follow several names in turn; None as soon as one is missing."""
    for name in names:
        source = get(source, name)
        if source is None:
            return None
    return source


def items(value: object) -> Sequence[Any]:
    """`value` where it is a list or tuple, else an empty one."""
    return value if isinstance(value, (list, tuple)) else ()


def text(value: object) -> str | None:
    """`value` where it is a non-empty string (an enum of strings counts by its value)."""
    if value is None:
        return None
    if type(value) is str:
        return value or None
    value = getattr(value, "value", value)
    return value if isinstance(value, str) and value else None


def tokens(value: object) -> int | None:
    """`value` where it can be a count of tokens: a non-negative whole number."""
    if value is None:
        return None
    if type(value) is int:
        return value if value >= 0 else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if value >= 0 else None


def number(value: object) -> float | None:
    """`value` as a float where it is a finite number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an int beyond all floats
        return None
