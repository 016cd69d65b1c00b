"""The way to one backend: take, send, read the answer, settle or wait. One thread, so no backend holds up another.

What a closed workspace of the backend does not take waits in a queue of its own (`Queue`), so that it holds up nothing
that goes to the others; the thread serves the backend's own queue and those in turns.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from contextvars import Context
from typing import TYPE_CHECKING, NamedTuple

from otel_llm.clock import monotonic
from otel_llm.contracts import Batch, Delivered, Rejected, Retry
from otel_llm.delivery.courier_lease import Lease
from otel_llm.delivery.courier_queue import Queue
from otel_llm.delivery.parking import parked_name
from otel_llm.delivery.spool_files import safe_name
from otel_llm.delivery.words import legible
from otel_llm.faults import note_fault
from otel_llm.greenlets import rest_in_copy
from otel_llm.turns import unhurried
from otel_llm.untraced import untraced

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.contracts import Backend, Outcome
    from otel_llm.delivery.courier_parts import Passage
    from otel_llm.delivery.spool import Spool
    from otel_llm.delivery.spool_types import Failure

__all__ = ["CourierSettings", "Lane", "LaneReport"]

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
"""How often to look for batches of other processes, and whether the one who delivers is gone."""
_NIGHT_SECONDS = 30.0
"""Where nothing came for so long, that is done half as often."""
_TROUBLE_SECONDS = 1.0
_BUSY_SECONDS = 0.25
"""Where requests follow each other sooner than that, there is no time for rests while one is made."""
_NO_LEASE = "no_lease"
_SPARED_TIMES = 4
"""After a workspace took long to answer nothing, such ones are left alone for so many times as long."""
_LOOK_SECONDS = 5.0
"""How often to look for what waits for closed workspaces, parked by another process or an earlier one."""


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
        self._main = Queue(self._spool, self.name, announce=self._settings.announce)
        self._parked: dict[str, Queue] = {}
        """Of closed workspaces, by the name in the spool; whose turn is next comes first."""
        self._parked_next = False
        self._parked_not_before = float("-inf")
        """Until when no workspace is tried that takes nothing: one has just taken much time."""
        self._look_at = float("-inf")
        self._gathers_until = float("-inf")
        self._gathered = 0
        self._idle = True
        self._idle_since = float("-inf")
        self._hurried = self._busy = False
        self._will_care = False
        """Whether the thread sleeps no longer than until the spool needs care of what there was when it fell asleep."""
        self._last_delivery: float | None = None
        self._asked_at: float | None = None
        self._asked_last = float("-inf")
        self.failures: Counter[str] = Counter()
        """Failed attempts since the lane began, by the name in the spool of what was to be delivered."""

    # --- from outside ------------------------------------------------------------------------------------

    def start(self) -> bool:
        """Make sure that the thread runs; False if the system gives us none (tried again a little later)."""
        if self._thread is not None and (self._thread.ident is None or self._thread.is_alive()):
            return True  # or is about to: another thread of the program is in the middle of this
        if self._stopping or monotonic() < self._no_thread_until:
            return False
        # In a context of its own: Sentry hands the program's on to threads, and our requests would be its request's.
        thread = threading.Thread(
            target=Context().run, args=(self._run,), name=f"otel-llm-courier-{self.name}", daemon=True
        )
        self._thread = thread  # before it begins, which takes a while: of two, this is the one that delivers
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is shutting down
            self._thread = None
            self._no_thread_until = monotonic() + _TROUBLE_SECONDS
            logger.debug("No thread to deliver to %s (%s); batches stay in the spool.", self.name, error)
            return False
        except BaseException:  # an interrupt of the program's
            if thread.ident is None:
                self._thread = None
            raise
        return True

    def notify(self, size: int = 0) -> None:
        """There is something new to deliver, of `size` bytes."""
        self._gathered += size  # of two threads one may be forgotten: then more is gathered than is reckoned
        if self._main.failure is not None or (self._will_care and self._gathers()):
            return  # it waits for its time anyway; what it gathers is synced with what it will be awake for
        self._wake.set()

    def hasten(self) -> None:
        """Somebody waits for what there is: gather no more, and rest no more."""
        self._hurried = True
        self._gathers_until = float("-inf")
        if self._main.failure is None:
            self._wake.set()

    def limit(self, deadline: float) -> None:
        """From now on, no new request may last beyond `deadline` (monotonic seconds)."""
        self._deadline = deadline

    def retry_now(self) -> None:
        """Try at once, however long the back-off still is."""
        self._hurried = True
        self._gathers_until = self._look_at = self._parked_not_before = float("-inf")
        for queue in self._queues():
            queue.not_before = float("-inf")
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
        failure, waits = self._main.failure, self._main.not_before - monotonic()
        return LaneReport(
            backend=self.name,
            running=self._thread is not None and self._thread.is_alive(),
            leading=self.leading,
            failure=failure,
            retry_in=max(0.0, waits) if failure is not None and waits > float("-inf") else None,
            last_delivery=self._last_delivery,
        )

    @property
    def leading(self) -> bool:
        """Whether this process is the one that delivers what lies on disk."""
        return self._lease.held

    def failure_of(self, name: str) -> Failure | None:
        """Why what waits under this name in the spool is not taken now; None while it is, or nobody has tried."""
        queue = self._main if name == self.name else self._parked.get(name)
        return queue.failure if queue is not None else None

    def _queues(self) -> list[Queue]:
        return [self._main, *self._parked.values()]

    # --- the thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        process = os.getpid()
        try:
            with untraced():
                while self._is_the_one() and not self._stopping:
                    self._wake.clear()
                    pause = self._guarded_turn(process)
                    if pause > 0:
                        self._wake.wait(pause)
                    rest_in_copy(process)
        finally:
            if self._is_the_one():
                self._settle_late()
                self._lease.release()
                self._on_progress()

    def _is_the_one(self) -> bool:
        """Two threads would send everything twice, and threads of the program may have begun two at once."""
        return self._thread is threading.current_thread()

    def _guarded_turn(self, process: int) -> float:
        try:
            return self._turn(process)
        except Exception as error:  # noqa: BLE001  (a fault of ours ends no delivery: it goes on, a moment later)
            note_fault(f"delivery to {self.name}", error)
            return _TROUBLE_SECONDS

    def _turn(self, process: int) -> float:
        """One step; returns the seconds to wait before the next."""
        self._will_care = False
        self._spool.tend()
        self._settle_late()
        if monotonic() >= self._look_at:
            self._look_for_parked(from_disk=self._leads())
        if self._parked_next and self._serve_parked(process):
            return 0.0
        waits = self._serve_main(process)
        if waits > 0 and self._parked:
            if self._serve_parked(process):
                return 0.0
            waits = min(waits, _POLL_SECONDS)
        care = self._spool.seconds_until_care()
        self._will_care = care is not None
        return max(0.0, waits) if care is None else min(max(0.0, waits), max(care, 0.01))

    def _serve_main(self, process: int) -> float:
        """Send to all of the backend what is due; returns the seconds until there may be something, 0 if there was."""
        gathers = self._gathers_until if self._gathers() else float("-inf")
        waits = max(self._main.not_before, gathers) - monotonic()
        if waits > 0:
            return waits
        self._gathered, self._gathers_until = 0, float("-inf")
        passage = self._next_passage(self._main)
        if passage is None:
            return self._rest()
        self._idle = False
        self._parked_next = bool(self._parked)
        self._attempt(self._main, passage, process)
        return 0.0

    def _serve_parked(self, process: int) -> bool:
        """Send to one workspace what waits for it, if one is due; False if nothing was sent."""
        self._parked_next = False
        for name, queue in list(self._parked.items()):
            due = queue.not_before if queue.failure is None else max(queue.not_before, self._parked_not_before)
            if due > monotonic():
                continue
            passage = self._next_passage(queue)
            del self._parked[name]
            if passage is not None:
                self._parked[name] = queue  # behind the others
                began = monotonic()
                self._attempt(queue, passage, process)
                took = monotonic() - began
                if queue.failure is not None and took > self._settings.request_timeout / 2:
                    self._parked_not_before = monotonic() + _SPARED_TIMES * took
                return True
            if not queue.settled:
                queue.not_before = monotonic() + _TROUBLE_SECONDS
                self._parked[name] = queue
        return False

    def _look_for_parked(self, *, from_disk: bool) -> None:
        """Find what was parked by others, or before this process began."""
        self._look_at = monotonic() + _LOOK_SECONDS
        for name in self._spool.parked(self.name, from_disk=from_disk):
            self._parked.setdefault(name, self._new_queue(name))

    def _new_queue(self, name: str) -> Queue:
        return Queue(self._spool, name, announce=True)  # health speaks of the backend

    def _gathers(self) -> bool:
        """Whether what comes now may wait for more to come: something was delivered just before."""
        return self._gathered < self._settings.request_bytes and monotonic() < self._gathers_until

    def _rest(self) -> float:
        """Nothing waits any more: the seconds until it is worth looking again."""
        if not self._idle and self._spool.writes_at_once:  # on disk it can wait
            self._gathers_until = monotonic() + self._settings.pace
        if not self._idle:
            self._idle_since = monotonic()
        self._idle, self._hurried = True, False
        return _POLL_SECONDS if monotonic() - self._idle_since < _NIGHT_SECONDS else 2 * _POLL_SECONDS

    def _is_calm(self) -> bool:
        """Whether there is time to leave the interpreter to the program while a batch is made into a request."""
        behind = self._busy or self._gathered >= self._settings.request_bytes
        return not (self._hurried or behind or self._stopping or self._deadline < float("inf"))

    def _next_passage(self, queue: Queue) -> Passage | None:
        return queue.next_passage(self._settings.request_bytes, leading=self._leads())

    def _leads(self) -> bool:
        if self._spool.settings.mode == "off":
            return False
        led = self.leading
        try:
            leading = self._lease.acquire()
        except OSError as error:
            leading = False
            if self._spool.outlasts_process:  # else the spool itself says what is wrong with its directory
                self._cannot_lead(error)
        else:
            if self._main.failure is not None and self._main.failure.reason == _NO_LEASE:
                self._main.failure = None
        if leading and not led:  # before anything is sent: what another process has parked goes first
            self._look_for_parked(from_disk=True)
        return leading

    def _cannot_lead(self, error: OSError) -> None:
        if isinstance(error, FileNotFoundError):  # no directory: nothing is on disk
            return
        why = (
            f"What waits on disk cannot be delivered: the lock file {self._lease.path} cannot be used "
            f"({error.strerror}). Remove it, or whatever is in its place; a new one is made by itself."
        )
        if self._main.failure is None or self._main.failure.why != why:
            self._main.note_failure(Retry(why, _NO_LEASE, needs_action=True))

    # --- one attempt -------------------------------------------------------------------------------------

    def _attempt(self, queue: Queue, passage: Passage, process: int) -> None:
        rest_in_copy(process)
        retry = passage.send(lambda batch: self._send(queue, batch))
        rest_in_copy(process)  # what came of it is for the parent to know
        if retry is None:
            self._delivered(queue, passage)
        else:
            self.failures[queue.name] += 1
            queue.failed(passage, retry)
        self._on_progress()

    def _send(self, queue: Queue, batch: Batch) -> Outcome:
        timeout = max(0.05, min(self._settings.request_timeout, self._deadline - monotonic()))
        self._asked_at = now = monotonic()
        self._busy, self._asked_last = now - self._asked_last < _BUSY_SECONDS, now
        try:
            self._hold_back(queue)
            with unhurried(self._is_calm):
                outcome: object = self.backend.send(batch, timeout=timeout)
        except Exception as error:
            logger.debug("The backend %s raised in send", self.name, exc_info=True)
            return Retry(f"The backend {self.name} failed inside ({type(error).__name__}).", "internal")
        finally:
            self._asked_at = None
        if isinstance(outcome, (Delivered, Retry, Rejected)):
            return _still_closed(queue, legible(outcome))
        return Retry(f"The backend {self.name} answered with no outcome ({type(outcome).__name__}).", "internal")

    def _hold_back(self, queue: Queue) -> None:
        """Spans of workspaces that something waits for go behind it, but what waits for this one is to go now."""
        hold_back = getattr(self.backend, "hold_back", None)
        if hold_back is not None:
            hold_back(frozenset([other.workspace for other in self._parked.values() if other is not queue]))

    def _delivered(self, queue: Queue, passage: Passage) -> None:
        for workspace, retry in passage.closed.items():  # first: what is delivered after this proves the backend well
            name = parked_name(self.name, workspace)
            self.failures[name] += 1
            self._parked.setdefault(name, self._new_queue(name)).refused(retry)
        queue.delivered(passage)
        if passage.accepted:
            self._last_delivery = time.time()

    def _settle_late(self) -> None:
        for queue in self._queues():
            queue.settle_late()


def _still_closed(queue: Queue, outcome: Outcome) -> Outcome:
    """What waits for a workspace is not parked there again."""
    if isinstance(outcome, Delivered) and outcome.held and queue.workspace:
        for held in outcome.held:
            if held.workspace == queue.workspace and held.retry is not None:
                return held.retry
    return outcome
