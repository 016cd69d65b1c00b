"""Workflows that the tests run. As in many programs, the import of the activities is not marked as passed through."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError

from tests.temporal import activities, stumble
from tests.temporal.activities import tracer

SHORT = timedelta(seconds=60)
AT_ONCE = RetryPolicy(initial_interval=timedelta(milliseconds=10), backoff_coefficient=1.0)
ONCE = RetryPolicy(maximum_attempts=1)


@workflow.defn
class Child:
    """Has an activity of its own."""

    @workflow.run
    async def run(self, subject: str) -> str:
        return await workflow.execute_activity(activities.think, subject, start_to_close_timeout=SHORT)


@workflow.defn
class Parent:
    """Every kind of work once: activity, thread, local activity, child."""

    @workflow.run
    async def run(self) -> list[str]:
        return [
            await workflow.execute_activity(activities.think, "a", start_to_close_timeout=SHORT),
            await workflow.execute_activity(activities.think_in_a_thread, "b", start_to_close_timeout=SHORT),
            await workflow.execute_local_activity(activities.think, "c", start_to_close_timeout=SHORT),
            await workflow.execute_child_workflow(Child.run, "d", id=f"{workflow.info().workflow_id}-child"),
        ]


@workflow.defn
class Conversation:
    """Lives until it is told to end; is spoken to by signals, queries and updates."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.over = False

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: self.over)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.said

    @workflow.signal
    async def say(self, words: str) -> None:
        self.said.append(await workflow.execute_activity(activities.think, words, start_to_close_timeout=SHORT))

    @workflow.signal
    def end(self) -> None:
        self.over = True

    @workflow.query
    def how_many(self) -> int:
        return len(self.said)

    @workflow.query
    def broken(self) -> int:
        raise ValueError("nobody knows")

    @workflow.update
    async def ask(self, words: str) -> str:
        return await workflow.execute_activity(activities.think, words, start_to_close_timeout=SHORT)

    @ask.validator
    def check(self, words: str) -> None:
        if not words:
            raise ValueError("nothing was asked")


@workflow.defn
class Retried:
    """Its activity needs three attempts."""

    @workflow.run
    async def run(self) -> int:
        return await workflow.execute_activity(
            activities.fail_twice, start_to_close_timeout=SHORT, retry_policy=AT_ONCE
        )


@workflow.defn
class Failing:
    """Fails because its activity does."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(activities.fail_for_good, start_to_close_timeout=SHORT)


@workflow.defn
class Beating:
    """Waits for an activity that ends when it is cancelled."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            activities.beat_until_cancelled,
            start_to_close_timeout=SHORT,
            heartbeat_timeout=timedelta(seconds=20),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            retry_policy=ONCE,
        )


@workflow.defn
class Late:
    """Its activity does not end in time."""

    @workflow.run
    async def run(self) -> None:
        await workflow.execute_activity(
            activities.sleep_too_long, start_to_close_timeout=timedelta(seconds=1), retry_policy=ONCE
        )


@workflow.defn
class Stepwise:
    """Several steps, each in a span of the program's own that lasts over a wait."""

    @workflow.run
    async def run(self, steps: int) -> list[str]:
        done = []
        for step in range(steps):
            with tracer().start_as_current_span(f"step {step}"):
                done.append(await workflow.execute_activity(activities.think, f"{step}", start_to_close_timeout=SHORT))
                await asyncio.sleep(0.01)
        return done


@workflow.defn
class GoingOn:
    """Continues as new until it has counted down, and does not wait for what it began last."""

    @workflow.run
    async def run(self, left: int) -> str:
        if left:
            workflow.continue_as_new(left - 1)
        workflow.start_activity(
            activities.sleep_too_long,
            start_to_close_timeout=SHORT,
            cancellation_type=workflow.ActivityCancellationType.ABANDON,
        )
        await workflow.sleep(0.01)
        return "done"


@workflow.defn
class Stumbling:
    """Has a bug that is mended while it runs: the first attempts at its second task fail."""

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity(activities.think, "before", start_to_close_timeout=SHORT)
        stumble.once()
        return await workflow.execute_activity(activities.think, "after", start_to_close_timeout=SHORT)


@workflow.defn
class Refusing:
    """Fails by itself, benignly or not."""

    @workflow.run
    async def run(self) -> None:
        raise ApplicationError("out of budget", type="Budget")


ALL: list[Any] = [
    Beating,
    Child,
    Conversation,
    Failing,
    GoingOn,
    Late,
    Parent,
    Refusing,
    Retried,
    Stepwise,
    Stumbling,
]
