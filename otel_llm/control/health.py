"""The state of each backend, concluded from what was counted and never from what was configured.

    starting   nothing was answered yet since this program began
    ok         a real delivery was answered, and nothing below holds
    degraded   spans get through, but some were lost, wait too long, wait in memory only, or for a closed workspace
    failing    the last attempt to deliver was not answered, or the key opens no workspace
    stopped    recording has ended; the counts are the last ones

`judge` is the rule itself, for one moment. `HealthMonitor` remembers: since when a state holds, which losses are
new, and what to write to the log when a state changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

from otel_llm.clock import monotonic
from otel_llm.control.workspaces import all_are_closed, closed, closed_in_words, workspace_statuses
from otel_llm.delivery.spool_counts import earliest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otel_llm.control.channels import ChannelReport
    from otel_llm.control.workspaces import WorkspaceStatus
    from otel_llm.delivery.spool_types import Parked

__all__ = ["LAG_SECONDS", "LOSS_SECONDS", "STATES", "BackendStatus", "HealthMonitor", "State", "Verdict", "judge"]

_logger = logging.getLogger(__name__)

State: TypeAlias = Literal["starting", "ok", "degraded", "failing", "stopped"]
STATES: Final[tuple[State, ...]] = ("starting", "ok", "degraded", "failing", "stopped")

LAG_SECONDS: Final = 60.0
"""Age of the oldest waiting span from which delivery counts as lagging; a healthy one takes well under a second."""
LOSS_SECONDS: Final = 300.0
"""How long a backend is degraded after the last span was lost."""
_LONGEST_CAUSE: Final = 500
"""Characters of a cause in the log; backends quote servers, which can be wordy."""

_Loss: TypeAlias = "tuple[str, str]"
"""(`rejected` or `dropped`, reason)."""

_REMEDIES: Final = {
    "queue_full": "Spans ended faster than the disk took them: find out why it stalls, or raise `batch_queue_size`.",
    "spool_full": "The backend was away for longer than the spool holds: raise `spool.max_bytes` or free disk space.",
    "expired": "The backend was away for longer than `spool.max_age`.",
    "memory_full": "The disk took nothing for too long: see the log for what is wrong with the spool.",
    "not_loaded": (
        "What encodes spans cannot be loaded, most likely because protobuf is missing, or of a version that does not "
        "fit other packages: the log has the error, `python -m pip check` names them. Mend it, and start again."
    ),
    "rejected": "`otel-llm replay --to NAME --rejected` tries again what is in quarantine.",
}


class BackendStatus(NamedTuple):
    """Where the spans of one backend are now. All counts are numbers of spans; moments are Unix seconds."""

    name: str
    state: State
    cause: str | None
    """What is wrong, why most likely, and what to do; None when the state needs no explanation."""
    since: float
    """When this state began."""
    created: int
    delivered: int
    waiting: int
    rejected: dict[str, int]
    dropped: dict[str, int]
    last_delivery: float | None
    """None before the first delivery."""
    oldest_waiting: float | None
    """When the oldest waiting span was handed over; None where nothing waits or it is not known."""
    durable: bool
    """Whether what waits survives the end of the process."""
    queued: int
    """Of what waits, the spans in this process's memory that no batch has taken yet."""
    queue_capacity: int
    processed: dict[str, int]
    """What this process's queue is done with: spans handed on (under an empty word), by reason those turned away."""
    spool_files_set_aside: int | None = None
    """Damaged files that were laid aside in the spool's directory; None where there is no spool."""
    spool_bytes: int | None = None
    """Bytes that the spool uses on disk, for all its backends together; None where there is no spool."""
    spool_capacity: int | None = None
    """Bytes that it may use before the oldest spans are dropped."""
    workspaces: tuple[WorkspaceStatus, ...] = ()
    """What waits apart because its workspace was closed; `waiting` has it, too."""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return {**self._asdict(), "workspaces": [each._asdict() for each in self.workspaces]}


class Verdict(NamedTuple):
    """What the rule says of one moment."""

    state: State
    cause: str | None
    since: float | None = None
    """When that began, where the report itself knows it."""


def judge(report: ChannelReport, *, now: float, begun: float = 0.0, losses: str = "") -> Verdict:
    """The state of a backend at `now`.

    `begun` is when the program began: a spool also remembers deliveries and failures of earlier runs, with other
    keys and addresses perhaps, and those prove nothing. `losses` says what was lost lately; empty for nothing.
    """
    last = report.ledger.last_delivery
    answered = last is not None and last >= begun
    failed_before = report.failed_at is not None and report.failed_at < begun
    shut = closed(report.parked, begun)
    if report.failure is not None and not failed_before:
        why = _sentences(report.failure, closed_in_words(shut), report.memory_only, losses)
        return Verdict("failing", why, report.failing_since)
    if all_are_closed(shut, last, report.workspace):
        return Verdict("failing", _sentences(closed_in_words(shut), report.memory_only, losses))
    lag = _lag(report, now, begun, without=shut)
    troubles = _sentences(report.memory_only, closed_in_words(shut), lag, losses)
    if troubles:
        return Verdict("degraded", troubles)
    if answered:
        return Verdict("ok", None)
    if report.failure is not None:
        return Verdict(
            "starting", f"Nothing was tried yet since the start. The last attempt before it: {report.failure}"
        )
    return Verdict("starting", None)


def _sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _lag(report: ChannelReport, now: float, begun: float, *, without: Sequence[Parked]) -> str:
    others = [each for each in report.parked if each not in without]
    oldest = earliest(report.oldest_waiting, *(each.oldest_waiting for each in others))
    if oldest is None or now - max(oldest, begun) <= LAG_SECONDS:
        return ""
    moment = datetime.fromtimestamp(oldest, timezone.utc).isoformat(timespec="seconds")
    spans = report.ledger.waiting - sum(each.waiting for each in without)
    return (
        f"{spans} spans wait, the oldest since {moment}: the backend is slow, or nobody delivers. "
        "`otel-llm ship` delivers what waits."
    )


class _Track:
    """What is remembered of one backend."""

    def __init__(self, state: State, since: float, seen: Counter[_Loss]) -> None:
        self.state = state
        self.since = since
        self.seen = seen
        """All losses at the last look."""
        self.recent: Counter[_Loss] = Counter()
        """Losses since `LOSS_SECONDS` before the latest one."""
        self.lost_at = float("-inf")

    def note_losses(self, now_lost: Counter[_Loss], now: float) -> str:
        """Take notice of new losses; returns what was lost lately in words, empty for nothing."""
        grown = now_lost - self.seen  # a forked child begins at zero: what became less counts as nothing new
        self.seen = now_lost
        self.lost_at = min(self.lost_at, now)  # a clock that was set back makes no loss of the future
        if now - self.lost_at > LOSS_SECONDS:
            self.recent.clear()
        if grown:
            self.recent += grown
            self.lost_at = now
        return _in_words(self.recent)


class HealthMonitor:
    """Follows the backends of one pipeline from look to look. Safe to use from any thread.

    A change of state is one line in the log: a warning when things get worse, information when they get better.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or (lambda: time.time())  # noqa: PLW0108  (looked up anew: a mock stands where reports look)
        self._begun = self._clock()
        self._begun_monotonic = monotonic()
        self._lock = threading.RLock()
        self._tracks: dict[str, _Track] = {}

    def observe(self, reports: Iterable[ChannelReport]) -> tuple[BackendStatus, ...]:
        """The state of each backend now; logs what has changed since the last look."""
        return tuple(self._observe(report) for report in reports)

    def stopped(self, reports: Iterable[ChannelReport]) -> tuple[BackendStatus, ...]:
        """The same after recording has ended; who ends before the first look reads here what is wrong."""
        reports = tuple(reports)
        self.observe(reports)
        return tuple(self._conclude(report, _last_verdict(report), self._clock()) for report in reports)

    def reset_after_fork(self) -> None:
        """In a child process: the lock may have been held by a thread that is not there."""
        self._lock = threading.RLock()

    def _observe(self, report: ChannelReport) -> BackendStatus:
        now = self._clock()
        with self._lock:
            track = self._track(report, now)
            losses = track.note_losses(_losses(report), now)
        # Where the clock was set back, what happens now carries moments from before the start as it was read then.
        begun = min(self._begun, now - (monotonic() - self._begun_monotonic))
        return self._conclude(report, judge(report, now=now, begun=begun, losses=losses), now)

    def _track(self, report: ChannelReport, now: float) -> _Track:
        """The memory of this backend; what was lost before the first look is no news."""
        name = report.ledger.backend
        if name not in self._tracks:
            self._tracks[name] = _Track("starting", now, seen=_losses(report))
        return self._tracks[name]

    def _conclude(self, report: ChannelReport, verdict: Verdict, now: float) -> BackendStatus:
        with self._lock:
            track = self._track(report, now)
            before = track.state
            changed = verdict.state != before != "stopped"  # a look may come in late, after the end
            if changed:
                track.state = verdict.state
                track.since = verdict.since if verdict.since is not None else now
            since = track.since
        if changed:
            _say(report.ledger.backend, before, verdict)
        return _status(report, verdict, since)


def _status(report: ChannelReport, verdict: Verdict, since: float) -> BackendStatus:
    ledger = report.ledger
    return BackendStatus(
        name=ledger.backend,
        state=verdict.state,
        cause=verdict.cause,
        since=since,
        created=ledger.created,
        delivered=ledger.delivered,
        waiting=ledger.waiting,
        rejected=ledger.rejected,
        dropped=ledger.dropped,
        last_delivery=ledger.last_delivery,
        oldest_waiting=earliest(report.oldest_waiting, *(each.oldest_waiting for each in report.parked)),
        durable=report.durable,
        queued=report.queued,
        queue_capacity=report.queue_capacity,
        processed=dict(report.processed),
        spool_files_set_aside=report.spool_files_set_aside,
        spool_bytes=report.spool_bytes,
        spool_capacity=report.spool_capacity,
        workspaces=workspace_statuses(report.parked),
    )


def _last_verdict(report: ChannelReport) -> Verdict:
    waiting = report.ledger.waiting
    if not waiting:
        return Verdict("stopped", None)
    if not report.durable:
        return Verdict("stopped", f"{waiting} spans were still on their way.")
    return Verdict("stopped", f"{waiting} spans stay in the spool for the next start, or for `otel-llm ship`.")


def _losses(report: ChannelReport) -> Counter[_Loss]:
    ledger = report.ledger
    found = {("rejected", reason): spans for reason, spans in ledger.rejected.items()}
    found.update({("dropped", reason): spans for reason, spans in ledger.dropped.items()})
    return Counter(found)


def _in_words(recent: Counter[_Loss]) -> str:
    if not recent:
        return ""
    counts = ", ".join(f"{spans} {fate} ({reason})" for (fate, reason), spans in sorted(recent.items()))
    hints = (_REMEDIES.get(reason) or _REMEDIES.get(fate) for fate, reason in sorted(recent))
    remedies = dict.fromkeys(hint for hint in hints if hint)
    return _sentences(f"Spans lost in the last minutes: {counts}.", *remedies)


def _say(backend: str, before: State, verdict: Verdict) -> None:
    level = logging.WARNING if verdict.state in {"degraded", "failing"} else logging.INFO
    cause = " ".join((verdict.cause or "").split())[:_LONGEST_CAUSE]
    _logger.log(level, "Backend %s is %s (was %s)%s", backend, verdict.state, before, f": {cause}" if cause else ".")
