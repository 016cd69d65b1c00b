"""When `opik.track` and our spans are joined, and that a program without opik pays nothing for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

import otel_llm
from otel_llm import semconv
from otel_llm.control.running import current_pipeline
from tests.fakes.shipped import shipped

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import TracerProvider


@pytest.mark.parametrize(
    ("settings", "inward", "outward"),
    [
        ({"backend": "local"}, False, False),
        ({"backend": "opik"}, True, True),
        ({"backend": "opik", "opik_join": "never"}, False, False),
        ({"backend": "opik", "sampling_ratio": 0.5}, True, False),
        ({"backend": "otlp"}, True, False),
        ({"backend": "otlp", "opik_join": "always"}, True, True),
        ({"backend": "opik-otlp"}, True, False),
    ],
)
def test_who_joins_whom(settings: dict[str, Any], inward: bool, outward: bool, provider: TracerProvider) -> None:
    """Ours join theirs wherever spans may end in Opik; theirs join ours where our ids are known to be there."""
    otel_llm.configure(tracer_provider=provider, opik_url="http://127.0.0.1:9", **settings)
    pipeline = current_pipeline()
    assert pipeline is not None
    join = pipeline.opik_join
    assert (join is not None) is inward
    assert (join is not None and join._beginnings is not None) is outward


def test_without_opik_nothing_is_written(provider: TracerProvider, tmp_path: Path) -> None:
    """Spans of a program that does not use Opik's SDK say nothing of it, and the SDK is not loaded for it."""
    assert "opik.context_storage" not in sys.modules
    otel_llm.configure(
        tracer_provider=provider, backend="file,otlp", file_path=tmp_path / "spans", otlp_endpoint="http://127.0.0.1:9"
    )
    with otel_llm.span("outer"), otel_llm.span("inner"):
        pass
    spans = shipped(tmp_path / "spans", timeout=2)
    assert [span["name"] for span in spans] == ["inner", "outer"]
    assert not any(name.startswith(semconv.OPIK_PREFIX) for span in spans for name in span["attributes"])
    assert "opik.context_storage" not in sys.modules


def test_a_foreign_trace_has_one_time_on_every_way_to_opik(provider: TracerProvider, tmp_path: Path) -> None:
    """On a provider whose ids carry no time, all spans of a trace are sent with the one that its first began at."""
    otel_llm.configure(
        tracer_provider=provider, backend="file,otlp", file_path=tmp_path / "spans", otlp_endpoint="http://127.0.0.1:9"
    )
    with otel_llm.span("outer"), otel_llm.span("inner"):
        pass
    states = {span["traceState"] for span in shipped(tmp_path / "spans", timeout=2)}
    assert len(states) == 1
    assert "otelllm=t:" in states.pop()
