"""Named disasters of the disk and the system, each with what was injected and what was counted."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from otel_llm.contracts import Retry
from otel_llm.delivery.courier import Courier
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_types import Appended, SpoolSettings
from tests.crash.kit import Sink, batch_of, counts, new_ids, wait_until
from tests.crash.receiver import HttpBackend, Receiver
from tests.fakes.http_server import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.crash.disaster_table import Verdict

DOWN = Retry("Connection refused.", "refused")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def mounted(directory: Path, *options: str) -> None:
    """Mount a small file system in memory there, or skip the test where that is not permitted."""
    directory.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(directory)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting is not permitted here")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    mounted(tmp_path / "disk", "-o", "size=4m")
    yield tmp_path / "disk"
    subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


def test_a_disk_too_small_for_a_spool_is_said_to_be_full(tmp_path: Path) -> None:
    """Where not even the tables fit, the cause is the disk, and spans wait in memory."""
    mounted(tmp_path / "disk", "-o", "size=40k")
    try:
        spool = Spool(tmp_path / "disk" / "spool")
        spool.register(["sink"])
        assert spool.append(batch_of(1)) is Appended.MEMORY
        assert "full" in spool.report().degraded
        spool.close()
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


def fill(disk: Path) -> Path:
    """Write a file until the disk is full."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def shown(verdict: Verdict, row: int, injected: str, ids: list[str], sink: Sink, spool: Spool) -> None:
    """Record the row, and check that nothing was lost or doubled and the books balance."""
    lost = set(ids) - set(sink.ids)
    duplicates = len(sink.ids) - len(set(sink.ids))
    verdict(row, injected, created=len(ids), delivered=len(set(sink.ids)), duplicates=duplicates, lost=len(lost))
    assert not lost
    assert duplicates == 0
    assert counts(spool.report()) == (len(ids), len(ids), 0, {}, {})


def test_the_disk_is_full_before_we_begin(small_disk: Path, verdict: Verdict, caplog: pytest.LogCaptureFixture) -> None:
    """On a full disk batches wait in memory, with one warning; with room again they are written by themselves."""
    ballast = fill(small_disk)
    spool, sink = Spool(small_disk / "s"), Sink()
    courier = Courier(spool, {"sink": sink})
    sink.down = DOWN
    ids = new_ids(20)
    with caplog.at_level(logging.WARNING, logger="otel_llm.delivery.spool"):
        for span_id in ids:
            assert spool.append(batch_of([span_id], size=5000)) is Appended.MEMORY
            courier.notify()
    # the courier has a line of its own on the backend that is down, sooner or later
    assert [record.name for record in caplog.records].count("otel_llm.delivery.spool") == 1
    assert "full" in spool.report().degraded or "No space" in spool.report().degraded
    ballast.unlink()
    assert wait_until(lambda: not spool.report().degraded and not spool.report().memory_bytes)
    sink.down = None
    assert courier.flush(60.0).complete
    shown(verdict, 5, "ENOSPC before the start, then room", ids, sink, spool)
    courier.shutdown(1.0)


def test_the_disk_fills_up_while_we_write(small_disk: Path, verdict: Verdict) -> None:
    """The disk fills during an outage: batches overflow to memory, and all are delivered when the backend is back."""
    spool, sink = Spool(small_disk / "s", SpoolSettings(free_disk_share=1.0, compress_above=1 << 40)), Sink()
    courier = Courier(spool, {"sink": sink})
    sink.down = DOWN
    (small_disk / "half").write_bytes(os.urandom(1_500_000))
    ids = new_ids(60)
    answers = set()
    for span_id in ids:
        with_room = spool.append(batch_of([span_id], size=60_000))
        answers.add(with_room)
        courier.notify()
    assert answers >= {Appended.DISK}
    report = spool.report()
    dropped = sum(report.backends["sink"].ledger.dropped.values())
    sink.down = None
    (small_disk / "half").unlink()
    assert courier.flush(60.0).complete
    created, delivered, waiting, _, drops = counts(spool.report())
    verdict(
        5,
        "ENOSPC while writing in an outage",
        created=len(ids),
        delivered=len(set(sink.ids)),
        duplicates=len(sink.ids) - len(set(sink.ids)),
        counted=sum(drops.values()),
        lost=len(ids) - len(set(sink.ids)) - sum(drops.values()),
        varies=True,
    )
    assert (created, waiting) == (60, 0)
    assert delivered == len(set(sink.ids)) == len(sink.ids)
    assert delivered + sum(drops.values()) == 60
    assert sum(drops.values()) >= dropped
    courier.shutdown(1.0)


def test_a_small_disk_is_left_to_others(tmp_path: Path, verdict: Verdict) -> None:
    """On a disk of 16 MB a backlog of 20 MB takes a tenth and a little more; the oldest go, counted."""
    mounted(tmp_path / "disk", "-o", "size=16m")
    try:
        spool, sink = Spool(tmp_path / "disk" / "s"), Sink()
        courier = Courier(spool, {"sink": sink})
        sink.down = DOWN
        ids, most = new_ids(400), 0
        for span_id in ids:
            assert spool.append(batch_of([span_id], size=50_000)) is Appended.DISK
            courier.notify()
            most = max(most, sum(path.stat().st_size for path in spool.directory.iterdir()))
        assert most < 4_000_000
        sink.down = None
        assert courier.flush(60.0).complete
        _, delivered, waiting, _, dropped = counts(spool.report())
        assert (set(dropped), waiting) == ({"spool_full"}, 0)
        assert len(set(sink.ids)) == len(sink.ids) == delivered
        assert set(ids[-20:]) <= set(sink.ids), "the newest are kept"
        verdict(
            25,
            "a backlog of 20 MB on a disk of 16 MB",
            created=400,
            delivered=delivered,
            counted=dropped["spool_full"],
            lost=400 - len(sink.ids) - dropped["spool_full"],
            varies=True,
        )
        courier.shutdown(1.0)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


def test_the_disk_is_full_when_a_delivery_is_recorded(small_disk: Path, verdict: Verdict) -> None:
    """With not a byte left on the disk the backlog is still delivered, and each batch once."""
    spool, sink = Spool(small_disk / "s", SpoolSettings(free_disk_share=1.0)), Sink()
    courier = Courier(spool, {"sink": sink})
    ids = new_ids(30)
    for span_id in ids:
        assert spool.append(batch_of([span_id], size=20_000)) is Appended.DISK
    ballast = fill(small_disk)
    courier.notify()
    assert wait_until(lambda: set(sink.ids) == set(ids))
    ballast.unlink()
    assert courier.flush(60.0).complete
    shown(verdict, 5, "ENOSPC while settling", ids, sink, spool)
    courier.shutdown(1.0)


def test_a_read_only_disk(tmp_path: Path, verdict: Verdict, caplog: pytest.LogCaptureFixture) -> None:
    """On a read-only file system spans go from memory to the backend, with one warning; writable again, to disk."""
    mounted(tmp_path / "disk", "-o", "size=8m")
    try:
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)
        spool, sink = Spool(tmp_path / "disk" / "s"), Sink()
        courier = Courier(spool, {"sink": sink})
        ids = new_ids(10)
        with caplog.at_level(logging.WARNING, logger="otel_llm.delivery.spool"):
            for span_id in ids[:5]:
                assert spool.append(batch_of([span_id])) is Appended.MEMORY
                courier.notify()
            assert courier.flush(60.0).complete
        assert sink.ids == ids[:5]
        assert [record.name for record in caplog.records].count("otel_llm.delivery.spool") == 1
        assert "Read-only" in spool.report().degraded
        subprocess.run(["mount", "-o", "remount,rw", str(tmp_path / "disk")], check=True)
        spool._retry_at = float("-inf")
        for span_id in ids[5:]:
            assert spool.append(batch_of([span_id])) is Appended.DISK
        assert spool.report().degraded == ""
        assert courier.flush(60.0).complete
        shown(verdict, 8, "EROFS, then writable", ids, sink, spool)
        courier.shutdown(1.0)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "disk")], check=True)


def test_a_limit_on_the_size_of_files(tmp_path: Path, verdict: Verdict) -> None:
    """RLIMIT_FSIZE strikes in the middle of writing: nothing raises, and all of it is delivered or counted."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            spool, sink = Spool(tmp_path / "s"), Sink()
            courier = Courier(spool, {"sink": sink})
            sink.down = DOWN
            for span_id in new_ids(50):
                spool.append(batch_of([span_id], size=20_000))
                courier.notify()
            sink.down = None
            complete = courier.flush(60.0).complete
            created, delivered, waiting, _, dropped = counts(spool.report())
            told = [complete, created, delivered, waiting, len(dropped), len(set(sink.ids)), len(sink.ids)]
            os.write(writer, " ".join(str(int(number)) for number in told).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        complete, created, delivered, waiting, reasons, arrived, arrivals = map(int, pipe.read().split())
    assert os.waitpid(pid, 0)[1] == 0
    verdict(
        5,
        "RLIMIT_FSIZE of 300 kB in an outage",
        created=50,
        delivered=arrived,
        duplicates=arrivals - arrived,
        lost=50 - arrived,
    )
    assert (complete, created, delivered, waiting, reasons, arrived, arrivals) == (1, 50, 50, 0, 0, 50, 50)


def test_memory_is_bounded_when_neither_disk_nor_backend_work(tmp_path: Path, verdict: Verdict) -> None:
    """With no disk and no backend memory holds its bytes, the oldest go, each counted."""
    (tmp_path / "s").write_text("in the way")
    spool, sink = Spool(tmp_path / "s", SpoolSettings(memory_bytes=1_000_000)), Sink()
    courier = Courier(spool, {"sink": sink})
    sink.down = DOWN
    ids = new_ids(2000)
    for span_id in ids:
        spool.append(batch_of([span_id], size=5000))
        courier.notify()
    assert spool.report().memory_bytes <= 1_000_000 + 6000
    sink.down = None
    assert courier.flush(60.0).complete
    created, delivered, waiting, _, dropped = counts(spool.report())
    verdict(
        25,
        "no disk, no backend, memory full",
        created=2000,
        delivered=len(set(sink.ids)),
        duplicates=len(sink.ids) - len(set(sink.ids)),
        counted=dropped["memory_full"],
        lost=2000 - len(set(sink.ids)) - dropped["memory_full"],
    )
    assert (created, waiting) == (2000, 0)
    assert delivered == len(sink.ids) == len(set(sink.ids)) == 2000 - dropped["memory_full"]
    assert sink.ids == ids[-delivered:]
    courier.shutdown(1.0)


@pytest.mark.parametrize(
    ("injected", "reply"),
    [
        ("answer 200, then reset", Reply(200, body=b"x" * 1000, reset=True)),
        ("503 in answer to everything, 3 times", Reply(503)),
        ("closed without a word", Reply(200, close=True)),
    ],
)
def test_a_backend_that_takes_and_does_not_say_so(
    tmp_path: Path, verdict: Verdict, injected: str, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend may have kept what it did not answer for: it is sent again with the same ids, and nothing is lost."""
    monkeypatch.setattr("otel_llm.delivery.courier_backoff.Backoff.seconds_after", lambda self, retry: 0.01)
    replies = [reply] * 3
    lock = threading.Lock()

    def next_reply() -> Reply:
        with lock:
            return replies.pop() if replies else Reply()

    with Receiver() as receiver:
        receiver.reply = next_reply
        spool = Spool(tmp_path / "s")
        courier = Courier(spool, {"sink": HttpBackend(receiver.url)})
        ids = new_ids(30)
        for start in range(0, 30, 3):
            spool.append(batch_of(ids[start : start + 3]))
            courier.notify()
        assert courier.flush(60.0).complete
        lost = set(ids) - set(receiver.times)
        verdict(
            17,
            injected,
            created=30,
            delivered=len(receiver.times),
            duplicates=receiver.duplicates(),
            lost=len(lost),
            varies=True,
        )
        assert not lost
        assert set(receiver.times) == set(ids)
        assert counts(spool.report()) == (30, 30, 0, {}, {})
        courier.shutdown(1.0)


def test_a_directory_full_of_foreign_files(tmp_path: Path, verdict: Verdict) -> None:
    """Ten thousand files that are not ours lie in the directory: they stay, and all is delivered."""
    directory = tmp_path / "s"
    directory.mkdir(0o700)
    for number in range(10_000):
        (directory / f"corrupt-{number}.txt").touch()
    spool, sink = Spool(directory), Sink()
    courier = Courier(spool, {"sink": sink})
    ids = new_ids(10)
    spool.append(batch_of(ids))
    courier.notify()
    assert courier.flush(60.0).complete
    shown(verdict, 6, "10,000 foreign files", ids, sink, spool)
    courier.shutdown(1.0)
    assert sum(path.suffix == ".txt" for path in directory.iterdir()) == 10_000


def damage_delete(directory: Path) -> None:
    """Remove the whole directory."""
    shutil.rmtree(directory)


def damage_noise(directory: Path) -> None:
    """Overwrite the beginning of the file with noise, and lose the log."""
    with (directory / "spool.db").open("r+b") as file:
        file.write(os.urandom(20_000))
    (directory / "spool.db-wal").write_bytes(b"")


def damage_rename(directory: Path) -> None:
    """Rename the file, as an operator might."""
    (directory / "spool.db").rename(directory / "old.db")


@pytest.mark.parametrize(
    ("injected", "damage"),
    [
        ("rm -rf of a spool in use", damage_delete),
        ("noise over a spool in use", damage_noise),
        ("rename of a spool in use", damage_rename),
    ],
)
def test_the_file_is_harmed_while_in_use(
    tmp_path: Path, verdict: Verdict, injected: str, damage: Callable[[Path], None]
) -> None:
    """Whatever happens to the file, what is appended afterwards is delivered, and the process goes on."""
    spool, sink = Spool(tmp_path / "s"), Sink()
    courier = Courier(spool, {"sink": sink})
    sink.down = DOWN
    before, after = new_ids(10), new_ids(10)
    for span_id in before:
        spool.append(batch_of([span_id]))
    damage(tmp_path / "s")
    for span_id in after:
        spool.append(batch_of([span_id]))
        courier.notify()
    sink.down = None
    assert courier.flush(60.0).complete
    lost = set(before + after) - set(sink.ids)
    verdict(
        6,
        injected,
        created=20,
        delivered=len(set(sink.ids)),
        duplicates=len(sink.ids) - len(set(sink.ids)),
        lost=len(lost),
        varies=True,
    )
    assert not lost & set(after)
    assert len(sink.ids) == len(set(sink.ids))
    if damage is not damage_noise:
        assert not lost
    courier.shutdown(1.0)


def half_gone(log: Path) -> None:
    """The file ends in the middle."""
    os.truncate(log, log.stat().st_size // 2)


def bit_flipped(log: Path) -> None:
    """One bit of one batch is another."""
    with log.open("r+b") as file:
        content = file.read()
        file.seek(content.index(b"xxxx", len(content) // 2))
        file.write(b"y")


def zeros(log: Path) -> None:
    """The size is right, and there is nothing in it."""
    log.write_bytes(bytes(log.stat().st_size))


def head_gone(log: Path) -> None:
    """The first page, which says what the file is, is zeros."""
    with log.open("r+b") as file:
        file.write(bytes(8192))


def foreign(log: Path) -> None:
    """Somebody else's file has the name."""
    log.write_text("these are my notes\n" * 100)


def linked(log: Path) -> None:
    """A link to a file of somebody's."""
    log.rename(log.with_name("elsewhere"))
    log.symlink_to(log.with_name("elsewhere"))


def fifo(log: Path) -> None:
    """A pipe, whose opening would wait for a writer for ever."""
    log.unlink()
    os.mkfifo(log)


@pytest.mark.parametrize("damage", [half_gone, bit_flipped, zeros, head_gone, foreign, linked, fifo])
def test_a_spool_that_is_no_longer_what_it_was(
    tmp_path: Path, verdict: Verdict, damage: Callable[[Path], None]
) -> None:
    """Whatever the next start finds in the file's place: it begins, sends only true spans, and loses no new one."""
    before, after = new_ids(20), new_ids(10)
    with_backlog = Spool(tmp_path / "s")
    with_backlog.register(["sink"])
    for span_id in before:
        with_backlog.append(batch_of([span_id], size=5000))
    with_backlog.close()
    damage(tmp_path / "s" / "spool.db")
    spool, sink = Spool(tmp_path / "s"), Sink()
    courier = Courier(spool, {"sink": sink})
    for span_id in after:
        spool.append(batch_of([span_id]))
        courier.notify()
    assert courier.flush(60.0).complete
    assert wait_until(lambda: not spool.report().backends["sink"].ledger.waiting)
    _, delivered, waiting, rejected, dropped = counts(spool.report())
    assert set(after) <= set(sink.ids) <= {*before, *after}
    assert len(sink.ids) == len(set(sink.ids)) == delivered
    assert (waiting, rejected) == (0, {})
    assert set(dropped) <= {"corrupt"}
    counted = sum(dropped.values())
    said = " ".join((damage.__doc__ or "").split())
    verdict(
        6,
        f"20 spans wait, then: {said[0].lower()}{said[1:].rstrip('.')}",
        created=30,
        delivered=delivered,
        counted=counted,
        lost=30 - delivered - counted,
    )
    courier.shutdown(1.0)


def test_a_damaged_file_on_a_full_disk(small_disk: Path, verdict: Verdict) -> None:
    """No new file can be made: spans wait in memory; with room again those in the damaged one are saved too."""
    before, after = new_ids(20), new_ids(10)
    with_backlog = Spool(small_disk / "s")
    with_backlog.register(["sink"])
    for span_id in before:
        with_backlog.append(batch_of([span_id], size=5000))
    with_backlog.close()
    head_gone(small_disk / "s" / "spool.db")
    ballast = fill(small_disk)
    spool, sink = Spool(small_disk / "s"), Sink()
    courier = Courier(spool, {"sink": sink})
    for span_id in after:
        assert spool.append(batch_of([span_id])) is Appended.MEMORY
        courier.notify()
    assert courier.flush(60.0).complete
    assert set(sink.ids) == set(after)
    ballast.unlink()
    spool.append(batch_of(last := new_ids(1)))
    courier.notify()
    assert wait_until(lambda: set(sink.ids) == {*before, *after, *last})
    assert courier.flush(60.0).complete
    shown(verdict, 5, "ENOSPC while a damaged file is set aside, then room", [*before, *after, *last], sink, spool)
    courier.shutdown(1.0)


def test_a_downgrade_and_an_upgrade_again(tmp_path: Path, verdict: Verdict) -> None:
    """A spool of a newer version is laid aside untouched, and delivers all that waits in it when it is put back."""
    old, between = new_ids(20), new_ids(10)
    newer = Spool(tmp_path / "s")
    newer.register(["sink"])
    newer.append(batch_of(old))
    newer.close()
    log = tmp_path / "s" / "spool.db"
    _set_version(log, 99)
    spool, sink = Spool(tmp_path / "s"), Sink()
    courier = Courier(spool, {"sink": sink})
    assert spool.append(batch_of(between)) is Appended.DISK
    courier.notify()
    assert courier.flush(60.0).complete
    assert sink.ids == between
    courier.shutdown(1.0)
    (kept,) = (tmp_path / "s").glob("unknown-*.db")
    log.unlink()
    kept.rename(log)
    _set_version(log, 1)
    upgraded = Courier(Spool(tmp_path / "s"), {"sink": sink})
    assert upgraded.drain(60.0).complete
    upgraded.shutdown(1.0)
    assert sorted(sink.ids) == sorted([*old, *between])
    verdict(33, "20 spans wait in a spool of a newer version; put back later", created=30, delivered=len(sink.ids))


def _set_version(log: Path, version: int) -> None:
    connection = sqlite3.connect(log, isolation_level=None)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()


def test_another_program_holds_the_lock_for_long(tmp_path: Path, verdict: Verdict) -> None:
    """A stranger holds the database's write lock during an outage: nothing waits for it, nothing is lost."""
    spool, sink = Spool(tmp_path / "s"), Sink()
    courier = Courier(spool, {"sink": sink})
    sink.down = DOWN
    ids = new_ids(20)
    spool.append(batch_of(ids[:1]))
    stranger = sqlite3.connect(tmp_path / "s" / "spool.db", isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    for span_id in ids[1:]:
        assert spool.append(batch_of([span_id])) is Appended.MEMORY
        courier.notify()
    stranger.execute("ROLLBACK")
    stranger.close()
    sink.down = None
    assert courier.flush(60.0).complete
    shown(verdict, 34, "write lock held by another program", ids, sink, spool)
    assert sink.ids == ids
    courier.shutdown(1.0)
