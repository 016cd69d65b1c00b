"""A damaged file costs what cannot be read, counted, and nothing else."""

from __future__ import annotations

import logging
import os
import random
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest

from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_schema import PAGE_SIZE
from otel_llm.delivery.spool_types import Appended
from tests.crash.kit import batch_of, counts, ids_in, new_ids

if TYPE_CHECKING:
    from pathlib import Path

BIG = 10 * 1024 * 1024


def open_spool(directory: Path) -> Spool:
    """A spool with one backend."""
    spool = Spool(directory)
    spool.register(["sink"])
    return spool


def filled(directory: Path, batches: int = 30) -> list[str]:
    """Leave a closed spool with that many batches of two spans; the span ids in order."""
    spool = open_spool(directory)
    groups = [new_ids(2) for _ in range(batches)]
    for group in groups:
        assert spool.append(batch_of(group, size=3000)) is Appended.DISK
    spool.close()
    return [i for group in groups for i in group]


def drain(spool: Spool) -> list[str]:
    """Take and settle everything; a damaged file may need more than one try. The ids in order."""
    found: list[str] = []
    for _ in range(3):
        while (parcel := spool.take("sink", BIG)) is not None:
            if spool.settle("sink", parcel):
                found += ids_in(parcel.batch)
    return found


def check_books(spool: Spool, created: int, delivered: int) -> None:
    """Everything created is delivered or counted as dropped because it was corrupt."""
    lost = {"corrupt": created - delivered} if created != delivered else {}
    assert counts(spool.report()) == (created, delivered, 0, {}, lost)


def test_a_flipped_bit_in_a_payload_costs_that_batch(tmp_path: Path) -> None:
    """A batch whose checksum does not match is not sent; its bytes are kept, and it is counted."""
    ids = filled(tmp_path / "s")
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        seq, payload = file.execute("SELECT seq, payload FROM batches ORDER BY seq LIMIT 1 OFFSET 6").fetchone()
        broken = bytes([payload[0] ^ 1]) + payload[1:]
        file.execute("UPDATE batches SET payload = ? WHERE seq = ?", (broken, seq))
    spool = open_spool(tmp_path / "s")
    assert drain(spool) == ids[:12] + ids[14:]
    check_books(spool, 60, 58)
    assert [(q.reason, q.payload) for q in spool.quarantined()] == [("corrupt", broken)]
    assert spool.report().set_aside == 0
    spool.close()


@pytest.mark.parametrize("column", ["spans", "id", "created_at", "encoding", "crc"])
def test_a_changed_head_costs_that_batch(tmp_path: Path, column: str) -> None:
    """The checksum covers what stands beside the payload, and odd types do no harm."""
    ids = filled(tmp_path / "s", 3)
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        file.execute(f"UPDATE batches SET {column} = 'odd' WHERE seq = (SELECT min(seq) + 1 FROM batches)")
    spool = open_spool(tmp_path / "s")
    assert drain(spool) == ids[:2] + ids[4:]
    spool.close()


def test_random_damage_never_harms_and_never_sends_rubbish(tmp_path: Path) -> None:
    """Over 40 files with random flips, cuts and zeros: no exception, only true spans, new ones are kept."""
    chance = random.Random(20261122)
    ids = filled(tmp_path / "whole")
    whole = (tmp_path / "whole" / "spool.db").read_bytes()
    for number in range(40):
        directory = tmp_path / f"s{number}"
        shutil.copytree(tmp_path / "whole", directory)
        (directory / "spool.db").write_bytes(damaged(whole, chance))
        spool = open_spool(directory)
        new = new_ids(1)
        spool.append(batch_of(new))
        sent = drain(spool)
        assert set(sent) <= {*ids, *new}, number
        assert len(set(sent)) == len(sent), number
        assert new[0] in sent, number
        assert spool.report().degraded == "", number
        spool.close()


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """`whole` with one kind of damage."""
    data = bytearray(whole)
    at = chance.randrange(len(data))
    kind = chance.choice(["flip", "flips", "cut", "zeros", "noise", "head"])
    if kind == "flip":
        data[at] ^= 1 << chance.randrange(8)
    elif kind == "flips":
        for _ in range(200):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del data[at:]
    elif kind == "zeros":
        data[at : at + 8192] = bytes(len(data[at : at + 8192]))
    elif kind == "noise":
        data[at : at + 20000] = chance.randbytes(len(data[at : at + 20000]))
    else:
        data[:100] = chance.randbytes(100)
    return bytes(data)


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, b"SQLite format 3\0"])
def test_a_foreign_file_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes) -> None:
    """A file that is no spool is renamed, not deleted; one warning says so; new spans are on disk."""
    (tmp_path / "s").mkdir(0o700)
    (tmp_path / "s" / "spool.db").write_bytes(content)
    spool = open_spool(tmp_path / "s")
    ids = new_ids(2)
    with caplog.at_level(logging.WARNING, logger="otel_llm"):
        spool.append(batch_of(ids))
        assert drain(spool) == ids
    [aside] = (tmp_path / "s").glob("corrupt-*.db")
    assert aside.read_bytes() == content
    assert [record.name for record in caplog.records].count("otel_llm.delivery.spool") == 1
    assert spool.report().set_aside == 1
    spool.close()


def test_another_databases_tables_are_set_aside(tmp_path: Path) -> None:
    """An SQLite file with other tables is not written to."""
    (tmp_path / "s").mkdir(0o700)
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        file.execute("CREATE TABLE batches (x)")
        file.execute("PRAGMA user_version = 1")
    spool = open_spool(tmp_path / "s")
    ids = new_ids(1)
    spool.append(batch_of(ids))
    assert drain(spool) == ids
    assert spool.report().set_aside == 1
    spool.close()


def test_a_spool_of_a_newer_version_is_kept(tmp_path: Path) -> None:
    """After a downgrade the newer file is set aside untouched, and the program goes on with a new one."""
    filled(tmp_path / "s")
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        file.execute("PRAGMA user_version = 99")
    spool = open_spool(tmp_path / "s")
    ids = new_ids(1)
    spool.append(batch_of(ids))
    assert drain(spool) == ids
    [aside] = (tmp_path / "s").glob("unknown-*.db")
    with sqlite3.connect(aside) as file:
        assert file.execute("SELECT count(*) FROM batches").fetchone() == (30,)
    spool.close()


def test_damage_while_in_use_loses_only_what_was_damaged(tmp_path: Path) -> None:
    """The file turns to rubbish under an open spool: what comes later is kept and delivered."""
    filled(tmp_path / "s")
    spool = open_spool(tmp_path / "s")
    spool.append(batch_of(1))
    with (tmp_path / "s" / "spool.db").open("r+b") as file:
        file.write(os.urandom(40_000))
    (tmp_path / "s" / "spool.db-wal").write_bytes(b"")
    drain(spool)  # finds the damage
    later = new_ids(3)
    for span_id in later:
        assert spool.append(batch_of([span_id])) is Appended.DISK
    assert drain(spool)[-3:] == later
    assert spool.report().set_aside == 1
    spool.close()


def root_page(log: Path, table: str) -> int:
    """Where the page at the root of a table begins in the file."""
    with sqlite3.connect(log) as file:
        (number,) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return (int(number) - 1) * PAGE_SIZE


def test_damage_that_sqlite_does_not_see_as_such_is_damage(tmp_path: Path) -> None:
    """Bytes that are no text, in the schema or in a name, cost what stood there, and recording goes on."""
    for number, text in enumerate([b"TABLE kept", b"sink", b"otel-llm"]):
        ids = filled(tmp_path / f"s{number}")
        log = tmp_path / f"s{number}" / "spool.db"
        log.write_bytes(log.read_bytes().replace(text, b"\xff" + text[1:]))
        spool = open_spool(log.parent)
        new = new_ids(1)
        assert spool.append(batch_of(new)) is Appended.DISK
        spool.tend()
        assert drain(spool) == ids + new
        assert counts(spool.report())[2] == 0
        assert spool.report().degraded == ""
        spool.close()


def test_odd_values_cost_their_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A date that is none is damage like any other: found by the courier's care, counted, the rest delivered."""
    ids = filled(tmp_path / "s", 5)
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        file.execute("UPDATE batches SET created_at = 'odd' WHERE seq = (SELECT min(seq) FROM batches)")
    spool = open_spool(tmp_path / "s")
    with caplog.at_level(logging.WARNING, logger="otel_llm"):
        spool.tend()
    assert "makes no sense" in caplog.text
    assert drain(spool) == ids[2:]
    check_books(spool, 10, 8)
    spool.close()


def test_a_count_that_is_none_is_left_out(tmp_path: Path) -> None:
    """A damaged row of the counts breaks no report, and the books balance again."""
    ids = filled(tmp_path / "s", 5)
    spool = open_spool(tmp_path / "s")
    drain(spool)
    spool.close()
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        file.execute("UPDATE counts SET kind = 'delifered' WHERE kind = 'delivered'")
    spool = open_spool(tmp_path / "s")
    assert counts(spool.report())[0] == len(ids)
    spool.tend()
    check_books(spool, len(ids), 0)
    spool.close()


def test_batches_that_nobody_waits_for_are_sent(tmp_path: Path) -> None:
    """Where the rows are gone that said who waits, the batches that are still there go to every backend."""
    ids = filled(tmp_path / "s", 5)
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        file.execute("DELETE FROM waiting WHERE seq > (SELECT min(seq) FROM batches)")
    spool = open_spool(tmp_path / "s")
    spool.tend()
    assert drain(spool) == ids
    check_books(spool, 10, 10)
    spool.close()


def test_what_is_gone_without_a_trace_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Spans that were created and are neither settled nor there count as corrupt, in one sentence."""
    ids = filled(tmp_path / "s", 5)
    with sqlite3.connect(tmp_path / "s" / "spool.db") as file:
        for table in ("waiting", "batches"):
            file.execute(f"DELETE FROM {table} WHERE seq = (SELECT max(seq) FROM {table})")
    spool = open_spool(tmp_path / "s")
    with caplog.at_level(logging.WARNING, logger="otel_llm"):
        spool.tend()
    assert [record.getMessage() for record in caplog.records] == [
        f"The spool in {tmp_path / 's'} is damaged; spans in it are lost (2 for sink)."
    ]
    assert drain(spool) == ids[:8]
    check_books(spool, 10, 8)
    spool.close()


def test_an_index_out_of_order_sends_nothing_without_end(tmp_path: Path) -> None:
    """A row that is met on the way and not found when it is settled means damage; it is not sent for ever."""
    ids = filled(tmp_path / "s", 9)
    log = tmp_path / "s" / "spool.db"
    at, data = root_page(log, "waiting") + 8, bytearray(log.read_bytes())
    cells = int.from_bytes(data[at - 5 : at - 3], "big")
    pointers = [data[at + 2 * cell : at + 2 * cell + 2] for cell in range(cells)]
    data[at : at + 2 * cells] = b"".join([*pointers[5:], *pointers[:5]])
    log.write_bytes(data)
    spool = open_spool(tmp_path / "s")
    sent: list[str] = []
    for _ in range(30):
        parcel = spool.take("sink", 7000)
        if parcel is None:
            break
        sent += ids_in(parcel.batch)
        spool.settle("sink", parcel)
    assert spool.take("sink", BIG) is None
    assert set(sent) == set(ids)
    assert counts(spool.report())[2] == 0
    spool.close()


def test_only_a_few_damaged_files_are_kept(tmp_path: Path) -> None:
    """Files set aside do not fill the disk."""
    for _ in range(6):
        (tmp_path / "s").mkdir(0o700, exist_ok=True)
        for name in ("spool.db", "spool.db-wal", "spool.db-shm"):
            (tmp_path / "s" / name).unlink(missing_ok=True)
        (tmp_path / "s" / "spool.db").write_bytes(b"rubbish" * 1000)
        spool = open_spool(tmp_path / "s")
        spool.append(batch_of(1))
        spool.close()
    assert len(list((tmp_path / "s").glob("corrupt-*.db"))) == 3


def test_a_torn_write_ahead_log_loses_at_most_its_tail(tmp_path: Path) -> None:
    """Cut anywhere, the write-ahead log gives back the batches before the cut, in order, and the books balance."""
    spool = open_spool(tmp_path / "s")
    groups = [new_ids(1) for _ in range(6)]
    for group in groups:
        spool.append(batch_of(group, size=3000))
    files = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    spool.close()
    wal = files["spool.db-wal"]
    ids = [i for group in groups for i in group]
    for number, cut in enumerate(range(0, len(wal), 5003)):
        directory = tmp_path / f"cut{number}"
        directory.mkdir(0o700)
        (directory / "spool.db").write_bytes(files["spool.db"])
        (directory / "spool.db-wal").write_bytes(wal[:cut])
        torn = open_spool(directory)
        sent = drain(torn)
        assert sent == ids[: len(sent)]
        assert torn.append(batch_of(1)) is Appended.DISK
        created, delivered, waiting, _, dropped = counts(torn.report())
        assert (created, delivered, waiting, dropped) == (len(sent) + 1, len(sent), 1, {})
        torn.close()


def test_a_deleted_directory_loses_nothing_of_a_living_process(tmp_path: Path) -> None:
    """Somebody removes the directory: the process's own waiting batches are written to a new file."""
    spool = open_spool(tmp_path / "s")
    ids = new_ids(3)
    for span_id in ids[:2]:
        spool.append(batch_of([span_id]))
    shutil.rmtree(tmp_path / "s")
    spool.append(batch_of(ids[2:]))
    assert drain(open_spool(tmp_path / "s")) == ids
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    spool.close()
