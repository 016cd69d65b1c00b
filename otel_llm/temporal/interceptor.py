"""The interceptor that Temporal's clients and workers are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import client, worker
from temporalio.contrib.opentelemetry import TracingInterceptor

from otel_llm.temporal.activity_run import TracedActivity
from otel_llm.temporal.carrier import HEADER, PROPAGATOR, read_header
from otel_llm.temporal.schedules import TracedSchedules
from otel_llm.temporal.tracer import CurrentTracer, WorkflowTracer
from otel_llm.temporal.workflow_run import TracedRun
from otel_llm.temporal.workflow_spans import WorkflowSpans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from temporalio.api.common.v1 import Payload

__all__ = ["OtelLlmInterceptor"]


class OtelLlmInterceptor(client.Interceptor, worker.Interceptor):
    """Traces clients, workflows, activities and Nexus operations, and carries tenant, user and session along.

    Give it to `Client.connect(interceptors=[...])`; workers take it from their client. `OtelLlmPlugin` does that and
    also opens the workflow sandbox for us, so prefer it.
    """

    def __init__(self) -> None:
        self._upstream = _Upstream(CurrentTracer())
        self._workflow_spans = WorkflowSpans(WorkflowTracer())

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:  # noqa: A002  (Temporal's name)
        """Around the calls of a client."""
        return self._upstream.intercept_client(TracedSchedules(next, self._upstream.tracer))

    def intercept_activity(self, next: worker.ActivityInboundInterceptor) -> worker.ActivityInboundInterceptor:  # noqa: A002
        """Around each attempt at an activity."""
        return self._upstream.intercept_activity(TracedActivity(next))

    def intercept_nexus_operation(
        self,
        next: worker.NexusOperationInboundInterceptor,  # noqa: A002
    ) -> worker.NexusOperationInboundInterceptor:
        """Around each request for a Nexus operation."""
        return self._upstream.intercept_nexus_operation(next)

    def workflow_interceptor_class(
        self,
        input: worker.WorkflowInterceptorClassInput,  # noqa: A002, ARG002
    ) -> type[worker.WorkflowInboundInterceptor]:
        """What is put around each workflow."""

        class Run(TracedRun):
            spans = self._workflow_spans

        return Run


class _Upstream(TracingInterceptor):
    """Temporal's own interceptor, with our header contents. Its part in workflows is not used."""

    def __init__(self, tracer: CurrentTracer) -> None:
        super().__init__(tracer)
        self.header_key = HEADER
        self.text_map_propagator = PROPAGATOR

    def _context_from_headers(self, headers: Mapping[str, Payload]) -> Context:
        """What an activity goes on from: its header, never what happened to be current where the worker began."""
        return read_header(headers).context
