"""Fails a test whose spans break the conventions, and a complete run in which a declared deviation is gone.

Registered by `tests/conftest.py` for every run. Under xdist each worker checks its own tests; the controller adds up
what they saw. A test that makes spans break a rule on purpose says so, and fails once they do not:

    @pytest.mark.breaks_conventions("token-sum", "gen_ai.usage.cache_read.input_tokens", reason="...")
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.conformance import DEVIATIONS, Rule
from tests.conformance.collecting import Collected, collect

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from otel_llm.conformance import Finding

__all__ = ["register"]

_OUTPUT = "otel_llm_conformance"
_MARKER = "breaks_conventions"
_PASSED = pytest.StashKey[bool]()
_TOLD = pytest.StashKey["_Told"]()

_MADE_BY_HAND = ("tests/unit/store/", "tests/unit/cli/", "tests/contract/", "tests/unit/backends/")
"""Tests that fill stores with spans that no recorder made."""


class _Told:
    """What this process, or all workers together, have seen."""

    def __init__(self, collected: Collected) -> None:
        self.collected = collected
        self.checked = 0
        self.shown: set[int] = set()
        self.advice: set[str] = set()
        self.lost_worker = False
        self.verdict = ""


def register(config: pytest.Config) -> None:
    """Take part in this session, and begin to listen to exporters."""
    told = config.stash[_TOLD] = _Told(Collected())
    config.addinivalue_line(
        "markers", f"{_MARKER}(rule, attribute=None, *, reason): spans of this test break that rule on purpose"
    )
    collect(told.collected)
    config.pluginmanager.register(sys.modules[__name__], "otel_llm-conformance")


@pytest.fixture(autouse=True)
def conforming_spans(request: pytest.FixtureRequest, _clean_environment: None) -> Iterator[None]:
    """After each test, its spans are held to the conventions."""
    collected = request.config.stash[_TOLD].collected
    yield
    if not request.node.nodeid.startswith(_MADE_BY_HAND):
        names = {os.environ.get("OTEL_LLM_STATE_DIR"), request.node.funcargs.get("tmp_path")}
        collected.add_stores(Path(name) for name in names if name is not None)
    purposes = [_Purpose.of(marker) for marker in request.node.iter_markers(_MARKER)]
    wrong = []
    for words, finding in collected.deviations().items():
        covering = [purpose for purpose in purposes if purpose.covers(finding)]
        if not covering:
            wrong.append(words)
    if wrong:
        pytest.fail(
            "Spans break the GenAI conventions. Mend the recorder, or declare it with its reason in "
            "otel_llm/conformance/deviations.py; where the test does it on purpose, mark it "
            f"`{_MARKER}`:\n" + "\n".join(wrong),
            pytrace=False,
        )
    gone = [purpose for purpose in purposes if not purpose.seen]
    if gone and request.node.stash.get(_PASSED, False):
        pytest.fail(
            f"No span of this test breaks what it is marked `{_MARKER}` for; take the mark away:\n"
            + "\n".join(f"{purpose.rule} {purpose.attribute or '(the span)'}: {purpose.reason}" for purpose in gone),
            pytrace=False,
        )


@dataclass
class _Purpose:
    """What a test breaks on purpose, by its mark."""

    rule: str
    attribute: str | None
    reason: str
    seen: bool = False

    @classmethod
    def of(cls, marker: pytest.Mark) -> _Purpose:
        rule, *rest = marker.args
        return cls(Rule(rule).value, *(rest or [None]), **marker.kwargs)

    def covers(self, finding: Finding) -> bool:
        covered = (finding.rule.value, finding.attribute) == (self.rule, self.attribute)
        self.seen = self.seen or covered
        return covered


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Take down whether the test itself passed: one that failed or was skipped need not show what it is marked for."""
    report = yield
    if call.when == "call":
        item.stash[_PASSED] = report.passed
    return report


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A worker reports what it saw; whoever runs the whole session decides about what nobody saw."""
    told = session.config.stash[_TOLD]
    told.checked += told.collected.checked
    told.shown |= told.collected.shown
    told.advice |= told.collected.advice
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_OUTPUT] = {
            "checked": told.checked,
            "shown": sorted(told.shown),
            "advice": sorted(told.advice),
        }
        return
    if exitstatus != pytest.ExitCode.OK or not _is_complete(session.config, told):
        return
    gone = [DEVIATIONS[place] for place in range(len(DEVIATIONS)) if place not in told.shown]
    if gone:
        lines = [f"{one.rule.value} {one.attribute or '(the span)'}: {one.reason}" for one in gone]
        told.verdict = (
            "Declared deviations from the conventions that no span of this complete run shows any more; take them off "
            "the list in otel_llm/conformance/deviations.py:\n" + "\n".join(lines)
        )
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker of xdist saw."""
    told = node.config.stash[_TOLD]
    output = getattr(node, "workeroutput", {}).get(_OUTPUT)
    if output is None:
        told.lost_worker = True
        return
    told.checked += output["checked"]
    told.shown |= set(output["shown"])
    told.advice |= set(output["advice"])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how many spans were checked, what advice there is, and what is wrong with the list of deviations."""
    told = config.stash[_TOLD]
    if told.checked:
        terminalreporter.write_line(f"conventions: {told.checked} spans of otel_llm checked")
    for sentence in sorted(told.advice):
        terminalreporter.write_line(f"conventions, advice: {sentence}")
    if told.verdict:
        terminalreporter.section("conventions", red=True, bold=True)
        terminalreporter.write_line(told.verdict)


def _is_complete(config: pytest.Config, told: _Told) -> bool:
    """Whether every test ran: only then does a deviation that nobody saw mean that it is gone."""
    from tests.recordings.recordings import FOLDER
    from tests.recordings.versions import IS_1_79

    option = config.option
    chosen = (
        option.keyword,
        option.markexpr,
        option.deselect,
        option.ignore,
        option.ignore_glob,
        getattr(option, "lf", False),
    )
    return (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and not any(chosen)
        and not option.collectonly
        and not told.lost_worker
        and FOLDER.is_dir()
        and not IS_1_79
    )
