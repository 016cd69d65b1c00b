"""However a process ends, and whatever tree of processes it is part of: every span arrives exactly once."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from otel_llm.testing import FakeProvider
from tests.e2e.lifecycle_kit import BIN, DEADLINE, Program, calls, eventually, names
from tests.e2e.prefork_table import tell
from tests.fakes.http_server import HttpServer, Reply, closed_port
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(400)  # far more than the deadlines of the tests, so that theirs tell what is wrong


# --- ways to end -------------------------------------------------------------------------------------------

ONE_CALL = """
import asyncio, os, signal, sys
import otel_llm
otel_llm.configure()
import litellm

def ask():
    return litellm.completion(**QUESTION)

QUESTION = dict(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "hello"}],
                api_base=os.environ["FAKE_BASE"], api_key="sk-test")
"""

ENDINGS = {
    "plain exit": ("ask()", 0),
    "sys.exit": ("ask(); sys.exit(3)", 3),
    "unhandled exception": ("ask(); raise RuntimeError('the program is broken')", 1),
    "SIGTERM": ("ask(); os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
    "asyncio.run": ("asyncio.run(litellm.acompletion(**QUESTION))", 0),
}


@pytest.mark.parametrize(("ending", "code"), ENDINGS.values(), ids=list(ENDINGS))
def test_a_program_of_one_call_delivers_it(ending: str, code: int, program: Program, receiver: OtlpReceiver) -> None:
    """One call and no flush: its span has arrived once when the process is gone, and the exit code is the program's."""
    program.write("app.py", ONE_CALL + ending + "\n")
    with FakeProvider() as provider:
        program.environ |= {"FAKE_BASE": provider.openai_base}
        answer = program.run("app.py")
    assert answer.returncode == code, answer.stderr
    assert calls(receiver) == 1
    assert "shutdown" not in answer.stderr


WAITING = """
import signal, sys, time
import otel_llm
from opentelemetry import trace
{before}
otel_llm.configure({settings})
{after}
trace.get_tracer("app").start_span("work").end()
print("ready", flush=True)
for _ in range(600):
    time.sleep(0.1)
"""


def _terminate(program: Program, **parts: str) -> int:
    """Start a program that waits, send it SIGTERM as soon as its span has ended, and return its exit code."""
    program.write("app.py", WAITING.format(**{"before": "", "after": "", "settings": "", **parts}))
    with program.started(sys.executable, "app.py") as process:
        eventually(lambda: "ready" in program.output or process.poll() is not None, "the program's start")
        assert process.poll() is None, program.output
        process.send_signal(signal.SIGTERM)
        return process.wait(DEADLINE)


def test_sigterm_from_outside_hands_over_and_ends_as_ever(program: Program, receiver: OtlpReceiver) -> None:
    """A container's stop delivers what was queued a moment before, and the exit status says SIGTERM."""
    assert _terminate(program) == -signal.SIGTERM
    assert names(receiver) == {"work": 1}


def test_a_handler_of_the_program_is_left_alone(program: Program, receiver: OtlpReceiver) -> None:
    """A program that handles SIGTERM itself, set before or after us, ends as it wants to, its span delivered."""
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
    assert _terminate(program, before=handler) == 7
    assert _terminate(program, after=handler) == 7
    assert names(receiver) == {"work": 2}


def test_a_handler_that_calls_the_one_before_it_stays_in_charge(program: Program, receiver: OtlpReceiver) -> None:
    """A later handler of the program may call ours; the process does not die under its hands."""
    handler = (
        "before = signal.getsignal(signal.SIGTERM)\n"
        "def handle(number, frame):\n"
        "    before(number, frame)\n"
        "    sys.exit(8)\n"
        "signal.signal(signal.SIGTERM, handle)\n"
    )
    assert _terminate(program, after=handler) == 8
    assert names(receiver) == {"work": 1}


def test_sigterm_can_be_left_alone(program: Program) -> None:
    """With `handle_sigterm=False` the signal keeps its default action from the first moment."""
    after = "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    assert _terminate(program, settings="handle_sigterm=False", after=after) == -signal.SIGTERM


# --- a backend that is dead or hangs -------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["refused", "hanging"])
@pytest.mark.parametrize("ending", ["pass", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"])
def test_the_end_does_not_wait_for_a_dead_backend(
    state: str, ending: str, tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    """With nobody listening, or nobody answering, the process ends soon and its spans are kept for the next start."""
    with HttpServer(default=Reply(hang=True)) as hanging:
        endpoint = hanging.url if state == "hanging" else f"http://127.0.0.1:{closed_port()}"
        program = Program(tmp_path, endpoint)
        program.write(
            "app.py",
            f"""
            import time
            import otel_llm
            from opentelemetry import trace
            otel_llm.configure()
            for number in range(100):
                trace.get_tracer("app").start_span(f"work {{number}}").end()
            print(time.time(), flush=True)
            {ending}
            """,
        )
        answer = program.run("app.py")
        seconds = time.time() - float(answer.stdout)
    record_property("seconds_to_exit", seconds)
    print(f"exit with a backend that is {state}: {seconds:.2f} s")
    assert seconds < 6, "far beyond the budget of 2 s"
    with OtlpReceiver() as receiver:
        program.environ["OTEL_LLM_OTLP_ENDPOINT"] = receiver.url
        program.ship()
        assert names(receiver) == Counter(f"work {number}" for number in range(100))


BURDEN = """
import json, os, threading, time
import otel_llm
from opentelemetry import trace

def burden():
    status = open("/proc/self/status").read()
    kib = int(status.split("VmRSS:")[1].split()[0])
    return {"mib": kib / 1024, "threads": threading.active_count(), "files": len(os.listdir("/proc/self/fd"))}

otel_llm.configure()
tracer = trace.get_tracer("app")
for number in range(100_000):
    tracer.start_span("work", attributes={"gen_ai.operation.name": "chat", "text": "x" * 500}).end()
    if number % 1_000 == 0:
        otel_llm.flush(0.05)  # a program of real calls would be slower than this
    if number == 2_000:
        before = burden()
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    backend = otel_llm.status().backends[0]
    if backend.created == 100_000 and threading.active_count() <= before["threads"]:
        break
    time.sleep(0.05)  # a batch on its way from the queue to the spool is counted there; a flush in vain ends soon
print(json.dumps({"before": before, "after": burden(), "created": backend.created, "waiting": backend.waiting,
                  "dropped": backend.dropped}), flush=True)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_long_outage_costs_a_bounded_amount(tmp_path: Path) -> None:
    """After 100,000 spans with nobody listening: the same threads, a few files, less than 50 MB more, all counted."""
    program = Program(tmp_path, f"http://127.0.0.1:{closed_port()}")
    program.write("app.py", BURDEN)
    answer = program.run("app.py", timeout=500)
    assert answer.returncode == 0, answer.stderr
    told = json.loads(answer.stdout)
    print(told)
    before, after = told["before"], told["after"]
    assert after["mib"] - before["mib"] < 50
    assert after["threads"] <= before["threads"]
    assert after["files"] <= before["files"] + 3
    assert told["created"] == 100_000
    assert told["waiting"] + sum(told["dropped"].values()) == 100_000


# --- trees of processes ----------------------------------------------------------------------------------------


FORKED = """
import os, signal, threading
import otel_llm
from opentelemetry import trace
otel_llm.configure({settings})
tracer = trace.get_tracer("app")
tracer.start_span("parent before").end()
child = os.fork()
if child == 0:
    tracer.start_span("child").end()
    {ending}
tracer.start_span("parent after").end()
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 7, status
"""

WAYS_OUT = {
    "at once": "os._exit(7)",
    "in a thread": "threading.Thread(target=os._exit, args=(7,)).start(); threading.Event().wait(60)",
    "in a signal handler": "signal.signal(signal.SIGUSR1, lambda *_: os._exit(7)); signal.raise_signal(signal.SIGUSR1)",
    "by name, as RQ's work horse does": "from os import _exit; _exit(7)",
    "in a grandchild's parent": "os.fork() and os.wait(); tracer.start_span('two').end(); os._exit(7)",
}


@pytest.mark.parametrize("backend", ["otlp", "local,otlp"])
@pytest.mark.parametrize("way", WAYS_OUT)
def test_os_exit_in_a_forked_child(way: str, backend: str, program: Program, receiver: OtlpReceiver) -> None:
    """No flush, and yet what the child recorded arrives once, like what the parent did; the status is the child's."""
    program.environ |= {"OTEL_LLM_BACKEND": backend, "OTEL_LLM_BATCH_DELAY": "300000"}
    program.write("app.py", FORKED.format(settings="", ending=WAYS_OUT[way]))
    answer = program.run("app.py")
    assert answer.returncode == 0, answer.stderr
    program.ship()
    twos = {"two": 2} if "grandchild" in way else {}
    assert names(receiver) == {"parent before": 1, "child": 1, "parent after": 1, **twos}
    if backend == "local,otlp":
        with sqlite3.connect(program.directory / "state" / "store.db") as store:
            stored = Counter(name for (name,) in store.execute("SELECT name FROM spans"))
        assert stored == names(receiver)


BURST = """
import os, signal, time
import otel_llm
from opentelemetry import trace
otel_llm.configure(shutdown_timeout=0)
tracer = trace.get_tracer("app")
def burst(spans):
    for _ in range(spans):
        tracer.start_span("burst", attributes={{"text": "x@y.zz " * 1000}}).end()
{ending}
"""
LATE_ENDS = {
    "os._exit in a child": "child = os.fork()\nif not child: burst(4000); os._exit(0)\nos.waitpid(child, 0)",
    "SIGTERM": "burst(4000); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)",
}


@pytest.mark.parametrize("end", LATE_ENDS)
def test_a_burst_before_the_end_is_stored_however_long_that_takes(
    end: str, program: Program, receiver: OtlpReceiver
) -> None:
    """The time to deliver is over long before the last span is through our stages, and none of them is lost."""
    program.write("app.py", BURST.format(ending=LATE_ENDS[end]))
    program.run("app.py")
    program.ship()
    assert len({span.span_id for span in receiver.spans}) == 4000


def test_os_exit_can_be_left_alone(program: Program, receiver: OtlpReceiver) -> None:
    """With `handle_os_exit=False` it is Python's own, and what was queued is gone with the child."""
    program.environ["OTEL_LLM_BATCH_DELAY"] = "300000"
    ending = "assert os._exit.__module__ == 'posix'; os._exit(7)"
    program.write("app.py", FORKED.format(settings="handle_os_exit=False", ending=ending))
    answer = program.run("app.py")
    assert answer.returncode == 0, answer.stderr
    assert names(receiver) == {"parent before": 1, "parent after": 1}


def test_os_exit_does_not_wait_for_a_backend_that_hangs(tmp_path: Path) -> None:
    """A child that is in the middle of a request that nobody answers ends soon, and its spans are on disk."""
    with HttpServer(default=Reply(hang=True)) as hanging:
        program = Program(tmp_path, hanging.url, OTEL_LLM_BATCH_DELAY="10")
        ending = "time.sleep(0.5); began = time.monotonic(); os._exit(7)"
        source = FORKED.replace("otel_llm.configure", "import time\notel_llm.configure")
        program.write("app.py", source.format(settings="", ending=ending))
        began = time.monotonic()
        answer = program.run("app.py")
        assert answer.returncode == 0, answer.stderr
        print(f"a parent and a child with a backend that hangs: {time.monotonic() - began:.1f} s, interpreter included")
    with OtlpReceiver() as receiver:
        program.environ["OTEL_LLM_OTLP_ENDPOINT"] = receiver.url
        program.ship()
        assert names(receiver) == {"parent before": 1, "child": 1, "parent after": 1}


def test_os_exit_in_a_forked_child_after_a_flush(program: Program, receiver: OtlpReceiver) -> None:
    """What the child flushed has arrived once, and what the parent queued arrives once."""
    program.write(
        "app.py",
        """
        import os
        import otel_llm
        from opentelemetry import trace
        otel_llm.configure()
        tracer = trace.get_tracer("app")
        tracer.start_span("parent before").end()
        child = os.fork()
        if child == 0:
            tracer.start_span("child flushed").end()
            assert otel_llm.flush(20).waiting == 0
            os._exit(0)
        tracer.start_span("parent after").end()
        assert os.waitpid(child, 0)[1] == 0
        """,
    )
    answer = program.run("app.py")
    assert answer.returncode == 0, answer.stderr
    assert names(receiver) == {"parent before": 1, "child flushed": 1, "parent after": 1}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("place", ["module", "target"])
def test_children_of_multiprocessing(method: str, place: str, program: Program, receiver: OtlpReceiver) -> None:
    """A process and three children, configured in the module or in the child: each span once."""
    program.write(
        "app.py",
        f"""
        import multiprocessing
        import otel_llm
        from opentelemetry import trace

        if {place == "module"}:
            otel_llm.configure()

        def work(number):
            if {place == "target"}:
                otel_llm.configure()
            for part in range(10):
                trace.get_tracer("app").start_span(f"child {{number}} {{part}}").end()

        if __name__ == "__main__":
            trace.get_tracer("app").start_span("parent before").end()
            context = multiprocessing.get_context("{method}")
            children = [context.Process(target=work, args=(number,)) for number in range(3)]
            for child in children:
                child.start()
            for child in children:
                child.join()
                assert child.exitcode == 0
        """,
    )
    answer = program.run("app.py")
    assert answer.returncode == 0, answer.stderr
    program.ship()
    expected = Counter(f"child {number} {part}" for number in range(3) for part in range(10))
    assert names(receiver) == expected + Counter({"parent before": 1} if place == "module" else {})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_stream_broken_off_in_a_child_of_multiprocessing(
    method: str, program: Program, receiver: OtlpReceiver
) -> None:
    """A stream that a child leaves by `break`, and that nobody has collected when it ends, has its span."""
    program.write(
        "app.py",
        f"""
        import multiprocessing
        import otel_llm
        from otel_llm.testing import FakeProvider
        otel_llm.configure()

        def work(base):
            import litellm
            messages = [{{"role": "user", "content": "x"}}]
            for chunk in litellm.completion("openai/gpt-4o-mini", messages, stream=True, api_base=base, api_key="x"):
                break

        if __name__ == "__main__":
            with FakeProvider() as provider:
                child = multiprocessing.get_context("{method}").Process(target=work, args=(provider.openai_base,))
                child.start()
                child.join()
                assert child.exitcode == 0
        """,
    )
    answer = program.run("app.py")
    assert answer.returncode == 0, answer.stderr
    program.ship()
    assert names(receiver)["chat gpt-4o-mini"] == 1


def test_a_pool_that_is_terminated(program: Program, receiver: OtlpReceiver) -> None:
    """Leaving a `Pool` block sends its children SIGTERM: what they had queued is handed over first."""
    program.write(
        "app.py",
        """
        import multiprocessing
        import otel_llm
        from opentelemetry import trace
        otel_llm.configure()

        def work(number):
            trace.get_tracer("app").start_span(f"task {number}").end()

        if __name__ == "__main__":
            with multiprocessing.get_context("fork").Pool(2) as pool:
                pool.map(work, range(20))
        """,
    )
    answer = program.run("app.py")
    assert answer.returncode == 0, answer.stderr
    program.ship()
    assert names(receiver) == Counter(f"task {number}" for number in range(20))


def test_sigterm_at_the_very_beginning_of_the_end(program: Program, receiver: OtlpReceiver) -> None:
    """It comes when recording has ended and nothing is handed over yet: that is done, and then the signal acts."""
    program.environ["OTEL_LLM_BATCH_DELAY"] = "300000"
    program.write(
        "app.py",
        """
        import signal
        import otel_llm
        from opentelemetry import trace
        from otel_llm.control import running
        otel_llm.configure()
        close = running._close
        def interrupted(*args):
            signal.raise_signal(signal.SIGTERM)
            close(*args)
        running._close = interrupted
        trace.get_tracer("app").start_span("work").end()
        """,
    )
    assert program.run("app.py").returncode == -signal.SIGTERM
    program.ship()
    assert names(receiver) == {"work": 1}


# --- servers ---------------------------------------------------------------------------------------------------

REQUESTS = 40


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _serve_and_stop(program: Program, port: int, *command: str, requests: int = REQUESTS) -> None:
    """Start a server, let it work for some requests, and stop it with SIGTERM right after the last answer."""
    with program.started(*command) as server:
        eventually(lambda: _answers(port) or server.poll() is not None, "the server's start")
        assert server.poll() is None, program.output
        with ThreadPoolExecutor(8) as crowd:
            list(crowd.map(lambda number: _visit(port, number), range(requests)))
        server.send_signal(signal.SIGTERM)
        server.wait(DEADLINE)


def _visit(port: int, number: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=DEADLINE) as answer:
        answer.read()


def _expected() -> Counter[str]:
    return Counter(f"/{number}" for number in range(REQUESTS))


WSGI = """
import otel_llm
from opentelemetry import trace
otel_llm.configure()

def app(environ, start_response):
    if environ["PATH_INFO"] != "/ready":
        trace.get_tracer("app").start_span(environ["PATH_INFO"]).end()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""


@pytest.mark.parametrize("options", [("--preload",), ()], ids=["preload", "no preload"])
def test_gunicorn(
    options: tuple[str, ...], program: Program, receiver: OtlpReceiver, record_property: pytest.RecordProperty
) -> None:
    """Four workers, forked before or after `configure`: each request's span once, also the last one's."""
    pytest.importorskip("gunicorn")
    program.write("app.py", WSGI)
    port = _free_port()
    bind = f"127.0.0.1:{port}"
    # no time limit: gunicorn would kill a worker that a busy machine lets do nothing for 30 s
    command = ("gunicorn", "-w", "4", "--bind", bind, "--no-control-socket", "--timeout", "0", *options, "app:app")
    _serve_and_stop(program, port, sys.executable, "-m", *command)
    program.ship()
    title = f"gunicorn -w 4 {' '.join(options)}".strip()
    tell(record_property, title, "SIGTERM", _expected(), names(receiver))
    assert names(receiver) == _expected(), program.output


ASGI = """
import otel_llm
from opentelemetry import trace
otel_llm.configure()

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                {shutdown}
                await send({{"type": "lifespan.shutdown.complete"}})
                return
            await send({{"type": "lifespan.startup.complete"}})
    if scope["path"] != "/ready":
        trace.get_tracer("app").start_span(scope["path"]).end()
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"done"}})
"""


@pytest.mark.parametrize("end", ["shutdown in the lifespan", "nothing"])
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_uvicorn(
    end: str, workers: tuple[str, ...], program: Program, receiver: OtlpReceiver, record_property: pytest.RecordProperty
) -> None:
    """Configured by the application, with its help at the end or without: each request's span once, the last one's too.

    uvicorn imports an application when its own SIGTERM handler is in place, and ends by sending itself the signal
    with the default action put back: no handler of ours would run then.
    """
    pytest.importorskip("uvicorn")
    # far longer than the test: what is queued arrives because it is handed over, or not at all
    program.environ["OTEL_LLM_BATCH_DELAY"] = "300000"
    program.write("app.py", ASGI.format(shutdown="pass" if end == "nothing" else "otel_llm.shutdown()"))
    port = _free_port()
    _serve_and_stop(program, port, sys.executable, "-m", "uvicorn", *workers, "--port", str(port), "app:app")
    program.ship()
    title = f"uvicorn {' '.join(workers)}".strip()
    tell(record_property, f"{title} ({end})", "SIGTERM", _expected(), names(receiver))
    assert names(receiver) == _expected(), program.output


@pytest.mark.parametrize("options", [("--preload",), ()], ids=["preload", "no preload"])
def test_gunicorn_with_uvicorn_workers(
    options: tuple[str, ...], program: Program, receiver: OtlpReceiver, record_property: pytest.RecordProperty
) -> None:
    """A worker that gives SIGTERM its default back after the fork and serves with uvicorn: each request's span once."""
    pytest.importorskip("gunicorn")
    pytest.importorskip("uvicorn")
    program.environ["OTEL_LLM_BATCH_DELAY"] = "300000"
    program.write("app.py", ASGI.format(shutdown="pass"))
    port = _free_port()
    common = ("-w", "2", "--bind", f"127.0.0.1:{port}", "--no-control-socket", "--timeout", "0")
    command = ("gunicorn", "-k", "uvicorn.workers.UvicornWorker", *common, *options, "app:app")
    _serve_and_stop(program, port, sys.executable, "-m", *command)
    program.ship()
    title = f"gunicorn -k UvicornWorker {' '.join(options)}".strip()
    tell(record_property, title, "SIGTERM", _expected(), names(receiver))
    assert names(receiver) == _expected(), program.output


STRANGER = """
import asyncio, os
import litellm

QUESTION = dict(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "hello"}],
                api_base=os.environ["FAKE_BASE"], api_key="sk-test")

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] != "/ready":
        await litellm.acompletion(**QUESTION)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})

def wsgi(environ, start_response):
    if environ["PATH_INFO"] != "/ready":
        litellm.completion(**QUESTION)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"done"]
"""
SERVERS = {
    "uvicorn": ("uvicorn", "--workers", "2", "--port", "{port}", "app:asgi"),
    "gunicorn": (
        "gunicorn",
        "--preload",
        "-w",
        "4",
        "--bind",
        "127.0.0.1:{port}",
        "--no-control-socket",
        "--timeout",
        "0",
        "app:wsgi",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_of_strangers_under_otel_llm_run(server: str, program: Program, receiver: OtlpReceiver) -> None:
    """`otel-llm run uvicorn` and `gunicorn`, stopped right after the last call: each call's span once."""
    pytest.importorskip(server)
    program.environ["OTEL_LLM_BATCH_DELAY"] = "300000"
    program.write("app.py", STRANGER)
    port, requests = _free_port(), 12
    command = (part.format(port=port) for part in SERVERS[server])
    with FakeProvider() as provider:
        program.environ |= {"FAKE_BASE": provider.openai_base}
        _serve_and_stop(program, port, sys.executable, "-m", "otel_llm", "run", "-m", *command, requests=requests)
    program.ship()
    assert calls(receiver) == requests, program.output


def test_celery_with_a_new_child_for_each_task(
    program: Program, receiver: OtlpReceiver, record_property: pytest.RecordProperty
) -> None:
    """Prefork children that end after one task, by `os._exit`: each task's span once."""
    pytest.importorskip("celery")
    (program.directory / "queue").mkdir()
    program.write(
        "tasks.py",
        """
        import celery, otel_llm
        from opentelemetry import trace
        otel_llm.configure()
        app = celery.Celery("tasks", broker="filesystem://")
        app.conf.update(
            broker_transport_options={"data_folder_in": "queue", "data_folder_out": "queue",
                                      "control_folder": "control"},
            worker_max_tasks_per_child=1, worker_prefetch_multiplier=1, task_ignore_result=True,
        )

        @app.task
        def work(number):
            trace.get_tracer("app").start_span(f"task {number}").end()
        """,
    )
    sent = program.run("-c", "import tasks; [tasks.work.delay(number) for number in range(6)]")
    assert sent.returncode == 0, sent.stderr
    options = ("-P", "prefork", "-c", "2", "--without-gossip", "--without-mingle", "--without-heartbeat")
    with program.started(str(BIN / "celery"), "-A", "tasks", "worker", *options) as worker:
        eventually(lambda: len(receiver.spans) >= 6 or worker.poll() is not None, "the last task")
        worker.send_signal(signal.SIGTERM)
        worker.wait(DEADLINE)
    program.ship()
    expected = Counter(f"task {number}" for number in range(6))
    tell(record_property, "celery -P prefork -c 2, a child per task", "SIGTERM", expected, names(receiver))
    assert names(receiver) == expected, program.output
