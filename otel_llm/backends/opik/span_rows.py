"""One OTLP span -> one Opik span row. Which rule does what is stated in `docs/opik.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm import json_bytes, semconv
from otel_llm.backends.opik import ids
from otel_llm.backends.opik.content import CONTENT_EVENTS, content_of
from otel_llm.backends.opik.failures import error_info_of
from otel_llm.backends.opik.kinds import GENERAL, LLM
from otel_llm.backends.opik.rows import MappedSpan
from otel_llm.backends.opik.usage import cost_of, ttft_ms_of, usage_of
from otel_llm.backends.opik.values import Attributes, attributes_of, parsed, text_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from otel_llm.backends.opik.live import LiveSpan
    from otel_llm.backends.opik.routing import Routing
    from otel_llm.backends.opik.surroundings import Facts, Plan, Surroundings

__all__ = ["map_span"]

_STATUS_OK: Final = 1
_STATUS_ERROR: Final = 2
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


def map_span(
    span: Span | LiveSpan,
    attributes: Attributes,
    around: Surroundings,
    routing: Routing,
    settle_millis: Callable[[bytes, int], int],
) -> MappedSpan:
    """The Opik row of `span`. `settle_millis(trace id, proposed)` fixes the time of an unstamped foreign trace."""
    plan = around.plan(attributes)
    start_ns = span.start_time_unix_nano or span.end_time_unix_nano
    end_ns = span.end_time_unix_nano
    place = _place(span, attributes, start_ns, settle_millis, joins=plan.joins)
    destination = around.destination(attributes, routing)
    facts = plan.facts_of(attributes)
    is_llm = facts.kind == LLM
    if around.repeats_calls and _repeats_call(attributes):
        facts = facts._replace(kind=GENERAL)  # what counts, the span inside says; what was said, this one
    content = content_of(span, attributes, plan.content, is_llm=is_llm)
    end = timestamp(end_ns) if end_ns else None
    shared: dict[str, Any] = {
        "project_name": destination.project,
        "name": span.name or "unnamed span",
        "start_time": timestamp(start_ns),
        "source": "sdk",
    }
    if end is not None:
        shared["end_time"] = end
    if around.environment is not None:
        shared["environment"] = around.environment
    if plan.has_error or span.status.code == _STATUS_ERROR:
        _put(shared, "error_info", error_info_of(span, attributes))
    if facts.kind == LLM and plan.usage.first_token:
        _put(shared, "ttft", ttft_ms_of(attributes, plan.usage))
    given = None if content.input is None else json_bytes.write(content.input)
    answered = None if content.output is None else json_bytes.write(content.output)
    metadata = _metadata(span, attributes, content.used, around, plan)
    tags = _tags(attributes, plan)
    updated = end if end is not None and end_ns >= start_ns else shared["start_time"]
    return MappedSpan(
        place.span,
        place.trace,
        place.millis,
        destination,
        _members(json_bytes.write(shared)[1:-1], metadata, given, answered),
        json_bytes.write(_own(attributes, plan, facts, place.parent, tags, updated))[1:-1],
        is_llm,
        given,
        answered,
        tags,
        start_ns,
        end_ns,
        span.span_id.hex(),
        place.is_root,
        place.joins_existing,
        _thread_id(attributes, plan),
    )


def _members(shared: bytes, metadata: bytes, given: bytes | None, answered: bytes | None) -> bytes:
    """Members of a row, and its end."""
    parts = [shared, b',"metadata":', metadata]
    if given is not None:
        parts += (b',"input":', given)
    if answered is not None:
        parts += (b',"output":', answered)
    parts.append(b"}")
    return b"".join(parts)


def _repeats_call(attributes: Attributes) -> bool:
    """Whether this is ADK's span around a call, which has one of its own."""
    return attributes.get(semconv.GEN_A_PROVIDER) == semconv.ADK_SCOPE and semconv.OPERATION_NAME not in attributes


def _own(
    attributes: Attributes, plan: Plan, facts: Facts, parent: str | None, tags: Sequence[str], updated: str
) -> dict[str, Any]:
    """What the span's row has and its trace's row has not."""
    own: dict[str, Any] = {"type": facts.kind, "last_updated_at": updated}
    if parent is not None:
        own["parent_span_id"] = parent
    if tags:
        own["tags"] = tags
    if facts.kind == LLM:  # the fields that Opik bills and counts by: on other spans a trace would sum them twice
        _put(own, "model", facts.model)
        _put(own, "provider", facts.provider)
        _put(own, "usage", usage_of(attributes, plan.usage, facts.provider))
        _put(own, "total_estimated_cost", cost_of(attributes, plan.usage))
    return own


def _put(row: dict[str, Any], key: str, value: Any) -> None:
    if value is not None:
        row[key] = value


class _Place(NamedTuple):
    """Where a span stands in its trace, in Opik's ids."""

    trace: str
    millis: int
    span: str
    parent: str | None
    is_root: bool
    joins_existing: bool


def _place(
    span: Span | LiveSpan,
    attributes: Attributes,
    start_ns: int,
    settle_millis: Callable[[bytes, int], int],
    *,
    joins: bool,
) -> _Place:
    parent_id = span.parent_span_id
    joined = ids.uuid7_or_none(attributes[semconv.OPIK_TRACE_ID]) if joins else None
    if joined is not None:
        return _place_in_existing(span, attributes, joined, start_ns)
    millis = ids.own_millis(span.trace_id, start_ns)
    if millis is not None:
        trace = ids.uuid_text(span.trace_id)
    else:
        trace = _foreign_trace_id(span, start_ns, settle_millis)
        millis = ids.uuid_millis(trace)
    own = ids.opik_span_id(trace, span.trace_id, span.span_id)
    if not parent_id or not any(parent_id):
        return _Place(trace, millis, own, None, is_root=True, joins_existing=False)
    stamp = ids.read_stamp(span.trace_state) if span.trace_state else None
    parent_is_ours = not (stamp is not None and stamp.foreign_parent == parent_id.hex())
    parent = ids.opik_span_id(trace, span.trace_id, parent_id) if parent_is_ours else None
    return _Place(trace, millis, own, parent, is_root=False, joins_existing=False)


def _place_in_existing(span: Span | LiveSpan, attributes: Attributes, trace: str, start_ns: int) -> _Place:
    """A span stamped by Opik's own `OpikSpanProcessor`, or joined to `opik.track` by us, hangs where the stamp says.

    Whatever its OTel parent is. If the trace is the one that the span's own id means, its row is ours to write.
    """
    own = ids.uuid7_or_none(attributes.get(semconv.OPIK_SPAN_ID))
    return _Place(
        trace=trace,
        millis=ids.uuid_millis(trace),
        span=own or ids.opik_span_id(trace, span.trace_id, span.span_id),
        parent=ids.uuid7_or_none(attributes.get(semconv.OPIK_PARENT_SPAN_ID)),
        is_root=False,
        joins_existing=trace != _said_trace_id(span, start_ns),
    )


def _said_trace_id(span: Span | LiveSpan, start_ns: int) -> str | None:
    """The Opik trace id that the span's ids and its `tracestate` mean; None where they do not say."""
    if not span.trace_state and ids.own_millis(span.trace_id, start_ns) is None:
        return None
    return ids.opik_trace_id(span.trace_id, span.trace_state, start_ns)


def _foreign_trace_id(span: Span | LiveSpan, start_ns: int, settle_millis: Callable[[bytes, int], int]) -> str:
    if ids.read_stamp(span.trace_state) is not None:
        return ids.opik_trace_id(span.trace_id, span.trace_state, start_ns)
    settled = settle_millis(span.trace_id, ids.foreign_millis("", start_ns))
    return ids.opik_trace_id(span.trace_id, "", start_ns, settled)


def _tags(attributes: Attributes, plan: Plan) -> Sequence[str]:
    """The tenant first, then the call's own tags, none twice."""
    tenant = attributes.get(semconv.TENANT_ID)
    tags: list[str] = [tenant] if isinstance(tenant, str) and tenant not in ("", semconv.UNKNOWN_TENANT) else []
    if not plan.tagged:
        return tags
    for name in _TAG_ATTRIBUTES:
        value = parsed(attributes.get(name)) if name in attributes else None
        if isinstance(value, str):
            value = value.split(",")
        if isinstance(value, (list, tuple)):
            tags += [text_of(tag).strip() for tag in value]
    return [tag for tag in dict.fromkeys(tags) if tag]


def _thread_id(attributes: Attributes, plan: Plan) -> str | None:
    for name in plan.thread:
        if thread := text_of(attributes[name]).strip():
            return thread
    return None


def _metadata(
    span: Span | LiveSpan, attributes: Attributes, used: frozenset[str], around: Surroundings, plan: Plan
) -> bytes:
    """Everything else that the span says, under its own names. Of equal names the span's beats the resource's."""
    metadata: Attributes = {semconv.OTEL_TRACE_ID: span.trace_id.hex(), semconv.OTEL_SPAN_ID: span.span_id.hex()}
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
    for name in plan.directives:
        _obey(name, metadata)
    links, events = span.links, span.events
    if links:
        metadata[semconv.OTEL_LINKS] = [_link(link) for link in links]
    if events and (told := [_event(event) for event in events if event.name not in CONTENT_EVENTS]):
        metadata[semconv.OTEL_EVENTS] = told
    if plan.repeats:
        return json_bytes.write({**around.metadata, **metadata})
    said = json_bytes.write(metadata)
    return b"{%b,%b" % (around.said, said[1:]) if around.said else said


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
