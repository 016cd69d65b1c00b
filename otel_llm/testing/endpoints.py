"""The operations that the fake provider serves, and the format in which it answers each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from otel_llm.testing import anthropic_text, openai_other, openai_text
from otel_llm.testing.generation import Event, Generation
from otel_llm.testing.script import Reply, Usage

__all__ = ["Answer", "Computed", "Endpoint", "Spoken", "endpoint_for", "error_body", "error_event"]

Json: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = "dict[str, Any] | str | bytes"


@dataclass(frozen=True, slots=True)
class Spoken:
    """An operation whose answer is text that the model generates, and that a test may script."""

    whole: Callable[[Json, Generation], Answer]
    streamed: Callable[[Json, Generation], Iterator[Event]] | None = None
    unscripted: Reply | None = None
    """What is said where nothing is scripted; None: what was said last is repeated."""


@dataclass(frozen=True, slots=True)
class Computed:
    """An operation whose answer follows from the request alone."""

    whole: Callable[[Json, int], tuple[Answer, Usage | None]]
    content_type: str = "application/json"


Endpoint: TypeAlias = "Spoken | Computed"


def _transcript(request: Json, generation: Generation) -> Answer:
    """The answer to `POST /v1/audio/transcriptions`; whisper bills seconds, newer models tokens."""
    if request.get("response_format") in {"text", "srt", "vtt"}:
        return generation.text
    usage = generation.usage
    if generation.model.startswith("whisper"):
        return {"text": generation.text, "usage": {"type": "duration", "seconds": 1}}
    tokens = {
        "type": "tokens",
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    return {"text": generation.text, "usage": tokens}


# Longest first: `chat/completions` also ends in `completions`.
_ENDPOINTS: dict[str, Endpoint] = {
    "chat/completions": Spoken(lambda _, said: openai_text.chat_body(said), openai_text.chat_events),
    "completions": Spoken(lambda _, said: openai_text.completion_body(said), openai_text.completion_events),
    "responses": Spoken(openai_text.response_body, openai_text.response_events),
    "messages": Spoken(
        lambda _, said: anthropic_text.message_body(said), lambda _, said: anthropic_text.message_events(said)
    ),
    "audio/transcriptions": Spoken(_transcript, unscripted=Reply(("A fake transcript.",))),
    "embeddings": Computed(lambda request, _: openai_other.embeddings_body(request)),
    "moderations": Computed(lambda request, serial: (openai_other.moderations_body(request, serial), None)),
    "images/generations": Computed(lambda request, _: (openai_other.images_body(request), None)),
    "images/edits": Computed(lambda request, _: (openai_other.images_body(request), None)),
    "audio/speech": Computed(lambda _, __: (openai_other.SPEECH, None), content_type="audio/mpeg"),
    "rerank": Computed(openai_other.rerank_body),
}
SERVED = tuple(_ENDPOINTS)
"""The paths that are served, each under any prefix."""


def endpoint_for(path: str) -> Endpoint | None:
    """The operation behind a path, whatever prefix it has; None if there is none."""
    trimmed = path.rstrip("/")
    return next((found for suffix, found in _ENDPOINTS.items() if trimmed.endswith("/" + suffix)), None)


# --- errors ----------------------------------------------------------------------------------------------

_OPENAI_ERRORS = {
    400: ("invalid_request_error", "invalid_value", "The request is not valid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("insufficient_permissions", "forbidden", "You are not allowed to do this."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached."),
}
_ANTHROPIC_ERRORS = {
    400: ("invalid_request_error", "The request is not valid."),
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "Your API key is not allowed to do this."),
    404: ("not_found_error", "The model does not exist."),
    413: ("request_too_large", "The request is too large."),
    429: ("rate_limit_error", "This request would exceed your rate limit."),
    529: ("overloaded_error", "Overloaded"),
}


def _speaks_anthropic(path: str) -> bool:
    return path.rstrip("/").endswith("/messages")


def error_body(path: str, status: int, message: str = "") -> dict[str, Any]:
    """The usual body of an error with `status`, in the format of whoever serves `path`."""
    if _speaks_anthropic(path):
        kind, usual = _ANTHROPIC_ERRORS.get(status, ("api_error", "Internal server error"))
        return {"type": "error", "error": {"type": kind, "message": message or usual}}
    kind, code, usual = _OPENAI_ERRORS.get(status, ("server_error", "server_error", "The server had an error."))
    return {"error": {"message": message or usual, "type": kind, "param": None, "code": code}}


def error_event(path: str) -> Event:
    """The event with which a provider breaks off a stream that it can no longer serve."""
    if _speaks_anthropic(path):
        return Event(error_body(path, 529), name="error")
    if path.rstrip("/").endswith("/responses"):
        message = "The server had an error."
        return Event({"type": "error", "code": "server_error", "message": message, "param": None}, name="error")
    return Event(error_body(path, 500))
