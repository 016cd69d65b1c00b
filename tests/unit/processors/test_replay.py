"""The replay filter outside of Temporal."""

from __future__ import annotations

import sys

import pytest

from otel_llm.processors.replay import ReplayFilter
from tests.fakes.spans import make_span


def test_without_temporal_every_span_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not use Temporal pays a look into a dict, and Temporal is not loaded."""
    monkeypatch.delitem(sys.modules, "temporalio.workflow", raising=False)
    assert ReplayFilter()(make_span())
    assert "temporalio.workflow" not in sys.modules


def test_outside_of_workflows_every_span_is_kept() -> None:
    """Activities and clients are not replayed."""
    pytest.importorskip("temporalio.workflow")
    assert ReplayFilter()(make_span())
