"""One trace in Opik of what Opik's own `opik.track` records and what we record, whichever is inside the other.

The real SDK, in an environment of its own, and our backend `opik` write to one server on loopback.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from otel_llm.testing import FakeProvider
from tests.fakes.opik import FakeOpik, needs_openapi
from tests.interop.conftest import AMBIENT, ROOT

pytestmark = [pytest.mark.slow, needs_openapi]

PROGRAM = Path(__file__).with_name("tracked_program.py")
_PYTHON = Path(os.environ.get("OTEL_LLM_OPIK_PYTHON") or ROOT / ".venv-opik" / "bin" / "python")


@dataclass
class Told:
    """What a program saw, and what Opik has of it."""

    saw: dict[str, Any]
    spans: list[dict[str, Any]]
    traces: list[dict[str, Any]]
    elsewhere: list[dict[str, Any]]
    """Spans of another project that the program names."""
    globex: list[dict[str, Any]]
    """Spans of the project of a tenant."""

    def one(self, name: str) -> dict[str, Any]:
        """The span of that name."""
        (found,) = [span for span in self.spans if span["name"] == name]
        return found

    def below(self, span: dict[str, Any]) -> str | None:
        """The name of the span that `span` hangs below in Opik; None for none."""
        names = {one["id"]: one["name"] for one in self.spans}
        return names[span["parent_span_id"]] if span.get("parent_span_id") else None

    def path(self, span: dict[str, Any]) -> list[str]:
        """The names from the top of the trace down to `span`."""
        known = {one["id"]: one for one in self.spans}
        names = [span["name"]]
        while span.get("parent_span_id"):
            span = known[span["parent_span_id"]]
            names.insert(0, span["name"])
        return names

    def trace(self, span: dict[str, Any]) -> dict[str, Any]:
        """The trace of a span."""
        (found,) = [trace for trace in self.traces if trace["id"] == span["trace_id"]]
        return found


def _needs_python() -> None:
    if not _PYTHON.exists():
        missing = f"no Python with the opik client and otel_llm at {_PYTHON}; scripts/check makes it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)


def run(directory: Path, layout: str, *settings: str) -> Told:
    """Run the program to its end."""
    _needs_python()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(AMBIENT)}
    with FakeOpik() as opik, FakeProvider() as provider:
        arguments = [str(PROGRAM), opik.url, provider.openai_base, str(directory), layout, *settings]
        done = subprocess.run(
            [str(_PYTHON), *arguments],
            env=environment, capture_output=True, text=True, timeout=110, check=False, cwd=directory,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        assert "Traceback" not in done.stderr.replace("ZeroDivisionError", ""), done.stderr[-4000:]
        assert not opik.violations
        return Told(
            json.loads(done.stdout.splitlines()[-1]),
            opik.spans("shop"),
            opik.traces("shop"),
            opik.spans("elsewhere"),
            opik.spans("globex"),
        )


@pytest.fixture(scope="module", params=["own", "joined"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """On a provider of ours with opik imported before us, and on one of the program's with opik imported after."""
    return run(tmp_path_factory.mktemp("tracked"), request.param)


def test_theirs_around_ours_around_theirs(told: Told) -> None:
    """A traced function, a span of ours in it, a traced function in that, and its call: each below the one before."""
    (call,) = [span for span in told.spans if span["type"] == "llm" and "deep" in json.dumps(span["input"])]
    assert told.path(call) == ["theirs_outside", "ours between", "theirs_inside", "chat gpt-4o-mini"]
    assert told.below(told.one("ours beside")) == "theirs_outside"
    assert told.trace(call)["name"] == "theirs_outside"
    (request,) = [span for span in told.spans if span["name"] == "POST" and span["parent_span_id"] == call["id"]]
    assert request["trace_id"] == call["trace_id"]


def test_theirs_in_ours(told: Told) -> None:
    """Traced functions in a function of ours are in its trace, which is one row and named after ours."""
    work = told.one("work")
    steps = [span for span in told.spans if span["name"] == "step"]
    assert [told.path(span) for span in steps] == [["work", "step"]] * 2
    assert told.path(told.one("in step one")) == ["work", "step", "in step one"]
    (call,) = [span for span in told.spans if span["type"] == "llm" and "before" in json.dumps(span["input"])]
    assert told.path(call) == ["work", "chat gpt-4o-mini"]
    assert {span["trace_id"] for span in (*steps, call, work)} == {work["trace_id"]}
    assert told.trace(work)["name"] == "work"
    assert told.saw["steps"] == ["one", "two"]


def test_what_a_program_says_of_the_trace_is_kept(told: Told) -> None:
    """`update_current_trace` works as without us: tags, metadata, thread and scores are the trace's."""
    trace = told.trace(told.one("work"))
    assert {"tag one", "tag two"} <= set(trace["tags"])
    assert trace["metadata"]["who"] == "me"
    assert trace["thread_id"] == "thread-7"
    assert {score["name"] for score in trace["feedback_scores"]} == {"score one", "score two"}


def test_headers_for_other_services_name_the_joined_trace(told: Told) -> None:
    """What Opik's SDK hands on to another process leads there."""
    ids = {span["id"] for span in told.spans if span["name"] == "step"}
    for name in ("one", "two"):
        headers = told.saw[f"headers {name}"]
        assert headers["opik_trace_id"] == told.one("work")["trace_id"]
        assert headers["opik_parent_span_id"] in ids


@pytest.mark.parametrize(
    ("where", "what", "inner"), [("tasks", "task", "in task"), ("threads", "threaded", "in thread")]
)
def test_side_by_side(where: str, what: str, inner: str, told: Told) -> None:
    """Traced functions that run at once, in tasks or in threads, each hang below ours, and ours below each."""
    outer = told.one(where)
    theirs = {span["id"]: span for span in told.spans if span["name"] == what}
    assert len(theirs) == 3
    assert {(span["trace_id"], span["parent_span_id"]) for span in theirs.values()} == {
        (outer["trace_id"], outer["id"])
    }
    below = [told.one(f"{inner} {number}")["parent_span_id"] for number in range(3)]
    assert sorted(below) == sorted(theirs)


def test_nothing_is_left_over(told: Told) -> None:
    """A thread that has run a joined function begins a trace of its own with the next one."""
    assert told.saw["left over"] == []
    assert told.saw["current"]
    assert len(set(told.saw["afterwards"])) == 9
    assert set(told.saw["afterwards"]).isdisjoint({told.one("threads")["trace_id"]})
    assert [told.path(span) for span in told.spans if span["name"] == "afterwards"] == [["afterwards"]] * 9


def test_every_form(told: Told) -> None:
    """Generators, failures and the SDK's context manager join too, and do what they do without us."""
    assert told.saw["numbers"] == [0, 1]
    assert told.saw["error"] == "as before"
    assert told.path(told.one("numbers")) == ["forms", "numbers"]
    assert told.path(told.one("failing")) == ["forms", "failing"]
    assert told.one("failing")["error_info"]["exception_type"] == "ZeroDivisionError"
    assert told.path(told.one("in context manager")) == ["forms", "by context manager", "in context manager"]


def test_another_project_stays_another_project(told: Told) -> None:
    """A function that names a project of its own keeps its trace there; nothing of ours is moved into it."""
    (span,) = [one for one in told.elsewhere if one["name"] == "of_another_project"]
    assert not span.get("parent_span_id")
    assert told.path(told.one("below another project")) == ["forms", "below another project"]


def test_a_tenant_with_a_project_keeps_its_spans(told: Told) -> None:
    """Spans of a tenant that has a project of its own do not go into the trace of another project."""
    assert [span["name"] for span in told.globex] == ["of globex"]


def test_alone_is_alone(told: Told, request: pytest.FixtureRequest) -> None:
    """A traced function with nothing of ours around is the SDK's own trace; one in a request keeps the request."""
    paths = Counter(tuple(told.path(span)) for span in told.spans if span["name"] == "alone")
    assert paths == Counter({("alone",): 1, ("request", "alone"): 1})
    others = [span for span in told.spans if span["name"] == "other request"]
    assert len(others) == (1 if "own" in request.node.callspec.id else 0)


def test_each_trace_is_one_row(told: Told) -> None:
    """No trace is there twice, none of its spans is missing its trace, and nothing went wrong on the way."""
    ids = Counter(trace["id"] for trace in told.traces)
    assert set(ids.values()) == {1}
    assert {span["trace_id"] for span in told.spans} <= set(ids)
    assert told.saw["complete"]
    assert told.saw["faults"] == {}


def test_never_means_never(tmp_path: Path) -> None:
    """With `opik.join=never` each side has traces of its own."""
    apart = run(tmp_path, "own", "opik_join=never", "without calls")
    assert [apart.path(span) for span in apart.spans if span["name"] == "task"] == [["task"]] * 3
    assert apart.path(apart.one("in task 1")) == ["tasks", "in task 1"]


def test_nothing_joins_a_trace_that_may_be_left_out(tmp_path: Path) -> None:
    """Where we sample, a traced function begins a trace of its own, which our spans in it are part of."""
    sampled = run(tmp_path, "own", "sampling_ratio=0.9999999", "without calls")
    assert [sampled.path(span) for span in sampled.spans if span["name"] == "numbers"] == [["numbers"]]
    assert sampled.path(sampled.one("below another project")) == ["forms", "below another project"]


def test_a_callers_headers_lead_into_its_trace(tmp_path: Path) -> None:
    """What a service of ours does for a caller that Opik's SDK traces is in the caller's trace, whose row stays."""
    _needs_python()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(AMBIENT)}
    with FakeOpik() as opik:
        arguments = [str(_PYTHON), str(Path(__file__).with_name("called_program.py")), opik.url, str(tmp_path)]
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert [trace["name"] for trace in opik.traces("shop")] == ["caller"]
        told = Told({}, opik.spans("shop"), opik.traces("shop"), [], [])
    paths = {tuple(told.path(span)) for span in told.spans}
    assert ("caller", "GET", "work", "theirs", "ours in theirs") in paths
    if any(path[-1] == "boundary" for path in paths):
        assert ("caller", "boundary", "below", "theirs", "ours in theirs") in paths
    assert {path[0] for path in paths} == {"caller"}
