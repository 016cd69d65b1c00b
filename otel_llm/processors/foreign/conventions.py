"""The last step for every foreign span: older names of the conventions, and slips of those who write the newest."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanKind, Status, StatusCode

from otel_llm import semconv
from otel_llm.processors.foreign.messages import as_tools, messages_from, parts_from
from otel_llm.processors.foreign.words import finish_reason, is_model_call, parsed, provider_name, token_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.processors.draft import SpanDraft

__all__ = ["to_conventions"]

_Json = dict[str, Any]

_PARTS_OF_USAGE: Final = (
    semconv.USAGE_CACHE_READ,
    semconv.USAGE_CACHE_WRITE,
    semconv.USAGE_REASONING,
    semconv.USAGE_TEXT_INPUT,
    semconv.USAGE_IMAGE_INPUT,
    semconv.USAGE_AUDIO_INPUT,
    semconv.USAGE_TEXT_OUTPUT,
    semconv.USAGE_IMAGE_OUTPUT,
    semconv.USAGE_AUDIO_OUTPUT,
)
_FIRST_CHUNKS: Final = frozenset({semconv.OI_FIRST_TOKEN_EVENT, semconv.TRACELOOP_CHUNK_EVENT})
_STATUS_IN_TEXT: Final = re.compile(r"(?:[A-Za-z]+Error: )?(?:Error code: (\d{3}) - |(\d{3}) [A-Z_]+\. )")
"""How the errors of openai, anthropic and google-genai begin; instrumentations keep only their text."""
_USUAL: Final = {semconv.REQUEST_STREAM: False, semconv.REQUEST_CHOICE_COUNT: 1}
"""What the conventions leave out, because its absence says it."""
_BASE64: Final = "base64"
_OTEL_OPENAI: Final = "opentelemetry.instrumentation.genai.openai"
_OTHER_ERROR: Final = "_OTHER"


def to_conventions(draft: SpanDraft, *, wants_content: bool) -> None:
    """Bring what is left to today's names and words, in place."""
    attributes = draft.attributes
    for older, today in semconv.OLDER_NAMES.items():
        if older in attributes:
            attributes.setdefault(today, attributes.pop(older))
    provider = attributes.get(semconv.PROVIDER_NAME)
    if isinstance(provider, str):
        attributes[semconv.PROVIDER_NAME] = provider_name(provider)
    for name in (semconv.RESPONSE_ID, semconv.RESPONSE_MODEL):
        if attributes.get(name) == "":
            del attributes[name]
    for name, usual in _USUAL.items():
        if attributes.get(name) == usual:
            del attributes[name]
    if wants_content:
        _tidy_content(attributes)
    if is_model_call(attributes):
        _put_reasons(attributes)
        _put_usage(attributes)
        if draft.scope_name == _OTEL_OPENAI:
            _mend_dimensions(attributes)
        _put_first_chunk(draft)
        _put_frame(draft)
    if draft.status.status_code is StatusCode.ERROR:
        _put_error(draft)


def _put_reasons(attributes: _Json) -> None:
    given = attributes.get(semconv.FINISH_REASONS)
    given = [given] if isinstance(given, str) else given
    if isinstance(given, (list, tuple)):
        reasons = [reason for reason in map(finish_reason, given) if reason is not None]
        if reasons:
            attributes[semconv.FINISH_REASONS] = reasons
        else:
            del attributes[semconv.FINISH_REASONS]


def _put_usage(attributes: _Json) -> None:
    """Kinds of which there were none go; a part that is larger than the whole was counted outside of it."""
    for name in _PARTS_OF_USAGE:
        if name in attributes and not token_count(attributes[name]):
            del attributes[name]
    given = token_count(attributes.get(semconv.USAGE_INPUT))
    cached = sum(token_count(attributes.get(name)) or 0 for name in _PARTS_OF_USAGE[:2])
    if given is not None and cached > given:
        attributes[semconv.USAGE_INPUT] = given + cached
    if given == 0:  # no answer comes from an empty prompt: it was not counted
        del attributes[semconv.USAGE_INPUT]
        if attributes.get(semconv.USAGE_OUTPUT) == 0:
            del attributes[semconv.USAGE_OUTPUT]


def _mend_dimensions(attributes: _Json) -> None:
    """OpenTelemetry's openai 1.3b0 takes the letters of a base64 vector for its dimensions (four bytes each)."""
    letters = token_count(attributes.get(semconv.EMBEDDINGS_DIMENSION_COUNT))
    is_base64 = _BASE64 in (attributes.get(semconv.REQUEST_ENCODING_FORMATS) or ())
    if is_base64 and letters is not None and letters % 4 == 0:
        attributes[semconv.EMBEDDINGS_DIMENSION_COUNT] = letters * 3 // 16


def _put_first_chunk(draft: SpanDraft) -> None:
    """Time to the first chunk, from the event that some instrumentations set in its place."""
    moments = [event.timestamp for event in draft.events if event.name in _FIRST_CHUNKS]
    if not moments:
        return
    draft.events = tuple(event for event in draft.events if event.name not in _FIRST_CHUNKS)
    draft.attributes.setdefault(semconv.REQUEST_STREAM, True)
    start = draft.start_ns
    if start is not None and min(moments) >= start:
        draft.attributes.setdefault(semconv.TIME_TO_FIRST_CHUNK, (min(moments) - start) / 1e9)


def _put_frame(draft: SpanDraft) -> None:
    """Name, kind and status, as the conventions have them for a call to a model."""
    attributes = draft.attributes
    model = attributes.get(semconv.REQUEST_MODEL)
    operation = attributes[semconv.OPERATION_NAME]
    if isinstance(model, str) and model:
        draft.name = f"{operation} {model}"
        if draft.kind is SpanKind.INTERNAL:
            draft.kind = SpanKind.CLIENT
    if draft.status.status_code is StatusCode.OK:
        draft.status = Status(StatusCode.UNSET)


def _put_error(draft: SpanDraft) -> None:
    """The type as the exception event has it, in full; the HTTP status out of the error's text."""
    attributes = draft.attributes
    raised = next((event.attributes or {} for event in draft.events if event.name == semconv.EXCEPTION_EVENT), {})
    kind = raised.get(semconv.EXCEPTION_TYPE) or attributes.get(semconv.ERROR_TYPE) or _OTHER_ERROR
    attributes[semconv.ERROR_TYPE] = kind
    if semconv.RESPONSE_ID not in attributes and semconv.USAGE_OUTPUT not in attributes:
        attributes.pop(semconv.RESPONSE_MODEL, None)  # nobody answered; it is the model that was asked
    for text in (draft.status.description, raised.get(semconv.EXCEPTION_MESSAGE)):
        found = _STATUS_IN_TEXT.match(text) if isinstance(text, str) else None
        if found is not None:
            attributes.setdefault(semconv.HTTP_STATUS_CODE, int(found[1] or found[2]))


# --- content --------------------------------------------------------------------------------------------------


def _tidy_content(attributes: _Json) -> None:
    for name, tidy in _CONTENT.items():
        value = attributes.get(name)
        read = parsed(value) if isinstance(value, str) else value
        if read is None:
            continue
        made = tidy(read)
        if made:
            attributes[name] = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
        else:
            del attributes[name]


_CONTENT: Final[dict[str, Callable[[Any], list[Any]]]] = {
    semconv.INPUT_MESSAGES: lambda raw: messages_from(raw, "user"),
    semconv.OUTPUT_MESSAGES: lambda raw: messages_from(raw, "assistant"),
    semconv.SYSTEM_INSTRUCTIONS: parts_from,
    semconv.TOOL_DEFINITIONS: as_tools,
}
