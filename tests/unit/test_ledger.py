"""The ledger's sum always balances."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from otel_llm.ledger import Ledger

ENTRIES = st.lists(st.tuples(st.sampled_from(["delivered", "rejected", "dropped", "nothing"]), st.integers(1, 50)))


@given(ENTRIES)
def test_created_is_the_sum_of_all_fates(entries: list[tuple[str, int]]) -> None:
    """The sum `created = delivered + waiting + rejected + dropped` holds whatever happened."""
    ledger = Ledger("x")
    for fate, spans in entries:
        ledger.created(spans)
        if fate == "delivered":
            ledger.delivered(spans)
        elif fate == "rejected":
            ledger.rejected(spans, "invalid")
        elif fate == "dropped":
            ledger.dropped(spans, "queue_full")
    report = ledger.report()
    assert report.waiting == sum(spans for fate, spans in entries if fate == "nothing")
    fates = report.delivered + report.waiting + sum(report.rejected.values()) + sum(report.dropped.values())
    assert report.created == fates


def test_counts_from_many_threads_are_exact() -> None:
    """No count is lost between threads."""
    ledger = Ledger("x")

    def count() -> None:
        for _ in range(1000):
            ledger.created()
            ledger.dropped(1, "r")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ledger.report().created, ledger.report().dropped) == (8000, {"r": 8000})


def test_a_delivery_is_dated() -> None:
    """`last_delivery` is None before the first delivery and a date after it."""
    ledger = Ledger("x")
    assert ledger.report().last_delivery is None
    ledger.delivered(1)
    assert ledger.report().last_delivery is not None
    ledger.reset_after_fork()
    assert ledger.report().as_dict()["created"] == 0
