"""How work ends: retries, failures, cancellation, timeouts, heartbeats."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from temporalio.client import WorkflowFailureError

from tests.temporal import activities
from tests.temporal.kit import connected, new_id, until, working
from tests.temporal.workflows import Beating, Failing, Late, Refusing, Retried

if TYPE_CHECKING:
    from tests.temporal.kit import Recorded


async def test_each_retry_is_a_marked_span_of_its_own(address: str, recorded: Recorded) -> None:
    """Three attempts are three spans below the one span of the activity; what they called is below each."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        assert await client.execute_workflow(Retried.run, id=new_id("retried"), task_queue=queue) == 3
    activity, attempts = recorded.one("StartActivity:fail_twice"), recorded.named("RunActivity:fail_twice")
    told = [(a.attributes["temporal.attempt"], a.attributes["temporal.retry"], a.outcome, a.failed) for a in attempts]
    assert told == [(1, False, "failed", True), (2, True, "failed", True), (3, True, "completed", False)]
    assert {attempt.parent for attempt in attempts} == {activity.id}
    assert [a.attributes.get("error.type") for a in attempts] == ["RateLimited", "RateLimited", None]
    assert [recorded.one(f"chat attempt {n}").parent for n in (1, 2, 3)] == [attempt.id for attempt in attempts]
    assert (activity.outcome, activity.failed) == ("completed", False)


async def test_a_failure_is_told_with_the_activity_s_own_type(address: str, recorded: Recorded) -> None:
    """The activity, its attempt and the workflow fail with the type that the activity raised, not a wrapper's."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Failing.run, id=new_id("failing"), task_queue=queue)
    for name in ("RunActivity:fail_for_good", "StartActivity:fail_for_good", "RunWorkflow:Failing"):
        span = recorded.one(name)
        assert (span.outcome, span.failed, span.attributes["error.type"]) == ("failed", True, "NoSuchModel")
        assert span.events == ["exception"]
    assert recorded.one("StartActivity:fail_for_good").attributes["temporal.retry_state"] == "non_retryable_failure"


async def test_a_workflow_that_raises_is_a_failed_span(address: str, recorded: Recorded) -> None:
    """An ApplicationError of the workflow's own ends its span as failed."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Refusing.run, id=new_id("refusing"), task_queue=queue)
    run = recorded.one("RunWorkflow:Refusing")
    assert (run.outcome, run.failed, run.attributes["error.type"]) == ("failed", True, "Budget")


async def test_cancellation_and_heartbeats_are_shown(address: str, recorded: Recorded) -> None:
    """What is cancelled has not failed; heartbeats are counted, and their details stay untold."""
    client, queue, name = await connected(address), new_id("queue"), new_id("beating")
    async with working(client, queue, max_heartbeat_throttle_interval=timedelta(milliseconds=100)):
        handle = await client.start_workflow(Beating.run, id=name, task_queue=queue)
        await until(lambda: f"beating {name}" in activities.seen)
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    attempt = recorded.one("RunActivity:beat_until_cancelled")
    assert (attempt.outcome, attempt.failed) == ("cancelled", False)
    assert attempt.attributes["temporal.activity.cancellation"] == ["cancel_requested"]
    assert attempt.attributes["temporal.activity.heartbeats"] >= 1
    assert attempt.attributes["temporal.activity.heartbeat_timeout"] == 20.0
    assert "temporal.heartbeat" in attempt.events
    assert "secret details" not in str(attempt.message)
    for name in ("StartActivity:beat_until_cancelled", "RunWorkflow:Beating"):
        assert (recorded.one(name).outcome, recorded.one(name).failed) == ("cancelled", False)


async def test_a_timeout_is_shown_with_its_kind(address: str, recorded: Recorded) -> None:
    """The server gives an activity up that is not done in time: its span and the workflow's say which limit it was."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        with pytest.raises(WorkflowFailureError):
            await client.execute_workflow(Late.run, id=new_id("late"), task_queue=queue)
    activity = recorded.one("StartActivity:sleep_too_long")
    assert (activity.outcome, activity.failed) == ("timed_out", True)
    assert activity.attributes["temporal.timeout.type"] == "start_to_close"
    assert activity.attributes["temporal.activity.start_to_close_timeout"] == 1.0
    assert recorded.one("RunWorkflow:Late").outcome == "timed_out"
    # The worker learns of it when it is told, at the latest when it stops.
    attempt = recorded.one("RunActivity:sleep_too_long")
    assert attempt.outcome in {"timed_out", "cancelled"}
    assert attempt.attributes["temporal.activity.cancellation"]
