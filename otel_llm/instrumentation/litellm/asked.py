"""What a call asks the model: messages, instructions, tools, in the conventions' shape, out of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from otel_llm import semconv
from otel_llm.instrumentation.litellm import bedrock_words, gemini_words, interaction_words, messages
from otel_llm.instrumentation.litellm.forms import (
    BEDROCK,
    CONTENTS,
    IMAGES,
    INTERACTIONS,
    MESSAGES,
    REALTIME,
    RUNS,
    VIDEOS,
)
from otel_llm.instrumentation.litellm.reading import items, text

if TYPE_CHECKING:
    from otel_llm.instrumentation.litellm.request import Request

__all__ = ["content_asked", "strings", "tools_asked"]

_Arguments: TypeAlias = Mapping[str, Any]
_Content: TypeAlias = dict[str, object]


def tools_asked(request: Request) -> _Content:
    """The tools that the model is offered."""
    arguments = request.arguments
    if "tools" not in arguments and "functions" not in arguments:
        return {}
    made = messages.tool_definitions(arguments.get("tools")) + messages.tool_definitions(arguments.get("functions"))
    return {semconv.TOOL_DEFINITIONS: made}


def content_asked(request: Request) -> _Content:
    """What the model is told."""
    read = _CONTENT.get(request.form.family)
    return {} if read is None else read(request.arguments)


def strings(value: object) -> list[str] | None:
    """A text, or the texts of a list; None where there is none."""
    if isinstance(value, str):
        return [value]
    found = [entry for entry in items(value) if isinstance(entry, str)]
    return found or None


def _chat(arguments: _Arguments) -> _Content:
    return {semconv.INPUT_MESSAGES: messages.chat_input(arguments.get("messages"))}


def _told(conversation: object, system: object) -> _Content:
    return {
        semconv.INPUT_MESSAGES: messages.chat_input(conversation),
        semconv.SYSTEM_INSTRUCTIONS: messages.system_instructions(system),
    }


def _messages(arguments: _Arguments) -> _Content:
    return _told(arguments.get("messages"), arguments.get("system"))


def _contents(arguments: _Arguments) -> _Content:
    conversation, system = (gemini_words.chat_messages(arguments.get(name)) for name in ("contents", "system"))
    return _told(conversation, [part for message in system for part in message["content"]])


def _bedrock(arguments: _Arguments) -> _Content:
    conversation = bedrock_words.chat_messages(arguments.get("messages"))
    return _told(conversation, bedrock_words.parts(arguments.get("system")))


def _interaction(arguments: _Arguments) -> _Content:
    return _told(interaction_words.chat_messages(arguments.get("input")), arguments.get("system"))


def _responses(arguments: _Arguments) -> _Content:
    return {
        semconv.INPUT_MESSAGES: messages.response_input(arguments.get("input")),
        semconv.SYSTEM_INSTRUCTIONS: messages.system_instructions(arguments.get("instructions")),
    }


def _run(arguments: _Arguments) -> _Content:
    said = (text(arguments.get(name)) for name in ("instructions", "additional_instructions"))
    return {semconv.SYSTEM_INSTRUCTIONS: messages.system_instructions([part for part in said if part])}


def _rerank(arguments: _Arguments) -> _Content:
    return {semconv.RETRIEVAL_QUERY_TEXT: text(arguments.get("query"))}


def _search(arguments: _Arguments) -> _Content:
    return {semconv.RETRIEVAL_QUERY_TEXT: "\n".join(strings(arguments.get("query")) or ())}


def _prompt(arguments: _Arguments) -> _Content:
    return {semconv.INPUT_MESSAGES: messages.prompt_input(arguments.get("prompt"))}


def _input(arguments: _Arguments) -> _Content:
    return {semconv.INPUT_MESSAGES: messages.prompt_input(arguments.get("input"))}


_CONTENT: Final[Mapping[str, Callable[[_Arguments], _Content]]] = {
    "completion": _chat,
    MESSAGES: _messages,
    CONTENTS: _contents,
    BEDROCK: _bedrock,
    INTERACTIONS: _interaction,
    "responses": _responses,
    REALTIME: _responses,
    RUNS: _run,
    "rerank": _rerank,
    "search": _search,
    "speech": _input,
    "moderation": _input,
    **dict.fromkeys(IMAGES | VIDEOS | {"text_completion"}, _prompt),
}
"""Family of calls -> what reads its arguments."""
