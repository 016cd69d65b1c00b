"""Which spans a question is about: a window of time, a tenant, a model ..., as SQL with bound values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Final, TypedDict

from otel_llm.errors import StoreError

__all__ = ["FACTS", "Facts", "Filter", "nanoseconds", "within_sqlite"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_PLAIN = ("provider", "operation", "user", "session", "service", "trace_id")
"""Fields that are compared with the column of their name."""


class Facts(TypedDict, total=False):
    """What a question may be narrowed to, each with a value that a span has; None leaves a field open."""

    tenant: str | None
    model: str | None
    provider: str | None
    operation: str | None
    user: str | None
    session: str | None
    service: str | None


FACTS: Final = tuple(Facts.__annotations__)
"""Their names, in the order in which they are shown; columns of the usage index, each of them."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What to look at; None leaves a field open."""

    since: datetime | None = None
    """Inclusive, aware."""
    until: datetime | None = None
    """Exclusive, aware."""
    tenant: str | None = None
    model: str | None = None
    """The model asked for, or the one that answered."""
    provider: str | None = None
    operation: str | None = None
    user: str | None = None
    session: str | None = None
    service: str | None = None
    trace_id: str | None = None
    """32 hex digits. No column of the usage index, unlike all the others."""

    @property
    def sql(self) -> str:
        """A condition on `spans` with named parameters; always true for an empty filter."""
        conditions = {
            "since": (self.since, "start_ns >= :since"),
            "until": (self.until, "start_ns < :until"),
            "tenant": (self.tenant, "tenant = :tenant"),
            "model": (self.model, ":model IN (request_model, response_model)"),
            **{name: (getattr(self, name), f"{name} = :{name}") for name in _PLAIN},
        }
        return " AND ".join(sql for given, sql in conditions.values() if given is not None) or "1"

    @property
    def values(self) -> dict[str, object]:
        """The parameters of `sql`."""
        return {
            "since": None if self.since is None else within_sqlite(nanoseconds(self.since)),
            "until": None if self.until is None else within_sqlite(nanoseconds(self.until)),
            "tenant": self.tenant,
            "model": self.model,
            **{name: getattr(self, name) for name in _PLAIN},
        }


def nanoseconds(moment: datetime) -> int:
    """Unix nanoseconds of an aware datetime, exact. Raises StoreError for a naive one: whose midnight is it?"""
    if moment.tzinfo is None:
        raise StoreError(f"The moment {moment.isoformat()} has no time zone; give it one, for example UTC.")
    since_epoch = moment - _EPOCH
    return ((since_epoch.days * 86_400 + since_epoch.seconds) * 1_000_000 + since_epoch.microseconds) * 1000


def within_sqlite(number: int) -> int:
    """`number`, or the nearest integer that SQLite has: the year 2262 is the last one whose nanoseconds it can hold."""
    return max(-(2**63), min(number, 2**63 - 1))
