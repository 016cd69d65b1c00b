"""Spans of workflow code: begun as often as the history is run, ended and sent once.

A workflow task is run for real once and replayed whenever a worker takes the workflow over, or needs it again after
having put it out of its cache. In a replay a span is begun too, with the id and the time that it had, so that what
follows has its parent; its end is only recorded when it happens for real.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from temporalio import workflow

from otel_llm.faults import guarded
from otel_llm.instrumentation.scope import Scope
from otel_llm.temporal.outcome import Outcome, outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanKind, Tracer

__all__ = ["WorkflowSpans"]


class WorkflowSpans:
    """Begins spans of workflows on `tracer`, and ends them where the workflow is not being replayed."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def begin(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: dict[str, Any],
        links: Sequence[Link] = (),
    ) -> Span:
        """A span below the one in `context`; where that fails, one that records nothing."""
        span = guarded("beginning a span of a workflow", self._begin, name, context, kind, attributes, links)
        return trace.INVALID_SPAN if span is None else span

    def end(self, span: Span, error: BaseException | None = None, outcome: Outcome | None = None) -> None:
        """End `span` with what `error` (or `outcome`) says, if that happens now and not in a replay."""
        if not workflow.unsafe.is_replaying_history_events() and not _fails_the_task(error):
            guarded("ending a span of a workflow", _end, span, outcome or outcome_of(error))

    @contextlib.contextmanager
    def over(
        self,
        name: str,
        context: Context,
        kind: SpanKind,
        attributes: dict[str, Any],
        links: Sequence[Link] = (),
    ) -> Iterator[Context]:
        """Make a span, which lasts for the block, and the context with it the current one."""
        span = self.begin(name, context, kind, attributes, links)
        inner = trace.set_span_in_context(span, context) if span.get_span_context().is_valid else context
        scope = Scope(inner)
        try:
            yield inner
        except BaseException as error:
            scope.leave()
            self.end(span, error)
            raise
        scope.leave()
        self.end(span)

    def _begin(
        self, name: str, context: Context, kind: SpanKind, attributes: dict[str, Any], links: Sequence[Link]
    ) -> Span:
        # In a replay the clock on the wall says when the replay is.
        at = workflow.time_ns() if workflow.unsafe.is_replaying_history_events() else time.time_ns()
        scope = Scope(context)  # the id generator reads the current context
        try:
            with _outside_the_sandbox():
                return self._tracer.start_span(name, context, kind, attributes, links, start_time=at)
        finally:
            scope.leave()


def _end(span: Span, outcome: Outcome) -> None:
    with _outside_the_sandbox():
        outcome.put_on(span)
        span.end()


def _fails_the_task(error: BaseException | None) -> bool:
    """Whether `error` ends only this attempt at the workflow task: Temporal will run it again, from the beginning.

    In a query or an update's validator it ends the request instead.
    """
    if not isinstance(error, Exception) or workflow.unsafe.is_read_only():
        return False
    return not workflow.is_failure_exception(error)


@contextlib.contextmanager
def _outside_the_sandbox() -> Iterator[None]:
    """Processors and samplers are the program's own and know nothing of Temporal's restrictions."""
    with workflow.unsafe.sandbox_unrestricted(), workflow.unsafe.imports_passed_through():
        yield
