"""Limits per minute: who waits how long, who is refused, and what is given back."""

from __future__ import annotations

import pytest

from otel_llm.client.limiter import Limiter, Limits
from otel_llm.errors import LimitExceededError


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still."""
    return Clock()


def test_nobody_waits_without_a_limit(clock: Clock) -> None:
    """Where nothing is limited, any number of calls goes through at once."""
    limiter = Limiter(Limits(), clock)
    assert all(limiter.reserve("acme", "m", 1e9).wait == 0 for _ in range(100))


def test_a_minutes_worth_goes_through_and_the_next_waits_its_turn(clock: Clock) -> None:
    """60 a minute: 60 at once, then one a second, in the order in which they came."""
    limiter = Limiter(Limits(requests=60), clock)
    assert [limiter.reserve("acme", "m", 1).wait for _ in range(60)] == [0] * 60
    assert [limiter.reserve("acme", "m", 1).wait for _ in range(3)] == pytest.approx([1, 2, 3])
    clock.now += 3
    assert limiter.reserve("acme", "m", 1).wait == pytest.approx(1)


def test_tenants_and_models_have_their_own(clock: Clock) -> None:
    """What one tenant uses is not taken from another, nor from another model."""
    limiter = Limiter(Limits(requests=1), clock)
    for tenant, model in (("acme", "m"), ("globex", "m"), ("acme", "n")):
        assert limiter.reserve(tenant, model, 1).wait == 0
    assert limiter.reserve("acme", "m", 1).wait == pytest.approx(60)


def test_a_tenants_own_limit_holds_over_all_its_models(clock: Clock) -> None:
    """`tenant` counts all models together, `tenant/model` replaces the default for that model."""
    limits = Limits(requests=1, tenant_requests={"acme": 3, "acme/m": 2})
    limiter = Limiter(limits, clock)
    assert [limiter.reserve("acme", model, 1).wait for model in ("m", "m", "n")] == [0, 0, 0]
    assert limiter.reserve("acme", "o", 1).wait == pytest.approx(20)


def test_tokens_are_corrected_by_what_was_used(clock: Clock) -> None:
    """An estimate that was too high frees the rest; one that was too low makes the next wait."""
    limiter = Limiter(Limits(tokens=600), clock)
    limiter.settle(limiter.reserve("acme", "m", 600), 100)
    assert limiter.reserve("acme", "m", 500).wait == 0
    limiter = Limiter(Limits(tokens=600), clock)
    limiter.settle(limiter.reserve("acme", "m", 10), 600)
    assert limiter.reserve("acme", "m", 10).wait == pytest.approx(1)


def test_more_than_a_minutes_worth_waits_for_a_full_bucket(clock: Clock) -> None:
    """A call larger than the limit is made once the bucket is full, never refused for ever."""
    limiter = Limiter(Limits(tokens=600), clock)
    assert limiter.reserve("acme", "m", 100_000).wait == 0
    assert limiter.reserve("acme", "m", 100_000).wait == pytest.approx(60)


def test_refusing_takes_nothing_and_says_when(clock: Clock) -> None:
    """A refused call uses up nothing, and the error names tenant, model and the time to come back."""
    limiter = Limiter(Limits(requests=1, wait=False), clock)
    limiter.reserve("acme", "m", 1)
    for _ in range(3):
        with pytest.raises(LimitExceededError) as refused:
            limiter.reserve("acme", "m", 1)
        assert (refused.value.tenant, refused.value.model) == ("acme", "m")
        assert refused.value.retry_after == pytest.approx(60)
    clock.now += 60
    assert limiter.reserve("acme", "m", 1).wait == 0


def test_a_wait_that_is_too_long_is_refused(clock: Clock) -> None:
    """`max_wait` bounds how long anybody waits."""
    limiter = Limiter(Limits(requests=60, max_wait=2.5), clock)
    for _ in range(62):
        limiter.reserve("acme", "m", 1)
    with pytest.raises(LimitExceededError):
        limiter.reserve("acme", "m", 1)


def test_a_call_that_is_not_made_gives_everything_back(clock: Clock) -> None:
    """One that is cancelled while it waits frees its place."""
    limiter = Limiter(Limits(requests=1, tokens=10), clock)
    limiter.reserve("acme", "m", 10)
    waiting = limiter.reserve("acme", "m", 10)
    limiter.cancel(waiting)
    assert limiter.reserve("acme", "m", 10).wait == pytest.approx(60)
