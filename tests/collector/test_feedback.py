"""`otel_llm.add_feedback` through the real sidecar: the scores that Opik gets are those of the direct way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm.backends.opik.ids import Uuid7IdGenerator
from tests.collector.running import TOKEN, Sidecar, wait_for
from tests.fakes.opik import FakeOpik, faults, needs_openapi

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [needs_openapi, pytest.mark.timeout(300)]

_TENANTS = "exporters.opik.tenants={acme: acme-llm @acme}"


def _scores(opik: FakeOpik, workspace: str) -> dict[str, dict[str, float]]:
    rows = (*opik.traces(workspace=workspace), *opik.spans(workspace=workspace))
    return {
        f"{row['name']} {'span' if 'trace_id' in row else 'trace'}": {
            score["name"]: score["value"] for score in row.get("feedback_scores") or ()
        }
        for row in rows
    }


@pytest.fixture
def opik() -> Iterator[FakeOpik]:
    """A fake Opik with two workspaces."""
    with FakeOpik(api_keys={"key": ["default", "acme"]}) as server:
        yield server


def test_feedback_through_the_sidecar(collector: Path, tmp_path: Path, opik: FakeOpik) -> None:
    """Scores given while Opik is down, before a kill -9, are there afterwards, each in its tenant's workspace."""
    sidecar = Sidecar(collector, tmp_path, opik.url, settings=(_TENANTS,), OPIK_API_KEY="key")
    sidecar.start()
    opik.faults.add("PUT /v1/private/spans/feedback-scores", faults.status(503), times=1)
    try:
        otel_llm.configure(
            tracer_provider=TracerProvider(id_generator=Uuid7IdGenerator(), shutdown_on_exit=False),
            backend="otlp",
            service_name="shop",
            handle_sigterm=False,
            otlp_endpoint=f"http://127.0.0.1:{sidecar.http_port}",
            otlp_headers={"Authorization": f"Bearer {TOKEN}"},
        )
        opik.stop()
        with otel_llm.span("own") as own:
            pass
        with otel_llm.tenant("acme"), otel_llm.span("of acme") as of_acme:
            pass
        assert otel_llm.add_feedback(own, "thumbs", 1, reason="helpful")
        assert otel_llm.add_feedback(of_acme.trace_id, "exact", 0.5, span_id=of_acme.span_id, tenant="acme")
        assert wait_for(lambda: otel_llm.flush(5).waiting == 0)
        sidecar.kill()
        opik.start()
        sidecar.start()
        wanted = {
            "default": {"own trace": {"thumbs": 1.0}, "own span": {}},
            "acme": {"of acme trace": {}, "of acme span": {"exact": 0.5}},
        }
        assert wait_for(lambda: {name: _scores(opik, name) for name in wanted} == wanted), sidecar.log.read_text()
        assert not opik.violations
    finally:
        otel_llm.shutdown()
        sidecar.kill()
