"""Our own spans are recorded whatever the program's sampler says, so that every call is counted.

A span that the sampler leaves out becomes one that is recorded and not sampled (RECORD_ONLY): the SDK's word for a span
that processors see and exporters do not. It is done on a tracer of our own; the program's provider, its sampler and its
other tracers stay as they are.
Source: https://opentelemetry.io/docs/specs/otel/trace/sdk/#sampling
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer as SdkTracer
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    StaticSampler,
    TraceIdRatioBased,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind, TracerProvider, TraceState
    from opentelemetry.util.types import Attributes

__all__ = ["counting_everything", "reads_attributes"]

_BLIND: Final = (StaticSampler, TraceIdRatioBased)


def counting_everything(provider: TracerProvider | None) -> TracerProvider | None:
    """A provider whose tracers are those of `provider` (None: the global one), but record every span."""
    return _RecordingProvider(provider if provider is not None else trace.get_tracer_provider())


def reads_attributes(sampler: object) -> bool:
    """Whether `sampler` may decide by what a span begins with: any may, but those of the SDK and ours around them.

    Ours name the one whose decisions theirs are in an attribute `decides_as`.
    """
    kind = type(sampler)
    if kind in _BLIND:
        return False
    if kind is ParentBased:
        return any(reads_attributes(asked) for asked in vars(sampler).values() if isinstance(asked, Sampler))
    decides_as = getattr(sampler, "decides_as", None)
    return decides_as is None or reads_attributes(decides_as)


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
        self.decides_as = delegate

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
        result = self.decides_as.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        if result.decision is Decision.DROP:
            # A dropping sampler leaves no attributes; the span begins with those that it was started with.
            return SamplingResult(Decision.RECORD_ONLY, attributes, result.trace_state)
        return result

    def get_description(self) -> str:
        return f"RecordsAll({self.decides_as.get_description()})"
