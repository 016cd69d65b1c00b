"""One OTLP span -> one Opik span row. Which rule does what is stated in `docs/opik.md`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from otel_llm import semconv
from otel_llm.backends.opik import ids
from otel_llm.backends.opik.content import CONTENT_EVENTS, content_of
from otel_llm.backends.opik.failures import error_info_of
from otel_llm.backends.opik.kinds import CONSULTED as _OF_KIND
from otel_llm.backends.opik.kinds import LLM, model_of, type_of
from otel_llm.backends.opik.providers import CONSULTED as _OF_PROVIDER
from otel_llm.backends.opik.providers import provider_of
from otel_llm.backends.opik.usage import cost_of, ttft_ms_of, usage_of
from otel_llm.backends.opik.values import Attributes, attributes_of, parsed, text_of, timestamp
from otel_llm.backends.opik.written import written

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from otel_llm.backends.opik.routing import Destination, Routing

__all__ = ["MappedSpan", "Surroundings", "map_span", "surroundings_of"]

_ENVIRONMENT_MAX: Final = 150
"""Opik refuses longer names; the whole one stays in the metadata."""

_STATUS_OK: Final = 1
_KINDS: Final = {2: "server", 3: "client", 4: "producer", 5: "consumer"}
"""OTLP span kinds worth telling; internal and unspecified are the rule."""

_DIRECTIVES: Final = frozenset(
    {
        semconv.OPIK_PROJECT,
        semconv.OPIK_TAGS,
        semconv.OPIK_SPAN_TYPE,
        semconv.OPIK_TRACE_ID,
        semconv.OPIK_SPAN_ID,
        semconv.OPIK_PARENT_SPAN_ID,
    }
)
"""Attributes that speak to this mapping and say nothing about the span."""

_TAG_ATTRIBUTES: Final = (semconv.TAGS, semconv.OPIK_TAGS, semconv.OI_TAGS)
_THREAD_ATTRIBUTES: Final = (
    semconv.OPIK_THREAD_ID,
    semconv.SESSION_ID,
    semconv.CONVERSATION_ID,
    semconv.TRACELOOP_SESSION,
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all spans of one scope share."""

    resource: Attributes
    environment: str | None
    metadata: Attributes
    """Resource attributes, scope name and version."""
    destinations: dict[tuple[str, str], Destination] = field(default_factory=dict)
    """Already found, by what the span said (project, tenant)."""


@dataclass(slots=True)
class MappedSpan:
    """A span row, with what the trace's row is made of."""

    row: dict[str, Any]
    destination: Destination
    trace_millis: int
    start_ns: int
    end_ns: int
    span_id: str
    """16 hex digits."""
    is_root: bool
    """Nothing is above it: it has no parent at all."""
    joins_existing: bool
    """It belongs to a trace whose row somebody else writes (`opik.trace_id`)."""
    thread_id: str | None


def surroundings_of(resource: Attributes, scope_name: str, scope_version: str) -> Surroundings:
    """What the spans of one resource and scope have in common."""
    metadata = dict(resource)
    if scope_name:
        metadata[semconv.SCOPE_NAME] = scope_name
    if scope_version:
        metadata[semconv.SCOPE_VERSION] = scope_version
    named = resource.get(semconv.DEPLOYMENT_ENVIRONMENT) or resource.get(semconv.DEPLOYMENT_ENVIRONMENT_OLD)
    environment = text_of(named).strip()[:_ENVIRONMENT_MAX]
    return Surroundings(resource, environment or None, metadata)


def map_span(
    span: Span, around: Surroundings, routing: Routing, settle_millis: Callable[[bytes, int], int]
) -> MappedSpan:
    """The Opik row of `span`. `settle_millis(trace id, proposed)` fixes the time of an unstamped foreign trace."""
    attributes = attributes_of(span.attributes)
    start_ns = span.start_time_unix_nano or span.end_time_unix_nano
    place = _place(span, attributes, start_ns, settle_millis)
    destination = _destination(attributes, around, routing)
    end_time = timestamp(span.end_time_unix_nano) if span.end_time_unix_nano else None
    kind, model, provider = _facts(attributes)
    content = content_of(span, attributes, is_llm=kind == LLM)
    row: dict[str, Any] = {
        "id": place.span,
        "project_name": destination.project,
        "trace_id": place.trace,
        "parent_span_id": place.parent,
        "name": span.name or "unnamed span",
        "type": kind,
        "start_time": timestamp(start_ns),
        "end_time": end_time,
        "input": None if content.input is None else written(content.input),
        "output": None if content.output is None else written(content.output),
        "metadata": written(_metadata(span, attributes, content.used, around)),
        "tags": _tags(attributes) or None,
        "error_info": error_info_of(span, attributes),
        "environment": around.environment,
        "source": "sdk",
        "last_updated_at": end_time if span.end_time_unix_nano >= start_ns else timestamp(start_ns),
    }
    if kind == LLM:  # the fields that Opik bills and counts by: on other spans a trace would sum them twice
        row["model"] = model
        row["provider"] = provider
        row["usage"] = usage_of(attributes, provider)
        row["total_estimated_cost"] = cost_of(attributes)
        row["ttft"] = ttft_ms_of(attributes)
    return MappedSpan(
        row={key: value for key, value in row.items() if value is not None},
        destination=destination,
        trace_millis=ids.uuid_millis(place.trace),
        start_ns=start_ns,
        end_ns=span.end_time_unix_nano,
        span_id=span.span_id.hex(),
        is_root=place.is_root,
        joins_existing=place.joins_existing,
        thread_id=_thread_id(attributes),
    )


def _destination(attributes: Attributes, around: Surroundings, routing: Routing) -> Destination:
    """The span's destination; spans of one scope differ in it only by their project and tenant attributes."""
    said = (text_of(attributes.get(semconv.OPIK_PROJECT)), text_of(attributes.get(semconv.TENANT_ID)))
    found = around.destinations.get(said)
    if found is None:
        found = around.destinations[said] = routing.destination(attributes, around.resource)
    return found


@dataclass(slots=True)
class _Place:
    """Where a span stands in its trace, in Opik's ids."""

    trace: str
    span: str
    parent: str | None
    is_root: bool
    joins_existing: bool


def _place(span: Span, attributes: Attributes, start_ns: int, settle_millis: Callable[[bytes, int], int]) -> _Place:
    has_parent = any(span.parent_span_id)
    joined = ids.uuid7_or_none(attributes.get(semconv.OPIK_TRACE_ID))
    if joined is not None:
        return _place_in_existing(span, attributes, joined)
    trace = _trace_id(span, start_ns, settle_millis)
    stamp = ids.read_stamp(span.trace_state) if span.trace_state else None
    parent_is_ours = has_parent and not (stamp is not None and stamp.foreign_parent == span.parent_span_id.hex())
    return _Place(
        trace=trace,
        span=ids.opik_span_id(trace, span.trace_id, span.span_id),
        parent=ids.opik_span_id(trace, span.trace_id, span.parent_span_id) if parent_is_ours else None,
        is_root=not has_parent,
        joins_existing=False,
    )


def _place_in_existing(span: Span, attributes: Attributes, trace: str) -> _Place:
    """A span stamped by Opik's own `OpikSpanProcessor` hangs where the stamp says, whatever its OTel parent is."""
    own = ids.uuid7_or_none(attributes.get(semconv.OPIK_SPAN_ID))
    return _Place(
        trace=trace,
        span=own or ids.opik_span_id(trace, span.trace_id, span.span_id),
        parent=ids.uuid7_or_none(attributes.get(semconv.OPIK_PARENT_SPAN_ID)),
        is_root=False,
        joins_existing=True,
    )


def _trace_id(span: Span, start_ns: int, settle_millis: Callable[[bytes, int], int]) -> str:
    own = ids.own_trace_id(span.trace_id, start_ns)
    if own is not None:
        return own
    if ids.read_stamp(span.trace_state) is not None:
        return ids.opik_trace_id(span.trace_id, span.trace_state, start_ns)
    settled = settle_millis(span.trace_id, ids.foreign_millis("", start_ns))
    return ids.opik_trace_id(span.trace_id, "", start_ns, settled)


_NAMED: Final = tuple(_OF_KIND | _OF_PROVIDER)
_Facts: TypeAlias = "tuple[str, str | None, str | None]"


def _facts(attributes: Attributes) -> _Facts:
    """Type, model and provider of a span: many spans share the few attributes that say so."""
    said = tuple(map(attributes.get, _NAMED))
    try:
        return _known_facts(said)
    except TypeError:  # a list among them
        return _facts_of(attributes)


@lru_cache(maxsize=1024)
def _known_facts(said: tuple[Any, ...]) -> _Facts:
    return _facts_of({name: value for name, value in zip(_NAMED, said, strict=True) if value is not None})


def _facts_of(attributes: Attributes) -> _Facts:
    model = model_of(attributes)
    return type_of(attributes), model, provider_of(attributes, model)


def _tags(attributes: Attributes) -> list[str]:
    """The tenant first, then the call's own tags, none twice."""
    tenant = attributes.get(semconv.TENANT_ID)
    tags: list[str] = [tenant] if isinstance(tenant, str) and tenant not in ("", semconv.UNKNOWN_TENANT) else []
    for name in _TAG_ATTRIBUTES:
        value = parsed(attributes.get(name)) if name in attributes else None
        if isinstance(value, str):
            value = value.split(",")
        if isinstance(value, list):
            tags += [text_of(tag).strip() for tag in value]
    return [tag for tag in dict.fromkeys(tags) if tag]


def _thread_id(attributes: Attributes) -> str | None:
    for name in _THREAD_ATTRIBUTES:
        if name in attributes and (thread := text_of(attributes[name]).strip()):
            return thread
    return None


def _metadata(span: Span, attributes: Attributes, used: frozenset[str], around: Surroundings) -> Attributes:
    """Everything else that the span says, under its own names. Of equal names the span's beats the resource's."""
    metadata = around.metadata.copy()
    metadata[semconv.OTEL_TRACE_ID] = span.trace_id.hex()
    metadata[semconv.OTEL_SPAN_ID] = span.span_id.hex()
    kind = _KINDS.get(span.kind)
    if kind is not None:
        metadata[semconv.OTEL_SPAN_KIND] = kind
    if span.status.code == _STATUS_OK:
        metadata[semconv.OTEL_STATUS_CODE] = "OK"
    if span.dropped_attributes_count:
        metadata[semconv.OTEL_DROPPED_ATTRIBUTES] = span.dropped_attributes_count
    metadata.update(attributes)
    for name in used:
        del metadata[name]
    for name in [name for name in attributes if name.startswith(semconv.OPIK_PREFIX)]:
        _obey(name, metadata)
    links, events = span.links, span.events
    if links:
        metadata[semconv.OTEL_LINKS] = [_link(link) for link in links]
    if events and (told := [_event(event) for event in events if event.name not in CONTENT_EVENTS]):
        metadata[semconv.OTEL_EVENTS] = told
    return metadata


def _obey(name: str, metadata: Attributes) -> None:
    """A directive leaves the metadata; what it wants there loses its prefix."""
    if name in _DIRECTIVES:
        del metadata[name]
    elif name.startswith(semconv.OPIK_METADATA_PREFIX) and name != semconv.OPIK_METADATA_PREFIX:
        metadata[name.removeprefix(semconv.OPIK_METADATA_PREFIX)] = metadata.pop(name)


def _link(link: Span.Link) -> dict[str, Any]:
    told: dict[str, Any] = {"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()}
    if link.attributes:
        told["attributes"] = attributes_of(link.attributes)
    return told


def _event(event: Span.Event) -> dict[str, Any]:
    told: dict[str, Any] = {"name": event.name, "time": timestamp(event.time_unix_nano)}
    if event.attributes:
        told["attributes"] = attributes_of(event.attributes)
    return told
