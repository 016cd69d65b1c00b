"""Whatever a disaster has configured is taken down again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import otel_llm

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _nothing_runs_afterwards() -> Iterator[None]:
    yield
    otel_llm.shutdown(0.5)
