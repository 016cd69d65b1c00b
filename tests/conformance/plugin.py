"""Fails a test whose spans differ from the conventions, and a complete run in which a declared deviation is gone.

Hooks for `tests/conftest.py`. Under xdist each worker checks its own tests; the controller adds up what they saw.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.conformance import DEVIATIONS
from tests.conformance.collecting import Collected, collect

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "conforming_spans",
    "pytest_configure",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
    "pytest_testnodedown",
]

_OUTPUT = "otel_llm_conformance"
_TOLD = pytest.StashKey["_Told"]()

_MADE_BY_HAND = ("tests/unit/store/", "tests/unit/cli/", "tests/contract/", "tests/unit/backends/")
"""Tests that fill stores with spans that no recorder made."""


class _Told:
    """What this process, or all workers together, have seen."""

    def __init__(self, collected: Collected) -> None:
        self.collected = collected
        self.checked = 0
        self.shown: set[int] = set()
        self.lost_worker = False
        self.verdict = ""


def pytest_configure(config: pytest.Config) -> None:
    """Begin to listen to exporters."""
    told = config.stash[_TOLD] = _Told(Collected())
    collect(told.collected)


@pytest.fixture(autouse=True)
def conforming_spans(request: pytest.FixtureRequest, _clean_environment: None) -> Iterator[None]:
    """After each test, its spans are held to the conventions."""
    collected = request.config.stash[_TOLD].collected
    yield
    if not request.node.nodeid.startswith(_MADE_BY_HAND):
        names = {os.environ.get("OTEL_LLM_STATE_DIR"), request.node.funcargs.get("tmp_path")}
        collected.add_stores(Path(name) for name in names if name is not None)
    if wrong := collected.deviations():
        pytest.fail(
            "Spans differ from the GenAI conventions. Mend the recorder, or declare it with its reason in "
            "otel_llm/conformance/deviations.py:\n" + "\n".join(wrong),
            pytrace=False,
        )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A worker reports what it saw; whoever runs the whole session decides about what nobody saw."""
    told = session.config.stash[_TOLD]
    told.checked += told.collected.checked
    told.shown |= told.collected.shown
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[_OUTPUT] = {"checked": told.checked, "shown": sorted(told.shown)}
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


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how many spans were checked, and what is wrong with the list of deviations."""
    told = config.stash[_TOLD]
    if told.checked:
        terminalreporter.write_line(f"conventions: {told.checked} spans of otel_llm checked")
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
