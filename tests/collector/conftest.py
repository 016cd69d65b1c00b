"""The real Collector binary for the tests of this directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.collector.fault_table import FaultTable
from tests.collector.running import Sidecar
from tests.fakes.opik import FakeOpik

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
_BUILD_SECONDS = 1500


def go_command() -> str | None:
    """The go command; None where there is none."""
    return shutil.which(os.environ.get("GO", "go")) or shutil.which("/usr/local/go/bin/go")


@pytest.fixture(scope="session")
def collector() -> Path:
    """`otelcol-llm`: the one named by OTEL_LLM_COLLECTOR, else the repository's own, built if it is not up to date."""
    named = os.environ.get("OTEL_LLM_COLLECTOR")
    if named:
        assert Path(named).is_file(), f"OTEL_LLM_COLLECTOR names {named}, which is no file"
        return Path(named)
    if go_command() is None:
        missing = (
            "Go is missing (not in PATH, nor at /usr/local/go): install Go 1.26, or name a binary in OTEL_LLM_COLLECTOR"
        )
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    built = subprocess.run(
        [ROOT / "collector/build.sh", "--no-validate"],
        capture_output=True,
        text=True,
        timeout=_BUILD_SECONDS,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return ROOT / "collector/out/otelcol-llm"


@pytest.fixture
def fault_table(record_property: Callable[[str, object], None]) -> FaultTable:
    """Where a fault test states its counts."""
    return FaultTable(record_property)


@pytest.fixture
def opik() -> Iterator[FakeOpik]:
    """A fake Opik without authentication."""
    with FakeOpik() as server:
        yield server


@pytest.fixture
def sidecar(collector: Path, tmp_path: Path, opik: FakeOpik) -> Iterator[Sidecar]:
    """The sidecar, running, before `opik`."""
    running = Sidecar(collector, tmp_path, opik.url)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", disk], capture_output=True, check=False)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode()}")
    yield disk
    subprocess.run(["umount", disk], check=True)
