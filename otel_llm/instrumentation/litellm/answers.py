"""What reads the answers of each form, whole or streamed; those in a provider's own words become chat completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_llm.instrumentation.litellm import anthropic_words, bedrock_words, gemini_words, interaction_words
from otel_llm.instrumentation.litellm.anthropic_stream import AnthropicStreamReader
from otel_llm.instrumentation.litellm.bedrock_stream import BedrockStreamReader
from otel_llm.instrumentation.litellm.forms import BEDROCK, CONTENTS, INTERACTIONS, MESSAGES
from otel_llm.instrumentation.litellm.gemini_stream import GeminiStreamReader
from otel_llm.instrumentation.litellm.interaction_stream import InteractionStreamReader
from otel_llm.instrumentation.litellm.passthrough import EventStreamReader, answer_within
from otel_llm.instrumentation.litellm.stream_reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otel_llm.instrumentation.litellm.chat_answer import ChatAnswer
    from otel_llm.instrumentation.litellm.forms import Form

__all__ = ["answer_in", "reader_for"]

_READERS: Final[Mapping[str, type[StreamReader]]] = {
    MESSAGES: AnthropicStreamReader,
    CONTENTS: GeminiStreamReader,
    BEDROCK: BedrockStreamReader,
    INTERACTIONS: InteractionStreamReader,
}
"""Family of calls -> what reads its streams."""
_ANSWERS: Final[Mapping[str, Callable[[object], ChatAnswer]]] = {
    MESSAGES: anthropic_words.chat_answer,
    CONTENTS: gemini_words.chat_answer,
    BEDROCK: bedrock_words.chat_answer,
    INTERACTIONS: interaction_words.chat_answer,
}


def reader_for(form: Form) -> type[StreamReader]:
    """What reads the streams of a form."""
    return _READERS.get(form.family, EventStreamReader if form.raw else StreamReader)


def answer_in(form: Form, result: object) -> object:
    """A whole answer in the words that the rest of us reads: as it is, but for those in a provider's own."""
    said = answer_within(result) if form.raw else result
    return _ANSWERS[form.family](said) if form.native else said
