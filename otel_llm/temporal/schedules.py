"""Schedules: their runs belong to the tenant that the schedule was made for, and link to where it was made.

A schedule outlives whoever made it and may run for years, so each run is a trace of its own.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from opentelemetry import context as otel_context
from opentelemetry.trace import SpanKind
from temporalio.client import OutboundInterceptor, ScheduleActionStartWorkflow

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.temporal.carrier import HEADER, with_creator

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer
    from temporalio.client import (
        CreateScheduleInput,
        Schedule,
        ScheduleHandle,
        ScheduleUpdate,
        ScheduleUpdateInput,
        UpdateScheduleInput,
    )

__all__ = ["TracedSchedules"]


class TracedSchedules(OutboundInterceptor):
    """Puts a header on the workflows that schedules start."""

    def __init__(self, next: OutboundInterceptor, tracer: Tracer) -> None:  # noqa: A002  (Temporal's name)
        super().__init__(next)
        self._tracer = tracer

    async def create_schedule(self, input: CreateScheduleInput) -> ScheduleHandle:  # noqa: A002
        """A schedule is made."""
        attributes = {semconv.TEMPORAL_SCHEDULE_ID: input.id}
        with self._tracer.start_as_current_span(f"CreateSchedule:{input.id}", None, SpanKind.CLIENT, attributes):
            guarded("marking a schedule", _mark, input.schedule)
            return await super().create_schedule(input)

    async def update_schedule(self, input: UpdateScheduleInput) -> None:  # noqa: A002
        """A schedule is changed: an action that is new gets a header, one that has one keeps it."""
        updater = input.updater

        async def marked(current: ScheduleUpdateInput) -> ScheduleUpdate | None:
            answer = updater(current)
            update = await answer if inspect.isawaitable(answer) else answer
            if update is not None:
                guarded("marking a schedule", _mark, update.schedule)
            return update

        input.updater = marked
        await super().update_schedule(input)


def _mark(schedule: Schedule) -> None:
    action = schedule.action
    if isinstance(action, ScheduleActionStartWorkflow) and HEADER not in (action.headers or {}):
        action.headers = with_creator(action.headers, otel_context.get_current())
