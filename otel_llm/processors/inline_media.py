"""Images and audio that other instrumentations leave in a span as base64: replaced by type, size and hash.

The recorder of this package never puts them there. A run of base64 of a kilobyte or more is not prose, whatever stands
around it; inside JSON text, what replaces it needs no escape, so the JSON stays valid.

With the setting `media.keep`, what a span names by hash is also kept as a file.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import Event

from otel_llm import semconv

if TYPE_CHECKING:
    from otel_llm.processors.draft import SpanDraft
    from otel_llm.store.media import MediaFiles

__all__ = ["InlineMedia"]

_SHORTEST: Final = 1024
"""Characters of base64 below which a run is left alone: hashes, keys, thought signatures."""
_LONGEST: Final = 32 * 1024 * 1024
"""Characters above which a text is left to the size limits: hashing it takes time that is the program's."""
_HASH_DIGITS: Final = 16
_BASE64: Final = re.compile(
    rf"(?:data:(?P<type>[\w.+-]{{1,64}}/[\w.+-]{{1,64}})(?:;[\w.=-]{{1,64}}){{0,4}};base64,)?"
    rf"(?<![A-Za-z0-9+/_=-])(?P<data>[A-Za-z0-9+/_-]{{{_SHORTEST},}}={{0,2}})",
    re.ASCII,
)
_TO_LAST_WIDE: Final = re.compile(r".*[^\x00-\x7f]", re.DOTALL)
_NAMED: Final = re.compile(r'"base64_sha256": ?"([0-9a-f]{64})"')
_MESSAGES: Final = (semconv.INPUT_MESSAGES, semconv.OUTPUT_MESSAGES)


class InlineMedia:
    """End stage: replaces long base64 in the texts of a span and its events. Belongs after the content policy.

    `files` keep what a span that is not left out names by hash: what is replaced here, and what the recorder took out.
    """

    name = "inline media"

    def __init__(self, files: MediaFiles | None = None) -> None:
        self._files = files

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Replace what there is; a span without it costs a few looks into its longer texts."""
        files = self._files if not draft.left_out else None
        if files is not None:
            _keep_named(draft.attributes, files)
        texts = draft.texts
        if texts is None or _has_run(texts.together):
            _replace_in(draft.attributes, files)
        if draft.events and any(
            _is_dense(value) for event in draft.events for value in (event.attributes or {}).values()
        ):
            draft.events = tuple(_without_media(event, files) for event in draft.events)
        return draft


def _keep_named(attributes: dict[str, Any], files: MediaFiles) -> None:
    for key in _MESSAGES:
        value = attributes.get(key)
        if isinstance(value, str) and "base64_sha256" in value:
            for digest in _NAMED.findall(value):
                files.keep(digest)


def _replace_in(attributes: dict[str, Any], files: MediaFiles | None) -> None:
    for key, value in attributes.items():
        if isinstance(value, str) and len(value) >= _SHORTEST and _is_dense(value):
            attributes[key] = _BASE64.sub(lambda match: _described(match, files), value)


def _without_media(event: Event, files: MediaFiles | None) -> Event:
    attributes = dict(event.attributes or {})
    _replace_in(attributes, files)
    return Event(event.name, attributes, event.timestamp)


def _is_dense(value: Any) -> bool:
    """Whether an attribute is a text that may hold a run of base64, and is not too long to be searched."""
    return isinstance(value, str) and len(value) <= _LONGEST and _has_run(value)


def _has_run(text: str) -> bool:
    """Whether there is so long a piece without a space, a quote or a letter beyond ASCII."""
    at, last = 0, len(text) - _SHORTEST
    while at <= last:
        end = at + _SHORTEST
        found = text.rfind(" ", at, end)
        if found < 0:
            found = text.rfind('"', at, end)
        if found >= 0:
            at = found + 1
        else:
            beyond = _TO_LAST_WIDE.match(text, at, end)
            if beyond is None:
                return True
            at = beyond.end()
    return False


def _described(match: re.Match[str], files: MediaFiles | None) -> str:
    data = match.group("data")
    size = len(data.rstrip("=")) * 3 // 4
    digest = hashlib.sha256(data.encode()).hexdigest()
    if files is not None and match.group("type"):  # without a type it may be anything: a key, a signature, a vector
        files.offer(digest, data, match.group("type"))
        files.keep(digest)
    return f"<{match.group('type') or 'base64'}, {size} bytes, sha256 of base64 {digest[:_HASH_DIGITS]}>"
