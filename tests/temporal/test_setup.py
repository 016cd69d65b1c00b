"""How the plugin is given to clients and workers, and what it says when that cannot work."""

from __future__ import annotations

import logging
import subprocess
import sys
import uuid
import warnings
from collections import Counter
from typing import TYPE_CHECKING

from opentelemetry import trace
from temporalio.client import Client
from temporalio.contrib.opentelemetry import TracingInterceptor
from temporalio.worker import UnsandboxedWorkflowRunner

import otel_llm
from otel_llm.temporal import OtelLlmInterceptor, OtelLlmPlugin
from tests.temporal.kit import connected, new_id, working
from tests.temporal.workflows import Child, Conversation

if TYPE_CHECKING:
    import pytest

    from tests.temporal.kit import Recorded

OF_A_CHILD = {"RunWorkflow:Child": 1, "StartActivity:think": 1, "RunActivity:think": 1, "chat x": 1}
WITH_ITS_START = {**OF_A_CHILD, "StartWorkflow:Child": 1}


async def run_child(client: Client, queue: str) -> None:
    """The smallest workflow with an activity."""
    await client.execute_workflow(Child.run, "x", id=new_id("child"), task_queue=queue)


def names(recorded: Recorded) -> Counter[str]:
    """How many spans there are of each name."""
    return Counter(span.name for span in recorded.spans())


async def test_client_and_worker_with_a_plugin_each_record_once(address: str, recorded: Recorded) -> None:
    """Temporal warns of the second plugin; nothing is recorded twice."""
    client, queue = await connected(address), new_id("queue")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        async with working(client, queue, plugins=[OtelLlmPlugin()]):
            await run_child(client, queue)
    assert names(recorded) == WITH_ITS_START


async def test_a_worker_with_the_plugin_and_a_client_without(address: str, recorded: Recorded) -> None:
    """Where nothing came with the workflow it is the root of a UUIDv7 trace, of the default tenant."""
    client, queue = await Client.connect(address), new_id("queue")
    async with working(client, queue, plugins=[OtelLlmPlugin()]):
        with otel_llm.tenant("acme"):
            await run_child(client, queue)
    assert names(recorded) == OF_A_CHILD
    run = recorded.one("RunWorkflow:Child")
    assert (run.parent, run.tenant, uuid.UUID(run.trace).version) == ("", "unknown", 7)
    assert {span.trace for span in recorded.spans()} == {run.trace}


async def test_the_interceptor_alone_and_no_sandbox(address: str, recorded: Recorded) -> None:
    """Programs that do without plugins or without the sandbox get the same spans."""
    client, queue = await Client.connect(address, interceptors=[OtelLlmInterceptor()]), new_id("queue")
    async with working(client, queue, workflow_runner=UnsandboxedWorkflowRunner(), max_cached_workflows=0):
        await run_child(client, queue)
    assert names(recorded) == WITH_ITS_START


async def test_temporal_s_own_interceptor_beside_ours_is_warned_of(
    address: str, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    """Both would record every span: the log says what to remove."""
    client = await Client.connect(address, interceptors=[TracingInterceptor()], plugins=[OtelLlmPlugin()])
    with caplog.at_level(logging.WARNING, "otel_llm"):
        async with working(client, new_id("queue")):
            pass
    assert "recorded twice. Remove it" in caplog.text


async def test_a_worker_that_nothing_records_says_so(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten `configure` is a warning with its cure, not silence; the work is done all the same."""
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    client, queue = await connected(address), new_id("queue")
    assert not otel_llm.status().running
    with caplog.at_level(logging.WARNING, "otel_llm"):
        async with working(client, queue):
            handle = await client.start_workflow(Conversation.run, id=new_id("talk"), task_queue=queue)
            await handle.signal(Conversation.end)
            assert await handle.result() == []
    assert "nothing records its spans" in caplog.text
    assert "otel_llm.configure()" in caplog.text


def test_without_temporalio_the_error_names_the_extra() -> None:
    """Importing otel_llm.temporal without the extra says what to install."""
    code = "import sys; sys.modules['temporalio'] = None; import otel_llm.temporal"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "pip install 'otel-llm[temporal]'" in answer.stderr
