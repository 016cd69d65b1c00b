"""`with otel_llm.span("name"):` and `async with`: a span around a few lines."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from otel_llm.faults import guarded
from otel_llm.instrumentation.functions.handle import Handle
from otel_llm.instrumentation.functions.operations import operation_named
from otel_llm.instrumentation.functions.work import Plan, Work, plain_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from otel_llm.instrumentation.functions.operations import OperationName

__all__ = ["span"]


class span(AbstractContextManager["Handle"], AbstractAsyncContextManager["Handle"]):  # noqa: N801  (reads as a statement)
    """Record a block as a span named `name`; LLM calls and other spans inside become its children.

    `operation` is one of the GenAI conventions' kinds of work (`tool`, `agent`, `workflow`, `plan`, `retrieval`),
    `attributes` are set on the span, `input` is recorded where the content policy allows it. Gives a `Handle`; its
    `output` and `set` add what is only known later. An exception goes through unchanged, and marks the span.

    Raises `ValueError` for an unknown operation. One object may be used for several blocks, also nested ones.
    """

    def __init__(
        self,
        name: str,
        *,
        operation: OperationName | None = None,
        attributes: Mapping[str, object] | None = None,
        input: Any = None,  # noqa: A002  (the word that the handle and the backends use)
    ) -> None:
        text = name if type(name) is str else guarded("the name of a span", str, name) or f"<{type(name).__name__}>"
        self._plan = Plan(text, operation_named(operation), plain_attributes(attributes))
        self._input = input
        self._open: list[Work | None] = []

    def __enter__(self) -> Handle:
        work = self._plan.begin()
        self._open.append(work)
        if work is None:
            return Handle(trace.INVALID_SPAN)
        handle = Handle(work.span)
        if self._input is not None:
            handle.input(self._input)
        work.enter()
        return handle

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        work = self._open.pop()
        if work is None:
            return
        if error is None:
            work.finish(None)
        else:
            work.fail(error)

    async def __aenter__(self) -> Handle:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)
