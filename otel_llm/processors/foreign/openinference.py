"""OpenInference's vocabulary (`llm.*`, `input.value`, ...) -> ours.

Much of a call stands in `input.value` and `output.value` only, the request and the answer as JSON: the answer's id, the
reason of each choice, the model that was asked for. They are read for that, and go where messages say the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.indexed import indexed_list
from otel_llm.processors.foreign.messages import as_tools, messages_from
from otel_llm.processors.foreign.words import finish_reason, parameters_in, parsed, provider_name, token_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.processors.draft import SpanDraft

__all__ = ["from_openinference"]

_Json = dict[str, Any]

_COUNTS: Final = {
    semconv.OI_TOKENS_PROMPT: semconv.USAGE_INPUT,
    semconv.OI_TOKENS_COMPLETION: semconv.USAGE_OUTPUT,
    semconv.OI_TOKENS_CACHE_READ: semconv.USAGE_CACHE_READ,
    semconv.OI_TOKENS_CACHE_WRITE: semconv.USAGE_CACHE_WRITE,
    semconv.OI_TOKENS_REASONING: semconv.USAGE_REASONING,
    semconv.OI_TOKENS_AUDIO_INPUT: semconv.USAGE_AUDIO_INPUT,
    semconv.OI_TOKENS_AUDIO_OUTPUT: semconv.USAGE_AUDIO_OUTPUT,
}
_MODELS: Final = {
    "LLM": (semconv.OI_RESPONSE_MODEL, semconv.OI_MODEL),
    "EMBEDDING": (semconv.OI_EMBEDDING_MODEL, semconv.OI_MODEL),
    "RERANKER": (semconv.OI_RERANKER_MODEL, semconv.OI_MODEL),
}
_AROUND: Final = {
    "TOOL": (semconv.OP_EXECUTE_TOOL, semconv.OI_TOOL_NAME, semconv.TOOL_NAME),
    "AGENT": (semconv.OP_INVOKE_AGENT, semconv.OI_AGENT_NAME, semconv.AGENT_NAME),
    "RETRIEVER": (semconv.OP_RETRIEVAL, "", ""),
}
"""Kind of span -> operation, and the attribute that names what was used, theirs and ours."""
_TRANSLATED: Final = frozenset(
    {
        *_COUNTS,
        semconv.OI_TOKENS_TOTAL,
        semconv.OI_PROVIDER,
        semconv.OI_SYSTEM,
        semconv.OI_MODEL,
        semconv.OI_REQUEST_MODEL,
        semconv.OI_RESPONSE_MODEL,
        semconv.OI_EMBEDDING_MODEL,
        semconv.OI_RERANKER_MODEL,
        semconv.OI_FINISH_REASON,
        semconv.OI_SPAN_KIND,
    }
)
_FLATTENED: Final = tuple(
    f"{prefix}."
    for prefix in (
        semconv.OI_INPUT_MESSAGES,
        semconv.OI_OUTPUT_MESSAGES,
        semconv.OI_TOOLS,
        semconv.OI_PROMPTS,
        semconv.OI_CHOICES,
    )
)
_RAW: Final = (
    semconv.OI_INPUT_VALUE,
    semconv.OI_INPUT_MIME_TYPE,
    semconv.OI_OUTPUT_VALUE,
    semconv.OI_OUTPUT_MIME_TYPE,
)
_COMPLETION: Final = "Completion"
"""What OpenInference calls the span of OpenAI's older completions."""
_GEMINI: Final = "google_genai"
_NAMES_NO_MODEL: Final = {"LLM": ("bedrock",), "EMBEDDING": ("bedrock", _GEMINI)}
"""Kind of call -> ends of scopes whose providers do not say which model answered."""
_STREAM: Final = "stream"


def from_openinference(draft: SpanDraft, *, wants_content: bool) -> None:
    """Translate one span, in place. Spans around calls keep what has no word in the conventions."""
    attributes = draft.attributes
    kind = str(attributes[semconv.OI_SPAN_KIND]).upper()
    around = _AROUND.get(kind)
    if around is not None:
        operation, theirs, ours = around
        attributes.setdefault(semconv.OPERATION_NAME, operation)
        name = attributes.get(theirs) or draft.name
        if ours and isinstance(name, str):
            attributes.setdefault(ours, name)
    if kind not in _MODELS:
        return
    _call(draft, kind, wants_content=wants_content)
    for name in [key for key in attributes if key in _TRANSLATED]:
        del attributes[name]


def _call(draft: SpanDraft, kind: str, *, wants_content: bool) -> None:
    attributes = draft.attributes
    request = {**_object(attributes.get(semconv.OI_INPUT_VALUE)), **_parameters(attributes)}
    answer = {} if kind == "EMBEDDING" else _object(attributes.get(semconv.OI_OUTPUT_VALUE))
    facts: _Json = {
        semconv.OPERATION_NAME: _operation(draft, kind),
        semconv.PROVIDER_NAME: _provider(attributes),
        **dict(parameters_in(request)),
        **_models(draft, kind, request, answer),
        **dict(_counts(attributes)),
        **_of_answer(answer),
    }
    said = finish_reason(attributes.get(semconv.OI_FINISH_REASON))
    if said is not None and semconv.FINISH_REASONS not in facts:
        facts[semconv.FINISH_REASONS] = [said]
    for name, value in facts.items():
        if value is not None:
            attributes.setdefault(name, value)
    if _STREAM in draft.original_name.lower():
        attributes.setdefault(semconv.REQUEST_STREAM, True)
    if wants_content and kind == "LLM":
        _put_messages(attributes, several=_number_of_answers(answer) > 1)
    _drop_raw(attributes, kind)


def _operation(draft: SpanDraft, kind: str) -> str:
    if kind == "EMBEDDING":
        return semconv.OP_EMBEDDINGS
    if kind == "RERANKER":
        return semconv.OP_RETRIEVAL
    if draft.scope_name.endswith(_GEMINI):
        return semconv.OP_GENERATE_CONTENT
    return semconv.OP_TEXT_COMPLETION if draft.name == _COMPLETION else semconv.OP_CHAT


def _provider(attributes: _Json) -> str | None:
    """Who hosts the model; else whose model it is."""
    for name in (semconv.OI_PROVIDER, semconv.OI_SYSTEM):
        said = attributes.get(name)
        if isinstance(said, str) and said:
            return provider_name(said)
    return None


def _models(draft: SpanDraft, kind: str, request: _Json, answer: _Json) -> _Json:
    """OpenInference's model is the one that answered, where the provider says which that was."""
    attributes = draft.attributes
    answered = next((found for name in _MODELS[kind] if isinstance(found := attributes.get(name), str)), None)
    asked = attributes.get(semconv.OI_REQUEST_MODEL) or request.get("model") or request.get("model_name")
    is_silent = draft.scope_name.endswith(_NAMES_NO_MODEL.get(kind, ()))
    return {
        semconv.REQUEST_MODEL: asked if isinstance(asked, str) and asked else answered,
        semconv.RESPONSE_MODEL: answer.get("model") if is_silent else answered,
    }


def _counts(attributes: _Json) -> Iterator[tuple[str, int]]:
    for theirs, ours in _COUNTS.items():
        count = token_count(attributes.get(theirs))
        if count is not None:
            yield ours, count


def _parameters(attributes: _Json) -> _Json:
    return _object(attributes.get(semconv.OI_PARAMETERS)) or _object(attributes.get(semconv.OI_EMBEDDING_PARAMETERS))


def _object(value: object) -> _Json:
    found = parsed(value)
    return found if isinstance(found, dict) else {}


# --- the answer's own JSON ----------------------------------------------------------------------------------------


def _of_answer(answer: _Json) -> _Json:
    """What only the answer says: id, tier, and one reason per choice."""
    chain = _langchain_answer(answer)
    if chain is not None:
        return chain
    found: _Json = {
        semconv.RESPONSE_ID: answer.get("id") or answer.get("response_id") or answer.get("responseId"),
        semconv.OPENAI_RESPONSE_SERVICE_TIER: answer.get("service_tier"),
        semconv.OPENAI_SYSTEM_FINGERPRINT: answer.get("system_fingerprint"),
    }
    made = {name: value for name, value in found.items() if isinstance(value, str) and value}
    reasons = _reasons(answer)
    return {**made, semconv.FINISH_REASONS: reasons} if reasons else made


def _reasons(answer: _Json) -> list[str]:
    choices = answer.get("choices")
    if isinstance(choices, list):
        said = [finish_reason(choice.get("finish_reason")) for choice in choices if isinstance(choice, dict)]
        return [reason for reason in said if reason is not None]
    if answer.get("object") == "response":  # OpenAI's Responses: done, and waiting for results if there are calls
        output = answer.get("output")
        called = any(
            isinstance(item, dict) and str(item.get("type")).endswith("_call") and item.get("type") == "function_call"
            for item in (output if isinstance(output, list) else ())
        )
        status = finish_reason(answer.get("status"))
        return [] if status is None else ["tool_call" if called and status == "stop" else status]
    return []


def _generations(answer: _Json) -> list[_Json]:
    """LangChain's answers to one prompt; empty where the answer is not LangChain's."""
    try:
        found = answer["generations"][0]
    except (KeyError, IndexError, TypeError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _number_of_answers(answer: _Json) -> int:
    choices = answer.get("choices")
    return len(choices) if isinstance(choices, list) else len(_generations(answer))


def _langchain_answer(answer: _Json) -> _Json | None:
    """LangChain's result: the provider's own facts lie deep inside the message."""
    generations = _generations(answer)
    try:
        message = generations[0]["message"]["kwargs"]
    except (KeyError, IndexError, TypeError):
        return None
    about, usage = message.get("response_metadata"), message.get("usage_metadata")
    about = about if isinstance(about, dict) else {}
    details = usage.get("input_token_details") if isinstance(usage, dict) else None
    written = token_count(details.get("cache_creation")) if isinstance(details, dict) else None
    found: _Json = {
        semconv.RESPONSE_ID: about.get("id"),
        semconv.RESPONSE_MODEL: about.get("model_name") or about.get("model"),
        semconv.OPENAI_RESPONSE_SERVICE_TIER: about.get("service_tier"),
        semconv.OPENAI_SYSTEM_FINGERPRINT: about.get("system_fingerprint"),
    }
    made = {name: value for name, value in found.items() if isinstance(value, str) and value}
    facts: _Json = {**made, **({semconv.USAGE_CACHE_WRITE: written} if written is not None else {})}
    infos = [one.get("generation_info") for one in generations]
    reasons = [finish_reason(info.get("finish_reason")) for info in infos if isinstance(info, dict)]
    said = [reason for reason in reasons if reason is not None]
    return {**facts, semconv.FINISH_REASONS: said} if len(said) == len(generations) else facts


# --- messages -----------------------------------------------------------------------------------------------------


def _put_messages(attributes: _Json, *, several: bool) -> None:
    given = messages_from(indexed_list(attributes, semconv.OI_INPUT_MESSAGES), "user") or _prompts(
        attributes, semconv.OI_PROMPTS, "prompt", "user"
    )
    answered = messages_from(indexed_list(attributes, semconv.OI_OUTPUT_MESSAGES), "assistant") or _prompts(
        attributes, semconv.OI_CHOICES, "completion", "assistant"
    )
    if len(answered) > 1 and not several:
        # Not several answers but the items of one: reasoning, text, calls.
        parts = [part for message in answered for part in message["parts"]]
        answered = [{**answered[0], "parts": parts}]
    tools = as_tools(indexed_list(attributes, semconv.OI_TOOLS))
    for name, value in (
        (semconv.INPUT_MESSAGES, given),
        (semconv.OUTPUT_MESSAGES, answered),
        (semconv.TOOL_DEFINITIONS, tools),
    ):
        if value:
            attributes.setdefault(name, json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _prompts(attributes: _Json, prefix: str, key: str, role: str) -> list[_Json]:
    """OpenAI's older completions: a list of texts on each side."""
    texts = [
        found.get("text")
        for item in indexed_list(attributes, prefix)
        if isinstance(item, dict) and isinstance(found := item.get(key), dict)
    ]
    return messages_from([{"role": role, "content": text} for text in texts if isinstance(text, str)], role)


def _drop_raw(attributes: _Json, kind: str) -> None:
    """Take off what other attributes say now: the flattened lists, and the request and answer as they were sent.

    The text of embeddings has no attribute of the conventions and stays; their vectors tell nobody anything.
    """
    flattened = (f"{semconv.OI_EMBEDDINGS}.",) if kind == "EMBEDDING" else _FLATTENED
    gone = {key for key in attributes if key.startswith(flattened)}
    if kind == "EMBEDDING":
        gone |= {semconv.OI_OUTPUT_VALUE, semconv.OI_OUTPUT_MIME_TYPE}
    elif semconv.OUTPUT_MESSAGES in attributes or semconv.INPUT_MESSAGES in attributes:
        gone |= {*_RAW, semconv.OI_PARAMETERS, semconv.OI_FUNCTION_CALL}
    for name in gone:
        attributes.pop(name, None)
