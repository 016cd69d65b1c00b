"""ddtrace's own context for OpenTelemetry, with us inside: nothing is lost, and Datadog's spans keep their parents."""

from __future__ import annotations

import json
import subprocess
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.conftest import Bench

pytestmark = pytest.mark.slow

PROGRAM = """
    import json, sys
    import ddtrace.auto
    from ddtrace.trace import tracer
    from opentelemetry import baggage, context, trace
    import otel_llm
    from otel_llm.context import active_call, current_identity
    from tests.fakes.shipped import shipped

    path = sys.argv[1]
    otel_llm.configure(backend="file", file_path=path)
    otel = trace.get_tracer("app")
    told = {}

    def ours():
        return otel_llm.current().span_id

    with tracer.trace("request") as request:
        with otel_llm.tenant("acme", user="ann"), otel_llm.span("work") as work:
            told["active in ours"] = tracer.current_span() is request
            told["current"] = otel_llm.current().span_id == work.span_id
            told["one trace"] = otel_llm.current().trace_id == f"{request.trace_id:032x}"
            with tracer.trace("query") as query:
                told["theirs in ours"] = query.parent_id == request.span_id
                with otel_llm.span("in theirs"):
                    told["identity"] = current_identity().tenant
            with otel.start_as_current_span("by OpenTelemetry") as theirs:
                told["theirs by OpenTelemetry"] = theirs._ddspan.parent_id == request.span_id
                with otel_llm.span("in OpenTelemetry's"):
                    pass
        told["identity afterwards"] = current_identity().tenant
        told["active afterwards"] = tracer.current_span() is request
        with tracer.trace("next") as following:
            told["next"] = following.parent_id == request.span_id
        token = context.attach(baggage.set_baggage("key", "value"))
        told["baggage"] = baggage.get_baggage("key")
        context.detach(token)
        told["baggage afterwards"] = baggage.get_baggage("key")
    with otel_llm.span("alone") as alone:
        with otel_llm.span("below"):
            pass
        with tracer.trace("unrelated"), otel_llm.span("below too"):
            pass
    told["nothing left"] = tracer.current_span() is None

    @otel_llm.trace("steps")
    def steps():
        for _ in range(2):
            with otel_llm.span("step"):
                pass
            yield ours()

    with tracer.trace("reader") as reader:
        told["steps"] = [tracer.current_span() is reader for _ in steps()]

    spans = shipped(__import__("pathlib").Path(path))
    names = {span["spanId"]: span["name"] for span in spans}
    told["below"] = {span["name"]: names.get(span.get("parentSpanId")) for span in spans}
    told["orphans"] = [span["name"] for span in spans if span.get("parentSpanId") and span["parentSpanId"] not in names]
    told["traces"] = len({span["traceId"] for span in spans})
    told["times"] = len({span["traceState"].partition("otelllm=")[2].partition(",")[0]
                         for span in spans if span["traceId"] == f"{request.trace_id:032x}"})
    told["tenants"] = {span["name"]: span["attributes"]["tenant.id"] for span in spans}
    told["faults"] = otel_llm.status().faults
    print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the program found."""
    directory: Path = tmp_path_factory.mktemp("ddtrace")
    (directory / "program.py").write_text(textwrap.dedent(PROGRAM))
    done = subprocess.run(
        [bench.python, str(directory / "program.py"), str(directory / "spans.jsonl")],
        env={**bench.environment, "DD_TRACE_OTEL_ENABLED": "true"},
        capture_output=True, text=True, timeout=110, check=False, cwd=directory,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Failed to detach" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_datadogs_spans_keep_their_parents(told: dict[str, Any]) -> None:
    """Inside of our spans and after them Datadog's current span is what it would be without us."""
    kept = ("active in ours", "theirs in ours", "theirs by OpenTelemetry", "active afterwards", "next", "nothing left")
    assert [fact for fact in kept if not told[fact]] == []
    assert told["steps"] == [True, True]


def test_tenant_and_trace_are_kept(told: dict[str, Any]) -> None:
    """A tenant block holds, ends, and reaches spans inside of Datadog's; our spans are in the request's trace."""
    assert (told["identity"], told["identity afterwards"]) == ("acme", None)
    assert told["current"]
    assert told["one trace"]
    assert told["tenants"]["in theirs"] == "acme"
    assert told["tenants"]["alone"] == "unknown"
    assert (told["baggage"], told["baggage afterwards"]) == ("value", None)


def test_our_spans_hang_below_ours(told: dict[str, Any]) -> None:
    """Datadog's spans, which our backends never get, are passed over; each trace has one time for its Opik id."""
    assert told["orphans"] == []
    assert told["below"] == {
        "work": None,
        "in theirs": "work",
        "in OpenTelemetry's": "work",
        "alone": None,
        "below": "alone",
        "below too": "alone",
        "steps": None,
        "step": "steps",
    }
    assert told["traces"] == 3
    assert told["times"] == 1
    assert told["faults"] == {}
