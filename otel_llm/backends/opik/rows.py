"""Rows as they go into requests: JSON, written once, and the little that has to be known of it.

A span's row and the row of the trace that it is the topmost span of say much the same. What both say is written once,
as the members of a JSON object, and put into both; not before the request is put together, so that it is not copied on
the way.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_llm.backends.opik.feedback import SPAN_SCORES, TRACE_SCORES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_llm.backends.opik.routing import Destination
    from otel_llm.contracts import Rejection

__all__ = ["MappedSpan", "Row", "Rows"]


class Row(NamedTuple):
    """One item for Opik's batch endpoints."""

    own: bytes
    """The item as JSON, up to what another row may say as well."""
    shared: bytes
    """The rest of it."""
    id: str
    """Opik's id of the trace or span that it is about."""
    project: str
    workspace: str | None
    """A tenant's own workspace; None is the configured one."""
    span_id: str
    """The OTel span (16 hex digits) that the row was made from."""

    @property
    def body(self) -> dict[str, Any]:
        """What it says."""
        read: dict[str, Any] = json.loads(self.own + self.shared)
        return read


class Rows:
    """What one batch becomes. Traces are to be sent before spans, and both before scores."""

    def __init__(self) -> None:
        self.traces: list[Row] = []
        self.spans: list[Row] = []
        self.scores: dict[str, list[Row]] = {TRACE_SCORES: [], SPAN_SCORES: []}
        """Feedback, by kind."""
        self.rejections: list[Rejection] = []
        """Records of feedback that cannot be told to Opik."""

    def by_kind(self) -> list[tuple[str, list[Row]]]:
        """All rows, in the order in which they are to be sent."""
        return [("traces", self.traces), ("spans", self.spans), *self.scores.items()]


class MappedSpan(NamedTuple):
    """A span's row in two parts, with what else the trace's row is made of."""

    id: str
    trace_id: str
    trace_millis: int
    destination: Destination
    shared: bytes
    """Members of the row that a trace's row has as well, and the end of both."""
    own: bytes
    """Members that are the span's alone."""
    is_llm: bool
    input: bytes | None
    """As JSON."""
    output: bytes | None
    tags: Sequence[str]
    start_ns: int
    end_ns: int
    span_id: str
    """16 hex digits."""
    is_root: bool
    """Nothing is above it: it has no parent at all."""
    joins_existing: bool
    """It belongs to a trace whose row somebody else writes (`opik.trace_id`)."""
    thread_id: str | None

    def row(self) -> Row:
        """The span's row."""
        own = b'{"id":"%b","trace_id":"%b",%b,' % (self.id.encode(), self.trace_id.encode(), self.own)
        return Row(own, self.shared, self.id, self.destination.project, self.destination.workspace, self.span_id)
