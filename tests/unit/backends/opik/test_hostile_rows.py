"""Attributes that nobody would write on purpose cost themselves only, and every workspace gets its trace row."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.backends.opik.usage import ttft_ms_of, usage_names
from otel_llm.backends.opik.values import parsed
from otel_llm.contracts import Batch, Delivered
from otel_llm.indexed import indexed_list
from otel_llm.otlp_json import from_otlp_json
from tests.fakes.opik import FakeOpik, needs_openapi

pytestmark = needs_openapi

TRACE = "019a1b2c3d4e7f008123456789abcdef"


def span(number: int, **attributes: Any) -> dict[str, Any]:
    """An OTLP/JSON span."""
    return {
        "traceId": TRACE,
        "spanId": f"{number:016x}",
        "name": f"s{number}",
        "startTimeUnixNano": "1764000000000000000",
        "endTimeUnixNano": "1764000001000000000",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }


def batch(*spans: dict[str, Any]) -> Batch:
    """A batch of spans."""
    request = from_otlp_json({"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]})
    return Batch(request.SerializeToString(), len(spans))


def test_a_superscript_is_no_index() -> None:
    """A key with a digit that is no number, or with thousands of digits, is not taken for an index."""
    assert indexed_list({"gen_ai.prompt.0.x": "a", "gen_ai.prompt.².x": "b"}, "gen_ai.prompt") == [{"x": "a"}]
    assert indexed_list({f"gen_ai.prompt.{'9' * 5000}.x": "b"}, "gen_ai.prompt") == []


@pytest.mark.parametrize("seconds", [1e306, math.inf, math.nan, -1.0])
def test_an_impossible_first_chunk_is_left_out(seconds: float) -> None:
    """A time that cannot be expressed in milliseconds is not sent."""
    attributes = {"gen_ai.response.time_to_first_chunk": seconds}
    assert ttft_ms_of(attributes, usage_names(frozenset(attributes))) is None


def test_a_number_too_large_stays_valid_json() -> None:
    """A number beyond a double becomes a word."""
    assert json.dumps(parsed("[1e400, -1e400]")) == '["Infinity", "-Infinity"]'


def test_each_workspace_gets_the_trace_row() -> None:
    """A trace whose tenants live in two workspaces is listed in both."""
    with FakeOpik(api_keys={"key": ["wa", "wb"]}) as opik:
        backend = OpikBackend(
            OpikOptions(
                url=opik.url, api_key="key", workspace="wa", service="svc", tenants={"a": "pa @wa", "b": "pb @wb"}
            )
        )
        sent = batch(span(1, **{"tenant.id": "a"}), span(2, **{"tenant.id": "b"}))
        assert backend.send(sent, timeout=10) == Delivered(2)
        assert len(opik.traces("pa", workspace="wa")) == 1
        assert len(opik.traces("pb", workspace="wb")) == 1
        backend.close()
