"""The pytest plugin: fixture `llm_spans`, marker `llm_budget`, option `--llm-snapshot-update`.

    def test_answers_once(llm_spans):
        answer("Where is Paris?")
        llm_spans.assert_called(model="gpt-4o-mini", tenant="acme", times=1)

    @pytest.mark.llm_budget(usd=0.01, tokens=2000)
    def test_stays_cheap(): ...

pytest loads it by itself (entry point `pytest11`). It imports nothing of the recorder before a test asks for it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    from otel_llm.testing.calls import LlmSpans

__all__ = ["llm_spans", "llm_spans_settings"]

_BUDGET = "llm_budget"
_SNAPSHOTS = "llm_snapshots"
_SETTLE_SECONDS = 2.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--llm-snapshot-update`."""
    group = parser.getgroup("otel_llm", "calls to language models")
    group.addoption(
        "--llm-snapshot-update",
        action="store_true",
        default=False,
        help="write the files that llm_spans.assert_snapshot() compares with, instead of comparing",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        f"{_BUDGET}(usd=None, tokens=None): the test fails if the calls to models that it makes cost more USD, or use "
        "more tokens",
    )


@pytest.fixture
def llm_spans_settings() -> dict[str, object]:
    """Settings of the recording behind `llm_spans`; override it to change them (`{"content": "off"}`)."""
    return {}


@pytest.fixture
def llm_spans(request: pytest.FixtureRequest, llm_spans_settings: dict[str, object]) -> Iterator[LlmSpans]:
    """The spans of the calls that the test makes, kept in memory; no backend gets them."""
    from otel_llm.control.running import flush  # noqa: PLC0415  (only tests that ask for it pay for it)
    from otel_llm.testing.calls import LlmSpans  # noqa: PLC0415
    from otel_llm.testing.capture import capturing  # noqa: PLC0415
    from otel_llm.testing.snapshots import SnapshotFile  # noqa: PLC0415

    update = bool(request.config.getoption("--llm-snapshot-update"))

    def snapshot_file(name: str) -> SnapshotFile:
        return SnapshotFile(_snapshot_path(request.node, name), update=update)

    with capturing(**llm_spans_settings) as captured:
        yield LlmSpans(
            lambda: captured.spans,
            settle=lambda: flush(_SETTLE_SECONDS),
            clear=captured.clear,
            snapshot_file=snapshot_file,
        )


def _snapshot_path(item: pytest.Item, name: str) -> Path:
    test = re.sub(r"[^\w.-]+", "_", item.name).strip("_")
    return item.path.parent / _SNAPSHOTS / item.path.stem / f"{test}{f'-{name}' if name else ''}.json"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with a budget needs its spans, asked for or not."""
    for item in items:
        names = getattr(item, "fixturenames", None)
        if names is not None and item.get_closest_marker(_BUDGET) is not None and "llm_spans" not in names:
            names.append("llm_spans")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Check the budget once the test itself has passed: a function's or a `unittest.TestCase`'s."""
    outcome = yield
    limits = _limits(item)
    if limits is not None:
        item.funcargs["llm_spans"].assert_budget(**limits)  # type: ignore[attr-defined]  # such items are functions
    return outcome


def _limits(item: pytest.Item) -> dict[str, Any] | None:
    marker = item.get_closest_marker(_BUDGET)
    if marker is None:
        return None
    if marker.args or not marker.kwargs or set(marker.kwargs) - {"usd", "tokens"}:
        pytest.fail(
            f"{_BUDGET} takes usd= (a number of USD), tokens= (a number of tokens), or both; {item.nodeid} gives "
            f"{', '.join([*map(repr, marker.args), *marker.kwargs]) or 'nothing'}.",
            pytrace=False,
        )
    return dict(marker.kwargs)
