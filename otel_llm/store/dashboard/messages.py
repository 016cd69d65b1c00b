"""What people and models said, where it was recorded: the conventions' messages as text, anything else as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.store.dashboard.html import Html, tag

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MESSAGE_ATTRIBUTES", "Room", "conversation", "pretty"]

_HEADINGS: Final = {
    semconv.SYSTEM_INSTRUCTIONS: "System instructions",
    semconv.INPUT_MESSAGES: "Input",
    semconv.OUTPUT_MESSAGES: "Output",
}
MESSAGE_ATTRIBUTES: Final = frozenset(_HEADINGS)
"""Attributes that are shown as messages, and not among the others."""
_PLAIN_KINDS: Final = frozenset({"text", "reasoning"})
_MOST_MESSAGES: Final = 200
_ONE_LINE: Final = 80
"""Characters of JSON that need no indentation."""


class Room:
    """How many characters of recorded values a page still takes: it stays readable, whatever was recorded."""

    def __init__(self, characters: int) -> None:
        self._left = characters

    def shown(self, value: str, most: int) -> tuple[str, Html | None]:
        """As much of `value` as there is room for, at most `most` characters, and a note on what is missing."""
        end = max(0, min(most, self._left))
        self._left -= min(end, len(value))
        if len(value) <= end:
            return value, None
        return value[:end], tag("small", f" ... {len(value) - end:,} more characters are in the store", class_="cut")


def conversation(attributes: Mapping[str, Any], room: Room) -> Html | None:
    """The messages of a span in the order in which they were said; None where no content was recorded."""
    made = [
        tag("div", tag("h3", heading), *_messages(attributes[name], room))
        for name, heading in _HEADINGS.items()
        if name in attributes
    ]
    return tag("section", tag("h2", "Messages"), *made, class_="messages") if made else None


def pretty(value: Any) -> str:
    """A value as text: a string as it is, or as the indented JSON that it holds; everything else as JSON."""
    if isinstance(value, str):
        if value[:1] not in {"{", "["}:
            return value
        value = _parsed(value)
        if isinstance(value, str):
            return value
    try:
        short = json.dumps(value, ensure_ascii=False)
        return short if len(short) <= _ONE_LINE else json.dumps(value, ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return str(value)


def _parsed(value: Any) -> Any:
    """What a string of JSON holds, or the value itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _messages(value: Any, room: Room) -> list[Html]:
    found = _parsed(value)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        return [_message("", [_block(pretty(value), room)])]
    if found and all("role" not in entry for entry in found):
        found = [{"parts": found}]  # system instructions are parts without a message around them
    made = [_of_entry(entry, room) for entry in found[:_MOST_MESSAGES]]
    if len(found) > _MOST_MESSAGES:
        made.append(tag("p", f"{len(found) - _MOST_MESSAGES:,} more messages are in the store.", class_="cut"))
    return made


def _of_entry(entry: dict[str, Any], room: Room) -> Html:
    parts = entry.get("parts", entry.get("content", []))
    blocks = [_part(part, room) for part in parts] if isinstance(parts, list) else [_block(pretty(parts), room)]
    reason = entry.get("finish_reason")
    note = tag("small", f" finish reason: {reason}") if reason else None
    return _message(str(entry.get("role", "")), blocks, note)


def _message(role: str, blocks: list[Html], note: Html | None = None) -> Html:
    return tag(
        "div", tag("p", tag("b", role), note, class_="role") if role or note else None, *blocks, class_="message"
    )


def _part(part: Any, room: Room) -> Html:
    if not isinstance(part, dict):
        return _block(pretty(part), room)
    kind = str(part.get("type", "part"))
    if kind in _PLAIN_KINDS and isinstance(part.get("content"), str):
        return tag("div", None if kind == "text" else tag("small", kind), _block(part["content"], room))
    name = part.get("name")
    rest = {key: value for key, value in part.items() if key not in {"type", "name"} and value is not None}
    rest = {key: _parsed(value) for key, value in rest.items()}
    return tag("div", tag("small", kind, " ", tag("b", name) if name else None), _block(pretty(rest), room))


def _block(shown: str, room: Room) -> Html:
    kept, note = room.shown(shown, 20_000)
    return tag("pre", kept, note)
