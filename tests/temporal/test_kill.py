"""A worker is killed in mid-activity with the backend down; another ends the work, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import otel_llm
from otel_llm.testing import FakeProvider
from tests.fakes.http_server import Reply, Request
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.temporal.kit import LONG, Seen, connected, new_id, until

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("killed_worker.py")


class Backend(OtlpReceiver):
    """A receiver that is down at first."""

    down = True

    def _receive(self, request: Request) -> Reply:
        return Reply(503) if self.down else super()._receive(request)


@contextmanager
def worker(directory: Path, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """A worker process; its output is in `output.txt`."""
    with (directory / "output.txt").open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-W", "always", str(PROGRAM), *arguments, str(directory)],
            env={
                **os.environ,
                "OTEL_LLM_STATE_DIR": str(directory / "state"),
                "OTEL_LLM_BACKEND": "otlp",
                "OTEL_LLM_SHUTDOWN_TIMEOUT": "20",
                "PYTHONPATH": str(ROOT),
                **settings,
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(LONG)


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_killed_in_mid_activity_with_the_backend_down(address: str, tmp_path: Path) -> None:
    """Every span that ended arrives once: of the killed attempt, of the next one, and of the workflow, as one trace."""
    name, done = new_id("killed"), tmp_path / "in-the-middle"
    client = await connected(address)
    with Backend() as receiver, FakeProvider() as provider:
        settings = {"OTEL_LLM_OTLP_ENDPOINT": receiver.url, "PROVIDER": provider.openai_base}
        with otel_llm.tenant("acme"):
            handle = await client.start_workflow("Answer", id=name, task_queue=name)
        with worker(tmp_path, address, name, **settings) as first:
            await until(lambda: done.exists() or first.poll() is not None, LONG)
            assert done.exists(), (tmp_path / "output.txt").read_text()
            first.kill()
            first.wait(LONG)
        assert int(done.read_text()) > 0, "what had ended should have waited on disk"
        with worker(tmp_path, address, name, **settings) as second:
            assert await handle.result() == "You said: first You said: second"
            receiver.down = False
            second.terminate()
            second.wait(LONG)
        assert second.returncode == 0, (tmp_path / "output.txt").read_text()
        deliver_the_rest(tmp_path, settings)
        spans = [Seen(message) for message in receiver.spans]
        asked = len(provider.requests)

    output = (tmp_path / "output.txt").read_text()
    assert "replayed 10 times" in output
    assert "imported after initial workflow load" not in output
    twice = [span for span, count in Counter(span.id for span in spans).items() if count > 1]
    assert twice == [], spans
    assert {(span.trace, span.tenant) for span in spans} == {(spans[0].trace, "acme")}
    assert uuid.UUID(spans[0].trace).version == 7
    counts = Counter(span.name for span in spans)
    assert counts["chat gpt-4o-mini"] == asked >= 4
    assert (counts["RunWorkflow:Answer"], counts["StartActivity:prepare"], counts["StartActivity:work"]) == (1, 1, 1)
    # Of the attempt that was killed there is no span, for it never ended; its LLM call is there all the same.
    attempts = [span.attributes["temporal.attempt"] for span in spans if span.name == "RunActivity:work"]
    assert 1 not in attempts
    assert len(attempts) >= 1
    ids = {span.id for span in spans}
    orphans = [span.name for span in spans if span.parent and span.parent not in ids]
    # The workflow's parent is the client's span, where the process that started it records too.
    assert [name for name in orphans if name != "RunWorkflow:Answer"] == ["chat gpt-4o-mini"]


def deliver_the_rest(directory: Path, settings: dict[str, str]) -> None:
    """What was still on disk when the last worker ended."""
    environ = {**os.environ, **settings, "OTEL_LLM_STATE_DIR": str(directory / "state"), "OTEL_LLM_BACKEND": "otlp"}
    shipped = subprocess.run(
        [sys.executable, "-m", "otel_llm", "ship", "--timeout", "30"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert shipped.returncode == 0, json.dumps([shipped.stdout, shipped.stderr])
