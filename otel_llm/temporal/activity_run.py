"""What is traced inside an activity: which attempt it is, its heartbeats, and how it ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ActivityOutboundInterceptor

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.temporal.outcome import Outcome, outcome_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span
    from temporalio.worker import ExecuteActivityInput

__all__ = ["TracedActivity"]

_MOST_EVENTS: Final = 32
"""Heartbeats that are shown one by one; all are counted."""


class TracedActivity(ActivityInboundInterceptor):
    """Completes the span that `temporalio.contrib.opentelemetry` has begun for this attempt at an activity."""

    def __init__(self, next: ActivityInboundInterceptor) -> None:  # noqa: A002  (Temporal's name)
        super().__init__(next)
        self._heartbeats = _Heartbeats()

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Put ourselves before the heartbeats too."""
        super().init(_CountedHeartbeats(outbound, self._heartbeats))

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        """One attempt."""
        span = trace.get_current_span()
        self._heartbeats.span = span
        guarded("describing an activity", _describe, span)
        try:
            result = await super().execute_activity(input)
        except BaseException as error:
            guarded("ending an activity", self._conclude, span, error)
            raise
        guarded("ending an activity", self._conclude, span, None)
        return result

    def _conclude(self, span: Span, error: BaseException | None) -> None:
        if self._heartbeats.count:
            span.set_attribute(semconv.TEMPORAL_HEARTBEATS, self._heartbeats.count)
        reasons = _cancellation()
        if reasons:
            span.set_attribute(semconv.TEMPORAL_CANCELLATION, reasons)
        outcome = outcome_of(error)
        if outcome.name == "left_open":
            outcome = Outcome("completed_elsewhere")  # raise_complete_async(): somebody will say later how it ended
        elif outcome.name == "cancelled" and "timed_out" in reasons:
            attributes = {semconv.ERROR_TYPE: "timeout"}
            outcome = Outcome("timed_out", attributes, failed=True)
        _put(outcome, span)


class _Heartbeats:
    """Counts the heartbeats of one attempt; sync activities send them from threads of their own."""

    def __init__(self) -> None:
        self.span: Span = trace.INVALID_SPAN
        self.count = 0
        self._lock = threading.RLock()

    def beat(self) -> None:
        """One more. What the program says with it is its own business and is not recorded."""
        with self._lock:
            self.count += 1
            shown = self.count <= _MOST_EVENTS
        if shown:
            self.span.add_event(semconv.TEMPORAL_HEARTBEAT_EVENT)


class _CountedHeartbeats(ActivityOutboundInterceptor):
    """Counts heartbeats on their way out."""

    def __init__(self, next: ActivityOutboundInterceptor, heartbeats: _Heartbeats) -> None:  # noqa: A002
        super().__init__(next)
        self._heartbeats = heartbeats

    def heartbeat(self, *details: Any) -> None:
        """A heartbeat."""
        guarded("counting a heartbeat", self._heartbeats.beat)
        super().heartbeat(*details)


def _describe(span: Span) -> None:
    info = activity.info()
    found: dict[str, Any] = {
        semconv.TEMPORAL_ACTIVITY_TYPE: info.activity_type,
        semconv.TEMPORAL_TASK_QUEUE: info.task_queue,
        semconv.TEMPORAL_NAMESPACE: info.namespace,
        semconv.TEMPORAL_ATTEMPT: info.attempt,
        semconv.TEMPORAL_RETRY: info.attempt > 1,
        semconv.TEMPORAL_LOCAL: info.is_local,
        semconv.TEMPORAL_RESUMED: bool(info.heartbeat_details),
    }
    limits = {
        semconv.TEMPORAL_START_TO_CLOSE: info.start_to_close_timeout,
        semconv.TEMPORAL_SCHEDULE_TO_CLOSE: info.schedule_to_close_timeout,
        semconv.TEMPORAL_HEARTBEAT_TIMEOUT: info.heartbeat_timeout,
    }
    found |= {name: limit.total_seconds() for name, limit in limits.items() if limit}
    if info.workflow_type is not None:
        found[semconv.TEMPORAL_WORKFLOW_TYPE] = info.workflow_type
    span.set_attributes(found)


def _cancellation() -> list[str]:
    """Why the activity was asked to stop: `cancel_requested`, `timed_out`, `worker_shutdown` and others."""
    details = activity.cancellation_details()
    if details is None:
        return []
    reasons = ("cancel_requested", "timed_out", "worker_shutdown", "paused", "reset", "not_found")
    return [reason for reason in reasons if getattr(details, reason, False)]


def _put(outcome: Outcome, span: Span) -> None:
    """Upstream's interceptor has put exception and status on the span of an attempt that raised."""
    raised = outcome.error is not None
    Outcome(outcome.name, outcome.attributes, failed=outcome.failed and not raised).put_on(span)
