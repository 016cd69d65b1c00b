"""A worker program for the test that kills it: workflow, activities and litellm in one module, as small programs do.

python killed_worker.py ADDRESS QUEUE DIRECTORY    runs until SIGTERM; replays what it ran ten times before it ends
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import litellm
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.worker import Replayer, Worker

import otel_llm
from otel_llm.temporal import OtelLlmPlugin

REPLAYS = 10


async def ask(words: str) -> str:
    """One LLM call."""
    answer = await litellm.acompletion(
        "openai/gpt-4o-mini",
        [{"role": "user", "content": words}],
        api_base=os.environ["PROVIDER"],
        api_key="any",
    )
    return str(answer.choices[0].message.content)


@activity.defn
async def prepare() -> str:
    """Is done before anything happens."""
    return await ask("prepare")


@activity.defn
async def work() -> str:
    """Is killed in its first attempt, after its first LLM call and before its second."""
    told = [await ask("first")]
    if activity.info().attempt == 1:
        waiting = await asyncio.to_thread(otel_llm.flush, 1.0)
        (Path(sys.argv[3]) / "in-the-middle").write_text(str(waiting.waiting))
        await asyncio.sleep(600)
    told.append(await ask("second"))
    return " ".join(told)


@workflow.defn
class Answer:
    """Prepares, works, and says so."""

    @workflow.run
    async def run(self) -> str:
        limit = {"start_to_close_timeout": timedelta(seconds=6)}
        await workflow.execute_activity(prepare, start_to_close_timeout=timedelta(seconds=60))
        return await workflow.execute_activity(
            work, retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)), **limit
        )


async def main(address: str, queue: str) -> None:
    """Work until SIGTERM; then replay every workflow that is closed, ten times."""
    otel_llm.configure()
    client = await Client.connect(address, plugins=[OtelLlmPlugin()])
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    async with Worker(client, task_queue=queue, workflows=[Answer], activities=[prepare, work], max_cached_workflows=0):
        await end.wait()
    history = await client.get_workflow_handle(queue).fetch_history()
    for _ in range(REPLAYS):
        await Replayer(workflows=[Answer], plugins=[OtelLlmPlugin()]).replay_workflow(history)
    print(f"replayed {REPLAYS} times")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
