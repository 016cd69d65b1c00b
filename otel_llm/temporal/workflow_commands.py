"""The commands that a workflow gives: each is a span until it is answered, and carries trace and identity on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind
from temporalio.worker import WorkflowOutboundInterceptor

from otel_llm import semconv
from otel_llm.temporal.carrier import PROPAGATOR, with_header

if TYPE_CHECKING:
    from datetime import timedelta

    from temporalio.worker import (
        ContinueAsNewInput,
        SignalChildWorkflowInput,
        SignalExternalWorkflowInput,
        StartActivityInput,
        StartChildWorkflowInput,
        StartLocalActivityInput,
        StartNexusOperationInput,
    )
    from temporalio.workflow import ActivityHandle, ChildWorkflowHandle, NexusOperationHandle

    from otel_llm.temporal.workflow_run import OpenCommands

__all__ = ["TracedCommands"]


class TracedCommands(WorkflowOutboundInterceptor):
    """Traces what a workflow asks of others. An activity's span holds all of its attempts."""

    def __init__(self, next: WorkflowOutboundInterceptor, commands: OpenCommands) -> None:  # noqa: A002
        super().__init__(next)
        self._commands = commands

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        """An activity, from being asked for until its result or last failure is there."""
        return self._follow_activity(input, super().start_activity, _timeouts(input))

    def start_local_activity(self, input: StartLocalActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        """The same for an activity that this worker runs itself."""
        return self._follow_activity(input, super().start_local_activity, _timeouts(input))

    def _follow_activity(self, input: Any, start: Any, attributes: dict[str, Any]) -> ActivityHandle[Any]:  # noqa: A002
        span, context = self._commands.begin(f"StartActivity:{input.activity}", SpanKind.CLIENT, attributes)
        input.headers = with_header(input.headers, context)
        try:
            handle: ActivityHandle[Any] = start(input)
        except BaseException as error:
            self._commands.spans.end(span, error)
            raise
        self._commands.follow(span, handle)
        return handle

    async def start_child_workflow(
        self,
        input: StartChildWorkflowInput,  # noqa: A002
    ) -> ChildWorkflowHandle[Any, Any]:
        """A child workflow, from being asked for until it is closed."""
        span, context = self._commands.begin(f"StartChildWorkflow:{input.workflow}", SpanKind.CLIENT, {})
        input.headers = with_header(input.headers, context)
        try:
            handle = await super().start_child_workflow(input)
        except BaseException as error:
            self._commands.spans.end(span, error)
            raise
        self._commands.follow(span, handle)
        return handle

    async def signal_child_workflow(self, input: SignalChildWorkflowInput) -> None:  # noqa: A002
        """A signal to a child, until the server has taken it."""
        span, context = self._commands.begin(f"SignalChildWorkflow:{input.signal}", SpanKind.CLIENT, {})
        input.headers = with_header(input.headers, context)
        await self._until(span, super().signal_child_workflow(input))

    async def signal_external_workflow(self, input: SignalExternalWorkflowInput) -> None:  # noqa: A002
        """A signal to another workflow, until the server has taken it."""
        span, context = self._commands.begin(f"SignalExternalWorkflow:{input.signal}", SpanKind.CLIENT, {})
        input.headers = with_header(input.headers, context)
        await self._until(span, super().signal_external_workflow(input))

    async def start_nexus_operation(self, input: StartNexusOperationInput[Any, Any]) -> NexusOperationHandle[Any]:  # noqa: A002
        """A Nexus operation, until it has begun. Its headers are plain text."""
        name = f"StartNexusOperation:{input.service}/{input.operation_name}"
        span, context = self._commands.begin(name, SpanKind.CLIENT, {})
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier, context)
        input.headers = {**(input.headers or {}), **carrier}
        handle: NexusOperationHandle[Any] = await self._until(span, super().start_nexus_operation(input))
        return handle

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:  # noqa: A002
        """The next run goes on with this one's trace and identity."""
        input.headers = with_header(input.headers, otel_context.get_current())
        super().continue_as_new(input)

    async def _until(self, span: Any, answered: Any) -> Any:
        try:
            answer = await answered
        except BaseException as error:
            self._commands.spans.end(span, error)
            raise
        self._commands.spans.end(span)
        return answer


def _timeouts(of: StartActivityInput | StartLocalActivityInput) -> dict[str, Any]:
    given: dict[str, timedelta | None] = {
        semconv.TEMPORAL_START_TO_CLOSE: of.start_to_close_timeout,
        semconv.TEMPORAL_SCHEDULE_TO_CLOSE: of.schedule_to_close_timeout,
        semconv.TEMPORAL_SCHEDULE_TO_START: of.schedule_to_start_timeout,
        semconv.TEMPORAL_HEARTBEAT_TIMEOUT: getattr(of, "heartbeat_timeout", None),
    }
    return {name: limit.total_seconds() for name, limit in given.items() if limit is not None}
