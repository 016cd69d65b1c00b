"""What every test shares: no price map from the network, no telemetry of guests, no ambient settings."""

from __future__ import annotations

import concurrent.futures.thread
import gc
import os
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.collector import fault_table
from tests.conformance.plugin import register
from tests.crash import disaster_table
from tests.e2e import prefork_table
from tests.interop import interop_table
from tests.loops import end_loops_of_old_litellm

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("OPIK_SENTRY_ENABLE", "false")
os.environ.setdefault("OPIK_ANALYTICS_ENABLE", "false")

# how long an example takes says how loaded the machine is
hypothesis.settings.register_profile("otel_llm", deadline=None)
hypothesis.settings.load_profile("otel_llm")

end_loops_of_old_litellm()

# Its lock is renewed in a forked child in the order in which fork hooks were registered. The SDK's hook, which makes a
# thread pool, must come later, or the child waits for ever for a lock that its parent held.
assert concurrent.futures.thread.ThreadPoolExecutor

if hasattr(os, "register_at_fork"):
    # what earlier tests left behind (gRPC channels, event loops) must not be taken apart in a child, whose threads
    # are gone: it could wait for them for ever
    os.register_at_fork(after_in_child=gc.disable)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the tables that tests filled in."""
    fault_table.pytest_terminal_summary(terminalreporter)
    prefork_table.write_table(terminalreporter)
    disaster_table.write_table(terminalreporter)
    interop_table.write_table(terminalreporter)


def pytest_configure(config: pytest.Config) -> None:
    """Hold the spans of all tests to the conventions."""
    register(config)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Hide the settings of whoever runs the tests, and give each test a state directory of its own."""
    hidden_settings(monkeypatch, tmp_path_factory.mktemp("state"))


def hidden_settings(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """Take all settings out of the environment, except that state goes to `state`."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "OPIK_")) and name not in {"OPIK_SENTRY_ENABLE", "OPIK_ANALYTICS_ENABLE"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_LLM_STATE_DIR", str(state))


@pytest.fixture
def verdict(record_property: Callable[[str, object], None]) -> disaster_table.Verdict:
    """Takes what was injected and what was counted; the rows come as a table at the end of the run."""
    return disaster_table.Verdict(record_property)
