"""Schedules: each run is a trace of its own, for the tenant of whoever made the schedule."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

import otel_llm
from tests.temporal.kit import connected, new_id, working
from tests.temporal.workflows import Child

if TYPE_CHECKING:
    from tests.temporal.kit import Recorded


def work_for(queue: str, name: str, subject: str) -> Schedule:
    """A schedule that runs when it is triggered."""
    return Schedule(
        action=ScheduleActionStartWorkflow(Child.run, subject, id=name, task_queue=queue), spec=ScheduleSpec()
    )


async def test_scheduled_runs_have_tenant_trace_and_origin(address: str, recorded: Recorded) -> None:
    """Two runs are two UUIDv7 traces for the schedule's tenant; each names and links to where it comes from."""
    client, queue, name = await connected(address), new_id("queue"), new_id("nightly")
    async with working(client, queue, max_cached_workflows=0):
        with otel_llm.tenant("acme", session="batch"):
            schedule = await client.create_schedule(name, work_for(queue, name, "night"))
        for runs in (1, 2):
            await schedule.trigger(overlap=ScheduleOverlapPolicy.ALLOW_ALL)
            await recorded.eventually("RunWorkflow:Child", runs)
        await schedule.delete()
    made, runs = recorded.one(f"CreateSchedule:{name}"), recorded.named("RunWorkflow:Child")
    assert len({run.trace for run in (*runs, made)}) == 3
    for run in runs:
        assert (run.parent, run.links, run.tenant) == ("", [made.id], "acme")
        assert run.attributes["session.id"] == "batch"
        assert run.attributes["temporal.schedule.id"] == name
        assert uuid.UUID(run.trace).version == 7
    assert {span.trace for span in recorded.named("chat night")} == {run.trace for run in runs}


async def test_a_changed_schedule_works_for_whoever_changed_it(address: str, recorded: Recorded) -> None:
    """An action that an update replaces gets the tenant of the update."""
    client, queue, name = await connected(address), new_id("queue"), new_id("changed")
    async with working(client, queue):
        with otel_llm.tenant("first"):
            schedule = await client.create_schedule(name, work_for(queue, name, "old"))

        def replaced(_: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(work_for(queue, name, "new"))

        def kept(found: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(found.description.schedule)

        with otel_llm.tenant("second"):
            await schedule.update(replaced)
        with otel_llm.tenant("third"):
            await schedule.update(kept)
        await schedule.trigger()
        await recorded.eventually("chat new")
        await schedule.delete()
    assert recorded.one("chat new").tenant == "second"
