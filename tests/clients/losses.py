"""What the instrumentations of others lose or say otherwise, by name; the table of docs/clients.md.

Each row is verified by every case it covers: a difference that no row explains fails the test, and a row that explains
none any more has to go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.recordings.compare import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from tests.recordings.recordings import Exchange

__all__ = ["LOSSES", "Loss", "differences", "loss_of"]

_NO_SPAN = "span"
"""The feature that is missing where a call is not recorded at all."""


def _always(exchange: Exchange, said: Any, seen: Any) -> bool:
    return True


@dataclass(frozen=True)
class Loss:
    """One feature that does not arrive as it was recorded."""

    made: tuple[str, ...]
    """`library, family` of the runs that it is about."""
    features: tuple[str, ...]
    """As `tests.recordings.compare` names them."""
    why: str
    """One sentence for the table."""
    covers: Callable[[Exchange, Any, Any], bool] = _always
    """(exchange, what was recorded, what the span says) -> whether this is the loss."""
    shown: bool = True
    """Whether it stands in the table: what only our test's address or clock does, does not."""


@dataclass(frozen=True)
class Difference:
    """One feature of one case that is not as recorded."""

    exchange: Exchange
    feature: str
    said: Any
    seen: Any

    def __str__(self) -> str:
        return f"{self.exchange.id}: {self.feature}: recorded {self.said!r}, span {self.seen!r}"


def differences(exchange: Exchange, span: ReadableSpan | None, port: int) -> Iterator[Difference]:
    """Everything in which a span differs from what was recorded."""
    if span is None:
        yield Difference(exchange, _NO_SPAN, "one", "none")
        return
    for compared in compare(exchange, span, port):
        if not compared.equal:
            yield Difference(exchange, compared.feature, compared.expected, compared.got)


def loss_of(made: str, found: Difference) -> Loss | None:
    """The row that explains a difference, if there is one."""
    for loss in LOSSES:
        if made in loss.made and found.feature in loss.features and loss.covers(found.exchange, found.said, found.seen):
            return loss
    return None


def _stream(exchange: Exchange, said: Any, seen: Any) -> bool:
    return exchange.response.is_event_stream


def _api(*apis: str) -> Callable[[Exchange, Any, Any], bool]:
    return lambda exchange, said, seen: exchange.api in apis


def _named(*words: str) -> Callable[[Exchange, Any, Any], bool]:
    return lambda exchange, said, seen: any(word in exchange.id for word in words)


def _silent(exchange: Exchange, said: Any, seen: Any) -> bool:
    """The span says nothing, rather than something wrong."""
    return not seen


def _says_more(exchange: Exchange, said: Any, seen: Any) -> bool:
    """All that was recorded is there, and something besides."""
    return all(seen.get(name) == value for name, value in said.items())


_OPENAI = tuple(f"openai, {family}" for family in ("OpenTelemetry", "OpenInference", "OpenLLMetry"))
_GOOGLE = tuple(f"google-genai, {family}" for family in ("OpenTelemetry", "OpenInference", "OpenLLMetry"))
_LANGCHAIN = tuple(f"langchain, {family}" for family in ("OpenTelemetry", "OpenInference", "OpenLLMetry"))

LOSSES = (
    # --- of the test itself -----------------------------------------------------------------------------------
    Loss(
        (*_OPENAI, *_LANGCHAIN),
        ("input messages",),
        "1,500 random letters in a prompt are taken for base64.",
        _named("test_cached_tokens"),
        shown=False,
    ),
    Loss(
        _OPENAI,
        ("parameters",),
        "`reasoning` of OpenRouter is no argument of the library; the test puts it into the body.",
        _named("test_openrouter_streaming_reasoning"),
        shown=False,
    ),
    Loss(
        _OPENAI,
        ("request model",),
        "The recorded program named another model than its deployment.",
        _named("test_azure_openai_embeddings"),
        shown=False,
    ),
    # --- where it was asked -----------------------------------------------------------------------------------
    Loss(
        _OPENAI,
        ("provider",),
        "An address that names no provider (a gateway, a server of one's own) counts as `openai`.",
    ),
    Loss(
        ("google-genai, OpenInference", "google-genai, OpenLLMetry"),
        ("provider",),
        "Which of Google's endpoints was asked is not said: the provider is `gcp.gen_ai`, for either.",
    ),
    Loss(
        (
            "openai, OpenInference",
            "anthropic, OpenLLMetry",
            "google-genai, OpenInference",
            "google-genai, OpenLLMetry",
            *_LANGCHAIN,
            "bedrock, OpenInference",
            "ollama, OpenInference",
            "ollama, OpenLLMetry",
        ),
        ("server",),
        "No `server.address`.",
        lambda exchange, said, seen: seen == (None, None),
    ),
    Loss(("openai, OpenLLMetry",), ("server",), "No `server.address` of Responses.", _api("responses")),
    Loss(
        ("google-genai, OpenTelemetry",),
        ("server",),
        "No `server.port`.",
        lambda exchange, said, seen: seen == (said[0], None),
    ),
    # --- OpenAI -------------------------------------------------------------------------------------------------
    Loss(
        ("openai, OpenTelemetry",),
        (_NO_SPAN,),
        "The older completions (`client.completions`) are not recorded at all; OpenInference's are.",
        _api("text"),
    ),
    Loss(
        ("openai, OpenTelemetry",),
        ("tools", "tool calls"),
        "The older `functions` and `function_call` are not recorded.",
        _named("test_open_ai_function_calls#"),
    ),
    Loss(
        ("openai, OpenTelemetry",),
        ("reasoning",),
        "The reasoning's text is not recorded (its tokens are).",
        _silent,
    ),
    Loss(
        ("openai, OpenTelemetry",),
        ("parameters",),
        "The reasoning's level of Responses is not recorded.",
        lambda exchange, said, seen: exchange.api == "responses" and {**seen, "reasoning": said["reasoning"]} == said,
    ),
    Loss(
        ("openai, OpenTelemetry", "google-genai, OpenTelemetry"),
        ("parameters",),
        "The dimensions of embeddings are those of the answer, also where none were asked for.",
        lambda exchange, said, seen: "embeddings" in exchange.api and _says_more(exchange, said, seen),
    ),
    Loss(
        ("openai, OpenInference", "openai, OpenLLMetry"),
        ("reasoning",),
        "The text of reasoning that a provider beside OpenAI sends in a chat is not recorded.",
        _silent,
    ),
    Loss(
        ("openai, OpenInference", "langchain, OpenInference"),
        ("tools",),
        "The older `functions` are not recorded.",
        _named("test_open_ai_function_calls#"),
    ),
    Loss(
        ("openai, OpenInference", "openai, OpenLLMetry"),
        ("finish reasons",),
        "A stream of older completions ends without its reason.",
        _named("openai/test_completion_streaming"),
    ),
    Loss(
        ("openai, OpenLLMetry",),
        ("input messages",),
        "The texts of embeddings stand as messages; a message of Responses that is reasoning is left out.",
        lambda exchange, said, seen: exchange.api in {"embeddings", "responses"},
    ),
    Loss(
        ("openai, OpenLLMetry",),
        ("tools", "finish reasons"),
        "Tools that OpenAI runs are not listed, and their calls are taken for the program's.",
        _named("test_responses_websearch_input"),
    ),
    Loss(
        ("openai, OpenLLMetry", "google-genai, OpenLLMetry", "langchain, OpenLLMetry"),
        ("parameters",),
        "Stop sequences, number of choices, dimensions and the format of the answer are not recorded.",
        lambda exchange, said, seen: _says_more(exchange, seen, said),
    ),
    Loss(
        ("openai, OpenLLMetry",),
        ("response model",),
        "What stands before a slash in the model's name is cut off.",
        lambda exchange, said, seen: said.endswith("/" + seen),
    ),
    Loss(
        ("openai, OpenLLMetry",),
        ("time to first chunk",),
        "No time to the first chunk of Responses and of older completions.",
        _api("responses", "text"),
    ),
    Loss(
        ("openai, OpenLLMetry",),
        ("tool calls",),
        "Calls in Responses have the id of the item, not the `call_id` that their answer names.",
        _api("responses"),
    ),
    # --- Anthropic ----------------------------------------------------------------------------------------------
    Loss(
        ("anthropic, OpenTelemetry", "anthropic, OpenLLMetry", "langchain, OpenTelemetry"),
        ("parameters",),
        "That an answer in JSON was asked for is not recorded.",
        lambda exchange, said, seen: {**seen, "output_type": "json"} == said,
    ),
    Loss(
        ("anthropic, OpenInference", "anthropic, OpenLLMetry"),
        ("time to first chunk",),
        "No time to the first chunk.",
        _stream,
    ),
    Loss(
        ("anthropic, OpenLLMetry",),
        ("tokens: output",),
        "The output tokens of a stream are too many: those of its first event are added.",
        lambda exchange, said, seen: exchange.response.is_event_stream and seen > said,
    ),
    # --- Google -------------------------------------------------------------------------------------------------
    Loss(
        _GOOGLE,
        ("operation",),
        "`generate_content`, the conventions' word for Gemini's call, where litellm's calls say `chat`.",
        lambda exchange, said, seen: seen == "generate_content",
    ),
    Loss(
        _GOOGLE,
        ("tools",),
        "Tools that Google runs have the library's names (`code_execution`).",
        _named("test_validate_token_counts"),
    ),
    Loss(
        ("google-genai, OpenTelemetry",),
        ("tool calls",),
        "Calls have ids, which Gemini does not give: they are made up.",
        lambda exchange, said, seen: _without_ids(said) == _without_ids(seen),
    ),
    Loss(
        ("google-genai, OpenTelemetry", "google-genai, OpenLLMetry"),
        ("tokens: input",),
        "Tokens that a tool run by Google feeds back into the prompt are missing from the input.",
        lambda exchange, said, seen: seen < said,
    ),
    Loss(
        ("google-genai, OpenInference", "google-genai, OpenLLMetry"),
        ("time to first chunk",),
        "No time to the first chunk.",
        _stream,
    ),
    Loss(
        ("google-genai, OpenLLMetry",),
        (_NO_SPAN,),
        "Embeddings are not recorded at all.",
        _api("gemini-embeddings"),
    ),
    Loss(
        ("google-genai, OpenLLMetry",),
        ("tokens: output", "tokens: reasoning"),
        "Thoughts are counted nowhere: output tokens are too few, and the cost says `estimated`.",
        lambda exchange, said, seen: seen is None or seen < said,
    ),
    Loss(
        ("google-genai, OpenLLMetry",),
        ("stream", "text", "reasoning"),
        "Streams are not marked, of their text only the last chunk is kept, and code that Google ran stands in it.",
        lambda exchange, said, seen: exchange.response.is_event_stream or "test_validate_token_counts" in exchange.id,
    ),
    Loss(
        ("google-genai, OpenLLMetry",),
        ("input messages",),
        "An image that a prompt names by its address is recorded as something else.",
        _named("file_uri"),
    ),
    # --- LangChain ------------------------------------------------------------------------------------------------
    Loss(
        _LANGCHAIN,
        ("response id",),
        "Streams have no response id; with OpenInference answers with several choices have none either.",
        _silent,
    ),
    Loss(
        ("langchain, OpenTelemetry",),
        ("parameters",),
        "One stop sequence given as text is recorded letter by letter.",
        lambda exchange, said, seen: "".join(seen["stop"]) == "".join(said["stop"]),
    ),
    Loss(
        ("langchain, OpenTelemetry",),
        ("input messages",),
        "Blocks of Anthropic's own shape in a prompt (`tool_use`, `tool_result`) are not recorded as such.",
        _api("anthropic"),
    ),
    Loss(
        ("langchain, OpenInference", "langchain, OpenLLMetry"),
        ("stream", "time to first chunk"),
        "Streams are not marked, and have no time to the first chunk.",
        _stream,
    ),
    Loss(
        ("langchain, OpenLLMetry",),
        ("response model",),
        "A stream's model is the one that was asked for.",
        _stream,
    ),
    Loss(
        ("langchain, OpenLLMetry",),
        ("tokens: input", "tokens: output", "finish reasons"),
        "An answer with several choices is counted once for each choice: tokens and cost are too high.",
        lambda exchange, said, seen: (exchange.request.get("n") or 1) > 1,
    ),
    # --- Bedrock --------------------------------------------------------------------------------------------------
    Loss(
        ("bedrock, OpenTelemetry", "bedrock, OpenInference"),
        ("response model",),
        "Which model answered is not recorded where InvokeModel's body says it.",
        _silent,
    ),
    Loss(
        ("bedrock, OpenInference",),
        ("request model",),
        "The model asked for is the one that InvokeModel's answer names.",
        _api("invoke"),
    ),
    Loss(
        ("bedrock, OpenTelemetry",),
        ("response id", "finish reasons", "text", "tokens: output"),
        "Streams of InvokeModel lose the response id, the end of the text, its reason and some of the output tokens.",
        lambda exchange, said, seen: exchange.api == "invoke" and exchange.response.is_event_stream,
    ),
    Loss(
        ("bedrock, OpenTelemetry", "bedrock, OpenInference"),
        ("tokens: input", "tokens: output", "finish reasons", "text", "response id"),
        "Imported models that answer like OpenAI are recorded without tokens and text.",
        _named("test_imported_model_completion"),
    ),
    Loss(
        ("bedrock, OpenTelemetry",),
        ("parameters", "tools"),
        "Nova's own parameters are partly recorded: `max_new_tokens` and InvokeModel's tools are missing.",
        lambda exchange, said, seen: exchange.api == "invoke",
    ),
    Loss(
        ("bedrock, OpenTelemetry",),
        ("parameters",),
        "`additionalModelRequestFields` count as parameters too.",
        lambda exchange, said, seen: exchange.api == "converse" and _says_more(exchange, said, seen),
    ),
    Loss(
        ("bedrock, OpenTelemetry", "bedrock, OpenInference"),
        ("input messages",),
        "Text inside `guardContent` is not recorded.",
        _named("nova_converse", "titan_converse"),
    ),
    Loss(
        ("bedrock, OpenInference",),
        ("input messages", "text", "parameters"),
        "Of InvokeModel, bodies other than Claude's (Titan, Llama, older Claude) are recorded in part, and Claude's "
        "system prompt not at all.",
        _api("invoke"),
    ),
    Loss(
        ("bedrock, OpenInference", "ollama, OpenInference", "ollama, OpenLLMetry"),
        ("time to first chunk",),
        "No time to the first chunk.",
        _stream,
    ),
    # --- Ollama ---------------------------------------------------------------------------------------------------
    Loss(
        ("ollama, OpenInference",),
        (_NO_SPAN,),
        "`generate` is not recorded at all; `chat` is.",
        _api("ollama-generate"),
    ),
    Loss(
        ("ollama, OpenLLMetry",),
        ("finish reasons",),
        "No finish reasons.",
        _silent,
    ),
    Loss(
        ("ollama, OpenLLMetry",),
        ("operation",),
        "`generate` is a `text_completion`.",
        _api("ollama-generate"),
        shown=False,
    ),
)


def _without_ids(messages: Any) -> Any:
    return [[(call.name, call.arguments) for call in calls] for calls in messages]
