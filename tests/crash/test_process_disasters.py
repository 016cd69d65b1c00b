"""Disasters of a process: a clock that jumps, a failing disk, no threads, forks, and ends at a bad moment."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import otel_llm
from otel_llm.control import queue_guard, running
from otel_llm.control.queue_guard import GuardedBatching
from tests.crash.kit import wait_until
from tests.crash.pipeline_kit import Rig, arrivals
from tests.crash.shim import Control, compiled
from tests.fakes.http_server import HttpServer, Reply, closed_port
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.disaster_table import Verdict

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that stands between a program and the system."""
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """The backend."""
    with OtlpReceiver() as server:
        yield server


class Driven:
    """`driven_program` in a process of its own, with the shim before it."""

    def __init__(self, shim: Path | str, directory: Path, endpoint: str, **environment: str) -> None:
        self.control = Control(directory / "control")
        self.state = directory / "state"
        self.log = directory / "stderr"
        self.ids: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.driven_program"],
            cwd=ROOT,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OTEL_LLM_BACKEND": "otlp",
                "OTEL_LLM_OTLP_ENDPOINT": endpoint,
                "OTEL_LLM_STATE_DIR": str(self.state),
                "OTEL_LLM_BATCH_DELAY": "20",
                "LD_PRELOAD": str(shim),
                "SHIM_CONTROL": str(self.control.path),
                "SHIM_WATCH": str(self.state),
                **environment,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
        )

    def say(self, line: str) -> Any:
        """Have it do something, and return what it says."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, self.log.read_text()
        return json.loads(answer)

    def spans(self, count: int, name: str = "work") -> dict[str, Any]:
        """End so many spans."""
        told: dict[str, Any] = self.say(f"spans {name} {count}")
        self.ids += told["ids"]
        return told

    def backend(self) -> dict[str, Any]:
        """Its only backend, as its `status()` has it."""
        (found,) = self.say("status")["backends"]
        assert found["created"] == found["delivered"] + found["waiting"] + sum(
            [*found["rejected"].values(), *found["dropped"].values()]
        )
        return dict(found)

    def settled(self) -> bool:
        """Deliver until nothing waits."""
        return wait_until(lambda: not self.say("flush 1")["waiting"], PATIENCE)

    def tell(self, verdict: Verdict, row: int, injected: str, arrived: list[str]) -> None:
        """Note the row."""
        backend = self.backend()
        counted = sum([*backend["rejected"].values(), *backend["dropped"].values()])
        delivered = len(set(arrived))
        assert set(arrived) <= set(self.ids)
        assert (backend["created"], backend["delivered"]) == (len(self.ids), delivered)
        verdict(
            row,
            injected,
            created=len(self.ids),
            delivered=delivered,
            duplicates=len(arrived) - delivered,
            counted=counted,
            lost=len(self.ids) - delivered - counted - backend["waiting"],
        )

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.communicate()

    def end(self) -> str:
        """Let it end by itself; what it wrote to stderr."""
        self._process.communicate("end\n", timeout=PATIENCE)
        assert self._process.returncode == 0
        return self.log.read_text()


# --- row 9: clocks -----------------------------------------------------------------------------------------------

YEAR = 365 * 86_400.0
JUMPS = {"an hour back": -3600.0, "ten years on": 10 * YEAR, "half a second back (NTP)": -0.5}


@pytest.mark.parametrize("jump", JUMPS)
def test_a_jump_of_the_clock(jump: str, shim: Path, tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """In an outage the clock jumps: nothing expires, nobody spins, ids keep their time, all arrives once."""
    receiver.always(Reply(503))
    program = Driven(shim, tmp_path, receiver.url)
    program.say("configure")
    told = [program.spans(10, "before")]
    assert wait_until(lambda: program.backend()["state"] == "failing")
    program.control.shift_clock(JUMPS[jump])
    used, sent = program.say("cpu"), len(receiver.requests)
    told.append(program.spans(10, "after"))
    time.sleep(1.5)  # what must not happen is a loop
    assert program.say("cpu") - used < 0.75
    assert len(receiver.requests) - sent <= 5
    assert program.backend()["waiting"] == 20
    receiver._answer, receiver._default = receiver._receive, Reply()
    assert program.settled()
    for group in told:
        moments = [int(trace_id[:12], 16) / 1000 for trace_id in group["traces"]]
        assert all(abs(moment - group["now"]) < 30 for moment in moments)
    program.tell(verdict, 9, f"the clock jumps {jump}, in an outage", arrivals(receiver))
    assert "Traceback" not in program.end()


# --- row 5: a disk that answers EIO ------------------------------------------------------------------------------


def test_a_disk_that_fails_to_write(shim: Path, tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """Every write and sync fails for a while: spans go from memory to the backend, one warning, and to disk again."""
    program = Driven(shim, tmp_path, receiver.url)
    program.say("configure")
    program.spans(10, "before")
    assert program.settled()
    with program.control.failing_disk(errno.EIO):
        for _ in range(5):
            program.spans(10, "meanwhile")
            assert program.settled()
        found = program.backend()
        assert (found["state"], found["durable"]) == ("degraded", False)
    program.spans(10, "after")
    assert program.settled()
    assert wait_until(lambda: program.backend()["durable"])
    program.tell(verdict, 5, "EIO for all writes for a while", arrivals(receiver))
    said = program.end()
    assert said.count("Until then spans wait in memory") == 1
    assert "Traceback" not in said


# --- row 23: no threads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before the start", "after the start"])
def test_no_thread_to_be_had(moment: str, shim: Path, tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """No thread can be started: calls go on, spans lie on disk, and arrive once there are threads."""
    program = Driven(shim, tmp_path, receiver.url, OTEL_SERVICE_NAME="starved")
    if moment == "after the start":
        program.say("configure")
    with program.control.no_threads():
        if moment == "before the start":
            program.say("configure")
        program.spans(20)
        report = program.say("flush 0.5")
        assert report["waiting"] == 20
        assert report["seconds"] < 5
        assert arrivals(receiver) == []
        assert program.backend()["waiting"] == 20
    assert wait_until(lambda: program.spans(1) and not program.say("flush 1")["waiting"], PATIENCE)
    arrived = arrivals(receiver)
    assert sorted(arrived) == sorted(program.ids)
    verdict(23, f"no thread to be had, from {moment} on, for a while", created=20, delivered=len(set(arrived[:20])))
    assert "Traceback" not in program.end()


# --- programs with an end of their own ---------------------------------------------------------------------------


HEAD = """
import os, sys, time
import otel_llm
from opentelemetry import trace

def span(name):
    trace.get_tracer("app").start_span(name).end()

"""


def started(
    directory: Path, source: str, endpoint: str, *words: str, first: str = "", **environment: str
) -> subprocess.Popen[str]:
    """Start a program whose spans go to `endpoint`; it finds `span(name)` and `otel_llm`."""
    (directory / "app.py").write_text(f"{first}\n{HEAD}{textwrap.dedent(source)}")
    return subprocess.Popen(
        [sys.executable, "app.py", *words],
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OTEL_LLM_BACKEND": "otlp",
            "OTEL_LLM_OTLP_ENDPOINT": endpoint,
            "OTEL_LLM_STATE_DIR": str(directory / "state"),
            "OTEL_LLM_INSTRUMENT": "none",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(directory: Path, source: str, endpoint: str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The same, to its end."""
    with started(directory, source, endpoint, *words, **more) as program:
        try:
            out, err = program.communicate(timeout=110)
        finally:
            program.kill()
    return subprocess.CompletedProcess(program.args, program.returncode, out, err)


def shipped(directory: Path, endpoint: str) -> None:
    """Deliver what a program has left, as its next start would."""
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OTEL_LLM_STATE_DIR": str(directory / "state"),
        "OTEL_LLM_OTLP_ENDPOINT": endpoint,
    }
    done = subprocess.run(
        [sys.executable, "-m", "otel_llm", "ship", "--timeout", "30"], cwd=directory, env=environ, check=False
    )
    assert done.returncode == 0


def names(receiver: OtlpReceiver) -> Counter[str]:
    """How often each span arrived, by name."""
    return Counter(span.name for span in receiver.spans)


def told(verdict: Verdict, row: int, injected: str, expected: Counter[str], receiver: OtlpReceiver) -> None:
    """Note the row, and check that each span arrived once."""
    found = names(receiver)
    verdict(
        row,
        injected,
        created=sum(expected.values()),
        delivered=len(set(found) & set(expected)),
        duplicates=sum(found.values()) - len(found),
        lost=len(set(expected) - set(found)),
    )
    assert found == expected


@pytest.mark.parametrize("forks", [60, pytest.param(300, marks=pytest.mark.slow)])
def test_a_storm_of_forks(forks: int, tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """A program that records forks again and again; each child ends a span and leaves by `os._exit`, with no flush."""
    answer = run(
        tmp_path,
        f"""
        otel_llm.configure()
        children = set()
        for number in range({forks}):
            span(f"parent {{number}}")
            child = os.fork()
            if child == 0:
                span(f"child {{number}}")
                os._exit(7)
            children.add(child)
            while len(children) >= 8 or (number == {forks} - 1 and children):
                ended, status = os.wait()
                children.remove(ended)
                assert os.waitstatus_to_exitcode(status) == 7
        """,
        receiver.url,
    )
    assert answer.returncode == 0, answer.stderr
    shipped(tmp_path, receiver.url)
    expected = Counter(f"{who} {number}" for who in ("parent", "child") for number in range(forks))
    told(verdict, 22, f"{forks} forks under load, each child ends by os._exit", expected, receiver)
    assert "Traceback" not in answer.stderr


ENDS = {
    "sys.exit in atexit": "import atexit; otel_llm.configure(); atexit.register(sys.exit, 3); span('last')",
    "an exception in atexit": "import atexit; otel_llm.configure(); span('last'); atexit.register(lambda: 1 / 0)",
    "a span that ends in atexit": "import atexit; otel_llm.configure(); atexit.register(span, 'last')",
    "a daemon thread that records at the end": """
        import threading
        otel_llm.configure()
        stop = []
        def busy():
            while not stop:
                trace.get_tracer("other").start_span("busy").end()
                time.sleep(0.001)
        threading.Thread(target=busy, daemon=True).start()
        span("last")
    """,
}


@pytest.mark.parametrize(("injected", "backend"), list(zip(ENDS, ["dead", "up", "dead", "up"], strict=True)))
def test_ends_at_a_bad_moment(
    injected: str, backend: str, tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict
) -> None:
    """Whatever else happens while the interpreter ends: the last span is kept, and nothing of ours is on stderr."""
    url = receiver.url if backend == "up" else f"http://127.0.0.1:{closed_port()}"
    answer = run(tmp_path, ENDS[injected], url)
    assert "otel_llm/" not in answer.stderr, "a traceback through code of ours"
    shipped(tmp_path, receiver.url)
    found = Counter(name for name in names(receiver).elements() if name == "last")
    verdict(
        24,
        f"{injected}, backend {backend}",
        created=1,
        delivered=len(found),
        duplicates=sum(found.values()) - len(found),
        lost=1 - len(found),
    )


def test_under_gevent(tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """Threads, locks and sockets are greenlets: ten of them record, one more forks; each span arrives once."""
    source = """
        otel_llm.configure()
        def work(name):
            for number in range(10):
                span(f"{name} {number}")
                time.sleep(0.001)
        gevent.joinall([gevent.spawn(work, name) for name in range(10)])
        if os.fork() == 0:
            span("child")
            os._exit(0)
        os.wait()
        assert otel_llm.flush(20).waiting == 0
        assert otel_llm.status().faults == {}
    """
    answer = run(tmp_path, source, receiver.url, first="import gevent.monkey; gevent.monkey.patch_all(); import gevent")
    assert answer.returncode == 0, answer.stderr
    expected = Counter(["child", *(f"{name} {number}" for name in range(10) for number in range(10))])
    told(verdict, 23, "everything patched by gevent, with a fork", expected, receiver)


def test_a_fork_under_gevent_in_the_middle_of_a_request(
    tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict
) -> None:
    """Greenlets are copied by a fork, as threads are not: the child's copy does not read the parent's answer."""
    take = receiver._answer
    receiver._answer = lambda request: replace(take(request), delay=0.5)
    source = """
        otel_llm.configure()
        children = []
        for number in range(10):
            span(f"work {number}")
            time.sleep(0.4)  # so that a request is under way
            children.append(os.fork())
            if children[-1] == 0:
                span(f"child {number}")
                time.sleep(1)
                os._exit(0)
        for child in children:
            os.waitpid(child, 0)  # for any child at all, gevent's would wait for ever
        assert otel_llm.flush(20).waiting == 0
        assert otel_llm.status().faults == {}
    """
    answer = run(tmp_path, source, receiver.url, first="import gevent.monkey; gevent.monkey.patch_all(); import gevent")
    assert answer.returncode == 0, answer.stderr
    expected = Counter(f"{who} {number}" for who in ("work", "child") for number in range(10))
    told(verdict, 23, "everything patched by gevent, ten forks in the middle of a request", expected, receiver)


def test_a_command_under_gevent_does_not_run_the_program_twice(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """A command that gevent runs forks all greenlets; those of the program do not go on in the copy because of us."""
    source = """
        import subprocess
        otel_llm.configure()
        span("first")
        with open("work", "a", buffering=1) as work:
            def serve(name):
                for number in range(30):
                    gevent.sleep(0.001)
                    work.write(f"{os.getpid()} {name} {number}\\n")
            def command():
                for _ in range(20):
                    subprocess.run(["true"])
                    gevent.sleep(0.003)
            gevent.joinall([gevent.spawn(command), *(gevent.spawn(serve, name) for name in range(10))])
        made = open("work").read().split("\\n")[:-1]
        assert len({line.split()[0] for line in made}) == 1, "a copy of the program went on"
        assert len(made) == 300
        if os.fork() == 0:
            span("child")
            os._exit(0)
        os.wait()
    """
    answer = run(tmp_path, source, receiver.url, first="import gevent.monkey; gevent.monkey.patch_all(); import gevent")
    assert answer.returncode == 0, answer.stderr
    assert "del _limbo" not in answer.stderr, "a thread was begun inside the fork"
    shipped(tmp_path, receiver.url)
    assert names(receiver) == Counter(["first", "child"])


def test_sigterm_in_an_outage(tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """A hundred spans, nobody listening, SIGTERM: the process is gone soon, and the next start delivers all."""
    source = "otel_llm.configure(); [span(f'work {n}') for n in range(100)]; import signal; os.kill(os.getpid(), 15)"
    answer = run(tmp_path, source, f"http://127.0.0.1:{closed_port()}")
    assert answer.returncode == -signal.SIGTERM, answer.stderr
    assert names(receiver) == {}
    shipped(tmp_path, receiver.url)
    told(verdict, 3, "SIGTERM in an outage", Counter(f"work {n}" for n in range(100)), receiver)


def test_no_home(tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """A user without home and name: spans wait in memory, one warning, no file anywhere, all delivered."""
    source = """
        import pwd
        os.environ.pop("HOME", None)
        os.environ.pop("XDG_STATE_HOME", None)
        pwd.getpwuid = lambda uid: (_ for _ in ()).throw(KeyError(uid))
        otel_llm.configure(state_dir=sys.argv[1])  # imports what a user without a home could not read below /root
        span("first")
        assert otel_llm.flush(20).waiting == 0
        otel_llm.shutdown()
        if os.geteuid() == 0:
            os.setgid(54321), os.setuid(54321)
        otel_llm.configure()
        for number in range(20):
            span(f"work {number}")
        assert otel_llm.flush(20).waiting == 0
        (backend,) = otel_llm.status().backends
        assert not backend.durable
        print(backend.cause)
    """
    (tmp_path / "here").mkdir(mode=0o755)
    environ = {"OTEL_LLM_STATE_DIR": "", "OTEL_SERVICE_NAME": "homeless"}
    answer = run(tmp_path / "here", source, receiver.url, str(tmp_path / "first"), **environ)
    assert answer.returncode == 0, answer.stderr
    assert "OTEL_LLM_STATE_DIR" in answer.stdout
    assert answer.stderr.count("Until then spans wait in memory") == 1
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["app.py"]
    expected = Counter(["first", *(f"work {number}" for number in range(20))])
    told(verdict, 8, "no home, no name, nothing writable", expected, receiver)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
@pytest.mark.parametrize("what", ["directory", "file"])
def test_a_spool_of_another_user(what: str, tmp_path: Path, verdict: Verdict, caplog: pytest.LogCaptureFixture) -> None:
    """What belongs to somebody else is not touched; spans wait in memory, and go to disk once it is ours."""
    with OtlpReceiver() as receiver:
        (made := Rig(tmp_path, otlp_endpoint=receiver.url)).spans(1)
        assert made.settled()
        otel_llm.shutdown()
        first = len(receiver.spans)
        (path,) = tmp_path.glob("spool/*/spool.db")
        theirs = path if what == "file" else path.parent
        os.chown(theirs, 12345, 12345)
        before = path.read_bytes()
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        rig.spans(10)
        assert rig.settled()
        found = rig.backend()
        assert "belongs to user id 12345" in (found.cause or "")
        assert not found.durable
        assert path.read_bytes() == before
        said = [one for one in caplog.records if one.name == "otel_llm.delivery.spool"]
        assert len(said) == 1, "one warning, however many batches"
        os.chown(theirs, 0, 0)
        rig.spans(10)
        assert rig.settled()
        assert wait_until(lambda: rig.spans(1) or rig.backend().durable)
        assert rig.settled()
        created = len(rig.ids)
        arrived = arrivals(receiver)[first:]
        assert sorted(arrived) == sorted(rig.ids)
        verdict(
            8,
            f"a {what} of another user, then ours",
            created=created,
            delivered=len(set(arrived)),
            duplicates=len(arrived) - len(set(arrived)),
            varies=True,
        )


def test_a_burst_that_no_queue_holds(tmp_path: Path, verdict: Verdict) -> None:
    """Ten times what the queue holds at once, before a backend that hangs: bounded, and every span is somewhere."""
    with HttpServer(default=Reply(hang=True)) as hanging:
        rig = Rig(tmp_path, otlp_endpoint=hanging.url, batch_queue_size=256, batch_size=32, spool_max_bytes=1 << 20)
        rig.spans(5120)
        assert wait_until(lambda: rig.backend().created == 5120)
        found = rig.backend()
        assert set(found.dropped) <= {"queue_full", "spool_full"}
        counted = sum(found.dropped.values())
        assert found.waiting + counted == 5120
        verdict(
            25,
            "a burst of 20 times the queue before a backend that hangs",
            created=5120,
            delivered=0,
            counted=counted,
            lost=5120 - found.waiting - counted,
            varies=True,
        )


def the_queue() -> GuardedBatching:
    """The queue of the one channel that runs."""
    pipeline = running.current_pipeline()
    assert pipeline is not None
    (channel,) = pipeline.channels
    assert isinstance(channel.gate, GuardedBatching)
    return channel.gate


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_burst_at_default_settings(size: int, tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """20,000 spans, as fast as one thread can end them: every one is delivered once."""
    rig = Rig(tmp_path, otlp_endpoint=receiver.url, batch_delay=200)
    rig.spans(20_000, text="x" * size) if size else rig.spans(20_000)
    assert rig.settled(120)
    rig.tell(
        verdict, 25, f"a burst of 20,000 spans{' of 10 kB' if size else ''} at default settings", arrivals(receiver)
    )


@pytest.mark.parametrize("size", [0, 10_000])
def test_a_burst_while_the_disk_stalls(
    size: int, tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leaves the queue meanwhile: our own thread waits for room, the program's never does, and none is lost."""
    monkeypatch.setattr(queue_guard, "_PATIENCE", PATIENCE)
    rig = Rig(tmp_path, otlp_endpoint=receiver.url, batch_delay=200)
    with the_queue().at_rest(10) as stalled:  # held by the very thread that ends spans: it would wait for itself
        assert stalled
        rig.spans(20_000, text="x" * size) if size else rig.spans(20_000)
        assert otel_llm.flush(0.2).waiting >= 20_000 - 64
    assert rig.settled(120)
    injected = f"a burst of 20,000 spans{' of 10 kB' if size else ''} while the disk stalls"
    rig.tell(verdict, 25, injected, arrivals(receiver))


def test_a_burst_that_is_more_than_may_wait(
    tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes beyond the bounds while the disk stalls is counted with its reason; the rest arrives, and it ends."""
    monkeypatch.setattr(queue_guard, "_PATIENCE", PATIENCE)
    rig = Rig(tmp_path, otlp_endpoint=receiver.url, batch_queue_size=256)
    with the_queue().at_rest(10) as stalled:
        assert stalled
        rig.spans(20_000)
        lost = rig.backend().dropped["queue_full"]
        assert 20_000 - 16_384 - 256 - 64 <= lost <= 20_000 - 16_384
        assert otel_llm.flush(0.2).waiting >= 20_000 - lost - 64
    assert rig.settled(120)
    found = rig.backend()
    assert found.dropped == {"queue_full": lost}
    assert (found.created, found.delivered) == (20_000, 20_000 - lost)
    arrived = arrivals(receiver)
    assert len(arrived) == len(set(arrived)) == found.delivered
    injected = "a burst of more spans than may wait, while the disk stalls"
    verdict(25, injected, created=20_000, delivered=found.delivered, counted=lost, varies=True)


def test_a_burst_at_the_very_end_into_the_local_store(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """20,000 spans as the last thing a program does: its end takes what the disk takes, and every one is stored."""
    source = """
        otel_llm.configure(backend="local")
        tracer = trace.get_tracer("app")
        words = {f"app.text.{number}": "some words of a text " * 50 for number in range(3)}
        for number in range(20_000):
            tracer.start_span(f"work {number}", attributes=words).end()
    """
    done = run(tmp_path, source, receiver.url)
    assert done.returncode == 0, done.stderr
    assert "lost" not in done.stderr
    with closing(sqlite3.connect(tmp_path / "state" / "store.db")) as store:
        assert store.execute("SELECT count(DISTINCT name) FROM spans").fetchone() == (20_000,)


MOMENT = 2.0
"""What a loaded machine may add to `batch_delay` (0.2 s) before a span is on disk."""


def test_kill_nine_between_batches(tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """Of a program that is killed only spans of its last moment are missing, those not yet in a batch: no gaps."""
    source = """
        otel_llm.configure()
        number = 0
        while True:
            span(f"work {number}")
            os.write(1, f"{number} {time.monotonic()}\\n".encode())
            number += 1
            time.sleep(0.002)
    """
    created = lost = twice = 0
    for number in range(5):
        directory = tmp_path / str(number)
        directory.mkdir()
        before = len(receiver.spans)
        program = started(directory, source, receiver.url)
        assert program.stdout is not None
        begun = [program.stdout.readline() for _ in range(50 + 60 * number)]
        program.kill()
        lines = "".join([*begun, program.communicate()[0]]).splitlines()
        ended = {int(which): float(at) for which, at in map(str.split, lines)}
        shipped(directory, receiver.url)
        arrived = Counter(int(span.name.removeprefix("work ")) for span in receiver.spans[before:])
        assert sorted(arrived) == list(range(len(arrived))), "a gap"
        missing = sorted(set(ended) - set(arrived))
        assert all(ended[which] > max(ended.values()) - MOMENT for which in missing)
        created += len(set(ended) | set(arrived))
        lost += len(missing)
        twice += sum(arrived.values()) - len(arrived)
    injected = "kill -9 of a whole program, 5 rounds"
    verdict(1, injected, created=created, delivered=created - lost, duplicates=twice, lost=lost, varies=True)


def test_kill_nine_of_a_quiet_program(tmp_path: Path, receiver: OtlpReceiver) -> None:
    """Where few spans come, none waits for others: each is on disk at once, however long `batch_delay` is."""
    source = """
        otel_llm.configure(batch_delay=600_000)
        for number in range(10):
            span(f"work {number}")
            time.sleep(0.05)
        time.sleep(MOMENT)
        os.kill(os.getpid(), 9)
    """
    receiver.always(Reply(503))
    program = started(tmp_path, source.replace("MOMENT", str(MOMENT)), receiver.url)
    program.communicate(timeout=60)
    assert program.returncode == -9
    receiver._answer, receiver._default = receiver._receive, Reply()
    shipped(tmp_path, receiver.url)
    assert {span.name for span in receiver.spans} == {f"work {number}" for number in range(10)}


def test_a_killed_process_is_replaced(tmp_path: Path, receiver: OtlpReceiver, verdict: Verdict) -> None:
    """Two programs share a spool; the one that delivers is killed in an outage: the other delivers for both."""
    receiver.always(Reply(503))
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    together = {"OTEL_LLM_STATE_DIR": str(tmp_path / "state"), "OTEL_SERVICE_NAME": "pair"}
    first = Driven("", tmp_path / "one", receiver.url, **together)
    first.say("configure")
    first.spans(10)
    assert wait_until(lambda: first.backend()["state"] == "failing")
    second = Driven("", tmp_path / "two", receiver.url, **together)
    second.say("configure")
    second.spans(10)
    first.kill()
    began = time.monotonic()
    receiver._answer, receiver._default = receiver._receive, Reply()
    assert wait_until(lambda: len(set(arrivals(receiver))) == 20)
    assert time.monotonic() - began < 60, "far beyond the 30 s that a successor may take"
    assert wait_until(lambda: second.backend()["delivered"] == 20)
    second.ids += first.ids
    second.tell(verdict, 34, "of two programs the one that delivers is killed", arrivals(receiver))
    second.end()
