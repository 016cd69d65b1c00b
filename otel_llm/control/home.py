"""Where our spans begin: the provider that was given, the program's own, or one that is made here.

The program may set its provider after us (`otel-llm run` is always first). Then we move to it, as we would have joined
it had it been there, and it is told apart from one that we made: whose spans reach our backends depends on that.
"""

from __future__ import annotations

import inspect
import logging
import threading
import weakref
from typing import TYPE_CHECKING, Any, cast

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from otel_llm import semconv
from otel_llm.control.gevent_forks import ForkableProvider
from otel_llm.control.stand_in import StandIn, take_place
from otel_llm.faults import guarded
from otel_llm.instrumentation.divert import Diversion, divert

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan, Span

    from otel_llm.config import Config

__all__ = ["Home"]

_logger = logging.getLogger(__name__)


class Home:
    """The tracer provider of a pipeline.

    `owned` is True for one that was made here.
    """

    def __init__(self, provider: TracerProvider, *, owned: bool, stand_in: StandIn | None = None) -> None:
        self.provider = provider
        self.owned = owned
        self._stand_in = stand_in
        self._processor: SpanProcessor | None = None
        self._on_move: Callable[[], None] = lambda: None
        self._diversions: list[Diversion] = []

    @classmethod
    def find(cls, config: Config, given: TracerProvider | None) -> Home:
        """`given`, else the program's global provider, else one that is made here and stands in for a global one."""
        if given is not None and not isinstance(given, StandIn):
            return cls(given, owned=False)
        found = trace.get_tracer_provider()
        if _can_be_joined(found):
            return cls(cast("TracerProvider", found), owned=False)
        made = _made_provider(config)
        if isinstance(found, StandIn):
            found.replace_own(made)
            return cls(made, owned=True, stand_in=found)
        if isinstance(found, trace.ProxyTracerProvider):
            stand_in = StandIn(made)
            if take_place(stand_in):
                return cls(made, owned=True, stand_in=stand_in)
            trace.set_tracer_provider(made)
        else:
            _say_alone(found)
        return cls(made, owned=True)

    def settle(self, processor: SpanProcessor, on_move: Callable[[], None]) -> None:
        """Have `processor` see the spans of the provider, and of the one that the program may set later.

        `on_move` is called when `provider` has become another one.
        """
        self._processor = processor
        self._on_move = on_move
        if self.owned:
            self.provider.add_span_processor(processor)
        else:
            self._join()
        if self._stand_in is not None:
            self._divert(trace.set_tracer_provider, self._set_by_program)

    @property
    def alone(self) -> bool:
        """Whether our processor is the only one that sees the spans of the provider."""
        active = getattr(self.provider, "_active_span_processor", None)  # the SDK has no public way to ask
        seeing: tuple[SpanProcessor, ...] = getattr(active, "_span_processors", ())
        return len(seeing) == 1 and seeing[0] is self._processor

    def flush(self, timeout: float) -> None:
        """Have the exporters of a provider of the program's send what has ended, for at most `timeout` seconds."""
        flush = None if self.owned else getattr(self.provider, "force_flush", None)
        if not callable(flush):
            return
        # the SDK's `force_flush` pays no heed to its own timeout
        worker = threading.Thread(
            target=guarded, args=("flushing the program's exporters", flush), name="otel_llm flush", daemon=True
        )
        try:
            worker.start()
        except RuntimeError:  # the interpreter is ending and starts no threads: the SDK's own `atexit` comes next
            return
        worker.join(timeout)

    def leave(self) -> None:
        """Let go of the provider; it stays as it is, with a processor that does nothing."""
        for diversion in self._diversions:
            diversion.restore()
        self._diversions.clear()
        if not self.owned:
            door = _door_of(self.provider)
            if door is not None and door.target is self._processor:
                door.target = None

    def _set_by_program(self, original: Callable[..., None], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """The program sets a provider: it gets what it wants, and we come along."""
        original(*args, **kwargs)
        guarded("joining a provider that was set later", self._follow)

    def _follow(self) -> None:
        found = trace.get_tracer_provider()
        stand_in = self._stand_in
        if stand_in is None or found is stand_in or found is self.provider:
            return
        if not _can_be_joined(found):
            _say_alone(found)
            return
        self.provider, self.owned = cast("TracerProvider", found), False
        self._join()
        _logger.info(
            "The program has set a tracer provider (%s). Spans of otel_llm begin on it from now on.",
            type(found).__module__,
        )
        for guest in stand_in.guests:
            _add_processor(self.provider, guest)
        self._on_move()

    def _join(self) -> None:
        assert self._processor is not None, "a home is settled before it moves"
        door = _door_of(self.provider)
        if door is None:
            door = _new_door(self.provider)
            _add_processor(self.provider, door)
        door.target = self._processor
        replace = getattr(type(self.provider), "set_provider", None)
        if inspect.isfunction(replace):  # a shell around a provider that is exchanged at each configuration (Logfire)
            self._divert(replace, self._exchanged)

    def _exchanged(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A shell has got another provider inside, which knows nothing of our door."""
        result = original(*args, **kwargs)
        door = _door_of(self.provider)
        if args and args[0] is self.provider and door is not None:
            guarded("joining a provider again", _add_processor, self.provider, door)
        return result

    def _divert(self, function: Callable[..., Any], handler: Callable[..., Any]) -> None:
        diversion = divert(function, handler)
        if diversion is not None:
            self._diversions.append(diversion)


class _Door(SpanProcessor):
    """The one processor that a provider of the program's gets from us, whatever runs behind it, now and later."""

    def __init__(self) -> None:
        self.target: SpanProcessor | None = None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        target = self.target
        if target is not None:
            target.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        target = self.target
        if target is not None:
            target.on_end(span)

    def shutdown(self) -> None:
        """The provider is done, and we may not be: what is queued is handed over, what still ends is taken."""
        self.force_flush()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        target = self.target
        return target is None or target.force_flush(timeout_millis)


_doors: list[tuple[weakref.ref[Any], _Door]] = []
"""A provider need not be hashable, so this is no mapping."""


def _door_of(provider: object) -> _Door | None:
    return next((door for reference, door in _doors if reference() is provider), None)


def _new_door(provider: object) -> _Door:
    door = _Door()
    _doors[:] = [entry for entry in _doors if entry[0]() is not None]
    _doors.append((weakref.ref(provider), door))
    return door


def _can_be_joined(provider: object) -> bool:
    """Whether processors can be added: the SDK's providers, Phoenix's, Logfire's; not ddtrace's, not a proxy."""
    return not isinstance(provider, trace.ProxyTracerProvider) and callable(
        getattr(provider, "add_span_processor", None)
    )


def _add_processor(provider: Any, processor: SpanProcessor) -> None:
    """Add `processor` beside what is there. Phoenix's provider would take its own exporter away for it."""
    keeps = "replace_default_processor" in inspect.signature(provider.add_span_processor).parameters
    provider.add_span_processor(processor, **({"replace_default_processor": False} if keeps else {}))


def _say_alone(found: object) -> None:
    _logger.info(
        "The program's tracer provider (%s) takes no processors; LLM spans go through a provider of their own and that "
        "one is left alone.",
        type(found).__module__,
    )


def _made_provider(config: Config) -> TracerProvider:
    """A provider whose trace ids carry their time, so that every backend and process derives the same ids."""
    from otel_llm.backends.opik.ids import Uuid7IdGenerator  # noqa: PLC0415  (not needed where a provider exists)
    from otel_llm.backends.opik.trace_time import TraceTimeSampler  # noqa: PLC0415

    facts: dict[str, Any] = {semconv.SERVICE_NAME: config.service_name}
    if config.environment is not None:
        facts[semconv.DEPLOYMENT_ENVIRONMENT] = config.environment
    try:
        resource = Resource.create(facts)
    except RuntimeError:  # its detectors run in threads, and the system gives none
        resource = OTELResourceDetector().detect().merge(Resource(facts))
    if not resource.schema_url:  # a detector that names another version keeps it: merging both would lose our facts
        resource = resource.merge(Resource({}, semconv.RESOURCE_SCHEMA_URL))
    provider = ForkableProvider(resource=resource, id_generator=Uuid7IdGenerator(), shutdown_on_exit=False)
    provider.sampler = TraceTimeSampler(provider.sampler)
    return provider
