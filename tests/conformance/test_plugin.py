"""The hook itself: a small project of tests whose spans conform, deviate, or no longer do, alone and under xdist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.recordings.recordings import FOLDER
from tests.recordings.versions import IS_1_79

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(330),
    pytest.mark.skipif(IS_1_79 or not FOLDER.is_dir(), reason="such a run is never complete"),
]

ROOT = Path(__file__).parents[2]
CONFTEST = f"""
import sys
import pytest
sys.path.insert(0, {str(ROOT)!r})
from otel_llm import conformance
from otel_llm.conformance import Deviation, Rule, deviations
from tests.conformance import plugin

LIST = (
    Deviation(Rule.UNKNOWN_ATTRIBUTE, "gen_ai.usage.cost", None, "no cost there"),
    Deviation(Rule.UNKNOWN_ATTRIBUTE, "gen_ai.other", None, "another reason"),
)
for module in (conformance, deviations, plugin):
    module.DEVIATIONS = LIST

@pytest.fixture(autouse=True)
def _clean_environment():
    yield

def pytest_configure(config):
    plugin.register(config)
"""
TESTS = """
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

def span(scope, **more):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    attributes = {{"gen_ai.operation.name": "x", **{{f"gen_ai.{{key}}": value for key, value in more.items()}}}}
    provider.get_tracer(scope, schema_url="https://x/1").start_span("x", attributes=attributes).end()

def test_one():
    span("otel_llm", **{{"usage.cost": 1.0}})
    span("somebody", **{{"usage.cost": 1.0}})

def test_two():
    span("otel_llm", {second})
"""


MARK = '@pytest.mark.breaks_conventions("unknown-attribute", "gen_ai.{name}", reason="on purpose")'
MARKED = (
    TESTS.replace("{{", "{").replace("}}", "}").replace("{second}", "")
    + f"""
{MARK.format(name="nothing")}
def test_on_purpose():
    span("otel_llm", nothing=1)

{MARK.format(name="nothing")}
def test_no_longer():
    span("otel_llm")

{MARK.format(name="nothing")}
def test_something_else():
    span("otel_llm", nothing=1, thing=2)

{MARK.format(name="nothing")}
def test_skipped_before_it_comes_to_that():
    pytest.skip("not here")
"""
)


def run(directory: Path, second: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the project; `second` is what the span of its second test has."""
    (directory / "pytest.ini").write_text("[pytest]\ntestpaths = t\n")
    tests = directory / "t"
    tests.mkdir()
    (tests / "conftest.py").write_text(dedent(CONFTEST))
    (tests / "test_it.py").write_text(MARKED if second == MARKED else TESTS.format(second=second))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=300)


def test_a_deviation_that_is_gone_fails_a_complete_run(tmp_path: Path) -> None:
    """A declared deviation that no test shows any more, in whichever process, makes a complete run red and is named."""
    answer = run(tmp_path, "", "-n", "2")
    assert answer.returncode == 1, answer.stdout
    assert "unknown-attribute gen_ai.other: another reason" in answer.stdout
    assert "no cost there" not in answer.stdout  # that one a worker has seen
    assert "conventions: 2 spans of otel_llm checked" in answer.stdout
    assert "2 passed" in answer.stdout


def test_a_part_of_the_tests_proves_nothing_gone(tmp_path: Path) -> None:
    """Where tests were left out, nothing is said about deviations that nobody saw."""
    answer = run(tmp_path, "", "-k", "one")
    assert answer.returncode == 0, answer.stdout


def test_an_undeclared_deviation_fails_its_test(tmp_path: Path) -> None:
    """A span that breaks the conventions makes the test red that made it, with what to do; nothing else is decided."""
    answer = run(tmp_path, "nothing=1")
    assert answer.returncode == 1, answer.stdout
    assert "ERROR t/test_it.py::test_two" in answer.stdout
    assert "there is no `gen_ai.nothing` in the conventions" in answer.stdout
    assert "take them off" not in answer.stdout


def test_what_a_test_breaks_on_purpose_it_says(tmp_path: Path) -> None:
    """A mark covers what it names and nothing else, and fails its test once no span shows it."""
    answer = run(tmp_path, MARKED, "-k", "not one and not two")
    assert answer.returncode == 1, answer.stdout
    assert "2 errors" in answer.stdout
    assert "ERROR t/test_it.py::test_no_longer" in answer.stdout
    assert "take the mark away:\nunknown-attribute gen_ai.nothing: on purpose" in answer.stdout
    assert "ERROR t/test_it.py::test_something_else" in answer.stdout
    assert "there is no `gen_ai.thing` in the conventions" in answer.stdout
    assert "there is no `gen_ai.nothing`" not in answer.stdout
