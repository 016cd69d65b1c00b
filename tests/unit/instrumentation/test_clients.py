"""Which instrumentation records a client library, by what is installed and fits, and what is said if none does."""

from __future__ import annotations

import logging
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_llm
from otel_llm.cli import config
from otel_llm.config import CLIENT_LIBRARIES, load
from otel_llm.control.doctor.recording import check_recording
from otel_llm.errors import ConfigError, InstrumentationError
from otel_llm.instrumentation.clients import ClientInstrumentation, content, switch
from otel_llm.instrumentation.clients.table import CLIENTS, Family

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OTEL = "opentelemetry-instrumentation-genai-openai"
OPENINFERENCE = "openinference-instrumentation-openai"


class Instrumentor:
    """An upstream instrumentation: keeps what it is told, and begins spans as long as it may."""

    is_instrumented_by_opentelemetry = False
    broken = False
    begun: list[Any] = []  # noqa: RUF012
    ended = 0

    def instrument(self, **arguments: Any) -> None:
        """Begin."""
        if self.broken:
            raise ImportError("the library has moved its modules")
        type(self).begun.append({**arguments, "mode": os.environ.get(content._GENAI_MODE)})
        if content._GENAI_MODE in os.environ:
            os.environ[content._GENAI_EVENTS] = "true"  # as OpenTelemetry's google-genai does

    def uninstrument(self) -> None:
        """End, leaving behind whatever was made."""
        type(self).ended += 1


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Versions of what is installed: openai, and whatever a test adds."""
    versions = {"openai": "2.0.0"}
    needs: dict[str, list[str]] = {OTEL: ["openai<3,>=1.26; extra == 'instruments'"]}
    monkeypatch.setattr(switch, "_version", versions.get)
    monkeypatch.setattr(switch.metadata, "requires", lambda name: needs.get(name, []))
    Instrumentor.begun, Instrumentor.ended, Instrumentor.broken = [], 0, False
    for upstream in CLIENTS["openai"].upstreams:
        module = ModuleType(upstream.module)
        kind = type(upstream.instrumentor, (Instrumentor,), {"begun": Instrumentor.begun})
        setattr(module, upstream.instrumentor, kind)
        monkeypatch.setitem(sys.modules, upstream.module, module)
    monkeypatch.setitem(sys.modules, "openinference.instrumentation", _tracer_settings())
    monkeypatch.setitem(sys.modules, "openai", ModuleType("openai"))
    yield versions
    assert content._silenced == {}
    assert content._GENAI_EVENTS not in os.environ


def _tracer_settings() -> ModuleType:
    module = ModuleType("openinference.instrumentation")
    module.TraceConfig = SimpleNamespace  # type: ignore[attr-defined]
    return module


def _client(*, captures_content: bool = False) -> ClientInstrumentation:
    return ClientInstrumentation("openai", TracerProvider(), captures_content=captures_content)


def test_the_first_that_is_installed_records(installed: dict[str, str]) -> None:
    """OpenTelemetry's own goes before OpenInference's, which records where it is alone."""
    installed[OPENINFERENCE] = "0.1.66"
    assert _client().by == f"{OPENINFERENCE} 0.1.66"
    installed[OTEL] = "1.3b0"
    assert _client().by == f"{OTEL} 1.3b0"


def test_one_for_another_version_is_passed_over(installed: dict[str, str]) -> None:
    """One that does not fit the version of the library gives way to the next; where there is none, it is named."""
    installed.update({"openai": "3.1.0", OTEL: "1.3b0"})
    alone = _client()
    assert alone.by == ""
    assert f"{OTEL} 1.3b0 is for openai<3,>=1.26 (installed is 3.1.0)" in (alone.problem or "")
    installed[OPENINFERENCE] = "0.1.66"
    assert _client().by == f"{OPENINFERENCE} 0.1.66"


def test_what_is_missing_is_said_at_once(installed: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    """The warning says what is not recorded, why, and the command that helps."""
    with caplog.at_level(logging.WARNING):
        _client().begin()
    assert "openai 2.0.0 is not recorded" in caplog.text
    assert "no instrumentation that fits it is installed" in caplog.text
    assert "pip install 'otel-llm[openai]'" in caplog.text
    caplog.clear()
    del installed["openai"]
    _client().begin()
    assert "is named in `instrument` and is not installed in this Python" in caplog.text


def test_one_that_fails_gives_way_to_the_next(installed: dict[str, str]) -> None:
    """An instrumentation that cannot begin here (its library has moved) is no harm: the next one records."""
    installed.update({OTEL: "1.3b0", OPENINFERENCE: "0.1.66"})
    sys.modules[CLIENTS["openai"].upstreams[0].module].OpenAIInstrumentor.broken = True
    client = _client()
    client.begin()
    assert client.by == f"{OPENINFERENCE} 0.1.66"
    client.end()


def test_what_the_program_turned_on_is_left_alone(installed: dict[str, str]) -> None:
    """An instrumentation that is on already is neither begun again nor ended."""
    installed[OTEL] = "1.3b0"
    kind = sys.modules[CLIENTS["openai"].upstreams[0].module].OpenAIInstrumentor
    kind.is_instrumented_by_opentelemetry = True
    client = _client()
    client.begin()
    assert client.by == f"{OTEL} 1.3b0, turned on by the program"
    client.end()
    assert (Instrumentor.begun, kind.ended) == ([], 0)


@pytest.mark.parametrize(
    ("said", "wanted", "mode"),
    [
        (None, True, "SPAN_ONLY"),
        (None, False, "NO_CONTENT"),
        ("EVENT_ONLY", True, "SPAN_AND_EVENT"),
        ("EVENT_ONLY", False, "EVENT_ONLY"),
        ("SPAN_AND_EVENT", False, "EVENT_ONLY"),
    ],
)
def test_content_on_spans_is_ours_to_say(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch, said: str | None, wanted: bool, mode: str
) -> None:
    """OpenTelemetry's hear our content policy for spans and the program's own word for events; the variable is kept."""
    installed[OTEL] = "1.3b0"
    monkeypatch.delenv(content._GENAI_MODE, raising=False)
    if said is not None:
        monkeypatch.setenv(content._GENAI_MODE, said)
    client = _client(captures_content=wanted)
    client.begin()
    assert Instrumentor.begun[-1]["mode"] == mode
    assert os.environ.get(content._GENAI_MODE) == said
    client.end()


def test_openinference_hides_what_is_not_wanted(installed: dict[str, str]) -> None:
    """OpenInference is told to hide inputs and outputs, unless content is wanted."""
    installed[OPENINFERENCE] = "0.1.66"
    for wanted in (False, True):
        client = _client(captures_content=wanted)
        client.begin()
        hidden = vars(Instrumentor.begun[-1]["config"])
        assert hidden.get("hide_inputs", False) is not wanted
        assert hidden.get("hide_outputs", False) is not wanted
        client.end()


def test_openllmetrys_variable_is_set_and_given_back(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenLLMetry reads its variable with every call: it says no while we record, unless the program has set it."""
    installed["opentelemetry-instrumentation-openai"] = "0.62.4"
    monkeypatch.delenv(content._TRACELOOP, raising=False)
    client = _client()
    client.begin()
    assert os.environ[content._TRACELOOP] == "false"
    client.end()
    assert content._TRACELOOP not in os.environ
    monkeypatch.setenv(content._TRACELOOP, "true")
    client.begin()
    assert os.environ[content._TRACELOOP] == "true"
    client.end()
    assert os.environ[content._TRACELOOP] == "true"


def test_tracers_that_were_handed_out_are_silent_after_the_end(installed: dict[str, str]) -> None:
    """An instrumentation that cannot be undone records nothing once we have let go of it."""
    installed[OTEL] = "1.3b0"
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    client = ClientInstrumentation("openai", provider, captures_content=False)
    client.begin()
    tracer = Instrumentor.begun[-1]["tracer_provider"].get_tracer("left behind")
    tracer.start_span("while it lasts").end()
    client.end()
    tracer.start_span("afterwards").end()
    assert [span.name for span in exporter.get_finished_spans()] == ["while it lasts"]


def test_metrics_are_left_to_us(installed: dict[str, str]) -> None:
    """Upstream's own metrics would count every call a second time: it gets a meter provider that counts nothing."""
    installed[OTEL] = "1.3b0"
    client = _client()
    client.begin()
    assert type(Instrumentor.begun[-1]["meter_provider"]).__name__ == "NoOpMeterProvider"
    client.end()


def test_every_client_has_instrumentations_in_a_fixed_order() -> None:
    """Each name of the setting has a row, and OpenLLMetry is never before the others."""
    assert tuple(CLIENTS) == CLIENT_LIBRARIES
    for client in CLIENTS.values():
        families = [upstream.family for upstream in client.upstreams]
        assert families
        others = [family for family in families if family is not Family.BUILT_IN]
        if Family.OPENLLMETRY in others:
            assert others[-1] is Family.OPENLLMETRY


@pytest.mark.parametrize(
    ("word", "name"),
    [("gemini", "google-genai"), ("Google_GenAI", "google-genai"), ("boto3", "bedrock"), ("llamaindex", "llama-index")],
)
def test_obvious_spellings_are_understood(word: str, name: str) -> None:
    """Import names and other obvious words mean the library."""
    assert load({"instrument": [word]}, environ={}).instrument == (name,)


def test_an_unknown_name_is_an_error_that_names_the_nearest() -> None:
    """A slip in `instrument` stops the start and says what was meant."""
    with pytest.raises(ConfigError, match="did you mean 'anthropic'"):
        load({"instrument": "antropic"}, environ={})


def test_strict_insists(tmp_path: Path) -> None:
    """Under `strict`, a named library that is not recorded is an error; else the status says it is missing."""
    settings = {"backend": "none", "instrument": ["dspy"], "state_dir": tmp_path}
    provider = TracerProvider()
    try:
        status = otel_llm.configure(tracer_provider=provider, **settings)
        (entry,) = [one for one in status.instrumented if one.library == "dspy"]
        assert (entry.state, entry.why) == ("missing", "not installed")
        with pytest.raises(InstrumentationError, match="dspy"):
            otel_llm.configure(tracer_provider=provider, strict=True, **settings)
    finally:
        otel_llm.shutdown()


def test_doctor_says_who_records_and_what_is_missing(installed: dict[str, str]) -> None:
    """The check names the package that will record a library, or the command that installs one."""
    settings = load({"instrument": ["openai"]}, environ={})
    found = {one.check: one for one in check_recording(settings)}
    assert "pip install 'otel-llm[openai]'" in found["recording.openai"].remedy
    installed[OTEL] = "1.3b0"
    found = {one.check: one for one in check_recording(settings)}
    assert f"by {OTEL} 1.3b0" in found["recording.openai"].evidence


def test_a_library_that_records_itself_is_the_last_resort(installed: dict[str, str]) -> None:
    """Anthropic's own tracing counts from 2.0 on, after every instrumentation; an older version is not recorded."""
    installed["anthropic"] = "2.14.0"
    made = ClientInstrumentation("anthropic", TracerProvider(), captures_content=False)
    assert (made.by, made.problem) == ("anthropic 2.14.0", None)
    installed["openinference-instrumentation-anthropic"] = "3.1.0"
    made = ClientInstrumentation("anthropic", TracerProvider(), captures_content=False)
    assert made.by == "openinference-instrumentation-anthropic 3.1.0"
    del installed["openinference-instrumentation-anthropic"]
    installed["anthropic"] = "1.9.0"
    made = ClientInstrumentation("anthropic", TracerProvider(), captures_content=False)
    assert "anthropic 1.9.0 is for anthropic>=2 (installed is 1.9.0)" in (made.problem or "")


def test_config_show_names_who_records(installed: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """`otel-llm config show` ends with the package behind each named library, or what is missing."""
    installed[OTEL] = "1.3b0"
    config._write_clients(load({"instrument": ["openai", "ollama"]}, environ={}))
    printed = capsys.readouterr().out
    assert f"{OTEL} 1.3b0" in printed
    assert "ollama is named in `instrument` and is not installed in this Python" in printed
