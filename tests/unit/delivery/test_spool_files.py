"""The spool's directory is private, or it is not used."""

from __future__ import annotations

import logging
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_llm.delivery import spool_files
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_files import prepare, safe_name, spool_directory
from otel_llm.delivery.spool_types import Appended
from tests.crash.kit import batch_of, counts

if TYPE_CHECKING:
    from pathlib import Path

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files to another user")


def spool_in(directory: Path) -> Spool:
    """A spool with one backend."""
    spool = Spool(directory)
    spool.register(["sink"])
    return spool


def mode_of(path: Path) -> int:
    """The permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_and_files_are_private(tmp_path: Path) -> None:
    """Whatever the umask, the directory is 0700 and every file in it 0600."""
    before = os.umask(0)
    try:
        spool = spool_in(tmp_path / "state" / "spool" / "svc")
        spool.append(batch_of(1))
        assert mode_of(spool.directory) == 0o700
        assert {path.name: mode_of(path) for path in spool.directory.iterdir()} == {
            "spool.db": 0o600,
            "spool.db-wal": 0o600,
            "spool.db-shm": 0o600,
            "recover.lock": 0o600,
        }
    finally:
        os.umask(before)
        spool.close()


def test_an_open_directory_of_ours_is_closed(tmp_path: Path) -> None:
    """A directory and file that others could read are made private."""
    directory = tmp_path / "spool"
    prepare(directory)
    directory.chmod(0o777)
    (directory / "spool.db").chmod(0o644)
    prepare(directory)
    assert (mode_of(directory), mode_of(directory / "spool.db")) == (0o700, 0o600)


def refuses(directory: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Check that a spool in `directory` keeps spans in memory and says why, once; return what it said."""
    spool = spool_in(directory)
    with caplog.at_level(logging.WARNING, logger="otel_llm"):
        assert [spool.append(batch_of(1)) for _ in range(3)] == [Appended.MEMORY] * 3
    [record] = caplog.records
    assert counts(spool.report()) == (3, 0, 3, {}, {})
    assert spool.report().degraded in record.getMessage()
    caplog.clear()
    spool.close()
    return record.getMessage()


def test_a_linked_directory_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A symbolic link in the directory's place is not followed."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refuses(tmp_path / "spool", caplog)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("name", ["spool.db", "spool.db-wal"])
def test_a_linked_file_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    """A symbolic link in the place of one of the files is neither read nor written."""
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "spool").mkdir(0o700)
    (tmp_path / "spool" / name).symlink_to(tmp_path / "victim")
    assert "not a regular file" in refuses(tmp_path / "spool", caplog)
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_fifo_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A FIFO in the file's place does not hang us."""
    (tmp_path / "spool").mkdir(0o700)
    os.mkfifo(tmp_path / "spool" / "spool.db")
    assert "not a regular file" in refuses(tmp_path / "spool", caplog)


@as_root
@pytest.mark.parametrize("what", ["directory", "file"])
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str) -> None:
    """A directory or file of another user is not used, even where we could."""
    prepare(tmp_path / "spool")
    os.chown(tmp_path / "spool" if what == "directory" else tmp_path / "spool" / "spool.db", 12345, 12345)
    assert "belongs to user id 12345" in refuses(tmp_path / "spool", caplog)


def test_a_network_file_system_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where locks do not hold, spans stay in memory, and the message says what to set."""
    monkeypatch.setattr(spool_files, "_file_system", lambda directory: "nfs4")
    assert "OTEL_LLM_STATE_DIR" in refuses(tmp_path / "spool", caplog)


def test_the_file_system_is_told_from_its_mount(tmp_path: Path) -> None:
    """`/proc` and the root file system are told apart."""
    assert spool_files._file_system(spool_files.Path("/proc/self")) == "proc"
    assert spool_files._file_system(tmp_path) not in {"", "proc"}


def test_a_file_where_the_directory_should_be(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A regular file in the directory's place is left alone."""
    (tmp_path / "spool").write_text("mine")
    refuses(tmp_path / "spool", caplog)
    assert (tmp_path / "spool").read_text() == "mine"


@given(st.text())
def test_no_service_name_leads_out_of_the_directory(name: str) -> None:
    """Whatever a service is called, its spool lies directly below `spool/`, under a plain name."""
    root = spool_files.Path("/state")
    directory = spool_directory(root, name)
    assert directory.parent == root / "spool"
    assert directory.name not in {"", ".", ".."}
    assert len(os.fsencode(directory.name)) < 128


@given(st.text(), st.text())
def test_no_two_services_share_a_spool(one: str, other: str) -> None:
    """Different names have different directories."""
    assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize(("name", "expected"), [("my-svc_1.2", "my-svc_1.2"), ("", "default")])
def test_harmless_names_are_kept(tmp_path: Path, name: str, expected: str) -> None:
    """An ordinary name is the directory's name; none means `default`."""
    assert spool_directory(tmp_path, name).name == expected
