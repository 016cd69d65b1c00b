"""Content as JSON text in its attribute's shape, also where there is too much of it.

`values` bounds any value, and says in the value itself where items were left out. In a conversation of thousands of
messages that leaves half a message at the end, or a text where a message should be: such entries go, and one that the
conventions' schemas allow says so in their place.
"""

from __future__ import annotations

from typing import Any, Final

from otel_llm import semconv
from otel_llm.values import MORE_ITEMS, PlainJson, to_json, to_plain

__all__ = ["content_json"]

_MOST_ENTRIES: Final = 1_000
"""Simple messages of which `values` takes all that are in them."""
_NOTE: Final[dict[str, Any]] = {"type": "text", "content": MORE_ITEMS}
_STAND_INS: Final[dict[str, dict[str, Any]]] = {
    semconv.INPUT_MESSAGES: {"role": "user", "parts": [_NOTE]},
    semconv.OUTPUT_MESSAGES: {"role": "assistant", "parts": [_NOTE]},
    semconv.SYSTEM_INSTRUCTIONS: _NOTE,
    semconv.TOOL_DEFINITIONS: {"type": MORE_ITEMS, "name": MORE_ITEMS},
    semconv.RETRIEVAL_DOCUMENTS: {"content": MORE_ITEMS},
}
"""Lists of objects, and the object that stands for those left out."""


def content_json(key: str, value: object) -> PlainJson:
    """`value` of the content attribute `key` as JSON text, bounded as `values.to_json` does; never raises.

    Of very long lists the beginning and the end are kept.
    """
    stand_in = _STAND_INS.get(key)
    if stand_in is None or not isinstance(value, list):
        return to_json(value)
    shortened = len(value) > _MOST_ENTRIES
    entries = [*value[: _MOST_ENTRIES // 2], stand_in, *value[-_MOST_ENTRIES // 2 :]] if shortened else value
    made = to_json(entries)
    if made.replaced and MORE_ITEMS in made.text:
        plain = to_plain(entries).value
        whole = [entry for entry in plain if _is_whole(entry)]
        if len(whole) != len(plain):
            made = to_json([*whole, stand_in])
            shortened = True
    return PlainJson(made.text, made.replaced or shortened)


def _is_whole(entry: Any) -> bool:
    """Whether nothing was left out of an entry, of its parts, or of what a part is made of."""
    if not isinstance(entry, dict) or MORE_ITEMS in entry:
        return False
    parts = entry.get("parts")
    return not isinstance(parts, list) or all(isinstance(part, dict) and MORE_ITEMS not in part for part in parts)
