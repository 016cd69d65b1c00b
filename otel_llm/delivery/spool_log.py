"""The log on disk: batches in the order they came, and for each backend which of them it has yet to answer for.

Each public method is one transaction of SQLite, so a process can be killed between any two instructions. All of
them raise sqlite3.Error; `Spool`, the one caller, holds the lock and knows what to do then.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
import zlib
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from otel_llm.contracts import Batch
from otel_llm.delivery.parking import backend_of, belongs_to, parked_name
from otel_llm.delivery.spool_archive import Archive
from otel_llm.delivery.spool_at_hand import SpansAtHand
from otel_llm.delivery.spool_balance import DAMAGED_ORDER, check_balance
from otel_llm.delivery.spool_counts import CREATED, DELIVERED, DROPPED, REJECTED, Counts, Tally
from otel_llm.delivery.spool_files import file_identity
from otel_llm.delivery.spool_room import Room, boot_id, uptime
from otel_llm.delivery.spool_schema import SCHEMA_VERSION, open_log
from otel_llm.delivery.spool_types import Appended, Failure, Parcel
from otel_llm.delivery.words import whole

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from otel_llm.delivery.parking import Share
    from otel_llm.delivery.spool_types import Reject, SpoolSettings

__all__ = ["SpoolLog", "merged", "restored"]

_PLAIN, _ZLIB = 0, 1
_MAX_ROWS_PER_PARCEL = 64
_LONGEST_POSTPONEMENT = 3600.0
"""Seconds; a row due later than this has seen the clock jump, and is due now."""


class _Head(NamedTuple):
    """What a row says of the process that it is from."""

    origin: str
    boot: str
    uptime: float


class SpoolLog:
    """An open log. Used by one thread at a time; never carried across a fork."""

    def __init__(self, path: Path, settings: SpoolSettings) -> None:
        self.path = path
        self._settings = settings
        self._connection = self.connection = open_log(path, busy_seconds=settings.lock_timeout, fsync=settings.fsync)
        self.identity = file_identity(path)
        self.last_appended = 0
        """Sequence number of the last batch that was stored through this object."""
        self._backends: dict[str, int] = {}
        self._at_hand = SpansAtHand()
        self._counts = Counts(self._connection)
        self.room = Room(self._connection, path.parent, settings)
        self.archive = Archive(self._connection, settings)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    # --- coming in ---------------------------------------------------------------------------------------

    def append(self, items: Sequence[tuple[Batch, Collection[str]]], origin: str) -> list[Appended]:
        """Store batches, each for the backends named with it, all or none; say of each whether there was room."""
        if not items:
            return []
        with self._transaction():
            head = _Head(origin, boot_id(), uptime())
            return [self._insert(batch, [self._backend_id(b) for b in backends], head) for batch, backends in items]

    def _insert(self, batch: Batch, backends: list[int], head: _Head) -> Appended:
        for backend in backends:
            self._counts.add(backend, CREATED, "", batch.span_count)
        file_bytes = self.room.file_bytes()  # asked once: every statement may give the interpreter away
        compress = self.room.holds_more_than(self._settings.compress_above, file_bytes)
        encoding, payload = (_ZLIB, zlib.compress(batch.payload, 1)) if compress else (_PLAIN, batch.payload)
        if not self.room.make(len(payload), file_bytes):
            for backend in backends:
                self._counts.add(backend, DROPPED, "spool_full", batch.span_count)
            return Appended.DROPPED
        checksum = _checksum(batch.id, batch.created_at, batch.span_count, encoding, payload)
        row = (batch.id, *head, batch.created_at, batch.span_count, encoding, checksum, payload)
        seq = self._connection.execute(
            "INSERT INTO batches (id, origin, boot, uptime, created_at, spans, encoding, crc, payload)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        ).lastrowid
        assert seq is not None
        self.last_appended = seq
        self._at_hand.keep(seq, batch)
        for backend in backends:
            self._connection.execute("INSERT INTO waiting (backend, seq) VALUES (?, ?)", (backend, seq))
        return Appended.DISK

    def add_counts(self, tally: Tally) -> None:
        """Add counts that were kept in memory while the log could not be used; writes something in any case."""
        with self._transaction():
            if not tally:
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            for (name, kind, reason), spans in tally.items():
                if spans:
                    self._counts.add(self._backend_id(name), kind, reason, spans)

    def record(self, backend: str, tally: Tally, last_delivery: float | None, trouble: str | None) -> None:
        """Add counts of a backend that is served past the spool, and keep how it is."""
        with self._transaction():
            backend_id = self._backend_id(backend)
            for (_, kind, reason), spans in tally.items():
                self._counts.add(backend_id, kind, reason, spans)
            now = None if trouble is None else time.time()
            self._connection.execute(
                "UPDATE backends SET last_delivery = coalesce(max(?, coalesce(last_delivery, 0)), last_delivery),"
                " why = ?, reason = '', needs_action = 0, failed_at = ?, failing_since = CASE WHEN ? IS NULL THEN NULL"
                " ELSE coalesce(failing_since, ?) END WHERE id = ?",
                (last_delivery, whole(trouble or ""), now, now, now, backend_id),
            )

    # --- going out ---------------------------------------------------------------------------------------

    def take(self, backend: str, max_bytes: int, after: int = 0) -> Parcel | None:
        """The oldest batches that wait for `backend`, put together up to `max_bytes` (at least one); None if none do.

        `after` leaves out rows up to that sequence number. A batch that cannot be read is dropped and counted.
        """
        now = time.time()
        unreadable: list[int] = []
        taken: list[tuple[int, int, Batch]] = []
        size, attempts = 0, 0
        with closing(
            self._connection.execute(
                "SELECT w.seq, w.attempts, b.id FROM waiting w LEFT JOIN batches b ON b.seq = w.seq"
                " WHERE w.backend = ? AND w.seq > ? AND (w.due <= ? OR w.due > ?) ORDER BY w.seq LIMIT ?",
                (self._known_id(backend), after, now, now + _LONGEST_POSTPONEMENT, _MAX_ROWS_PER_PARCEL),
            )
        ) as rows:
            for seq, row_attempts, batch_id in rows:
                batch = self._at_hand.batch(seq, batch_id) or self._read(seq)
                if batch is None:
                    unreadable.append(seq)
                    continue
                if taken and (size + len(batch.payload) > max_bytes or attempts or row_attempts):
                    break
                taken.append((seq, batch.span_count, batch))
                size += len(batch.payload)
                attempts = row_attempts
        for seq in unreadable:
            self._discard_unreadable(seq)
        if not taken:
            return self.take(backend, max_bytes, after) if unreadable else None
        rows_taken = tuple((seq, spans) for seq, spans, _ in taken)
        return Parcel(merged([batch for _, _, batch in taken]), rows=rows_taken, attempts=attempts)

    def _read(self, seq: int) -> Batch | None:
        """The batch in a row, from the disk; None if it is not what was written."""
        row = self._connection.execute(
            "SELECT id, created_at, spans, encoding, crc, payload FROM batches WHERE seq = ?", (seq,)
        ).fetchone()
        return restored(row) if row is not None else None

    def settle(self, backend: str, parcel: Parcel, rejects: Sequence[Reject], shares: Sequence[Share] = ()) -> None:
        """Record that `backend` has answered for all of `parcel`: it took everything but `rejects` and `shares`.

        Each of `shares` waits on, for its workspace, as old as the row that it was part of.
        """
        with self._transaction():
            backend_id = self._backend_id(backend)
            answered, overtaken = 0, 0
            for number, (seq, spans) in enumerate(parcel.rows):
                mine = [share for share in shares if share.row == number] if shares else ()
                answered += (taken := spans - sum(share.batch.span_count for share in mine))
                self._at_hand.answered(seq)
                head = self._head(seq) if mine else None
                gone = self._connection.execute(
                    "DELETE FROM waiting WHERE backend = ? AND seq = ?", (backend_id, seq)
                ).rowcount
                if gone:
                    self.room.release(seq)
                else:
                    self._check_is_gone(seq, backend_id)
                    overtaken += taken
                if gone and head is not None:
                    self._park(backend, head, mine)
            if overtaken:  # dropped while it was being sent: what counts is what the backend answered
                overtaken -= self._counts.take_back_dropped(backend_id, overtaken)
            delivered = answered - overtaken
            for reject in rejects:
                rejected = min(reject.span_count, delivered)
                delivered -= rejected
                self._counts.add(backend_id, REJECTED, reject.rejection.reason, rejected)
                self.archive.quarantine(backend_of(backend), reject)
            self._counts.add(backend_id, DELIVERED, "", delivered)
            self._connection.execute(
                "UPDATE backends SET last_delivery = CASE WHEN ? > 0 THEN ? ELSE last_delivery END,"
                " why = '', reason = '', needs_action = 0, failed_at = NULL, failing_since = NULL WHERE id = ?",
                (delivered, time.time(), backend_id),
            )

    def _head(self, seq: int) -> tuple[_Head, float] | None:
        """What a row says of where it is from, and when its batch was closed (Unix seconds)."""
        row = self._connection.execute(
            "SELECT origin, boot, uptime, created_at FROM batches WHERE seq = ?", (seq,)
        ).fetchone()
        return (_Head(*row[:3]), row[3]) if row else None

    def _park(self, backend: str, head: tuple[_Head, float], shares: Sequence[Share]) -> None:
        """Let parts of a row that `backend` has answered for wait for workspaces; they are counted there from now on.

        Within a transaction.
        """
        for share in shares:
            batch = replace(share.batch, created_at=head[1])
            self._counts.add(self._backend_id(backend), CREATED, "", -batch.span_count)
            self._insert(batch, [self._backend_id(parked_name(backend_of(backend), share.workspace))], head[0])

    def postpone(self, backend: str, parcel: Parcel, seconds: float) -> None:
        """Set the parcel's rows aside for `seconds`: they fail while others go through."""
        with self._transaction():
            backend_id = self._backend_id(backend)
            for seq, _ in parcel.rows:
                self._connection.execute(
                    "UPDATE waiting SET due = ?, attempts = attempts + 1 WHERE backend = ? AND seq = ?",
                    (time.time() + min(seconds, _LONGEST_POSTPONEMENT), backend_id, seq),
                )

    def note_failure(self, backend: str, failure: Failure) -> None:
        """Keep why `backend` takes nothing now, for `status` from outside."""
        with self._transaction():
            self._connection.execute(
                "UPDATE backends SET why = ?, reason = ?, needs_action = ?, failed_at = ?, failing_since = ?"
                " WHERE id = ?",
                (
                    whole(failure.why),
                    whole(failure.reason),
                    failure.needs_action,
                    failure.at,
                    failure.since,
                    self._backend_id(backend),
                ),
            )

    # --- care --------------------------------------------------------------------------------------------

    def expire(self) -> int:
        """Drop what is too old; return how many batches went."""
        with self._transaction():
            return self.room.expire()

    def balance(self, backends: Collection[str]) -> dict[str, int]:
        """Make the counts of `backends` say what is there; return what that changed (see `check_balance`)."""
        self.tally()  # raises where a name cannot be read
        with self._transaction():
            names = [*backends, *(name for base in backends for name in belongs_to(base, self.names()))]
            ids = {self._backend_id(name): name for name in names}
            return {ids[found]: spans for found, spans in check_balance(self._connection, ids).items()}

    def replay(self, backend: str, since: float, until: float, *, quarantined: bool) -> int:
        """Let stored batches closed in [since, until] wait for `backend` (again); return their number of spans."""
        with self._transaction():
            is_new = self._known_id(backend) is None
            backend_id = self._backend_id(backend)
            parked = [self._backend_id(name) for name in belongs_to(backend, self.names())]
            spans = self.archive.requeue(backend_id, since, until, parked)
            self._counts.add(backend_id, CREATED, "", spans)
            if quarantined:
                for batch in self.archive.take_quarantined(backend, since, until):
                    self._insert(batch, [backend_id], _Head("replay", boot_id(), uptime()))
                    spans += batch.span_count
            if is_new and not spans:
                self._forget_id(backend)  # else it would be a backend that never starts, in every status from now on
            return spans

    def forget(self, backend: str) -> None:
        """Stop keeping batches for a backend that is gone, counting what waited as dropped."""
        with self._transaction():
            for name in (backend, *belongs_to(backend, self.names())):
                self._forget(self._backend_id(name))

    def _forget(self, backend_id: int) -> None:
        for (seq,) in self._connection.execute("SELECT seq FROM waiting WHERE backend = ?", (backend_id,)).fetchall():
            row = self._connection.execute("SELECT spans FROM batches WHERE seq = ?", (seq,)).fetchone()
            self._counts.add(backend_id, DROPPED, "backend_removed", row[0] if row else 0)
            self._connection.execute("DELETE FROM waiting WHERE backend = ? AND seq = ?", (backend_id, seq))
            self.room.release(seq)

    def shrink(self) -> None:
        """Give the disk back what an outage made the file grow to, once little is left in it."""
        self._connection.execute("VACUUM")

    # --- looking -----------------------------------------------------------------------------------------

    def tally(self) -> Tally:
        """All counts."""
        return self._counts.tally()

    def backends(self) -> dict[str, tuple[float | None, Failure | None]]:
        """For each backend that the log knows: last delivery (Unix seconds) and the failure that holds."""
        rows = self._connection.execute(
            "SELECT name, last_delivery, why, reason, needs_action, failed_at, failing_since FROM backends"
        )
        return {
            name: (delivered, Failure(why, reason, bool(needs), failed_at, since) if failed_at is not None else None)
            for name, delivered, why, reason, needs, failed_at, since in rows
        }

    def parked(self, backend: str) -> list[str]:
        """The names of workspaces of `backend` for which something waits that is due."""
        now = time.time()
        due = "SELECT 1 FROM waiting WHERE backend = ? AND (due <= ? OR due > ?) LIMIT 1"
        return [
            name
            for name in belongs_to(backend, self.names())
            if self._connection.execute(due, (self._known_id(name), now, now + _LONGEST_POSTPONEMENT)).fetchone()
        ]

    def oldest_waiting(self, backend: str) -> float | None:
        """When the oldest batch that waits for `backend` was closed (Unix seconds)."""
        row = self._connection.execute(
            "SELECT created_at FROM batches WHERE seq = (SELECT min(seq) FROM waiting WHERE backend = ?)",
            (self._known_id(backend),),
        ).fetchone()
        return float(row[0]) if row else None

    def waiting_spans(self, backend: str, origin: str | None = None, up_to: int | None = None) -> int:
        """Spans that lie here for `backend`; of one process and up to one sequence number, if given."""
        row = self._connection.execute(
            "SELECT coalesce(sum(b.spans), 0) FROM waiting w JOIN batches b ON b.seq = w.seq WHERE w.backend = ?1"
            " AND (?2 IS NULL OR b.origin = ?2) AND (?3 IS NULL OR w.seq <= ?3)",
            (self._known_id(backend), origin, up_to),
        ).fetchone()
        return int(row[0])

    # --- inside ------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._backends.clear()  # an id that this transaction gave out does not exist
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _backend_id(self, name: str) -> int:
        """The id of the backend `name`, given out now if it has none yet. Within a transaction."""
        found = self._known_id(name)
        if found is None:
            found = self._connection.execute("INSERT INTO backends (name) VALUES (?)", (name,)).lastrowid
            assert found is not None
            self._backends[name] = found
        return found

    def names(self) -> list[str]:
        """Of all backends and workspaces that the log knows."""
        return [name for (name,) in self._connection.execute("SELECT name FROM backends ORDER BY id")]

    def _forget_id(self, name: str) -> None:
        """Take back an id that was given out in this transaction, and what was counted for it."""
        backend_id = self._backends.pop(name)
        self._connection.execute("DELETE FROM counts WHERE backend = ?", (backend_id,))
        self._connection.execute("DELETE FROM backends WHERE id = ?", (backend_id,))

    def _known_id(self, name: str) -> int | None:
        if name not in self._backends:
            row = self._connection.execute("SELECT id FROM backends WHERE name = ?", (name,)).fetchone()
            if row is None:
                return None
            self._backends[name] = row[0]
        return self._backends[name]

    def _discard_unreadable(self, seq: int) -> None:
        with self._transaction():
            self.archive.keep_unreadable(seq)
            self.room.drop(seq, "corrupt")
            for backend_id in self._backends.values():
                self._check_is_gone(seq, backend_id)

    def _check_is_gone(self, seq: int, backend_id: int) -> None:
        """Raise for a damaged index, in which a row is met on the way but not found: it would be sent without end."""
        scan = "SELECT 1 FROM waiting WHERE +seq = ? AND +backend = ? LIMIT 1"  # the plus keeps it off the index
        if self._connection.execute(scan, (seq, backend_id)).fetchone():
            raise sqlite3.DatabaseError(DAMAGED_ORDER)


def merged(batches: list[Batch]) -> Batch:
    """`batches` as one: OTLP messages put end to end are one message with the spans of all."""
    if len(batches) == 1:
        return batches[0]
    return Batch(
        payload=b"".join(batch.payload for batch in batches),
        span_count=sum(batch.span_count for batch in batches),
        id=hashlib.sha256("".join(batch.id for batch in batches).encode()).hexdigest()[:32],
        created_at=batches[0].created_at,
        spans=tuple(chain.from_iterable(batch.spans for batch in batches)) if all(b.spans for b in batches) else (),
    )


def _checksum(batch_id: str, created_at: float, spans: int, encoding: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(f"{batch_id}|{created_at!r}|{spans}|{encoding}".encode()))


def restored(stored: Sequence[object]) -> Batch | None:
    """The batch of a row, or None if the row is not what was written."""
    batch_id, created_at, spans, encoding, crc, payload = stored
    if not (isinstance(batch_id, str) and isinstance(created_at, float) and isinstance(spans, int)):
        return None
    if not (isinstance(encoding, int) and isinstance(payload, bytes)):
        return None
    if crc != _checksum(batch_id, created_at, spans, encoding, payload):
        return None
    plain = zlib.decompress(payload) if encoding == _ZLIB else payload
    return Batch(payload=plain, span_count=spans, id=batch_id, created_at=created_at)
