"""What goes to one place, one parcel after the other: to a backend, or to one workspace of it that was closed.

Remembers how far the parcel under way has come, when to try again, and whether it is the parcel or the place.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.contracts import Rejection
from otel_llm.delivery.courier_backoff import Backoff
from otel_llm.delivery.courier_parts import Passage
from otel_llm.delivery.parking import workspace_of
from otel_llm.delivery.spool_types import Failure, Reject

if TYPE_CHECKING:
    from otel_llm.contracts import Retry
    from otel_llm.delivery.parking import Share
    from otel_llm.delivery.spool import Spool
    from otel_llm.delivery.spool_types import Parcel

__all__ = ["Queue"]

logger = logging.getLogger(__name__)

_PERHAPS_THE_BATCH = frozenset({"server_error", "internal", "timeout", "reset", "unavailable"})
"""Reasons that may lie with the batch: servers fail, hang and hang up on one they cannot digest."""
_SUSPECT_AFTER = 4
"""Failures of one parcel after which the next one is tried, to learn whether it is the parcel or the backend."""
_GIVE_UP_AFTER = 6
"""Postponements, from one minute doubling to half an hour, after which a parcel goes into quarantine."""


class Queue:
    """The spool's batches for `name`. Used by the lane's thread; others may read, and cut the waiting short."""

    def __init__(self, spool: Spool, name: str, *, announce: bool) -> None:
        self.name = name
        self.workspace = workspace_of(name)
        """The one workspace that this is for; empty for all of the backend."""
        self.failure: Failure | None = None
        self.not_before = float("-inf")
        self._spool = spool
        self._announce = announce
        self._backoff = Backoff()
        self._passage: Passage | None = None
        self._stuck: Parcel | None = None
        self._probed = 0
        """The row behind which the next probe is: one that fails too may have the same trouble."""
        self._probing = self._verdict_due = False
        self._unsettled: list[tuple[Parcel, list[Reject], list[Share]]] = []

    def next_passage(self, max_bytes: int, *, leading: bool) -> Passage | None:
        """What is to be sent now, of up to so many bytes; from the disk if it is this process that is `leading`."""
        after = max((seq for parcel, _, _ in self._unsettled for seq, _ in parcel.rows), default=0)
        self._probing = False
        if leading and self._stuck is not None and not self._verdict_due:
            probe = self._spool.take(self.name, max_bytes, after=max(after, self._probed))
            if probe is not None and probe.rows:
                self._probing = True
                return Passage(probe)
            self._probed = self._stuck.rows[-1][0]
        if self._passage is not None:
            return self._passage
        parking = any(shares for _, _, shares in self._unsettled)  # it is in memory meanwhile: no more of it
        parcel = self._spool.take(self.name, max_bytes, from_disk=leading and not parking, after=after)
        return Passage(parcel) if parcel is not None else None

    def delivered(self, passage: Passage) -> None:
        """The place has answered for all of it."""
        self._passage = None
        self._settle(passage.parcel, passage.rejects, passage.shares)
        if passage.rejects:
            words = passage.rejects[0].rejection
            logger.warning(
                "%s rejected %d of %d spans (%s: %.300s); they are in quarantine.",
                self.name,
                sum(reject.span_count for reject in passage.rejects),
                passage.parcel.batch.span_count,
                words.reason,
                words.detail,
            )
        if self.failure is not None and (passage.accepted or not passage.shares):
            logger.info("%s takes spans again.", self.name)
        if self._probing:
            self._verdict_due = True  # the backend works; the next attempt tells whether it is the parcel
        else:
            self._stuck, self._verdict_due = None, False
        self._backoff.succeeded()
        self.failure = None
        self.not_before = float("-inf")

    def failed(self, passage: Passage, retry: Retry) -> None:
        """Not now; or the place works, but not for this parcel."""
        if passage.parcel.memory_ids:
            self._spool.give_back(self.name, passage.parcel)
        elif self._verdict_due and retry.reason in _PERHAPS_THE_BATCH:
            self._set_aside(passage.parcel, retry.why)
            return
        elif self._probing:
            self._probed = passage.parcel.rows[-1][0]
        else:
            self._passage = passage  # the same bytes under the same id again: a resend is to be known as one
        self.refused(retry)
        suspicious = retry.reason in _PERHAPS_THE_BATCH and passage.parcel.rows
        enough = self._backoff.failures >= _SUSPECT_AFTER or passage.parcel.attempts
        if suspicious and enough and self._stuck is None:
            self._stuck = passage.parcel
            self._probed = passage.parcel.rows[-1][0]

    def refused(self, retry: Retry) -> None:
        """The place takes nothing now: leave it alone for a while."""
        self.not_before = monotonic() + self._backoff.seconds_after(retry)
        self.note_failure(retry)

    def note_failure(self, retry: Retry) -> None:
        """Remember why, say it once, and have it seen from outside."""
        now = time.time()
        before = self.failure
        if before is None or before.reason != retry.reason:
            level = logging.WARNING if self._announce else logging.DEBUG
            logger.log(level, "%s does not take spans now, they stay in the spool: %s", self.name, retry.why)
        since = before.since if before is not None else now
        self.failure = Failure(retry.why, retry.reason, retry.needs_action, at=now, since=since)
        self._spool.note_failure(self.name, self.failure)

    @property
    def settled(self) -> bool:
        """Whether the spool knows everything that was answered."""
        return not self._unsettled

    def settle_late(self) -> None:
        """Record what could not be recorded when it happened, because the log was busy or the disk full."""
        while self._unsettled and self._spool.settle(self.name, *self._unsettled[0]):
            self._unsettled.pop(0)

    def _set_aside(self, parcel: Parcel, why: str) -> None:
        """The backend works, but not for this parcel: let the others pass, and give up in the end."""
        self._passage = self._stuck = None
        self._verdict_due = False
        if parcel.attempts < _GIVE_UP_AFTER:
            self._spool.postpone(self.name, parcel, 60.0 * 2**parcel.attempts)
            return
        self._settle(parcel, [Reject(Rejection("", "gave_up", why), parcel.batch, parcel.batch.span_count)], [])

    def _settle(self, parcel: Parcel, rejects: list[Reject], shares: list[Share]) -> None:
        if not self._spool.settle(self.name, parcel, rejects, shares):
            light = parcel._replace(batch=replace(parcel.batch, payload=b""))
            self._unsettled.append((light, rejects, shares))
