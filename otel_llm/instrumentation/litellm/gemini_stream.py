"""Reads a stream of Gemini's: each event is an answer of which the next one says the rest."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

from otel_llm.instrumentation.litellm.gemini_words import chat_answer, chat_messages, chat_usage, said
from otel_llm.instrumentation.litellm.keeping import kept
from otel_llm.instrumentation.litellm.reading import get, items
from otel_llm.instrumentation.litellm.sse import ServerSentEvents
from otel_llm.instrumentation.litellm.stream_reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
    from otel_llm.instrumentation.litellm.request import Request

__all__ = ["GeminiStreamReader"]

_LAST = ("usageMetadata", "modelVersion", "responseId", "promptFeedback")
"""Of these the last one counts."""
_CANDIDATE_LAST = ("finishReason", "groundingMetadata")


class GeminiStreamReader(StreamReader):
    """Puts the events together to one answer."""

    def __init__(self, request: Request, *, cache_hit: bool = False) -> None:
        super().__init__(request, cache_hit=cache_hit)
        self._events = ServerSentEvents()
        self._told: dict[str, Any] = {}
        self._candidates: dict[Any, dict[str, Any]] = {}

    @staticmethod
    def keep(chunk: Any) -> Any:
        """A chunk as it is now."""
        return kept(chunk, 7)

    def feed(self, chunk: object) -> bool:
        """Take one chunk in; True when one of its events carries content."""
        events = self._events.feed(chunk) if isinstance(chunk, (bytes, bytearray, str)) else [chunk]
        carried = [self._feed_answer(event) for event in events]
        return any(carried)

    def answer(self) -> ChatAnswer:
        """What the stream amounts to, as a chat completion."""
        candidates = [
            {**candidate, "content": {"role": "model", "parts": _joined(candidate["parts"])}}
            for candidate in self._candidates.values()
        ]
        made = chat_answer({**self._told, "candidates": candidates})
        if self.cache_hit:
            made["_hidden_params"]["cache_hit"] = True
        return made

    def _feed_answer(self, event: object) -> bool:
        self._told.update({name: value for name in _LAST if (value := said(event, name)) is not None})
        usage = chat_usage(said(event, "usageMetadata"))
        if usage is not None:
            self._usages = [usage]
        carried = [self._feed_candidate(candidate) for candidate in items(get(event, "candidates"))]
        return any(carried)

    def _feed_candidate(self, candidate: object) -> bool:
        made = self._candidates.setdefault(get(candidate, "index") or 0, {"parts": []})
        made.update({name: value for name in _CANDIDATE_LAST if (value := said(candidate, name)) is not None})
        parts = [part for part in items(get(get(candidate, "content"), "parts")) if get(part, "text") != ""]
        for part in parts:
            self._keep(made["parts"], get(part, "text")) if _kind(part) == "text" else made["parts"].append(part)
        return bool(parts)

    def _asked(self) -> tuple[Any, Any]:
        asked = chat_messages(self._request.arguments.get("contents"))
        return None, "\n".join(part.get("text", "") for message in asked for part in message["content"])

    def _spoken(self) -> Iterator[str]:
        for candidate in self._candidates.values():
            yield from (part for part in candidate["parts"] if isinstance(part, str))


def _joined(parts: list[Any]) -> list[Any]:
    """The pieces of a text, and those of a thought, as one part each; other parts as they are."""
    made: list[Any] = []
    for kind, run in groupby(parts, _kind):
        if kind is None:
            made.extend(run)
        else:
            pieces = (part if isinstance(part, str) else get(part, "text") for part in run)
            made.append({"text": "".join(pieces), "thought": kind == "thought"})
    return made


def _kind(part: object) -> str | None:
    """Of which text a part is a piece; None for a part of another kind."""
    if isinstance(part, str):
        return "text"
    if not isinstance(get(part, "text"), str):
        return None
    return "thought" if get(part, "thought") is True else "text"
