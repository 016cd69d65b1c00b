"""What an exception says of itself, in the words of the conventions."""

from __future__ import annotations

from typing import Any, Final

from otel_llm.faults import guarded

__all__ = ["ReportedError", "error_text", "error_type", "http_status"]


class ReportedError(Exception):
    """What an answer says went wrong. Nobody raised it, and nobody does."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        """The provider's word for it."""


def error_type(error: BaseException) -> str:
    """The `error.type` of an exception: its qualified class name, bare for builtins; of a reported one its kind."""
    if isinstance(error, ReportedError):
        return error.kind
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def http_status(error: BaseException) -> int | None:
    """The HTTP status that a server answered with, where an exception of a provider's client tells; None for no answer.

    Clients give exceptions a status where no server has sent one: litellm 500 for a refused connection, 408 for its own
    timeout, 500 for a 529. What httpx raised beneath knows better.
    """
    status = getattr(error, "status_code", None) or _sent(error)
    if not isinstance(status, int) or isinstance(status, bool) or not 100 <= status < 600:
        return None
    return _answered(error, status) if status in _DOUBTFUL else status


_DOUBTFUL: Final = frozenset({408, 500, 502, 503, 504})
"""What clients say for want of a status."""
_LINKS: Final = 10
"""Exceptions that are looked at beneath one."""


def _answered(error: BaseException, status: int) -> int | None:
    for _ in range(_LINKS):
        beneath = error.__cause__ or error.__context__
        if beneath is None:
            break
        error = beneath
        kinds = {kind.__name__ for kind in type(error).__mro__ if kind.__module__.startswith("httpx")}
        if "TransportError" in kinds:
            return None
        sent = _sent(error)
        if "HTTPStatusError" in kinds and isinstance(sent, int):
            return sent
    return status


def _sent(error: BaseException) -> Any:
    """The status of the response that an exception of httpx's holds."""
    return getattr(getattr(error, "response", None), "status_code", None)


def error_text(error: BaseException) -> str:
    """The message of an exception; its class name where the exception cannot say it."""
    return guarded("reading an exception's message", str, error) or type(error).__name__
