"""A model of the spool in a few lines, and random walks that compare the real one with it after every step."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from otel_llm.contracts import Rejection
from otel_llm.delivery.parking import Share, parked_name
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_types import Appended, Reject, SpoolSettings
from tests.crash.kit import batch_of, ids_in, new_ids

BACKENDS = ("a", "b")
REAL_TIME = time.time


class Books:
    """What the model expects of one backend."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.parked: list[str] = []
        """What waits apart, for a workspace."""
        self.created = self.delivered = self.rejected = self.dropped = 0

    def take_out(self, ids: list[str]) -> None:
        gone = set(ids)
        self.waiting = [i for i in self.waiting if i not in gone]


class SpoolWalk(RuleBasedStateMachine):
    """Appends, deliveries, rejections, kills, locks held by others, jumps of the clock: nothing is lost unseen."""

    @initialize(cap=st.sampled_from([512 * 1024, 256 * 1024 * 1024]), compress=st.sampled_from([0, 1 << 40]))
    def begin(self, cap: int, compress: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="spool-model-"))
        self.settings = SpoolSettings(max_bytes=cap, compress_above=compress, lock_timeout=0.005)
        self.books = {name: Books() for name in BACKENDS}
        self.lock: sqlite3.Connection | None = None
        self.clock = mock.patch.object(time, "time", self.now)
        self.jumped = 0.0
        self.clock.start()
        self.open()

    def now(self) -> float:
        return REAL_TIME() + self.jumped

    def open(self) -> None:
        self.spool = Spool(self.directory / "s", self.settings)
        self.spool.register(BACKENDS)
        self.in_memory = False

    @rule(spans=st.integers(1, 4), size=st.sampled_from([10, 2_000, 40_000]))
    def append(self, spans: int, size: int) -> None:
        ids = new_ids(spans)
        answer = self.spool.append(batch_of(ids, size=size))
        assert answer is (Appended.MEMORY if self.lock else Appended.DISK)
        self.in_memory |= answer is Appended.MEMORY
        for books in self.books.values():
            books.created += spans
            books.waiting += ids

    @precondition(lambda self: self.lock is None)
    @rule(backend=st.sampled_from(BACKENDS), most=st.sampled_from([1, 50_000, 1 << 30]))
    def deliver(self, backend: str, most: int) -> None:
        parcel = self.spool.take(backend, most)
        if parcel is None:
            return
        ids, books = ids_in(parcel.batch), self.books[backend]
        assert ids == books.waiting[: len(ids)]
        assert self.spool.settle(backend, parcel)
        books.take_out(ids)
        books.delivered += len(ids)

    @precondition(lambda self: self.lock is None)
    @rule(backend=st.sampled_from(BACKENDS))
    def reject_the_first(self, backend: str) -> None:
        parcel = self.spool.take(backend, 1)
        if parcel is None:
            return
        ids, books = ids_in(parcel.batch), self.books[backend]
        assert self.spool.settle(backend, parcel, [Reject(Rejection(ids[0], "invalid"), batch_of(ids[:1]))])
        books.take_out(ids)
        books.rejected += 1
        books.delivered += len(ids) - 1

    @precondition(lambda self: self.lock is None)
    @rule(backend=st.sampled_from(BACKENDS), most=st.sampled_from([1, 50_000]), every=st.sampled_from([1, 2, 3]))
    def park(self, backend: str, most: int, every: int) -> None:
        parcel = self.spool.take(backend, most)
        if parcel is None:
            return
        ids, books = ids_in(parcel.batch), self.books[backend]
        left, shares, parked = iter(ids), [], []
        for number, (_, spans) in enumerate(parcel.rows):
            mine = [next(left) for _ in range(spans)][::every]
            shares.append(Share("w", number, batch_of(mine, size=2_000)))
            parked += mine
        if parcel.memory_ids:
            parked = ids[::every]
            shares = [Share("w", 0, batch_of(parked, size=2_000))]
        assert self.spool.settle(backend, parcel, (), shares)
        books.take_out(ids)
        books.parked += parked
        books.delivered += len(ids) - len(parked)

    @precondition(lambda self: self.lock is None)
    @rule(backend=st.sampled_from(BACKENDS), most=st.sampled_from([1, 50_000]))
    def deliver_what_is_parked(self, backend: str, most: int) -> None:
        name = parked_name(backend, "w")
        parcel = self.spool.take(name, most)
        books = self.books[backend]
        assert (parcel is not None) == bool(books.parked)
        if parcel is not None:
            ids = ids_in(parcel.batch)
            assert ids == books.parked[: len(ids)]
            assert self.spool.settle(name, parcel)
            del books.parked[: len(ids)]
            books.delivered += len(ids)

    @precondition(lambda self: self.lock is None)
    @rule(backend=st.sampled_from(BACKENDS))
    def replay(self, backend: str) -> None:
        other = self.books[backend]
        queued = self.spool.replay(backend)
        other.created += queued
        other.waiting = self.lying_here(backend)

    @rule(backend=st.sampled_from(BACKENDS))
    def take_and_be_refused(self, backend: str) -> None:
        parcel = self.spool.take(backend, 1 << 30)
        if parcel is not None:
            self.spool.give_back(backend, parcel)

    @precondition(lambda self: not self.in_memory)
    @rule()
    def be_killed_and_start_again(self) -> None:
        self.open()  # the old object is left as a killed process leaves its files

    @precondition(lambda self: self.lock is None)
    @rule()
    def close_and_start_again(self) -> None:
        self.spool.close()
        self.open()

    @precondition(lambda self: self.lock is None and (self.directory / "s" / "spool.db").exists())
    @rule()
    def another_process_takes_the_lock(self) -> None:
        self.lock = sqlite3.connect(self.directory / "s" / "spool.db", isolation_level=None, check_same_thread=False)
        self.lock.execute("BEGIN IMMEDIATE")

    @precondition(lambda self: self.lock is not None)
    @rule()
    def the_lock_is_given_back(self) -> None:
        self.release()

    @rule(seconds=st.sampled_from([-3600.0, -1e9, 1e9, 0.0]))
    def the_clock_jumps(self, seconds: float) -> None:
        self.jumped = seconds

    @precondition(lambda self: self.lock is None)
    @rule()
    def care_is_taken(self) -> None:
        self.spool._expired_at = float("-inf")
        self.spool.tend()
        self.in_memory = False

    @precondition(lambda self: self.lock is None)
    @rule(backend=st.sampled_from(BACKENDS))
    def forget(self, backend: str) -> None:
        self.spool.tend()
        self.in_memory = False
        self.note_drops(backend)
        self.spool.forget(backend)
        self.books[backend].dropped += len(self.books[backend].waiting) + len(self.books[backend].parked)
        self.books[backend].waiting = []
        self.books[backend].parked = []

    def lying_here(self, backend: str) -> list[str]:
        """What waits on disk and in memory, without taking it away."""
        found, after = [], 0
        with self.spool._using_log(5.0, create=True) as log:
            while (parcel := log.take(backend, 1 << 30, after)) is not None:
                found += ids_in(parcel.batch)
                after = parcel.rows[-1][0]
        held = self.spool._memory._held.values()
        return found + [i for h in held if backend in h.waiting for i in ids_in(h.batch)]

    def note_drops(self, backend: str) -> list[str]:
        """Only the oldest may be missing, and the spool must have counted them."""
        books, found = self.books[backend], self.lying_here(parked_name(backend, "w"))
        books.dropped += (missing := len(books.parked) - len(found))
        assert missing >= 0
        assert found == books.parked[missing:]
        books.parked = found
        found = self.lying_here(backend)
        missing = len(books.waiting) - len(found)
        assert missing >= 0
        assert found == books.waiting[missing:]
        books.waiting = found
        books.dropped += missing
        return found

    @invariant()
    def the_books_agree(self) -> None:
        report = self.spool.report()
        for name, books in self.books.items():
            if name not in report.backends or (self.lock is None and not (self.directory / "s").exists()):
                assert books.created == 0
                continue
            self.note_drops(name)
            ledger = report.backends[name].ledger
            assert ledger.created == books.created
            assert ledger.delivered == books.delivered
            assert sum(ledger.rejected.values()) == books.rejected
            assert sum(ledger.dropped.values()) == books.dropped
            assert ledger.waiting == len(books.waiting) + len(books.parked)
            assert sum(each.waiting for each in report.backends[name].parked) == len(books.parked)
            self.nothing_is_out_of_balance()

    def nothing_is_out_of_balance(self) -> None:
        if self.lock is None:
            with self.spool._using_log(5.0, create=True) as log:
                assert log.balance(BACKENDS) == {}

    def release(self) -> None:
        if self.lock is not None:
            self.lock.execute("ROLLBACK")
            self.lock.close()
            self.lock = None

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.release()
            self.spool.close()
            self.clock.stop()
            shutil.rmtree(self.directory)


SpoolWalk.TestCase.settings = settings(
    max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSpoolWalk = SpoolWalk.TestCase
