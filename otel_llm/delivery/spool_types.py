"""The words of the spool: its settings, what `append` answers, what the courier takes and gives back, reports."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.config import Config
    from otel_llm.contracts import Batch, Rejection
    from otel_llm.ledger import LedgerReport

__all__ = [
    "Appended",
    "BackendReport",
    "Failure",
    "Parcel",
    "Parked",
    "Quarantined",
    "Reject",
    "SpoolReport",
    "SpoolSettings",
]

KIB = 1024
MIB = 1024 * KIB
HOUR = 3600.0

Mode: TypeAlias = Literal["always", "overflow", "off"]
Fsync: TypeAlias = Literal["interval", "always", "off"]


class SpoolSettings(NamedTuple):
    """How much the spool may hold, for how long, and how hard it holds on to it."""

    mode: Mode = "always"
    """`always`: on disk before delivery is tried. `overflow`: in memory until memory is full, the backend fails or
    the process ends. `off`: in memory only."""
    fsync: Fsync = "interval"
    """When the disk itself must have the data (matters for power loss only): `interval`, with every batch
    (`always`), or when the system likes (`off`)."""
    fsync_interval: float = 0.2
    """Seconds between two syncs under `interval`."""
    max_bytes: int = 256 * MIB
    """Bytes that the spool may use on disk before it drops its oldest batches."""
    free_disk_share: float = 0.10
    """Share (0-1) of the disk space not used by others that the spool may use; the smaller of both caps holds."""
    max_age: float = 24 * HOUR
    """Seconds after which a batch is dropped undelivered (Opik refuses ids much older than a day)."""
    memory_bytes: int = 32 * MIB
    """Bytes that may wait in memory when the disk cannot take them."""
    keep_delivered: float = 0.0
    """Seconds to keep delivered batches for `replay`; they are the first to go when room is short."""
    quarantine_bytes: int = 32 * MIB
    """Bytes of rejected spans to keep for inspection."""
    compress_above: int = 16 * MIB
    """Backlog in bytes from which new batches are compressed: below it speed matters more than room."""
    lock_timeout: float = 0.05
    """Seconds that `append` may wait for another thread or process before it keeps the batch in memory."""

    @classmethod
    def of(cls, config: Config) -> SpoolSettings:
        """As the program's settings `spool.*` say."""
        spool = config.spool
        return cls(
            mode=spool.mode,
            fsync=spool.fsync,
            fsync_interval=spool.flush_interval / 1000.0,
            max_bytes=spool.max_bytes,
            free_disk_share=spool.max_disk_share,
            max_age=spool.max_age,
            keep_delivered=spool.keep_delivered,
        )


class Appended(str, Enum):
    """Where a batch went."""

    DISK = "disk"
    MEMORY = "memory"
    DROPPED = "dropped"


class Parcel(NamedTuple):
    """One or more batches on their way to one backend; whoever took it settles it, postpones it or gives it back."""

    batch: Batch
    """The batches as one: their payloads put together, which OTLP allows."""
    rows: tuple[tuple[int, int], ...] = ()
    """Sequence number and span count of each row of the log in it; empty for a parcel from memory."""
    memory_ids: tuple[str, ...] = ()
    """Ids of the batches of the memory queue in it; empty for a parcel from disk."""
    attempts: int = 0
    """How often it was postponed because it failed while others went through."""


class Reject(NamedTuple):
    """Spans that the backend will never take, with their bytes for the quarantine where they could be told apart."""

    rejection: Rejection
    batch: Batch | None = None
    span_count: int = 1


class Failure(NamedTuple):
    """Why a backend does not take spans now."""

    why: str
    reason: str
    needs_action: bool = False
    at: float = 0.0
    """Unix seconds of the latest failed attempt."""
    since: float = 0.0
    """Unix seconds of the first failed attempt after the last delivery."""


class Parked(NamedTuple):
    """What waits for one workspace of a backend, apart from what waits for the others."""

    workspace: str
    waiting: int
    """Spans; the backend's counts have them too."""
    oldest_waiting: float | None
    """Unix seconds at which the oldest batch was closed."""
    failure: Failure | None
    """Why the workspace takes nothing now; None while it does, or nobody has tried."""


class Quarantined(NamedTuple):
    """Spans that were rejected or could not be read, kept for inspection."""

    id: int
    backend: str
    reason: str
    detail: str
    quarantined_at: float
    span_count: int
    payload: bytes


class BackendReport(NamedTuple):
    """Where the spans of one backend are, over all processes that share the spool."""

    ledger: LedgerReport
    oldest_waiting: float | None = None
    """Unix seconds at which the oldest batch was closed that waits for no closed workspace; None without one."""
    failure: Failure | None = None
    """The failure that holds now; None when the last attempt was answered."""
    parked: tuple[Parked, ...] = ()
    """What waits for workspaces that were closed, by workspace; without those that nothing waits for."""


class SpoolReport(NamedTuple):
    """The spool at one moment."""

    path: Path
    mode: Mode
    backends: dict[str, BackendReport]
    degraded: str = ""
    """Why batches are kept in memory only; empty when all is well."""
    degraded_since: float | None = None
    stored_bytes: int = 0
    capacity_bytes: int = 0
    memory_bytes: int = 0
    quarantined: int = 0
    """Entries in quarantine."""
    set_aside: int = 0
    """Unreadable spool files that lie beside the spool."""

    @property
    def waiting(self) -> int:
        """Spans whose fate is open, summed over the backends."""
        return sum(report.ledger.waiting for report in self.backends.values())
