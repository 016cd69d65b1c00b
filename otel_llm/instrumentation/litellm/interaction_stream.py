"""Reads a stream of Gemini's Interactions: steps that begin, grow and end, between two words of the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm.instrumentation.litellm.interaction_words import chat_answer, chat_usage
from otel_llm.instrumentation.litellm.keeping import kept
from otel_llm.instrumentation.litellm.reading import get, items, text, tokens
from otel_llm.instrumentation.litellm.stream_reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
    from otel_llm.instrumentation.litellm.request import Request

__all__ = ["InteractionStreamReader"]

_DEPTH: Final = 7
_TOLD: Final = ("id", "model", "agent", "status", "usage")
"""Of these the last one counts."""
_STARTS: Final = frozenset({"step.start", "content.start"})
_GROWS: Final = frozenset({"step.delta", "content.delta"})
"""The older names are those of before May 2026."""
_PIECES: Final = {"text": "text", "thought_summary": "thought", "arguments_delta": "arguments"}
"""Kind of a delta -> of what its text is a piece."""


class InteractionStreamReader(StreamReader):
    """Puts the events together to one interaction."""

    def __init__(self, request: Request, *, cache_hit: bool = False) -> None:
        super().__init__(request, cache_hit=cache_hit)
        self._told: dict[str, Any] = {}
        self._steps: dict[Any, dict[str, Any]] = {}
        self._pieces: dict[Any, list[str]] = {}

    @staticmethod
    def keep(chunk: Any) -> Any:
        """A chunk as it is now."""
        return kept(chunk, _DEPTH)

    def feed(self, chunk: object) -> bool:
        """Take one event in; True when it carries content."""
        kind = text(get(chunk, "event_type")) or ""
        if kind in _STARTS:
            return self._begin(tokens(get(chunk, "index")), get(chunk, "step") or get(chunk, "content"))
        if kind in _GROWS:
            return self._grow(tokens(get(chunk, "index")), get(chunk, "delta"))
        if kind.startswith("interaction."):
            self._tell(get(chunk, "interaction") or chunk)
        return False

    def answer(self) -> ChatAnswer:
        """What the stream amounts to, as a chat completion."""
        made = chat_answer({**self._told, "steps": [self._step(index) for index in self._steps]})
        if self.cache_hit:
            made["_hidden_params"]["cache_hit"] = True
        return made

    def _tell(self, interaction: object) -> None:
        self._told.update({name: value for name in _TOLD if (value := get(interaction, name)) is not None})
        usage = chat_usage(get(interaction, "usage"))
        if usage is not None:
            self._usages = [usage]
        if not self._steps:  # all at once, at the end
            whole = items(get(interaction, "steps")) or items(get(interaction, "outputs"))
            self._steps = {index: dict(step) for index, step in enumerate(whole) if isinstance(step, dict)}

    def _begin(self, index: object, step: object) -> bool:
        begun = self._steps[index] = dict(step) if isinstance(step, dict) else {"type": "model_output"}
        self._pieces[index] = []
        return text(begun.get("type")) not in {None, "model_output", "thought", "text"}

    def _grow(self, index: object, delta: object) -> bool:
        kind = text(get(delta, "type")) or ""
        if index not in self._steps:
            self._begin(index, {"type": "thought" if kind == "thought_summary" else "model_output"})
        if kind not in _PIECES:
            if delta is None or kind == "thought_signature":
                return False
            self._steps[index].update(delta if kind == "function_call" and isinstance(delta, dict) else {})
            return True
        piece = get(delta, _PIECES[kind]) or get(delta, "text") or get(get(delta, "content"), "text")
        return self._keep(self._pieces[index], piece)

    def _step(self, index: object) -> dict[str, Any]:
        step, said = self._steps[index], "".join(self._pieces.get(index, ()))
        if not said:
            return step
        if step.get("type") == "thought":
            return {**step, "summary": [{"type": "text", "text": said}]}
        if step.get("type") == "function_call":
            return {**step, "arguments": said}
        return {**step, "type": "model_output", "content": [{"type": "text", "text": said}]}

    def _asked(self) -> tuple[Any, Any]:
        said = self._request.arguments.get("input")
        return None, said if isinstance(said, str) else ""

    def _spoken(self) -> Iterator[str]:
        for pieces in self._pieces.values():
            yield from pieces
