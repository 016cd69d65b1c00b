"""The conventions in the package are what the script makes of the snapshot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otel_llm import semconv
from otel_llm.conformance.conventions import conventions

ROOT = Path(__file__).parents[2]
SNAPSHOT = ROOT.parent / "shared" / "reference" / "data" / "semconv"
SCRIPT = ROOT / "scripts" / "conventions.py"


def make(*words: str, script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    return subprocess.run([sys.executable, str(script), *words], capture_output=True, text=True, check=False)


@pytest.fixture
def snapshot() -> Path:
    """The snapshot; its absence is a failure in CI, and a skip that says so elsewhere."""
    if not SNAPSHOT.is_dir() and not os.environ.get("CI"):
        pytest.skip(f"the snapshot of the conventions is not at {SNAPSHOT}")
    return SNAPSHOT


def test_the_file_is_what_the_script_makes(snapshot: Path) -> None:
    """`scripts/conventions.py --check` finds no difference."""
    answer = make("--check", str(snapshot))
    assert answer.returncode == 0, answer.stderr


def test_a_stale_file_is_found_and_made_anew(snapshot: Path, tmp_path: Path) -> None:
    """`--check` fails on a file that was edited, and running the script cures that."""
    script = tmp_path / "scripts" / SCRIPT.name
    made = tmp_path / "otel_llm" / "conformance" / "conventions.json"
    script.parent.mkdir()
    made.parent.mkdir(parents=True)
    shutil.copy(SCRIPT, script)
    made.write_text("{}")
    stale = make("--check", str(snapshot), script=script)
    assert stale.returncode == 1
    assert "run it again" in stale.stderr
    assert make(str(snapshot), script=script).returncode == 0
    assert make("--check", str(snapshot), script=script).returncode == 0


def test_our_names_are_the_registrys() -> None:
    """Every name that we write below a namespace of the conventions is in the registry, cost apart."""
    known = conventions()
    read_only = set(known.renamed) | set(semconv.OLDER_NAMES) | {semconv.COST}
    prefixes = {value for name, value in vars(semconv).items() if name.endswith("_PREFIX")}
    events = {*semconv.CONTENT_EVENTS, *prefixes, semconv.SPAN_INFERENCE}
    others = {semconv.LITELLM_TOTAL_COST, semconv.SERVER_TTFT}  # of litellm and OpenLIT, which we read
    others |= {semconv.TRACELOOP_API_BASE, semconv.TRACELOOP_CHUNK_EVENT}  # of OpenLLMetry
    metrics = {value for name, value in vars(semconv).items() if name.startswith("METRIC_")}
    ours = {value for value in vars(semconv).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    assert {name for name in ours - read_only - events - others - metrics if known.attribute(name) is None} == set()


def test_the_schema_url_is_the_registrys() -> None:
    """The URL on our spans is the one that the conventions' repository declares."""
    assert conventions().schema_url == semconv.SCHEMA_URL
