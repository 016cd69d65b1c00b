"""`otel-llm ship` and `replay`: what a program left in its spool arrives, and the exit code says whether it did."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from otel_llm import config
from otel_llm.cli import main
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_files import spool_directory
from tests.crash.kit import batch_of, new_ids, wait_until
from tests.fakes.http_server import closed_port
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OtlpReceiver]:
    """An OTLP receiver that the settings name, in a directory without other settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with OtlpReceiver() as server:
        monkeypatch.setenv("OTEL_LLM_BACKEND", "otlp")
        monkeypatch.setenv("OTEL_LLM_OTLP_ENDPOINT", server.url)
        yield server


def leave(*backends: str, spans: int = 4, service: str = "svc") -> list[str]:
    """Leave a batch for these backends, as a program that was killed does; its span ids."""
    spool = Spool(spool_directory(config.load().state_dir, service))
    spool.register(backends)
    ids = new_ids(spans)
    spool.append(batch_of(ids))
    spool.close()
    return ids


def arrived(receiver: OtlpReceiver) -> list[str]:
    """The span ids that the receiver took."""
    return [span.span_id.hex() for span in receiver.spans]


def test_ship_delivers_what_a_dead_program_left(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything arrives, the exit code is 0, and one line per backend says so."""
    ids = leave("otlp")
    assert main(["ship"]) == 0
    assert arrived(receiver) == ids
    assert capsys.readouterr().out == "svc -> otlp: 4 delivered, 0 waiting, 0 rejected or dropped\n"


def test_ship_counts_its_own_run(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """What earlier runs delivered is not counted again, in words or as JSON."""
    leave("otlp")
    assert main(["ship"]) == 0
    leave("otlp", spans=3)
    capsys.readouterr()
    assert main(["ship"]) == 0
    assert capsys.readouterr().out == "svc -> otlp: 3 delivered, 0 waiting, 0 rejected or dropped\n"
    assert main(["ship", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["svc"]["otlp"]
    assert (counts["created"], counts["delivered"], counts["waiting"]) == (0, 0, 0)


def test_ship_says_why_it_could_not(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nobody listening the exit code is 1, the reason is named, and nothing is lost."""
    ids = leave("otlp")
    monkeypatch.setenv("OTEL_LLM_OTLP_ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert main(["ship", "--timeout", "5"]) == 1
    assert "0 delivered, 4 waiting" in capsys.readouterr().out
    monkeypatch.setenv("OTEL_LLM_OTLP_ENDPOINT", receiver.url)
    assert main(["ship"]) == 0
    assert arrived(receiver) == ids


def test_ship_with_nothing_to_do(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Without a spool it says so, succeeds, and makes none."""
    assert main(["ship"]) == 0
    assert "Nothing was ever spooled" in capsys.readouterr().out
    assert not (config.load().state_dir / "spool").exists()


def test_ship_of_a_misspelt_service_names_those_that_are_here(
    receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does not say that nothing was ever spooled, where only the name is wrong."""
    leave("otlp")
    assert main(["ship", "--service", "scv"]) == 0
    captured = capsys.readouterr()
    assert "Nothing was ever spooled for service 'scv' in " in captured.out
    assert captured.err == "Other services with a spool here: svc (--service NAME).\n"
    assert arrived(receiver) == []


def test_ship_as_json(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts come as JSON."""
    leave("otlp")
    assert main(["ship", "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)["svc"]["otlp"]
    assert (counts["created"], counts["delivered"], counts["waiting"]) == (4, 4, 0)


def test_ship_leaves_backends_that_cannot_be_built(receiver: OtlpReceiver, capsys: pytest.CaptureFixture[str]) -> None:
    """A backend that does not exist any more is named, the others are served, and the exit code is 1."""
    ids = leave("otlp", "vanished")
    assert main(["ship"]) == 1
    assert arrived(receiver) == ids
    captured = capsys.readouterr()
    assert "vanished is left out" in captured.err
    assert "vanished: 0 delivered, 4 waiting" in captured.out


def test_ship_sends_nothing_to_an_address_that_it_had_to_guess(
    receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What waits for Opik stays where its address is wrong, also when Opik is not the backend configured here."""
    leave("opik")
    monkeypatch.setenv("OTEL_LLM_BACKEND", "local")
    monkeypatch.setenv("OPIK_URL_OVERRIDE", "junk")
    assert main(["ship", "--timeout", "5"]) == 1
    captured = capsys.readouterr()
    assert "opik is left out: opik.url (environment OPIK_URL_OVERRIDE): 'junk' is not a web address" in captured.err
    assert captured.out == "svc -> opik: 0 delivered, 4 waiting, 0 rejected or dropped\n"


def test_ship_serves_all_services_or_the_one_named(receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no service configured every spool is served; with one, or `--service`, only that."""
    first, second = leave("otlp", service="one"), leave("otlp", service="two")
    third = leave("otlp", service="three")
    assert main(["ship", "--service", "two"]) == 0
    assert arrived(receiver) == second
    monkeypatch.setenv("OTEL_SERVICE_NAME", "one")
    assert main(["ship"]) == 0
    assert arrived(receiver) == second + first
    monkeypatch.delenv("OTEL_SERVICE_NAME")
    assert main(["ship"]) == 0
    assert arrived(receiver) == second + first + third


def test_ship_watch_delivers_what_comes_until_it_is_stopped(receiver: OtlpReceiver) -> None:
    """It waits for a first spool, delivers what comes, from new services too, and ends with SIGTERM and exit code 0."""
    command = [sys.executable, "-c", "from otel_llm.cli import main; raise SystemExit(main())", "ship", "--watch"]
    watcher = subprocess.Popen(command)
    try:
        leave("otlp")
        assert wait_until(lambda: len(receiver.spans) == 4, 60)
        leave("otlp", spans=3)
        assert wait_until(lambda: len(receiver.spans) == 7, 60)
        leave("otlp", spans=2, service="later")
        assert wait_until(lambda: len(receiver.spans) == 9, 60)
        watcher.send_signal(signal.SIGTERM)
        assert watcher.wait(20) == 0
    finally:
        watcher.kill()
        watcher.wait()
