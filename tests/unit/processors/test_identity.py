"""The identity stamp on spans of a real provider."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otel_llm import semconv
from otel_llm.context import tenant
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.identity import DefaultTenant, IdentityStamp


def _stamped(stamp: IdentityStamp, context: otel_context.Context | None = None, **given: Any) -> dict[str, Any]:
    """The attributes of a span of ours that begins now in `context`."""
    return _seen(stamp, context, "otel_llm", **given)[0]


def _seen(
    stamp: IdentityStamp, context: otel_context.Context | None, scope: str, **given: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The attributes that our backends get of a span, and those that the program's own exporters get."""
    ours, theirs = InMemorySpanExporter(), InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    provider.add_span_processor(
        SpanPipeline(SimpleSpanProcessor(ours), on_start=[stamp], on_end=[DefaultTenant("house")])
    )
    attributes = {key.replace("_", "."): value for key, value in given.items()}
    provider.get_tracer(scope).start_span("s", context=context, attributes=attributes).end()
    ((one,), (other,)) = (exporter.get_finished_spans() for exporter in (ours, theirs))
    return dict(one.attributes or {}), dict(other.attributes or {})


def test_tenant_user_and_session_come_from_the_context() -> None:
    """A span inside `with tenant(...)` carries all three."""
    with tenant("acme", user="u1", session="s1"):
        stamped = _stamped(IdentityStamp())
    assert stamped == {semconv.TENANT_ID: "acme", semconv.USER_ID: "u1", semconv.SESSION_ID: "s1"}


def test_tenant_is_always_there() -> None:
    """Outside of any identity the default tenant is stamped, and no user is made up."""
    assert _stamped(IdentityStamp()) == {semconv.TENANT_ID: semconv.UNKNOWN_TENANT}
    assert _stamped(IdentityStamp(default_tenant="house")) == {semconv.TENANT_ID: "house"}


def test_spans_of_others_are_left_as_they_are_where_nobody_named_a_tenant() -> None:
    """The default tenant of somebody else's span is told to our backends only; one that was named is on the span."""
    ours, theirs = _seen(IdentityStamp(), None, "app")
    assert ours == {semconv.TENANT_ID: "house"}
    assert theirs == {}
    with tenant("acme"):
        ours, theirs = _seen(IdentityStamp(), None, "app")
    assert ours == theirs == {semconv.TENANT_ID: "acme"}


def test_what_the_span_says_itself_wins() -> None:
    """Values that the span was started with are kept."""
    with tenant("acme", user="u1"):
        stamped = _stamped(IdentityStamp(), tenant_id="own")
    assert stamped == {semconv.TENANT_ID: "own", semconv.USER_ID: "u1"}


def test_explicit_parent_context_counts_not_the_current_one() -> None:
    """A span begun in a given context belongs to that context's tenant."""
    with tenant("first"):
        first = otel_context.get_current()
    with tenant("second"):
        assert _stamped(IdentityStamp(), first)[semconv.TENANT_ID] == "first"


def _with_baggage(**entries: str) -> otel_context.Context:
    context = otel_context.get_current()
    for name, value in entries.items():
        context = baggage.set_baggage(name.replace("_", "."), value, context)
    return context


def test_baggage_is_read_only_when_enabled() -> None:
    """What a caller claims in a header is believed only by a program that says so."""
    context = _with_baggage(tenant_id="from-header", user_id="u9")
    assert _stamped(IdentityStamp(), context)[semconv.TENANT_ID] == semconv.UNKNOWN_TENANT
    believed = _stamped(IdentityStamp(from_baggage=True), context)
    assert believed == {semconv.TENANT_ID: "from-header", semconv.USER_ID: "u9"}


def test_own_identity_wins_over_baggage_and_does_not_mix_with_it() -> None:
    """Another tenant's user from the header is not put beside the tenant that the program set."""
    with tenant("acme"):
        stamped = _stamped(IdentityStamp(from_baggage=True), _with_baggage(tenant_id="other", user_id="u9"))
    assert stamped == {semconv.TENANT_ID: "acme"}


@pytest.mark.parametrize(("value", "expected"), [("x" * 5000, "x" * 256), ("", semconv.UNKNOWN_TENANT)])
def test_baggage_entries_are_bounded_and_may_be_named(value: str, expected: str) -> None:
    """A foreign entry is cut at 256 characters, an empty one says nothing; its name can be configured."""
    stamp = IdentityStamp(from_baggage=True, baggage_tenant_key="org")
    assert _stamped(stamp, _with_baggage(org=value))[semconv.TENANT_ID] == expected
