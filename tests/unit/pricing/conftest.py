"""A provider on loopback, the recorder writing into memory, and the user's prices as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import litellm
import pytest

from otel_llm.config import load
from otel_llm.instrumentation.litellm.pricing import use_prices
from otel_llm.pricing import NO_PRICES, load_prices
from otel_llm.testing import FakeProvider
from tests.unit.instrumentation.recorded import Spans
from tests.unit.pricing.cases import LITELLM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider of language models that does what the test says."""
    with FakeProvider() as serving:
        yield serving


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The recorder, on; what it recorded so far."""
    with Spans() as recorded:
        yield recorded


@pytest.fixture
def agree(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Puts prices and aliases in force, as `configure` does; undone afterwards."""

    def agreed(
        prices: dict[str, Any] | None = None,
        aliases: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        path = tmp_path / "prices.json"
        path.write_text(json.dumps(prices or {}))
        use_prices(load_prices(path, load(environ=environment or {}).prices, aliases=aliases))

    yield agreed
    use_prices(NO_PRICES)


_ROWS = json.loads((Path(__file__).parents[2] / "fixtures" / "cost_rows.json").read_text())
"""Rows of the price table of litellm 1.106.2 (1.110.2 where it has none), whose rates the cases are worked out with."""


@pytest.fixture(autouse=True)
def _rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older litellm, whose table has other rates or no row, gets those that the cases are worked out with."""
    for model, row in () if LITELLM >= (1, 106) else _ROWS.items():
        monkeypatch.setitem(litellm.model_cost, model, row)


@pytest.fixture(autouse=True)
def _quiet_litellm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Litellm keeps clients of dead providers and prints advice unless told not to."""
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    use_prices(NO_PRICES)
    yield
    litellm.in_memory_llm_clients_cache.flush_cache()
