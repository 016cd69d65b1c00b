"""Replay adds no spans and changes no ids."""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.worker import Replayer

import otel_llm
from otel_llm.temporal import OtelLlmPlugin
from tests.temporal import stumble
from tests.temporal.kit import connected, new_id, working
from tests.temporal.workflows import ALL, Conversation, Parent, Stepwise, Stumbling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from temporalio.client import WorkflowHistory

    from tests.temporal.kit import Recorded

STEPS = 4


def counted(recorded: Recorded) -> Counter[str]:
    """How many spans there are of each name."""
    return Counter(span.name for span in recorded.spans())


def expected_of_steps() -> Counter[str]:
    """What a Stepwise workflow leaves, however often it was replayed."""
    chats = {f"chat {step}": 1 for step in range(STEPS)}
    steps = {f"step {step}": 1 for step in range(STEPS)}
    once = {"StartWorkflow:Stepwise": 1, "RunWorkflow:Stepwise": 1}
    return Counter({**once, **chats, **steps, "StartActivity:think": STEPS, "RunActivity:think": STEPS})


async def test_a_workflow_that_is_replayed_at_every_step_is_recorded_once(address: str, recorded: Recorded) -> None:
    """Without a cache every task replays all before it; spans that last over tasks are sent once and keep their ids."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue, max_cached_workflows=0):
        with otel_llm.tenant("acme"):
            await client.execute_workflow(Stepwise.run, STEPS, id=new_id("steps"), task_queue=queue)
    assert counted(recorded) == expected_of_steps()
    spans = recorded.spans()
    ids = {span.id for span in spans}
    assert [span for span in spans if span.parent and span.parent not in ids] == []
    assert {(span.trace, span.tenant) for span in spans} == {(spans[0].trace, "acme")}
    for step in range(STEPS):
        mine = recorded.one(f"step {step}")
        assert mine.parent == recorded.one("RunWorkflow:Stepwise").id
        inside = [span for span in recorded.named("StartActivity:think") if span.parent == mine.id]
        assert len(inside) == 1
        assert mine.message.start_time_unix_nano < inside[0].message.end_time_unix_nano


async def test_ten_replays_add_nothing(address: str, recorded: Recorded) -> None:
    """A history that is replayed ten times, as for a new version of the code, leaves what was there."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        steps = await client.start_workflow(Stepwise.run, STEPS, id=new_id("steps"), task_queue=queue)
        await steps.result()
        parent = await client.start_workflow(Parent.run, id=new_id("parent"), task_queue=queue)
        await parent.result()
    before = counted(recorded)
    histories = [await steps.fetch_history(), await parent.fetch_history()]

    async def ten_of_each() -> AsyncIterator[WorkflowHistory]:
        for _ in range(10):
            for history in histories:
                yield history

    replayed = await Replayer(workflows=ALL, plugins=[OtelLlmPlugin()]).replay_workflows(ten_of_each())
    assert replayed.replay_failures == {}
    assert counted(recorded) == before
    assert otel_llm.status().dropped_before_queue == {"replay": 10 * STEPS}


async def test_a_query_is_answered_after_a_replay_and_recorded_each_time(address: str, recorded: Recorded) -> None:
    """A worker that must replay for a query records the query, which is real, and nothing of the replay."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue, max_cached_workflows=0):
        handle = await client.start_workflow(Conversation.run, id=new_id("talk"), task_queue=queue)
        await handle.signal(Conversation.say, "once")
        await recorded.eventually("StartActivity:think")
        for _ in range(3):
            await handle.query(Conversation.how_many)
        await handle.signal(Conversation.end)
        await handle.result()
    counts = counted(recorded)
    assert counts["HandleQuery:how_many"] == 3
    assert len({span.id for span in recorded.named("HandleQuery:how_many")}) == 3
    assert (counts["chat once"], counts["HandleSignal:say"], counts["RunWorkflow:Conversation"]) == (1, 1, 1)


async def test_a_task_that_failed_for_a_bug_is_recorded_when_it_succeeds(
    address: str, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workflow task that raises is run again by Temporal: its run is one span, which did not fail."""
    monkeypatch.setattr(stumble, "bugs", ["a bug"])
    # The module with the bug is shared with the workflow's sandbox, so that the bug is there once.
    client, queue = await connected(address, passthrough_modules=[stumble.__name__]), new_id("queue")
    async with working(client, queue):
        await client.execute_workflow(Stumbling.run, id=new_id("stumbling"), task_queue=queue)
    assert stumble.bugs == []
    run = recorded.one("RunWorkflow:Stumbling")
    assert (run.outcome, run.failed) == ("completed", False)
    assert counted(recorded)["StartActivity:think"] == 2


@pytest.mark.parametrize("cached", [0, 100])
async def test_the_sandbox_has_no_objection(
    address: str, recorded: Recorded, caplog: pytest.LogCaptureFixture, cached: int
) -> None:
    """Neither the sandbox nor Temporal nor OpenTelemetry warns of anything, in live runs and in replays."""
    client, queue = await connected(address), new_id("queue")
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.WARNING):
        warnings.simplefilter("always")
        async with working(client, queue, max_cached_workflows=cached):
            await client.execute_workflow(Stepwise.run, 2, id=new_id("steps"), task_queue=queue)
            await client.execute_workflow(Parent.run, id=new_id("parent"), task_queue=queue)
    assert recorded.one("RunWorkflow:Parent").outcome == "completed"
    # What the garbage collector finds is not of this test; neither is how long a loaded machine takes.
    others = (ResourceWarning, DeprecationWarning)
    assert [str(warning.message) for warning in warned if not issubclass(warning.category, others)] == []
    assert [line for line in caplog.messages if "TMPRL1101" not in line and "deadlock" not in line] == []
    assert otel_llm.status().faults == {}


async def test_a_provider_of_the_program_s_own_is_joined(address: str) -> None:
    """With a TracerProvider that makes random ids, spans of workflows still keep theirs, and go where its others go."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    otel_llm.configure(backend="none", tracer_provider=provider)
    try:
        client, queue = await connected(address), new_id("queue")
        async with working(client, queue, max_cached_workflows=0):
            await client.execute_workflow(Parent.run, id=new_id("parent"), task_queue=queue)
    finally:
        otel_llm.shutdown()
    spans = exporter.get_finished_spans()
    assert Counter(span.name for span in spans)["RunWorkflow:Parent"] == 1
    ids = {span.context.span_id for span in spans}
    assert [span.name for span in spans if span.parent and span.parent.span_id not in ids] == []
    assert len({span.context.trace_id for span in spans}) == 1
