"""Images, audio and documents of calls as files beside the store, named by hash: a span holds the hash, not the bytes.

The recorder offers what it takes out of a message; only what a span still names once the content policy has seen it is
kept. Writing happens on a thread of its own. The directory is private (0700, files 0600) and bounded: over its limit
the files that were used longest ago go.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import threading
import weakref
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.errors import StoreError
from otel_llm.faults import note_fault
from otel_llm.store.private_file import directory_fault

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MediaFiles", "offer", "use_media"]

_log = logging.getLogger(__name__)

_MOST_PENDING: Final = 32 * 1024 * 1024
"""Characters of base64 that are held until a span asks for them, or until they are written."""
_URL_SAFE: Final = str.maketrans("-_", "+/")
_EXTENSIONS: Final = {"jpeg": "jpg", "svg+xml": "svg", "mpeg": "mp3", "x-wav": "wav", "plain": "txt"}


class _Medium(NamedTuple):
    encoded: str
    """Base64."""
    mime_type: str


class MediaFiles:
    """Keeps media in `directory`, at most `max_bytes` of them. Safe to use from any thread; never raises."""

    def __init__(self, directory: Path, *, max_bytes: int) -> None:
        self.directory = directory
        self._max_bytes = max_bytes
        self._warned = False
        self._worker: threading.Thread | None = None
        self.reset_after_fork()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def offer(self, digest: str, encoded: str, mime_type: str = "") -> None:
        """Hold base64 text, whose SHA-256 is `digest` (hex), until a span that is kept names it."""
        if len(encoded) > _MOST_PENDING:
            return
        with self._changed:
            before = self._pending.pop(digest, None)
            self._held -= len(before.encoded) if before is not None else 0
            self._pending[digest] = _Medium(encoded, mime_type)
            self._held += len(encoded)
            while self._held > _MOST_PENDING and self._pending:
                self._held -= len(self._pending.popitem(last=False)[1].encoded)

    def keep(self, digest: str) -> None:
        """A span names this: write it soon, if it was offered."""
        with self._changed:
            medium = self._pending.pop(digest, None)
            if medium is None:
                return
            self._queue.append((digest, medium))
            if self._worker is None:
                worker = threading.Thread(target=self._work, name="otel_llm media", daemon=True)
                try:
                    worker.start()
                except RuntimeError:  # the interpreter is ending and starts no more threads
                    return
                self._worker = worker
            self._changed.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until everything to be kept is written, for at most `timeout` seconds; False if some is not."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue or self._worker is None, timeout)

    def reset_after_fork(self) -> None:
        """In a child: what is held and queued is the parent's, and so is its thread."""
        self._changed = threading.Condition()
        self._pending: OrderedDict[str, _Medium] = OrderedDict()
        self._queue: deque[tuple[str, _Medium]] = deque()
        self._held = 0
        self._worker = None

    def _work(self) -> None:
        changed, queue = self._changed, self._queue  # of this process, also if it forks meanwhile
        while True:
            with changed:
                changed.wait_for(lambda: bool(queue))
                digest, medium = queue[0]
            try:
                self._write(digest, medium)
            except (OSError, ValueError, StoreError) as error:
                self._note(error)
            with changed:
                queue.popleft()
                self._held -= len(medium.encoded)
                changed.notify_all()

    def _write(self, digest: str, medium: _Medium) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        fault = directory_fault(self.directory)
        if fault:
            raise StoreError(fault)
        path = self.directory / f"{digest}{_extension(medium.mime_type)}"
        if path.is_symlink() or path.exists():
            os.utime(path, follow_symlinks=False)  # used again
            return
        text = medium.encoded.translate(_URL_SAFE)
        content = base64.b64decode(text + "=" * (-len(text) % 4))
        if len(content) > self._max_bytes:
            return
        self._make_room(len(content))
        part = self.directory / f".{digest}.{os.getpid()}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            file.write(content)
        part.rename(path)

    def _make_room(self, wanted: int) -> None:
        """Delete the files that were used longest ago until `wanted` more bytes fit."""
        files = []
        for path in self.directory.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process makes room too
                found = path.lstat()
                files.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in files) + wanted
        for _, size, path in sorted(files):
            if total <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _note(self, error: Exception) -> None:
        note_fault("keeping media", error)
        if not self._warned:
            self._warned = True
            _log.warning(
                "Media could not be kept in %s (%s). Spans are not affected; they name hash and size all the same.",
                self.directory,
                error.strerror if isinstance(error, OSError) else error,
            )


_current: MediaFiles | None = None


def use_media(files: MediaFiles | None) -> None:
    """Offer media to `files` from now on; None: to nobody."""
    global _current  # noqa: PLW0603  (one per process, as the recorder of litellm is)
    _current = files


def offer(digest: str, encoded: str, mime_type: str = "") -> None:
    """Offer what was taken out of a message, where media are kept at all."""
    files = _current
    if files is not None:
        files.offer(digest, encoded, mime_type)


def _extension(mime_type: str) -> str:
    """A file's ending for a type; none for what is not plainly one, as it may be anybody's text."""
    kind = mime_type.partition("/")[2].lower()
    kind = _EXTENSIONS.get(kind, kind)
    return f".{kind}" if kind.isascii() and kind.isalnum() and len(kind) <= 8 else ""
