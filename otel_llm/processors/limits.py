"""Spans kept within a size that backends take: content is cut first, numbers and names of the call never.

What was cut is listed in `otel_llm.truncated`, its former length in bytes in `otel_llm.truncated.original_bytes` (at
least that: of what the recorder cut before, characters are known).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import Event

from otel_llm import semconv
from otel_llm.levels import water_level
from otel_llm.processors.shrink import MARKER, byte_length, characters_lost, shrink_json, shrink_text, shrink_tree
from otel_llm.values import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from otel_llm.processors.draft import SpanDraft

__all__ = ["SizeLimits"]

_NEVER_CUT: Final = frozenset(
    {
        semconv.USAGE_INPUT,
        semconv.USAGE_OUTPUT,
        semconv.USAGE_CACHE_READ,
        semconv.USAGE_CACHE_WRITE,
        semconv.USAGE_REASONING,
        semconv.COST,
        semconv.COST_STATUS,
        semconv.COST_SAVED,
        semconv.SAVED_INPUT,
        semconv.SAVED_OUTPUT,
        semconv.TENANT_ID,
        semconv.ERROR_TYPE,
        semconv.EXCEPTION_TYPE,
    }
)
_SMALLEST_CUT: Final = 256
"""Bytes to which a value is cut at most, however small the span's limit."""
_SCALAR_BYTES: Final = 8
_LONGEST_KEY: Final = 512
"""Characters of an attribute's name that are kept."""
_USUAL_KEY_BYTES: Final = 8192
"""Of all names of a span together; below it nobody looks for long ones."""
_MOST_JSON_READ: Final = 32 * 1024 * 1024
"""Bytes of JSON above which it is replaced, not parsed: parsing happens on the program's thread."""
_MOST_ITEMS: Final = 100_000

_NOTE: Final = f'{{"type":"text","content":"{MARKER}"}}'
_STAND_INS: Final = {
    semconv.INPUT_MESSAGES: f'[{{"role":"user","parts":[{_NOTE}]}}]',
    semconv.OUTPUT_MESSAGES: f'[{{"role":"assistant","parts":[{_NOTE}],"finish_reason":"truncated"}}]',
    semconv.SYSTEM_INSTRUCTIONS: f"[{_NOTE}]",
    semconv.TOOL_DEFINITIONS: "[]",
    semconv.RETRIEVAL_DOCUMENTS: "[]",
}
"""What takes the place of JSON content whose structure alone is too large: valid for its attribute's schema."""
_ANY_STAND_IN: Final = {"{": f'{{"truncated":"{MARKER}"}}', "[": f'["{MARKER}"]'}
"""The same for other JSON, such as a tool's arguments, by how it begins."""


class SizeLimits:
    """End stage: no value over `max_value_bytes`, no span over `max_span_bytes` (bytes of keys and values)."""

    name = "limits"

    def __init__(self, *, max_value_bytes: int, max_span_bytes: int) -> None:
        self._max_value = max_value_bytes
        self._max_span = max_span_bytes
        self._shortest = min(max_value_bytes, max_span_bytes)

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Cut what is too long; the usual span is so short that nobody needs its exact size, and left as it is."""
        if self._is_short(draft):
            return draft
        sizes = {key: _size(value) for key, value in draft.attributes.items()}
        keys = sum(map(len, sizes))
        if keys > _USUAL_KEY_BYTES and max(map(len, sizes)) > _LONGEST_KEY:
            _shorten_keys(draft)
            sizes = {key: _size(value) for key, value in draft.attributes.items()}
            keys = sum(map(len, sizes))
        events = _size_of_events(draft)
        total = sum(sizes.values()) + keys + events
        fits = total <= self._max_span and (not sizes or max(sizes.values()) <= self._max_value) and not events
        if fits and semconv.REPLACED not in draft.attributes:
            return draft
        cutting = _Cutting(draft, sizes)
        cutting.note_what_was_cut_before()
        cutting.cut(sizes, self._max_value)
        cutting.cut_events(self._max_value)
        self._fit_span(cutting)
        cutting.mark()
        return draft

    def _is_short(self, draft: SpanDraft) -> bool:
        """Whether it fits even if every character takes the most bytes that one can."""
        attributes, texts = draft.attributes, draft.texts
        if texts is None or draft.events or semconv.REPLACED in attributes:
            return False
        names = _bytes_of_names(tuple(attributes))
        size = names + len(texts.together) + _SCALAR_BYTES * len(attributes)
        short = names <= _USUAL_KEY_BYTES and 4 * size <= self._shortest
        if short:  # of what is cut, less is there afterwards
            draft.texts_bytes = size
        return short

    def _fit_span(self, cutting: _Cutting) -> None:
        """Take from the content, then from exception texts, then from everything else that may be cut."""
        content = [key for key in cutting.sizes if key in semconv.CONTENT_ATTRIBUTES]
        others = [key for key in cutting.sizes if key not in semconv.CONTENT_ATTRIBUTES and key not in _NEVER_CUT]
        cutting.cut_together(content, self._max_span)
        if cutting.total > self._max_span:
            cutting.cut_events(_SMALLEST_CUT)
        cutting.cut_together(others, self._max_span)


class _Cutting:
    """One span being cut: its current sizes and what has been cut of it so far."""

    def __init__(self, draft: SpanDraft, sizes: dict[str, int]) -> None:
        self._draft = draft
        self._original: dict[str, int] = {}
        self.sizes = sizes

    @property
    def total(self) -> int:
        """Bytes of the span as it is now."""
        return sum(self.sizes.values()) + sum(map(len, self.sizes)) + _size_of_events(self._draft)

    def cut(self, keys: Iterable[str], limit: int) -> None:
        """Cut each of these attributes that is longer than `limit` bytes."""
        for key in [key for key in keys if self.sizes[key] > limit and key not in _NEVER_CUT]:
            self._original.setdefault(key, self.sizes[key] + _lost_before(self._draft.attributes[key]))
            self._draft.attributes[key] = shorter = _shortened(key, self._draft.attributes[key], limit)
            self.sizes[key] = _size(shorter)

    def cut_together(self, keys: list[str], span_limit: int) -> None:
        """Cut the longest of these attributes until the span fits, or no further than the smallest cut."""
        excess = self.total - span_limit
        if excess > 0:
            together = [self.sizes[key] for key in keys]
            self.cut(keys, max(water_level(together, sum(together) - excess), _SMALLEST_CUT))

    def cut_events(self, limit: int) -> None:
        """Cut texts in events (stack traces, messages) that are longer than `limit` bytes."""
        if any(_size(value) > limit for event in self._draft.events for value in (event.attributes or {}).values()):
            self._draft.events = tuple(self._cut_event(event, limit) for event in self._draft.events)

    def _cut_event(self, event: Event, limit: int) -> Event:
        values = dict(event.attributes or {})
        for key, value in values.items():
            if _size(value) > limit and key not in _NEVER_CUT:
                self._original.setdefault(key, _size(value))
                values[key] = _shortened(key, value, limit)
        return Event(event.name, values, event.timestamp)

    def note_what_was_cut_before(self) -> None:
        """Take down what the recorder cut itself, which it names among what it replaced."""
        for key in self._draft.attributes.get(semconv.REPLACED, ()):
            lost = _lost_before(self._draft.attributes.get(key))
            if lost:
                self._original[key] = self.sizes[key] + lost

    def mark(self) -> None:
        """List on the span what was cut and how long it was."""
        if self._original:
            self._draft.attributes[semconv.TRUNCATED] = list(self._original)
            self._draft.attributes[semconv.TRUNCATED_BYTES] = list(self._original.values())


@lru_cache(maxsize=1024)
def _bytes_of_names(names: tuple[str, ...]) -> int:
    """Characters of all names together; spans of a program share few sets of names."""
    return sum(map(len, names))


def _shorten_keys(draft: SpanDraft) -> None:
    """Cut names that are too long, told apart by a hash: no convention has such names."""
    draft.attributes = {
        key if len(key) <= _LONGEST_KEY else _short_key(key): value for key, value in draft.attributes.items()
    }


def _short_key(key: str) -> str:
    digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{key[: _LONGEST_KEY - 17]}~{digest}"


def _size(value: Any) -> int:
    """Bytes that a value takes; for structures the bytes of their texts and a few per item."""
    kind = type(value)
    if kind is str:
        return byte_length(value)
    if kind is int or kind is float or kind is bool or value is None:
        return _SCALAR_BYTES
    if isinstance(value, (bytes, bytearray)):
        return len(value)
    if isinstance(value, dict):
        return sum(_size(key) + _size(entry) + _SCALAR_BYTES for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return sum(_size(entry) + _SCALAR_BYTES for entry in value)
    return _SCALAR_BYTES


def _lost_before(value: Any) -> int:
    return characters_lost(value) if isinstance(value, str) else 0


def _size_of_events(draft: SpanDraft) -> int:
    return sum(len(key) + _size(value) for event in draft.events for key, value in (event.attributes or {}).items())


def _shortened(key: str, value: Any, limit: int) -> Any:
    """`value` of attribute `key` in about `limit` bytes."""
    if isinstance(value, bytes):
        return value[:limit]
    if not isinstance(value, str):
        copied = to_plain(value, max_items=_MOST_ITEMS, max_bytes=_MOST_JSON_READ).value
        return copied if shrink_tree(copied, limit) else [MARKER]
    stand_in = _STAND_INS.get(key) or _ANY_STAND_IN.get(value[:1])
    if stand_in is None:
        return shrink_text(value, limit)
    if len(value) > _MOST_JSON_READ:
        return stand_in
    try:
        return shrink_json(value, limit) or stand_in
    except ValueError:
        return shrink_text(value, limit)
