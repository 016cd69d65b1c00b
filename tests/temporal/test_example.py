"""examples/temporal_worker runs as its README says: with Opik, and with a sidecar, by one setting."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.testing import FakeProvider
from tests.fakes.opik.server import FakeOpik
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.temporal.kit import LONG, Seen, new_id, until

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples/temporal_worker"
CALLS = 6
"""Two tenants with three calls each."""


@contextmanager
def worker(environ: dict[str, str], directory: Path) -> Iterator[subprocess.Popen[str]]:
    """The example's worker; what it prints is in `worker.txt`."""
    with (directory / "worker.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "worker.py"], cwd=EXAMPLE, env=environ, stdout=output, stderr=subprocess.STDOUT, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(LONG)


def used(address: str, directory: Path, **settings: str) -> tuple[dict[str, Any], str]:
    """Run the example once. What its health page said at the end, and all that the worker printed."""
    printed = directory / "worker.txt"
    with FakeProvider() as provider:
        environ = {
            **os.environ,
            "TEMPORAL_ADDRESS": address,
            "TASK_QUEUE": new_id("reviews"),
            "HEALTH_PORT": "0",
            "OPENAI_API_BASE": provider.openai_base,
            "OPENAI_API_KEY": "any",
            "OTEL_LLM_STATE_DIR": str(directory / "state"),
            **settings,
        }
        with worker(environ, directory) as process:
            asyncio.run(until(lambda: "health at" in printed.read_text() or process.poll() is not None, LONG))
            assert process.poll() is None, printed.read_text()
            health = printed.read_text().split("health at ")[1].split()[0]
            started = subprocess.run(
                [sys.executable, "start.py"],
                cwd=EXAMPLE,
                env=environ,
                capture_output=True,
                text=True,
                timeout=LONG,
                check=False,
            )
            assert started.returncode == 0, started.stderr + printed.read_text()
            assert [line.split(":")[0] for line in started.stdout.splitlines()] == ["acme", "globex"]
            assert len(provider.requests) == CALLS

            def delivered() -> bool:
                return status(health)["backends"][0]["delivered"] > CALLS

            asyncio.run(until(delivered))
            found = status(health)
            with urllib.request.urlopen(f"{health}/readyz", timeout=LONG) as answer:
                assert answer.status == 200
            process.terminate()
            assert process.wait(LONG) == 0, printed.read_text()
    return found, printed.read_text()


def status(health: str) -> dict[str, Any]:
    """The page /status."""
    with urllib.request.urlopen(f"{health}/status", timeout=LONG) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_a_sidecar(address: str, tmp_path: Path) -> None:
    """Over OTLP: a trace for each review, with the right tenant and every LLM call below its activity."""
    with OtlpReceiver() as receiver:
        found, printed = used(address, tmp_path, OTEL_LLM_BACKEND="otlp", OTEL_LLM_OTLP_ENDPOINT=receiver.url)
        spans = [Seen(message) for message in receiver.spans]
    assert found["backends"][0]["state"] == "ok"
    assert "0 wait on disk" in printed
    assert "Traceback" not in printed
    by_id = {span.id: span for span in spans}
    chats = [span for span in spans if span.name.startswith("chat ")]
    assert (
        sorted((span.tenant, span.attributes["user.id"]) for span in chats)
        == [("acme", "u1")] * 3 + [("globex", "u1")] * 3
    )
    below = sorted(by_id[span.parent].name for span in chats)
    assert below == ["RunActivity:draft_reply"] * 2 + ["RunActivity:summarise"] * 2 + ["extract complaints"] * 2
    assert len({span.trace for span in spans}) == 2
    assert [span for span in spans if span.parent and span.parent not in by_id] == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_with_opik(address: str, tmp_path: Path) -> None:
    """Straight to Opik: the same by another word, and Opik has no objection to any row."""
    with FakeOpik() as opik:
        found, printed = used(
            address,
            tmp_path,
            OTEL_LLM_BACKEND="opik",
            OPIK_URL_OVERRIDE=opik.url,
            OPIK_PROJECT_NAME="reviews",
        )
        traces, spans = opik.traces("reviews"), opik.spans("reviews")
        assert opik.violations == []
    assert (found["backends"][0]["name"], found["backends"][0]["state"]) == ("opik", "ok")
    assert "Traceback" not in printed
    assert len(traces) == 2
    assert len([span for span in spans if span["type"] == "llm"]) == CALLS
