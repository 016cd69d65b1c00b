"""The local backend against real files, real disks and real processes."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from otel_llm.backends.local import LocalBackend
from otel_llm.contracts import Backend, Batch, CheckStatus, Delivered, Rejected, Retry
from otel_llm.store import checkup, queries, schema
from otel_llm.store.db import open_writer
from otel_llm.store.private_file import file_identity, move_aside
from otel_llm.store.schema import MIGRATIONS, SCHEMA_VERSION, Migration, migrate, schema_version
from tests.unit.store.building import batch_of, call, used

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the store goes: a directory that does not exist yet."""
    return tmp_path / "state" / "store.db"


@pytest.fixture
def backend(path: Path) -> Iterator[LocalBackend]:
    """A backend on `path`, closed afterwards."""
    made = LocalBackend(path, min_free_bytes=0)
    yield made
    made.close()


def mode_of(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def count(path: Path) -> int:
    """How many spans the store holds."""
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT count(*) FROM spans").fetchone()[0]
    connection.close()
    return int(found)


# --- what it does ---------------------------------------------------------------------------------------------


def test_it_is_a_backend_and_loads_nothing_heavy_before_it_is_used() -> None:
    """The class fits the protocol, and importing and building it loads neither sqlite3 nor protobuf."""
    assert isinstance(LocalBackend(__import__("pathlib").Path("x")), Backend)
    program = (
        "import sys, pathlib; from otel_llm.backends.local import LocalBackend; LocalBackend(pathlib.Path('x'));"
        "print([name for name in ('sqlite3', 'google.protobuf') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sending_again_replaces_the_span_instead_of_adding_it(backend: LocalBackend, path: Path) -> None:
    """The same batch three times is one set of rows, and a later version of a span wins."""
    first = call(attributes=used(1, 1, 0.5))
    batch = batch_of(first, call())
    assert [backend.send(batch, timeout=TIMEOUT) for _ in range(3)] == [Delivered(2)] * 3
    assert count(path) == 2
    later = call(attributes=used(1, 1, 0.75), trace_id=first.trace_id, span_id=first.span_id)
    backend.send(batch_of(later), timeout=TIMEOUT)
    assert count(path) == 2
    assert queries.usage(path).totals.cost_nano_usd == 750_000_000


def test_the_file_is_private_whatever_the_umask(backend: LocalBackend, path: Path) -> None:
    """Directory 0700, database and what SQLite keeps beside it 0600, even with a umask of 0."""
    before = os.umask(0)
    try:
        backend.send(batch_of(call()), timeout=TIMEOUT)
    finally:
        os.umask(before)
    assert mode_of(path.parent) == 0o700
    beside = sorted(path.parent.iterdir())
    assert [file.name for file in beside] == ["store.db", "store.db-shm", "store.db-wal"]
    assert {mode_of(file) for file in beside} == {0o600}


def test_a_file_that_others_could_read_is_made_private(backend: LocalBackend, path: Path) -> None:
    """An existing store with loose rights is tightened before anything is written to it."""
    path.parent.mkdir(mode=0o755)
    path.touch(mode=0o644)
    assert backend.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
    assert mode_of(path) == 0o600
    assert mode_of(path.parent) == 0o755  # a directory that was there is not ours to change


def test_two_processes_write_at_once_and_nothing_is_lost(path: Path) -> None:
    """Two writers that begin together, on a store that neither has made yet, get every batch in at the first try."""
    command = [sys.executable, "-m", "tests.unit.store.writing_process", str(path), "25", "20"]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        _, complaints = process.communicate(timeout=90)
        assert process.returncode == 0, complaints
    assert queries.usage(path).totals.calls == 2 * 25 * 20
    assert queries.usage(path).totals.cost_usd == 1


def test_a_reader_sees_whole_batches_while_a_writer_writes(path: Path) -> None:
    """A reader in the middle of it all sees multiples of the batch and waits for nobody."""
    command = [sys.executable, "-m", "tests.unit.store.writing_process", str(path), "40", "50"]
    LocalBackend(path, min_free_bytes=0).send(batch_of(*(call() for _ in range(50))), timeout=TIMEOUT)
    seen = set()
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            report = queries.usage(path)
            assert sum(row.calls for row in report.rows) == report.totals.calls  # one moment for all queries
            seen.add(report.totals.calls)
    assert process.returncode == 0
    assert queries.usage(path).totals.calls == 41 * 50
    assert {number % 50 for number in seen} == {0}


def test_opening_a_store_twice_in_a_process_keeps_the_locks_of_the_first(backend: LocalBackend, path: Path) -> None:
    """A second opening must not drop this process's locks, or another process's exit deletes the WAL that is in use."""
    backend.send(batch_of(call()), timeout=TIMEOUT)
    second = LocalBackend(path, min_free_bytes=0)
    assert second.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
    second.close()
    command = [sys.executable, "-m", "tests.unit.store.writing_process", str(path), "1", "1"]
    subprocess.run(command, check=True)
    assert path.with_name("store.db-wal").exists()
    assert backend.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
    program = (
        "import sys, pathlib; from otel_llm.store.queries import calls; print(len(calls(pathlib.Path(sys.argv[1]))))"
    )
    seen = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True)
    assert seen.stdout.strip() == "4"


def test_a_fork_writes_through_a_connection_of_its_own(backend: LocalBackend, path: Path) -> None:
    """Parent and child both write after a fork; the child does not touch what the parent opened."""
    backend.send(batch_of(call("before")), timeout=TIMEOUT)
    assert backend._keeper is not None
    of_the_parent = backend._keeper._writer
    child = os.fork()
    if child == 0:
        right = False
        try:
            taken = backend.send(batch_of(call("child")), timeout=TIMEOUT) == Delivered(1)
            right = taken and backend._keeper._writer is not of_the_parent
            backend.close()
        finally:
            os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert backend.send(batch_of(call("parent")), timeout=TIMEOUT) == Delivered(1)
    assert {row.labels["tenant"] for row in queries.usage(path).rows} == {"before", "child", "parent"}


# --- bad spans ------------------------------------------------------------------------------------------------


def test_bytes_that_are_no_otlp_are_rejected(backend: LocalBackend, path: Path) -> None:
    """An undecodable payload is refused for good, and the store is not even made."""
    outcome = backend.send(Batch(b"\xff\xff not protobuf", 3), timeout=TIMEOUT)
    assert isinstance(outcome, Rejected)
    assert "OTLP" in outcome.why
    assert isinstance(backend.send(Batch(b"", 3), timeout=TIMEOUT), Rejected)
    assert not path.exists()


def test_a_span_without_ids_is_named_and_the_others_are_kept(backend: LocalBackend, path: Path) -> None:
    """Delivered says how many were accepted and which was not."""
    outcome = backend.send(batch_of(call(), call(trace_id=b"", span_id=b"12345678")), timeout=TIMEOUT)
    assert isinstance(outcome, Delivered)
    assert (outcome.accepted, [rejection.reason for rejection in outcome.rejected]) == (1, ["invalid"])
    assert count(path) == 1


# --- bad files ------------------------------------------------------------------------------------------------


def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(
    backend: LocalBackend, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rubbish where the store should be is kept under another name, counted, and said once; no span is lost."""
    path.parent.mkdir()
    path.write_bytes(b"rubbish, and enough of it to fill the header of a database file" * 50)
    with caplog.at_level(logging.WARNING, "otel_llm"):
        assert backend.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
        assert backend.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
    (aside,) = path.parent.glob("store.db.corrupt-*")
    assert aside.read_bytes().startswith(b"rubbish")
    assert (count(path), backend.corrupt_files, len(caplog.records)) == (2, 1, 1)
    assert str(aside) in caplog.text


def test_a_page_that_is_damaged_while_the_store_is_open_is_survived(path: Path) -> None:
    """A store whose pages are overwritten under a new process is moved aside with its WAL, and the batch is kept."""
    old = LocalBackend(path, min_free_bytes=0)
    old.send(batch_of(*(call() for _ in range(200))), timeout=TIMEOUT)
    old.close()
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(100)  # behind the header: the file still looks like a database
        file.write(b"\xff" * (size - 100))
    new = LocalBackend(path, min_free_bytes=0)
    assert new.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
    new.close()
    assert (count(path), new.corrupt_files) == (1, 1)


def test_a_process_whose_store_was_moved_aside_by_another_goes_on_in_the_new_one(path: Path) -> None:
    """A backend that still has the damaged file open notices that the path names another file by now."""
    open_all_along = LocalBackend(path, min_free_bytes=0)
    open_all_along.send(batch_of(call("before")), timeout=TIMEOUT)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the WAL would still serve every page
    connection.close()
    path.write_bytes(b"X" * 4096)
    finder = LocalBackend(path, min_free_bytes=0)
    assert finder.send(batch_of(call("finder")), timeout=TIMEOUT) == Delivered(1)
    assert open_all_along.send(batch_of(call("after")), timeout=TIMEOUT) == Delivered(1)
    assert (finder.corrupt_files, open_all_along.corrupt_files) == (1, 0)
    assert {row.tenant for row in queries.calls(path)} == {"finder", "after"}
    finder.close()
    open_all_along.close()


def test_the_second_to_find_the_same_damage_moves_nothing(path: Path) -> None:
    """What was found broken is named by its inode, so a fresh store in its place is left alone."""
    path.parent.mkdir()
    path.write_bytes(b"broken")
    broken = file_identity(path)
    aside = move_aside(path, broken)
    assert aside is not None
    assert aside.read_bytes() == b"broken"
    path.write_bytes(b"fresh")
    assert move_aside(path, broken) is None
    assert path.read_bytes() == b"fresh"


def test_a_store_that_is_deleted_while_open_is_begun_anew(backend: LocalBackend, path: Path) -> None:
    """Somebody who removes the state directory finds new spans in a new file, not lost in the removed one."""
    backend.send(batch_of(call("old")), timeout=TIMEOUT)
    shutil.rmtree(path.parent)
    assert backend.send(batch_of(call("new")), timeout=TIMEOUT) == Delivered(1)
    assert [row.tenant for row in queries.calls(path)] == ["new"]


def test_a_symbolic_link_is_not_followed(backend: LocalBackend, path: Path, tmp_path: Path) -> None:
    """A link in the place of the store, or of a file beside it, is refused and its target left alone."""
    target = tmp_path / "precious"
    target.write_text("keep me")
    path.parent.mkdir(mode=0o700)
    for name in ("store.db", "store.db-wal"):
        link = path.with_name(name)
        link.symlink_to(target)
        outcome = backend.send(batch_of(call()), timeout=TIMEOUT)
        assert isinstance(outcome, Retry)
        assert (outcome.reason, outcome.needs_action) == ("unusable", True)
        assert "symbolic link" in outcome.why
        link.unlink()
    assert target.read_text() == "keep me"


def test_a_directory_that_everyone_can_write_is_refused(backend: LocalBackend, path: Path) -> None:
    """A shared directory is no place for a store; the answer names a place that is."""
    path.parent.mkdir()
    path.parent.chmod(0o777)
    outcome = backend.send(batch_of(call()), timeout=TIMEOUT)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "unusable"
    assert str(path.parent / "otel-llm") in outcome.why
    assert not path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(backend: LocalBackend, path: Path) -> None:
    """The owner of the directory could swap the file, so it has to be us or root."""
    path.parent.mkdir()
    os.chown(path.parent, 12345, 12345)
    outcome = backend.send(batch_of(call()), timeout=TIMEOUT)
    assert isinstance(outcome, Retry)
    assert "12345" in outcome.why


def test_a_path_that_cannot_be_made_is_a_retry_that_needs_action(tmp_path: Path) -> None:
    """A store below a file cannot exist; the batch is kept, and the reason says what to change."""
    (tmp_path / "file").write_text("")
    outcome = LocalBackend(tmp_path / "file" / "below" / "store.db").send(batch_of(call()), timeout=TIMEOUT)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == ("cannot_open", True)


def test_a_store_of_a_newer_version_is_left_alone(backend: LocalBackend, path: Path) -> None:
    """What a newer otel_llm wrote is neither changed nor taken for damaged."""
    backend.send(batch_of(call()), timeout=TIMEOUT)
    backend.close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 7}")
    connection.close()
    outcome = backend.send(batch_of(call()), timeout=TIMEOUT)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == ("unusable", True)
    assert "newer" in outcome.why
    assert count(path) == 1


# --- bad disks ------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; skips where one cannot be mounted."""
    place = tmp_path / "tiny"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(place)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a tmpfs needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_is_a_retry_and_what_was_stored_stays(tiny_disk: Path) -> None:
    """When the disk is full the batch is kept for later as a whole; with space again it goes in."""
    backend = LocalBackend(tiny_disk / "store.db", min_free_bytes=0)
    assert backend.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
    big = batch_of(*(call(attributes={"content": "x" * 50_000}) for _ in range(40)))
    outcome = backend.send(big, timeout=TIMEOUT)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == ("disk_full", True)
    assert count(tiny_disk / "store.db") == 1
    subprocess.run(["mount", "-o", "remount,size=16m", str(tiny_disk)], check=True)
    assert backend.send(big, timeout=TIMEOUT) == Delivered(40)
    backend.close()


def test_a_read_only_disk_is_a_retry(tiny_disk: Path) -> None:
    """A file system that turns read-only under an open store is named as such, and the store serves readers on."""
    backend = LocalBackend(tiny_disk / "state" / "store.db", min_free_bytes=0)
    (tiny_disk / "state").mkdir(mode=0o700)
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    outcome = backend.send(batch_of(call()), timeout=TIMEOUT)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == ("read_only", True)


def test_some_disk_is_left_to_the_host(path: Path) -> None:
    """Below the free space that is left to the host nothing is written."""
    path.parent.mkdir(mode=0o700)
    backend = LocalBackend(path, min_free_bytes=2**62)
    outcome = backend.send(batch_of(call()), timeout=TIMEOUT)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "disk_full"
    assert not path.exists()


def test_a_writer_that_holds_the_lock_too_long_is_a_retry_that_waiting_cures(backend: LocalBackend, path: Path) -> None:
    """Another process in a long transaction means `locked`; once it ends the same batch is taken."""
    backend.send(batch_of(call()), timeout=TIMEOUT)
    other = open_writer(path, busy_seconds=1)
    other.execute("BEGIN IMMEDIATE")
    batch = batch_of(call())
    outcome = backend.send(batch, timeout=0.2)
    assert isinstance(outcome, Retry)
    assert (outcome.reason, outcome.needs_action) == ("locked", False)
    other.execute("ROLLBACK")
    other.close()
    assert backend.send(batch, timeout=TIMEOUT) == Delivered(1)


def test_a_short_wait_for_another_writer_is_no_failure(backend: LocalBackend, path: Path) -> None:
    """Within its timeout the backend waits for the lock."""
    backend.send(batch_of(call()), timeout=TIMEOUT)
    other = open_writer(path, busy_seconds=1)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
    release.start()
    assert backend.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
    release.join()
    other.close()


def test_the_first_writer_waits_for_whoever_holds_the_new_file(backend: LocalBackend, path: Path) -> None:
    """A file that is not in WAL mode yet and is locked by another process is waited for, too."""
    path.parent.mkdir(mode=0o700)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE something (a)")
    other.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(0.2, lambda: other.execute("ROLLBACK"))
    release.start()
    assert backend.send(batch_of(call()), timeout=TIMEOUT) == Delivered(1)
    release.join()
    other.close()


def test_many_first_writers_at_once_all_get_in(tmp_path: Path) -> None:
    """Switching a new file to WAL is a lock that SQLite itself does not wait for; every writer gets in all the same."""
    for number in range(15):
        path = tmp_path / str(number) / "store.db"
        backends = [LocalBackend(path, min_free_bytes=0) for _ in range(4)]
        together = threading.Barrier(len(backends))

        def send(backend: LocalBackend, together: threading.Barrier = together) -> object:
            batch = batch_of(call())
            together.wait()
            return backend.send(batch, timeout=TIMEOUT)

        with ThreadPoolExecutor(len(backends)) as pool:
            assert list(pool.map(send, backends)) == [Delivered(1)] * len(backends)
        for backend in backends:
            backend.close()
        assert count(path) == len(backends)


# --- the limit ------------------------------------------------------------------------------------------------


def test_the_size_limit_takes_content_first_and_keeps_the_numbers(path: Path) -> None:
    """Over the limit the oldest spans lose their bulk, while tokens, cost and calls stay as they were."""
    backend = LocalBackend(path, max_bytes=2_000_000, min_free_bytes=0)
    for _ in range(12):
        spans = [call(attributes={**used(1, 1, 0.001), "content": "x" * 5_000}) for _ in range(100)]
        assert backend.send(batch_of(*spans), timeout=TIMEOUT) == Delivered(100)
    backend.close()
    totals = queries.usage(path).totals
    assert (totals.calls, totals.cost_nano_usd) == (1200, 1_200_000_000)
    kept = [found["attributes"] is not None for found in queries.spans(path, limit=5000)]
    assert not kept[0]
    assert kept[-100:] == [True] * 100
    assert path.stat().st_size < 4_000_000


def test_the_size_limit_deletes_the_oldest_spans_when_no_bulk_is_left(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Only then do whole spans go, oldest first, with one warning; the file stays bounded."""
    backend = LocalBackend(path, max_bytes=300_000, min_free_bytes=0)
    with caplog.at_level(logging.WARNING, "otel_llm"):
        for number in range(30):
            backend.send(batch_of(*(call(f"tenant-{number}") for _ in range(100))), timeout=TIMEOUT)
    backend.close()
    tenants = {row.labels["tenant"] for row in queries.usage(path, ("tenant",)).rows}
    assert "tenant-0" not in tenants
    assert "tenant-29" in tenants
    assert 0 < count(path) < 3000
    assert path.stat().st_size < 2_000_000
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    with sqlite3.connect(path) as connection:
        deleted = connection.execute("SELECT spans FROM deletions").fetchone()[0]
    connection.close()
    assert deleted + count(path) == 3000


# --- the schema -----------------------------------------------------------------------------------------------


def test_a_later_step_is_applied_once_and_keeps_the_data(backend: LocalBackend, path: Path) -> None:
    """A migration runs on an older file, by name, once; what was stored stays."""
    backend.send(batch_of(call()), timeout=TIMEOUT)
    backend.close()
    connection = open_writer(path, busy_seconds=1)
    step = Migration(SCHEMA_VERSION + 1, "a colour for each span", ("ALTER TABLE spans ADD COLUMN colour TEXT",))
    assert migrate(connection, [*MIGRATIONS, step]) == ["a colour for each span"]
    assert migrate(connection, [*MIGRATIONS, step]) == []
    assert schema_version(connection) == SCHEMA_VERSION + 1
    assert connection.execute("SELECT count(*), count(colour) FROM spans").fetchone()[:2] == (1, 0)
    connection.close()


def test_an_older_store_loses_the_tokens_of_cached_answers(path: Path) -> None:
    """Up to the third step of the schema tokens of cached answers were stored; they were not billed."""
    connection = open_writer(path, busy_seconds=1)
    columns = {row[1]: row for row in connection.execute("PRAGMA table_info(spans)")}
    made = {name: 0 for name, row in columns.items() if row[3] and row[2] == "INTEGER"}
    made |= {name: "" for name, row in columns.items() if row[3] and row[2] == "TEXT"}
    for span_id, hit in (("a", 1), ("b", 0)):
        line = {**made, "trace_id": "t", "span_id": span_id, "is_llm": 1, "cache_hit": hit, "input_tokens": 7}
        connection.execute(
            f"INSERT INTO spans ({', '.join(line)}) VALUES ({', '.join('?' * len(line))})", tuple(line.values())
        )
    connection.execute("PRAGMA user_version = 3")
    assert migrate(connection)[0] == "what the response cache answered was not billed"
    found = dict(connection.execute("SELECT span_id, input_tokens FROM spans").fetchall())
    assert found == {"a": None, "b": 7}
    connection.close()


def test_a_step_that_fails_leaves_nothing_behind(path: Path) -> None:
    """All steps are applied or none, so a later try begins where this one did."""
    connection = open_writer(path, busy_seconds=1)
    bad = Migration(SCHEMA_VERSION + 1, "bad", ("CREATE TABLE half (a)", "CREATE TABLE half (a)"))
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, [*MIGRATIONS, bad])
    assert schema_version(connection) == SCHEMA_VERSION
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone()[0] == 0
    connection.close()


def test_the_steps_are_numbered_in_order() -> None:
    """Versions count up from one, so that `user_version` says how far a file is."""
    assert [step.version for step in schema.MIGRATIONS] == list(range(1, len(schema.MIGRATIONS) + 1))


# --- check ----------------------------------------------------------------------------------------------------


def found_by(backend: LocalBackend) -> dict[str, CheckStatus]:
    """What each check of `backend` found."""
    return {finding.check: finding.status for finding in backend.check()}


def test_checking_a_store_that_is_not_there_yet_creates_nothing(backend: LocalBackend, path: Path) -> None:
    """Directory, rights and disk are judged; writing and integrity wait for a file."""
    assert found_by(backend) == {
        "local.directory": CheckStatus.OK,
        "local.permissions": CheckStatus.OK,
        "local.disk": CheckStatus.OK,
        "local.writable": CheckStatus.SKIPPED,
        "local.integrity": CheckStatus.SKIPPED,
    }
    assert not path.parent.exists()


def test_checking_a_healthy_store_finds_it_healthy(backend: LocalBackend) -> None:
    """All five checks are OK after a batch, and adding no span."""
    backend.send(batch_of(call()), timeout=TIMEOUT)
    assert set(found_by(backend).values()) == {CheckStatus.OK}


def test_checking_names_what_is_wrong(tmp_path: Path, backend: LocalBackend, path: Path) -> None:
    """A path below a file, too little disk, a shared directory and a damaged file each fail their own check."""
    (tmp_path / "file").write_text("")
    assert found_by(LocalBackend(tmp_path / "file" / "store.db"))["local.directory"] is CheckStatus.FAILED
    assert found_by(LocalBackend(path, min_free_bytes=2**62))["local.disk"] is CheckStatus.FAILED
    backend.send(batch_of(call()), timeout=TIMEOUT)
    backend.close()
    path.parent.chmod(0o770)
    assert found_by(backend)["local.permissions"] is CheckStatus.WARNING
    path.parent.chmod(0o777)
    assert found_by(backend)["local.permissions"] is CheckStatus.FAILED
    path.parent.chmod(0o700)
    path.write_bytes(b"rubbish" * 1000)
    assert found_by(backend)["local.integrity"] is CheckStatus.FAILED
    assert all(finding.remedy for finding in backend.check() if finding.status is CheckStatus.FAILED)


def test_checking_a_store_that_another_holds_says_so(
    backend: LocalBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock is no damage: what holds the store is to be ended, and the file is not judged."""
    monkeypatch.setattr(checkup, "_BUSY_SECONDS", 0.01)
    backend.send(batch_of(call()), timeout=TIMEOUT)
    backend.close()
    with closing(sqlite3.Connection(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        found = {finding.check: finding for finding in backend.check()}
    assert found["local.writable"].status is CheckStatus.FAILED
    assert "End what holds it" in str(found["local.writable"].remedy)
    assert found["local.integrity"].status is CheckStatus.SKIPPED
