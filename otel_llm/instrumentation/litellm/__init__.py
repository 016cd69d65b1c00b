"""Recording litellm. Only modules of this package may name litellm, and none imports it.

LitellmInstrumentor().instrument(recorder=recorder)     # now, or when the program imports litellm
LitellmInstrumentor().uninstrument()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_llm.instrumentation.litellm.instrumentor import LitellmInstrumentor

__all__ = ["LitellmInstrumentor"]


def __getattr__(name: str) -> Any:
    """Upstream's base class loads a good deal that only users of upstream's loader need."""
    if name != "LitellmInstrumentor":
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from otel_llm.instrumentation.litellm.instrumentor import LitellmInstrumentor  # noqa: PLC0415

    return LitellmInstrumentor
