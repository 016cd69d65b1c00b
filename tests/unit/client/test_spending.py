"""Money by tenant and day: exact, shared by processes, private, and never in anybody's way."""

from __future__ import annotations

import logging
import stat
import threading
from decimal import Decimal
from typing import TYPE_CHECKING

from otel_llm import semconv
from otel_llm.client.spending import Spending

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NOON = 1_800_000_000.0 - 1_800_000_000.0 % 86_400 + 43_200


def cost(usd: float, tenant: str = "acme") -> dict[str, object]:
    """What a span says."""
    return {semconv.COST: usd, semconv.TENANT_ID: tenant}


def test_money_is_added_without_drift(tmp_path: Path) -> None:
    """A thousand times a tenth of a cent is a dollar, to the last digit."""
    spending = Spending(tmp_path / "spending.db")
    for _ in range(1000):
        spending.note(cost(0.001))
    assert spending.today("acme") == Decimal(1)
    assert spending.today("globex") == 0


def test_processes_share_the_file(tmp_path: Path) -> None:
    """What one wrote another reads; both add up; nothing is counted twice."""
    one, other = (Spending(tmp_path / "spending.db") for _ in range(2))
    one.note(cost(0.25))
    other.note(cost(0.5))
    one.save()
    assert other.today("acme") == Decimal("0.75")
    assert one.today("acme") == Decimal("0.75")
    assert one.today("acme") == Decimal("0.75")


def test_threads_at_once(tmp_path: Path) -> None:
    """Ten threads that note and look at the same time lose nothing."""
    spending = Spending(tmp_path / "spending.db")

    def work() -> None:
        for _ in range(50):
            spending.note(cost(0.01))
            spending.today("acme")

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spending.today("acme") == Decimal(5)


def test_a_new_day_begins_at_midnight_utc(tmp_path: Path) -> None:
    """Yesterday's money is not today's."""
    now = NOON
    spending = Spending(tmp_path / "spending.db", lambda: now)
    spending.note(cost(3))
    assert spending.today("acme") == 3
    now += 86_400
    assert spending.today("acme") == 0


def test_the_file_is_private(tmp_path: Path) -> None:
    """Nobody else can read who spends what."""
    path = tmp_path / "state" / "spending.db"
    Spending(path).today("acme")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_odd_costs_are_no_money(tmp_path: Path) -> None:
    """Unknown, free, negative and infinite costs, and texts, add nothing."""
    spending = Spending(tmp_path / "spending.db")
    for odd in (None, 0, -1.0, float("inf"), float("nan"), "1.0"):
        spending.note({semconv.COST: odd, semconv.TENANT_ID: "acme"})
    spending.note({semconv.TENANT_ID: "acme"})
    assert spending.today("acme") == 0


def test_without_a_file_the_process_counts_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A path that cannot be used is said once, and what this process spends still counts."""
    (tmp_path / "in the way").write_text("")
    spending = Spending(tmp_path / "in the way" / "spending.db")
    with caplog.at_level(logging.WARNING, logger="otel_llm"):
        for _ in range(3):
            spending.note(cost(1))
            spending.today("acme")
    assert spending.today("acme") == 3
    assert len(caplog.records) == 1
    assert "counted in this process alone" in caplog.text
