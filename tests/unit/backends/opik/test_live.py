"""Spans that are still there become the rows that their bytes become."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from otel_llm import semconv
from otel_llm.backends.opik.live import LiveSpans
from otel_llm.backends.opik.mapping import map_request, map_spans
from otel_llm.backends.opik.memory import TraceMemory
from otel_llm.backends.opik.routing import Routing
from otel_llm.delivery.codec import encode
from otel_llm.wire import decode

if TYPE_CHECKING:
    from otel_llm.backends.opik.rows import Rows

_NOW_MS = 1_795_348_800_000
_ROUTING = Routing("{service} {tenant}", tenants={"acme": "p @w"})
_RESOURCES = [
    Resource({semconv.SERVICE_NAME: "shop", "list": ("a", "b")}),
    Resource({semconv.DEPLOYMENT_ENVIRONMENT: "production", "tenant.id": "from the resource"}),
    Resource({"otel.span_id": "from the resource", "own attribute": "from the resource", "x": "from the resource"}),
    Resource({}),
]
_SCOPES = [InstrumentationScope("shop", "1", None, {}), InstrumentationScope("other")]
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
_WORDS = st.sampled_from(
    ["", "acme", "unknown", " blank ", "gpt-4o", "openai", "anthropic", "aws.bedrock", "chat", "stop"]
)
_NUMBERS = st.integers(-3, 1 << 33) | st.floats() | st.booleans() | st.sampled_from([0, 1, True, 1.0])
_LISTS = st.lists(_TEXTS | _WORDS, max_size=3) | st.lists(st.floats(), max_size=2)


@st.composite
def _messages(draw: Any) -> str:
    parts = st.fixed_dictionaries({"type": st.just("text"), "content": _TEXTS}) | st.just({"type": "uri", "uri": "x"})
    message = st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "system", "assistant", "odd"]),
            "parts": st.lists(parts, min_size=1, max_size=2),
        },
        optional={"finish_reason": st.sampled_from(["stop", "tool_call", "length"]), "name": st.just("n")},
    )
    ascii_only, spaced = draw(st.booleans()), draw(st.booleans())
    return json.dumps(
        draw(st.lists(message, max_size=3)), ensure_ascii=ascii_only, separators=None if spaced else (",", ":")
    )


_VALUES = {
    semconv.OPERATION_NAME: st.sampled_from(["chat", "embeddings", "execute_tool", "retrieval", "odd"]),
    semconv.PROVIDER_NAME: _WORDS,
    semconv.REQUEST_MODEL: _WORDS,
    semconv.RESPONSE_MODEL: _WORDS | _TEXTS,
    semconv.INPUT_MESSAGES: _messages() | _TEXTS | _NUMBERS,
    semconv.OUTPUT_MESSAGES: _messages() | _TEXTS,
    semconv.FINISH_REASONS: _LISTS | _WORDS,
    semconv.TENANT_ID: _WORDS | _NUMBERS,
    semconv.USER_ID: _TEXTS,
    semconv.SESSION_ID: _WORDS | _TEXTS | _NUMBERS,
    semconv.CONVERSATION_ID: _TEXTS,
    semconv.TAGS: _LISTS | _TEXTS,
    semconv.COST: _NUMBERS | _TEXTS,
    semconv.CACHE_HIT: _NUMBERS,
    semconv.TIME_TO_FIRST_CHUNK: _NUMBERS,
    semconv.ERROR_TYPE: _WORDS,
    semconv.USAGE_INPUT: _NUMBERS | st.just("12"),
    semconv.USAGE_OUTPUT: _NUMBERS,
    semconv.USAGE_CACHE_READ: _NUMBERS,
    semconv.USAGE_REASONING: _NUMBERS,
    semconv.GEN_A_TOTAL_TOKENS: _NUMBERS,
    semconv.OI_TOKENS_PROMPT: _NUMBERS,
    semconv.OI_INPUT_VALUE: _TEXTS,
    semconv.SYSTEM_INSTRUCTIONS: _TEXTS,
    "gen_ai.prompt.0.content": _TEXTS,
    semconv.OPIK_PROJECT: _WORDS,
    semconv.OPIK_TRACE_ID: st.just("019a1b2c-3d4e-7f00-8123-456789abcdef") | _WORDS,
    "opik.metadata.x": _NUMBERS,
    "otel.trace_id": _WORDS,
    "own attribute": _TEXTS | _NUMBERS | _LISTS,
}
_ATTRIBUTES = st.fixed_dictionaries({}, optional=_VALUES)


def _own_trace(number: int) -> int:
    return _NOW_MS << 80 | 0x7 << 76 | 0b10 << 62 | number


@st.composite
def _spans(draw: Any) -> ReadableSpan:
    trace = draw(st.sampled_from([_own_trace(1), _own_trace(2), 0x1234_5678_9ABC_DEF0_1234_5678_9ABC_DEF0]))
    state = draw(st.sampled_from([None, None, TraceState([("otelllm", f"t:{_NOW_MS:x};p:{3:016x}")])]))
    context = SpanContext(trace, draw(st.integers(1, 9)), is_remote=False, trace_flags=TraceFlags(1), trace_state=state)
    parent = draw(st.none() | st.integers(1, 9))
    start = _NOW_MS * 1_000_000 + draw(st.integers(-(10**9), 10**9))
    return ReadableSpan(
        name=draw(_TEXTS),
        context=context,
        parent=None if parent is None else SpanContext(trace, parent, is_remote=False),
        resource=draw(st.sampled_from(_RESOURCES)),
        instrumentation_scope=draw(st.sampled_from(_SCOPES)),
        attributes=draw(_ATTRIBUTES),
        kind=draw(st.sampled_from(SpanKind)),
        status=draw(
            st.sampled_from([Status(), Status(), Status(StatusCode.OK), Status(StatusCode.ERROR, "went wrong")])
        ),
        start_time=start,
        end_time=start + draw(st.integers(-1000, 10**10)),
    )


def _bodies(rows: Rows) -> dict[str, Any]:
    """What is sent, whatever the order of members and of rows of a kind."""
    found: dict[str, Any] = {}
    for kind, of_kind in rows.by_kind():
        for row in of_kind:
            json.loads(row.own + row.shared, object_pairs_hook=_unique)
        found[kind] = sorted((json.dumps(row.body, sort_keys=True), row[2:]) for row in of_kind)
    return found


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object each of whose members is there once."""
    found = dict(members)
    assert len(found) == len(members), members
    return found


@settings(max_examples=600, deadline=None)
@given(st.lists(_spans(), min_size=1, max_size=4, unique_by=lambda span: (span.context.trace_id, span.context.span_id)))
def test_both_ways_give_the_same_rows(spans: list[ReadableSpan]) -> None:
    """Whatever ordinary spans say, their rows are the ones that are made of their bytes."""
    (batch,) = encode(spans)
    if not batch.spans:  # a number that JSON does not have
        return
    assert batch.spans == tuple(spans)
    live = LiveSpans()
    for _ in range(2):  # the second time with everything looked up that can be
        rows = map_spans(batch.spans, live, _ROUTING, TraceMemory())
        assert rows is not None
        wanted = _bodies(map_request(decode(batch), _ROUTING, TraceMemory()))
        assert _bodies(rows) == wanted, [dict(span.attributes or {}) for span in spans]


def _span(**attributes: Any) -> ReadableSpan:
    return ReadableSpan(
        name="s",
        context=SpanContext(_own_trace(1), 1, is_remote=False),
        resource=_RESOURCES[0],
        instrumentation_scope=_SCOPES[0],
        attributes=attributes,
        start_time=_NOW_MS * 1_000_000,
        end_time=_NOW_MS * 1_000_000 + 5,
    )


def _only_row(live: LiveSpans, span: ReadableSpan, routing: Routing = _ROUTING) -> dict[str, Any]:
    rows = map_spans([span], live, routing, TraceMemory())
    assert rows is not None
    return rows.spans[0].body


def test_equal_values_of_other_types_are_told_apart() -> None:
    """What was worked out for `True` is not given for 1, and what for "1" not for either."""
    live = LiveSpans()
    for value in (True, 1, 1.0, "1", False, 0):
        assert repr(_only_row(live, _span(x=value))["metadata"]["x"]) == repr(value)


def test_memory_of_values_is_bounded() -> None:
    """Thousands of tenants, models and sets of attributes do not stay in memory."""
    live = LiveSpans()
    for number in range(5_000):
        row = _only_row(live, _span(**{semconv.TENANT_ID: f"t{number}", semconv.REQUEST_MODEL: f"m{number}"}))
        assert (row["tags"], row["model"]) == ([f"t{number}"], f"m{number}")
        _only_row(live, _span(**{f"k{number}": 1}))
    around = live.around(_RESOURCES[0], _SCOPES[0])
    assert around is not None
    assert len(around.plans) <= 256
    assert len(around.destinations) <= 4096
    assert all(len(plan.facts) <= 256 for plan in around.plans.values())


def test_a_resource_that_otlp_changes_is_read_from_bytes() -> None:
    """Values that are other ones in OTLP are not mapped from the object."""
    resource = Resource({"bytes": b"x"})
    if resource.attributes["bytes"] == "x":
        pytest.skip("this SDK makes a text of bytes by itself, as those before 1.45 did")
    span = ReadableSpan(
        name="s",
        context=SpanContext(_own_trace(1), 1, is_remote=False),
        resource=resource,
        start_time=1,
        end_time=2,
    )
    assert map_spans([span], LiveSpans(), _ROUTING, TraceMemory()) is None
