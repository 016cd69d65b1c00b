"""The courier: takes what waits in the spool to the backends, one lane for each.

    courier = Courier(spool, {"opik": backend})
    courier.notify()                     # something was appended; starts the threads the first time
    report = courier.flush(5.0)          # everything appended so far: delivered, or why not
    courier.shutdown(1.5)                # what is not delivered by then stays in the spool for the next start

Of all processes that share a spool, one delivers to a backend, for the others and for dead ones as well; when it
ends, another takes over. The threads are daemons and never hold up the end of the process.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from otel_llm.clock import monotonic
from otel_llm.delivery.courier_lane import CourierSettings, Lane, LaneReport
from otel_llm.delivery.late_codec import prepare_for
from otel_llm.delivery.parking import backend_of, parked_name, workspace_of
from otel_llm.delivery.spool_fork import watch_forks
from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from otel_llm.contracts import Backend
    from otel_llm.delivery.spool import Spool
    from otel_llm.delivery.spool_types import Failure, SpoolReport

__all__ = ["Courier", "CourierSettings", "FlushReport", "LaneReport"]

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
"""How often `flush` looks whether another process has delivered our batches."""
_CLOSING_SECONDS = 0.2
"""Part of the shutdown's time that is kept for closing files."""
_PATIENT_PART = 2 / 5
"""Part of the shutdown's time that one request may go unanswered, where what waits is on disk."""


class FlushReport(NamedTuple):
    """What `flush` achieved."""

    waiting: dict[str, int]
    """Spans of this process that were there when `flush` began and still wait, by backend; without zeros."""
    spool: SpoolReport
    stuck: bool = False
    """Whether something waits, and all of it for what does not take it now."""

    @property
    def complete(self) -> bool:
        """Whether every backend has answered for every span."""
        return not self.waiting


class Courier:
    """Delivers the batches of `spool` to `backends` (by name). Safe to use from any thread.

    After a fork the child has a courier of its own, with new threads; a backend that keeps connections gets its
    `reset_after_fork()` called, if it has that method.
    """

    def __init__(self, spool: Spool, backends: Mapping[str, Backend], settings: CourierSettings | None = None) -> None:
        self.settings = settings or CourierSettings()
        self._spool = spool
        self._progress = threading.Condition()
        self._stopped = False
        self._end = float("inf")
        self._lanes = [
            Lane(spool, name, backend, self.settings, self._on_progress) for name, backend in backends.items()
        ]
        spool.register(backends)
        watch_forks(self)
        for backend in backends.values():
            prepare_for(backend)

    def notify(self, size: int = 0) -> None:
        """Something of `size` bytes was appended: deliver it soon.

        Starts the threads when they do not run; never raises.
        """
        for lane in self._lanes:
            if lane.start():
                lane.notify(size)

    def retry_now(self) -> None:
        """Forget all back-off: somebody has changed something, or wants to know."""
        for lane in self._lanes:
            lane.retry_now()

    def flush(self, timeout: float, *, stop_on_failure: bool = False, patience: float = float("inf")) -> FlushReport:
        """Deliver what this process has appended so far, within `timeout` seconds; say what still waits.

        Back-off is cut short once. With `stop_on_failure` it returns as soon as every backend that is still owed
        something has failed to take it, or has not answered a request for `patience` seconds. What waits for a closed
        workspace is not waited for beyond one attempt, and with `stop_on_failure` not at all where it is on disk.
        """
        deadline = monotonic() + timeout
        mark = self._spool.mark()
        waiting = self._spool.pending(mark)
        failures = self._failures()
        stays = stop_on_failure and self._spool.outlasts_process
        for lane in self._lanes_of(waiting):
            if lane.start():
                lane.retry_now()

        def given_up(name: str) -> bool:
            lane, workspace = self._lane_of(name), workspace_of(name)
            if workspace and (stays or self._is_closed_since(name, failures)):
                return True
            return stop_on_failure and (lane.failures[name] > failures[name] or lane.waits_for_answer() > patience)

        while waiting and monotonic() < deadline:
            with self._progress:
                self._progress.wait(min(_LOOK_SECONDS, max(0.0, deadline - monotonic())))
            waiting = self._spool.pending(mark)
            if all(map(given_up, waiting)):
                break
            for lane in self._lanes_of(waiting):
                lane.hasten()
        return self._flush_report(waiting)

    def drain(self, timeout: float) -> FlushReport:
        """Deliver everything in the spool, whoever appended it (`otel-llm ship`); ends early when nothing can move."""
        deadline = monotonic() + timeout
        failures = self._failures()
        self.notify()
        while True:
            for lane in self._lanes:
                lane.hasten()
            report = self._spool.report()
            waiting = self._waiting(report)
            failed = all(self._lane_of(name).failures[name] > failures[name] for name in waiting)
            if failed or monotonic() >= deadline:
                return self._flush_report(waiting, report)
            with self._progress:
                self._progress.wait(_LOOK_SECONDS)

    def _failures(self) -> Counter[str]:
        return Counter({name: count for lane in self._lanes for name, count in lane.failures.items()})

    def _lane_of(self, name: str) -> Lane:
        """The lane that delivers what waits under this name in the spool."""
        return next(lane for lane in self._lanes if lane.name == backend_of(name))

    def _lanes_of(self, names: Iterable[str]) -> list[Lane]:
        wanted = {backend_of(name) for name in names}
        return [lane for lane in self._lanes if lane.name in wanted]

    def _is_closed_since(self, name: str, failures: Counter[str]) -> bool:
        """Whether a workspace was tried since there were so many `failures`, and waiting alone will not open it."""
        lane, failure = self._lane_of(name), self._failure_of(name)
        tried = lane.failures[name] > failures[name] or not lane.leading
        return tried and failure is not None and failure.needs_action

    def _failure_of(self, name: str) -> Failure | None:
        """Why this is not taken now; where another process delivers, what it has found out about a workspace."""
        lane = self._lane_of(name)
        return lane.failure_of(name) if lane.leading or not workspace_of(name) else self._spool.failure(name)

    def _waiting(self, report: SpoolReport) -> Counter[str]:
        """Spans by the name in the spool that they wait under, for the backends of this courier; without zeros."""
        found: Counter[str] = Counter()
        for lane in self._lanes:
            if lane.name in report.backends:
                backend = report.backends[lane.name]
                parked = {parked_name(lane.name, each.workspace): each.waiting for each in backend.parked}
                found.update({**parked, lane.name: backend.ledger.waiting - sum(parked.values())})
        return +found

    def _flush_report(self, waiting: Mapping[str, int], report: SpoolReport | None = None) -> FlushReport:
        by_backend: Counter[str] = Counter()
        for name, spans in waiting.items():
            by_backend[backend_of(name)] += spans
        stuck = bool(waiting) and all(self._failure_of(name) is not None for name in waiting)
        return FlushReport(dict(by_backend), report or self._spool.report(), stuck)

    def hurry(self, timeout: float) -> None:
        """The program is ending: no request that begins now lasts longer than this, and `shutdown` returns by then."""
        self._end = monotonic() + timeout
        for lane in self._lanes:
            lane.limit(self._end - _CLOSING_SECONDS)

    def shutdown(self, timeout: float | None = None) -> FlushReport:
        """Deliver what can be delivered in time, stop, and close the spool and the backends.

        Returns within `timeout` seconds (default: `exit_timeout`), or what `hurry` has left of them, whatever the
        backends do; what is left stays in the spool for the next start. Then a backend that lets a request wait for
        two fifths of that time is not waited for any longer. A second call does nothing more than report.
        """
        timeout = self.settings.exit_timeout if timeout is None else timeout
        deadline = min(monotonic() + timeout, self._end)
        if self._stopped:
            return self._flush_report(self._spool.pending())
        self._stopped = True
        for lane in self._lanes:
            lane.limit(deadline - _CLOSING_SECONDS)
        patience = timeout * _PATIENT_PART if self._spool.outlasts_process else float("inf")
        left = max(0.0, deadline - _CLOSING_SECONDS - monotonic())
        report = self.flush(left, stop_on_failure=True, patience=patience)
        if not report.complete:
            deadline = min(deadline, monotonic() + _CLOSING_SECONDS)
        for lane in self._lanes:
            lane.stop()
        ended = [
            lane
            for lane in self._lanes
            if lane.join(0 if lane.waits_for_answer() > patience else deadline - monotonic())
        ]
        self._spool.close()
        for lane in ended:  # one that is still sending is used by its thread
            _close(lane)
        return report

    def rest(self, timeout: float) -> None:
        """Begin no further request, and wait up to `timeout` seconds for those under way.

        What a process was sending when it ended may have arrived, and whoever delivers next sends it again.
        """
        deadline = monotonic() + timeout
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            lane.join(deadline - monotonic())

    def report(self) -> dict[str, LaneReport]:
        """The state of each lane, by backend name."""
        return {lane.name: lane.report() for lane in self._lanes}

    # --- forks -------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Nothing to do: the spool comes to rest by itself, and threads do not cross a fork."""

    def after_fork_in_parent(self) -> None:
        """Nothing to do."""

    def after_fork_in_child(self) -> None:
        """A courier of the child's own; the parent's batches stay the parent's."""
        self._progress = threading.Condition()
        for lane in self._lanes:
            lane.begin_anew_after_fork()
            reset = getattr(lane.backend, "reset_after_fork", None)
            if callable(reset):
                guarded(f"renewing {lane.name} after a fork", reset)

    def _on_progress(self) -> None:
        with self._progress:
            self._progress.notify_all()


def _close(lane: Lane) -> None:
    try:
        lane.backend.close()
    except Exception:
        logger.debug("The backend %s raised in close", lane.name, exc_info=True)
