"""A provider of language models that lives on loopback, does what a test says, and remembers what it was asked.

    with FakeProvider() as provider:
        provider.error(429, headers={"Retry-After": "0"})
        provider.answer("Paris", usage=Usage(12, 1))
        litellm.completion("gpt-4o-mini", messages, api_base=provider.openai_base, api_key="any", num_retries=1)
        assert [request.status for request in provider.requests] == [429, 200]

Nothing is patched: clients make real HTTP requests to it.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from otel_llm.testing.endpoints import Spoken, endpoint_for
from otel_llm.testing.playing import play
from otel_llm.testing.recorded import RecordedRequest, record
from otel_llm.testing.script import Script
from otel_llm.testing.scripting import Scripting
from otel_llm.testing.server import HttpRequest, LoopbackServer, ResponseWriter

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["FakeProvider"]


class FakeProvider(Scripting):
    """An HTTP server on 127.0.0.1 that speaks OpenAI's and Anthropic's wire formats.

    Served, each under any prefix: `chat/completions`, `completions`, `responses`, `embeddings`, `moderations`,
    `images/generations`, `images/edits`, `audio/transcriptions`, `audio/speech`, `rerank` and Anthropic's `messages`;
    text whole or streamed. What is not scripted is answered deterministically: the last message is repeated, and
    tokens are counted with `count_tokens`.

    Use it with `with` or `async with`, or call `start` and `stop`. It listens on a port of the system's
    choice, keeps one thread, prints nothing, and is safe to script and to read from any thread. `latency` is
    a delay in seconds that every answer has.
    """

    def __init__(self, *, latency: float = 0.0) -> None:
        super().__init__(Script())
        self.latency = latency
        self._server = LoopbackServer(self._handle)
        self._changed = threading.Condition()
        self._requests: list[RecordedRequest] = []

    # --- life ---

    def start(self) -> Self:
        """Begin to serve; returns when requests can be made."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Stop serving: open connections are closed, whatever hangs is let go. What was recorded stays."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.start)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    # --- where ---

    @property
    def url(self) -> str:
        """The root, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def openai_base(self) -> str:
        """What OpenAI's clients take as base URL: `{url}/v1`."""
        return f"{self.url}/v1"

    @property
    def anthropic_base(self) -> str:
        """What Anthropic's clients take as base URL: the root."""
        return self.url

    # --- what happened ---

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, oldest first."""
        with self._changed:
            return list(self._requests)

    @property
    def pending(self) -> int:
        """How many scripted answers nobody has asked for yet."""
        return self._script.pending()

    def wait_for_requests(self, count: int, *, timeout: float = 10.0) -> list[RecordedRequest]:
        """Block until `count` requests have come and the provider is done with them; returns all of them.

        Raises TimeoutError after `timeout` seconds. Do not call it on a running event loop.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout):
                raise TimeoutError(f"{len(self._requests)} of {count} requests came within {timeout} s")
            waited_for = self._requests[:count]
        for request in waited_for:
            if not request.done.wait(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"{request.method} {request.path} was not done within {timeout} s")
        return self.requests

    def clear(self) -> None:
        """Forget the requests and the script."""
        self._script.clear()
        with self._changed:
            self._requests.clear()

    # --- serving, on the server's own thread ---

    async def _handle(self, http: HttpRequest, out: ResponseWriter) -> None:
        request = record(http)
        with self._changed:
            self._requests.append(request)
            serial = len(self._requests)
            self._changed.notify_all()
        try:
            speaks = isinstance(endpoint_for(request.path), Spoken)
            action = self._script.take(model=request.model, path=request.path, answers_with_text=speaks)
            await asyncio.sleep(self.latency + getattr(action, "delay", 0.0))
            await play(action, request, serial, out)
        finally:
            request.done.set()
