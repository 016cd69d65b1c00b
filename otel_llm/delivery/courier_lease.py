"""Who delivers: one process at a time for each backend, also what other and dead processes left."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Lease"]

_HELD_BY_ANOTHER = {errno.EAGAIN, errno.EACCES}


class Lease:
    """A file lock that the system takes back when its holder dies, however it dies. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether we are the one."""
        return self._descriptor is not None

    def acquire(self) -> bool:
        """Try to become the one who delivers; True if we are. Raises OSError where that can be nobody here.

        Never in somebody else's directory: a lock of root's would keep its owner from delivering.
        """
        if self._descriptor is not None and not self._still_there(self._descriptor):
            self.release()
        if self._descriptor is None:
            if self.path.parent.stat().st_uid != os.geteuid():
                raise PermissionError(errno.EACCES, "the directory belongs to another user", str(self.path))
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno in _HELD_BY_ANOTHER:
                    return False
                raise
            self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let another process have it. In a forked child this leaves the parent's hold on it as it is."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _still_there(self, descriptor: int) -> bool:
        """Whether the path still names the file that we hold; somebody may have removed the directory."""
        try:
            named = os.stat(self.path)
        except OSError:
            return False
        held = os.fstat(descriptor)
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)
