"""Whatever a test configures is taken down again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider

import otel_llm

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """A tracer provider of the program's own, all of whose spans are wanted."""
    monkeypatch.setenv("OTEL_LLM_SPANS", "all")
    return TracerProvider(shutdown_on_exit=False)


@pytest.fixture(autouse=True)
def _nothing_runs_afterwards() -> Iterator[None]:
    yield
    otel_llm.shutdown()
