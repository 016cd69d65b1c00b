"""Opens a span once and closes it once: the only place of ours that starts LLM spans.

Built on `opentelemetry-util-genai`, which owns span names, kinds, the conventions' attributes and metrics,
and which silences (and is enriched by) GenAI instrumentations that run inside ours. What it does not know
(tenant, cost, response cache, attempts) is added here as plain attributes.

    recording = recorder.start(Call(operation="chat", provider="openai", model="gpt-4o-mini"))
    ...                                    # recording.context is current; run the call
    recording.suspend()                    # give the caller its own context back (a stream is still open)
    recording.end()  or  recording.fail(error)
"""

from __future__ import annotations

import threading
import timeit
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.invocation import (
    CLIENT_EMBEDDING_CONTEXT_KEY,
    CLIENT_INFERENCE_CONTEXT_KEY,
    CLIENT_RETRIEVAL_CONTEXT_KEY,
    EmbeddingInvocation,
    Error,
    InferenceInvocation,
    RetrievalInvocation,
)

from otel_llm import semconv
from otel_llm.context import (
    ACTIVE_CALL_KEY,
    NOBODY,
    OUTER_CONTEXT_KEY,
    Identity,
    active_call,
    identity_from_baggage,
    identity_in,
    outside_calls,
    with_identity,
)
from otel_llm.faults import guarded
from otel_llm.instrumentation.failures import error_text, error_type, http_status
from otel_llm.instrumentation.record_all import counting_everything
from otel_llm.instrumentation.schema import SchemaTracerProvider
from otel_llm.instrumentation.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

__all__ = ["Call", "Recorder", "Recording"]

Invocation: TypeAlias = "InferenceInvocation | EmbeddingInvocation | RetrievalInvocation"

_SCOPE = "otel_llm"


@dataclass(frozen=True, slots=True)
class Call:
    """What is known of a call before it is made; samplers see it."""

    operation: str
    provider: str | None = None
    """The conventions' provider name; None when it is only known later (a router chooses)."""
    model: str | None = None
    server_address: str | None = None
    server_port: int | None = None
    identity: Identity = NOBODY
    """Said by the call itself; what it leaves open comes from the surrounding `tenant` block."""


class Recorder:
    """Starts recordings against one tracer provider (the global one when None).

    With `measures`, upstream's metrics go to `meter_provider` (the global one when None). Without, somebody else
    measures, by the finished spans: all of them are recorded then, sampled or not.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        version: str = "",
        capture_content: bool = False,
        baggage_tenant_key: str | None = None,
        measures: bool = True,
    ) -> None:
        self.capture_content = capture_content
        self._baggage_tenant_key = baggage_tenant_key
        self._measures, self._meter_provider, self._version = measures, meter_provider, version
        self.move_to(tracer_provider)

    def move_to(self, tracer_provider: TracerProvider | None) -> None:
        """Start recordings against another tracer provider from now on; those that run end where they began."""
        tracers = SchemaTracerProvider(tracer_provider if self._measures else counting_everything(tracer_provider))
        self._handler = TelemetryHandler(
            tracer_provider=tracers,
            meter_provider=self._meter_provider if self._measures else NoOpMeterProvider(),
            instrumentation_scope_name=_SCOPE,
            instrumentation_scope_version=self._version,
        )
        self._tracer = trace.get_tracer(_SCOPE, self._version, tracers)

    @property
    def wants_content(self) -> bool:
        """Whether messages should be read at all: for the span, or for an upstream event or upload hook."""
        return self.capture_content or self._handler.should_capture_content()

    def start(self, call: Call, owner: object) -> Recording:
        """Start the span of `call` and make it current.

        `owner` is what a nested call finds through `otel_llm.context.active_call`.
        """
        parent = otel_context.get_current()
        identity = call.identity.over(identity_in(parent))
        if self._baggage_tenant_key is not None:
            identity = identity.over(identity_from_baggage(parent, self._baggage_tenant_key))
        # A call is over, but its context lives on, in litellm's callbacks for one: what runs there is not inside it.
        context = _outside_invocations(parent) if active_call(parent) is not None else parent
        # The identity goes on in the context; baggage does not, or the HTTP client would send it to the provider.
        context = baggage.clear(otel_context.set_value(ACTIVE_CALL_KEY, owner, context))
        context = with_identity(identity, otel_context.set_value(OUTER_CONTEXT_KEY, outside_calls(parent), context))
        return Recording(self._invocation(call, context), parent)

    def start_attempt(self, call: Call, owner: object, number: int) -> Recording:
        """Start the span of one attempt below the logical call that is current."""
        parent = otel_context.get_current()
        context = _outside_invocations(otel_context.set_value(ACTIVE_CALL_KEY, owner, parent))
        invocation = self._invocation(call, context)
        invocation.metric_attributes[semconv.ATTEMPT] = number
        recording = Recording(invocation, parent)
        recording.attributes[semconv.ATTEMPT] = number
        return recording

    def failed_attempt(
        self, call: Call, logical: Recording, number: int, *, start_ns: int, end_ns: int, error: BaseException
    ) -> None:
        """Record an attempt that is over: a child of `logical` with its own start and end (Unix ns)."""
        attributes: dict[str, AttributeValue] = {semconv.OPERATION_NAME: call.operation, semconv.ATTEMPT: number}
        facts: tuple[tuple[str, AttributeValue | None], ...] = (
            (semconv.PROVIDER_NAME, call.provider or semconv.UNKNOWN_PROVIDER),
            (semconv.REQUEST_MODEL, call.model),
            (semconv.SERVER_ADDRESS, call.server_address),
            (semconv.SERVER_PORT, call.server_port),
            (semconv.HTTP_STATUS_CODE, http_status(error)),
            (semconv.ERROR_TYPE, error_type(error)),
        )
        attributes.update({key: value for key, value in facts if value is not None})
        span = self._tracer.start_span(
            f"{call.operation} {call.model}" if call.model else call.operation,
            context=logical.context,
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        guarded("recording an exception", _add_exception, span, error)
        span.end(end_ns)

    def _invocation(self, call: Call, context: Context) -> Invocation:
        if call.operation == semconv.OP_EMBEDDINGS:
            return self._handler.embedding(
                call.provider,  # type: ignore[arg-type]  # None leaves the attribute out, to be set when it is known
                request_model=call.model,
                server_address=call.server_address,
                server_port=call.server_port,
                context=context,
                _attach_to_context=False,
            )
        if call.operation == semconv.OP_RETRIEVAL:
            retrieval = self._handler.retrieval(
                provider=call.provider,
                request_model=call.model,
                server_address=call.server_address,
                server_port=call.server_port,
                context=context,
                _attach_to_context=False,
            )
            if call.model and retrieval.span is not trace.get_current_span(context):  # not somebody else's
                retrieval.span.update_name(f"{call.operation} {call.model}")
            return retrieval
        return self._handler.inference(
            call.provider,  # type: ignore[arg-type]  # as above
            request_model=call.model,
            server_address=call.server_address,
            server_port=call.server_port,
            operation_name=call.operation,
            context=context,
            _attach_to_context=False,
        )


class Recording:
    """One span on its way: facts are filled in, then it ends exactly once, from whichever thread comes first."""

    def __init__(self, invocation: Invocation, parent: Context) -> None:
        self.invocation = invocation
        self.attributes: dict[str, Any] = invocation.attributes
        self.started_at = timeit.default_timer()
        """Seconds on the clock of `timeit.default_timer`."""
        self._ending = threading.Lock()
        self._owns_span = invocation.span is not trace.get_current_span(parent)
        # Attached here, not by upstream: it leaves noisily where a coroutine is thrown away, and it attaches nothing
        # inside somebody else's GenAI invocation, where nested calls must find ours all the same.
        self._scope = Scope(invocation.context)

    @property
    def context(self) -> Context:
        """The OTel context in which this span is the current one."""
        return self.invocation.context

    @property
    def inference(self) -> InferenceInvocation | None:
        """The invocation where it is an inference; embeddings and retrieval have fewer facts."""
        return self.invocation if isinstance(self.invocation, InferenceInvocation) else None

    @property
    def ended(self) -> bool:
        """Whether the span has ended (or is about to)."""
        return self._ending.locked()

    def set(self, facts: Mapping[str, AttributeValue | None]) -> None:
        """Add attributes; None means not known and adds nothing."""
        for key, value in facts.items():
            if value is not None:
                self.attributes[key] = value

    def correct(self, facts: Mapping[str, AttributeValue | None]) -> None:
        """Replace what was given at the start and turned out otherwise; None means not known and replaces nothing."""
        if not self._owns_span:
            return
        for key, value in facts.items():
            if value is not None:
                self.attributes[key] = value
                self.invocation.metric_attributes[key] = value
                self.invocation.span.set_attribute(key, value)  # upstream does not write again what it began with

    def first_chunk(self) -> float | None:
        """Take the time to the first chunk with content, in seconds from the start; once."""
        inference = self.inference
        if inference is None or inference.ttfc_seconds is not None:
            return None
        inference.record_stream_chunk()
        inference.ttfc_seconds = timeit.default_timer() - self.started_at
        return inference.ttfc_seconds

    def suspend(self) -> None:
        """Give the caller the context back that was current before the call."""
        self._scope.leave()

    def end(self) -> bool:
        """End the span as a success. False if it had ended already."""
        if not self._ending.acquire(blocking=False):
            return False
        self.suspend()
        self._name_provider()
        self.invocation.stop()
        return True

    def fail(self, error: BaseException) -> bool:
        """End the span with `error`: status, `error.type`, HTTP status, exception event. False if it had ended."""
        if not self._ending.acquire(blocking=False):
            return False
        self.suspend()
        if self._owns_span:
            guarded("recording an exception", _add_exception, self.invocation.span, error)
        self.set({semconv.HTTP_STATUS_CODE: http_status(error)})
        self._name_provider()
        self.invocation.fail(Error(message=error_text(error), type=error_type(error), exception=error))
        return True

    def _name_provider(self) -> None:
        """Say that a provider is unknown, where nobody named one until the end: the conventions require one."""
        if not self.invocation.provider:
            self.attributes.setdefault(semconv.PROVIDER_NAME, semconv.UNKNOWN_PROVIDER)


def _outside_invocations(context: Context) -> Context:
    """`context` without the mark of a GenAI invocation, inside which upstream would make no span."""
    for key in (CLIENT_INFERENCE_CONTEXT_KEY, CLIENT_EMBEDDING_CONTEXT_KEY, CLIENT_RETRIEVAL_CONTEXT_KEY):
        context = otel_context.set_value(key, None, context)
    return context


def _add_exception(span: trace.Span, error: BaseException) -> None:
    span.record_exception(error)
    span.set_status(trace.Status(trace.StatusCode.ERROR, error_text(error)))
