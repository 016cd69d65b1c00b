"""`configure`, `status`, `flush` and `shutdown` as a program uses them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import otel_llm
from otel_llm import semconv
from otel_llm.errors import ConfigError, UnknownSettingError
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from pathlib import Path

    from opentelemetry.sdk.trace import TracerProvider


def run_program(source: str, tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a small program in an interpreter of its own, with a state directory of its own."""
    import os

    program = tmp_path / "program.py"
    program.write_text(textwrap.dedent(source))
    environ = {**os.environ, "OTEL_LLM_STATE_DIR": str(tmp_path / "state"), **environment}
    return subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=False, env=environ, timeout=60
    )


def test_an_existing_provider_is_joined_and_not_replaced(provider: TracerProvider) -> None:
    """The program's own processors keep working beside ours, on the same provider."""
    own = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(own))
    otel_llm.configure(tracer_provider=provider, backend="local")
    with otel_llm.tenant("acme"):
        provider.get_tracer("app").start_span("work").end()
    assert [span.name for span in own.get_finished_spans()] == ["work"]
    assert (own.get_finished_spans()[0].attributes or {})[semconv.TENANT_ID] == "acme"
    report = otel_llm.flush()
    assert (report.delivered, report.waiting) == (1, 0)
    assert report


def test_status_tells_where_every_span_is(provider: TracerProvider) -> None:
    """Before a delivery a backend is `starting`; afterwards it is `ok` with its counts."""
    before = otel_llm.configure(tracer_provider=provider, backend="local")
    assert [backend.state for backend in before.backends] == ["starting"]
    provider.get_tracer("app").start_span("work").end()
    otel_llm.flush()
    (after,) = otel_llm.status().backends
    assert (after.name, after.state, after.created, after.delivered, after.waiting) == ("local", "ok", 1, 1, 0)
    assert after.last_delivery is not None
    json.dumps(otel_llm.status().as_dict())


def couriers() -> list[str]:
    """The threads of couriers in this process."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("otel-llm-courier")]


def test_the_courier_begins_with_the_first_span_and_is_one_thread(provider: TracerProvider, tmp_path: Path) -> None:
    """`configure` starts none; with one backend behind a network there is one, and none at the end."""
    with OtlpReceiver() as receiver:
        settings = {"otlp_endpoint": receiver.url, "state_dir": tmp_path, "spans": "all", "instrument": []}
        otel_llm.configure(tracer_provider=provider, backend=["otlp", "local"], **settings)
        assert couriers() == []
        tracer = provider.get_tracer("app")
        first = tracer.start_span("work")
        assert couriers() == ["otel-llm-courier-otlp"]
        first.end()
        for _ in range(500):
            tracer.start_span("work").end()
        assert couriers() == ["otel-llm-courier-otlp"]
        assert otel_llm.flush(20)
        otel_llm.shutdown()
        assert couriers() == []


def test_an_unwritable_store_is_said_and_the_program_runs_on(provider: TracerProvider, tmp_path: Path) -> None:
    """With no place for the store, spans are counted, the state is `failing` and the cause says what to do."""
    (tmp_path / "file").write_text("not a directory")
    otel_llm.configure(
        tracer_provider=provider, backend="local", store_path=tmp_path / "file" / "store.db", export_timeout=1
    )
    provider.get_tracer("app").start_span("work").end()
    report = otel_llm.flush(30)
    assert not report
    (backend,) = otel_llm.status().backends
    assert backend.state == "failing"
    assert backend.created == 1
    assert str(tmp_path / "file") in (backend.cause or "")


def test_a_short_program_is_told_of_an_unwritable_store(
    provider: TracerProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who ends before anybody looked at the health reads at the end why nothing was stored."""
    (tmp_path / "file").write_text("not a directory")
    with caplog.at_level("WARNING", "otel_llm"):
        otel_llm.configure(tracer_provider=provider, backend="local", store_path=tmp_path / "file" / "store.db")
        provider.get_tracer("app").start_span("work").end()
        otel_llm.shutdown()
    (said,) = [record.getMessage() for record in caplog.records if "is failing" in record.getMessage()]
    assert str(tmp_path / "file") in said
    assert "OTEL_LLM_STORE_PATH" in said


def test_configuring_twice_alike_changes_nothing(provider: TracerProvider) -> None:
    """The same settings again leave the same pipeline in place."""
    from otel_llm.control import running

    otel_llm.configure(tracer_provider=provider, backend="none")
    first = running._running.pipeline
    otel_llm.configure(tracer_provider=provider, backend="none")
    assert running._running.pipeline is first


def test_several_backends_each_get_every_span(provider: TracerProvider, tmp_path: Path) -> None:
    """`backend=["local", "file"]` delivers each span to both."""
    otel_llm.configure(tracer_provider=provider, backend=["local", "file"], file_path=tmp_path / "spans.jsonl")
    provider.get_tracer("app").start_span("work").end()
    assert otel_llm.flush().delivered == 2
    assert len((tmp_path / "spans.jsonl").read_text().splitlines()) == 1


def test_a_wrong_setting_is_an_error_that_names_the_right_one() -> None:
    """An unknown keyword raises and nothing is started."""
    with pytest.raises(UnknownSettingError, match="backend"):
        otel_llm.configure(bakend="local")
    with pytest.raises(ConfigError, match="local"):
        otel_llm.configure(backend="locl")
    assert not otel_llm.status().running


@pytest.mark.parametrize(
    ("argument", "value", "said"),
    [
        ("tracer_provider", 5, "is of type int, which has no get_tracer"),
        ("meter_provider", "otlp", "is of type str, which has no get_meter"),
        ("redactors", "email", "belong into redact"),
        ("redactors", ["email"], "belong into redact"),
        ("redactors", len, "is not a list of functions"),
    ],
)
def test_an_argument_that_is_not_what_it_is_called_is_an_error_of_ours(
    provider: TracerProvider, argument: str, value: object, said: str
) -> None:
    """Before anything is changed: what runs goes on."""
    otel_llm.configure(tracer_provider=provider, backend="local")
    with pytest.raises(ConfigError, match=said):
        otel_llm.configure(**{argument: value, "backend": "none"})  # type: ignore[arg-type]
    assert [backend.name for backend in otel_llm.status().backends] == ["local"]


def test_a_link_is_made_of_whatever_stands_for_a_span(provider: TracerProvider) -> None:
    """OpenTelemetry's own span, what `otel_llm.span` gives, and what is current: one trace, one link."""
    otel_llm.configure(tracer_provider=provider, backend="none", opik_url="http://localhost:5173/api")
    with otel_llm.span("work") as step:
        current = otel_llm.current()
        links = {otel_llm.opik_url(step), otel_llm.opik_url(step.span), otel_llm.opik_url(current), current.opik_url}
    (link,) = links
    assert link is not None
    assert link.startswith("http://localhost:5173/")
    otel_llm.shutdown()
    with otel_llm.span("nothing") as nothing:
        assert otel_llm.opik_url(nothing) is None


def test_after_shutdown_nothing_runs(provider: TracerProvider) -> None:
    """`shutdown` stops the recording; the program's provider goes on working."""
    own = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(own))
    otel_llm.configure(tracer_provider=provider, backend="local")
    otel_llm.shutdown()
    provider.get_tracer("app").start_span("work").end()
    assert not otel_llm.status().running
    assert len(own.get_finished_spans()) == 1


def test_a_program_that_just_ends_has_everything_stored(tmp_path: Path) -> None:
    """Neither flush nor shutdown is needed: the end of the process delivers what is queued."""
    answer = run_program(
        """
        import otel_llm
        from opentelemetry import trace
        otel_llm.configure(service_name="short")
        for number in range(100):
            trace.get_tracer("app").start_span(f"work {number}").end()
        """,
        tmp_path,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == ""
    import sqlite3

    with sqlite3.connect(tmp_path / "state" / "store.db") as store:
        assert store.execute("select count(*) from spans").fetchone() == (100,)


def test_every_start_says_one_line_on_stderr(tmp_path: Path) -> None:
    """A program without logging of its own reads on stderr what is on; stdout stays the program's."""
    answer = run_program("import otel_llm; otel_llm.configure(); print('hello')", tmp_path)
    assert answer.stdout == "hello\n"
    (line,) = answer.stderr.splitlines()
    assert line.startswith("otel_llm ")
    assert "backend local" in line
    assert "content off" in line


@pytest.mark.parametrize(
    ("resource", "said"),
    [
        ("Resource({'service.name': 'shop'})", "service shop"),
        ("Resource.create()", r"service unknown_service(:python)? \(set OTEL_SERVICE_NAME\)"),
        ("Resource({})", r"service program(\.py)?"),
    ],
)
def test_the_start_line_names_the_service_that_spans_carry(tmp_path: Path, resource: str, said: str) -> None:
    """On a provider of the program's own that is the name in its resource, and not the one that we would give."""
    source = f"""
        import otel_llm
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        otel_llm.configure(tracer_provider=TracerProvider(resource={resource}))
    """
    line = run_program(source, tmp_path, OTEL_SERVICE_NAME="").stderr.strip()
    assert re.search(f"{said}$", line)


def test_switched_off_means_nothing_at_all(tmp_path: Path) -> None:
    """`OTEL_LLM_ENABLED=false` starts nothing and writes nothing."""
    answer = run_program("import otel_llm; print(otel_llm.configure().running)", tmp_path, OTEL_LLM_ENABLED="false")
    assert (answer.stdout, answer.stderr) == ("False\n", "")
    assert not (tmp_path / "state").exists()


def test_a_program_with_another_vendors_provider_keeps_it(tmp_path: Path) -> None:
    """A global provider that is not the SDK's is left alone, and LLM spans go through one of ours."""
    answer = run_program(
        """
        import otel_llm
        from opentelemetry import trace
        class Vendor(trace.NoOpTracerProvider):
            pass
        vendor = Vendor()
        trace.set_tracer_provider(vendor)
        otel_llm.configure(backend="none")
        from otel_llm.control.running import _running
        print(trace.get_tracer_provider() is vendor, _running.pipeline.provider is vendor)
        """,
        tmp_path,
    )
    assert answer.stdout == "True False\n", answer.stderr


def test_where_no_handler_can_be_set_the_start_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sub-interpreter (mod_wsgi) has a main thread that may set no handler: SIGTERM is left alone."""

    def refuse(*_: object) -> None:
        message = "signal only works in main thread of the main interpreter"
        raise ValueError(message)

    with monkeypatch.context() as patched:
        patched.setattr("signal.signal", refuse)
        assert otel_llm.configure(backend="none").running


def test_a_program_without_stderr_is_recorded(tmp_path: Path) -> None:
    """A daemon that was started with stderr closed has none in Python, and is recorded all the same."""
    source = """
        import os, sys
        sys.stderr = None
        import otel_llm
        print(otel_llm.configure().running)
    """
    done = run_program(source, tmp_path)
    assert (done.returncode, done.stdout) == (0, "True\n")


@pytest.mark.parametrize("name", ["otel-llm.toml", "pyproject.toml", ".opik.config"])
def test_a_pipe_in_place_of_a_settings_file_is_not_waited_for(tmp_path: Path, name: str) -> None:
    """What lies about under a settings file's name and has no end is named or passed over, never waited for."""
    source = f"""
        import os
        import otel_llm
        from otel_llm.errors import ConfigError
        os.chdir({str(tmp_path)!r})
        os.mkfifo({name!r})
        try:
            print(otel_llm.configure(backend="none").running)
        except ConfigError as error:
            print("pipe" in str(error))
    """
    assert run_program(source, tmp_path, HOME=str(tmp_path)).stdout == "True\n"
