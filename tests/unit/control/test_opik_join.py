"""When `opik.track` and our spans are joined, and that a program without opik pays nothing for it."""

from __future__ import annotations

import asyncio
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.trace import get_current_span

import otel_llm
from otel_llm import semconv
from otel_llm.backends.opik import ids
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


_TRACE, _SPAN = "01a20320-a200-7abc-8def-0123456789ab", "01a20320-a2ff-7abc-8def-0123456789cd"


def _asgi_request(headers: dict[str, str]) -> None:
    """Serve one request whose work is a span of its own."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        with otel_llm.span("work"), otel_llm.span("deeper"):
            pass
        await send({"type": "http.response.start", "status": 204, "headers": []})

    async def nothing(*_: Any) -> None:
        return None

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": raw}
    asyncio.run(otel_llm.AsgiMiddleware(application)(scope, nothing, nothing))


def _opik_stamps(path: Path, count: int) -> dict[str, tuple[Any, ...]]:
    """Trace, span and parent in Opik of each span, by name."""
    names = (semconv.OPIK_TRACE_ID, semconv.OPIK_SPAN_ID, semconv.OPIK_PARENT_SPAN_ID)
    spans = shipped(path, timeout=2)
    assert len(spans) == count
    return {span["name"]: tuple(span["attributes"].get(name) for name in names) for span in spans}


def test_headers_of_opiks_sdk_join_the_callers_trace(provider: TracerProvider, tmp_path: Path) -> None:
    """A request with `opik_trace_id` and `opik_parent_span_id` is served in that trace, and all that happens in it."""
    otel_llm.configure(
        tracer_provider=provider, backend="file,otlp", file_path=tmp_path / "spans", otlp_endpoint="http://127.0.0.1:9"
    )
    _asgi_request({"opik_trace_id": _TRACE.upper(), "opik_parent_span_id": _SPAN})
    told = _opik_stamps(tmp_path / "spans", 3)
    assert {stamp[0] for stamp in told.values()} == {_TRACE}
    assert told["GET"][2] == _SPAN
    assert told["work"][2] == told["GET"][1]
    assert told["deeper"][2] == told["work"][1]


@pytest.mark.parametrize("header", ["", "nonsense", "01a20320-a200-4abc-8def-0123456789ab"])
def test_headers_that_are_no_ids_join_nothing(header: str, provider: TracerProvider, tmp_path: Path) -> None:
    """What is no UUIDv7 is no trace of Opik's."""
    otel_llm.configure(
        tracer_provider=provider, backend="file,otlp", file_path=tmp_path / "spans", otlp_endpoint="http://127.0.0.1:9"
    )
    _asgi_request({"opik_trace_id": header, "opik_parent_span_id": _SPAN})
    assert set(_opik_stamps(tmp_path / "spans", 3).values()) == {(None, None, None)}


def test_below_a_span_that_opik_attached_to_a_caller(
    provider: TracerProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opik's `attach_to_parent` stamps one span; what is below it goes where that goes."""
    monkeypatch.setitem(sys.modules, "opik.integrations.otel", types.ModuleType("opik.integrations.otel"))
    otel_llm.configure(
        tracer_provider=provider, backend="file,otlp", file_path=tmp_path / "spans", otlp_endpoint="http://127.0.0.1:9"
    )
    own = ids.uuid7_from(ids.uuid_millis(_TRACE), b"0123456789")
    with otel_llm.span("boundary"):
        stamp = {semconv.OPIK_TRACE_ID: _TRACE, semconv.OPIK_PARENT_SPAN_ID: _SPAN, semconv.OPIK_SPAN_ID: own}
        get_current_span().set_attributes(stamp)
        with otel_llm.span("work"), otel_llm.span("deeper"):
            pass
    told = _opik_stamps(tmp_path / "spans", 3)
    assert told["boundary"] == (_TRACE, own, _SPAN)
    assert told["work"][::2] == (_TRACE, own)
    assert told["deeper"][::2] == (_TRACE, told["work"][1])
