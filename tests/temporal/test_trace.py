"""One trace and one tenant, from the client through everything that a workflow does."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError

import otel_llm
from tests.temporal.kit import connected, new_id, working
from tests.temporal.workflows import Conversation, GoingOn, Parent

if TYPE_CHECKING:
    from tests.temporal.kit import Recorded


async def test_everything_a_workflow_does_is_one_trace_of_one_tenant(address: str, recorded: Recorded) -> None:
    """Activities, threads, local activities and child workflows hang together, under a UUIDv7, for one tenant."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        with otel_llm.tenant("acme", user="ümläut", session="s1"):
            await client.execute_workflow(Parent.run, id=new_id("parent"), task_queue=queue)

    spans = recorded.spans()
    assert {(span.trace, span.tenant) for span in spans} == {(spans[0].trace, "acme")}
    assert uuid.UUID(spans[0].trace).version == 7
    assert {(s.attributes["user.id"], s.attributes["session.id"]) for s in spans} == {("ümläut", "s1")}
    by_id = {span.id: span for span in spans}

    def ancestors(name: str) -> list[str]:
        span, found = recorded.one(name), []
        while span.parent:
            span = by_id[span.parent]
            found.append(span.name)
        return found

    to_the_run = ["RunWorkflow:Parent", "StartWorkflow:Parent"]
    assert ancestors("chat a") == ["RunActivity:think", "StartActivity:think", *to_the_run]
    assert ancestors("chat b") == ["RunActivity:think_in_a_thread", "StartActivity:think_in_a_thread", *to_the_run]
    assert ancestors("chat c") == ["RunActivity:think", "StartActivity:think", *to_the_run]
    assert ancestors("chat d") == [
        "RunActivity:think",
        "StartActivity:think",
        "RunWorkflow:Child",
        "StartChildWorkflow:Child",
        *to_the_run,
    ]
    assert {s.outcome for s in spans if not s.name.startswith(("chat", "StartWorkflow"))} == {"completed"}
    assert recorded.one("RunWorkflow:Child").attributes["temporal.workflow.parent_id"].startswith("parent-")
    assert [s.attributes["temporal.activity.local"] for s in recorded.named("RunActivity:think")] == [
        False,
        True,
        False,
    ]


async def test_a_span_lasts_as_long_as_the_work(address: str, recorded: Recorded) -> None:
    """The span of a run or an activity holds all that happens for it."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        await client.execute_workflow(Parent.run, id=new_id("parent"), task_queue=queue)
    run, child = recorded.one("RunWorkflow:Parent").message, recorded.one("StartChildWorkflow:Child").message
    inner = recorded.one("chat d").message
    assert run.start_time_unix_nano <= child.start_time_unix_nano <= inner.start_time_unix_nano
    assert inner.end_time_unix_nano <= child.end_time_unix_nano <= run.end_time_unix_nano


async def test_signals_queries_and_updates_go_on_with_their_senders(address: str, recorded: Recorded) -> None:
    """What a signal, query or update causes is in its sender's trace, for its sender's tenant, linked to the run."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        with otel_llm.tenant("owner"):
            handle = await client.start_workflow(Conversation.run, id=new_id("talk"), task_queue=queue)
        with otel_llm.tenant("speaker"):
            await handle.signal(Conversation.say, "said")
        with otel_llm.tenant("asker", user="u2"):
            await handle.execute_update(Conversation.ask, "asked")
        with otel_llm.tenant("looker"):
            await handle.query(Conversation.how_many)
        await handle.signal(Conversation.end)
        await handle.result()

    run = recorded.one("RunWorkflow:Conversation")
    assert run.tenant == "owner"
    for tenant, sent, handled in (
        ("speaker", "SignalWorkflow:say", "HandleSignal:say"),
        ("asker", "StartWorkflowUpdate:ask", "HandleUpdate:ask"),
        ("asker", "StartWorkflowUpdate:ask", "ValidateUpdate:ask"),
        ("looker", "QueryWorkflow:how_many", "HandleQuery:how_many"),
    ):
        sender, handler = recorded.one(sent), recorded.one(handled)
        assert (handler.parent, handler.trace, handler.tenant) == (sender.id, sender.trace, tenant)
        assert handler.trace != run.trace
        assert handler.links == [run.id]
    assert recorded.one("chat said").trace == recorded.one("SignalWorkflow:say").trace
    assert (recorded.one("chat asked").tenant, recorded.one("chat asked").attributes["user.id"]) == ("asker", "u2")
    # Nobody was named with the last signal: it is the workflow's own business.
    assert recorded.one("HandleSignal:end").tenant == "owner"


async def test_a_refused_update_and_a_broken_query_are_shown(address: str, recorded: Recorded) -> None:
    """An update that its check refuses and a query that raises end as failed spans, and the workflow goes on."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        handle = await client.start_workflow(Conversation.run, id=new_id("talk"), task_queue=queue)
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Conversation.ask, "")
        with pytest.raises(WorkflowQueryFailedError):
            await handle.query(Conversation.broken)
        await handle.signal(Conversation.end)
        await handle.result()
    for name in ("ValidateUpdate:ask", "HandleQuery:broken"):
        span = recorded.one(name)
        assert (span.failed, span.outcome, span.attributes["error.type"]) == (True, "failed", "ValueError")
    assert recorded.one("RunWorkflow:Conversation").outcome == "completed"


async def test_a_signal_that_starts_its_workflow_belongs_to_it(address: str, recorded: Recorded) -> None:
    """Signal-with-start: the handler runs before the workflow does, and both are in the one trace."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        with otel_llm.tenant("acme"):
            handle = await client.start_workflow(
                Conversation.run, id=new_id("talk"), task_queue=queue, start_signal="say", start_signal_args=["first"]
            )
        await handle.signal(Conversation.end)
        await handle.result()
    sender = recorded.one("SignalWithStartWorkflow:Conversation")
    assert recorded.one("RunWorkflow:Conversation").parent == sender.id
    assert recorded.one("HandleSignal:say").trace == sender.trace
    assert recorded.one("chat first").tenant == "acme"


async def test_continuing_as_new_keeps_trace_and_tenant(address: str, recorded: Recorded) -> None:
    """Each run is a span of its own in the trace; a run that ends before what it began says so of that."""
    client, queue = await connected(address), new_id("queue")
    async with working(client, queue):
        with otel_llm.tenant("acme"):
            await client.execute_workflow(GoingOn.run, 2, id=new_id("on"), task_queue=queue)
    runs = recorded.named("RunWorkflow:GoingOn")
    assert [run.outcome for run in runs] == ["continued_as_new", "continued_as_new", "completed"]
    assert len({run.attributes["temporalRunID"] for run in runs}) == 3
    assert {(run.trace, run.tenant) for run in runs} == {(runs[0].trace, "acme")}
    assert recorded.one("StartActivity:sleep_too_long").outcome == "abandoned"
