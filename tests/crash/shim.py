"""Disasters below the C library: a disk after a power cut, one that fails, a clock that jumps (see `shim.c`)."""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.tools import tool

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator

__all__ = ["Change", "Control", "Disk", "compiled", "read_log"]

_SOURCE: Final = Path(__file__).with_name("shim.c")
_HEAD: Final = struct.Struct("=iiqqd")
WRITE, TRUNCATE, SYNC, UNLINK, CREATE = range(1, 6)
_SECTOR: Final = 512
"""Bytes that a disk writes as one."""


def compiled(directory: Path) -> Path:
    """The library to put before a program; made in `directory`."""
    library = directory / "shim.so"
    command = [tool("gcc", "gcc"), "-O1", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return library


class Control:
    """What a running program's clock, disk and threads are like; changed from outside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(32))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 32)

    def shift_clock(self, seconds: float) -> None:
        """From now on the wall clock is so far from the true one."""
        self._memory[:8] = struct.pack("=q", int(seconds * 1e9))

    @contextmanager
    def failing_disk(self, error: int) -> Iterator[None]:
        """Writes and syncs below the watched directory fail with this errno."""
        self._memory[8:12] = struct.pack("=i", error)
        try:
            yield
        finally:
            self._memory[8:12] = bytes(4)

    @contextmanager
    def no_threads(self) -> Iterator[None]:
        """The system has no further thread to give."""
        self._memory[12:16] = struct.pack("=i", 1)
        try:
            yield
        finally:
            self._memory[12:16] = bytes(4)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a program did to a file."""

    kind: int
    path: str
    offset: int
    data: bytes
    at: float
    """Monotonic seconds."""


def read_log(log: Path) -> list[Change]:
    """Everything that was done, in order."""
    raw, position, found = log.read_bytes(), 0, []
    while position < len(raw):
        kind, path_length, offset, length, at = _HEAD.unpack_from(raw, position)
        position += _HEAD.size
        path = raw[position : position + path_length].decode()
        position += path_length
        found.append(Change(kind, path, offset, raw[position : position + length], at))
        position += length
    return found


class Disk:
    """What must be on a disk after the changes so far, and what else may be there or not.

    Strict: a write is there for sure once the file was synced after it, a name once its directory was. What was not
    synced is there, not there, or in part, sector by sector and in any order.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._sure: dict[str, bytearray] = {}
        """Content that is safe, of every file that there is by now."""
        self._unsure: dict[str, list[Change]] = {}
        self._unnamed: set[str] = set()
        """Files and directories whose name is not safe yet."""
        self._unlinked: dict[str, bytearray] = {}
        """Files that are gone, and may be back."""

    def happened(self, change: Change) -> None:
        """Take one more change into account."""
        if change.kind == CREATE:
            self._sure[change.path] = bytearray()
            self._unsure[change.path] = []
            self._unnamed.add(change.path)
        elif change.kind == UNLINK:
            self._unsure.pop(change.path, None)
            self._unlinked[change.path] = self._sure.pop(change.path, bytearray())
        elif change.kind == SYNC:
            self._synced(change.path)
        else:
            self._sure.setdefault(change.path, bytearray())
            self._unsure.setdefault(change.path, []).append(change)

    def _synced(self, path: str) -> None:
        for change in self._unsure.pop(path, []):
            _apply(change, self._sure[path], None)
        inside = {name for name in self._unnamed if os.path.dirname(name) == path}
        self._unnamed -= inside
        for name in [name for name in self._unlinked if os.path.dirname(name) == path]:
            del self._unlinked[name]

    def after_power_loss(self, into: Path, chance: random.Random, kept: float) -> None:
        """Write to `into` what a disk might have: of what is unsure, each sector with the chance `kept` (0 to 1)."""
        shutil.rmtree(into, ignore_errors=True)
        lost = {name for name in self._unnamed if chance.random() >= kept}
        into.mkdir()
        for path, content in self._files(chance, kept):
            ancestors = _upwards(path, self._root)
            if lost.isdisjoint(ancestors):
                place = into / os.path.relpath(path, self._root)
                place.parent.mkdir(parents=True, exist_ok=True)
                if path not in self._directories():
                    place.write_bytes(content)

    def _files(self, chance: random.Random, kept: float) -> Iterator[tuple[str, bytes]]:
        for path, sure in self._sure.items():
            content = bytearray(sure)
            for change in self._unsure.get(path, []):
                _apply(change, content, (chance, kept))
            yield path, bytes(content)
        for path, gone in self._unlinked.items():
            if path not in self._sure and chance.random() >= kept:
                yield path, bytes(gone)

    def _directories(self) -> set[str]:
        return {os.path.dirname(path) for path in self._sure}


def _upwards(path: str, root: str) -> Iterable[str]:
    while len(path) > len(root):
        yield path
        path = os.path.dirname(path)


def _apply(change: Change, content: bytearray, luck: tuple[random.Random, float] | None) -> None:
    """Do it to `content`, whole, or as far as luck has it."""
    if change.kind == TRUNCATE:
        if luck is None or luck[0].random() < luck[1]:
            del content[change.offset :]
            content.extend(bytes(change.offset - len(content)))
        return
    for start in range(0, len(change.data), _SECTOR):
        if luck is None or luck[0].random() < luck[1]:
            piece = change.data[start : start + _SECTOR]
            at = change.offset + start
            content.extend(bytes(max(0, at - len(content))))
            content[at : at + len(piece)] = piece
