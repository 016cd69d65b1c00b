"""Opens a span once and closes it once: the only place of ours that starts LLM spans.

    recording = recorder.start(Call(operation="chat", provider="openai", model="gpt-4o-mini"))
    ...                                    # recording.context is current; run the call
    recording.suspend()                    # give the caller its own context back (a stream is still open)
    recording.end()  or  recording.fail(error)

What a call says is put on its span when it ends, or, where only our pipeline sees the span, a moment after that on the
pipeline's own thread (`Recording.defers`). `openings` has the two ways in which a span is begun.
"""

from __future__ import annotations

import threading
import timeit
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from opentelemetry import baggage, trace
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.metrics import NoOpMeterProvider

from otel_llm import semconv
from otel_llm.context import NOBODY, Identity, active_call, call_context, identity_from_baggage, identity_in
from otel_llm.faults import guarded
from otel_llm.instrumentation.failures import error_type, http_status
from otel_llm.instrumentation.openings import (
    DirectOpening,
    Upstream,
    add_exception,
    is_inside_foreign,
    outside_invocations,
    upstream_is_wanted,
)
from otel_llm.instrumentation.record_all import counting_everything, reads_attributes
from otel_llm.instrumentation.schema import SchemaTracerProvider
from otel_llm.instrumentation.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.types import AttributeValue

    from otel_llm.instrumentation.openings import Opening

__all__ = ["Call", "Facts", "Later", "Recorder", "Recording"]

Fill: TypeAlias = "Callable[[], object]"
"""Puts what is left to say on a recording; called once."""


class Later(Protocol):
    """Whoever can put attributes on a span that has ended, before anybody sees it."""

    @property
    def ready(self) -> bool:
        """Whether nobody else sees the spans that end now."""
        ...

    def fill(self, span_id: int, attributes: Callable[[], Mapping[str, Any]], size: int) -> bool:
        """Put what `attributes()` answers on the span that is about to end; False if that cannot be done any more."""
        ...


_SCOPE = "otel_llm"
_NO_BAGGAGE = dict(baggage.clear(Context()))


class Call(NamedTuple):
    """What is known of a call before it is made; samplers see it."""

    operation: str
    provider: str | None = None
    """The conventions' provider name; None when it is only known later (a router chooses)."""
    model: str | None = None
    server_address: str | None = None
    server_port: int | None = None
    identity: Identity = NOBODY
    """Said by the call itself; what it leaves open comes from the surrounding `tenant` block."""

    @property
    def span_name(self) -> str:
        """As the conventions name the span of a call."""
        return f"{self.operation} {self.model}" if self.model else self.operation


class Facts:
    """What is to stand on a span, under the conventions' names."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def set(self, facts: Mapping[str, AttributeValue | None]) -> None:
        """Add attributes; None means not known and adds nothing."""
        attributes = self.attributes
        for key, value in facts.items():
            if value is not None:
                attributes[key] = value


class Recorder:
    """Starts recordings against one tracer provider (the global one when None).

    With `measures`, upstream's metrics go to `meter_provider` (the global one when None). Without, somebody else
    measures, by the finished spans: all of them are recorded then, sampled or not. `later` takes what can be put on a
    span once it has ended. Calls of nobody's begin with `default_tenant`.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        *,
        version: str = "",
        capture_content: bool = False,
        baggage_tenant_key: str | None = None,
        default_tenant: str | None = None,
        measures: bool = True,
        later: Later | None = None,
    ) -> None:
        self.capture_content = capture_content
        self._default_tenant = default_tenant
        self._baggage_tenant_key = baggage_tenant_key
        self._measures, self._meter_provider, self._version = measures, meter_provider, version
        self._later = later
        self.move_to(tracer_provider)

    def move_to(self, tracer_provider: TracerProvider | None) -> None:
        """Start recordings against another tracer provider from now on; those that run end where they began."""
        self._tracers = SchemaTracerProvider(
            tracer_provider if self._measures else counting_everything(tracer_provider)
        )
        self._tracer = trace.get_tracer(_SCOPE, self._version, self._tracers)
        self._read_at_start = reads_attributes(getattr(self._tracer, "sampler", None))
        self._known_upstream: Upstream | None = None
        self._goes_upstream = self._measures or upstream_is_wanted()

    @property
    def wants_content(self) -> bool:
        """Whether messages should be read at all: for the span, or for an upstream event or upload hook."""
        return self.capture_content or (self._goes_upstream and self._upstream.wants_content)

    def start(self, call: Call, owner: object) -> Recording:
        """Start the span of `call` and make it current.

        `owner` is what a nested call finds through `otel_llm.context.active_call`.
        """
        parent = otel_context.get_current()
        identity = identity_in(parent) if call.identity is NOBODY else call.identity.over(identity_in(parent))
        if self._baggage_tenant_key is not None:
            identity = identity.over(identity_from_baggage(parent, self._baggage_tenant_key))
        around = call_context(parent, identity, owner)
        # The identity goes on in the context; baggage does not, or the HTTP client would send it to the provider.
        around.update(_NO_BAGGAGE)
        if active_call(parent) is not None:
            # A call is over, but its context lives on, in litellm's callbacks for one: what runs there is outside it.
            around.update(outside_invocations())
        return self._begun(call, around, parent, identity)

    def start_attempt(self, call: Call, owner: object, number: int) -> Recording:
        """Start the span of one attempt below the logical call that is current."""
        parent = otel_context.get_current()
        identity = identity_in(parent)
        around = call_context(parent, identity, owner, nested=True)
        around.update(outside_invocations())
        recording = self._begun(call, around, parent, identity)
        recording.correct({semconv.ATTEMPT: number})
        return recording

    def failed_attempt(
        self,
        call: Call,
        logical: Recording,
        number: int,
        *,
        asked: Facts,
        start_ns: int,
        end_ns: int,
        error: BaseException,
    ) -> None:
        """Record an attempt that is over: a child of `logical` with its own start and end (Unix ns).

        `asked` is what it asked for, beyond what `call` says.
        """
        attributes = {**asked.attributes, semconv.OPERATION_NAME: call.operation, semconv.ATTEMPT: number}
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
            call.span_name,
            context=logical.context,
            kind=trace.SpanKind.CLIENT,
            attributes=attributes,
            start_time=start_ns,
            record_exception=False,
            set_status_on_exception=False,
        )
        guarded("recording an exception", add_exception, span, error)
        span.end(end_ns)

    @property
    def _upstream(self) -> Upstream:
        if self._known_upstream is None:
            meters = self._meter_provider if self._measures else NoOpMeterProvider()
            self._known_upstream = Upstream(self._tracers, meters, _SCOPE, self._version)
        return self._known_upstream

    def _begun(self, call: Call, around: dict[str, object], parent: Context, identity: Identity) -> Recording:
        later = self._later if self._later is not None and self._later.ready else None
        unread = later is not None and not self._read_at_start
        return Recording(self._opened(call, around, parent, identity, unread=unread), identity, later, call.provider)

    def _opened(
        self, call: Call, around: dict[str, object], parent: Context, identity: Identity, *, unread: bool
    ) -> Opening:
        if self._goes_upstream or is_inside_foreign(around):
            return self._upstream.open(call, around, parent)
        facts = {
            semconv.OPERATION_NAME: call.operation,
            semconv.PROVIDER_NAME: call.provider,
            semconv.REQUEST_MODEL: call.model,
            semconv.SERVER_ADDRESS: call.server_address,
            semconv.SERVER_PORT: call.server_port,
            semconv.TENANT_ID: self._default_tenant if identity.tenant is None else identity.tenant,
            semconv.USER_ID: identity.user,
            semconv.SESSION_ID: identity.session,
        }
        return DirectOpening(self._tracer, call, around, facts, unread=unread)


class Recording(Facts):
    """One span on its way: facts are filled in, then it ends exactly once, from whichever thread comes first."""

    def __init__(
        self, opening: Opening, identity: Identity, later: Later | None = None, provider: str | None = None
    ) -> None:
        super().__init__()
        self._opening = opening
        self._provider = provider
        self._later = later
        self.identity = identity
        """Whom the call is for."""
        self.started_at = timeit.default_timer()
        """Seconds on the clock of `timeit.default_timer`."""
        self.defers = later is not None and opening.later
        """Whether what is said of the call can wait until its span has ended; then it is given to `end` and `fail`."""
        self._ending = threading.Lock()
        # Attached here, not by upstream: it leaves noisily where a coroutine is thrown away, and it attaches nothing
        # inside somebody else's GenAI invocation, where nested calls must find ours all the same.
        self._scope = Scope(opening.context)

    @property
    def context(self) -> Context:
        """The OTel context in which this span is the current one."""
        return self._opening.context

    @property
    def ended(self) -> bool:
        """Whether the span has ended (or is about to)."""
        return self._ending.locked()

    def correct(self, facts: Mapping[str, AttributeValue | None]) -> None:
        """Replace what was given at the start and turned out otherwise; None means not known and replaces nothing."""
        if not self._opening.owns_span:
            return
        for key, value in facts.items():
            if value is not None:
                self.attributes[key] = value
                self._opening.correct(key, value)

    def first_chunk(self, at: float) -> float | None:
        """Take the time to the first chunk with content, in seconds from the start; once.

        `at` is when it came, on the clock of `timeit.default_timer`.
        """
        attributes = self.attributes
        if semconv.TIME_TO_FIRST_CHUNK in attributes:
            return None
        self._opening.chunk()
        attributes[semconv.REQUEST_STREAM] = True
        seconds = attributes[semconv.TIME_TO_FIRST_CHUNK] = at - self.started_at
        return seconds

    def suspend(self) -> None:
        """Give the caller the context back that was current before the call."""
        self._scope.leave()

    def end(self, fill: Fill | None = None, size: int = 0) -> bool:
        """End the span as a success, once `fill` has put on it what is left. False if it had ended already.

        `size` is about the bytes that `fill` holds on to.
        """
        if not self._ending.acquire(blocking=False):
            return False
        self._finish(fill, size, None)
        return True

    def fail(self, error: BaseException, fill: Fill | None = None, size: int = 0) -> bool:
        """The same with `error`: status, `error.type`, HTTP status, exception event. False if it had ended."""
        if not self._ending.acquire(blocking=False):
            return False
        self._finish(fill, size, error)
        return True

    def _finish(self, fill: Fill | None, size: int, error: BaseException | None) -> None:
        try:
            self.suspend()
            if error is not None:
                self.set({semconv.HTTP_STATUS_CODE: http_status(error), semconv.ERROR_TYPE: error_type(error)})
            self._say_and_end(fill, size, error)
        except BaseException:
            if self._opening.span.is_recording():  # interrupted (Ctrl-C): a call of which less is known is a call, too
                self._opening.span.end()
            raise

    def _say_and_end(self, fill: Fill | None, size: int, error: BaseException | None) -> None:
        opening, later = self._opening, self._later
        if fill is not None and self.defers and later is not None:
            span_id = opening.span.get_span_context()[1]
            if guarded("leaving facts for later", later.fill, span_id, lambda: self._filled(fill), size):
                opening.finish({}, error)
                return
        opening.finish(self._filled(fill), error)

    def _filled(self, fill: Fill | None) -> dict[str, Any]:
        if fill is not None:
            guarded("saying what a call was", fill)
        if not self._provider:  # the conventions require one
            self.attributes.setdefault(semconv.PROVIDER_NAME, semconv.UNKNOWN_PROVIDER)
        return self.attributes
