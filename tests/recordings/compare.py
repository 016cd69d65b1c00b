"""Span against recording, feature by feature.

A feature is one row of the accuracy table: what the recording says (by the oracle), what the span says, whether
they agree. `known_differences` says where litellm leaves nothing right to be seen.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from otel_llm import semconv
from tests.recordings import oracle
from tests.recordings.facts import Asking, Message, Usage
from tests.recordings.known_differences import Difference, difference_in
from tests.recordings.span_facts import answer_in, asking_in, server_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.recordings.recordings import Exchange

__all__ = ["Comparison", "compare"]

_PARTS_OF_USAGE = frozenset({"cache_read", "cache_write", "reasoning", "audio_input", "audio_output"})


@dataclass(frozen=True)
class Comparison:
    """One feature of one case."""

    exchange: Exchange
    feature: str
    expected: Any
    """What the recording says; None where it says nothing."""
    got: Any
    difference: Difference | None = None
    """Why the two may differ, where that is known."""

    @property
    def equal(self) -> bool:
        """Whether the span says exactly what the recording says."""
        if self.expected == 0 and self.feature.removeprefix("tokens: ") in _PARTS_OF_USAGE:
            # A kind of which there were none may be left out; a kind that nobody counted may not become 0.
            return self.got in {0, None}
        return bool(self.got == self.expected)

    @property
    def is_right(self) -> bool:
        """Whether the span says what it should, known differences included."""
        if self.difference is not None:
            return not self.equal and self.difference.shows(self.exchange, self.expected, self.got)
        return self.equal

    def __str__(self) -> str:
        if self.difference is None:
            return f"{self.feature}: recorded {self.expected!r}, span {self.got!r}"
        if self.equal:
            return f"{self.feature}: the known difference is gone, take it off the list: {self.difference.reason}"
        return f"{self.feature}: recorded {self.expected!r}, span {self.got!r}, not as known: {self.difference.reason}"


def compare(exchange: Exchange, span: ReadableSpan, port: int) -> list[Comparison]:
    """All features of one exchange, answered from this port on loopback, against its span."""
    pairs = [*_of_asking(exchange, span, port), *_of_answer(exchange, span)]
    return [
        Comparison(exchange, feature, expected, got, difference_in(exchange, feature, expected))
        for feature, expected, got in pairs
    ]


_Pair = tuple[str, Any, Any]


def _of_asking(exchange: Exchange, span: ReadableSpan, port: int) -> Iterator[_Pair]:
    said, seen = oracle.asking(exchange), asking_in(span)
    yield "provider", said.provider, seen.provider
    yield "server", ("127.0.0.1", port), server_in(span)
    yield "operation", said.operation, seen.operation
    yield "request model", said.model, seen.model
    yield "stream", said.stream, seen.stream
    yield (
        "time to first chunk",
        exchange.response.is_event_stream,
        semconv.TIME_TO_FIRST_CHUNK in (span.attributes or {}),
    )
    yield "parameters", said.parameters, seen.parameters
    yield "tools", said.tools, seen.tools
    yield "input messages", _comparable(exchange, said), _comparable(exchange, seen)


def _comparable(exchange: Exchange, asking: Asking) -> tuple[Message, ...]:
    """Messages with what the test itself had to make up left out: ids of calls where the API has none."""
    has_ids = exchange.api not in {"gemini", "ollama"}
    return tuple(message if has_ids else _without_ids(message) for message in asking.messages)


def _without_ids(message: Message) -> Message:
    calls = tuple(replace(call, id=None) for call in message.calls)
    return replace(message, calls=calls, results=tuple((None, text) for _, text in message.results))


def _of_answer(exchange: Exchange, span: ReadableSpan) -> Iterator[_Pair]:
    said, seen = oracle.answer(exchange), answer_in(span)
    yield "HTTP status of the error", said.error_status, seen.error_status
    yield "response model", said.model, seen.model
    yield "response id", said.id, seen.id
    if said.error_status is not None:
        return
    yield "finish reasons", said.finish_reasons, seen.finish_reasons
    yield from _of_usage(said.usage, seen.usage, estimated=bool((span.attributes or {}).get(semconv.USAGE_ESTIMATED)))
    yield "text", _of_all(said.messages, "text"), _of_all(seen.messages, "text")
    yield "reasoning", _lines(said.messages), _lines(seen.messages)
    yield "tool calls", _of_all(said.messages, "calls"), _of_all(seen.messages, "calls")


def _of_usage(said: Usage, seen: Usage, *, estimated: bool) -> Iterator[_Pair]:
    if said.is_silent and estimated:
        # Nobody can say what is right; that it is said to be a guess is what can be held.
        yield "tokens: estimated", True, seen.input is not None and seen.output is not None
        return
    yield "tokens: estimated", False, estimated
    for kind in fields(Usage):
        yield f"tokens: {kind.name}", getattr(said, kind.name), getattr(seen, kind.name)


def _of_all(messages: tuple[Message, ...], part: str) -> list[Any]:
    return [getattr(message, part) for message in messages if getattr(message, part)]


def _lines(messages: tuple[Message, ...]) -> str:
    """Reasoning without line breaks: how its paragraphs are put together is nobody's promise."""
    return "".join(message.reasoning for message in messages).replace("\n", "")
