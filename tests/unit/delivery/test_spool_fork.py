"""A forked child has its own spool and courier over the same file, and never resends what the parent queued."""

from __future__ import annotations

import os
import sqlite3
import traceback
from typing import TYPE_CHECKING

import pytest

from otel_llm.contracts import Batch, Retry
from otel_llm.delivery.courier import Courier
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_types import Appended, SpoolSettings
from tests.crash.kit import Sink, batch_of, counts, ids_in, new_ids

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
BIG = 10 * 1024 * 1024


def in_child(work: Callable[[], None]) -> None:
    """Run `work` in a forked child that ends with `os._exit`; fail if it raised."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert status == 0, "the child failed; see its traceback above"


def open_spool(directory: Path, **settings: object) -> Spool:
    """A spool with one backend."""
    spool = Spool(directory, SpoolSettings(**settings))  # type: ignore[arg-type]
    spool.register(["sink"])
    return spool


def drain(spool: Spool) -> list[str]:
    """Take and settle everything; the ids in order."""
    found = []
    while (parcel := spool.take("sink", BIG)) is not None:
        found += ids_in(parcel.batch)
        assert spool.settle("sink", parcel)
    return found


def test_the_childs_batches_are_on_disk_when_it_exits(tmp_path: Path) -> None:
    """What a child appended survives its `os._exit`, beside what the parent appended before and after."""
    spool = open_spool(tmp_path / "s")
    before, inside, after = new_ids(1), new_ids(1), new_ids(1)
    spool.append(batch_of(before))

    def child() -> None:
        assert spool.append(batch_of(inside)) is Appended.DISK

    in_child(child)
    assert spool.append(batch_of(after)) is Appended.DISK
    assert drain(spool) == before + inside + after
    spool.close()


def test_a_living_child_keeps_the_log_from_being_deleted(tmp_path: Path) -> None:
    """The parent closes the file, which would delete its log if the child were not counted as a user of it."""
    spool = open_spool(tmp_path / "s")
    spool.append(batch_of(1))
    ids = new_ids(2)
    to_child, to_parent = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        spool.append(batch_of(ids[:1]))
        os.write(to_parent[1], b"1")
        os.read(to_child[0], 1)
        spool.append(batch_of(ids[1:]))
        os._exit(0)
    os.read(to_parent[0], 1)
    spool.append(batch_of(1))
    spool.close()
    os.write(to_child[1], b"1")
    assert os.waitpid(pid, 0)[1] == 0
    assert [i for i in drain(open_spool(tmp_path / "s")) if i in ids] == ids


def test_what_the_parent_has_in_memory_stays_the_parents(tmp_path: Path) -> None:
    """A child begins with an empty memory, so nothing is delivered twice."""
    spool = open_spool(tmp_path / "s", mode="off")
    spool.append(batch_of(3))

    def child() -> None:
        assert spool.take("sink", BIG) is None
        assert counts(spool.report()) == (0, 0, 0, {}, {})

    in_child(child)
    assert len(drain(spool)) == 3


def test_a_fork_past_the_hooks_costs_only_durability(tmp_path: Path) -> None:
    """A child that was forked in C, with SQLite's state inherited, leaves the file alone and says so."""
    spool = open_spool(tmp_path / "s")
    spool.append(batch_of(1))
    inherited = spool._log

    def child() -> None:
        spool._log = inherited  # as if `before_fork` had not run
        spool.after_fork_in_child()
        assert spool.append(batch_of(2)) is Appended.MEMORY
        assert "fork" in spool.report().degraded
        assert len(drain(spool)) == 2

    in_child(child)
    assert len(drain(spool)) == 1


class Counting(Sink):
    """A sink that writes what it takes to a pipe, and counts how often it was told of a fork."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.forks = 0

    def send(self, batch: Batch, *, timeout: float) -> object:  # type: ignore[override]
        outcome = super().send(batch, timeout=timeout)
        if not isinstance(outcome, Retry):
            os.write(self.descriptor, "".join(f"{i}\n" for i in ids_in(batch)).encode())
        return outcome

    def reset_after_fork(self) -> None:
        self.forks += 1


def test_parent_and_child_deliver_everything_once(tmp_path: Path) -> None:
    """A parent that is delivering forks three times; every span of all four arrives exactly once."""
    reader, writer = os.pipe()
    spool = Spool(tmp_path / "s")
    sink = Counting(writer)
    courier = Courier(spool, {"sink": sink})
    ids = new_ids(40)
    for span_id in ids[:10]:
        spool.append(batch_of([span_id]))
        courier.notify()

    def child(share: list[str]) -> None:
        assert sink.forks == 1
        for span_id in share:
            spool.append(batch_of([span_id]))
            courier.notify()
        assert courier.flush(60.0).complete
        courier.shutdown(5.0)

    for number in (1, 2, 3):
        in_child(lambda number=number: child(ids[number * 10 : number * 10 + 10]))
    assert courier.flush(60.0).complete
    courier.shutdown(5.0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert sorted(pipe.read().split()) == sorted(ids)
    assert counts(open_spool(tmp_path / "s").report()) == (40, 40, 0, {}, {})


def test_a_fork_storm_leaves_a_sound_file(tmp_path: Path) -> None:
    """Sixty children append while the parent appends too: all of it is there, and SQLite finds the file sound."""
    spool = open_spool(tmp_path / "s", lock_timeout=10.0)
    ids = new_ids(120)
    children = []
    for number in range(60):
        spool.append(batch_of([ids[number]]))
        pid = os.fork()
        if pid == 0:
            answer = spool.append(batch_of([ids[60 + number]]))
            os._exit(0 if answer is Appended.DISK else 1)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 60
    assert sorted(drain(spool)) == sorted(ids)
    spool.close()
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
