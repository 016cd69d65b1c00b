"""Public test kit: a provider-shaped server, and the spans of a test, for programs that call language models.

    from otel_llm.testing import FakeProvider, Usage

    def test_retries_after_a_rate_limit():
        with FakeProvider() as provider:
            provider.error(429, headers={"Retry-After": "0"})
            provider.answer("Paris", usage=Usage(input_tokens=12, output_tokens=1))
            ...

Standard library only; nothing leaves the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_llm.testing.calls import LlmCall, LlmSpans
    from otel_llm.testing.capture import capturing
    from otel_llm.testing.generation import count_tokens
    from otel_llm.testing.provider import FakeProvider
    from otel_llm.testing.recorded import MASK, RecordedRequest
    from otel_llm.testing.script import Reply, ToolCall, Usage
    from otel_llm.testing.scripting import Scripting

__all__ = [
    "MASK",
    "FakeProvider",
    "LlmCall",
    "LlmSpans",
    "RecordedRequest",
    "Reply",
    "Scripting",
    "ToolCall",
    "Usage",
    "capturing",
    "count_tokens",
]

_HOMES = {
    "MASK": "recorded",
    "FakeProvider": "provider",
    "LlmCall": "calls",
    "LlmSpans": "calls",
    "RecordedRequest": "recorded",
    "Reply": "script",
    "Scripting": "scripting",
    "ToolCall": "script",
    "Usage": "script",
    "capturing": "capture",
    "count_tokens": "generation",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: pytest imports the plugin of this package in every run."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    import importlib  # noqa: PLC0415  (only the first use of a name needs it)

    module = importlib.import_module(f"otel_llm.testing.{_HOMES[name]}")
    value = globals()[name] = getattr(module, name)
    return value
