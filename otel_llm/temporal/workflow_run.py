"""What is traced inside a workflow: its run, its handlers, and the commands that it gives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.worker import WorkflowInboundInterceptor

from otel_llm import semconv
from otel_llm.context import identity_in, with_id_source, with_identity
from otel_llm.faults import guarded
from otel_llm.instrumentation.scope import Scope
from otel_llm.temporal.carrier import Incoming, read_header
from otel_llm.temporal.outcome import Outcome
from otel_llm.temporal.run_ids import RunIds
from otel_llm.temporal.workflow_commands import TracedCommands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.trace import Span
    from temporalio.api.common.v1 import Payload
    from temporalio.worker import (
        ExecuteWorkflowInput,
        HandleQueryInput,
        HandleSignalInput,
        HandleUpdateInput,
        WorkflowOutboundInterceptor,
    )

    from otel_llm.temporal.workflow_spans import WorkflowSpans

__all__ = ["OpenCommands", "TracedRun"]

_SCHEDULE = SearchAttributeKey.for_keyword("TemporalScheduledById")


class OpenCommands:
    """The spans of commands that have not been answered yet."""

    def __init__(self, spans: WorkflowSpans) -> None:
        self.spans = spans
        self._open: dict[int, Span] = {}

    def begin(self, name: str, kind: SpanKind, attributes: dict[str, Any]) -> tuple[Span, Context]:
        """A span below the current one, and the context that the command's receiver goes on from."""
        current = otel_context.get_current()
        span = self.spans.begin(name, current, kind, facts() | attributes)
        return span, trace.set_span_in_context(span, current) if span.get_span_context().is_valid else current

    def follow(self, span: Span, handle: asyncio.Task[Any]) -> None:
        """End `span` when `handle` is done."""
        self._open[id(span)] = span
        handle.add_done_callback(lambda done: self._answered(span, done))

    def abandon(self) -> None:
        """The workflow is at its end: end what it did not wait for."""
        while self._open:
            self.spans.end(self._open.popitem()[1], outcome=Outcome("abandoned"))

    def _answered(self, span: Span, handle: asyncio.Task[Any]) -> None:
        if self._open.pop(id(span), None) is not None:
            self.spans.end(span, asyncio.CancelledError() if handle.cancelled() else handle.exception())


class TracedRun(WorkflowInboundInterceptor):
    """Traces one run of a workflow. `spans` is set on the subclass that a worker uses."""

    spans: ClassVar[WorkflowSpans]

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Put ourselves around the commands of the workflow too."""
        self._run: tuple[Span, Context] | None = None
        self._ids: RunIds | None = None
        self._commands = OpenCommands(self.spans)
        super().init(TracedCommands(outbound, self._commands))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002  (Temporal's name)
        """The run: lasts from its first task to its last, however many workers take part."""
        span, context = self._begun()
        scope = Scope(context)
        try:
            result = await super().execute_workflow(input)
        except BaseException as error:
            self._close(span, scope, error)
            raise
        self._close(span, scope, None)
        return result

    async def handle_signal(self, input: HandleSignalInput) -> None:  # noqa: A002
        """A signal: goes on with the sender's trace and identity, and links to the run."""
        context, links = self._entered(input.headers)
        with self.spans.over(f"HandleSignal:{input.signal}", context, SpanKind.SERVER, facts(), links):
            await super().handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:  # noqa: A002
        """A query: a request of its own, which is answered whether or not the history was replayed for it."""
        context, links = self._asked(input.headers)
        with self.spans.over(f"HandleQuery:{input.query}", context, SpanKind.SERVER, facts(), links):
            return await super().handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:  # noqa: A002
        """The check of an update, which may refuse it."""
        context, links = self._asked(input.headers)
        with self.spans.over(f"ValidateUpdate:{input.update}", context, SpanKind.SERVER, facts(), links):
            super().handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:  # noqa: A002
        """An update: like a signal, and its sender waits for the answer."""
        context, links = self._entered(input.headers)
        with self.spans.over(f"HandleUpdate:{input.update}", context, SpanKind.SERVER, facts(), links):
            return await super().handle_update_handler(input)

    def _close(self, span: Span, scope: Scope, error: BaseException | None) -> None:
        scope.leave()
        if not isinstance(error, Exception) or workflow.is_failure_exception(error):
            self._commands.abandon()
        self.spans.end(span, error)

    def _begun(self) -> tuple[Span, Context]:
        """The span of the run, which a signal or an update may need before the run begins."""
        if self._run is None:
            info = workflow.info()
            incoming = read_header(info.headers)
            links = [Link(incoming.creator)] if incoming.creator is not None else []
            context = incoming.context
            if info.cron_schedule:
                links += _link_to(context)
                context = _without_span(context)
            self._ids = RunIds(info.run_id, workflow.time_ns() // 1_000_000)
            context = with_id_source(self._ids, context)
            span = self.spans.begin(
                f"RunWorkflow:{info.workflow_type}", context, SpanKind.SERVER, facts() | _facts_of_run(), links
            )
            self._run = span, trace.set_span_in_context(span, context)
        return self._run

    def _entered(self, headers: Mapping[str, Payload]) -> tuple[Context, Sequence[Link]]:
        """Where a signal or an update goes on from: its sender, or the run where the sender is not traced."""
        _, run = self._begun()
        incoming = read_header(headers)
        if not _has_span(incoming):
            return _on_behalf(incoming.context, run, run), ()
        return with_id_source(self._ids, _on_behalf(incoming.context, run, incoming.context)), _link_to(run)

    def _asked(self, headers: Mapping[str, Payload]) -> tuple[Context, Sequence[Link]]:
        """The same for a query or a check, which must leave no mark on the workflow."""
        incoming = read_header(headers)
        run = self._run[1] if self._run is not None else Context()
        context = _on_behalf(incoming.context, run, incoming.context if _has_span(incoming) else run)
        return with_id_source(None, context), _link_to(run) if _has_span(incoming) else ()


def facts() -> dict[str, Any]:
    """Attributes of every span that begins in a workflow."""
    info = workflow.info()
    return {semconv.TEMPORAL_WORKFLOW_ID: info.workflow_id, semconv.TEMPORAL_RUN_ID: info.run_id}


def _facts_of_run() -> dict[str, Any]:
    info = workflow.info()
    found: dict[str, Any] = {
        semconv.TEMPORAL_WORKFLOW_TYPE: info.workflow_type,
        semconv.TEMPORAL_TASK_QUEUE: info.task_queue,
        semconv.TEMPORAL_NAMESPACE: info.namespace,
        semconv.TEMPORAL_ATTEMPT: info.attempt,
        semconv.TEMPORAL_RETRY: info.attempt > 1,
    }
    if info.parent is not None:
        found[semconv.TEMPORAL_PARENT_WORKFLOW_ID] = info.parent.workflow_id
    if info.run_timeout is not None:
        found[semconv.TEMPORAL_RUN_TIMEOUT] = info.run_timeout.total_seconds()
    schedule = guarded("reading a schedule's name", info.typed_search_attributes.get, _SCHEDULE)
    if schedule:
        found[semconv.TEMPORAL_SCHEDULE_ID] = schedule
    return found


def _has_span(incoming: Incoming) -> bool:
    return trace.get_current_span(incoming.context).get_span_context().is_valid


def _link_to(context: Context) -> list[Link]:
    found = trace.get_current_span(context).get_span_context()
    return [Link(found)] if found.is_valid else []


def _without_span(context: Context) -> Context:
    return trace.set_span_in_context(trace.INVALID_SPAN, context)


def _on_behalf(sender: Context, run: Context, base: Context) -> Context:
    """`base` with the sender's identity, and the run's where the sender named none."""
    return with_identity(identity_in(sender).over(identity_in(run)), base)
