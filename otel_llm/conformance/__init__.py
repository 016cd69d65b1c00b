"""Whether spans say what they say in the words of the GenAI semantic conventions.

The conventions come with the package as data (`conventions.json`, made by `scripts/conventions.py`). `check` looks at
one span; `read` takes spans out of OTLP/JSON, OTLP requests and the local store. `otel-llm lint` shows users what our
own tests fail on.
"""

from __future__ import annotations

from otel_llm.conformance.checker import check
from otel_llm.conformance.deviations import DEVIATIONS, Deviation
from otel_llm.conformance.findings import Finding, Level, Rule
from otel_llm.conformance.reading import read
from otel_llm.conformance.spans import SpanFacts, spans_of

__all__ = ["DEVIATIONS", "Deviation", "Finding", "Level", "Rule", "SpanFacts", "check", "read", "spans_of"]
