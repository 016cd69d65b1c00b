"""What an exception says of itself, in the words of the conventions."""

from __future__ import annotations

from otel_llm.faults import guarded

__all__ = ["error_text", "error_type", "http_status"]


def error_type(error: BaseException) -> str:
    """The `error.type` of an exception: its qualified class name, bare for builtins."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def http_status(error: BaseException) -> int | None:
    """The HTTP status that an exception of a provider's client carries, if it does."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and not isinstance(status, bool) and 100 <= status < 600 else None


def error_text(error: BaseException) -> str:
    """The message of an exception; its class name where the exception cannot say it."""
    return guarded("reading an exception's message", str, error) or type(error).__name__
