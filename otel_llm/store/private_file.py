"""A file that only its owner can read, in a directory that nobody else can reshape.

What people and models say to each other can be in the store. So the file is 0600, the directory that we make
for it is 0700, and nobody else may own either, or swap the file for a link to another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["SIDE_FILES", "directory_fault", "file_fault", "file_identity", "make_private", "move_aside"]

SIDE_FILES = ("-wal", "-shm")
"""What SQLite keeps beside a database in WAL mode; it gives them the database's own mode."""

_LOCK_SECONDS = 2.0


def make_private(path: Path) -> None:
    """Make sure that `path` is a file of ours with mode 0600, creating it and its directory (0700) if need be.

    An existing directory is left as it is. Raises StoreError where somebody else could read or swap the file,
    and OSError where the file system refuses.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fault = directory_fault(path.parent) or file_fault(path)
    if fault:
        raise StoreError(fault)
    # An existing file is not opened: closing a descriptor of it would drop the locks that SQLite holds in this process.
    try:
        mode = stat.S_IMODE(path.lstat().st_mode)
    except FileNotFoundError:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(FileExistsError):  # another process was quicker, and made it just so
            os.close(os.open(path, flags, 0o600))
        return
    if mode != 0o600:
        path.chmod(0o600)


def directory_fault(directory: Path) -> str | None:
    """Why `directory` is no safe place for the store, as a sentence; None if it is. It must exist."""
    found = directory.stat()
    if found.st_uid not in {os.geteuid(), 0}:
        return (
            f"The store's directory {directory} belongs to user id {found.st_uid}, and this process runs as "
            f"{os.geteuid()}. Choose a directory of your own for the store, or run as its owner."
        )
    if found.st_mode & stat.S_IWOTH:
        return (
            f"The store's directory {directory} can be written by everyone, who could swap the store's files. "
            f"Choose a directory below it instead, for example {directory / 'otel-llm'}; it will be made private."
        )
    return None


def file_fault(path: Path) -> str | None:
    """Why the store's file, or one that SQLite keeps beside it, is not acceptable; None if all are."""
    for candidate in (path, *(path.with_name(path.name + suffix) for suffix in SIDE_FILES)):
        try:
            found = candidate.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode):
            return f"The store {candidate} is {_instead_of_a_file(candidate, found.st_mode)}"
        if found.st_uid != os.geteuid():
            return (
                f"The store {candidate} belongs to user id {found.st_uid}, and this process runs as "
                f"{os.geteuid()}. Run as its owner, or choose another store path."
            )
    return None


def _instead_of_a_file(path: Path, mode: int) -> str:
    """What stands there, and what to do: never to remove it, as it may be `/tmp` or `/dev/null`."""
    if stat.S_ISLNK(mode):
        return "a symbolic link. Name the file that it leads to in store_path (OTEL_LLM_STORE_PATH), or choose another."
    if stat.S_ISDIR(mode):
        return f"a directory. Name the file in it: OTEL_LLM_STORE_PATH={path / 'otel-llm' / 'store.db'}"
    return "not a regular file. Choose another store_path (OTEL_LLM_STORE_PATH)."


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file that `path` names now; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def move_aside(path: Path, broken: tuple[int, int] | None) -> Path | None:
    """Rename the broken store `path`, with what SQLite keeps beside it, and return the new path.

    `broken` is the identity of the file that was found broken. None comes back, and nothing is moved, if
    `path` names another file by now: another process has been here first.
    """
    with _exclusively(path):
        if broken is None or file_identity(path) != broken:
            return None
        moment = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = path.with_name(f"{path.name}.corrupt-{moment}")
        for suffix in ("", *SIDE_FILES):
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
        return aside


@contextlib.contextmanager
def _exclusively(path: Path) -> Iterator[None]:
    """Hold a lock that all processes using the store `path` respect; OSError(EAGAIN) after two seconds."""
    lock = path.with_name(path.name + ".lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        deadline = monotonic() + _LOCK_SECONDS
        while not _locked(descriptor, last_try=monotonic() >= deadline):
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)  # releases the lock


def _locked(descriptor: int, *, last_try: bool) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if last_try:
            raise
        return False
    return True
