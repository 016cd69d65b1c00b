"""JSON that is written already: the large parts of a row, which a span's row and its trace's row share.

The two rows of a root span carry the same input, output and metadata. Each is written once, and put into both
requests as it stands. Messages in the conventions' usual form, text with a role, are rewritten into Opik's form
without being read: their texts are JSON strings before and after.
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # the stubs leave it out
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Written", "chat_of", "choice_of", "dump", "object_text", "written"]


class Written(str):
    """The JSON text of a value."""

    __slots__ = ()


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
_MAKE: Final = getattr(json.encoder, "c_make_encoder", None)
_CHUNKS: Final = (
    None
    if _MAKE is None
    else _MAKE(None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", False, False, True)  # noqa: FBT003
)
"""The encoder that `JSONEncoder.encode` makes anew for each value, made once: half the cost of a small value."""


def dump(value: Any) -> str:
    """A value as compact JSON. A lone surrogate stays one; whoever encodes the text writes it as an escape."""
    return _ENCODER.encode(value) if _CHUNKS is None else "".join(_CHUNKS(value, 0))


_HEAD: Final = re.compile(r'\{"role": ?("[a-z]+"), ?"parts": ?\[\{"type": ?"text", ?"content": ?"')
"""A message of one text, up to the text."""
_TAIL: Final = re.compile(r'\}\](?:, ?"finish_reason": ?"([a-z_]+)")?\}(?:, ?(?=\{)|(\])\Z)')
"""What comes after the text, and whether that is the end of the list."""
_LONGEST: Final = 1 << 20
"""Characters; what is longer is read instead."""


def written(value: Any) -> Written:
    """`value` as `Written`; as it is if it is that already."""
    return value if type(value) is Written else Written(dump(value))


def chat_of(text: Any) -> Written | None:
    """`{"messages": [...]}` from messages that are one text each; None for anything else, which has to be read."""
    found = _messages(text)
    if found is None:
        return None
    messages = []
    for role, content, reason in found:
        finish = f',"finish_reason":"{reason}"' if reason else ""
        messages.append(f'{{"role":{role},"content":{content}{finish}}}')
    return Written(f'{{"messages":[{",".join(messages)}]}}')


def choice_of(text: Any, reasons: Any, words: Mapping[str, str]) -> Written | None:
    """`{"choices": [...]}` from answers that are one text each; None for anything else.

    `reasons` are the span's finish reasons, for answers without one; `words` translates them.
    """
    found = _messages(text)
    if found is None:
        return None
    given = reasons if isinstance(reasons, list) else []
    choices = []
    for index, (role, content, said) in enumerate(found):
        reason = said or (given[index] if index < len(given) else None)
        finish = f',"finish_reason":{dump(words.get(reason, reason))}' if isinstance(reason, str) and reason else ""
        choices.append(f'{{"index":{index},"message":{{"role":{role},"content":{content}}}{finish}}}')
    return Written(f'{{"choices":[{",".join(choices)}]}}')


def _messages(text: Any) -> list[tuple[str, str, str | None]] | None:
    """Role and content (both JSON texts) and finish reason of each message."""
    if not isinstance(text, str) or not text.startswith("[{") or len(text) > _LONGEST:
        return None
    if "\\ud" in text or "\\uD" in text:  # half a character, perhaps: reading replaces it
        return None
    found = []
    at = 1
    while True:
        head = _HEAD.match(text, at)
        if head is None:
            return None
        begin = head.end()
        try:
            _, end = scanstring(text, begin)  # the parser of JSON itself says where the string ends, and that it is one
        except ValueError:
            return None
        tail = _TAIL.match(text, end)
        if tail is None:
            return None
        found.append((head[1], text[begin - 1 : end], tail[1]))
        if tail[2]:
            return found
        at = tail.end()


def object_text(values: Mapping[str, Any]) -> str:
    """A JSON object of `values`, with what is written already put in as it stands."""
    plain = {}
    parts = []
    for key, value in values.items():
        if type(value) is Written:
            parts.append(f'"{key}":{value}')
        else:
            plain[key] = value
    if plain:
        parts.append(dump(plain)[1:-1])
    return f"{{{','.join(parts)}}}"
