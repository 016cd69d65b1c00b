"""Reads a stream of Anthropic's Messages: bytes of server-sent events, or the events themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm.instrumentation.litellm.anthropic_words import chat_usage
from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
from otel_llm.instrumentation.litellm.keeping import kept
from otel_llm.instrumentation.litellm.reading import get, items, text, tokens
from otel_llm.instrumentation.litellm.sse import ServerSentEvents
from otel_llm.instrumentation.litellm.stream_reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.instrumentation.litellm.request import Request
    from otel_llm.instrumentation.litellm.usage import Usage

__all__ = ["AnthropicStreamReader"]

_PIECES: Final = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
"""Kind of a delta -> where its piece of text is."""
_MEMBERS: Final = {"text": "text", "thinking": "thinking"}
"""Kind of a block -> the member that its pieces make up; of the others they are the input of a tool."""


class AnthropicStreamReader(StreamReader):
    """Puts the events together to what a chat completion would have said."""

    def __init__(self, request: Request, *, cache_hit: bool = False) -> None:
        super().__init__(request, cache_hit=cache_hit)
        self._events = ServerSentEvents()
        self._blocks: dict[Any, dict[str, Any]] = {}
        self._pieces: dict[Any, list[str]] = {}
        self._stop_reason: str | None = None
        self._counted: dict[str, Any] = {}

    @staticmethod
    def keep(chunk: Any) -> Any:
        """A chunk as it is now."""
        return kept(chunk, 6)

    def feed(self, chunk: object) -> bool:
        """Take one chunk in; True when one of its events carries content."""
        events = [chunk] if isinstance(chunk, dict) else self._events.feed(chunk)
        carried = [self._feed_message(event) for event in events]
        return any(carried)

    def answer(self) -> ChatAnswer:
        """What the stream amounts to, as a chat completion."""
        message = {"role": "assistant", "content": [self._block(index) for index in self._blocks]}
        return ChatAnswer(
            id=self._id,
            model=self._model,
            service_tier=self._service_tier,
            choices=[{"message": message, "finish_reason": self._stop_reason}],
            usage=chat_usage(self._counted) if self._counted else None,
            _hidden_params={"cache_hit": True} if self.cache_hit else {},
        )

    def usage(self, raw_chunks: object, *, cut_short: bool = False) -> Usage | None:
        """Tokens as reported.

        `raw_chunks` are chat's, where litellm answered by way of that; where none of them has any, it counts itself.
        """
        found = super().usage(raw_chunks, cut_short=cut_short)
        chunks = items(raw_chunks)
        if found is None or not chunks or any(get(chunk, "usage") is not None for chunk in chunks):
            return found
        return found._replace(estimated=True)

    def _feed_message(self, event: object) -> bool:
        kind = get(event, "type")
        if kind == "message_start":
            message = get(event, "message")
            self._id, self._model = text(get(message, "id")), text(get(message, "model"))
            self._count(get(message, "usage"))
        elif kind == "content_block_start":
            return self._begin_block(tokens(get(event, "index")), get(event, "content_block"))
        elif kind == "content_block_delta":
            return self._feed_delta(tokens(get(event, "index")), get(event, "delta"))
        elif kind == "message_delta":
            self._stop_reason = text(get(get(event, "delta"), "stop_reason")) or self._stop_reason
            self._count(get(event, "usage"))
        return False

    def _begin_block(self, index: object, block: object) -> bool:
        begun = dict(block) if isinstance(block, dict) else {}
        name = _MEMBERS.get(str(begun.get("type")))
        self._blocks[index], self._pieces[index] = begun, []
        return bool(begun) if name is None else self._keep(self._pieces[index], begun.get(name))

    def _feed_delta(self, index: object, delta: object) -> bool:
        piece = get(delta, _PIECES.get(str(get(delta, "type")), ""))
        if index not in self._blocks:
            self._begin_block(index, {"type": "text"})
        return self._keep(self._pieces[index], piece)

    def _block(self, index: object) -> dict[str, Any]:
        block, said = self._blocks[index], "".join(self._pieces[index])
        name = _MEMBERS.get(str(block.get("type")), "input")
        return {**block, name: said} if said else block

    def _count(self, usage: object) -> None:
        """The last count of each kind that is not 0: of a stream Anthropic counts the input first, the output last."""
        if not isinstance(usage, dict):
            return
        self._counted.update({name: count for name, count in usage.items() if count or name not in self._counted})
        self._service_tier = text(usage.get("service_tier")) or self._service_tier
        self._usages = [chat_usage(self._counted)]

    def _spoken(self) -> Iterator[str]:
        for pieces in self._pieces.values():
            yield from pieces
