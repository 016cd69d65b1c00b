"""The ways to start without a line of code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from otel_llm.testing import FakeProvider

pytestmark = pytest.mark.timeout(300)  # importing litellm may take more than a minute on a busy machine

PROGRAM = """
import os
from litellm import completion as ask
answer = ask(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "hello"}],
             api_base=os.environ["FAKE_BASE"], api_key="sk-canary-key", metadata={"tenant_id": "acme"})
print(answer.choices[0].message.content)
"""


def environment(tmp_path: Path, provider: FakeProvider, **more: str) -> dict[str, str]:
    """The environment of a program that calls the fake provider and stores below `tmp_path`."""
    return {
        **os.environ,
        "OTEL_LLM_STATE_DIR": str(tmp_path / "state"),
        "FAKE_BASE": provider.openai_base,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        **more,
    }


def execute(command: list[str], tmp_path: Path, environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command in `tmp_path` to its end."""
    return subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=250, check=False)


def usage(environ: dict[str, str], tmp_path: Path) -> dict[str, Any]:
    """What `otel-llm usage --json` says."""
    answer = execute([sys.executable, "-m", "otel_llm", "usage", "--json"], tmp_path, environ)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A stranger's program, which does not know of us."""
    path = tmp_path / "stranger.py"
    path.write_text(textwrap.dedent(PROGRAM))
    return path


@pytest.mark.parametrize(
    "command",
    [["python", "stranger.py"], ["-m", "stranger"], ["stranger.py"]],
    ids=["python", "module", "file"],
)
def test_run_records_an_unchanged_program(command: list[str], program: Path, tmp_path: Path) -> None:
    """`otel-llm run` records the call, changes neither output nor exit code, and leaks no key."""
    with FakeProvider() as provider:
        environ = environment(tmp_path, provider)
        answer = execute([sys.executable, "-m", "otel_llm", "run", *command], program.parent, environ)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "You said: hello\n"
    totals = usage(environ, tmp_path)
    assert totals["totals"]["calls"] == 1
    assert totals["rows"][0]["tenant"] == "acme"
    stored = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert b"sk-canary-key" not in stored
    assert "sk-canary-key" not in answer.stderr


def test_run_hands_the_exit_code_on(tmp_path: Path) -> None:
    """The program's exit code is the command's."""
    with FakeProvider() as provider:
        environ = environment(tmp_path, provider)
        answer = execute(
            [sys.executable, "-m", "otel_llm", "run", "python", "-c", "import sys; sys.exit(7)"], tmp_path, environ
        )
    assert answer.returncode == 7


def test_run_refuses_wrong_settings_before_the_program_starts(program: Path, tmp_path: Path) -> None:
    """A misspelt setting ends with code 2 and the nearest right name."""
    with FakeProvider() as provider:
        environ = environment(tmp_path, provider, OTEL_LLM_BAKEND="local")
        answer = execute([sys.executable, "-m", "otel_llm", "run", "python", program.name], tmp_path, environ)
    assert answer.returncode == 2
    assert "OTEL_LLM_BACKEND" in answer.stderr
    assert answer.stdout == ""


def test_run_keeps_the_programs_own_sitecustomize(tmp_path: Path) -> None:
    """A `sitecustomize` that the program relies on still runs."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.stderr.write('mine ran\\n')")
    with FakeProvider() as provider:
        environ = environment(tmp_path, provider, PYTHONPATH=str(tmp_path))
        answer = execute([sys.executable, "-m", "otel_llm", "run", "python", "-c", "print(1)"], tmp_path, environ)
    assert "mine ran" in answer.stderr
    assert answer.stdout == "1\n"


def test_auto_instrumentation_of_opentelemetry_finds_us(program: Path, tmp_path: Path) -> None:
    """`opentelemetry-instrument` with our exporter in OTEL_TRACES_EXPORTER records the call once."""
    command = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    assert command, "the extra `instrument` is not installed"
    with FakeProvider() as provider:
        environ = environment(
            tmp_path,
            provider,
            OTEL_TRACES_EXPORTER="otel_llm_local",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
        )
        answer = execute([command, sys.executable, program.name], tmp_path, environ)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "You said: hello\n"
    assert "backend none (left to the exporters of the program's tracer provider); " in answer.stderr
    assert "LLM work only" not in answer.stderr
    assert usage(environ, tmp_path)["totals"]["calls"] == 1


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGTERM)", "otel_llm.flush(); os._exit(0)", "child"])
def test_the_last_call_under_auto_instrumentation(end: str, program: Path, tmp_path: Path) -> None:
    """SIGTERM, `os._exit` after a flush, and that of a forked child leave nothing in the SDK's own queue."""
    command = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    assert command, "the extra `instrument` is not installed"
    begin = "import os, signal, otel_llm\nif os.fork(): os._exit(os.wait()[1])\n" if end == "child" else ""
    ending = "os._exit(0)" if end == "child" else f"import os, signal, otel_llm; {end}"
    program.write_text(f"{begin}{program.read_text()}\n{ending}\n")
    with FakeProvider() as provider:
        environ = environment(
            tmp_path,
            provider,
            OTEL_TRACES_EXPORTER="otel_llm_local",
            OTEL_METRICS_EXPORTER="none",
            OTEL_LOGS_EXPORTER="none",
            OTEL_BSP_SCHEDULE_DELAY="300000",
        )
        execute([command, sys.executable, program.name], tmp_path, environ)
    assert usage(environ, tmp_path)["totals"]["calls"] == 1


def test_a_program_that_calls_no_model_loads_nothing_of_opentelemetry(tmp_path: Path) -> None:
    """Every Python that the program starts looks for litellm, and pays for no more than that."""
    ask = "import sys; print([m for m in sys.modules if m.split('.')[0] in {'opentelemetry', 'wrapt', 'packaging'}])"
    with FakeProvider() as provider:
        environ = environment(tmp_path, provider)
        answer = execute([sys.executable, "-m", "otel_llm", "run", "python", "-c", ask], tmp_path, environ)
    assert answer.stdout == "[]\n", answer.stderr


def test_a_propagator_that_is_not_installed_is_said_and_the_program_goes_on(program: Path, tmp_path: Path) -> None:
    """OpenTelemetry refuses to be imported then; the program without us would never have imported it."""
    with FakeProvider() as provider:
        environ = environment(tmp_path, provider, OTEL_PROPAGATORS="b3")
        answer = execute([sys.executable, "-m", "otel_llm", "run", "python", program.name], tmp_path, environ)
    assert answer.stdout == "You said: hello\n"
    assert answer.stderr.startswith("otel_llm: nothing is recorded: OTEL_PROPAGATORS (environment): Propagator b3 not")


@pytest.mark.parametrize("name", ["tenant", "configure", "AsgiMiddleware", "LLMClient", "instrument_celery"])
def test_a_propagator_that_is_not_installed_is_a_configuration_error(name: str, tmp_path: Path) -> None:
    """Whatever the program uses first of ours says so, with what to install."""
    ask = f"import otel_llm, otel_llm.errors as errors\ntry: otel_llm.{name}\nexcept errors.ConfigError as e: print(e)"
    environ = {**os.environ, "OTEL_PROPAGATORS": "b3"}
    assert "opentelemetry-propagator-b3" in execute([sys.executable, "-c", ask], tmp_path, environ).stdout


def test_run_refuses_prices_that_are_not_understood(program: Path, tmp_path: Path) -> None:
    """A mistake in them is wrong money, so nothing starts, as with any other setting."""
    with FakeProvider() as provider:
        environ = environment(tmp_path, provider, OTEL_LLM_PRICES='{"models": {"gpt-4o": {"input_per_millon": 1}}}')
        answer = execute([sys.executable, "-m", "otel_llm", "run", "python", program.name], tmp_path, environ)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert "did you mean 'input_per_million'?" in answer.stderr
