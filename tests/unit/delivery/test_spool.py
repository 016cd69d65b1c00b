"""The spool keeps what it was given, in order, for each backend, within its caps, and counts everything."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING

import pytest

from otel_llm.contracts import Batch, Rejection
from otel_llm.delivery import spool_room
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_types import Appended, Failure, Reject, SpoolSettings
from tests.crash.kit import batch_of, counts, ids_in, new_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BIG = 10 * 1024 * 1024


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Spool]]:
    """A maker of spools in one directory, closed afterwards."""
    made: list[Spool] = []

    def build(*backends: str, **settings: object) -> Spool:
        spool = Spool(tmp_path / "spool", SpoolSettings(**settings))  # type: ignore[arg-type]
        spool.register(backends or ("sink",))
        made.append(spool)
        return spool

    yield build
    for spool in made:
        spool.close()


def drain(spool: Spool, backend: str = "sink") -> list[str]:
    """Take and settle everything for `backend`; the span ids in the order they came."""
    found = []
    while (parcel := spool.take(backend, BIG)) is not None:
        found += ids_in(parcel.batch)
        assert spool.settle(backend, parcel)
    return found


def test_gives_back_what_it_was_given(make: Callable[..., Spool]) -> None:
    """A batch comes out with the same bytes, id, time and number of spans."""
    spool, batch = make(), batch_of(3)
    assert spool.append(batch) is Appended.DISK
    parcel = spool.take("sink", BIG)
    assert parcel is not None
    assert parcel.batch == batch


def test_puts_batches_together_up_to_a_size(make: Callable[..., Spool]) -> None:
    """What waits is merged in order up to the asked size, and at least one batch is given, however large."""
    spool = make()
    groups = [new_ids(2) for _ in range(5)]
    for group in groups:
        spool.append(batch_of(group, size=1000))
    first = spool.take("sink", 5000)
    assert first is not None
    assert ids_in(first.batch) == groups[0] + groups[1]
    assert first.batch.span_count == 4
    spool.settle("sink", first)
    second = spool.take("sink", 1)
    assert second is not None
    assert ids_in(second.batch) == groups[2]


def test_what_was_appended_survives_the_object(make: Callable[..., Spool]) -> None:
    """A second spool on the directory finds what the first one left, in order, without the first being closed."""
    groups = [new_ids(2) for _ in range(4)]
    first = make()
    for group in groups:
        first.append(batch_of(group))
    assert drain(make()) == [i for group in groups for i in group]


def test_each_backend_has_its_own_pace(make: Callable[..., Spool]) -> None:
    """One backend's answers leave the other's batches waiting, and the file is emptied when both are done."""
    spool = make("quick", "slow")
    ids = new_ids(3)
    for span_id in ids:
        spool.append(batch_of([span_id]))
    assert drain(spool, "quick") == ids
    assert counts(spool.report(), "slow")[:3] == (3, 0, 3)
    assert drain(spool, "slow") == ids
    with sqlite3.connect(spool.directory / "spool.db") as file:
        assert file.execute("SELECT count(*) FROM batches").fetchone() == (0,)


def test_rejects_are_counted_and_kept(make: Callable[..., Spool]) -> None:
    """Rejected spans are counted by reason, and kept in quarantine with the backend's words."""
    spool, batch = make(), batch_of(4)
    spool.append(batch)
    parcel = spool.take("sink", BIG)
    assert parcel is not None
    single = batch_of(1)
    spool.settle("sink", parcel, [Reject(Rejection("00", "invalid", "no such project"), single)])
    assert counts(spool.report()) == (4, 3, 0, {"invalid": 1}, {})
    [entry] = spool.quarantined()
    assert (entry.backend, entry.reason, entry.detail, entry.payload) == (
        "sink",
        "invalid",
        "no such project",
        single.payload,
    )


def test_quarantine_is_bounded(make: Callable[..., Spool]) -> None:
    """Quarantine keeps the newest spans within its bytes."""
    spool = make(quarantine_bytes=5000)
    for number in range(10):
        spool.append(batch_of(1))
        parcel = spool.take("sink", BIG)
        assert parcel is not None
        spool.settle("sink", parcel, [Reject(Rejection("", "invalid", str(number)), batch_of(1, size=1000))])
    kept = spool.quarantined()
    assert [entry.detail for entry in kept] == ["6", "7", "8", "9"]
    assert counts(spool.report())[3] == {"invalid": 10}


def test_full_spool_drops_the_oldest(make: Callable[..., Spool]) -> None:
    """Over its bytes the spool drops the oldest batches, counts them for each backend, and keeps the newest."""
    spool = make("a", "b", max_bytes=1024 * 1024)
    groups = [new_ids(4) for _ in range(60)]
    for group in groups:
        assert spool.append(batch_of(group, size=10_000)) is Appended.DISK
    report = spool.report()
    assert report.stored_bytes <= 1024 * 1024
    for backend in ("a", "b"):
        left = drain(spool, backend)
        assert left == [i for group in groups for i in group][-len(left) :]
        assert counts(spool.report(), backend) == (240, len(left), 0, {}, {"spool_full": 240 - len(left)})
        assert len(left) > 40


def test_a_batch_larger_than_the_spool_is_dropped(make: Callable[..., Spool]) -> None:
    """What can never fit is dropped and counted."""
    spool = make(max_bytes=512 * 1024)
    assert spool.append(batch_of(2, size=400_000)) is Appended.DROPPED
    assert counts(spool.report()) == (2, 0, 0, {}, {"spool_full": 2})


def test_a_share_of_the_free_disk_is_a_cap_too(make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk with little room the share of it holds, not the configured bytes."""
    monkeypatch.setattr(spool_room, "free_bytes", lambda directory: 4 * 1024 * 1024)
    spool = make(free_disk_share=0.25)
    for _ in range(60):
        spool.append(batch_of(4, size=10_000))
    report = spool.report()
    assert report.capacity_bytes < 2 * 1024 * 1024
    assert report.stored_bytes <= report.capacity_bytes
    assert report.backends["sink"].ledger.dropped["spool_full"] > 0


def test_what_is_too_old_is_dropped(make: Callable[..., Spool]) -> None:
    """Past its age a batch is dropped and counted as expired; a younger one stays."""
    spool = make(max_age=3600.0)
    spool.append(batch_of(2))
    spool.append(batch_of(1))
    with sqlite3.connect(spool.directory / "spool.db") as file:
        file.execute("UPDATE batches SET created_at = created_at - 7200, uptime = uptime - 7200 WHERE spans = 2")
    spool.tend()
    assert counts(spool.report()) == (3, 0, 1, {}, {"expired": 2})


@pytest.mark.parametrize("jump", [-3600.0, 10 * 365 * 86400.0])
def test_a_jump_of_the_clock_expires_nothing(
    make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """The wall clock goes an hour back or ten years ahead: everything is still delivered."""
    spool = make()
    ids = new_ids(5)
    for span_id in ids:
        spool.append(batch_of([span_id]))
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    spool.tend()
    assert drain(spool) == ids
    assert counts(spool.report()) == (5, 5, 0, {}, {})


def test_a_batch_dropped_on_its_way_and_then_answered_for_is_delivered(make: Callable[..., Spool]) -> None:
    """The oldest batch is dropped for room while it is being sent; the answer corrects the count."""
    spool = make(max_bytes=1024 * 1024)
    spool.append(batch_of(1))
    on_its_way = spool.take("sink", BIG)
    assert on_its_way is not None
    for _ in range(60):
        spool.append(batch_of(1, size=40_000))
    dropped = spool.report().backends["sink"].ledger.dropped["spool_full"]
    spool.settle("sink", on_its_way)
    created, delivered, waiting, _, now_dropped = counts(spool.report())
    assert (created, delivered, now_dropped) == (61, 1, {"spool_full": dropped - 1})
    assert waiting == len(drain(spool))


def test_a_large_backlog_is_compressed(make: Callable[..., Spool]) -> None:
    """Above the threshold batches take less room, and come out the same."""
    spool = make(compress_above=0)
    batches = [batch_of(4, size=50_000) for _ in range(10)]
    for batch in batches:
        spool.append(batch)
    assert spool.report().stored_bytes < 500_000
    parcel = spool.take("sink", 1)
    assert parcel is not None
    assert parcel.batch == batches[0]


def test_delivered_batches_can_be_kept_and_replayed(make: Callable[..., Spool]) -> None:
    """With `keep_delivered`, a backend added later can be filled; only the asked period is sent."""
    spool = make(keep_delivered=3600.0)
    early, late = batch_of(2), batch_of(3)
    late = Batch(late.payload, late.span_count, created_at=early.created_at + 100)
    spool.append(early)
    spool.append(late)
    drain(spool)
    assert spool.replay("new", since=early.created_at + 50) == 3
    assert drain(spool, "new") == ids_in(late)
    assert spool.replay("new") == 5
    assert counts(spool.report(), "new") == (8, 3, 5, {}, {})


def test_kept_batches_make_room_first(make: Callable[..., Spool]) -> None:
    """Delivered batches that are kept go before anything that still waits."""
    spool = make(keep_delivered=3600.0, max_bytes=1024 * 1024)
    for _ in range(10):
        spool.append(batch_of(1, size=50_000))
    drain(spool)
    for _ in range(10):
        spool.append(batch_of(1, size=50_000))
    assert counts(spool.report()) == (20, 10, 10, {}, {})


def test_rejected_spans_can_be_replayed(make: Callable[..., Spool]) -> None:
    """What a backend rejected leaves quarantine and waits for it again when asked."""
    spool, single = make(), batch_of(1)
    spool.append(batch_of(2))
    parcel = spool.take("sink", BIG)
    assert parcel is not None
    spool.settle("sink", parcel, [Reject(Rejection("", "invalid", ""), single)])
    assert spool.replay("sink", quarantined=True) == 1
    assert drain(spool) == ids_in(single)
    assert spool.quarantined() == []


def test_a_backend_that_is_gone_can_be_forgotten(make: Callable[..., Spool]) -> None:
    """Batches of a backend that is configured no more are dropped, counted, when asked."""
    spool = make("old", "new")
    spool.append(batch_of(2))
    spool.forget("old")
    assert counts(spool.report(), "old") == (2, 0, 0, {}, {"backend_removed": 2})
    assert counts(spool.report(), "new") == (2, 0, 2, {}, {})


def test_batches_go_to_the_backends_of_their_time(make: Callable[..., Spool]) -> None:
    """A batch waits for the backends that were configured when it was made, not for later ones."""
    make("first").append(batch_of(1))
    spool = make("second")
    spool.append(batch_of(1))
    assert len(drain(spool, "second")) == 1
    assert len(drain(spool, "first")) == 1


def test_a_failure_is_seen_from_outside_until_it_is_over(make: Callable[..., Spool]) -> None:
    """Why a backend takes nothing is on disk, for another process to read, until the next answer."""
    spool = make()
    spool.append(batch_of(1))
    failure = Failure("Connection refused.", "refused", needs_action=True, at=10.0, since=5.0)
    spool.note_failure("sink", failure)
    assert make().report().backends["sink"].failure == failure
    drain(spool)
    assert make().report().backends["sink"].failure is None
    assert make().report().backends["sink"].ledger.last_delivery is not None


def test_a_failure_is_known_without_a_disk(make: Callable[..., Spool], tmp_path: Path) -> None:
    """Where nothing can be written, the process itself remembers why a backend takes nothing, until it does."""
    (tmp_path / "taken").write_text("in the way")
    for spool in (make(mode="off"), Spool(tmp_path / "taken" / "s")):
        spool.register(["a"])
        assert spool.append(batch_of(2)) is Appended.MEMORY
        spool.note_failure("a", Failure("Refused. Start it.", "refused", at=5.0, since=4.0))
        failure = spool.report().backends["a"].failure
        assert failure is not None
        assert failure.reason == "refused"
        parcel = spool.take("a", 1 << 20)
        assert parcel is not None
        assert spool.settle("a", parcel)
        assert spool.report().backends["a"].failure is None


def test_a_held_lock_sends_batches_to_memory_and_then_to_disk(make: Callable[..., Spool]) -> None:
    """While another process holds the write lock, batches wait in memory; then they are written, in order."""
    spool = make()
    ids = new_ids(3)
    spool.append(batch_of(ids[:1]))
    other = sqlite3.connect(spool.directory / "spool.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert spool.append(batch_of(ids[1:2])) is Appended.MEMORY
    other.execute("ROLLBACK")
    other.close()
    assert spool.append(batch_of(ids[2:])) is Appended.DISK
    assert drain(make()) == ids
    assert counts(spool.report()) == (3, 3, 0, {}, {})
    assert spool.report().degraded == ""


def test_close_waits_for_who_holds_the_lock(make: Callable[..., Spool], caplog: pytest.LogCaptureFixture) -> None:
    """A process that has no time in the middle of its transaction costs the others that end meanwhile nothing."""
    spool = make()
    ids = new_ids(2)
    spool.append(batch_of(ids[:1]))
    other = sqlite3.connect(spool.directory / "spool.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    assert spool.append(batch_of(ids[1:])) is Appended.MEMORY
    release = threading.Timer(2.0, lambda: other.execute("ROLLBACK"))
    release.start()
    spool.close()
    release.join()
    other.close()
    assert drain(make()) == ids
    assert not caplog.records


def test_overflow_keeps_batches_in_memory_until_memory_is_full(make: Callable[..., Spool]) -> None:
    """Under `overflow` nothing touches the disk before memory is full; then everything is there, in order."""
    spool = make(mode="overflow", memory_bytes=30_000)
    ids = new_ids(6)
    for span_id in ids[:2]:
        assert spool.append(batch_of([span_id], size=10_000)) is Appended.MEMORY
    assert not spool.directory.exists()
    for span_id in ids[2:]:
        spool.append(batch_of([span_id], size=10_000))
    assert drain(make()) == ids
    spool.tend()
    assert spool.append(batch_of(1)) is Appended.MEMORY


def test_overflow_writes_what_is_left_when_it_closes(make: Callable[..., Spool]) -> None:
    """Under `overflow` the end of the process puts what waits on disk."""
    spool = make(mode="overflow")
    ids = new_ids(2)
    spool.append(batch_of(ids))
    spool.close()
    assert drain(make()) == ids


def test_off_never_touches_the_disk_and_is_bounded(make: Callable[..., Spool]) -> None:
    """Under `off` batches live in memory, the oldest go when it is full, and the end counts what is lost."""
    spool = make(mode="off", memory_bytes=35_000)
    ids = new_ids(5)
    for span_id in ids:
        spool.append(batch_of([span_id], size=10_000))
    assert counts(spool.report()) == (5, 0, 3, {}, {"memory_full": 2})
    parcel = spool.take("sink", 1)
    assert parcel is not None
    assert ids_in(parcel.batch) == ids[2:3]
    spool.settle("sink", parcel)
    spool.close()
    assert counts(spool.report()) == (5, 1, 0, {}, {"memory_full": 2, "shutdown": 2})
    assert not spool.directory.exists()


def test_losses_before_the_spool_are_counted_with_the_rest(make: Callable[..., Spool]) -> None:
    """Spans that never became a batch are created and dropped, for every backend, also from outside."""
    spool = make("a", "b")
    spool.append(batch_of(1))
    spool.count_dropped(7, "queue_full")
    spool.tend()
    report = make("a", "b").report()
    assert counts(report, "a") == counts(report, "b") == (8, 0, 1, {}, {"queue_full": 7})


def test_pending_looks_at_this_process_and_up_to_the_mark(make: Callable[..., Spool]) -> None:
    """`pending` counts neither the spans of others nor those that came after the mark."""
    other, spool = make(), make()
    other.append(batch_of(5))
    spool.append(batch_of(2))
    mark = spool.mark()
    spool.append(batch_of(3))
    assert spool.pending(mark) == {"sink": 2}
    assert spool.pending() == {"sink": 5}
    drain(other)
    assert spool.pending() == {}


def test_an_append_from_a_signal_handler_does_not_hang(make: Callable[..., Spool]) -> None:
    """An append that interrupts another of the same thread goes to memory and is written by the next one."""
    spool = make()
    ids = new_ids(3)
    spool.append(batch_of(ids[:1]))
    with spool._using_log(1.0):
        assert spool.append(batch_of(ids[1:2])) is Appended.MEMORY
    spool.append(batch_of(ids[2:]))
    assert drain(spool) == ids


def test_many_threads_lose_nothing(make: Callable[..., Spool]) -> None:
    """Threads that append at the same time all find their spans delivered exactly once."""
    spool = make(lock_timeout=5.0)
    groups = [[new_ids(2) for _ in range(20)] for _ in range(8)]
    threads = [threading.Thread(target=lambda g=g: [spool.append(batch_of(ids)) for ids in g]) for g in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(drain(spool)) == sorted(i for group in groups for ids in group for i in ids)


def test_looking_makes_no_file(make: Callable[..., Spool]) -> None:
    """`report`, `take` and `quarantined` on a spool that was never used leave no trace on disk."""
    spool = make()
    assert spool.report().waiting == 0
    assert spool.take("sink", BIG) is None
    assert spool.quarantined() == []
    assert not spool.directory.exists()


def test_the_file_shrinks_after_an_outage(make: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a backlog is delivered, the disk space is given back."""
    monkeypatch.setattr("otel_llm.delivery.spool._SHRINK_ABOVE", 1024 * 1024)
    spool = make(compress_above=1 << 40)
    for _ in range(40):
        spool.append(batch_of(1, size=100_000))
    drain(spool)
    spool.tend()
    spool.close()
    assert (spool.directory / "spool.db").stat().st_size < 1024 * 1024
