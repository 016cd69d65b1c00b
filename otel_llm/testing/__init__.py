"""Public test kit: a provider-shaped server for programs that call language models.

    from otel_llm.testing import FakeProvider, Usage

    def test_retries_after_a_rate_limit():
        with FakeProvider() as provider:
            provider.error(429, headers={"Retry-After": "0"})
            provider.answer("Paris", usage=Usage(input_tokens=12, output_tokens=1))
            ...

Standard library only; nothing leaves the machine.
"""

from __future__ import annotations

from otel_llm.testing.generation import count_tokens
from otel_llm.testing.provider import FakeProvider
from otel_llm.testing.recorded import MASK, RecordedRequest
from otel_llm.testing.script import Reply, ToolCall, Usage
from otel_llm.testing.scripting import Scripting

__all__ = ["MASK", "FakeProvider", "RecordedRequest", "Reply", "Scripting", "ToolCall", "Usage", "count_tokens"]
