"""What a program finds as its global tracer provider while it has set none: ours, until it does.

OpenTelemetry lets a global provider be set once. Were ours set that way, a program (or Azure Monitor, Logfire, Phoenix,
Sentry ...) that sets its own later would be refused, and its spans would go nowhere. So ours only stands in, as
OpenTelemetry's own proxy does: it takes the place and leaves the one setting to whoever comes. And it passes for the
proxy with those who look whether a provider is there before they set theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from otel_llm.control.late_tracer import LateTracer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Tracer
    from opentelemetry.util.types import Attributes

__all__ = ["StandIn", "take_place"]


class StandIn(trace.ProxyTracerProvider):
    """Hands spans to `own`, and to the program's provider once there is one.

    Tracers that were taken from it follow, as those of OpenTelemetry's proxy do. Whatever else one asks a provider of
    the SDK for (`resource`, `force_flush` ...) is answered by the one that spans begin on.
    """

    def __init__(self, own: TracerProvider) -> None:
        self._own = own
        self.guests: tuple[SpanProcessor, ...] = ()
        """Processors that the program has added: they see the spans of whichever provider it is."""

    @property
    def provider(self) -> trace.TracerProvider:
        """The provider that spans begin on now."""
        found = trace.get_tracer_provider()
        return self._own if found is self else found

    def replace_own(self, own: TracerProvider) -> None:
        """Stand in for another provider of ours from now on, with the program's processors on it too."""
        self._own = own
        for guest in self.guests:
            own.add_span_processor(guest)

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes | None = None,
    ) -> Tracer:
        """A tracer that follows."""
        return _FollowingTracer(self, instrumenting_module_name, instrumenting_library_version, schema_url, attributes)

    def add_span_processor(self, processor: SpanProcessor) -> None:
        """Show `processor` the program's spans, wherever they begin."""
        self.guests = (*self.guests, processor)
        self.provider.add_span_processor(processor)  # type: ignore[attr-defined]  # an error the program should see

    def __getattr__(self, name: str) -> Any:
        """What a provider of the SDK has and a proxy has not."""
        return getattr(self.provider, name)


class _FollowingTracer(LateTracer):
    def __init__(self, stand_in: StandIn, *scope: Any) -> None:
        super().__init__()
        self._stand_in = stand_in
        self._scope = scope

    def _provider(self) -> trace.TracerProvider:
        return self._stand_in.provider

    def _tracer_of(self, provider: trace.TracerProvider) -> Tracer:
        return provider.get_tracer(*self._scope)


def take_place(stand_in: StandIn) -> bool:
    """Make `stand_in` the global provider without using up the one time that one may be set; whether it worked."""
    trace._TRACER_PROVIDER = stand_in  # noqa: SLF001  (the public way is the one time)
    return trace.get_tracer_provider() is stand_in
