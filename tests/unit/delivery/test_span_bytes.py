"""Bytes that are written by hand are those that protobuf's runtime writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_llm.delivery.codec import _span_message
from otel_llm.delivery.span_bytes import span_bytes, varint

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
SCALARS = (
    TEXTS
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.sampled_from([0, 1, 127, 128, 16383, 16384, -1])
    | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=4) | st.lists(SCALARS, max_size=4).map(tuple)
CONTEXTS = st.builds(
    SpanContext,
    st.integers(1, (1 << 128) - 1),
    st.integers(1, (1 << 64) - 1),
    st.booleans(),
    st.just(TraceFlags(1)),
    st.sampled_from([None, TraceState([("vendor", "x"), ("other", "y")])]),
)
STATUSES = st.builds(Status, st.just(StatusCode.ERROR), st.none() | TEXTS) | st.sampled_from(
    [Status(), Status(StatusCode.OK)]
)


@st.composite
def spans(draw: Any) -> ReadableSpan:
    """Spans as programs make them, some of them odd."""
    return ReadableSpan(
        name=draw(TEXTS),
        context=draw(CONTEXTS),
        parent=draw(st.none() | CONTEXTS),
        resource=Resource({}),
        attributes=draw(st.dictionaries(TEXTS, VALUES, max_size=12)),
        kind=draw(st.sampled_from(SpanKind)),
        status=draw(STATUSES),
        start_time=draw(st.integers(1, (1 << 63) - 1)),
        end_time=draw(st.integers(1, (1 << 63) - 1)),
    )


@settings(max_examples=400, deadline=None)
@given(spans())
def test_the_bytes_are_those_of_the_runtime(span: ReadableSpan) -> None:
    """Whatever an ordinary span holds, both ways of writing it give the same bytes."""
    assert span_bytes(span) == _span_message(span).SerializeToString()


def span_with(**more: Any) -> ReadableSpan:
    """A span that is ordinary but for `more`."""
    plain: dict[str, Any] = {
        "name": "chat m",
        "context": SpanContext(1, 2, is_remote=False),
        "resource": Resource({}),
        "start_time": 1,
        "end_time": 2,
    }
    return ReadableSpan(**{**plain, **more})


@pytest.mark.parametrize(
    "unusual",
    [
        {"events": [Event("e", {}, 1)]},
        {"attributes": {"k": {"a": 1}}},
        {"attributes": {"k": b"bytes"}},
        {"attributes": {"k": [["nested"]]}},
        {"attributes": {"k": 1 << 63}},
        {"attributes": {"k": None}},
        {"attributes": {"k": float("nan")}},
        {"attributes": {"k": [float("inf")]}},
        {"start_time": None},
        {"end_time": 0},
        {"context": None},
    ],
    ids=map(str, range(11)),
)
def test_the_unusual_is_left_to_the_runtime(unusual: dict[str, Any]) -> None:
    """A span with anything else is not written here at all, instead of being written wrongly."""
    assert span_bytes(span_with(**unusual)) is None


def test_lone_surrogates_raise() -> None:
    """Text that UTF-8 cannot hold raises, as it does in the runtime, and the caller cleans it."""
    with pytest.raises(UnicodeEncodeError):
        span_bytes(span_with(attributes={"k": "\ud800"}))


def test_equal_values_of_other_types_are_told_apart() -> None:
    """What is looked up for one value is not given for another that Python calls equal."""
    written = [span_bytes(span_with(attributes={"k": value})) for value in (True, 1, 1.0, "1", ("1",), (1,), (True,))]
    assert len(set(written)) == len(written)
    for bytes_written in written:
        assert bytes_written is not None
        assert SpanMessage.FromString(bytes_written).attributes[0].key == "k"


@pytest.mark.parametrize("value", [0, 127, 128, 16383, 16384, 1 << 32, (1 << 64) - 1])
def test_varint(value: int) -> None:
    """Lengths of every size are read back by the runtime's rule: seven bits a byte, the lowest first."""
    read, shift = 0, 0
    for byte in varint(value):
        read |= (byte & 0x7F) << shift
        shift += 7
    assert read == value
