"""Activities that do one thing each; the module of the workflows imports them as programs do."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from otel_llm.control.running import current_provider

if TYPE_CHECKING:
    from opentelemetry import trace

seen: list[str] = []
"""What happened, for activities whose test must wait for it."""


def tracer() -> trace.Tracer:
    """The tracer of the program under test."""
    provider = current_provider()
    assert provider is not None
    return provider.get_tracer("program")


@activity.defn
async def think(subject: str) -> str:
    """Stands for an LLM call: one span of the program's own."""
    with tracer().start_as_current_span(f"chat {subject}"):
        return f"thought of {subject}"


@activity.defn
def think_in_a_thread(subject: str) -> str:
    """The same in Temporal's thread pool."""
    with tracer().start_as_current_span(f"chat {subject}"):
        return f"thought of {subject}"


@activity.defn
async def fail_twice() -> int:
    """Fails, fails, and succeeds."""
    attempt = activity.info().attempt
    with tracer().start_as_current_span(f"chat attempt {attempt}"):
        if attempt < 3:
            raise ApplicationError("rate limited", type="RateLimited")
    return attempt


@activity.defn
async def fail_for_good() -> None:
    """Fails in a way that no retry mends."""
    raise ApplicationError("no such model", type="NoSuchModel", non_retryable=True)


@activity.defn
async def beat_until_cancelled() -> None:
    """Sends heartbeats until it is told to stop."""
    seen.append(f"beating {activity.info().workflow_id}")
    while True:
        activity.heartbeat("secret details")
        await asyncio.sleep(0.05)


@activity.defn
async def sleep_too_long() -> None:
    """Is still there when its time is up."""
    seen.append(f"asleep {activity.info().workflow_id}")
    await asyncio.sleep(120)


@activity.defn
def time_of_day() -> float:
    """What a workflow must not ask by itself."""
    return time.time()


ALL: list[Any] = [
    think,
    think_in_a_thread,
    fail_twice,
    fail_for_good,
    beat_until_cancelled,
    sleep_too_long,
    time_of_day,
]
