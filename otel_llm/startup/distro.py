"""Our face towards `opentelemetry-instrument`: an instrumentor that upstream's loader finds by entry point."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["OtelLlmInstrumentor"]


class OtelLlmInstrumentor(BaseInstrumentor):  # type: ignore[misc]  # upstream's base class is untyped
    """Records litellm on the tracer provider that OpenTelemetry's configurator has set up.

    Exporting is then the SDK's business (`OTEL_TRACES_EXPORTER`, for which our backends are registered as
    `otel_llm_local`, `otel_llm_file`, `otel_llm_console` and `opik`). Only where `OTEL_LLM_BACKEND` names backends
    are they added beside it.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Nothing has to be installed for us to load: litellm may be imported later, or never."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        from otel_llm.control.running import configure  # noqa: PLC0415  (upstream loads this module to look at it)

        settings: dict[str, Any] = {} if os.environ.get("OTEL_LLM_BACKEND") else {"backend": "none"}
        configure(
            tracer_provider=kwargs.get("tracer_provider"), meter_provider=kwargs.get("meter_provider"), **settings
        )

    def _uninstrument(self, **_: Any) -> None:
        from otel_llm.control.running import shutdown  # noqa: PLC0415

        shutdown()
