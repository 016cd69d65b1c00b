"""A provider on loopback that answers as recorded.

    with Provider() as provider, provider.playing(exchange):
        litellm.completion(..., api_base=provider.url)
        assert provider.asked[0].path.endswith("/chat/completions")

litellm's request is not the recorded one byte for byte, so a request is matched by the operation it asks for (the
end of its path). Whatever else is asked (a model list, a token for Google) gets a 404, or the token, at once.
"""

from __future__ import annotations

import json
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from tests.fakes.http_server import HttpServer, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from typing_extensions import Self

    from tests.recordings.recordings import Exchange

__all__ = ["TOKEN_PATH", "Provider", "operation_of", "pieces_of"]

TOKEN_PATH = "/google-token"
"""Where a Google credential that points here gets its access token."""


def operation_of(path: str) -> str:
    """What a path asks for: `chat/completions`, `messages`, `converse-stream`, `generateContent` ..."""
    segments = unquote(urlsplit(path).path).strip("/").split("/")
    last = segments[-1].rpartition(":")[2]
    return f"chat/{last}" if last == "completions" and segments[-2:-1] == ["chat"] else last


def pieces_of(content_type: str, body: bytes) -> list[bytes]:
    """The body as the provider would have written it: one piece per event, or all at once."""
    if content_type.startswith("text/event-stream"):
        return [event + b"\n\n" for event in body.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]
    if content_type.startswith("application/x-ndjson"):
        return body.splitlines(keepends=True)
    if content_type.startswith("application/vnd.amazon.eventstream"):
        return list(_frames(body))
    return [body]


def _frames(body: bytes) -> Iterator[bytes]:
    """Amazon's frames, each of which begins with its own length."""
    position = 0
    while position < len(body):
        (length,) = struct.unpack_from(">I", body, position)
        yield body[position : position + length]
        position += length


def _as_recorded(exchange: Exchange) -> Reply:
    response = exchange.response
    # Cases may run event loops of their own: no connection may outlive the case that opened it.
    headers = {"Content-Type": response.content_type, "Connection": "close", **response.headers}
    headers.update(_lost_headers(exchange))
    pieces = pieces_of(response.content_type, response.body)
    return Reply(response.status, headers, pieces if response.is_event_stream else response.body)


def _lost_headers(exchange: Exchange) -> dict[str, str]:
    """The counts that Bedrock sends with an InvokeModel answer in headers, which the recordings did not keep.

    litellm reads them there for models whose bodies it does not count (Titan, Llama).
    """
    if exchange.api != "invoke" or exchange.response.is_event_stream:
        return {}
    body = json.loads(exchange.response.body)
    titan = body.get("results", [{}])[0]
    counts = {
        "Input": body.get("inputTextTokenCount", body.get("prompt_token_count")),
        "Output": titan.get("tokenCount", body.get("generation_token_count")),
    }
    return {f"X-Amzn-Bedrock-{kind}-Token-Count": str(int(n)) for kind, n in counts.items() if n is not None}


class Provider:
    """The server. One recording is played at a time; its exchanges are answered in order, by operation."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[Exchange] = []
        self.asked: list[Request] = []
        """Requests that were answered from the recording now played."""
        self.refused: list[Request] = []
        """Requests that the recording has no answer to."""
        self._server = HttpServer(self._answer)
        self.url = self._server.url
        self.port = self._server.port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()

    @contextmanager
    def playing(self, *exchanges: Exchange) -> Iterator[Provider]:
        """Answer from these exchanges inside the block."""
        with self._lock:
            self._waiting, self.asked, self.refused = list(exchanges), [], []
        try:
            yield self
        finally:
            with self._lock:
                self._waiting = []

    def _answer(self, request: Request) -> Reply:
        if request.path == TOKEN_PATH:
            return Reply.json({"access_token": "token", "token_type": "Bearer", "expires_in": 3600})
        with self._lock:
            for exchange in self._waiting:
                if request.method == "POST" and operation_of(exchange.path) == operation_of(request.path):
                    self._waiting.remove(exchange)
                    self.asked.append(request)
                    return _as_recorded(exchange)
            self.refused.append(request)
        return Reply.json({"error": f"the recording has no answer to {request.path}"}, 404, {"Connection": "close"})
