"""Answers that say the call failed, where litellm raises nothing.

A Responses answer has `status: failed` and an `error`, an assistant's run a `last_error`, a batch a list of `errors`;
a stream of events has one that says so (`response.failed`, or Anthropic's, OpenAI's and Gemini's `error`), and Gemini's
can be nothing but an `error`. Of `incomplete` the finish reason tells: the model was cut short, as in chat.
"""

from __future__ import annotations

from typing import Final

from otel_llm.instrumentation.failures import ReportedError
from otel_llm.instrumentation.litellm.reading import get, items, path, text
from otel_llm.instrumentation.litellm.sse import ServerSentEvents

__all__ = ["FailureWatch", "failure_of"]

_UNSAID: Final = "_OTHER"
"""The conventions' `error.type` of an error without a name."""


def failure_of(answer: object) -> ReportedError | None:
    """What a whole answer says went wrong; None where it says nothing of the kind."""
    if text(get(answer, "status")) == "failed":
        told = get(answer, "error") or get(answer, "last_error") or path(answer, "status_details", "error")
        return _reported(told or next(iter(items(path(answer, "errors", "data"))), None))
    return _failure_in(answer)


class FailureWatch:
    """Looks through the chunks of a stream."""

    def __init__(self) -> None:
        self._events = ServerSentEvents(b'"error"')

    def failure_in(self, chunk: object) -> ReportedError | None:
        """What a chunk says went wrong."""
        if not isinstance(chunk, (bytes, bytearray, str)):
            return _failure_in(chunk)
        return next(filter(None, map(_failure_in, self._events.feed(chunk))), None)


def _failure_in(event: object) -> ReportedError | None:
    kind = text(get(event, "type")) or text(get(event, "event_type"))
    if kind == "response.failed":
        return _reported(get(get(event, "response"), "error"))
    if kind == "error":
        return _reported(get(event, "error") or event)
    bare = get(event, "error") if kind is None and isinstance(event, dict) else None
    return _reported(bare) if isinstance(bare, dict) else None


def _reported(error: object) -> ReportedError:
    """OpenAI names an error by its `code`, Anthropic by its `type`, Gemini by its `status`."""
    kind = text(get(error, "code")) or text(get(error, "type")) or text(get(error, "status"))
    return ReportedError(
        kind if kind and kind != "error" else _UNSAID, text(get(error, "message")) or "no reason given"
    )
