"""A Temporal server of one's own: in memory, on loopback, on ports that nobody else has."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from temporalio.client import Client

from tests.fakes.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

VERSION = "1.5.1"
DEADLINE = 90.0
"""Seconds for the server to come up, on a machine that has much else to do."""
_ATTEMPTS = 3


def binary() -> Path:
    """The `temporal` command: named by OTEL_LLM_TEMPORAL, else where `scripts/check` puts it, else in PATH.

    Where there is none the test is skipped, in CI it fails.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "otel-llm/bin"
    for place in (os.environ.get("OTEL_LLM_TEMPORAL"), cache / f"temporal-{VERSION}", shutil.which("temporal")):
        if place and Path(place).is_file():
            return Path(place)
    missing = f"the command temporal is missing; scripts/temporal builds it as {cache / f'temporal-{VERSION}'}"
    if os.environ.get("CI"):
        pytest.fail(missing)
    pytest.skip(missing)


@contextlib.contextmanager
def running_server(directory: Path) -> Iterator[str]:
    """A server for the block; gives its address."""
    command = binary()
    for attempt in range(_ATTEMPTS):
        address = f"127.0.0.1:{free_port()}"
        log = directory / f"temporal-{attempt}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [command, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", address.split(":")[1]],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HOME": str(directory)},
                start_new_session=True,
            )
        try:
            # In a thread: the test that asks first may have an event loop.
            with ThreadPoolExecutor(1) as pool:
                up = pool.submit(asyncio.run, _answers(address, process)).result()
            if up:
                yield address
                return
        finally:
            process.kill()
            process.wait(DEADLINE)
    pytest.fail(f"no Temporal server came up; the end of its log:\n{log.read_text()[-2000:]}")


async def _answers(address: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait until the server takes requests; False if it ended or the time is up."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            client = await Client.connect(address)
            await client.service_client.check_health()
            async for _ in client.list_workflows(limit=1):
                pass
        except Exception:
            await asyncio.sleep(0.2)
        else:
            return process.poll() is None
    return False
