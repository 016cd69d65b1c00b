"""The recording of litellm as an instrumentor of OpenTelemetry's: for its loader, and for programs that know those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otel_llm.instrumentation.litellm import switch
from otel_llm.instrumentation.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["LitellmInstrumentor"]


class LitellmInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # upstream's base class is untyped
    """Records every call form of litellm. Works whichever comes first, this or `import litellm`.

    Keyword arguments of `instrument()`: `recorder` (an `otel_llm` Recorder; one for the global tracer provider
    is made when left out), `tracer_provider`, `meter_provider`, `capture_content` (bool), `tenant_key` (name of
    the entry in the call's `metadata`), `stream_usage` (bool: ask providers to count the tokens of streams).
    """

    @property
    def _is_instrumented_by_opentelemetry(self) -> bool:
        """What `configure` has begun is begun for upstream, too."""
        return switch.is_begun()

    @_is_instrumented_by_opentelemetry.setter
    def _is_instrumented_by_opentelemetry(self, value: bool) -> None:
        """Upstream sets it after what it says has happened."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """What upstream's loader checks before it loads us: nothing, because litellm may come later."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        recorder = kwargs.get("recorder") or Recorder(
            kwargs.get("tracer_provider"),
            kwargs.get("meter_provider"),
            capture_content=bool(kwargs.get("capture_content", False)),
        )
        switch.begin(
            recorder,
            tenant_key=kwargs.get("tenant_key", "tenant_id"),
            stream_usage=bool(kwargs.get("stream_usage", True)),
        )

    def _uninstrument(self, **_: Any) -> None:
        switch.end()
