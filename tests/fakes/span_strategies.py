"""Finished spans of every shape that the SDK can produce, for Hypothesis."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

texts = st.text(max_size=20)
keys = st.text(min_size=1, max_size=12)
int64s = st.integers(-(2**63), 2**63 - 1)
doubles = st.floats().map(lambda number: number if number == number else float("nan"))
"""NaN in one form only: JSON has no others."""
scalars = st.one_of(texts, st.booleans(), int64s, doubles, st.binary(max_size=8), st.none())
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
attributes = st.dictionaries(keys, values, max_size=6)
clocks = st.integers(0, 2**63)

_SCOPES = (
    InstrumentationScope("a", "1.0", "https://schemas.test/1"),
    InstrumentationScope("b", attributes={"x": 1}),
    InstrumentationScope("c"),
)
_RESOURCES = (
    Resource({"service.name": "one", "n": 3}),
    Resource({"service.name": "two"}, schema_url="https://schemas.test/2"),
)

contexts = st.builds(
    SpanContext,
    trace_id=st.integers(1, 2**128 - 1),
    span_id=st.integers(1, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.just(TraceFlags(TraceFlags.SAMPLED)),
    trace_state=st.sampled_from([TraceState(), TraceState([("v", "1"), ("w", "2")])]),
)
events = st.builds(Event, name=texts, attributes=attributes, timestamp=clocks)
links = st.builds(Link, context=contexts, attributes=attributes.map(MappingProxyType))
statuses = st.one_of(
    st.just(Status(StatusCode.UNSET)),
    st.just(Status(StatusCode.OK)),
    st.builds(Status, st.just(StatusCode.ERROR), st.none() | texts),
)
spans = st.builds(
    ReadableSpan,
    name=texts,
    context=contexts,
    parent=st.none() | contexts,
    resource=st.sampled_from(_RESOURCES),
    attributes=attributes,
    events=st.lists(events, max_size=2),
    links=st.lists(links, max_size=2),
    kind=st.sampled_from(list(SpanKind)),
    status=statuses,
    start_time=clocks,
    end_time=clocks,
    instrumentation_scope=st.none() | st.sampled_from(_SCOPES),
)
