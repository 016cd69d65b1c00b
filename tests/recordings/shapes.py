"""Answers in the shape of providers of which there is no recording, or none with these kinds of tokens.

Each file of `tests/fixtures/tokens` names the page of the provider's documentation that the shape is from, and the
tokens that a span has to have. `compared()` calls each through litellm, against a server on loopback.
"""

from __future__ import annotations

import asyncio
import io
import json
import struct
import wave
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm import semconv
from tests.fakes.http_server import HttpServer, Reply, Request
from tests.recordings.calls import google_credential
from tests.recordings.harness import Recording
from tests.recordings.provider import TOKEN_PATH, pieces_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["CASES", "KINDS", "Compared", "answering", "compared", "run", "tokens_of"]

_DIRECTORY: Final = Path(__file__).parents[1] / "fixtures" / "tokens"

CASES: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(_DIRECTORY.glob("*.json"))
}

KINDS: Final = {
    "input": semconv.USAGE_INPUT,
    "output": semconv.USAGE_OUTPUT,
    "cache_read": semconv.USAGE_CACHE_READ,
    "cache_write": semconv.USAGE_CACHE_WRITE,
    "reasoning": semconv.USAGE_REASONING,
    "audio_input": semconv.USAGE_AUDIO_INPUT,
    "text_input": semconv.USAGE_TEXT_INPUT,
    "image_input": semconv.USAGE_IMAGE_INPUT,
    "audio_output": semconv.USAGE_AUDIO_OUTPUT,
    "text_output": semconv.USAGE_TEXT_OUTPUT,
    "image_output": semconv.USAGE_IMAGE_OUTPUT,
    "estimated": semconv.USAGE_ESTIMATED,
}


class Compared(NamedTuple):
    """One case: the tokens that are right, and those on the span."""

    case: Mapping[str, Any]
    expected: dict[str, int]
    found: dict[str, int]

    def cell(self, kind: str) -> str:
        """The table's words about one kind of tokens: right of compared, as in the table of recordings."""
        if kind not in self.expected and kind not in self.found:
            return ""
        if "hidden" in self.case:
            return "+1" if kind in self.expected else ""
        return f"{int(self.expected.get(kind) == self.found.get(kind))}/1"


def compared() -> Iterator[Compared]:
    """Every case, called."""
    with Recording() as recording:
        for case in CASES.values():
            with HttpServer(answering(case)) as server:
                span = recording.of(lambda case=case, server=server: run(case, server.url)).llm_span
            yield Compared(case, case["tokens"], tokens_of(span))


def tokens_of(span: ReadableSpan) -> dict[str, int]:
    """All counts of tokens on a span, by their short names."""
    facts = span.attributes or {}
    return {kind: facts[name] for kind, name in KINDS.items() if name in facts}  # type: ignore[misc]


def run(case: Mapping[str, Any], url: str, *, asynchronous: bool = False) -> Any:
    """Make the case's call and read a stream to its end."""
    import litellm

    name, arguments = case["call"]["function"], _arguments(case, url)
    if asynchronous:
        return asyncio.run(_read(getattr(litellm, f"a{name}"), arguments))
    answer = getattr(litellm, name)(**arguments)
    return list(answer) if arguments.get("stream") else answer


async def _read(function: Any, arguments: dict[str, Any]) -> Any:
    answer = await function(**arguments)
    return [chunk async for chunk in answer] if arguments.get("stream") else answer


def _arguments(case: Mapping[str, Any], url: str) -> dict[str, Any]:
    made = {"api_key": "sk-test", "max_retries": 0, **case["call"]["arguments"]}
    for name, value in made.items():
        if value == "{wav}":
            made[name] = ("sound.wav", _second_of_silence())
        elif value == "{google}":
            made[name] = json.dumps(google_credential(url))
        elif isinstance(value, str):
            made[name] = value.replace("{url}", url)
    return made


def _second_of_silence() -> bytes:
    made = io.BytesIO()
    with wave.open(made, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 8000)
    return made.getvalue()


# --- what the provider answers -----------------------------------------------------------------------------------


def answering(case: Mapping[str, Any]) -> Any:
    """The answers of a server that plays this case, whatever it is asked."""
    kind, body = _body(case)
    # Cases run event loops of their own: no connection may outlive the case that opened it.
    headers = {"Content-Type": kind, "Connection": "close"}
    pieces = pieces_of(kind, body)

    def answer(request: Request) -> Reply:
        if request.path == TOKEN_PATH:
            return Reply.json({"access_token": "token", "token_type": "Bearer", "expires_in": 3600})
        return Reply(200, headers, pieces if len(pieces) > 1 else body)

    return answer


def _body(case: Mapping[str, Any]) -> tuple[str, bytes]:
    if "events" in case:
        return "text/event-stream", "".join(map(_event, case["events"])).encode()
    if "lines" in case:
        return "application/x-ndjson", "".join(json.dumps(line) + "\n" for line in case["lines"]).encode()
    if "frames" in case:
        frames = (_frame(frame["type"], json.dumps(frame["payload"]).encode()) for frame in case["frames"])
        return "application/vnd.amazon.eventstream", b"".join(frames)
    return "application/json", json.dumps(case["answer"]).encode()


def _event(event: Mapping[str, Any]) -> str:
    data = event["data"] if isinstance(event["data"], str) else json.dumps(event["data"])
    name = f"event: {event['event']}\n" if "event" in event else ""
    return f"{name}data: {data}\n\n"


def _frame(kind: str, payload: bytes) -> bytes:
    """One message of Amazon's event stream: lengths, their checksum, headers (text, type 7), payload, checksum."""
    names = ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in names
    )
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    message = lengths + struct.pack(">I", zlib.crc32(lengths)) + headers + payload
    return message + struct.pack(">I", zlib.crc32(message))
