"""Calls in a provider's own words: what tells their answers, whole or streamed, in those of a chat completion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_llm.instrumentation.litellm import anthropic_words, gemini_words
from otel_llm.instrumentation.litellm.anthropic_stream import AnthropicStreamReader
from otel_llm.instrumentation.litellm.forms import CONTENTS, MESSAGES
from otel_llm.instrumentation.litellm.gemini_stream import GeminiStreamReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
    from otel_llm.instrumentation.litellm.forms import Form
    from otel_llm.instrumentation.litellm.stream_reader import StreamReader

__all__ = ["READERS", "in_chat_words"]

READERS: Final[Mapping[str, type[StreamReader]]] = {
    MESSAGES: AnthropicStreamReader,
    CONTENTS: GeminiStreamReader,
}
"""Family of calls -> what reads its streams."""
_ANSWERS: Final[Mapping[str, Callable[[object], ChatAnswer]]] = {
    MESSAGES: anthropic_words.chat_answer,
    CONTENTS: gemini_words.chat_answer,
}


def in_chat_words(form: Form, answer: object) -> ChatAnswer:
    """A whole answer as a chat completion."""
    return _ANSWERS[form.family](answer)
