"""Secrets planted in every place where one can hide turn up nowhere that outlives the call.

Real litellm calls run against a provider on loopback, with every backend on at once; then the bytes of all that was
written, sent, logged or shown are searched for the planted words.
"""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

import otel_llm
from otel_llm import faults
from otel_llm.config import load
from otel_llm.errors import ConfigError
from otel_llm.testing import FakeProvider
from tests.fakes.opik import FakeOpik
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from opentelemetry.sdk.trace import TracerProvider

    from tests.crash.disaster_table import Verdict

CANARY = "sk-proj-CANARY{0}0123456789"
"""Looks like a key, so that it has to go even where content is recorded."""
OPIK_KEY = "opikCANARYkey0123456789"
OTLP_HEADER = "otlpCANARYheader012345"
PROXY_PASSWORD = "proxyCANARYpass0123"


def canary(place: str) -> str:
    """The word that is planted in this place."""
    return CANARY.format(place)


class Places:
    """Every backend with a place of its own to write to, and all that can be read of them afterwards."""

    def __init__(self, directory: Path, opik: FakeOpik, otlp: OtlpReceiver) -> None:
        self.directory, self.opik, self.otlp = directory, opik, otlp

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "backend": ["local", "file", "console", "otlp", "opik"],
            "state_dir": self.directory,
            "otlp_endpoint": self.otlp.url,
            "otlp_headers": {"x-token": OTLP_HEADER},
            "otlp_compression": "none",
            "opik_url": self.opik.url,
            "opik_api_key": OPIK_KEY,
            "opik_project": "canaries",
            **more,
        }

    def everything(self) -> dict[str, bytes]:
        """Where -> bytes, without the headers in which our own keys travel to their servers."""
        found = {str(path): path.read_bytes() for path in self.directory.rglob("*") if path.is_file()}
        found["otlp"] = b"".join(request.content for request in self.otlp.requests)
        found["opik"] = json.dumps(self.opik.spans()).encode()
        return found


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """Servers for the backends, a directory for the rest, and a proxy address with a password in the environment."""
    monkeypatch.setenv("CANARY_PROXY", f"http://me:{PROXY_PASSWORD}@proxy.invalid:3128")
    with FakeOpik() as opik, OtlpReceiver() as otlp:
        yield Places(tmp_path / "state", opik, otlp)
        otel_llm.shutdown()


def calls_with_canaries(provider: TracerProvider) -> None:
    """One call that succeeds, one that fails, and spans of another instrumentation, all full of canaries."""
    import litellm

    with FakeProvider() as server:
        server.answer(f"the answer is {canary('answer')}")
        server.error(401, {"error": {"message": f"Incorrect API key provided: {canary('error')}"}})
        arguments: dict[str, Any] = {
            "model": "openai/gpt-4o-mini",
            "api_base": server.openai_base,
            "api_key": canary("apikey"),
            "max_retries": 0,
            "num_retries": 0,
            "messages": [
                {"role": "system", "content": f"be kind {canary('system')}"},
                {"role": "user", "content": f"hello {canary('prompt')}"},
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "c1",
                            "type": "function",
                            "function": {"name": "find", "arguments": json.dumps({"q": canary("toolargs")})},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": canary("toolresult")},
            ],
            "metadata": {"note": canary("metadata"), "api_key": "plain-CANARY-word"},
            "extra_headers": {"x-extra": canary("header")},
            "extra_query": {"api_key": canary("query")},
        }
        litellm.completion(**arguments)
        with contextlib.suppress(litellm.exceptions.APIError, litellm.exceptions.AuthenticationError):
            litellm.completion(**arguments)
        _other_forms(server)
    _own_work()
    _foreign_span(provider)


def _other_forms(server: FakeProvider) -> None:
    """A stream, an embedding, a Responses call with instructions and a tool."""
    import litellm

    server.stream([f"it is {canary('chunk')} ", "far"])
    shared = {"api_base": server.openai_base, "api_key": canary("apikey"), "max_retries": 0}
    said = [{"role": "user", "content": canary("prompt")}]
    list(litellm.completion("openai/gpt-4o-mini", said, stream=True, user=canary("user"), **shared))
    litellm.embedding("openai/text-embedding-3-small", input=[canary("embedded")], **shared)
    tool = {"type": "function", "name": "find", "description": canary("tooldescription"), "parameters": {}}
    litellm.responses(
        model="openai/gpt-4o-mini", input=canary("prompt"), instructions=canary("instructions"), tools=[tool], **shared
    )


def _own_work() -> None:
    """A function of the program's, with canaries in its arguments, its result, its tags and what it raises."""

    @otel_llm.trace("lookup", operation="tool")
    def lookup(query: str, *, broken: bool) -> dict[str, str]:
        otel_llm.current().set({"app.note": canary("attribute")})
        if broken:
            raise ValueError(canary("raised"))
        return {"found": canary("found")}

    lookup(canary("argument"), broken=False)
    with contextlib.suppress(ValueError):
        lookup(canary("argument"), broken=True)


def _foreign_span(provider: TracerProvider) -> None:
    span = provider.get_tracer("somebody").start_span(f"GET {canary('spanname')}")
    span.set_attribute("url.full", f"http://me:{PROXY_PASSWORD}@h/p?api_key={canary('query')}")
    span.set_attribute("http.request.header.authorization", [f"Bearer {canary('header')}"])
    span.set_attribute("input.value", json.dumps({"text": canary("prompt")}))
    span.add_event("gen_ai.user.message", {"content": canary("event")})
    try:
        try:
            raise KeyError(canary("cause"))
        except KeyError as cause:
            raise ValueError(f"{canary('error')} {PROXY_PASSWORD}") from cause
    except ValueError as error:
        span.record_exception(error)
    span.set_status(_error_status(canary("status")))
    span.end()


def _error_status(description: str) -> Any:
    from opentelemetry.trace import Status, StatusCode

    return Status(StatusCode.ERROR, description)


@pytest.mark.parametrize("content", ["off", "metadata", "on"])
def test_canaries_are_found_nowhere(
    content: str,
    places: Places,
    provider: TracerProvider,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    verdict: Verdict,
) -> None:
    """No backend, spool, log at DEBUG, status, repr or start line holds a planted secret, whatever is recorded."""
    faults.reset_faults()
    with caplog.at_level(logging.DEBUG, "otel_llm"):
        otel_llm.configure(tracer_provider=provider, **places.settings(content=content))
        with otel_llm.tenant("acme"):
            calls_with_canaries(provider)
        assert otel_llm.flush(20)
        shown = repr(otel_llm.status()) + json.dumps(otel_llm.status().as_dict())
        created = next(backend.created for backend in otel_llm.status().backends if backend.name == "otlp")
        otel_llm.shutdown()
    printed = capfd.readouterr()
    ours = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("otel_llm"))
    found = {**places.everything(), "console": printed.err.encode(), "status": shown.encode(), "log": ours.encode()}
    assert printed.out.count("CANARY") == 0
    leaks = {
        place: data[max(0, at - 80) : at + 60] for place, data in found.items() if (at := data.find(b"CANARY")) >= 0
    }
    assert leaks == {}
    assert faults.fault_counts() == {}
    assert len(places.otlp.spans) >= 3
    assert any(b"gpt-4o-mini" in data for name, data in found.items() if name.endswith("store.db"))
    assert (b"hello <key>" in found["opik"]) is (content == "on")
    ids = [span.span_id for span in places.otlp.spans]
    verdict(
        28,
        f"secrets in every text, content {content}",
        created=created,
        delivered=len(set(ids)),
        duplicates=len(ids) - len(set(ids)),
        lost=created - len(set(ids)),
        varies=True,
    )


def test_a_dead_backend_leaves_no_canary_in_the_spool(places: Places, provider: TracerProvider) -> None:
    """What waits on disk for a backend that cannot be reached is as clean as what was delivered."""
    places.otlp.stop()
    otel_llm.configure(tracer_provider=provider, **places.settings(backend="otlp", content="on"))
    _foreign_span(provider)
    otel_llm.flush(1)
    (backend,) = otel_llm.status().backends
    cause = backend.cause or ""
    otel_llm.shutdown(0.5)
    written = {str(path): path.read_bytes() for path in places.directory.rglob("*") if path.is_file()}
    assert any(b"<key>" in data for data in written.values())
    assert [path for path, data in written.items() if b"CANARY" in data] == []
    assert "CANARY" not in cause


def test_settings_and_their_errors_show_no_secret() -> None:
    """The repr of the configuration, its explanation, and errors about wrong settings hold no key."""
    environ = {
        "OTEL_LLM_OPIK_API_KEY": OPIK_KEY,
        "OTEL_LLM_PSEUDONYM_KEY": "pseudoCANARY0123",
        "OTEL_LLM_OTLP_HEADERS": f"x={OTLP_HEADER}",
        "OTEL_LLM_OTLP_ENDPOINT": f"http://me:{PROXY_PASSWORD}@h:4318",
    }
    config = load(environ=environ)
    assert "CANARY" not in repr(config) + repr(config.explain())
    with pytest.raises(ConfigError) as caught:
        load({"backend": "otlp"}, environ={**environ, "OTEL_LLM_OTLP_ENDPOINT": f"ftp://me:{PROXY_PASSWORD}@h"})
    assert "CANARY" not in str(caught.value)
