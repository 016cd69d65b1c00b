"""The two ways in which the recorder opens a span: directly, and through `opentelemetry-util-genai`.

directly     the span of the program's tracer, with the conventions' names as this package spells them. What is put on
             it can wait until the call is over (docs/decisions/0092).
upstream's   where its own metrics, events or upload hooks are wanted, and inside an invocation of somebody else's
             instrumentation, which upstream lets ours enrich instead of making a second span.

Both keep GenAI instrumentations that run inside the call, and that are built on upstream, from making spans of it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import trace
from opentelemetry.context import Context

from otel_llm import semconv
from otel_llm.context import begin_call_in
from otel_llm.faults import guarded
from otel_llm.instrumentation.failures import ReportedError, error_text, error_type

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span, Tracer

    from otel_llm.instrumentation.recorder import Call

__all__ = [
    "DirectOpening",
    "Opening",
    "Upstream",
    "add_exception",
    "is_inside_foreign",
    "outside_invocations",
    "upstream_is_wanted",
]

_UPSTREAM: Final = "opentelemetry.util.genai.invocation"
_CONVERSATION: Final = "opentelemetry.util.genai.conversation_id"
_EVENT_MODES: Final = frozenset({"EVENT_ONLY", "SPAN_AND_EVENT"})

# OpenTelemetry keeps the names of its context keys to itself; a context with nothing else in it tells them.
(_SPAN_KEY,) = trace.set_span_in_context(trace.INVALID_SPAN, Context())


class Opening(Protocol):
    """A span that has begun."""

    span: Span
    context: Context
    """In which the span is the current one."""
    owns_span: bool
    """False where the facts of the call go to somebody else's span."""
    later: bool
    """Whether attributes may be put on the span when it has ended."""

    def chunk(self) -> None:
        """A chunk of a stream has come."""

    def correct(self, key: str, value: Any) -> None:
        """A fact that the span began with has turned out otherwise."""

    def finish(self, attributes: Mapping[str, Any], error: BaseException | None) -> None:
        """End the span with these attributes, as a failure where there is an error."""


class DirectOpening:
    """A span of the program's tracer provider.

    `unread` says that nobody reads what it begins with but our own start stages, who get to know it all the same.
    """

    __slots__ = ("context", "later", "owns_span", "span")

    def __init__(
        self, tracer: Tracer, call: Call, around: dict[str, object], facts: dict[str, Any], *, unread: bool = False
    ) -> None:
        known = {key: value for key, value in facts.items() if value is not None}
        self.span = tracer.start_span(
            call.span_name,
            begin_call_in(around, known),
            trace.SpanKind.CLIENT,
            None if unread else known,
            record_exception=False,
            set_status_on_exception=False,
        )
        if unread:
            _put_on(self.span, known)
        around[_SPAN_KEY] = self.span
        mark = _mark(call.operation)
        if mark is not None:
            around[mark[0]] = mark[1]
        self.context = Context(around)
        self.owns_span = True
        self.later = self.span.is_recording()

    def chunk(self) -> None:
        """Nothing is counted by chunks."""

    def correct(self, key: str, value: Any) -> None:
        """The attribute of the end overwrites that of the start."""

    def finish(self, attributes: Mapping[str, Any], error: BaseException | None) -> None:
        """End the span."""
        span = self.span
        if attributes:
            span.set_attributes(attributes)
        if error is not None:
            guarded("recording an exception", add_exception, span, error)
        span.end()


def add_exception(span: Span, error: BaseException) -> None:
    """Put an exception on a span: status and `error.type`, which belong together, and the event where it was raised."""
    span.set_status(trace.Status(trace.StatusCode.ERROR, error_text(error)))
    guarded("recording an exception", span.set_attribute, semconv.ERROR_TYPE, error_type(error))
    if not isinstance(error, ReportedError):
        span.record_exception(error)  # asks the exception for its text, and may fail


def _put_on(span: Span, known: dict[str, Any]) -> None:
    """Put on a span that has just begun what the SDK would look at piece by piece, and is texts and numbers.

    That look is a seventh of all that recording a call takes its caller. Another SDK may keep attributes elsewhere.
    """
    kept = getattr(getattr(span, "_attributes", None), "_dict", None)
    if type(kept) is dict:
        kept.update(known)
    else:
        span.set_attributes(known)


class UpstreamOpening:
    """An invocation of upstream's."""

    __slots__ = ("_invocation", "context", "later", "owns_span", "span")

    def __init__(self, invocation: Any, parent: Context) -> None:
        self._invocation = invocation
        self.context: Context = invocation.context
        self.span: Span = invocation.span
        self.owns_span = invocation.span is not trace.get_current_span(parent)
        self.later = False

    def chunk(self) -> None:
        """Upstream measures the time between chunks."""
        if hasattr(self._invocation, "ttfc_seconds"):
            self._invocation.record_stream_chunk()

    def correct(self, key: str, value: Any) -> None:
        """Put it on at once: upstream does not write again what it began with."""
        if self.owns_span:
            self._invocation.metric_attributes[key] = value
            self.span.set_attribute(key, value)

    def finish(self, attributes: Mapping[str, Any], error: BaseException | None) -> None:
        """Tell upstream what its metrics are made of, and end the invocation."""
        from opentelemetry.util.genai.invocation import Error  # noqa: PLC0415  (loaded with the invocation)

        invocation = self._invocation
        invocation.attributes.update(attributes)
        for name, key in (
            ("input_tokens", semconv.USAGE_INPUT),
            ("output_tokens", semconv.USAGE_OUTPUT),
            ("response_model_name", semconv.RESPONSE_MODEL),
            ("ttfc_seconds", semconv.TIME_TO_FIRST_CHUNK),
        ):
            if key in attributes and hasattr(invocation, name):
                setattr(invocation, name, attributes[key])
        if error is None:
            invocation.stop()
            return
        if self.owns_span:
            guarded("recording an exception", add_exception, self.span, error)
        raised = None if isinstance(error, ReportedError) else error
        invocation.fail(Error(message=error_text(error), type=error_type(error), exception=raised))


class Upstream:
    """Opens invocations of `opentelemetry-util-genai`."""

    def __init__(self, tracers: trace.TracerProvider, meters: Any, scope: str, version: str) -> None:
        from opentelemetry.util.genai.handler import TelemetryHandler  # noqa: PLC0415  (most programs do without)

        self._handler = TelemetryHandler(
            tracer_provider=tracers,
            meter_provider=meters,
            instrumentation_scope_name=scope,
            instrumentation_scope_version=version,
        )

    @property
    def wants_content(self) -> bool:
        """Whether an event or an upload hook wants messages."""
        return self._handler.should_capture_content()

    def open(self, call: Call, around: dict[str, object], parent: Context) -> UpstreamOpening:
        """Begin an invocation."""
        target: Any = {
            "request_model": call.model,
            "server_address": call.server_address,
            "server_port": call.server_port,
            "context": Context(around),
            "_attach_to_context": False,
        }
        # A provider of None leaves the attribute out, to be set when it is known.
        provider: Any = call.provider
        if call.operation == semconv.OP_EMBEDDINGS:
            return UpstreamOpening(self._handler.embedding(provider, **target), parent)
        if call.operation == semconv.OP_RETRIEVAL:
            opening = UpstreamOpening(self._handler.retrieval(provider=provider, **target), parent)
            if call.model and opening.owns_span:
                opening.span.update_name(call.span_name)
            return opening
        return UpstreamOpening(self._handler.inference(provider, operation_name=call.operation, **target), parent)


def upstream_is_wanted() -> bool:
    """Whether the environment asks for events or uploads of messages, which are upstream's."""
    environ = os.environ
    mode = environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").strip().upper()
    emits = environ.get("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "").strip().lower() == "true"
    return mode in _EVENT_MODES or emits or bool(environ.get("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK", "").strip())


def is_inside_foreign(around: Mapping[str, object]) -> bool:
    """Whether the context is that of an invocation or conversation that somebody else has begun through upstream."""
    marks = _marks()
    if marks is None:
        return False
    return any(around.get(key) not in (None, mark) for key, mark in marks.values()) or any(
        key.startswith(_CONVERSATION) for key in around
    )


def outside_invocations() -> dict[str, object]:
    """What takes the marks of invocations out of a context, inside which upstream would make no span."""
    marks = _marks()
    return {} if marks is None else {key: None for key, _ in marks.values()}


_known_marks: dict[str, tuple[str, object]] = {}


def _marks() -> dict[str, tuple[str, object]] | None:
    """For each kind of operation the context key, and the value, by which upstream knows that one is running.

    None where nobody has loaded upstream.
    """
    loaded: Any = sys.modules.get(_UPSTREAM)
    if loaded is None:
        return None
    if not _known_marks:
        for operation, key, data in (
            ("", loaded.CLIENT_INFERENCE_CONTEXT_KEY, loaded.InferenceData),
            (semconv.OP_EMBEDDINGS, loaded.CLIENT_EMBEDDING_CONTEXT_KEY, loaded.EmbeddingData),
            (semconv.OP_RETRIEVAL, loaded.CLIENT_RETRIEVAL_CONTEXT_KEY, loaded.RetrievalData),
        ):
            deaf = type("Deaf", (data,), {"merge": lambda *_, **__: None, "__eq__": object.__eq__, "__hash__": None})
            _known_marks[operation] = (key, deaf())
    return _known_marks


def _mark(operation: str) -> tuple[str, object] | None:
    marks = _marks()
    return None if marks is None else marks.get(operation) or marks[""]
