"""How long the courier waits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.contracts import Retry
from otel_llm.delivery.courier_backoff import Backoff


def test_waits_grow_from_one_second_to_a_minute() -> None:
    """Each failure waits longer, between half and all of 1, 2, 4 ... 60 s, never under 1 s."""
    backoff = Backoff()
    for step in (1, 2, 4, 8, 16, 32, 60, 60, 60):
        assert max(1.0, step / 2) <= backoff.seconds_after(Retry("no")) <= step
    backoff.succeeded()
    assert backoff.seconds_after(Retry("no")) == 1.0


def test_two_processes_do_not_come_back_together() -> None:
    """The waits are spread by chance."""
    waits = set()
    for _ in range(20):
        backoff = Backoff()
        backoff.failures = 8
        waits.add(backoff.seconds_after(Retry("no")))
    assert len(waits) == 20


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(30.0, 30.0, 33.0), (1e9, 900.0, 990.0), (math.inf, 900.0, 990.0)]
)
def test_what_the_backend_asks_for_is_honoured(asked: float, least: float, most: float) -> None:
    """At least as long as asked, never much beyond 15 minutes."""
    assert least <= Backoff().seconds_after(Retry("no", after=asked)) <= most


@pytest.mark.parametrize("asked", [0.0, -5.0, math.nan])
def test_nonsense_is_not_honoured(asked: float) -> None:
    """A wait of nothing, or none at all, leaves it to the back-off."""
    assert Backoff().seconds_after(Retry("no", after=asked)) == 1.0


def test_what_needs_somebodys_help_is_tried_slowly() -> None:
    """A wrong key is tried again within five minutes, from the first failure on."""
    assert 150 <= Backoff().seconds_after(Retry("no", needs_action=True)) <= 300


@given(st.floats() | st.none(), st.booleans(), st.integers(0, 5000))
def test_every_wait_is_bounded(after: float | None, needs_action: bool, failures: int) -> None:
    """Whatever a backend says, however long it has failed: never a busy loop, never longer than 16.5 minutes."""
    backoff = Backoff()
    backoff.failures = failures
    waits = backoff.seconds_after(Retry("no", after=after, needs_action=needs_action))
    assert 0.1 <= waits <= 990
