"""Exchanges that litellm itself cannot take, each with the reason; tests hold that every one still fails as said.

Everything that is not named here is called and compared. What depends on the version of litellm or on a package
that is not there says so.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import distributions
from importlib.util import find_spec
from typing import TYPE_CHECKING

from tests.recordings.versions import IS_1_79

if TYPE_CHECKING:
    from tests.recordings.recordings import Exchange

__all__ = ["ALL_LISTED", "Untakeable", "fails_as_said", "why_untakeable"]


@dataclass(frozen=True)
class Untakeable:
    """Why litellm cannot take an exchange."""

    reason: str
    """One true sentence."""
    raises: str
    """Regular expression found in the text (or the type's name) of what litellm raises."""


_CLAUDE_2 = Untakeable(
    "litellm's route for Claude 2 through InvokeModel signs its request with a method that its configuration lacks.",
    "AmazonAnthropicConfig.*aws_authentication_params",
)
_IMPORTED = Untakeable(
    "litellm reads imported models as Llama's, DeepSeek's or Qwen's, and this one answers with OpenAI's `choices`.",
    "Error processing=",
)
_COHERE_STREAM = Untakeable(
    "litellm asks Cohere for JSON lines and cannot read the `event:` lines of the event stream that was recorded.",
    "Error parsing chunk",
)
_NO_MESSAGE = Untakeable(
    "litellm cannot read a choice of Azure's content filter, which has no `message`.",
    "Invalid response object",
)
_INVALID_ROLE = Untakeable(
    "litellm refuses the role `invalid_role` itself, before it asks Vertex, whose refusal was recorded.",
    "Invalid Message passed in",
)
_ASSISTANT = Untakeable(
    "litellm has no `responses`- or `completion`-like call for the messages of an assistant's thread.",
    "NoCallForm",
)
_NEEDS_MCP = Untakeable(
    "litellm imports the package `mcp` (its extra `litellm[mcp]`) for calls with tools and for Responses.",
    "No module named 'mcp'",
)
_NEEDS_GOOGLE_AUTH = Untakeable(
    "litellm takes the package `google-auth` (its extra `litellm[google]`) to sign in to Vertex.",
    "Google Cloud SDK not found|google[.]auth",
)

_ALWAYS = {
    "bedrock/test_anthropic_2_completion#0": _CLAUDE_2,
    "bedrock/test_imported_model_completion#0": _IMPORTED,
    "cohere/test_cohere_v2_chat_legacy_with_streaming#0": _COHERE_STREAM,
    "openai/test_chat_content_filtering#0": _NO_MESSAGE,
    "vertexai/test_generate_content_invalid_role#0": _INVALID_ROLE,
    "openai/test_existing_assistant#0": _ASSISTANT,
    "openai/test_existing_assistant#1": _ASSISTANT,
    "openai/test_existing_assistant_with_events_with_content#0": _ASSISTANT,
    "openai/test_existing_assistant_with_events_with_content#1": _ASSISTANT,
    "openai/test_new_assistant#0": _ASSISTANT,
    "openai/test_new_assistant#1": _ASSISTANT,
    "openai/test_new_assistant_with_events_with_content#0": _ASSISTANT,
    "openai/test_new_assistant_with_events_with_content#1": _ASSISTANT,
    "openai/test_new_assistant_with_events_with_no_content#0": _ASSISTANT,
    "openai/test_new_assistant_with_events_with_no_content#1": _ASSISTANT,
    "openai/test_new_assistant_with_polling#0": _ASSISTANT,
    "openai/test_new_assistant_with_polling#1": _ASSISTANT,
    "openai/test_streaming_new_assistant#0": _ASSISTANT,
}

_NOVA_INVOKE = Untakeable(
    "litellm 1.79 knows Nova through InvokeModel under a region's prefix (`us.amazon.nova-...`) only.",
    "BedrockException - Error processing=|does not support parameters: \\['tools'\\]",
)
_UNKNOWN_GEMINI = Untakeable(
    "litellm 1.79 does not know gemini-3.5-flash and refuses to ask an unknown model to think.",
    "does not support parameters: \\['thinking'\\]",
)

_IN_1_79 = {
    "bedrock/TestNovaInvokeModel.test_nova_lite_with_system#0": _NOVA_INVOKE,
    "bedrock/TestNovaInvokeModel.test_nova_micro_text#0": _NOVA_INVOKE,
    "bedrock/TestNovaInvokeModel.test_nova_with_tool_use#0": _NOVA_INVOKE,
    "google-genai/test_streaming_reasoning#0": _UNKNOWN_GEMINI,
}

_MCP_IS_NEEDED = not IS_1_79 and find_spec("mcp") is None
_GOOGLE_AUTH_IS_MISSING = "google-auth" not in {distribution.name for distribution in distributions()}


ALL_LISTED = frozenset({*_ALWAYS, *_IN_1_79})
"""Ids of the cases that are named above, whatever is installed."""


def why_untakeable(exchange: Exchange) -> Untakeable | None:
    """Why litellm, as installed here, cannot take this exchange; None where it can."""
    listed = {**_ALWAYS, **(_IN_1_79 if IS_1_79 else {})}.get(exchange.id)
    if listed is None and _MCP_IS_NEEDED and _wants_mcp(exchange):
        return _NEEDS_MCP
    if listed is None and _GOOGLE_AUTH_IS_MISSING and exchange.host.endswith("aiplatform.googleapis.com"):
        return _NEEDS_GOOGLE_AUTH
    return listed


def _wants_mcp(exchange: Exchange) -> bool:
    return exchange.api == "responses" or any(exchange.request.get(key) for key in ("tools", "toolConfig"))


def fails_as_said(said: Untakeable, error: BaseException) -> bool:
    """Whether `error` is the failure that the table names."""
    return re.search(said.raises, f"{type(error).__name__}: {error}", re.DOTALL) is not None
