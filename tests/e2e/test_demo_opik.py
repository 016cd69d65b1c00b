"""`otel-llm demo --backend opik`, read back by Opik's own client: what Opik shows is what was called, to the cent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.opik import FakeOpik, needs_openapi
from tests.fakes.opik.official import needs_official_client, official_read

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = [needs_openapi, needs_official_client, pytest.mark.slow, pytest.mark.timeout(300)]

PROJECT = "demo"
NANO = Decimal("1e-9")


class Seen:
    """One run of the demo: what it printed, what `otel-llm usage` adds up, and what the official client reads."""

    def __init__(self, state: Path) -> None:
        with FakeOpik() as opik:
            # a bare environment: no HOME, no settings of whoever runs the tests
            self._environment = {
                "PATH": os.environ["PATH"],
                "OTEL_LLM_STATE_DIR": str(state),
                "OPIK_URL_OVERRIDE": opik.url,
                "OPIK_PROJECT_NAME": PROJECT,
            }
            self.demo = self._json("demo", "--backend", "opik", "--json")
            self._json("ship", "--json")  # what may still wait
            self.counted = self._json("status", "--json")["services"]["otel-llm-demo"]["opik"]
            self.usage = self._json("usage", "--by", "tenant", "--json")
            self.projects, self.violations = opik.projects(), list(opik.violations)
            self.duplicates, self.written = opik.duplicates(), opik.span_writes
            read = official_read(opik.url, PROJECT)
        self.traces: list[dict[str, Any]] = read["traces"]
        self.spans: list[dict[str, Any]] = read["spans"]

    def _json(self, *arguments: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "otel_llm", *arguments],
            env=self._environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def of_call(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        """The span of a recorded call, first, and all that is below it: its attempts and their HTTP requests."""
        found = [span for span in self.spans if span["metadata"]["otel.span_id"] == call["span_id"]]
        assert len(found) == 1
        assert found[0]["metadata"]["otel.trace_id"] == call["trace_id"]
        for span in found:  # grows while it is gone through
            found += [other for other in self.spans if other.get("parent_span_id") == span["id"]]
        return found


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """A run of the demo against the fake Opik."""
    return Seen(tmp_path_factory.mktemp("demo-opik"))


def _cost(rows: Iterable[dict[str, Any]]) -> Decimal:
    return sum((_exact(row["total_estimated_cost"]) for row in rows if row.get("total_estimated_cost")), Decimal())


def _exact(usd: float | None) -> Decimal:
    """A sum of money as decimal digits, to a billionth of a dollar."""
    return Decimal(repr(usd or 0.0)).quantize(NANO)


def _tokens(spans: Iterable[dict[str, Any]], *names: str) -> int:
    return sum((span.get("usage") or {}).get(name, 0) for span in spans for name in names)


def test_every_span_has_one_row_and_every_trace_too(seen: Seen) -> None:
    """The number of rows is the number of spans that were created, and none was written under two names."""
    counted = seen.counted
    assert len(seen.spans) == seen.written.inserted == counted["created"] == counted["delivered"]
    assert (counted["waiting"], counted["rejected"], counted["dropped"]) == (0, {}, {})
    assert {trace["id"] for trace in seen.traces} == {span["trace_id"] for span in seen.spans}
    assert len({span["id"] for span in seen.spans}) == len(seen.spans)
    assert len({trace["id"] for trace in seen.traces}) == len(seen.traces)
    assert Counter(span["trace_id"] for span in seen.spans) == {t["id"]: t["span_count"] for t in seen.traces}
    assert (seen.projects, seen.duplicates, seen.violations) == ([PROJECT], [], [])


def test_tokens_and_cost_of_every_call_agree(seen: Seen) -> None:
    """Each call's tokens, cached ones too, and its cost stand on its span or, after a retry, on its attempts."""
    assert len(seen.demo["calls"]) >= 12
    for call in seen.demo["calls"]:
        spans = seen.of_call(call)
        # Opik bills Anthropic's cached tokens beside the prompt's and OpenAI's within them: only the total is common
        asked = _tokens(spans, "total_tokens") - _tokens(spans, "completion_tokens")
        assert asked == (call["input_tokens"] or 0), call
        assert _tokens(spans, "completion_tokens") == (call["output_tokens"] or 0), call
        assert _tokens(spans, "cache_read_input_tokens") == (call["cache_read_tokens"] or 0), call
        assert _cost(spans) == _exact(call["cost_usd"]), call


def test_names_times_tenants_and_sessions_of_every_call_agree(seen: Seen) -> None:
    """Model, first chunk, tenant and conversation are where Opik's list and its filters look for them."""
    traces = {trace["id"]: trace for trace in seen.traces}
    for call in seen.demo["calls"]:
        span, *below = seen.of_call(call)
        trace = traces[span["trace_id"]]
        assert span["type"] == "llm"
        assert span["model"] == (call["response_model"] or call["request_model"])
        assert span["duration"] == pytest.approx(call["duration_ms"], abs=0.01)
        assert [each.get("ttft") for each in (span, *below) if each.get("ttft")] == (
            [pytest.approx(call["ttft_ms"], abs=0.01)] if call["ttft_ms"] else []
        )
        assert {tuple(row["tags"]) for row in (trace, span, *below)} == {(call["tenant"],)}
        assert trace["thread_id"] == call["session"]


def test_errors_are_those_of_the_calls(seen: Seen) -> None:
    """A failed call shows its exception on span and trace; one that a retry saved shows it on the attempt alone."""
    traces = {trace["id"]: trace for trace in seen.traces}
    for call in seen.demo["calls"]:
        span, *below = seen.of_call(call)
        assert bool(span.get("error_info")) is call["is_error"]
        assert bool(traces[span["trace_id"]].get("error_info")) is call["is_error"]
        if call["is_error"]:
            assert span["error_info"]["exception_type"] == call["error_type"]
            assert "Traceback" in span["error_info"]["traceback"]
        attempts = [each for each in below if each["type"] == "llm"]
        assert len(attempts) == (call["attempts"] or 0)
        assert [bool(each.get("error_info")) for each in sorted(attempts, key=lambda each: each["start_time"])] == (
            [True] * (len(attempts) - 1) + [False] if attempts else []
        )


def test_the_tenants_totals_are_those_of_usage(seen: Seen) -> None:
    """Calls, errors, tokens and money per tenant, summed over Opik's rows, are what `otel-llm usage` prints."""
    for row in seen.usage["rows"]:
        spans = [span for span in seen.spans if span["tags"] == [row["tenant"]]]
        traces = [trace for trace in seen.traces if trace["tags"] == [row["tenant"]]]
        assert int(_cost(spans) / NANO) == int(_cost(traces) / NANO) == row["cost_nano_usd"]
        assert _tokens(spans, "total_tokens") == row["input_tokens"] + row["output_tokens"]
        assert _tokens(spans, "cache_read_input_tokens") == row["cache_read_tokens"]
        assert sum(bool(trace.get("error_info")) for trace in traces) == row["errors"]
        calls = {call["span_id"] for call in seen.demo["calls"] if call["tenant"] == row["tenant"]}
        assert len(calls & {span["metadata"]["otel.span_id"] for span in spans}) == row["calls"]
    assert _exact(seen.usage["totals"]["cost_usd"]) == _cost(seen.spans)
