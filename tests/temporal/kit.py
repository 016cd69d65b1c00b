"""What the tests of Temporal share: workers, and spans as a backend has them."""

from __future__ import annotations

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from temporalio.client import Client
from temporalio.worker import Worker

import otel_llm
from otel_llm.temporal import OtelLlmPlugin
from tests.fakes.spans import values_of
from tests.temporal import activities, workflows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.fakes.otlp_receiver import OtlpReceiver

DEADLINE = 60.0
"""Seconds after which something that should have happened has not."""
LONG = 240.0
"""The same for what imports litellm first, on a machine that has much else to do."""


class Seen:
    """A span as it was delivered."""

    def __init__(self, message: Any) -> None:
        self.message = message
        self.name: str = message.name
        self.trace: str = message.trace_id.hex()
        self.id: str = message.span_id.hex()
        self.parent: str = message.parent_span_id.hex()
        self.attributes: dict[str, Any] = values_of(message)
        self.links: list[str] = [link.span_id.hex() for link in message.links]
        self.events: list[str] = [event.name for event in message.events]
        self.failed: bool = message.status.code == 2

    @property
    def tenant(self) -> Any:
        """For whom the work was."""
        return self.attributes.get("tenant.id")

    @property
    def outcome(self) -> Any:
        """How it ended."""
        return self.attributes.get("temporal.outcome")

    def __repr__(self) -> str:
        return f"<{self.name} {self.id} below {self.parent or 'nothing'} for {self.tenant}: {self.outcome}>"


class Recorded:
    """What was delivered so far."""

    def __init__(self, receiver: OtlpReceiver) -> None:
        self.receiver = receiver

    def spans(self) -> list[Seen]:
        """All spans that have ended, each as often as it was delivered."""
        otel_llm.flush(DEADLINE)
        return [Seen(message) for message in self.receiver.spans]

    def named(self, name: str) -> list[Seen]:
        """Those of one name, in the order of their begin."""
        found = [span for span in self.spans() if span.name == name]
        return sorted(found, key=lambda span: span.message.start_time_unix_nano)

    def one(self, name: str) -> Seen:
        """The only one of that name."""
        found = self.named(name)
        assert len(found) == 1, f"{len(found)} spans are named {name}: {self.spans()}"
        return found[0]

    async def eventually(self, name: str, count: int = 1) -> list[Seen]:
        """Wait until so many of that name were delivered."""
        await until(lambda: len(self.named(name)) >= count)
        return self.named(name)


async def until(condition: Callable[[], object], seconds: float = DEADLINE) -> None:
    """Poll until `condition()` holds; fails the test when the time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def new_id(name: str) -> str:
    """An id for a workflow or a task queue."""
    return f"{name}-{uuid.uuid4()}"


async def connected(address: str, **options: Any) -> Client:
    """A client with our plugin, which gets the options."""
    return await Client.connect(address, plugins=[OtelLlmPlugin(**options)])


@asynccontextmanager
async def working(client: Client, queue: str, **options: Any) -> AsyncIterator[Worker]:
    """A worker for all workflows and activities of the tests."""
    with ThreadPoolExecutor(4) as pool:
        worker = Worker(
            client,
            task_queue=queue,
            workflows=workflows.ALL,
            activities=activities.ALL,
            activity_executor=pool,
            **options,
        )
        async with worker:
            yield worker
