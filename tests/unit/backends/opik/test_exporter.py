"""`OpikSpanExporter` in ordinary OpenTelemetry programs, and what Opik's own client reads back."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from otel_llm import semconv
from otel_llm.backends.opik.ids import Uuid7IdGenerator
from otel_llm.control.opik_exporter import OpikSpanExporter
from otel_llm.errors import ConfigError
from tests.fakes.http_server import closed_port
from tests.fakes.opik import EVERYTHING, SPANS, TRACES, FakeOpik, faults, needs_openapi
from tests.fakes.opik.official import needs_official_client, official_read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

pytestmark = needs_openapi

_CHAT = {
    semconv.OPERATION_NAME: semconv.OP_CHAT,
    semconv.PROVIDER_NAME: "anthropic",
    semconv.REQUEST_MODEL: "claude-sonnet-4-20250514",
    semconv.USAGE_INPUT: 1000,
    semconv.USAGE_OUTPUT: 200,
    semconv.USAGE_CACHE_READ: 800,
    semconv.TIME_TO_FIRST_CHUNK: 0.3125,
    semconv.TENANT_ID: "acme",
    semconv.SESSION_ID: "s1",
    semconv.INPUT_MESSAGES: json.dumps([{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]),
    semconv.OUTPUT_MESSAGES: json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": "hello"}]}]),
}


def _provider(**more: Any) -> TracerProvider:
    resource = Resource({semconv.SERVICE_NAME: "shop", semconv.DEPLOYMENT_ENVIRONMENT: "prod"})
    return TracerProvider(resource=resource, **more)


def _spans(count: int = 2) -> Sequence[ReadableSpan]:
    """Finished spans of one trace, the root last."""
    memory = InMemorySpanExporter()
    provider = _provider(id_generator=Uuid7IdGenerator())
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("demo")
    with tracer.start_as_current_span("handle request"):
        for _ in range(count - 1):
            tracer.start_span("chat", attributes=_CHAT).end()
    return memory.get_finished_spans()


def test_ordinary_program_with_random_ids_loses_and_doubles_nothing() -> None:
    """A stock SDK program with its own random ids, in many small batches: each span once, each trace once."""
    with FakeOpik() as opik:
        exporter = OpikSpanExporter(opik.url)
        provider = _provider()
        provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=3, schedule_delay_millis=20))
        tracer = provider.get_tracer("demo")
        for number in range(7):
            with tracer.start_as_current_span(f"request {number}"):
                for _ in range(4):
                    tracer.start_span("chat", attributes=_CHAT).end()
        provider.shutdown()
        assert sorted(row["name"] for row in opik.traces("shop")) == [f"request {number}" for number in range(7)]
        assert {row["span_count"] for row in opik.traces("shop")} == {5}
        assert len(opik.spans("shop")) == 35
        assert all(row["input"] and row["thread_id"] == "s1" for row in opik.traces("shop"))
        assert not opik.duplicates()
        assert not opik.violations
        assert exporter.report.delivered == exporter.report.created == 35


def test_keys_do_not_get_through() -> None:
    """A key in what another instrumentation recorded does not leave the process; the words around it do."""
    key = "sk-proj-abcdefghijklmnopqrstuvwx1234567890ABCD"
    with FakeOpik() as opik:
        provider = _provider(id_generator=Uuid7IdGenerator())
        provider.add_span_processor(BatchSpanProcessor(OpikSpanExporter(opik.url, project="p")))
        provider.get_tracer("demo").start_span("call", attributes={"input.value": f"my key is {key}, keep it"}).end()
        provider.shutdown()
        (span,) = opik.spans("p")
    assert key not in json.dumps(span)
    assert "keep it" in json.dumps(span)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that people have are enough; an argument beats them."""
    with FakeOpik(api_keys={"key": ["team"]}) as opik:
        monkeypatch.setenv("OPIK_URL_OVERRIDE", opik.url)
        monkeypatch.setenv("OPIK_API_KEY", "key")
        monkeypatch.setenv("OPIK_WORKSPACE", "team")
        monkeypatch.setenv("OPIK_PROJECT_NAME", "from-environment")
        assert OpikSpanExporter().export(_spans()) is SpanExportResult.SUCCESS
        assert OpikSpanExporter(project="from-argument").export(_spans()) is SpanExportResult.SUCCESS
        assert opik.projects(workspace="team") == ["from-environment", "from-argument"]


def test_tenants_have_projects_of_their_own() -> None:
    """The tenant on the span chooses the project."""
    with FakeOpik() as opik:
        OpikSpanExporter(opik.url, project="rest", tenants={"acme": "acme-prod"}).export(_spans())
        assert [row["name"] for row in opik.spans("acme-prod")] == ["chat"]
        assert [row["name"] for row in opik.spans("rest")] == ["handle request"]


@pytest.mark.parametrize("route", [TRACES, SPANS])
@pytest.mark.parametrize(
    "fault", [faults.status(503), faults.throttled(1), faults.reset_after_commit()], ids=lambda fault: fault.name
)
def test_passing_trouble_is_retried_within_one_export(fault: faults.Fault, route: str) -> None:
    """Trouble that passes within the timeout costs no span and doubles none."""
    with FakeOpik() as opik:
        opik.faults.add(route, fault)
        exporter = OpikSpanExporter(opik.url, timeout=20)
        assert exporter.export(_spans(4)) is SpanExportResult.SUCCESS
        assert (len(opik.spans()), len(opik.traces()), opik.duplicates()) == (4, 1, [])
        assert exporter.report.as_dict()["delivered"] == 4


def test_loss_is_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    """Spans that do not arrive are dropped with their reason, in the counts and in the log, and are not SUCCESS."""
    exporter = OpikSpanExporter(f"http://127.0.0.1:{closed_port()}/api", timeout=0.3)
    with caplog.at_level(logging.ERROR, logger="otel_llm"):
        assert exporter.export(_spans(3)) is SpanExportResult.FAILURE
    assert exporter.report.dropped == {"refused": 3}
    assert exporter.report.waiting == 0
    assert any("3 spans did not reach opik" in record.message for record in caplog.records)


def test_wrong_key_is_not_retried() -> None:
    """What waiting cannot cure ends the export at once."""
    with FakeOpik(api_keys={"right": ["team"]}) as opik:
        exporter = OpikSpanExporter(opik.url, "wrong", "team", timeout=30)
        assert exporter.export(_spans()) is SpanExportResult.FAILURE
        assert len(opik.requests) == 1
        assert exporter.report.dropped == {"unauthorized": 2}


def test_rejected_spans_are_counted() -> None:
    """Spans that Opik will never take are counted by reason; the others are delivered."""
    with FakeOpik() as opik:
        opik.faults.add(SPANS, faults.status(422), times=2)  # the batch, then its first span alone
        exporter = OpikSpanExporter(opik.url)
        assert exporter.export(_spans(2)) is SpanExportResult.FAILURE
        assert (exporter.report.delivered, exporter.report.rejected) == (1, {"invalid": 1})


def test_shutdown_ends_pauses_and_refuses_later_spans() -> None:
    """After shutdown nothing is sent, and the call does not wait for retries."""
    with FakeOpik() as opik:
        opik.faults.add(EVERYTHING, faults.status(503), times=None)
        exporter = OpikSpanExporter(opik.url, timeout=60)
        provider = _provider(id_generator=Uuid7IdGenerator())
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=10))
        provider.get_tracer("demo").start_span("root").end()
        deadline = time.monotonic() + 10
        while not opik.requests and time.monotonic() < deadline:
            time.sleep(0.01)
        exporter.shutdown()
        assert exporter.export(_spans()) is SpanExportResult.FAILURE
        assert exporter.report.delivered == 0
        provider.shutdown()


def test_wrong_settings_are_named() -> None:
    """An address that is none is refused when the exporter is built."""
    with pytest.raises(ConfigError):
        OpikSpanExporter("gopher://host")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_exports_on_its_own() -> None:
    """A child forked while the parent was exporting is not held up by the parent's lock, and counts from zero."""
    with FakeOpik() as opik:
        exporter = OpikSpanExporter(opik.url)
        assert exporter.export(_spans()) is SpanExportResult.SUCCESS
        spans = _spans()
        with exporter._sending:  # as if another thread were in the middle of an export
            child = os.fork()
            if child == 0:
                sent = exporter.export(spans) is SpanExportResult.SUCCESS
                os._exit(0 if sent and exporter.report.created == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert len(opik.spans()) == 4


@needs_official_client
def test_official_client_reads_back_every_field() -> None:
    """What we wrote is what Opik's own client sees: names, content, tokens, cost, tags, thread, errors, ttft."""
    with FakeOpik() as opik:
        provider = _provider(id_generator=Uuid7IdGenerator())
        provider.add_span_processor(BatchSpanProcessor(OpikSpanExporter(opik.url, project="p")))
        tracer = provider.get_tracer("demo")
        with tracer.start_as_current_span("handle request", attributes={semconv.TENANT_ID: "acme"}):
            tracer.start_span("priced", attributes={**_CHAT, semconv.COST: 0.0042}).end()
            tracer.start_span("estimated", attributes=_CHAT).end()
            with tracer.start_as_current_span(
                "tool", attributes={semconv.OPERATION_NAME: semconv.OP_EXECUTE_TOOL}
            ) as tool:
                tool.set_status(Status(StatusCode.ERROR, "no such city"))
        provider.shutdown()
        read = official_read(opik.url, "p")
    (trace,) = read["traces"]
    spans = {span["name"]: span for span in read["spans"]}
    assert (trace["name"], trace["thread_id"], trace["tags"], trace["span_count"]) == (
        "handle request",
        "s1",
        ["acme"],
        4,
    )
    assert trace["input"] == {"messages": [{"role": "user", "content": "hi"}]}
    assert trace["output"]["choices"][0]["message"]["content"] == "hello"
    assert spans["priced"]["total_estimated_cost"] == pytest.approx(0.0042, abs=1e-12)
    # 200 uncached at 3 USD, 800 cached at 0.30 USD, 200 answered at 15 USD per million tokens (opik-in-practice.md)
    assert spans["estimated"]["total_estimated_cost"] == pytest.approx(0.00384, abs=1e-12)
    assert spans["priced"]["usage"]["cache_read_input_tokens"] == 800
    assert spans["priced"]["ttft"] == 312.5
    assert (spans["priced"]["type"], spans["tool"]["type"]) == ("llm", "tool")
    assert (spans["priced"]["model"], spans["priced"]["provider"]) == ("claude-sonnet-4-20250514", "anthropic")
    assert spans["tool"]["error_info"]["message"] == "no such city"
    assert spans["tool"]["parent_span_id"] == spans["handle request"]["id"]


@pytest.mark.parametrize("address", ["junk", "localhost:5173/api", "htp://localhost:5173/api"])
def test_a_wrong_address_of_the_environment_never_means_opik_cloud(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is an error, whatever the backends that are configured, and not a reason to send to the default address."""
    monkeypatch.setenv("OPIK_URL_OVERRIDE", address)
    monkeypatch.setenv("OTEL_LLM_BACKEND", "local")
    with pytest.raises(ConfigError, match=r"opik.url \(environment OPIK_URL_OVERRIDE\).* is not a web address"):
        OpikSpanExporter()
    monkeypatch.delenv("OPIK_URL_OVERRIDE")
    path = tmp_path / "opik.config"
    path.write_text(f"[opik]\nurl_override = {address}\n")
    monkeypatch.setenv("OPIK_CONFIG_PATH", str(path))
    with pytest.raises(ConfigError, match="is not a web address"):
        OpikSpanExporter()
