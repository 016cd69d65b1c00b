"""Requests and tokens per minute, for each tenant and each model of a tenant.

A limit is a bucket that holds a minute's worth and fills evenly. Whoever comes takes at once what it needs, also what
is not there yet, and waits as long as the bucket needs to come back to zero: so nobody overtakes, nothing polls, and
one that is cancelled while it waits gives back what it took.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from otel_llm.errors import LimitExceededError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Limiter", "Limits", "Reservation"]

_MINUTE = 60.0


@dataclass(frozen=True)
class Limits:
    """Numbers per minute; a mapping is by `tenant` (all models together) or `tenant/model`."""

    requests: float | None = None
    """For each tenant and model that has none of its own."""
    tokens: float | None = None
    tenant_requests: Mapping[str, float] = field(default_factory=dict)
    tenant_tokens: Mapping[str, float] = field(default_factory=dict)
    wait: bool = True
    """False refuses what would have to wait."""
    max_wait: float = 60.0
    """Seconds; what would wait longer is refused."""


@dataclass(slots=True)
class Reservation:
    """What one call took."""

    wait: float
    """Seconds to wait before the call."""
    requests: list[tuple[_Bucket, float]]
    tokens: list[tuple[_Bucket, float]]
    """What was taken for tokens, by an estimate."""


class _Bucket:
    """Fills evenly; below zero it owes."""

    def __init__(self, per_minute: float, now: float) -> None:
        self.per_minute = self._level = per_minute
        self._at = now

    def fill(self, now: float) -> None:
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / _MINUTE)
        self._at = now

    def wait_for(self, amount: float) -> float:
        """Seconds until `amount` is there."""
        return max(0.0, (amount - self._level) * _MINUTE / self.per_minute)

    def take(self, amount: float) -> None:
        self._level -= amount

    def give_back(self, amount: float) -> None:
        self._level = min(self.per_minute, self._level + amount)


class Limiter:
    """All buckets of one client. Safe to use from any thread; nothing here sleeps."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.RLock()
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def reserve(self, tenant: str, model: str, tokens: float) -> Reservation:
        """Take one request and about `tokens` tokens; the answer says how long to wait before making the call.

        Raises LimitExceededError, having taken nothing, where limits refuse or the wait would be too long.
        """
        limits = self._limits
        with self._lock:
            requests = self._wanted("requests", tenant, model, 1.0, limits.requests, limits.tenant_requests)
            used = self._wanted("tokens", tenant, model, tokens, limits.tokens, limits.tenant_tokens)
            wait = max((bucket.wait_for(amount) for bucket, amount in (*requests, *used)), default=0.0)
            if wait > (limits.max_wait if limits.wait else 0.0):
                raise LimitExceededError(tenant, model, retry_after=wait)
            for bucket, amount in (*requests, *used):
                bucket.take(amount)
        return Reservation(wait, requests, used)

    def cancel(self, reservation: Reservation) -> None:
        """Give everything back: the call is not made."""
        with self._lock:
            for bucket, amount in (*reservation.requests, *reservation.tokens):
                bucket.give_back(amount)

    def settle(self, reservation: Reservation, tokens: float) -> None:
        """The call used `tokens` tokens instead of those estimated."""
        with self._lock:
            for bucket, amount in reservation.tokens:
                bucket.give_back(amount)
                bucket.take(tokens)

    def _wanted(
        self, kind: str, tenant: str, model: str, amount: float, default: float | None, own: Mapping[str, float]
    ) -> list[tuple[_Bucket, float]]:
        pair = f"{tenant}/{model}"
        limits = {tenant: own.get(tenant), pair: own.get(pair, default)}
        found = []
        for name, per_minute in limits.items():
            if per_minute is None:
                continue
            bucket = self._buckets.get((kind, name))
            if bucket is None:
                bucket = self._buckets.setdefault((kind, name), _Bucket(per_minute, self._clock()))
            bucket.fill(self._clock())
            found.append((bucket, min(amount, per_minute)))  # more than a minute's worth waits for a full bucket
        return found
