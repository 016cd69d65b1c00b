"""Values made shorter without breaking them: text at a character, JSON inside its texts, lists within their items."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm.levels import water_level

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CUT", "MARKER", "byte_length", "characters_lost", "shrink_json", "shrink_text", "shrink_tree"]

CUT: Final = "…[truncated"
"""How every marker of a cut begins."""
MARKER: Final = f"{CUT}]"
"""Ends every text that was cut."""
_MARKER_BYTES: Final = len(MARKER.encode())
_COUNTED_BEGINS: Final = "…[truncated, "
_COUNTED: Final = re.compile(r"…\[truncated, (\d{1,18}) characters\]")
"""What `otel_llm.values` writes where it cuts."""
_COUNTED_AT_END: Final = re.compile(_COUNTED.pattern + r"\Z")
_LONGEST_MARKER: Final = 48
_SHORTEST_LEAF: Final = 64
"""Bytes below which no text inside a structure is cut: roles, types and ids are shorter than this."""
_MOST_VALUES: Final = 100_000

_dump: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def byte_length(text: str) -> int:
    """Length of `text` in UTF-8, without encoding it where that is not needed."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def shrink_text(text: str, limit: int) -> str:
    """`text` in at most `limit` bytes of UTF-8, cut between characters and marked; as it is if it fits.

    A text that was cut before keeps the count of what is missing. A limit shorter than the marker leaves part of it.
    """
    if byte_length(text) <= limit:
        return text
    counted = _COUNTED_AT_END.search(text, max(0, len(text) - _LONGEST_MARKER))
    if counted is not None:
        return _shrunk_again(text[: counted.start()], int(counted[1]), limit)
    if limit < _MARKER_BYTES:
        return _whole_characters(MARKER, limit)
    return _whole_characters(text, limit - _MARKER_BYTES) + MARKER


def _shrunk_again(text: str, lost: int, limit: int) -> str:
    """`text`, of which `lost` characters are missing already, in at most `limit` bytes; the marker counts all."""
    room = limit - len(f"…[truncated, {lost + len(text)} characters]".encode())
    if room < 0:
        return _whole_characters(MARKER, limit)
    kept = _whole_characters(text, room)
    return f"{kept}…[truncated, {lost + len(text) - len(kept)} characters]"


def characters_lost(text: str) -> int:
    """How many characters the markers in `text` say were cut from it before; 0 where none counts."""
    return sum(int(count) for count in _COUNTED.findall(text)) if _COUNTED_BEGINS in text else 0


def _whole_characters(text: str, limit: int) -> str:
    return text[:limit].encode("utf-8", "surrogatepass")[:limit].decode("utf-8", "ignore")


def shrink_json(text: str, limit: int) -> str | None:
    """JSON `text` as valid JSON of at most `limit` bytes, its longest texts cut.

    None if its structure alone is too large or too deep. Raises `ValueError` if `text` is not JSON.
    """
    try:
        tree = json.loads(text)
        return _dump(tree) if shrink_tree(tree, limit) else None
    except RecursionError:
        return None


def shrink_tree(tree: Any, limit: int) -> bool:
    """Cut the longest texts in `tree` (plain lists and dicts), in place, until it is at most `limit` bytes of JSON.

    False, and nothing is cut, if its structure alone is too large.
    """
    excess = _json_length(tree) - limit
    if excess <= 0:
        return True
    leaves = _long_leaves(tree)
    sizes = [leaf.size for leaf in leaves]
    level = water_level(sizes, sum(sizes) - excess)
    if level < _SHORTEST_LEAF:
        return False
    for leaf in leaves:
        if leaf.size > level:
            leaf.holder[leaf.key] = _cut_leaf(leaf.holder[leaf.key], level)
    return True


class _Leaf(NamedTuple):
    """A text inside a tree: where it hangs and how many bytes of JSON it takes, quotes apart."""

    holder: Any
    key: Any
    size: int


def _long_leaves(tree: Any) -> list[_Leaf]:
    """All texts that may be cut; none if there are too many values to look at on the program's thread."""
    leaves: list[_Leaf] = []
    pending, seen = [tree], 0
    while pending and seen <= _MOST_VALUES:
        holder = pending.pop()
        seen += len(holder) if isinstance(holder, (dict, list)) else 0
        for key, value in _items(holder):
            if isinstance(value, str) and len(value) >= _SHORTEST_LEAF // 4:
                leaves.append(_Leaf(holder, key, _json_length(value) - 2))
            elif isinstance(value, (dict, list)):
                pending.append(value)
    return leaves if seen <= _MOST_VALUES else []


def _items(holder: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(holder, dict):
        return holder.items()
    return enumerate(holder) if isinstance(holder, list) else ()


def _cut_leaf(text: str, limit: int) -> str:
    """`text` cut until its JSON form, escapes included, is at most `limit` bytes."""
    room = limit
    while True:
        cut = shrink_text(text, room)
        length = _json_length(cut) - 2
        if length <= limit or room <= _MARKER_BYTES:
            return cut
        room = min(room - 1, room * limit // length)


def _json_length(value: Any) -> int:
    return byte_length(_dump(value))
