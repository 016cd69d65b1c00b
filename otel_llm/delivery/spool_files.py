"""The spool's directory: private, ours, on a local disk; and what is set aside in it.

Prompts can be in the spool, so the directory is 0700 and its files 0600, both must belong to this user, and
neither may be a symbolic link. It is never made in a shared temporary directory (CVE-2026-42191 shows why).

SQLite guards its files with POSIX locks, and a process loses those when it closes *any* descriptor of the file.
So nothing here opens an existing spool file: checks go by `lstat`, and only a file that is new gets opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import os
import re
import shutil
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "LOG_NAME",
    "UnsafePlaceError",
    "file_identity",
    "free_bytes",
    "prepare",
    "safe_name",
    "set_aside",
    "set_aside_files",
    "spool_directory",
    "sync_directory",
    "was_set_aside",
]

LOG_NAME = "spool.db"
_SIDE_SUFFIXES = ("-wal", "-shm")
_KEPT_ASIDE = 3
"""Unreadable logs to keep for a look; older ones are deleted."""
_NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs"})


class UnsafePlaceError(OSError):
    """The spool must not be here: somebody else could read or change it, or locks do not hold."""


def spool_directory(state_directory: Path, service: str) -> Path:
    """The directory of the spool of `service` (a `service.name`, whatever is in it) below the state directory.

    Letters, digits, `.`, `_` and `-` are kept; a name with anything else is told apart by a hash, so that no name
    leads out of the directory and no two services share a spool.
    """
    return state_directory / "spool" / safe_name(service or "default")


def safe_name(name: str) -> str:
    """`name` as a file name: unchanged if harmless, else its harmless part and a hash of the whole."""
    harmless = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:64].lstrip(".")
    if harmless == name:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{harmless or 'name'}-{digest}"


def prepare(directory: Path) -> Path:
    """Make the private directory and an empty log in it, where missing, check them, and return the log's path.

    Raises UnsafePlaceError where the place cannot be trusted, and OSError where the file system refuses.
    """
    _make(directory)
    _check_directory(directory)
    log = directory / LOG_NAME
    if not os.path.lexists(log):
        with _exclusively(directory):
            _create(log)
    for path in (log, *_side_files(log)):
        _check_file(path)
    return log


def _make(directory: Path) -> None:
    """Make what is missing of the path, and have the disk know the new names: a file below them would be lost too."""
    missing = list(itertools.takewhile(lambda place: not place.exists(), (directory, *directory.parents)))
    for place in reversed(missing):
        place.mkdir(mode=0o700, exist_ok=True)
        sync_directory(place.parent)
    directory.mkdir(mode=0o700, exist_ok=True)  # raises what is in the way


def sync_directory(directory: Path) -> None:
    """Make the disk have the names in a directory; some file systems know no such thing, and need it not."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_directory(directory: Path) -> None:
    found = directory.lstat()
    if stat.S_ISLNK(found.st_mode):
        raise UnsafePlaceError(f"The spool directory {directory} is a symbolic link. Name the directory itself.")
    if found.st_uid != os.geteuid():
        raise UnsafePlaceError(
            f"The spool directory {directory} belongs to user id {found.st_uid}, and this process runs as "
            f"{os.geteuid()}. Set OTEL_LLM_STATE_DIR to a directory of its own for each user."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        directory.chmod(0o700)
    kind = _file_system(directory)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise UnsafePlaceError(
            f"The spool directory {directory} is on a network file system ({kind}), where locks and shared memory "
            "do not hold. Set OTEL_LLM_STATE_DIR to a local disk."
        )


def _check_file(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise UnsafePlaceError(f"{path} is not a regular file. Remove it, or set OTEL_LLM_STATE_DIR elsewhere.")
    if found.st_uid != os.geteuid():
        raise UnsafePlaceError(
            f"{path} belongs to user id {found.st_uid}, and this process runs as {os.geteuid()}. "
            "Set OTEL_LLM_STATE_DIR to a directory of its own for each user."
        )
    if stat.S_IMODE(found.st_mode) & 0o077:
        path.chmod(0o600)


def _create(log: Path) -> None:
    """An empty file. What lies beside it is of a file that is gone, and would be taken for this one's."""
    if os.path.lexists(log):  # another process was first
        return
    for path in _side_files(log):
        if path.is_file() and not path.is_symlink():
            path.unlink()
    os.close(os.open(log, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))


def _side_files(log: Path) -> list[Path]:
    return [log.with_name(log.name + suffix) for suffix in _SIDE_SUFFIXES]


def _file_system(directory: Path) -> str:
    """The type of the file system that holds `directory`, as Linux names it; empty where that is not known."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    here = str(directory.resolve())
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        mount = fields[1].replace("\\040", " ")
        covers = here == mount or here.startswith(mount.rstrip("/") + "/")
        if covers and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write on the disk of `directory`."""
    return shutil.disk_usage(directory).free


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file that `path` names now; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(log: Path, broken: tuple[int, int] | None, label: str = "corrupt") -> Path | None:
    """Rename the log that was found `broken` and what SQLite keeps beside it; return its new path.

    None comes back, and nothing is moved, if `log` is another file by now: another process has been here first.
    Only the newest few are kept.
    """
    with _exclusively(log.parent):
        if broken is None or file_identity(log) != broken:
            return None
        aside = log.with_name(f"{label}-{time.time_ns()}.db")
        log.rename(aside)
        for suffix in _SIDE_SUFFIXES:
            with contextlib.suppress(FileNotFoundError):
                log.with_name(log.name + suffix).rename(aside.with_name(aside.name + suffix))
        for old in set_aside_files(log.parent)[:-_KEPT_ASIDE]:
            for suffix in ("", *_SIDE_SUFFIXES):
                old.with_name(old.name + suffix).unlink(missing_ok=True)
        return aside


@contextlib.contextmanager
def _exclusively(directory: Path) -> Iterator[None]:
    """Hold a lock that every process with this spool respects while it moves files."""
    lock = os.open(directory / "recover.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)  # releases it


def was_set_aside(directory: Path, identity: tuple[int, int] | None) -> bool:
    """Whether the file with this identity lies set aside in `directory` (and was not simply deleted)."""
    return any(file_identity(path) == identity for path in set_aside_files(directory))


def set_aside_files(directory: Path) -> list[Path]:
    """The logs that lie set aside in `directory`, oldest first; none where it cannot be read."""
    try:
        found = [*directory.glob("corrupt-*.db"), *directory.glob("unknown-*.db")]
    except OSError:  # its parent is closed to us: what says so is the spool
        return []
    return sorted(found, key=lambda path: path.name.rpartition("-")[2])
