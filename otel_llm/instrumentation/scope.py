"""Make an OTel context current for a while, and undo it quietly wherever that happens to run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry import context as otel_context

from otel_llm.context import leave

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["Scope"]


class Scope:
    """`context` is the current one until `leave`, which may be called any number of times.

    A coroutine or generator that is thrown away is closed by whoever collects it, in another context. What is to be
    undone is in the one that it began in (`otel_llm.context.leave`). OpenTelemetry's `detach` would log an error with a
    traceback into the program's log.
    """

    __slots__ = ("_context", "_token")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._token: object = otel_context.attach(context)

    def leave(self) -> None:
        """Give back the context that was current before."""
        token = self._token
        if token is None:
            return
        try:
            leave(token, self._context)
        except RuntimeError:  # used: an interrupted `leave` got that far
            return
        finally:
            self._token = None
