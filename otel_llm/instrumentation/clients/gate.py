"""A tracer provider for an instrumentation that can be told to be silent.

Some instrumentations leave wrappers behind when they are ended (OpenLLMetry's `openai` does). What they begin after we
have let go is then no span at all: not ours, and not one in the program's other exporters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from otel_llm.instrumentation.record_all import counting_everything

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["Gate"]


class Gate(trace.TracerProvider):
    """Hands out tracers of `provider` that record every span, sampled or not, until `close`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._inner = counting_everything(provider)
        self.open = True

    def close(self) -> None:
        """From now on, all tracers that were handed out begin no spans."""
        self.open = False

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
        """A tracer of the provider's own kind."""
        assert self._inner is not None
        tracer = self._inner.get_tracer(*args, **kwargs)
        if isinstance(tracer, SdkTracer):  # a copy already, which nobody else has
            tracer.sampler = _Gated(tracer.sampler, self)
        return tracer


class _Gated(Sampler):
    def __init__(self, delegate: Sampler, gate: Gate) -> None:
        self._delegate = delegate
        self._gate = gate

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        """Drop everything once the gate is closed."""
        if not self._gate.open:
            return SamplingResult(Decision.DROP)
        return self._delegate.should_sample(*args, **kwargs)

    def get_description(self) -> str:
        """Like the sampler behind it."""
        return f"Gated({self._delegate.get_description()})"
