"""The spans of one trace in one batch -> the trace's row.

Opik keeps, of several rows with one id, the one with the newest `last_updated_at`, whole. So that field is our
version number: it says how good a row is, not when it was sent. Resending changes nothing, and a worse row never
replaces a better one, in whatever order they arrive. docs/decisions/0040-opik-trace-row-version.md has the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm import json_bytes
from otel_llm.backends.opik.rows import Row
from otel_llm.backends.opik.values import timestamp_us

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_llm.backends.opik.memory import TraceNotes
    from otel_llm.backends.opik.rows import MappedSpan

__all__ = ["gather", "row_of_lone_root", "topmost", "trace_row", "version_us"]

_GRADES: Final = 10
_OWN_INPUT: Final = _GRADES - 1
_ROOT_ADVANTAGE_US: Final = 1000


def topmost(spans: Sequence[MappedSpan]) -> MappedSpan:
    """The span whose row describes the trace best: the root, else the one that began first."""
    return max(spans, key=lambda span: (_rank_us(span), span.span_id))


def gather(spans: Sequence[MappedSpan], notes: TraceNotes) -> TraceNotes:
    """`notes` with what these spans add: the first LLM input, the last LLM output, the thread, all tags."""
    for span in spans:
        if span.tags:
            notes.tags.update(span.tags)
        if span.thread_id is not None:
            notes.thread = _least(notes.thread, (span.start_ns, span.span_id, span.thread_id))
        if not span.is_llm:
            continue
        if span.input is not None:
            notes.first_input = _least(notes.first_input, (span.start_ns, span.span_id, span.input))
        if span.output is not None:
            candidate = (span.end_ns, span.span_id, span.output)
            if notes.last_output is None or candidate[:2] > notes.last_output[:2]:
                notes.last_output = candidate
    return notes


def trace_row(top: MappedSpan, notes: TraceNotes) -> Row:
    """The row of the trace that `top` is the topmost known span of."""
    said = b""
    if top.input is None and notes.first_input is not None:
        said += b'"input":%b,' % notes.first_input[2]
    if top.output is None and notes.last_output is not None:
        said += b'"output":%b,' % notes.last_output[2]
    thread = top.thread_id or (notes.thread[2] if notes.thread is not None else None)
    return _row(top, version_us(top, notes), notes.tags, thread, said)


def row_of_lone_root(top: MappedSpan) -> Row:
    """The same row for a root of which no other span of its trace is known, which is all of many a trace."""
    version = _rank_us(top) + (_OWN_INPUT if top.input is not None else 0)
    return _row(top, version, top.tags, top.thread_id)


def _row(top: MappedSpan, version: int, tags: Iterable[str], thread: str | None, said: bytes = b"") -> Row:
    own = f'{{"id":"{top.trace_id}","last_updated_at":"{timestamp_us(version)}",'.encode() + said
    if tags:
        own += b'"tags":%b,' % json_bytes.write(sorted(set(tags)))
    if thread is not None:
        own += b'"thread_id":%b,' % json_bytes.write(thread)
    return Row(own, top.shared, top.trace_id, top.destination.project, top.destination.workspace, top.span_id)


def version_us(top: MappedSpan, notes: TraceNotes) -> int:
    """`last_updated_at` in Unix microseconds: how good a row made from `top` and `notes` is."""
    return _rank_us(top) + _grade(top, notes)


def _rank_us(span: MappedSpan) -> int:
    """How well a span stands for its trace.

    A root: its end, at least a millisecond after the trace's own time. Any other: ten microseconds before that
    time for each that passed until it began, so what began earlier (a parent) wins, and never against a root.
    """
    trace_us = span.trace_millis * 1000
    if span.is_root:
        return max(span.end_ns // 1000, trace_us + _ROOT_ADVANTAGE_US)
    return trace_us - _GRADES * max(0, span.start_ns // 1000 - trace_us)


def _grade(top: MappedSpan, notes: TraceNotes) -> int:
    """0 to 9: how much is known of the trace's input. 9 its own; 8 to 1 an LLM call's, the earlier the better."""
    if top.input is not None:
        return _OWN_INPUT
    if notes.first_input is None:
        return 0
    offset_ms = max(0, notes.first_input[0] // 1_000_000 - top.trace_millis)
    return max(1, _OWN_INPUT - len(str(offset_ms)))


def _least(known: tuple[int, str, Any] | None, candidate: tuple[int, str, Any]) -> tuple[int, str, Any]:
    return candidate if known is None or candidate[:2] < known[:2] else known
