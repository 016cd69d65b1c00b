"""The backend `file`: OTLP/JSON lines, one ExportTraceServiceRequest per line.

The format is the one of the Collector's file exporter, and its otlpjsonfile receiver reads it. Each batch is appended
by one write under a lock, so several processes can share a file. The file is opened for each batch: whoever rotates
or deletes it from outside is noticed. Mode 0600, never through a symbolic link.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from otel_llm.backends.trouble import Refusal, Trouble
from otel_llm.clock import monotonic
from otel_llm.contracts import CheckStatus, Delivered, Finding
from otel_llm.otlp_json import to_otlp_json
from otel_llm.wire import IllFormedPayloadError, decode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otel_llm.config import Config
    from otel_llm.contracts import Backend, Batch, Outcome

__all__ = ["FileBackend", "create"]

_MAX_BYTES: Final = 128 * 1024 * 1024
_OLD_FILES: Final = 4
_LOCK_PAUSE_SECONDS: Final = 0.005
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""O_NONBLOCK so that a FIFO in the file's place is an error at once, not a hang."""


def create(config: Config) -> Backend:
    """The backend that writes to `config.file_path`."""
    return FileBackend(config.file_path)


class FileBackend:
    """Appends to `path`. A file that would grow beyond `max_bytes` becomes `path.1`, that one `path.2`, and so on.

    `old_files` are kept; 0 keeps none. A batch that is larger than `max_bytes` by itself gets a file of its own.
    """

    name = "file"

    def __init__(self, path: Path, *, max_bytes: int = _MAX_BYTES, old_files: int = _OLD_FILES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._old_files = old_files

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        """Append the batch as one line; waits up to `timeout` seconds for other writers."""
        try:
            line = _line_of(batch)
        except IllFormedPayloadError as error:
            return Refusal(f"The batch cannot be written to {self.path}: {error}.").outcome()
        try:
            self._append(line, monotonic() + timeout)
        except OSError as error:
            return self._trouble(error).outcome()
        return Delivered(batch.span_count)

    def check(self) -> Sequence[Finding]:
        """Look whether the file could be written, creating nothing."""
        try:
            evidence = self._examined()
        except OSError as error:
            return [self._trouble(error).finding("file")]
        return [Finding("file", CheckStatus.OK, evidence)]

    def close(self) -> None:
        """Nothing to release: no file is held open between batches."""

    def _append(self, line: bytes, deadline: float) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            descriptor = os.open(self.path, _FLAGS, 0o600)
            try:
                _lock(descriptor, deadline)
                found = _require_regular(descriptor)
                if not self._is_current(found):
                    continue  # another process rotated the file while we waited
                if found.st_size and found.st_size + len(line) > self._max_bytes:
                    self._rotate()
                    continue
                return _write_whole(descriptor, line, found.st_size)
            finally:
                os.close(descriptor)  # releases the lock

    def _is_current(self, held: os.stat_result) -> bool:
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def _rotate(self) -> None:
        """Move every file one number up, the oldest out; the caller holds the lock of the current one."""
        if not self._old_files:
            self.path.unlink()
            return
        for number in range(self._old_files - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        self.path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def _examined(self) -> str:
        """What there is, in words; raises the `OSError` that a batch would meet."""
        try:
            found = self.path.lstat()
        except FileNotFoundError:
            return self._examined_directory()
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return f"{self.path} can be written ({found.st_size} bytes so far)."

    def _examined_directory(self) -> str:
        nearest = next(parent for parent in self.path.absolute().parents if parent.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return f"{self.path} does not exist yet and can be created."

    def _trouble(self, error: OSError) -> Trouble:
        what = f"Spans cannot be written to {self.path}: {error.strerror or type(error).__name__}."
        remedy, reason, needs_action = _REMEDIES.get(error.errno or 0, _OTHER)
        return Trouble(what, remedy, reason, needs_action=needs_action)


_CHOOSE: Final = "choose another file_path (OTEL_LLM_FILE_PATH)"
_OTHER: Final = ("Look at the disk and at the system's log.", "io_error", False)
_REMEDIES: Final = {
    errno.ENOSPC: ("Free some space on that disk.", "disk_full", False),
    errno.EDQUOT: ("Free some space within your quota.", "disk_full", False),
    errno.EROFS: (f"The file system is read-only: {_CHOOSE}.", "read_only", True),
    errno.EACCES: (f"Give this user the right to write there, or {_CHOOSE}.", "permission", True),
    errno.EPERM: (f"Give this user the right to write there, or {_CHOOSE}.", "permission", True),
    errno.ELOOP: (f"It is a symbolic link, which is not followed: remove it, or {_CHOOSE}.", "unsafe_path", True),
    errno.EISDIR: (f"It is not an ordinary file: {_CHOOSE}.", "unsafe_path", True),
    errno.ENXIO: (f"It is not an ordinary file: {_CHOOSE}.", "unsafe_path", True),
    errno.ENOENT: (f"Its directory is missing and cannot be made: {_CHOOSE}.", "unsafe_path", True),
    errno.ENOTDIR: (f"A part of the path is not a directory: {_CHOOSE}.", "unsafe_path", True),
    errno.EEXIST: (f"A part of the path is not a directory: {_CHOOSE}.", "unsafe_path", True),
    errno.ENAMETOOLONG: (f"The name is too long: {_CHOOSE}.", "unsafe_path", True),
    errno.EAGAIN: ("Another process holds it; it will be tried again.", "locked", False),
}
"""errno -> what to do, reason, whether waiting alone will not help."""


def _line_of(batch: Batch) -> bytes:
    # JSON escapes line breaks inside strings, so a line is a line.
    return json.dumps(to_otlp_json(decode(batch)), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _require_regular(descriptor: int) -> os.stat_result:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    return found


def _lock(descriptor: int, deadline: float) -> None:
    """Lock the file against our other processes; raises BlockingIOError (EAGAIN) at the deadline."""
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if monotonic() >= deadline:
                raise
        time.sleep(_LOCK_PAUSE_SECONDS)


def _write_whole(descriptor: int, line: bytes, size_before: int) -> None:
    """Write the line, or leave the file as it was: a torn line would spoil the next one too."""
    try:
        written = os.write(descriptor, line)
        while written < len(line):
            written += os.write(descriptor, line[written:])
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size_before)
        raise
