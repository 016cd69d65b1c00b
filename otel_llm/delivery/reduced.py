"""What is sent of a span that cannot be encoded as it is: the same span with the unsendable values replaced.

One bad value must cost neither its span nor its batch. Each replaced value's key is listed in `otel_llm.replaced`;
what is not an attribute of the span is listed as `name`, `status.description`, `events.KEY` or `links.KEY`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import Event
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from otel_llm import semconv
from otel_llm.delivery.attributes import clean_attributes, clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

__all__ = ["ReducedSpan", "reduce_span"]

_UINT64_MAX: Final = 2**64 - 1


@dataclass(eq=False, repr=False)
class ReducedSpan:
    """The parts of a finished span that the encoder reads, each of them safe to encode."""

    context: SpanContext
    parent: SpanContext | None
    name: str
    kind: SpanKind
    start_time: int
    end_time: int
    attributes: dict[str, Any]
    events: list[Event]
    links: list[Link]
    status: Status
    dropped_attributes: int
    dropped_events: int
    dropped_links: int


def reduce_span(span: ReadableSpan) -> ReducedSpan | None:
    """The encodable form of `span`; None for one without a context, which nothing could refer to."""
    if span.context is None:
        return None
    replaced: list[str] = []
    reduced = ReducedSpan(
        context=span.context,
        parent=span.parent,
        name=_text(span.name, "name", replaced),
        kind=span.kind if isinstance(span.kind, SpanKind) else SpanKind.INTERNAL,
        start_time=_clock(span.start_time),
        end_time=_clock(span.end_time),
        attributes=_attributes(span.attributes, "", replaced),
        events=[_event(event, replaced) for event in span.events],
        links=[Link(link.context, _attributes(link.attributes, "links.", replaced)) for link in span.links],
        status=_status(span.status, replaced),
        dropped_attributes=span.dropped_attributes,
        dropped_events=span.dropped_events,
        dropped_links=span.dropped_links,
    )
    _mark(reduced.attributes, replaced)
    return reduced


def _mark(attributes: dict[str, Any], replaced: list[str]) -> None:
    """Add to what the recorder may have listed already."""
    if replaced:
        listed = attributes.get(semconv.REPLACED)
        known = list(listed) if isinstance(listed, (list, tuple)) else []
        attributes[semconv.REPLACED] = list(dict.fromkeys([*known, *replaced]))


def _attributes(attributes: Mapping[str, Any] | None, prefix: str, replaced: list[str]) -> dict[str, Any]:
    cleaned, keys = clean_attributes(attributes)
    replaced.extend(prefix + key for key in keys)
    return cleaned


def _text(value: object, key: str, replaced: list[str]) -> str:
    text, changed = clean_text(value)
    if changed:
        replaced.append(key)
    return text


def _event(event: Event, replaced: list[str]) -> Event:
    name = _text(event.name, "events.name", replaced)
    return Event(name, _attributes(event.attributes, "events.", replaced), _clock(event.timestamp))


def _status(status: Status | None, replaced: list[str]) -> Status:
    if status is None or status.status_code is not StatusCode.ERROR:
        return Status(StatusCode.UNSET if status is None else status.status_code)
    return Status(status.status_code, _text(status.description or "", "status.description", replaced))


def _clock(nanoseconds: int | None) -> int:
    return min(max(int(nanoseconds or 0), 0), _UINT64_MAX)
