"""What came back: the facts of a complete answer, of whichever kind, put on its span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_llm import semconv
from otel_llm.instrumentation.litellm import messages
from otel_llm.instrumentation.litellm.forms import IMAGES, REALTIME, RUNS
from otel_llm.instrumentation.litellm.guest import asked_at, locate, provider_name, vendor_model
from otel_llm.instrumentation.litellm.pricing import fill_cost
from otel_llm.instrumentation.litellm.reading import get, hidden_of, items, members_of, text
from otel_llm.instrumentation.litellm.request import set_content
from otel_llm.instrumentation.litellm.usage import Usage, fill_saved, fill_usage, read_usage, rerank_usage
from otel_llm.instrumentation.litellm.vendor_ids import vendor_id

if TYPE_CHECKING:
    from otel_llm.instrumentation.litellm.request import Request
    from otel_llm.instrumentation.recorder import Recording

__all__ = ["fill_answer", "fill_billing", "fill_target"]


def fill_answer(recording: Recording, request: Request, answer: object, *, content: bool) -> None:
    """Put everything but billing on the span: ids, models, finish reasons and (where `content`) messages."""
    hidden = hidden_of(answer)
    said = members_of(answer)
    recording.set(
        {
            semconv.RESPONSE_ID: vendor_id(text(said("id"))),
            semconv.RESPONSE_MODEL: _served_model(request, answer),
            semconv.OPENAI_RESPONSE_SERVICE_TIER: text(said("service_tier")),
            semconv.OPENAI_SYSTEM_FINGERPRINT: text(said("system_fingerprint")),
            semconv.FINISH_REASONS: _finish_reasons(request, answer) or None,
            semconv.CACHE_HIT: request.from_cache or (request.bought is None and hidden.get("cache_hit") is True),
        }
    )
    fill_target(recording, request, hidden.get("api_base"))
    if content:
        set_content(recording, _content(request, answer))


def fill_target(recording: Recording, request: Request, api_base: object) -> None:
    """Put provider and server on a span that began before they were known (a router chose them)."""
    address, port = locate(asked_at(api_base) or request.api_base)
    for key, value in (
        (semconv.PROVIDER_NAME, provider_name(request.provider)),
        (semconv.SERVER_ADDRESS, address),
        (semconv.SERVER_PORT, port if address else None),
    ):
        if value is not None:
            recording.attributes.setdefault(key, value)


def fill_billing(recording: Recording, request: Request, answer: object, usage: Usage | None = None) -> None:
    """Put tokens and cost on the span of the call that was billed (or answered from litellm's cache)."""
    usage = usage or _usage(request, answer)
    billed = usage if request.bought is None else read_usage(get(request.bought, "usage"))
    if recording.attributes.get(semconv.CACHE_HIT) is True:
        fill_saved(recording, usage)
    elif billed is not None:
        fill_usage(recording, billed, generates=request.form.operation != semconv.OP_EMBEDDINGS)
        if billed is not usage:
            fill_saved(recording, usage, billed)
    fill_cost(recording, request, answer, usage, billed)


def _served_model(request: Request, answer: object) -> str | None:
    model = text(get(answer, "model"))
    return vendor_model(model, request.provider) if model else None


def _usage(request: Request, answer: object) -> Usage | None:
    if request.form.family == "rerank":
        return rerank_usage(get(answer, "meta"))
    return read_usage(get(answer, "usage"))


def _finish_reasons(request: Request, answer: object) -> list[str]:
    if request.form.family in _WITH_STATUS:
        reason = _response_finish(request.form.family, answer)
        return [reason] if reason else []
    reasons = (messages.finish_reason(get(choice, "finish_reason")) for choice in items(get(answer, "choices")))
    return [reason for reason in reasons if reason]


def _response_finish(family: str, answer: object) -> str | None:
    """Responses and runs have no finish reason; their status and the output items say as much."""
    status = text(get(answer, "status"))
    if status == "incomplete":
        told = get(answer, "incomplete_details") or get(answer, "status_details")
        return messages.finish_reason(get(told, "reason")) or "length"
    if status == "cancelled" and family == REALTIME:
        return status  # somebody spoke
    if status in {"failed", "cancelled"}:
        return "error"
    calls = (text(get(item, "type")) == "function_call" for item in items(get(answer, "output")))
    if status == "requires_action" or any(calls):
        return "tool_call"
    return "stop" if status == "completed" else None


_WITH_STATUS: Final = frozenset({"responses", REALTIME, RUNS})


def _content(request: Request, answer: object) -> dict[str, object]:
    family = request.form.family
    if family in {"completion", "text_completion"} or request.form.native:
        return {semconv.OUTPUT_MESSAGES: messages.chat_output(get(answer, "choices"))}
    if family in {"responses", REALTIME}:
        return {semconv.OUTPUT_MESSAGES: messages.response_output(get(answer, "output"))}
    if family == "transcription":
        return {semconv.OUTPUT_MESSAGES: messages.spoken_output(get(answer, "text"))}
    if family in IMAGES:
        return {semconv.OUTPUT_MESSAGES: messages.image_output(get(answer, "data"))}
    if family == "ocr":
        return {semconv.OUTPUT_MESSAGES: messages.read_pages(get(answer, "pages"))}
    if family == "search":
        return {semconv.RETRIEVAL_DOCUMENTS: messages.found_documents(get(answer, "results"))}
    if family == "rerank":
        return {semconv.RETRIEVAL_DOCUMENTS: messages.ranked_documents(get(answer, "results"))}
    return {}
