"""`otel-llm config show`: what it prints, piped and as JSON, and what it never prints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from otel_llm.cli import main
from otel_llm.config import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _own_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def test_the_table_has_every_setting_with_value_and_source(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Piped, each setting is one plain line: name, value, source, nothing cut however long."""
    long = "https://collector.example/" + "very-long-path/" * 20
    monkeypatch.setenv("OTEL_LLM_OTLP_ENDPOINT", long)
    (tmp_path / "otel-llm.toml").write_text('backend = ["local", "otlp"]\n')
    assert main(["config", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["setting", "value", "source"]
    rows = {line.split()[0]: line.split(maxsplit=2)[1:] for line in lines[2:]}
    assert list(rows) == [setting.name for setting in SETTINGS]
    assert rows["backend"] == ["local,otlp", f"file {tmp_path / 'otel-llm.toml'}"]
    assert rows["otlp.endpoint"] == [long, "environment OTEL_LLM_OTLP_ENDPOINT"]
    assert rows["batch_size"] == ["64", "default"]
    assert "\x1b" not in "".join(lines)


def test_json_holds_typed_values(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` is one object: name to value and source, numbers as numbers and lists as lists."""
    monkeypatch.setenv("OTEL_LLM_BATCH_SIZE", "8")
    assert main(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert list(shown) == [setting.name for setting in SETTINGS]
    assert shown["batch_size"] == {"value": 8, "source": "environment OTEL_LLM_BATCH_SIZE"}
    assert shown["backend"] == {"value": ["local"], "source": "default"}
    assert shown["opik.project"] == {"value": None, "source": "default"}


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_secrets_are_masked(
    options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys, header values and passwords in addresses are shown as set, not as what they are."""
    monkeypatch.setenv("OPIK_API_KEY", "s3cret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=s3cret")
    monkeypatch.setenv("OPIK_URL_OVERRIDE", "https://user:s3cret@opik.example/api")
    assert main(["config", "show", *options]) == 0
    out = capsys.readouterr().out
    assert "s3cret" not in out
    assert "https://***@opik.example/api" in out
    assert "environment OPIK_API_KEY" in out


def test_wrong_settings_end_in_code_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt variable is bad input: nothing on stdout, the nearest name on stderr."""
    monkeypatch.setenv("OTEL_LLM_BAKEND", "opik")
    assert main(["config", "show"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err == "otel-llm: OTEL_LLM_BAKEND (environment): there is no such setting; did you mean 'OTEL_LLM_BACKEND'?\n"
    )
