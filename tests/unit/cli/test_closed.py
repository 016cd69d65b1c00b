"""A state directory that this user may not enter: one sentence, whatever the command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RIGHTS = "-dac_override,-dac_read_search"
MAIN = "import sys; from otel_llm.cli import main; sys.exit(main())"


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory without any rights."""
    place = tmp_path / "closed"
    place.mkdir()
    place.chmod(0)
    yield place
    place.chmod(0o700)


def run(closed: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python as somebody whom file permissions bind, with the state directory below `closed`."""
    prefix: list[str] = []
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv") or pytest.skip("root enters everything, and there is no setpriv")
        prefix = [setpriv, f"--bounding-set={_RIGHTS}", f"--inh-caps={_RIGHTS}"]
    environment = {
        **os.environ,
        "OTEL_LLM_STATE_DIR": str(closed / "state"),
        "OTEL_LLM_BACKEND": "opik",
        "OPIK_URL_OVERRIDE": "http://127.0.0.1:9/api",
        "HOME": str(closed.parent),
    }
    command = [*prefix, sys.executable, *words]
    return subprocess.run(
        command, cwd=closed.parent, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("command", [["status"], ["ship", "--timeout", "1"], ["replay", "--to", "opik"]])
def test_a_command_says_what_is_closed(closed: Path, command: list[str]) -> None:
    """Commands that read the state directory name it, and what to do; there is no traceback."""
    done = run(closed, "-c", MAIN, *command)
    assert done.returncode == 1
    assert f"This user may not use {closed / 'state'}" in done.stderr
    assert "OTEL_LLM_STATE_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_in_a_closed_directory_is_named(closed: Path) -> None:
    """What reads the store says which file it could not look at, and that another can be named."""
    done = run(closed, "-c", MAIN, "usage")
    assert done.returncode == 1
    assert f"{closed / 'state' / 'store.db'} cannot be looked at" in done.stderr
    assert "--store" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_says_what_is_closed(closed: Path) -> None:
    """Doctor says that the place cannot be written, and takes no blame for it."""
    done = run(closed, "-c", MAIN, "doctor", "--timeout", "20")
    assert f"{closed / 'state'} cannot be written by this user ({closed} is in the way)." in done.stdout
    assert "fault of otel_llm" not in done.stdout


def test_a_program_goes_on_and_says_it(closed: Path) -> None:
    """Recording goes on in memory; `flush` and `status` answer, and the state says which directory is closed."""
    program = (
        "import otel_llm; otel_llm.configure()\n"
        "with otel_llm.span('work'): pass\n"
        "print(otel_llm.flush(1).waiting); print(otel_llm.status().backends[0].cause)"
    )
    done = run(closed, "-c", program)
    assert done.returncode == 0, done.stderr
    waiting, cause = done.stdout.splitlines()
    assert waiting == "1"
    assert f"The spool in {closed / 'state'}" in cause
    assert "Permission denied" in cause
