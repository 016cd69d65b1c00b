"""Our own spans are recorded whatever the program's sampler says, so that every call is counted.

A span that the sampler leaves out becomes one that is recorded and not sampled (RECORD_ONLY): the SDK's word for a span
that processors see and exporters do not. It is done on a tracer of our own; the program's provider, its sampler and its
other tracers stay as they are.
Source: https://opentelemetry.io/docs/specs/otel/trace/sdk/#sampling
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TracerProvider, TraceState
    from opentelemetry.util.types import Attributes

__all__ = ["counting_everything"]


def counting_everything(provider: TracerProvider | None) -> TracerProvider | None:
    """A provider whose tracers are those of `provider` (None: the global one), but record every span."""
    return _RecordingProvider(provider if provider is not None else trace.get_tracer_provider())


class _RecordingProvider(trace.TracerProvider):
    def __init__(self, inner: TracerProvider) -> None:
        self._inner = inner

    def get_tracer(self, *args: Any, **kwargs: Any) -> Any:
        tracer: Any = self._inner.get_tracer(*args, **kwargs)
        if not issubclass(type(tracer), SdkTracer):  # a shell around one (Phoenix, Logfire) may say it is one
            return tracer
        ours = copy.copy(tracer)  # the provider keeps its tracers, and gives the same one to everybody who asks
        ours.sampler = _RecordsAll(tracer.sampler)
        return ours


class _RecordsAll(Sampler):
    """Decides as `delegate` does, but has left-out spans recorded."""

    def __init__(self, delegate: Sampler) -> None:
        self._delegate = delegate

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        result = self._delegate.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is Decision.DROP:
            # A dropping sampler leaves no attributes; the span begins with those that it was started with.
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        return f"RecordsAll({self._delegate.get_description()})"
