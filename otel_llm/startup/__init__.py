"""Recording without a line of code: at interpreter start, or by OpenTelemetry's own auto-instrumentation.

otel-llm run python app.py                      our own way: waits until the program imports litellm
opentelemetry-instrument python app.py          upstream's way: finds `OtelLlmInstrumentor` by entry point

Every Python that a program starts loads this package, and most call no model: what costs time waits to be asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_llm.startup.bootstrap import run_environment, start_when_needed

if TYPE_CHECKING:
    from otel_llm.startup.distro import OtelLlmInstrumentor

__all__ = ["OtelLlmInstrumentor", "run_environment", "start_when_needed"]


def __getattr__(name: str) -> Any:
    """Load the instrumentor when upstream's loader asks for it."""
    if name != "OtelLlmInstrumentor":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from otel_llm.startup.distro import OtelLlmInstrumentor  # noqa: PLC0415  (loads sixty modules of upstream's)

    return OtelLlmInstrumentor
