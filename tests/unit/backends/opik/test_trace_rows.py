"""Trace rows: the better one wins in Opik whatever the order of arrival, and resending changes nothing."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm import semconv
from otel_llm.backends.opik.mapping import map_request
from otel_llm.backends.opik.memory import TraceMemory, TraceNotes
from otel_llm.backends.opik.routing import Routing

_MS = 1_795_348_800_000
_TRACE = bytes.fromhex(f"{_MS:012x}7abc8def0123456789ab")
_ROUTING = Routing(service="shop")


def _request(*spans: tuple[int, int, int, int]) -> ExportTraceServiceRequest:
    """A request of LLM spans: (number, parent's number or 0, start and end in ms after the trace's time)."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number, parent, start, end in spans:
        span = scope.spans.add(trace_id=_TRACE, span_id=number.to_bytes(8, "big"), name=f"span {number}")
        if parent:
            span.parent_span_id = parent.to_bytes(8, "big")
        span.start_time_unix_nano = (_MS + start) * 1_000_000
        span.end_time_unix_nano = (_MS + end) * 1_000_000
        span.attributes.add(key=semconv.OPERATION_NAME).value.string_value = semconv.OP_CHAT
    return request


def _winner(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The row that Opik keeps: the newest version, of equal ones the last."""
    return sorted(rows, key=lambda row: row["last_updated_at"])[-1]


def _rows(*requests: ExportTraceServiceRequest) -> list[dict[str, Any]]:
    memory = TraceMemory()
    rows = [row for request in requests for row in map_request(request, _ROUTING, memory).traces]
    return [row.body for row in rows]


@given(
    starts=st.lists(st.integers(min_value=-5_000, max_value=80_000_000), min_size=1, max_size=5),
    root_end=st.integers(min_value=-5_000, max_value=90_000_000),
)
def test_root_wins_against_any_other_span(starts: list[int], root_end: int) -> None:
    """Whenever spans began (clocks may differ) and whenever the root ended, the root's row is the newest."""
    others = [_request((number, 1, start, start + 10)) for number, start in enumerate(starts, 2)]
    rows = _rows(*others, _request((1, 0, 0, root_end)))
    assert _winner(rows)["name"] == "span 1"
    assert max(row["last_updated_at"] for row in rows[:-1]) < rows[-1]["last_updated_at"]


def test_parent_wins_against_its_child_in_any_order() -> None:
    """Without a root the span that began first describes the trace, in whatever order the batches arrive."""
    batches = [_request((4, 3, 30, 35)), _request((3, 2, 20, 90_000)), _request((2, 1, 10, 95_000))]
    for order in permutations(batches):
        assert _winner(_rows(*order))["name"] == "span 2"


def test_version_lies_in_the_past_of_a_reader() -> None:
    """No version is later than the root's end and nine microseconds, so that an edit in Opik's page is newer."""
    (row,) = _rows(_request((1, 0, 0, 1000), (2, 1, 5, 900)))
    assert row["last_updated_at"] <= "2026-11-22T12:00:01.000009Z"


def test_a_row_without_memory_never_replaces_a_fuller_one() -> None:
    """Sent again after a restart, a root's row knows less and has an older version than the first time."""
    child, root = _request((2, 1, 5, 10)), _request((1, 0, 0, 90_000))
    del root.resource_spans[0].scope_spans[0].spans[0].attributes[:]
    attribute = child.resource_spans[0].scope_spans[0].spans[0].attributes.add(key=semconv.INPUT_MESSAGES)
    attribute.value.string_value = '[{"role":"user","parts":[{"type":"text","content":"hi"}]}]'
    full = _rows(child, root)[-1]
    poor = _rows(root)[-1]
    assert full["input"] == {"messages": [{"role": "user", "content": "hi"}]}
    assert "input" not in poor
    assert poor["last_updated_at"] < full["last_updated_at"]


def _notes(**known: Any) -> TraceNotes:
    notes = TraceNotes()
    vars(notes).update(known)
    return notes


def test_memory_is_bounded_by_number_and_by_bytes() -> None:
    """Old traces are forgotten beyond either bound, and a trace too big for it is not kept at all."""
    memory = TraceMemory(max_traces=3, max_bytes=1000)
    for number in range(10):
        memory.keep(number, _notes(tags={f"tag {number}"}))
        memory.millis(number.to_bytes(16, "big"), number)
    assert [number for number in range(10) if memory.recall(number).tags] == [7, 8, 9]
    assert memory.millis((0).to_bytes(16, "big"), 77) == 77
    assert memory.millis((9).to_bytes(16, "big"), 77) == 9
    memory.keep("big", _notes(first_input=(0, "", b"x" * 2000)))
    assert memory.recall("big").first_input is None
    memory.keep("small", _notes(tags={"a"}))
    assert memory.recall("small").tags == {"a"}
