"""Google ADK's vocabulary (`gcp.vertex.agent.*`) -> ours.

ADK makes a span `call_llm` around each call to a model, which says model and tokens and no operation. Newer versions
make one of the conventions inside of it; with `LiteLlm` the call inside is litellm's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.processors.foreign.words import provider_name

if TYPE_CHECKING:
    from otel_llm.processors.draft import SpanDraft

__all__ = ["from_adk"]

_FAMILIES: Final = {"gemini": "gcp.gen_ai", "claude": "gcp.vertex_ai"}
"""First word of a model's name -> who serves it to ADK, unless the name begins with a provider of litellm's."""
_TOOLS: Final = {
    semconv.ADK_TOOL_ARGUMENTS: semconv.TOOL_CALL_ARGUMENTS,
    semconv.ADK_TOOL_RESULT: semconv.TOOL_CALL_RESULT,
}
_SAYS_NOTHING: Final = ("", "{}", "N/A")


def from_adk(draft: SpanDraft, *, wants_content: bool) -> None:
    """Translate one span, in place; request and response stay as ADK wrote them."""
    attributes = draft.attributes
    if semconv.ADK_SESSION in attributes:
        attributes.setdefault(semconv.CONVERSATION_ID, attributes[semconv.ADK_SESSION])
    for theirs, ours in _TOOLS.items():
        said = attributes.pop(theirs, "")
        if wants_content and said not in _SAYS_NOTHING:
            attributes.setdefault(ours, said)
    for name in (semconv.ADK_LLM_REQUEST, semconv.ADK_LLM_RESPONSE):
        if attributes.get(name) in _SAYS_NOTHING:
            del attributes[name]
    if attributes.get(semconv.GEN_A_PROVIDER) == semconv.ADK_SCOPE:
        del attributes[semconv.GEN_A_PROVIDER]
        if semconv.OPERATION_NAME not in attributes:
            _name_call(attributes)


def _name_call(attributes: dict[str, Any]) -> None:
    """A span around a call to a model: its operation, and the provider that the model's name tells."""
    model = attributes.get(semconv.REQUEST_MODEL)
    if not isinstance(model, str) or not model:
        return
    attributes[semconv.OPERATION_NAME] = semconv.OP_GENERATE_CONTENT
    provider, slash, rest = model.partition("/")
    if slash and provider and rest:
        attributes[semconv.PROVIDER_NAME] = provider_name(provider)
        attributes[semconv.REQUEST_MODEL] = rest
    elif (known := _FAMILIES.get(model.partition("-")[0])) is not None:
        attributes[semconv.PROVIDER_NAME] = known
