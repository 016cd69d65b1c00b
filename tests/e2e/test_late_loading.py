"""What is loaded when it is needed, in programs that give it little time or none: nothing is lost, nothing hangs."""

from __future__ import annotations

import json
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from tests.e2e.lifecycle_kit import DEADLINE, Program, eventually, names
from tests.fakes.opik import FakeOpik, needs_openapi

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fakes.otlp_receiver import OtlpReceiver

pytestmark = pytest.mark.timeout(400)


ONE_SPAN = """
import otel_llm

@otel_llm.trace
def work():
    pass

otel_llm.configure()
{before}
work()
{after}
"""

ENDINGS = {
    "end": "",
    "exit": "import sys; sys.exit(0)",
    "exception": "raise SystemExit",
    "handler of the program": "",
    "signal": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
}


def _run(program: Program, ending: str) -> None:
    before, after = "", ENDINGS[ending]
    if ending == "handler of the program":  # runs before ours, and the first span begins in it
        before, after = "import atexit; atexit.register(work); work = lambda: None", ""
    program.write("app.py", ONE_SPAN.format(before=before, after=after))
    done = program.run("app.py")
    assert done.returncode == (-15 if ending == "signal" else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot load" not in done.stderr


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_first_span_ends_just_before_the_program_does_otlp(
    ending: str, program: Program, receiver: OtlpReceiver
) -> None:
    """What encodes and sends it is loaded at the end, and it arrives; after a signal, with the next start at last."""
    _run(program, ending)
    if not names(receiver):
        program.ship()
    assert names(receiver) == {"work": 1}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_first_span_ends_just_before_the_program_does_local(ending: str, program: Program) -> None:
    """The store has it, whatever ends the program."""
    program.environ["OTEL_LLM_BACKEND"] = "local"
    _run(program, ending)
    with sqlite3.connect(program.directory / "state" / "store.db") as store:
        assert store.execute("SELECT name FROM spans").fetchall() == [("work",)]


@needs_openapi
@pytest.mark.parametrize("ending", ENDINGS)
def test_the_first_span_ends_just_before_the_program_does_opik(ending: str, program: Program) -> None:
    """Opik has it, at the latest with the next start."""
    with FakeOpik() as opik:
        program.environ |= {"OTEL_LLM_BACKEND": "opik", "OTEL_LLM_OPIK_URL": opik.url, "OTEL_LLM_OPIK_PROJECT": "p"}
        _run(program, ending)
        if not opik.spans():
            program.ship()
        assert [span["name"] for span in opik.spans()] == ["work"]


IMPORTED = """
import otel_llm

@otel_llm.trace
def work():
    pass

otel_llm.configure()
work()
report = otel_llm.flush()
assert report.complete, report
"""


def test_a_module_that_flushes_while_it_is_imported(program: Program, receiver: OtlpReceiver) -> None:
    """Our thread loads what it needs while the program waits inside an import: neither waits for the other for ever."""
    program.write("inner.py", IMPORTED)
    program.write("outer.py", "import inner")
    program.write("app.py", "import outer")
    done = program.run("app.py")
    assert done.returncode == 0, done.stderr
    assert names(receiver) == {"work": 1}


WATCHED = """
import socket, sys, threading, time
from importlib.abc import MetaPathFinder

import otel_llm
from opentelemetry import trace
from otel_llm.control import running

elsewhere = set()
resolve = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: resolve("127.0.0.1" if host == "far.example" else host, *rest, **more)

class Watch(MetaPathFinder):
    def find_spec(self, name, *_):
        if threading.current_thread() is not threading.main_thread():
            elsewhere.add(name)

health = otel_llm.configure(content="on").health_url
sys.meta_path.insert(0, Watch())

with otel_llm.span("work"):
    pass
with trace.get_tracer("openinference.instrumentation.openai").start_as_current_span("ChatCompletion") as call:
    call.set_attributes({"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o", "llm.token_count.prompt": 3})
time.sleep(0.5)  # the stages are through, in the thread whose work they are
beside = threading.Thread(target=running._look)  # as the health watch does every few seconds
beside.start()
beside.join()
assert otel_llm.flush(30).complete
otel_llm.status()
if health is not None:
    from urllib.request import urlopen  # not earlier: who looks for proxies loads it, too

    assert b"otel_llm" in urlopen(health + "/metrics").read()
elsewhere &= sys.modules.keys()  # where litellm, httpx and others are is looked up, and they are not loaded
print(sorted(name for name in elsewhere if name.partition(".")[0] not in ("encodings", "stringprep", "unicodedata")))
"""


@needs_openapi
@pytest.mark.parametrize("host", ["127.0.0.1", "far.example"])
@pytest.mark.parametrize("backend", ["otlp", "opik", "local"])
def test_no_thread_of_ours_imports_anything(backend: str, host: str, program: Program, receiver: OtlpReceiver) -> None:
    """Beside the program's own imports it could wait for one of them, and that one for it, for ever (Python 3.11.7).

    Neither for a backend on this machine nor for one elsewhere, which is asked for by name and perhaps by a proxy.
    """
    with FakeOpik() as opik:
        program.environ |= {
            "OTEL_LLM_BACKEND": backend,
            "OTEL_LLM_OPIK_URL": opik.url.replace("127.0.0.1", host),
            "OTEL_LLM_OTLP_ENDPOINT": receiver.url.replace("127.0.0.1", host),
            "OTEL_LLM_OPIK_PROJECT": "p",
        }
        if host == "127.0.0.1":
            program.environ["OTEL_LLM_HEALTH_PORT"] = "0"
        program.write("app.py", WATCHED)
        done = program.run("app.py")
    assert done.stdout == "[]\n", done


@pytest.mark.parametrize("backend", ["otlp", "local"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_under_gevent(order: str, backend: str, program: Program, receiver: OtlpReceiver) -> None:
    """Threads are greenlets there, patched before otel_llm is imported or after it was configured."""
    patch = "from gevent import monkey; monkey.patch_all()"
    program.environ["OTEL_LLM_BACKEND"] = backend
    source = ONE_SPAN.format(before=patch if order == "after" else "", after="assert otel_llm.flush(20).complete")
    program.write("app.py", (patch if order == "before" else "") + source)
    done = program.run("app.py")
    assert done.returncode == 0, done.stderr
    if backend == "otlp":
        assert names(receiver) == {"work": 1}


BROKEN = """
import json, sys, time
import otel_llm

@otel_llm.trace
def work():
    pass

otel_llm.configure()
work()
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    (backend,) = otel_llm.status().backends
    if backend.state in ("failing", "degraded"):
        break
    time.sleep(0.1)
print(json.dumps([backend.state, backend.cause, otel_llm.status().faults]))
"""


def _break(program: Program, package: str) -> Path:
    """Put a package before the real one that is there and cannot be imported; its directory."""
    broken = program.directory.joinpath(*package.split("."))
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(f"raise ImportError('{package} is broken')")
    return broken


@pytest.mark.parametrize(("backend", "what"), [("otlp", "what sends OTLP"), ("opik", "what sends to Opik")])
def test_http_that_cannot_be_loaded_is_said_and_costs_no_span(
    backend: str, what: str, program: Program, receiver: OtlpReceiver
) -> None:
    """Health fails within seconds and the log names the cause; when it is mended, the spans arrive."""
    program.environ |= {"OTEL_LLM_BACKEND": backend, "OTEL_LLM_OPIK_URL": receiver.url, "OTEL_LLM_OPIK_PROJECT": "p"}
    broken = _break(program, "urllib3")
    program.write("app.py", BROKEN)
    done = program.run("app.py")
    state, cause, faults = json.loads(done.stdout)
    assert state == "failing", done
    assert "ImportError" in cause or "ModuleNotFoundError" in cause
    assert f"loading {what}" in faults
    assert done.stderr.count(f"cannot load {what} (ImportError: urllib3 is broken") == 1
    if backend == "otlp":
        shutil.rmtree(broken)
        program.ship()
        assert names(receiver) == {"work": 1}


@pytest.mark.parametrize("backend", ["otlp", "local"])
def test_protobuf_that_cannot_be_loaded_is_said(backend: str, program: Program) -> None:
    """Nothing can be kept without it: each span is counted as lost, health says so, and the log says why."""
    program.environ["OTEL_LLM_BACKEND"] = backend
    _break(program, "google.protobuf")
    program.write("app.py", BROKEN)
    done = program.run("app.py")
    state, _, faults = json.loads(done.stdout)
    assert state in {"failing", "degraded"}, done
    assert "loading what encodes spans" in faults
    assert done.stderr.count("cannot load what encodes spans") == 1


def test_what_cannot_be_loaded_is_said_before_there_is_a_span(program: Program) -> None:
    """The program is told at its start, not with its first call."""
    _break(program, "urllib3")
    program.write(
        "app.py",
        """
        import otel_llm
        otel_llm.configure()
        print(sorted(otel_llm.status().faults))
        """,
    )
    done = program.run("app.py")
    assert "loading what sends OTLP" in done.stdout
    assert done.stderr.count("cannot load what sends OTLP") == 1


def test_a_child_that_is_forked_at_the_first_span(program: Program, receiver: OtlpReceiver) -> None:
    """The parent's thread is loading at that moment; the child records and delivers all the same, and so does it."""
    program.write(
        "app.py",
        """
        import os, sys
        import otel_llm

        otel_llm.configure()

        with otel_llm.span("parent"):
            child = os.fork()
            if child == 0:
                with otel_llm.span("child"):
                    pass
                assert otel_llm.flush(30).complete
                os._exit(0)
        print("child", os.waitpid(child, 0)[1])
        """,
    )
    done = program.run("app.py")
    assert "child 0" in done.stdout, done.stderr
    eventually(lambda: len(names(receiver)) == 2, f"delivery of both within {DEADLINE:g} s")
    assert names(receiver) == {"parent": 1, "child": 1}
