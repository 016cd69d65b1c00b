"""Planted secrets turn up in nothing that a person is shown: commands, health pages, metrics, errors of ours."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm.cli import main
from otel_llm.control.health_app import page
from otel_llm.errors import OtelLlmError
from otel_llm.testing import FakeProvider
from tests.unit.control.test_canaries import (
    OPIK_KEY,
    OTLP_HEADER,
    PROXY_PASSWORD,
    Places,
    calls_with_canaries,
    canary,
    places,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["places"]

WORD = "CANARY"


@pytest.fixture
def provider() -> Iterator[TracerProvider]:
    """A tracer provider of the program's own."""
    made = TracerProvider(shutdown_on_exit=False)
    yield made
    made.shutdown()


def streams_with_canaries() -> None:
    """A stream that is read to its end, one that breaks off, and embeddings, all of them asked with canaries."""
    import litellm

    with FakeProvider() as server:
        to: dict[str, Any] = {"api_base": server.openai_base, "api_key": canary("apikey"), "max_retries": 0}
        messages = [{"role": "user", "content": f"hello {canary('prompt')}"}]
        server.answer(f"streamed {canary('answer')}")
        list(litellm.completion(model="openai/gpt-4o-mini", messages=messages, stream=True, **to))
        server.answer(f"streamed {canary('answer')}")
        stream = litellm.completion(model="openai/gpt-4o-mini", messages=messages, stream=True, **to)
        next(iter(stream))
        del stream
        litellm.embedding(model="openai/text-embedding-3-small", input=[canary("prompt")], **to)


@pytest.mark.parametrize("content", ["off", "on"])
def test_nothing_that_is_shown_holds_a_canary(
    content: str,
    places: Places,
    provider: TracerProvider,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Health pages, metrics and every command about what was recorded show none, and neither do logs at DEBUG."""
    with caplog.at_level(logging.DEBUG, "otel_llm"):
        otel_llm.configure(tracer_provider=provider, **places.settings(content=content, instrument=["litellm"]))
        calls_with_canaries(provider)
        streams_with_canaries()
        assert otel_llm.flush(20)
        shown = {path: page("GET", path).body.decode() for path in ("/healthz", "/readyz", "/metrics")}
        otel_llm.shutdown()
        shown["start"] = "".join(capfd.readouterr())
        for name, value in _settings_of(places).items():
            monkeypatch.setenv(name, value)
        store = next(places.directory.rglob("store.db"))
        file = next(path for path in places.directory.rglob("*.jsonl"))
        for words in (
            ["usage", "--store", str(store), "--json"],
            ["usage", "--store", str(store), "--by", "model,user,session"],
            ["status", "--json"],
            ["config", "show"],
            ["lint", str(store), "--json"],
            ["lint", str(file)],
        ):
            main(words)
            shown[" ".join(words[:2])] = "".join(capfd.readouterr())
    shown["log"] = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("otel_llm"))
    assert {
        place: text[max(0, at - 60) : at + 60] for place, text in shown.items() if (at := text.find(WORD)) >= 0
    } == {}
    assert "gpt-4o-mini" in shown["usage --store"]
    assert "gen_ai.usage.cost" in shown[f"lint {file}"]


def _settings_of(places: Places) -> dict[str, str]:
    return {
        "OTEL_LLM_STATE_DIR": str(places.directory),
        "OTEL_LLM_BACKEND": "local,otlp,opik",
        "OTEL_LLM_OTLP_ENDPOINT": places.otlp.url,
        "OTEL_LLM_OTLP_HEADERS": f"x-token={OTLP_HEADER}",
        "OTEL_LLM_OPIK_URL": places.opik.url,
        "OTEL_LLM_OPIK_API_KEY": OPIK_KEY,
    }


@pytest.mark.parametrize(
    "settings",
    [
        {"otlp_endpoint": f"ftp://me:{PROXY_PASSWORD}@h", "backend": "otlp"},
        {"opik_url": f"ftp://me:{PROXY_PASSWORD}@h", "backend": "opik"},
        {"opik_api_key": f"{OPIK_KEY}\n", "opik_url": "nonsense", "backend": "opik"},
        {"otlp_headers": OTLP_HEADER, "backend": "otlp"},
        {"opik_api_key": ["CANARY"], "backend": "opik"},
    ],
    ids=["endpoint", "opik url", "key with a line end", "headers", "key of another type"],
)
def test_errors_about_secrets_do_not_say_them(settings: dict[str, Any]) -> None:
    """An error about a setting that holds a secret names the setting, not the secret, in its text and its causes."""
    with pytest.raises(OtelLlmError) as caught:
        otel_llm.configure(**settings)
    seen: BaseException | None = caught.value
    texts = []
    while seen is not None:
        texts.append(f"{seen!r} {seen}")
        seen = seen.__cause__
    assert WORD not in json.dumps(texts)
