"""The way to one backend: take, send, read the answer, settle or wait. One thread, so no backend holds up another."""

from __future__ import annotations

import logging
import os
import threading
import time
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from otel_llm.clock import monotonic
from otel_llm.contracts import Batch, Delivered, Rejected, Rejection, Retry
from otel_llm.delivery.courier_backoff import Backoff
from otel_llm.delivery.courier_lease import Lease
from otel_llm.delivery.courier_parts import Passage
from otel_llm.delivery.spool_files import safe_name
from otel_llm.delivery.spool_types import Failure, Parcel, Reject
from otel_llm.delivery.words import legible
from otel_llm.faults import note_fault
from otel_llm.greenlets import rest_in_copy
from otel_llm.turns import unhurried
from otel_llm.untraced import untraced

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.contracts import Backend, Outcome
    from otel_llm.delivery.spool import Spool

__all__ = ["CourierSettings", "Lane", "LaneReport"]

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
"""How often to look for batches of other processes, and whether the one who delivers is gone."""
_TROUBLE_SECONDS = 1.0
_BUSY_SECONDS = 0.25
"""Where requests follow each other sooner than that, there is no time for rests while one is made."""
_PERHAPS_THE_BATCH = frozenset({"server_error", "internal", "timeout", "reset", "unavailable"})
"""Reasons that may lie with the batch: servers fail, hang and hang up on one they cannot digest."""
_NO_LEASE = "no_lease"
_SUSPECT_AFTER = 4
"""Failures of one parcel after which the next one is tried, to learn whether it is the parcel or the backend."""
_GIVE_UP_AFTER = 6
"""Postponements, from one minute doubling to half an hour, after which a parcel goes into quarantine."""


class CourierSettings(NamedTuple):
    """How batches are sent."""

    request_timeout: float = 10.0
    """Seconds for one request, everything included."""
    request_bytes: int = 1024 * 1024
    """Batches that wait are put together up to this many bytes of payload."""
    exit_timeout: float = 1.5
    """Seconds that the end of the process may take."""
    pace: float = 1.0
    """Seconds between requests that would hold less than `request_bytes`: each costs the same, whatever it holds."""
    announce: bool = True
    """Whether a change of state is a line in the program's log; False where health says it already."""


class LaneReport(NamedTuple):
    """What this process knows about the way to one backend."""

    backend: str
    running: bool
    """Whether the thread lives."""
    leading: bool
    """Whether this process is the one that delivers what lies on disk."""
    failure: Failure | None
    """The failure that holds now, as this process saw it."""
    retry_in: float | None
    """Seconds until the next attempt; None when none is planned."""
    last_delivery: float | None
    """Unix seconds at which this process last delivered something."""


class Lane:
    """Delivers to one backend, in a daemon thread that starts when it is first needed."""

    def __init__(
        self, spool: Spool, name: str, backend: Backend, settings: CourierSettings, on_progress: Callable[[], None]
    ) -> None:
        self.name = name
        self.backend = backend
        self._spool = spool
        self._settings = settings
        self._on_progress = on_progress
        self._lease = Lease(spool.directory / f"drain-{safe_name(name)}.lock")
        self._begin()

    def _begin(self) -> None:
        self._thread: threading.Thread | None = None
        self._no_thread_until = float("-inf")
        self._wake = threading.Event()
        self._stopping = False
        self._deadline = float("inf")
        self._backoff = Backoff()
        self._failure: Failure | None = None
        self._not_before = float("-inf")
        self._gathers_until = float("-inf")
        self._gathered = 0
        self._idle = True
        self._hurried = self._busy = False
        self._last_delivery: float | None = None
        self._passage: Passage | None = None
        self._stuck: Parcel | None = None
        self._probing = self._verdict_due = False
        self._unsettled: list[tuple[Parcel, list[Reject]]] = []
        self._asked_at: float | None = None
        self._asked_last = float("-inf")
        self.failures = 0
        """Failed attempts since the lane began."""

    # --- from outside ------------------------------------------------------------------------------------

    def start(self) -> bool:
        """Make sure that the thread runs; False if the system gives us none (tried again a little later)."""
        if self._thread is not None and self._thread.is_alive():
            return True
        if self._stopping or monotonic() < self._no_thread_until:
            return False
        # In a context of its own: Sentry hands the program's on to threads, and our requests would be its request's.
        thread = threading.Thread(
            target=Context().run, args=(self._run,), name=f"otel-llm-courier-{self.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            self._no_thread_until = monotonic() + _TROUBLE_SECONDS
            logger.debug("No thread to deliver to %s (%s); batches stay in the spool.", self.name, error)
            return False
        self._thread = thread
        return True

    def notify(self, size: int = 0) -> None:
        """There is something new to deliver, of `size` bytes."""
        self._gathered += size  # of two threads one may be forgotten: then more is gathered than is reckoned
        if self._failure is None:  # else it waits for its time anyway; what it gathers has to be synced, too
            self._wake.set()

    def hasten(self) -> None:
        """Somebody waits for what there is: gather no more, and rest no more."""
        self._hurried = True
        self._gathers_until = float("-inf")
        if self._failure is None:
            self._wake.set()

    def limit(self, deadline: float) -> None:
        """From now on, no new request may last beyond `deadline` (monotonic seconds)."""
        self._deadline = deadline

    def retry_now(self) -> None:
        """Try at once, however long the back-off still is."""
        self._hurried = True
        self._not_before = self._gathers_until = float("-inf")
        self._wake.set()

    def stop(self) -> None:
        """Send nothing more. What is being sent is not waited for."""
        self._stopping = True
        self._wake.set()

    def join(self, timeout: float) -> bool:
        """Wait for the thread to end; False if it is still sending after `timeout` seconds."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(max(0.0, timeout))
        return not thread.is_alive()

    def begin_anew_after_fork(self) -> None:
        """In a child: no thread, no lease, no memory of the parent's failures."""
        self._lease.release()
        self._begin()

    def waits_for_answer(self) -> float:
        """Seconds for which the request under way has not been answered; 0.0 if there is none."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else monotonic() - asked_at

    def report(self) -> LaneReport:
        """The state of this lane."""
        waits = self._not_before - monotonic()
        return LaneReport(
            backend=self.name,
            running=self._thread is not None and self._thread.is_alive(),
            leading=self._lease.held,
            failure=self._failure,
            retry_in=max(0.0, waits) if self._failure is not None and waits > float("-inf") else None,
            last_delivery=self._last_delivery,
        )

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        process = os.getpid()
        try:
            with untraced():
                while not self._stopping:
                    self._wake.clear()
                    pause = self._guarded_turn(process)
                    if pause > 0:
                        self._wake.wait(pause)
                    rest_in_copy(process)
        finally:
            self._settle_late()
            self._lease.release()
            self._on_progress()

    def _guarded_turn(self, process: int) -> float:
        try:
            return self._turn(process)
        except Exception as error:  # noqa: BLE001  (a fault of ours ends no delivery: it goes on, a moment later)
            note_fault(f"delivery to {self.name}", error)
            return _TROUBLE_SECONDS

    def _turn(self, process: int) -> float:
        """One step; returns the seconds to wait before the next."""
        self._spool.tend()
        self._settle_late()
        gathers = self._gathers_until if self._gathers() else float("-inf")
        waits = max(self._not_before, gathers) - monotonic()
        if waits <= 0:
            self._gathered, self._gathers_until = 0, float("-inf")
            passage = self._next_passage()
            if passage is not None:
                self._idle = False
                self._attempt(passage, process)
                return 0.0
            waits = self._rest()
        care = self._spool.seconds_until_care()
        return waits if care is None else min(waits, max(care, 0.01))

    def _gathers(self) -> bool:
        """Whether what comes now may wait for more to come: something was delivered just before."""
        return self._gathered < self._settings.request_bytes and monotonic() < self._gathers_until

    def _rest(self) -> float:
        """Nothing waits any more: the seconds until it is worth looking again."""
        if not self._idle and self._spool.writes_at_once:  # on disk it can wait
            self._gathers_until = monotonic() + self._settings.pace
        self._idle, self._hurried = True, False
        return _POLL_SECONDS

    def _is_calm(self) -> bool:
        """Whether there is time to leave the interpreter to the program while a batch is made into a request."""
        behind = self._busy or self._gathered >= self._settings.request_bytes
        return not (self._hurried or behind or self._stopping or self._deadline < float("inf"))

    def _next_passage(self) -> Passage | None:
        after = max((seq for parcel, _ in self._unsettled for seq, _ in parcel.rows), default=0)
        leading = self._leads()
        self._probing = False
        if leading and self._stuck is not None and not self._verdict_due:
            probe = self._take(after=max(after, self._stuck.rows[-1][0]))
            if probe is not None and probe.rows:
                self._probing = True
                return Passage(probe)
        if self._passage is not None:
            return self._passage
        parcel = self._take(after=after, from_disk=leading)
        return Passage(parcel) if parcel is not None else None

    def _take(self, *, after: int, from_disk: bool = True) -> Parcel | None:
        return self._spool.take(self.name, self._settings.request_bytes, from_disk=from_disk, after=after)

    def _leads(self) -> bool:
        if self._spool.settings.mode == "off":
            return False
        try:
            leading = self._lease.acquire()
        except OSError as error:
            leading = False
            if self._spool.outlasts_process:  # else the spool itself says what is wrong with its directory
                self._cannot_lead(error)
        else:
            if self._failure is not None and self._failure.reason == _NO_LEASE:
                self._failure = None
        return leading

    def _cannot_lead(self, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):  # no directory: nothing is on disk
            return
        why = (
            f"What waits on disk cannot be delivered: the lock file {self._lease.path} cannot be used "
            f"({error.strerror}). Remove it, or whatever is in its place; a new one is made by itself."
        )
        if self._failure is None or self._failure.why != why:
            self._note_failure(Retry(why, _NO_LEASE, needs_action=True))

    # --- one attempt -------------------------------------------------------------------------------------

    def _attempt(self, passage: Passage, process: int) -> None:
        rest_in_copy(process)
        retry = passage.send(self._send)
        rest_in_copy(process)  # what came of it is for the parent to know
        if retry is None:
            self._delivered(passage)
        else:
            self._failed(passage, retry)
        self._on_progress()

    def _send(self, batch: Batch) -> Outcome:
        timeout = max(0.05, min(self._settings.request_timeout, self._deadline - monotonic()))
        self._asked_at = now = monotonic()
        self._busy, self._asked_last = now - self._asked_last < _BUSY_SECONDS, now
        try:
            with unhurried(self._is_calm):
                outcome: object = self.backend.send(batch, timeout=timeout)
        except Exception as error:
            logger.debug("The backend %s raised in send", self.name, exc_info=True)
            return Retry(f"The backend {self.name} failed inside ({type(error).__name__}).", "internal")
        finally:
            self._asked_at = None
        if isinstance(outcome, (Delivered, Retry, Rejected)):
            return legible(outcome)
        return Retry(f"The backend {self.name} answered with no outcome ({type(outcome).__name__}).", "internal")

    def _delivered(self, passage: Passage) -> None:
        self._passage = None
        self._settle(passage.parcel, passage.rejects)
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
        if self._failure is not None:
            logger.info("%s takes spans again.", self.name)
        if self._probing:
            self._verdict_due = True  # the backend works; the next attempt tells whether it is the parcel
        else:
            self._stuck, self._verdict_due = None, False
        self._backoff.succeeded()
        self._failure = None
        self._not_before = float("-inf")
        self._last_delivery = time.time()

    def _failed(self, passage: Passage, retry: Retry) -> None:
        self.failures += 1
        if passage.parcel.memory_ids:
            self._spool.give_back(self.name, passage.parcel)
        elif self._verdict_due and retry.reason in _PERHAPS_THE_BATCH:
            self._set_aside(passage.parcel, retry.why)
            return
        elif not self._probing:
            self._passage = passage  # the same bytes under the same id again: a resend is to be known as one
        self._not_before = monotonic() + self._backoff.seconds_after(retry)
        self._note_failure(retry)
        suspicious = retry.reason in _PERHAPS_THE_BATCH and passage.parcel.rows
        enough = self._backoff.failures >= _SUSPECT_AFTER or passage.parcel.attempts
        if suspicious and enough and self._stuck is None:
            self._stuck = passage.parcel

    def _note_failure(self, retry: Retry) -> None:
        now = time.time()
        before = self._failure
        if before is None or before.reason != retry.reason:
            level = logging.WARNING if self._settings.announce else logging.DEBUG
            logger.log(level, "%s does not take spans now, they stay in the spool: %s", self.name, retry.why)
        since = before.since if before is not None else now
        self._failure = Failure(retry.why, retry.reason, retry.needs_action, at=now, since=since)
        self._spool.note_failure(self.name, self._failure)

    def _set_aside(self, parcel: Parcel, why: str) -> None:
        """The backend works, but not for this parcel: let the others pass, and give up in the end."""
        self._passage = self._stuck = None
        self._verdict_due = False
        if parcel.attempts < _GIVE_UP_AFTER:
            self._spool.postpone(self.name, parcel, 60.0 * 2**parcel.attempts)
            return
        self._settle(parcel, [Reject(Rejection("", "gave_up", why), parcel.batch, parcel.batch.span_count)])

    # --- settling ----------------------------------------------------------------------------------------

    def _settle(self, parcel: Parcel, rejects: list[Reject]) -> None:
        if not self._spool.settle(self.name, parcel, rejects):
            light = parcel._replace(batch=replace(parcel.batch, payload=b""))
            self._unsettled.append((light, rejects))

    def _settle_late(self) -> None:
        """Record what could not be recorded when it happened, because the log was busy or the disk full."""
        while self._unsettled and self._spool.settle(self.name, *self._unsettled[0]):
            self._unsettled.pop(0)
