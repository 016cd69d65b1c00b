"""What waits for its trace's end: given back when the trace matters, let go when it does not, within bounds."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import SpanContext, TraceFlags

from otel_llm import semconv
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.sampling import LEFT_OUT
from otel_llm.processors.waiting_room import WaitingRoom
from tests.fakes.spans import make_span


def draft(trace: int, number: int, *, reason: str = "", root: bool = False, **attributes: Any) -> SpanDraft:
    """One span of a trace; left out, unless there is a reason to keep it."""
    flags = TraceFlags(1)
    parent = None if root else SpanContext(trace, 999, is_remote=False, trace_flags=flags)
    facts = {**attributes, **({semconv.SAMPLING_REASON: reason} if reason else {})}
    made = SpanDraft(
        make_span(
            number=number,
            context=SpanContext(trace, number, is_remote=False, trace_flags=flags),
            parent=parent,
            attributes=facts,
        )
    )
    made.left_out = "" if reason else LEFT_OUT
    return made


def ids(spans: list[Any]) -> list[int]:
    """Span ids, in order."""
    return [span.context.span_id for span in spans]


def test_a_trace_without_a_rule_is_let_go_with_its_root() -> None:
    """Its spans are counted as left out once, when the root ends."""
    room = WaitingRoom()
    assert room.settle(draft(1, 1)) == ([], 0)
    assert room.settle(draft(1, 2)) == ([], 0)
    assert room.settle(draft(1, 3, root=True)) == ([], 3)
    assert room.clear() == 0


def test_a_rule_gives_back_what_waits_and_keeps_what_comes_later() -> None:
    """Also after the root: a stream may end when its caller has long returned."""
    room = WaitingRoom()
    room.settle(draft(1, 1))
    room.settle(draft(2, 5))
    kept, gone = room.settle(draft(1, 2, reason="error"))
    assert (ids(kept), gone) == ([1, 2], 0)
    assert kept[0].attributes is not None
    assert kept[0].attributes[semconv.SAMPLING_REASON] == "trace"
    assert ids(room.settle(draft(1, 3, root=True)).kept) == [3]
    assert ids(room.settle(draft(1, 4)).kept) == [4]
    assert room.clear() == 1


def test_a_span_kept_by_ratio_gives_nothing_back() -> None:
    """Tenants may have ratios of their own within one trace; luck is no reason to keep the others."""
    room = WaitingRoom()
    room.settle(draft(1, 1))
    assert ids(room.settle(draft(1, 2, reason="ratio")).kept) == [2]
    assert room.clear() == 1


def test_the_root_of_a_trace_from_elsewhere_is_the_first_span_here() -> None:
    """A span whose parent is in another process ends the wait."""
    room = WaitingRoom()
    room.settle(draft(1, 1))
    ours = draft(1, 2)
    ours.parent = SpanContext(1, 999, is_remote=True, trace_flags=TraceFlags(1))
    assert room.settle(ours) == ([], 2)


def test_room_is_bounded_by_spans_and_bytes() -> None:
    """The oldest traces go first, and are counted."""
    room = WaitingRoom(most_spans=3)
    assert [room.settle(draft(trace, trace)).left_out for trace in range(1, 6)] == [0, 0, 0, 1, 1]
    assert room.clear() == 3
    small = WaitingRoom(most_bytes=5000)
    assert small.settle(draft(1, 1, text="x" * 3000)).left_out == 0
    assert small.settle(draft(2, 2, text="x" * 3000)).left_out == 1
    assert small.clear() == 1


def test_a_child_process_begins_empty() -> None:
    """What waited is the parent's."""
    room = WaitingRoom()
    room.settle(draft(1, 1))
    room.reset_after_fork()
    assert room.clear() == 0
