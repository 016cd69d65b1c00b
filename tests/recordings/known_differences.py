"""What litellm makes unobservable, per API: the span cannot say it right, because nothing right reaches the caller.

Each row is verified by every case it covers: the case fails when the span does not show the difference exactly so,
and it fails, too, once the span is right after all (then the row has to go).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.recordings import oracle
from tests.recordings.versions import IS_1_79, LITELLM
from tests.recordings.wire import events_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.recordings.facts import ToolCall
    from tests.recordings.recordings import Exchange

__all__ = ["DIFFERENCES", "Difference", "difference_in"]


@dataclass(frozen=True)
class Difference:
    """A feature that litellm replaces or drops."""

    feature: str
    """As `compare` names it."""
    reason: str
    """What litellm does, in one sentence."""
    applies: Callable[[Exchange, Any], bool]
    """(exchange, what the recording says) -> whether the feature differs in this case."""
    shows: Callable[[Exchange, Any, Any], bool]
    """(exchange, what the recording says, what the span says) -> whether this is the known difference."""


def difference_in(exchange: Exchange, feature: str, expected: Any) -> Difference | None:
    """The known difference of this feature in this case, if there is one."""
    for difference in DIFFERENCES:
        if difference.feature == feature and difference.applies(exchange, expected):
            return difference
    return None


# --- what the rows ask ----------------------------------------------------------------------------------------


def _is_stream(exchange: Exchange) -> bool:
    return exchange.response.is_event_stream


def _asked_model(exchange: Exchange, said: Any, seen: Any) -> bool:
    return bool(seen == oracle.asking(exchange).model)


def _other_than_asked(exchange: Exchange, said: Any) -> bool:
    return said is not None and said != oracle.asking(exchange).model


def _made_up_id(exchange: Exchange, said: Any, seen: Any) -> bool:
    return re.fullmatch("(chatcmpl-)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", seen or "") is not None


def _calls(exchange: Exchange) -> list[ToolCall]:
    return [call for message in oracle.answer(exchange).messages for call in message.calls]


def _same_but_ids(exchange: Exchange, said: Any, seen: Any) -> bool:
    def plain(messages: Any) -> Any:
        return [[(call.name, call.arguments) for call in calls] for calls in messages]

    ids = [call.id for calls in seen for call in calls]
    return plain(said) == plain(seen) and all(
        re.fullmatch("call_[0-9a-f]+(__thought__.+)?", made or "") for made in ids
    )


def _thinks_aloud(exchange: Exchange) -> bool:
    """Nova writes its thoughts between tags in the text."""
    return any("<thinking>" in message.text for message in oracle.answer(exchange).messages)


def _thinks(exchange: Exchange) -> bool:
    return _thinks_aloud(exchange) or any(message.reasoning for message in oracle.answer(exchange).messages)


def _counted(exchange: Exchange, said: Any, seen: Any) -> bool:
    return isinstance(seen, int) and seen > 0


def _thoughts(exchange: Exchange) -> tuple[str, str]:
    """(what stands between Nova's tags, what stands after them)."""
    (message,) = oracle.answer(exchange).messages
    thought, _, text = message.text.removeprefix("<thinking>").partition("</thinking>")
    return thought, text


def _consumed(kind: str) -> Callable[[Exchange, Any, Any], bool]:
    def shows(exchange: Exchange, said: Any, seen: Any) -> bool:
        return bool(seen == events_of(exchange.response)[0]["usage"]["tokens"][kind])

    return shows


def _gemini_prompt(exchange: Exchange) -> dict[str, Any]:
    usage: dict[str, Any] = events_of(exchange.response)[-1].get("usageMetadata", {})
    return usage


def _usage_is_lost(exchange: Exchange, said: Any) -> bool:
    """True where litellm 1.79 keeps no usage of DeepSeek's last chunk, nor of Nova's."""
    return exchange.id in {
        "openai/test_streaming_with_api_usage_and_events#0",
        "bedrock/test_nova_invoke_stream#0",
    }


# --- the rows -------------------------------------------------------------------------------------------------

_IDS = (
    Difference(
        "response id",
        "litellm gives answers of Anthropic, through Bedrock too, an id of its own.",
        lambda exchange, said: said is not None and exchange.api in {"anthropic", "invoke"},
        _made_up_id,
    ),
    Difference(
        "response id",
        "litellm gives answers of Cohere's chat an id of its own.",
        lambda exchange, said: exchange.api == "cohere",
        _made_up_id,
    ),
    Difference(
        "response id",
        "Converse, Nova, Titan, Llama and Ollama send no id; litellm makes one up.",
        lambda exchange, said: said is None and exchange.api in {"converse", "invoke", "ollama", "ollama-generate"},
        _made_up_id,
    ),
    Difference(
        "response id",
        "litellm's embeddings have no id; of those recorded only Mistral sends one.",
        lambda exchange, said: said is not None and exchange.api == "embeddings",
        lambda exchange, said, seen: seen is None,
    ),
    Difference(
        "tool calls",
        "Gemini sends no ids with its calls; litellm makes them up.",
        lambda exchange, said: exchange.api == "gemini" and bool(said),
        _same_but_ids,
    ),
)

_MODELS = (
    Difference(
        "response model",
        "Converse, Nova, Titan, Llama, Cohere and Gemini's embeddings name no model; litellm repeats the request's.",
        lambda exchange, said: said is None and exchange.api in {"converse", "invoke", "cohere", "gemini-embeddings"},
        _asked_model,
    ),
    Difference(
        "response model",
        "On text completion streams litellm gives every chunk the model that was asked for.",
        lambda exchange, said: exchange.api == "text" and _is_stream(exchange) and _other_than_asked(exchange, said),
        _asked_model,
    ),
)

_FINISH_REASONS = (
    Difference(
        "finish reasons",
        "Gemini says STOP when it calls a tool; litellm says `tool_calls`.",
        lambda exchange, said: exchange.api == "gemini" and bool(_calls(exchange)),
        lambda exchange, said, seen: said == ("stop",) and seen == ("tool_call",),
    ),
    Difference(
        "finish reasons",
        "litellm does not read the stop reason of Llama through InvokeModel and says `stop`.",
        lambda exchange, said: exchange.api == "invoke" and "/meta.llama" in exchange.path and said != ("stop",),
        lambda exchange, said, seen: seen == ("stop",),
    ),
)

_BEFORE_1_110 = (
    Difference(
        "finish reasons",
        "Cohere says TOOL_CALL; litellm says `stop`, whatever Cohere said.",
        lambda exchange, said: exchange.api == "cohere" and said != ("stop",),
        lambda exchange, said, seen: seen == ("stop",),
    ),
)

_TOKENS = (
    Difference(
        "tokens: reasoning",
        "Neither Anthropic nor Nova counts its thoughts; litellm counts them with a tokenizer of its own.",
        lambda exchange, said: said is None and exchange.api in {"anthropic", "invoke"} and _thinks(exchange),
        _counted,
    ),
    Difference(
        "tokens: input",
        "Ollama does not count a cached prompt, nor Gemini what it embeds; litellm counts with a tokenizer of its own.",
        lambda exchange, said: said is None and exchange.api in {"ollama", "ollama-generate", "gemini-embeddings"},
        _counted,
    ),
    Difference(
        "tokens: input",
        "Cohere says billed and consumed tokens; litellm keeps the consumed ones only.",
        lambda exchange, said: exchange.api == "cohere",
        _consumed("input_tokens"),
    ),
    Difference(
        "tokens: output",
        "Cohere says billed and consumed tokens; litellm keeps the consumed ones only.",
        lambda exchange, said: exchange.api == "cohere",
        _consumed("output_tokens"),
    ),
)

_CONTENT = (
    Difference(
        "reasoning",
        "litellm drops the plan that Cohere makes before it calls tools.",
        lambda exchange, said: exchange.api == "cohere" and bool(said),
        lambda exchange, said, seen: seen == "",
    ),
)

_SINCE_1_79 = (
    Difference(
        "text",
        "litellm takes what Nova writes between `<thinking>` tags out of the text.",
        lambda exchange, said: exchange.api == "invoke" and _thinks_aloud(exchange),
        lambda exchange, said, seen: seen == [_thoughts(exchange)[1]],
    ),
    Difference(
        "reasoning",
        "litellm calls what Nova writes between `<thinking>` tags its reasoning.",
        lambda exchange, said: exchange.api == "invoke" and _thinks_aloud(exchange),
        lambda exchange, said, seen: seen == _thoughts(exchange)[0],
    ),
)

_IN_1_79 = (
    Difference(
        "response model",
        "litellm 1.79 gives every chunk of a stream the model that was asked for.",
        lambda exchange, said: (
            _is_stream(exchange) and exchange.api in {"chat", "invoke"} and _other_than_asked(exchange, said)
        ),
        _asked_model,
    ),
    Difference(
        "tokens: input",
        "litellm 1.79 leaves out what Gemini's own tools fed back into the prompt.",
        lambda exchange, said: exchange.api == "gemini" and "toolUsePromptTokenCount" in _gemini_prompt(exchange),
        lambda exchange, said, seen: seen == _gemini_prompt(exchange)["promptTokenCount"],
    ),
    Difference(
        "tokens: estimated",
        "litellm 1.79 loses the usage of this stream; the span says that it counted itself.",
        _usage_is_lost,
        lambda exchange, said, seen: seen is True,
    ),
    Difference("tokens: input", "As above: an estimate.", _usage_is_lost, _counted),
    Difference("tokens: output", "As above: an estimate.", _usage_is_lost, _counted),
    Difference(
        "text",
        "litellm 1.79 takes every event of Nova's stream for a choice of its own.",
        lambda exchange, said: exchange.id == "bedrock/test_nova_invoke_stream#0",
        lambda exchange, said, seen: "".join(seen) == "".join(said),
    ),
)

DIFFERENCES: tuple[Difference, ...] = (
    *(_IN_1_79 if IS_1_79 else _SINCE_1_79),
    *(_BEFORE_1_110 if LITELLM < (1, 110) else ()),
    *(*_IDS, *_MODELS, *_FINISH_REASONS, *_TOKENS, *_CONTENT),
)
"""All rows that hold for the litellm that runs here; the first that applies counts."""
