"""What a Temporal header holds, and what becomes of one that is nonsense."""

from __future__ import annotations

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from otel_llm.context import Identity, identity_in, with_identity
from otel_llm.faults import fault_counts, reset_faults
from otel_llm.temporal.carrier import HEADER, read_header, with_creator, with_header

SPAN = SpanContext(2**100 + 1, 7, is_remote=False, trace_flags=TraceFlags(1))
PERSON = Identity("acme, inc; ü=%", "u 1", "s/1")


def traced() -> Context:
    """A context with a span, an identity and baggage."""
    context = trace.set_span_in_context(NonRecordingSpan(SPAN), Context())
    return baggage.set_baggage("colour", "blue", with_identity(PERSON, context))


def span_in(context: Context) -> SpanContext:
    """The span of a context."""
    return trace.get_current_span(context).get_span_context()


def test_trace_baggage_and_identity_come_back() -> None:
    """What is written is what is read, whatever characters a tenant's name has; other headers stay."""
    other = Payload(data=b"x")
    headers = with_header({"other": other}, traced())
    read = read_header(headers)
    assert headers["other"] is other
    assert (span_in(read.context).trace_id, span_in(read.context).span_id) == (SPAN.trace_id, SPAN.span_id)
    assert span_in(read.context).is_remote
    assert identity_in(read.context) == PERSON
    assert baggage.get_baggage("colour", read.context) == "blue"
    assert read.creator is None


def test_nothing_to_carry_is_no_header() -> None:
    """An empty context leaves the headers alone."""
    assert with_header({}, Context()) == {}
    assert with_creator(None, Context()) == {}


def test_a_schedule_s_runs_are_linked_and_are_no_children() -> None:
    """The header of a schedule has the identity, and the creating span only as a link."""
    read = read_header(with_creator(None, traced()))
    assert not span_in(read.context).is_valid
    assert read.creator is not None
    assert (read.creator.trace_id, read.creator.span_id) == (SPAN.trace_id, SPAN.span_id)
    assert identity_in(read.context) == PERSON


def test_every_value_of_a_header_is_ascii() -> None:
    """Nexus sends the same values as plain text headers."""
    (carrier,) = PayloadConverter.default.from_payloads([with_header({}, traced())[HEADER]])
    assert all(value.isascii() for value in carrier.values())


@pytest.mark.parametrize(
    "payload",
    [
        Payload(data=b"not json", metadata={"encoding": b"json/plain"}),
        Payload(data=b"\x01", metadata={"encoding": b"binary/encrypted"}),
        PayloadConverter.default.to_payloads(["a string"])[0],
        PayloadConverter.default.to_payloads([None])[0],
        PayloadConverter.default.to_payloads([{"traceparent": 5}])[0],
        PayloadConverter.default.to_payloads([{"traceparent": "00-zz", "otel-llm-tenant": ""}])[0],
    ],
)
def test_nonsense_is_an_empty_context(payload: Payload) -> None:
    """A header that cannot be read costs the trace, never the workflow; nothing of the current context gets in."""
    reset_faults()
    token = trace.use_span(NonRecordingSpan(SPAN))
    with token:
        read = read_header({HEADER: payload})
    assert not span_in(read.context).is_valid
    assert identity_in(read.context) == Identity()
    assert set(fault_counts()) <= {"reading a Temporal header"}
    reset_faults()


def test_a_header_of_upstream_s_interceptor_is_understood() -> None:
    """A client with nothing but Temporal's own interceptor, in any language, is the parent."""
    upstream = PayloadConverter.default.to_payloads(
        [{"traceparent": f"00-{SPAN.trace_id:032x}-{SPAN.span_id:016x}-01"}]
    )
    assert span_in(read_header({HEADER: upstream[0]}).context).span_id == SPAN.span_id
