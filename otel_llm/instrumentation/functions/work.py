"""One piece of the program's own work and its span, from its beginning to its one end."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.instrumentation.failures import error_text, error_type, http_status
from otel_llm.instrumentation.functions.content import input_attributes, output_attributes
from otel_llm.instrumentation.functions.tracing import active
from otel_llm.instrumentation.scope import Scope
from otel_llm.values import to_attribute, to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from otel_llm.instrumentation.functions.operations import Operation
    from otel_llm.instrumentation.functions.tracing import Tracing

__all__ = ["Plan", "Work", "plain_attributes"]

_MOST_ITEMS: Final = 1_000
_MOST_CHARACTERS: Final = 262_144
"""What is kept of what a generator yields: this many items, this much text. The rest goes by unread."""


def plain_attributes(given: Mapping[str, object] | None) -> dict[str, AttributeValue]:
    """What a program wants on a span, in the types that a span takes; None values are left out."""
    if not given:
        return {}
    made = {str(key): to_attribute(value).value for key, value in given.items()}
    return {key: value for key, value in made.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the span of a piece of work is to be; made once for a function, used for each call."""

    what: str
    """The name that the program gave its work."""
    operation: Operation | None = None
    attributes: dict[str, AttributeValue] = field(default_factory=dict)
    captures_input: bool = True
    captures_output: bool = True
    aggregate: Callable[[list[Any]], Any] | None = None
    """Makes one output of all that a generator yielded."""

    def begin(self, arguments: Callable[[], Mapping[str, Any]] | None = None) -> Work | None:
        """Start the span, without making it current; None where nothing is recorded. Never raises.

        `arguments` are read where the policy wants content and the plan captures it.
        """
        tracing = active()
        return None if tracing is None else guarded("starting a span", self._begin, tracing, arguments)

    def _begin(self, tracing: Tracing, arguments: Callable[[], Mapping[str, Any]] | None) -> Work:
        operation = self.operation
        attributes = self.attributes
        name = self.what
        if operation is not None:
            name = f"{operation.name} {name}"
            subject = {operation.subject: self.what} if operation.subject is not None else {}
            constants = dict(operation.constants)
            attributes = {semconv.OPERATION_NAME: operation.name, **constants, **subject, **attributes}
        if arguments is not None and tracing.wants_content and self.captures_input:
            read = guarded("reading arguments", lambda: input_attributes(self.operation_name, arguments()))
            attributes = {**attributes, **(read or {})}
        kind = operation.kind if operation is not None else trace.SpanKind.INTERNAL
        span = tracing.tracer.start_span(
            name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        )
        return Work(self, span, wants_output=tracing.wants_content and self.captures_output)

    @property
    def operation_name(self) -> str | None:
        """Value of `gen_ai.operation.name`; None where the conventions have no word for the work."""
        return self.operation.name if self.operation is not None else None


class Work:
    """A span on its way. It is current between `enter` and `leave`, which may alternate: a generator's steps do."""

    __slots__ = ("_characters", "_context", "_ending", "_items", "_plan", "_scope", "_wants_output", "span")

    def __init__(self, plan: Plan, span: Span, *, wants_output: bool) -> None:
        self.span = span
        self._plan = plan
        self._wants_output = wants_output
        self._context = trace.set_span_in_context(span)
        self._scope: Scope | None = None
        self._ending = threading.Lock()
        self._items: list[Any] = []
        self._characters = 0

    def enter(self) -> None:
        """Make the span current, with everything that its work had attached when it was last left."""
        guarded("entering a span", self._enter)

    def leave(self) -> None:
        """Give the caller its own context back."""
        guarded("leaving a span", self._leave)

    def item(self, value: Any) -> None:
        """The work yielded `value`, which may change later: it is copied now, as far as there is room."""
        if self._wants_output and len(self._items) < _MOST_ITEMS and self._characters < _MOST_CHARACTERS:
            guarded("reading an item", self._keep, value)

    def finish(self, result: Any) -> None:
        """The work is done and came to `result`."""
        self._end(self._told, result)

    def finish_stream(self) -> None:
        """The generator is at its end."""
        self._end(self._told_items, None)

    def close(self) -> None:
        """The generator was closed before its end, which is no error: its reader wanted no more."""
        self._end(self._told_items, "closed")

    def fail(self, error: BaseException) -> None:
        """The work raised `error`."""
        self._end(self._told_failure, error)

    def _enter(self) -> None:
        self._scope = Scope(self._context)

    def _leave(self) -> None:
        scope, self._scope = self._scope, None
        if scope is not None:
            self._context = otel_context.get_current()
            scope.leave()

    def _keep(self, value: Any) -> None:
        plain = to_plain(value, max_bytes=_MOST_CHARACTERS - self._characters).value
        self._items.append(plain)
        self._characters += len(plain) if isinstance(plain, str) else len(str(plain))

    def _end(self, tell: Callable[[Any], None], fact: Any) -> None:
        self.leave()
        if not self._ending.acquire(blocking=False):
            return
        guarded("describing a span", tell, fact)
        guarded("ending a span", self.span.end)

    def _told(self, result: Any) -> None:
        if self._wants_output:
            self.span.set_attributes(output_attributes(self._plan.operation_name, result))

    def _told_items(self, how: str | None) -> None:
        if how is not None:
            self.span.set_attribute(semconv.STREAM_END, how)
        if self._items:
            self._told(self._aggregated())

    def _aggregated(self) -> Any:
        if self._plan.aggregate is not None:
            return guarded("the program's aggregation", self._plan.aggregate, self._items)
        return "".join(self._items) if all(isinstance(item, str) for item in self._items) else self._items

    def _told_failure(self, error: BaseException) -> None:
        self.span.set_attribute(semconv.ERROR_TYPE, error_type(error))
        status = http_status(error)
        if status is not None:
            self.span.set_attribute(semconv.HTTP_STATUS_CODE, status)
        self.span.set_status(trace.Status(trace.StatusCode.ERROR, error_text(error)))
        if self._items:
            self._told(self._aggregated())
        self.span.record_exception(error)
