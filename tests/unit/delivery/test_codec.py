"""The codec against the SDK's own encoder, on hostile values, at size limits, and to JSON and back."""

from __future__ import annotations

import json
from collections import UserDict
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from otel_llm import semconv
from otel_llm.contracts import Batch
from otel_llm.delivery.codec import decode, encode, halve
from otel_llm.otlp_json import from_otlp_json, to_otlp_json
from otel_llm.wire import IllFormedPayloadError
from tests.fakes.span_strategies import spans as any_spans
from tests.fakes.spans import TRACE_ID, all_spans, make_span, plain, values_of


def _only_span(*spans: ReadableSpan) -> Any:
    (batch,) = encode(spans)
    (span,) = all_spans(decode(batch))
    return span


def _flat(request: ExportTraceServiceRequest) -> list[tuple[bytes, ...]]:
    """Every span with its resource and scope, in an order that does not depend on grouping."""
    return sorted(
        (
            group.resource.SerializeToString(deterministic=True),
            group.schema_url.encode(),
            scoped.scope.SerializeToString(deterministic=True),
            scoped.schema_url.encode(),
            span.SerializeToString(deterministic=True),
        )
        for group in request.resource_spans
        for scoped in group.scope_spans
        for span in scoped.spans
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(any_spans, min_size=1, max_size=5))
def test_says_the_same_as_the_sdk_encoder(spans: list[ReadableSpan]) -> None:
    """For every span that the SDK's encoder can encode, ours means exactly the same."""
    expected = ExportTraceServiceRequest.FromString(encode_spans(spans).SerializeToString())
    (batch,) = encode(spans)
    assert batch.span_count == len(spans)
    assert _flat(decode(batch)) == _flat(expected)


def test_says_the_same_as_the_sdk_encoder_for_recorded_spans() -> None:
    """Spans that went through the SDK's limits keep their dropped counts."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(span_limits=SpanLimits(max_attributes=2, max_events=1), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    with provider.get_tracer("t", "1").start_as_current_span("s", attributes={"a": 1, "b": [1, 2], "c": "x"}) as span:
        span.add_event("one", {"k": "v"})
        span.add_event("two")
        span.record_exception(ValueError("no"))
    spans = memory.get_finished_spans()
    (batch,) = encode(spans)
    assert all_spans(decode(batch))[0].dropped_attributes_count == 1
    assert _flat(decode(batch)) == _flat(encode_spans(spans))


def test_resource_and_scope_appear_once_per_batch() -> None:
    """Spans that share resource and scope are written under one of each."""
    (batch,) = encode([make_span(number=n) for n in range(1, 6)])
    request = decode(batch)
    assert len(request.resource_spans) == 1
    assert len(request.resource_spans[0].scope_spans) == 1
    assert request.resource_spans[0].scope_spans[0].schema_url == "https://schemas.test/1"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=12), st.integers(1, 6000))
def test_no_batch_exceeds_its_limit_unless_it_is_one_span(sizes: list[int], max_bytes: int) -> None:
    """Batches are cut by bytes, in order, and no span is lost in the cutting."""
    spans = [make_span(number=n + 1, attributes={"v": "x" * size}) for n, size in enumerate(sizes)]
    batches = encode(spans, max_bytes=max_bytes)
    assert all(len(batch.payload) <= max_bytes or batch.span_count == 1 for batch in batches)
    ids = [int.from_bytes(span.span_id, "big") for batch in batches for span in all_spans(decode(batch))]
    assert ids == [n + 1 for n in range(len(sizes))]


def test_batches_are_filled_not_cut_early() -> None:
    """The reckoned size is close to the real one: 100 kB of spans fit into one batch of 110 kB."""
    spans = [make_span(number=n + 1, attributes={"v": "x" * 1000}) for n in range(100)]
    assert len(encode(spans, max_bytes=110_000)) == 1


class Hostile:
    """Everything about it raises."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class LyingMapping(UserDict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


def _deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


def _cyclic() -> list[Any]:
    value: list[Any] = []
    value.extend([value, value])
    return value


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("a\ud800b", id="lone surrogate"),
        pytest.param(2**63, id="int beyond 64 bits"),
        pytest.param(2**100_000, id="huge int"),
        pytest.param(_deep(17), id="deep"),
        pytest.param(_deep(900), id="very deep"),
        pytest.param(_cyclic(), id="cyclic"),
        pytest.param(object(), id="object"),
        pytest.param(Hostile(), id="hostile object"),
        pytest.param({1, 2}, id="set"),
        pytest.param(LyingMapping(), id="lying mapping"),
        pytest.param(["ok", "\udfff"], id="surrogate in a list"),
        pytest.param({"k": {"deeper": 2**70}}, id="int in a map"),
        pytest.param(bytearray(b"x"), id="bytearray"),
    ],
)
def test_bad_value_costs_itself_only(bad: Any) -> None:
    """An attribute that OTLP cannot carry is replaced and listed; the rest of its span and batch is untouched."""
    spans = [make_span(number=1), make_span(number=2, attributes={"bad": bad, "good": 7}), make_span(number=3)]
    (batch,) = encode(spans)
    first, second, third = all_spans(decode(batch))
    values = values_of(second)
    assert values["good"] == 7
    assert values[semconv.REPLACED] == ["bad"]
    assert "bad" in values
    assert values_of(first) == values_of(third) == {}


def test_bad_name_key_event_and_status_are_replaced_too() -> None:
    """Lone surrogates anywhere in a span leave a readable span that says where they were."""
    span = _only_span(
        make_span(
            "chat \ud800",
            attributes={"key\ud800": "v", semconv.REPLACED: ["recorder"]},
            events=[Event("exception", {"exception.message": "\udc00", "n": 1}, timestamp=5)],
            status=Status(StatusCode.ERROR, "bad \udfff"),
        )
    )
    assert span.name == "chat \ufffd"
    assert span.status.message == "bad \ufffd"
    assert plain(span.events[0].attributes[0].value) == "\ufffd"
    listed = values_of(span)[semconv.REPLACED]
    assert listed == ["recorder", "name", "key\ufffd", "events.exception.message", "status.description"]


def test_odd_kind_and_clock_are_put_right() -> None:
    """A hand-made span with a negative clock and no kind is still sent."""
    span = _only_span(make_span(kind=None, start_time=-5, end_time=2**70))
    assert (span.kind, span.start_time_unix_nano, span.end_time_unix_nano) == (1, 0, 2**64 - 1)


def test_bad_resource_and_scope_values_are_replaced() -> None:
    """A resource or scope that cannot be encoded costs only its bad values."""
    resource = SimpleNamespace(attributes={"bad": 2**64, "service.name": "svc"}, schema_url="")
    scope = SimpleNamespace(name="sc\ud800ope", version=None, schema_url="", attributes={})
    (batch,) = encode([make_span(resource=resource, instrumentation_scope=scope)])
    group = decode(batch).resource_spans[0]
    assert {pair.key: plain(pair.value) for pair in group.resource.attributes}["service.name"] == "svc"
    assert group.scope_spans[0].scope.name == "sc\ufffdope"


def test_span_without_identity_is_left_out_and_shows_in_the_count() -> None:
    """A span that nothing could refer to is not sent; the others are, and the count tells."""
    nameless = make_span(number=1, context=None)
    beyond = make_span(context=SpanContext(2**130, 1, is_remote=False))
    batches = encode([nameless, beyond, make_span(number=3)])
    assert [batch.span_count for batch in batches] == [1]
    assert encode([nameless]) == []


def test_nan_and_infinity_are_kept() -> None:
    """Doubles that JSON lacks are values like others for protobuf."""
    values = values_of(_only_span(make_span(attributes={"nan": float("nan"), "inf": float("inf")})))
    assert values["nan"] != values["nan"]
    assert values["inf"] == float("inf")


@settings(max_examples=60, deadline=None)
@given(st.lists(any_spans, min_size=1, max_size=5))
def test_halves_add_up_to_the_whole(spans: list[ReadableSpan]) -> None:
    """The two halves of a batch hold exactly its spans with their resources and scopes."""
    (batch,) = encode(spans)
    halves = halve(batch)
    if len(spans) == 1:
        assert halves is None
        return
    assert halves is not None
    assert [half.span_count for half in halves] == [len(spans) // 2, len(spans) - len(spans) // 2]
    assert sorted(_flat(decode(halves[0])) + _flat(decode(halves[1]))) == _flat(decode(batch))


@settings(max_examples=100, deadline=None)
@given(st.lists(any_spans, min_size=1, max_size=3))
def test_otlp_json_and_back(spans: list[ReadableSpan]) -> None:
    """OTLP/JSON is strict JSON and turns back into the same request."""
    (batch,) = encode(spans)
    request = decode(batch)
    text = json.dumps(to_otlp_json(request), allow_nan=False)
    document = json.loads(text)
    assert _flat(from_otlp_json(document)) == _flat(request)
    assert json.loads(text) == document


def test_otlp_json_follows_the_specification() -> None:
    """Ids are hex, 64-bit integers strings, enums integers, keys lowerCamelCase."""
    span = make_span(
        start_time=1,
        end_time=2,
        attributes={"n": 5, "ok": True},
        kind=SpanKind.CLIENT,
        parent=SpanContext(TRACE_ID, 0xABC, is_remote=False),
        status=Status(StatusCode.ERROR, "no"),
    )
    document = to_otlp_json(decode(encode([span])[0]))
    written = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert written["traceId"] == f"{TRACE_ID:032x}"
    assert written["spanId"] == "0000000000000001"
    assert written["parentSpanId"] == "0000000000000abc"
    assert written["kind"] == 3
    assert written["status"] == {"message": "no", "code": 2}
    assert (written["startTimeUnixNano"], written["endTimeUnixNano"]) == ("1", "2")
    assert written["attributes"] == [
        {"key": "n", "value": {"intValue": "5"}},
        {"key": "ok", "value": {"boolValue": True}},
    ]


def test_otlp_json_from_another_writer_is_read() -> None:
    """Unknown fields are ignored and integers may come as numbers."""
    span = {"traceId": "0A" * 16, "spanId": "0b" * 8, "name": "n", "startTimeUnixNano": 5, "newField": {"x": 1}}
    request = from_otlp_json({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    (read,) = all_spans(request)
    assert (read.trace_id, read.start_time_unix_nano) == (b"\x0a" * 16, 5)


@pytest.mark.parametrize(
    "document",
    [{"resourceSpans": [3]}, {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}, [], _deep(500)],
)
def test_ill_formed_json_is_refused(document: Any) -> None:
    """What is not an OTLP/JSON trace request raises the one documented error."""
    with pytest.raises(IllFormedPayloadError):
        from_otlp_json(document)


def test_ill_formed_bytes_are_refused() -> None:
    """Bytes that are not protobuf raise the one documented error."""
    with pytest.raises(IllFormedPayloadError):
        decode(Batch(b"\xff\xff not otlp", 1))
