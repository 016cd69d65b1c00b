"""`otel-llm replay`: what is stored here, in the spool or in the local store, arrives at another backend as it was."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

import otel_llm
from otel_llm import config
from otel_llm.backends.local import LocalBackend
from otel_llm.cli import main
from otel_llm.contracts import Delivered
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_files import spool_directory
from tests.fakes.http_server import Reply, closed_port
from tests.fakes.opik import FakeOpik, needs_openapi
from tests.fakes.spans import make_batch, values_of
from tests.unit.cli.test_ship import arrived, leave, receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fakes.otlp_receiver import OtlpReceiver

__all__ = ["receiver"]


@pytest.fixture(autouse=True)
def _nothing_runs_afterwards() -> Iterator[None]:
    yield
    otel_llm.shutdown(0.5)


# --- from the spool --------------------------------------------------------------------------------------------


def test_replay_sends_what_waits_for_one_backend_to_another(
    receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """Spans that wait for a backend that is down can be sent elsewhere; they go on waiting for the first."""
    ids = leave("opik")
    assert main(["replay", "--to", "otlp"]) == 0
    assert arrived(receiver) == ids
    captured = capsys.readouterr()
    assert "4 spans" in captured.err
    assert captured.out == "svc -> otlp: 4 spans delivered, 0 waiting, 0 rejected or dropped\n"
    [report] = [Spool(spool_directory(config.load().state_dir, "svc")).report()]
    assert report.backends["opik"].ledger.waiting == 4


def test_replay_of_a_period(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Only spans of the asked period are sent; a period that ends before it begins is refused."""
    leave("opik")
    main(["replay", "--to", "otlp", "--until", "1h"])
    assert arrived(receiver) == []
    assert main(["replay", "--to", "otlp", "--since", "1h", "--until", "2h"]) == 2
    assert "Swap them" in capsys.readouterr().err


def test_delivered_spans_are_kept_when_asked(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `spool.keep_delivered` a backend that is added later gets what another one has had."""
    ids = leave("opik", service="kept")
    monkeypatch.setenv("OTEL_LLM_SPOOL_KEEP_DELIVERED", "3600")
    with FakeOpik() as opik:
        monkeypatch.setenv("OPIK_URL_OVERRIDE", opik.url)
        assert main(["ship"]) == 0
    assert main(["replay", "--to", "otlp"]) == 0
    assert arrived(receiver) == ids


# --- from the local store ----------------------------------------------------------------------------------------


def store(count: int, *, first: int = 1, **fields: Any) -> list[str]:
    """Put so many spans into the local store; their ids."""
    backend = LocalBackend(config.load().store_path)
    for start in range(first, first + count, 500):
        size = min(500, first + count - start)
        assert backend.send(make_batch(size, first=start, **fields), timeout=10) == Delivered(size)
    backend.close()
    return [f"{number:016x}" for number in range(first, first + count)]


def test_the_local_store_fills_another_backend(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Every stored span arrives once, in order, with progress, and the exit code says that all of it did."""
    ids = store(3000)
    assert main(["replay", "--to", "otlp"]) == 0
    assert sorted(arrived(receiver)) == ids
    captured = capsys.readouterr()
    assert captured.out == "svc -> otlp: 3000 spans delivered, 0 waiting, 0 rejected or dropped\n"
    assert "svc -> otlp: 3000 spans of the local store are to be sent." in captured.err
    assert captured.err.count("spans delivered,") >= 2
    assert Spool(spool_directory(config.load().state_dir, "svc")).report().backends["otlp"].ledger.delivered == 3000


def test_a_span_comes_out_of_the_store_as_it_went_in(receiver: OtlpReceiver) -> None:
    """Name, kind, times, status, attributes, events, links, resource, scope and tracestate survive."""
    provider = TracerProvider(resource=Resource({"service.name": "svc", "zone": "b"}), shutdown_on_exit=False)
    otel_llm.configure(tracer_provider=provider, backend=["local", "otlp"], spans="all", instrument=[], content="on")
    far = SpanContext(7 << 100, 9, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("v", "1")]))
    with trace.use_span(trace.NonRecordingSpan(far)):
        span = provider.get_tracer("app").start_span(
            "work", kind=trace.SpanKind.CLIENT, links=[trace.Link(far, {"why": "because"})]
        )
    span.set_attributes({"text": "x", "whole": 3, "part": 1.0, "yes": True, "list": ["a", "b"], "numbers": [1, 2]})
    span.add_event("happened", {"how": "fast"}, timestamp=1_700_000_000_000_000_000)
    span.set_status(trace.Status(trace.StatusCode.ERROR, "it broke"))
    span.end()
    assert otel_llm.flush(20)
    otel_llm.shutdown()
    assert main(["replay", "--to", "otlp", "--from", "store"]) == 0
    first, again = receiver.spans
    for message in (first, again):
        message.flags = 0
        message.ClearField("flags")
        for link in message.links:
            link.ClearField("flags")
            link.ClearField("trace_state")
    assert again == first
    assert values_of(receiver.resources[1]) == values_of(receiver.resources[0])


def test_what_lies_in_spool_and_store_is_sent_once(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that wait for one backend and are in the store as well arrive once, with the rest of the store."""
    provider = TracerProvider(resource=Resource({"service.name": "svc"}), shutdown_on_exit=False)
    dead = f"http://127.0.0.1:{closed_port()}/api"
    otel_llm.configure(
        tracer_provider=provider,
        backend=["local", "opik"],
        opik_url=dead,
        spans="all",
        instrument=[],
        service_name="svc",
    )
    for _ in range(5):
        provider.get_tracer("app").start_span("work").end()
    otel_llm.flush(0.5)
    otel_llm.shutdown(0.5)
    store(3)
    assert main(["replay", "--to", "otlp"]) == 0
    assert len(arrived(receiver)) == len(set(arrived(receiver))) == 8


def test_calls_that_sampling_left_out_are_not_sent(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Of them only numbers are stored, for the totals; the command says so."""
    provider = TracerProvider(resource=Resource({"service.name": "svc"}), shutdown_on_exit=False)
    otel_llm.configure(tracer_provider=provider, backend="local", instrument=[], sampling_ratio=0)
    for _ in range(4):
        provider.get_tracer("app").start_span("chat m", attributes={"gen_ai.operation.name": "chat"}).end()
    otel_llm.flush(10)
    otel_llm.shutdown()
    assert main(["replay", "--to", "otlp"]) == 0
    assert arrived(receiver) == []
    assert "of 4 more only numbers are stored" in capsys.readouterr().err


def test_a_period_and_a_service_of_the_store(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """`--since`, `--until` and `--service` choose, by when a span began."""
    second = 1_700_000_000_000_000_000
    old = store(2, first=1, start_time=second, end_time=second + 5)
    new = store(2, first=11, start_time=second + 10**12, end_time=second + 10**12 + 5)
    assert main(["replay", "--to", "otlp", "--until", "2023-11-14T22:20:00Z"]) == 0
    assert arrived(receiver) == old
    assert main(["replay", "--to", "otlp", "--since", "2023-11-14T22:20:00Z", "--from", "store"]) == 0
    assert arrived(receiver) == [*old, *new]
    assert main(["replay", "--to", "otlp", "--service", "another"]) == 0
    assert arrived(receiver) == [*old, *new]
    capsys.readouterr()


def test_a_dead_backend_says_where_to_go_on(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody listens: the command ends soon with 1, says how far it got, and what was queued is not lost."""
    ids = store(6000, start_time=1_700_000_000_000_000_000)
    receiver.always(Reply(503))
    assert main(["replay", "--to", "otlp"]) == 1
    captured = capsys.readouterr()
    assert "stopped; go on later with --from store --since 2023-11-14T22:13:20+00:00" in captured.err
    assert "503" in captured.out
    receiver._answer, receiver._default = receiver._receive, Reply()
    assert main(["replay", "--to", "otlp", "--from", "store", "--since", "2023-11-14T22:13:20+00:00"]) == 0
    assert set(arrived(receiver)) == set(ids)


def test_nothing_stored_is_said(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is nothing, the command says so."""
    assert main(["replay", "--to", "otlp"]) == 0
    assert "nothing is stored in" in capsys.readouterr().err
    assert main(["replay", "--to", "otlp", "--from", "store"]) == 1
    assert "There is no local store" in capsys.readouterr().err


def test_a_replay_of_nothing_leaves_no_backend_behind(
    receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status of a service stays as it was: a backend that was sent nothing is not one that never starts."""
    leave("otlp")
    assert main(["ship"]) == 0
    assert main(["status"]) == 0
    before = capsys.readouterr().out.splitlines()[-1]
    assert main(["replay", "--to", "console", "--from", "spool", "--rejected"]) == 0
    assert f"nothing is stored in {config.load().state_dir / 'spool'}; nothing was sent" in capsys.readouterr().err
    assert main(["status"]) == 0
    after = capsys.readouterr().out
    assert "console" not in after
    assert after.splitlines()[-1] == before


def test_a_service_that_is_misspelt_is_told_from_one_that_is_done(
    receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says that nothing of it is stored, and which services are here; nothing is made on disk."""
    leave("opik")
    assert main(["replay", "--to", "otlp", "--service", "scv"]) == 0
    said = capsys.readouterr().err
    assert "nothing of service 'scv' is stored" in said
    assert "Other services with a spool here: svc (--service NAME)." in said
    assert main(["replay", "--to", "otlp", "--since", "2030-01-01"]) == 0
    assert "nothing from that period is stored" in capsys.readouterr().err
    assert [place.name for place in (config.load().state_dir / "spool").iterdir()] == ["svc"]
    assert arrived(receiver) == []


def test_an_unknown_backend_is_wrong_input(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and the name that is nearest."""
    leave("opik")
    assert main(["replay", "--to", "opick"]) == 2
    assert "did you mean 'opik'" in capsys.readouterr().err


@needs_openapi
def test_opik_keeps_one_row_of_what_it_had_already(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent to Opik and is sent again from the store, in a trace that began elsewhere: the same rows."""
    with FakeOpik() as opik:
        provider = TracerProvider(resource=Resource({"service.name": "svc"}), shutdown_on_exit=False)
        settings = {"opik_url": opik.url, "opik_project": "p", "spans": "all", "instrument": []}
        otel_llm.configure(tracer_provider=provider, backend=["local", "opik"], **settings)
        tracer = provider.get_tracer("app")
        far = SpanContext(int("f" * 32, 16), 9, is_remote=True, trace_flags=TraceFlags(1))
        with trace.use_span(trace.NonRecordingSpan(far)), tracer.start_as_current_span("root"):
            tracer.start_span("chat m", attributes={"gen_ai.operation.name": "chat"}).end()
        assert otel_llm.flush(20)
        otel_llm.shutdown()
        before = {(row["id"], row["name"]) for row in opik.spans()}
        monkeypatch.setenv("OPIK_URL_OVERRIDE", opik.url)
        monkeypatch.setenv("OPIK_PROJECT_NAME", "p")
        assert main(["replay", "--to", "opik"]) == 0
        assert {(row["id"], row["name"]) for row in opik.spans()} == before
        assert len(before) == 2
        assert len(opik.traces()) == 1
        assert opik.duplicates() == []


def test_a_closed_workspace_does_not_stop_a_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is for the others all arrives; the rest waits in the spool, and is not sent twice by the next replay."""
    with FakeOpik(api_keys={"key": ("main",)}) as opik:
        place = tmp_path / "llm.toml"
        place.write_text(
            f'[opik]\nurl = "{opik.url}"\napi_key = "key"\nworkspace = "main"\nproject = "p"\n'
            '[opik.tenants]\nglobex = "g @globex"\n'
        )
        monkeypatch.setenv("OTEL_LLM_CONFIG", str(place))
        store(2500, attributes={"tenant.id": "globex"})
        store(500, first=2501, attributes={"tenant.id": "acme"})
        assert main(["replay", "--to", "opik"]) == 1
        captured = capsys.readouterr()
        assert "500 spans delivered, 2500 waiting, 0 rejected or dropped; Opik" in captured.out
        assert "'globex'" in captured.out
        assert "stopped" not in captured.err
        assert main(["replay", "--to", "opik"]) == 1
        opik.let("key", "main", "globex")
        assert main(["ship"]) == 0
        assert "2500 delivered, 0 waiting" in capsys.readouterr().out
        assert (len(opik.spans(workspace="main")), len(opik.spans(workspace="globex"))) == (500, 2500)


def test_an_older_store_is_brought_up_to_date_by_the_next_program(receiver: OtlpReceiver) -> None:
    """A store without the column for tracestate gets it with the next span, and then gives everything back."""
    ids = store(2)
    with sqlite3.connect(config.load().store_path) as connection:
        connection.execute("ALTER TABLE spans DROP COLUMN trace_state")
        connection.execute("PRAGMA user_version = 2")
    ids += store(1, first=50)
    assert main(["replay", "--to", "otlp"]) == 0
    assert sorted(arrived(receiver)) == sorted(ids)


def test_the_store_is_not_said_to_hold_nothing_where_it_is_the_goal(capsys: pytest.CaptureFixture[str]) -> None:
    """`--to local` sends what the spool has; what the store has is there already, and that is said."""
    assert main(["replay", "--to", "local"]) == 0
    said = capsys.readouterr().err
    assert f"nothing is stored in {config.load().state_dir / 'spool'} (what " in said
    assert "is there already" in said
