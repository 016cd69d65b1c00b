"""Recording litellm. Only modules of this package may name litellm, and none imports it.

LitellmInstrumentor().instrument(recorder=recorder)     # now, or when the program imports litellm
LitellmInstrumentor().uninstrument()
"""

from __future__ import annotations

from otel_llm.instrumentation.litellm.instrumentor import LitellmInstrumentor

__all__ = ["LitellmInstrumentor"]
