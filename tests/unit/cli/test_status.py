"""`otel-llm status`: where spans are, seen from outside of the program; the exit code says if all is well."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm import config, semconv
from otel_llm.cli import main
from otel_llm.contracts import Rejection
from otel_llm.delivery.parking import Share
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_files import spool_directory
from otel_llm.delivery.spool_types import Failure, Reject
from tests.crash.kit import batch_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings file is in reach, and nothing runs afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    otel_llm.shutdown()


def spool_of(service: str = "svc", backend: str = "opik") -> Spool:
    """The spool that a program of this name keeps."""
    spool = Spool(spool_directory(config.load().state_dir, service))
    spool.register([backend])
    return spool


def leave(spool: Spool, *, spans: int = 4, delivered: bool = True, age: float = 0.0) -> None:
    """One batch of `spans`, `age` seconds old, delivered or waiting."""
    from dataclasses import replace

    spool.append(replace(batch_of(spans), created_at=time.time() - age))
    if delivered:
        parcel = spool.take("opik", 1 << 20)
        assert parcel is not None
        spool.settle("opik", parcel)
    spool.close()


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code and what `--json` printed."""
    code = main(["status", "--json", *words])
    return code, json.loads(capsys.readouterr().out)


def test_all_delivered_is_ok(capsys: pytest.CaptureFixture[str]) -> None:
    """After a real delivery and with nothing waiting the exit code is 0, and the counts are the spool's."""
    leave(spool_of())
    code, data = asked(capsys)
    row = data["services"]["svc"]["opik"]
    assert (code, data["ok"], row["state"]) == (0, True, "ok")
    assert (row["created"], row["delivered"], row["waiting"]) == (4, 4, 0)
    assert row["last_delivery"] == pytest.approx(time.time(), abs=60)


def test_a_failing_backend_is_named_with_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    """The last failure that the program noted shows with what to do about it, and the exit code is 1."""
    spool = spool_of()
    spool.append(batch_of(3))
    now = time.time()
    spool.note_failure("opik", Failure("Opik refused the key. Set OPIK_API_KEY.", "unauthorized", True, now, now - 9))
    spool.close()
    assert main(["status"]) == 1
    text = capsys.readouterr().out
    assert "failing" in text
    assert "svc -> opik: Opik refused the key. Set OPIK_API_KEY." in text


def test_what_waits_too_long_is_not_ok(capsys: pytest.CaptureFixture[str]) -> None:
    """Spans that a dead program left make the state degraded, and the command that delivers them is named."""
    leave(spool_of())
    leave(spool_of(), delivered=False, age=3600)
    code, data = asked(capsys)
    row = data["services"]["svc"]["opik"]
    assert (code, row["state"], row["waiting"]) == (1, "degraded", 4)
    assert "otel-llm ship" in row["cause"]


def test_rejections_of_late_are_judged_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A span that the backend rejected a moment ago degrades the state; counts by reason stay for good."""
    spool = spool_of()
    batch = batch_of(2)
    spool.append(batch)
    parcel = spool.take("opik", 1 << 20)
    assert parcel is not None
    spool.settle("opik", parcel, [Reject(Rejection("", "too_large", "413"), batch_of(1), 1)])
    spool.close()
    code, data = asked(capsys)
    row = data["services"]["svc"]["opik"]
    assert (code, row["state"], row["rejected"]) == (1, "degraded", {"too_large": 1})


def test_nothing_was_ever_recorded_is_not_ok(capsys: pytest.CaptureFixture[str]) -> None:
    """Silence is not health: with neither spool nor store the exit code is 1, and nothing is made on disk."""
    assert main(["status"]) == 1
    assert "Nothing was ever spooled" in capsys.readouterr().out
    assert list(config.load().state_dir.iterdir()) == []


def test_one_service_is_chosen_and_others_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """`--service` shows one spool only; the names of the others are on stderr."""
    leave(spool_of("mine"))
    leave(spool_of("theirs"), delivered=False, age=3600)
    assert main(["status", "--service", "mine", "--json"]) == 0
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)["services"]) == ["mine"]
    assert "theirs" in printed.err
    assert main(["status"]) == 1


def test_the_local_store_counts_as_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    """With the default backend the store says how many calls there are and when the last one began."""
    provider = TracerProvider(shutdown_on_exit=False)
    otel_llm.configure(tracer_provider=provider, service_name="svc")
    attributes = {semconv.OPERATION_NAME: "chat", semconv.REQUEST_MODEL: "m"}
    provider.get_tracer("app").start_span("chat m", attributes=attributes).end()
    otel_llm.flush()
    code, data = asked(capsys)
    assert (code, data["store"]["calls"]) == (0, 1)
    assert data["store"]["last_call"] == pytest.approx(time.time(), abs=60)


def test_another_backends_old_calls_do_not_make_up_for_silence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Opik is configured and nothing was ever spooled for it, calls in the local store prove nothing."""
    test_the_local_store_counts_as_recorded(capsys)
    monkeypatch.setenv("OTEL_LLM_BACKEND", "opik")
    assert asked(capsys)[0] == 1


def test_a_table_of_states_that_are_ok_says_why_it_is_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where other backends have all they were owed, it is said that the configured one never got anything."""
    provider = TracerProvider(shutdown_on_exit=False)
    otel_llm.configure(tracer_provider=provider, backend="local", service_name="svc", spans="all")
    provider.get_tracer("app").start_span("work").end()
    otel_llm.shutdown()
    assert main(["status"]) == 0
    assert "Not ok" not in capsys.readouterr().out
    monkeypatch.setenv("OTEL_LLM_BACKEND", "otlp")
    assert main(["status"]) == 1
    out = capsys.readouterr().out
    assert "Not ok: nothing was recorded for otlp yet." in out


@pytest.mark.parametrize(("backend", "expected"), [("opik", 0), ("local,opik", 1)])
def test_a_store_that_cannot_be_read_hides_nothing_else(
    backend: str, expected: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of a newer version, say: what waits elsewhere is shown, and it counts where programs write to it."""
    monkeypatch.setenv("OTEL_LLM_BACKEND", backend)
    leave(spool_of())
    path = config.load().store_path
    with closing(sqlite3.connect(path)) as store:
        store.execute("PRAGMA user_version = 99")
    code, said = asked(capsys)
    assert (code, said["services"]["svc"]["opik"]["state"]) == (expected, "ok")
    assert (said["store"]["calls"], "newer" in said["store"]["trouble"]) == (None, True)
    assert main(["status"]) == expected
    out = capsys.readouterr().out
    assert "schema version 99" in out
    assert "delivered" in out


def test_the_state_fits_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts are a table that fits any terminal; moments stand below it, in words."""
    leave(spool_of("our-service"))
    leave(spool_of("our-service"), delivered=False, age=3600)
    main(["status"])
    table, _, below = capsys.readouterr().out.partition("Local store")
    assert max(map(len, table.splitlines())) <= 80
    assert "our-service -> opik: last delivery 20" in below
    assert ", oldest waiting span 20" in below


def test_what_waits_for_a_closed_workspace_is_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the backend's, counted once, and named with its workspace and the reason, in words and in JSON."""
    spool = spool_of()
    spool.append(batch_of(4))
    parcel = spool.take("opik", 1 << 20)
    assert parcel is not None
    spool.note_failure("opik @globex", Failure("The key may not.", "forbidden", True, time.time(), time.time()))
    spool.settle("opik", parcel, (), [Share("globex", 0, batch_of(3))])
    spool.close()
    code, told = asked(capsys)
    assert code == 1
    assert list(told["services"]["svc"]) == ["opik"]
    found = told["services"]["svc"]["opik"]
    assert (found["state"], found["created"], found["delivered"], found["waiting"]) == ("degraded", 4, 1, 3)
    (workspace,) = found["workspaces"]
    assert (workspace["workspace"], workspace["waiting"], workspace["cause"]) == ("globex", 3, "The key may not.")
    main(["status"])
    assert "3 spans wait for it: The key may not." in capsys.readouterr().out
