"""The console backend: what is shown of a span, where, and what is not."""

from __future__ import annotations

import io
import json
import sys

import pytest
from opentelemetry.trace import Status, StatusCode

from otel_llm import semconv
from otel_llm.backends.console import ConsoleBackend, create
from otel_llm.config import load
from otel_llm.contracts import CheckStatus, Delivered, Retry
from otel_llm.delivery.codec import decode
from otel_llm.otlp_json import from_otlp_json
from tests.fakes.spans import make_batch

CALL = {
    semconv.USAGE_INPUT: 10,
    semconv.USAGE_OUTPUT: 5,
    semconv.COST: 0.00125,
    semconv.TENANT_ID: "acme",
    semconv.CACHE_HIT: True,
    semconv.INPUT_MESSAGES: "canary prompt",
}


def _printed(**fields: object) -> str:
    stream = io.StringIO()
    assert ConsoleBackend(stream).send(make_batch(**fields), timeout=1) == Delivered(1)  # type: ignore[arg-type]
    return stream.getvalue()


def test_line_tells_the_call_and_none_of_its_content() -> None:
    """Name, duration, tokens, cost, cache and tenant are there; the prompt is not."""
    line = _printed(name="chat gpt-5", attributes=CALL)
    assert line.count("\n") == 1
    for part in ("22:13:20.000", "chat gpt-5", "1.50s", "tokens=10+5", "cost=$0.001250", "cache=hit", "tenant=acme"):
        assert part in line
    assert "canary" not in line
    assert "ERROR" not in line


def test_error_is_shown_with_its_type() -> None:
    """A failed call says so; its message, which may quote a prompt, stays away."""
    line = _printed(attributes={semconv.ERROR_TYPE: "RateLimitError"}, status=Status(StatusCode.ERROR, "canary"))
    assert line.rstrip().endswith("ERROR RateLimitError")
    assert "canary" not in line


def test_escape_sequences_do_not_reach_the_terminal() -> None:
    """Names are shown without control characters and not at any length."""
    line = _printed(name="evil\x1b]0;title\x07\nfake line" + "x" * 5000, attributes={semconv.TENANT_ID: "\x1b[2J"})
    assert "\x1b" not in line
    assert line.count("\n") == 1
    assert len(line) < 500


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, b"bytes", None, True])
def test_odd_values_are_no_crash(value: object) -> None:
    """Values of any type in the attributes that are shown are shown somehow."""
    assert "tokens=" in _printed(attributes={semconv.USAGE_INPUT: value, semconv.COST: value})


def test_json_style_prints_what_was_sent() -> None:
    """In JSON style each batch is a line of OTLP/JSON."""
    stream = io.StringIO()
    batch = make_batch(2, attributes=CALL)
    ConsoleBackend(stream, style="json").send(batch, timeout=1)
    assert from_otlp_json(json.loads(stream.getvalue())) == decode(batch)


def test_standard_error_is_used_and_standard_output_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output belongs to the program, for example to a pipe."""
    create(load()).send(make_batch(name="seen"), timeout=1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "seen" in captured.err


def test_stream_that_cannot_show_a_letter_shows_its_code() -> None:
    """An ASCII terminal gets escapes, not an error."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    assert ConsoleBackend(stream).send(make_batch(name="größe"), timeout=1) == Delivered(1)
    assert rb"gr\xf6\xdfe" in raw.getvalue()


def test_program_without_standard_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no console the spans are kept, and send and check say why."""
    monkeypatch.setattr(sys, "stderr", None)
    backend = ConsoleBackend()
    outcome = backend.send(make_batch(), timeout=1)
    assert isinstance(outcome, Retry)
    assert outcome.needs_action
    assert backend.check()[0].status is CheckStatus.FAILED


def test_close_leaves_the_stream_open() -> None:
    """The stream is the program's."""
    stream = io.StringIO()
    ConsoleBackend(stream).close()
    assert not stream.closed
