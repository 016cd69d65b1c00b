"""The real Collector with the shipped configuration before a fake Opik: the same rows as without it, and none lost."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.contracts import Batch, Delivered
from otel_llm.otlp_json import from_otlp_json
from tests.collector.requests import names_in, numbered, request_of
from tests.collector.running import ROOT, Sidecar, wait_for
from tests.fakes.opik import SPANS, FakeOpik, Fault, faults, needs_openapi

if TYPE_CHECKING:
    from pathlib import Path

    from tests.collector.fault_table import FaultTable

pytestmark = [needs_openapi, pytest.mark.timeout(1800)]

_VECTORS = [json.loads(path.read_text()) for path in sorted((ROOT / "tests/vectors/opik").glob("*.json"))]
_SHAPELESS = "canary of no known shape"
_OF_THE_SERVER = {"created_at", "created_by", "last_updated_by", "project_id"}


def _comparable(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows by project and id, without what the server itself wrote."""
    return {
        (row["id"], row.get("project_name", "")): {key: row[key] for key in row.keys() - _OF_THE_SERVER} for row in rows
    }


def _vector_requests() -> list[ExportTraceServiceRequest]:
    """The vectors' requests, each with trace ids of its own, which keep their time and version."""
    requests = []
    for number, vector in enumerate(_VECTORS):
        request = from_otlp_json(vector["otlp"])
        for span in (s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans):
            if len(span.trace_id) == 16 and any(span.trace_id):
                span.trace_id = span.trace_id[:14] + number.to_bytes(2, "big")
        requests.append(request)
    return requests


def test_rows_are_the_same_direct_and_through_the_sidecar(sidecar: Sidecar, opik: FakeOpik) -> None:
    """All requests of the golden vectors leave the same rows in Opik by either way, in all fields."""
    requests = _vector_requests()
    with FakeOpik() as other:
        backend = OpikBackend(OpikOptions(url=other.url))
        for request in requests:
            spans = sum(len(scope.spans) for each in request.resource_spans for scope in each.scope_spans)
            assert isinstance(backend.send(Batch(request.SerializeToString(), spans), timeout=30), Delivered)
        backend.close()
        for request in requests:
            assert sidecar.post(request.SerializeToString()) == 200
        assert wait_for(lambda: len(opik.spans()) >= len(other.spans())), sidecar.log.read_text()
        direct, through = _comparable(other.spans()), _comparable(opik.spans())
        assert through == direct
        assert len(direct) > len(_VECTORS) // 2
        assert wait_for(lambda: _comparable(opik.traces()) == _comparable(other.traces())), sidecar.log.read_text()
        assert any(row.get("feedback_scores") for row in opik.traces())
    assert not opik.violations


def _with_keys_everywhere(request: bytes, key: str) -> ExportTraceServiceRequest:
    """The request with a key, by its shape and by the name of what it is, in every place of a span that holds text."""
    told = ExportTraceServiceRequest.FromString(request)
    (resource,) = told.resource_spans
    scope = resource.scope_spans[0].scope
    span = resource.scope_spans[0].spans[0]
    span.name = f"call with {key}"
    span.status.code, span.status.message = 2, f"Incorrect API key provided: {key}"
    for place in (
        resource.resource.attributes,
        scope.attributes,
        span.attributes,
        span.events.add(name=key).attributes,
        span.links.add(trace_id=span.trace_id, span_id=span.span_id).attributes,
    ):
        place.add(key="text").value.string_value = f"it is {key}"
        place.add(key="password").value.string_value = _SHAPELESS
        place.add(key="json").value.string_value = json.dumps({"tool": json.dumps({"api_key": _SHAPELESS})})
        place.add(key="bytes").value.bytes_value = key.encode()
        nested = place.add(key="nested").value.array_value.values.add().kvlist_value.values
        nested.add(key="x-api-key").value.string_value = _SHAPELESS
        place.add(key="list").value.array_value.values.add(string_value=key)
        messages = place.add(key="gen_ai.input.messages").value.array_value.values.add().kvlist_value.values
        messages.add(key="role").value.string_value = "user"
        messages.add(key="content").value.string_value = f"use {key}, please"
    failure = span.events.add(name="exception").attributes
    failure.add(key="exception.message").value.string_value = f"{key} is wrong"
    return told


@pytest.mark.parametrize("config", ["otel-collector.yaml", "collector/profiles/fanout.yaml"])
def test_no_key_passes(collector: Path, tmp_path: Path, opik: FakeOpik, config: str) -> None:
    """A key in any place of a span is neither in Opik nor, at the level debug, in the log; all else arrives."""
    key = "sk-canary0123456789abcdef"
    debug = ["service.telemetry.logs.level=debug"]
    sidecar = Sidecar(
        collector, tmp_path, opik.url, config=ROOT / config, settings=debug, OTLP_BACKEND="http://127.0.0.1:9"
    )
    sidecar.start()
    try:
        assert sidecar.post(_with_keys_everywhere(request_of(0, 1), key).SerializeToString()) == 200
        assert wait_for(lambda: len(opik.spans()) == 1), sidecar.log.read_text()
    finally:
        sidecar.kill()
    stored = json.dumps([opik.spans(), opik.traces()])
    assert key not in stored
    assert base64.b64encode(key.encode()).decode() not in stored
    assert _SHAPELESS not in stored
    (row,) = opik.spans()
    assert row["name"] == "call with ****"
    assert row["input"]["messages"] == [{"role": "user", "content": "use ****, please"}]
    (nested,) = row["metadata"]["nested"]
    assert nested == {"x-api-key": "****"}
    for secret in (key, _SHAPELESS, "use ****, please"):
        assert secret not in sidecar.log.read_text()


def test_kill_9_in_an_outage_loses_nothing_acknowledged(
    sidecar: Sidecar, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """What was answered with 200 while Opik was down arrives once after kill -9 and a new start."""
    opik.stop()
    for number in range(50):
        assert sidecar.post(request_of(number * 10, 10)) == 200
    sidecar.kill()
    opik.start()
    sidecar.start()
    assert wait_for(lambda: names_in(opik) == numbered(0, 500)), sidecar.log.read_text()
    fault_table.row("kill -9 with Opik down, then a new start", opik, created=500)


def test_sigterm_in_an_outage_loses_nothing(sidecar: Sidecar, opik: FakeOpik, fault_table: FaultTable) -> None:
    """What was acknowledged before SIGTERM with Opik down arrives after the next start."""
    opik.stop()
    assert sidecar.post(request_of(0, 100)) == 200
    assert sidecar.stop() == 0
    opik.start()
    sidecar.start()
    assert wait_for(lambda: names_in(opik) == numbered(0, 100)), sidecar.log.read_text()
    fault_table.row("SIGTERM with Opik down, then a new start", opik, created=100)


@pytest.mark.parametrize(
    ("named", "fault", "times"),
    [
        ("429 with `RateLimit-Reset`, three times", faults.throttled(1), 3),
        ("409, once", faults.status(409, commits=False), 1),
        ("three answers that never came after Opik stored the rows", faults.reset_after_commit(), 3),
    ],
)
def test_passing_faults_lose_nothing(
    named: str, fault: Fault, times: int, sidecar: Sidecar, opik: FakeOpik, fault_table: FaultTable
) -> None:
    """Throttling, failures, a conflict and an answer that never came: all spans are there once afterwards."""
    opik.faults.add(SPANS, fault, times=times)
    for number in range(5):
        assert sidecar.post(request_of(number * 20, 20)) == 200
    assert wait_for(lambda: names_in(opik) == numbered(0, 100)), sidecar.log.read_text()
    assert any(request.fault for request in opik.requests), "the fault never struck"
    fault_table.row(named, opik, created=100)


def test_poison_span_costs_itself_alone(collector: Path, tmp_path: Path, fault_table: FaultTable) -> None:
    """Of a hundred spans one belongs to a trace too old for Opik: the others arrive, and the loss is counted."""
    request = ExportTraceServiceRequest.FromString(request_of(0, 100))
    poison = request.resource_spans[0].scope_spans[0].spans[37]
    poison.attributes.add(key="opik.trace_id").value.string_value = "01500000-0000-7abc-8def-0123456789ab"
    with FakeOpik(id_window_hours=24) as strict:
        sidecar = Sidecar(collector, tmp_path, strict.url)
        sidecar.start()
        try:
            assert sidecar.post(request.SerializeToString()) == 200
            wanted = sorted(set(numbered(0, 100)) - {"span 37"})
            assert wait_for(lambda: names_in(strict) == wanted), sidecar.log.read_text()
            assert wait_for(lambda: sidecar.metric("otelcol_exporter_opik_rejected_spans") == 1)
            fault_table.row("one span that Opik refuses", strict, created=100, rejected=1)
        finally:
            sidecar.kill()


def test_wrong_token_is_refused(sidecar: Sidecar, opik: FakeOpik, fault_table: FaultTable) -> None:
    """A program with a wrong token gets 401, nothing of it arrives, and no token is in the log."""
    assert sidecar.post(request_of(0, 1), token="wrong-canary") == 401
    assert sidecar.post(request_of(1, 1)) == 200
    assert wait_for(lambda: names_in(opik) == ["span 1"]), sidecar.log.read_text()
    assert "canary" not in sidecar.log.read_text()
    assert "token-of-the-test" not in sidecar.log.read_text()
    fault_table.row("a wrong token once: 401", opik, created=2, acknowledged=1)


def test_wrong_api_key_keeps_the_spans(collector: Path, tmp_path: Path, fault_table: FaultTable) -> None:
    """Opik refuses the key with 401: the spans stay in the queue, and arrive once the key is right."""
    with FakeOpik(api_keys={"good-key": ["default"]}) as opik:
        wrong = Sidecar(collector, tmp_path, opik.url, OPIK_API_KEY="bad-canary")
        wrong.start()
        assert wrong.post(request_of(0, 10)) == 200
        assert wait_for(lambda: "HTTP 401" in wrong.log.read_text())
        assert wrong.stop() == 0
        assert "bad-canary" not in wrong.log.read_text()
        right = Sidecar(collector, tmp_path, opik.url, OPIK_API_KEY="good-key")
        right.start()
        assert wait_for(lambda: names_in(opik) == numbered(0, 10)), right.log.read_text()
        right.kill()
        fault_table.row("a wrong API key, corrected later", opik, created=10)
