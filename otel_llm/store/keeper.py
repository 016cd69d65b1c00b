"""Keeps a store open for writing through whatever happens to its file, its disk and its process.

The file may be damaged, deleted, moved or locked, the disk may be full, the process may fork. Each write
comes back as done or as a `Trouble` that says why not; a damaged file is moved aside and a new one begun.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.errors import StoreError
from otel_llm.store.db import Trouble, diagnose
from otel_llm.store.private_file import file_identity, move_aside
from otel_llm.store.writer import DEFAULT_MAX_BYTES, StoreWriter

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.store.rows import Rows

__all__ = ["StoreKeeper"]

_log = logging.getLogger(__name__)

_left_by_parents: list[StoreWriter] = []
"""Writers that came across a fork. Using or closing one here could drop the parent's locks, so they are kept."""


class StoreKeeper:
    """Writes batches to the store at `path`, opening it as late as possible and as often as needed.

    `max_bytes` limits the file (None: the store's own default); nothing is written while less than
    `min_free_bytes` are free on the disk, because a full disk harms the host. One thread at a time.
    """

    def __init__(self, path: Path, *, max_bytes: int | None, min_free_bytes: int) -> None:
        self.path = path
        self.corrupt_files = 0
        """Damaged files moved aside so far."""
        self._max_bytes = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes
        self._min_free_bytes = min_free_bytes
        self._writer: StoreWriter | None = None
        self._process = os.getpid()

    def write(self, rows: Rows, *, deadline: float) -> Trouble | None:
        """Put all of `rows` into the store before `deadline` (monotonic seconds); None means they are there."""
        trouble = self._write(rows, deadline)
        if trouble is not None and trouble.reason == "corrupt":
            trouble = self._begin_anew(trouble) or self._write(rows, deadline)
        return trouble

    def close(self) -> None:
        """Close the file, unless it is a parent process's."""
        self._leave_what_a_parent_opened()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, rows: Rows, deadline: float) -> Trouble | None:
        try:
            full = self._disk_full()
            if full is None:
                self._open(deadline).write(rows, busy_seconds=_seconds_until(deadline))
        except (sqlite3.Error, OSError, OverflowError, StoreError) as error:
            return diagnose(error, self.path)
        return full

    def _open(self, deadline: float) -> StoreWriter:
        self._leave_what_a_parent_opened()
        if self._writer is not None and not self._writer.is_current:
            self.close()
        if self._writer is None:
            self._writer = StoreWriter(self.path, busy_seconds=_seconds_until(deadline), max_bytes=self._max_bytes)
        return self._writer

    def _leave_what_a_parent_opened(self) -> None:
        if self._process == os.getpid():
            return
        self._process = os.getpid()
        if self._writer is not None:
            _left_by_parents.append(self._writer)
            self._writer = None

    def _disk_full(self) -> Trouble | None:
        if not self.path.parent.is_dir():
            return None  # opening makes it, or says why it cannot
        free = shutil.disk_usage(self.path.parent).free
        if free >= self._min_free_bytes:
            return None
        return Trouble(
            "disk_full",
            f"Only {free / 1e6:.0f} MB are free where the local store is ({self.path.parent}), and "
            f"{self._min_free_bytes / 1e6:.0f} MB are left to the host. Free some space; what waits is written then.",
        )

    def _begin_anew(self, damage: Trouble) -> Trouble | None:
        """Move the damaged file aside; None when the way is free for a new one."""
        broken = self._writer.identity if self._writer is not None else file_identity(self.path)
        self.close()
        try:
            aside = move_aside(self.path, broken)
        except OSError as error:
            return diagnose(error, self.path)
        if aside is not None:
            self.corrupt_files += 1
            _log.warning(
                "%s It was moved to %s and a new store begun; `sqlite3 %s .recover` may read the old one.",
                damage.why,
                aside,
                aside,
            )
        return None


def _seconds_until(deadline: float) -> float:
    return max(0.0, deadline - monotonic())
