"""The decorators keep every type: what mypy and pyright reveal of decorated functions, and what they refuse."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("decorated.py")
ROOT = Path(__file__).parents[2]
LINES = SOURCE.read_text().splitlines()
REVEALED = {number: line.split("# expect: ")[1] for number, line in enumerate(LINES, 1) if "# expect: " in line}
REFUSED = {number for number, line in enumerate(LINES, 1) if "# expect error" in line}


def plain(kind: str) -> str:
    """A type as both checkers write it."""
    return kind.replace("typing.", "").replace("CoroutineType", "Coroutine")


@pytest.mark.slow
def test_mypy_sees_through_the_decorators(tmp_path: Path) -> None:
    """Under mypy --strict each call has the type that it had undecorated, and a wrong call is an error."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(SOURCE)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=110,
    )
    told = re.findall(r"^\S*decorated\.py:(\d+): (error|note): (.*)$", done.stdout, re.MULTILINE)
    notes = {int(line): text for line, kind, text in told if kind == "note" and text.startswith("Revealed type")}
    found = {line: plain(text.split('"')[1]) for line, text in notes.items()}
    errors = {int(line) for line, kind, text in told if kind == "error" and "[unused-coroutine]" not in text}
    assert found == REVEALED, done.stdout + done.stderr
    assert errors == REFUSED, done.stdout


@pytest.mark.slow
def test_pyright_sees_through_the_decorators() -> None:
    """The same under pyright (basedpyright, which brings its own node)."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("basedpyright")), "--outputjson", str(SOURCE)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=110,
    )
    told = json.loads(done.stdout)["generalDiagnostics"]
    notes = {
        entry["range"]["start"]["line"] + 1: entry["message"] for entry in told if entry["severity"] == "information"
    }
    found = {line: plain(re.sub(r'^Type of ".*" is "(.*)"$', r"\1", text)) for line, text in notes.items()}
    errors = {entry["range"]["start"]["line"] + 1 for entry in told if entry["severity"] == "error"}
    assert found == REVEALED, done.stdout
    assert errors == REFUSED, done.stdout
