"""Looks whether the store could take spans now, one fact per finding, without writing any."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.contracts import CheckStatus, Finding
from otel_llm.errors import StoreError
from otel_llm.store.db import ANOTHER_PATH, diagnose, open_writer
from otel_llm.store.private_file import directory_fault, file_fault

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_store"]

_BUSY_SECONDS = 1.0
"""How long another writer is waited for, twice: a doctor in a hurry has three seconds for the whole store."""
_INTEGRITY_SECONDS = 3.0
_INSTRUCTIONS_BETWEEN_LOOKS = 10_000


def check_store(path: Path, *, min_free_bytes: int) -> list[Finding]:
    """Findings on the directory, rights, free disk, writability and integrity of the store at `path`.

    Creates nothing: a store that does not exist yet is judged by where it would be made.
    """
    findings = [_directory(path.parent), _permissions(path), _disk(path.parent, min_free_bytes)]
    broken = any(finding.status is CheckStatus.FAILED for finding in findings[:2])
    if broken or not path.exists():
        why = "a check above failed" if broken else f"{path} does not exist yet; the first span creates it"
        skipped = [Finding(f"local.{name}", CheckStatus.SKIPPED, why) for name in ("writable", "integrity")]
        return [*findings, *skipped]
    return [*findings, _writable(path), _integrity(path)]


def _nearest_existing(directory: Path) -> Path:
    """Not by `Path.exists`, which raises where this user may not look."""
    return next(place for place in (directory, *directory.absolute().parents) if os.path.exists(place))


def _directory(directory: Path) -> Finding:
    place = _nearest_existing(directory)
    if not place.is_dir():
        return _failed(
            "directory",
            f"{place} is a file, so {directory} cannot be made",
            ANOTHER_PATH,
        )
    if not os.access(place, os.W_OK | os.X_OK):
        return _failed("directory", f"this user may not write in {place}", ANOTHER_PATH)
    state = "exists and can be written" if place == directory else f"will be made in {place}"
    return Finding("local.directory", CheckStatus.OK, f"{directory} {state}")


def _permissions(path: Path) -> Finding:
    if not os.path.isdir(path.parent):
        return Finding("local.permissions", CheckStatus.OK, "the directory will be 0700 and the file 0600")
    fault = directory_fault(path.parent) or file_fault(path)
    if fault:
        return _failed("permissions", fault, ANOTHER_PATH)
    mode = stat.S_IMODE(path.parent.stat().st_mode)
    evidence = f"the directory is {mode:04o}, the file is or will be 0600"
    if mode & stat.S_IWGRP:
        remedy = f"Run `chmod g-w {path.parent}`: its group could swap the store's files."
        return Finding("local.permissions", CheckStatus.WARNING, evidence, remedy)
    return Finding("local.permissions", CheckStatus.OK, evidence)


def _disk(directory: Path, min_free_bytes: int) -> Finding:
    free = shutil.disk_usage(_nearest_existing(directory)).free
    evidence = f"{free / 1e9:.1f} GB free"
    if free < min_free_bytes:
        return _failed("disk", evidence, f"Free some space: nothing is written below {min_free_bytes / 1e9:.2f} GB.")
    return Finding("local.disk", CheckStatus.OK, evidence)


def _writable(path: Path) -> Finding:
    try:
        connection = open_writer(path, busy_seconds=_BUSY_SECONDS)
        try:
            mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        finally:
            connection.close()
    except (sqlite3.Error, OSError, StoreError) as error:
        trouble = diagnose(error, path)
        held = "End what holds it, most likely an open `sqlite3` shell or a copy being made."
        return _failed("writable", trouble.why, held if trouble.reason == "locked" else "See the reason given.")
    if mode != "wal":
        remedy = "Readers and writers wait for each other here; put the store on a local disk."
        return Finding("local.writable", CheckStatus.WARNING, f"{path} takes writes, journal mode {mode}", remedy)
    return Finding("local.writable", CheckStatus.OK, f"{path} takes writes")


def _integrity(path: Path) -> Finding:
    """SQLite's quick check, given up after some seconds: it reads the whole file."""
    deadline = monotonic() + _INTEGRITY_SECONDS
    try:
        connection = sqlite3.Connection(path.absolute().as_uri() + "?mode=ro", uri=True, timeout=0.0)
        try:
            connection.set_progress_handler(lambda: monotonic() > deadline, _INSTRUCTIONS_BETWEEN_LOOKS)
            answer = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error as error:
        if "interrupted" in str(error):
            why = f"nothing wrong found in {_INTEGRITY_SECONDS:.0f} s; the file is too large to read in full here"
            return Finding("local.integrity", CheckStatus.SKIPPED, why)
        if "locked" in str(error):
            return Finding("local.integrity", CheckStatus.SKIPPED, "another process holds the file")
        answer = str(error)
    if answer != "ok":
        remedy = "The next span moves the file aside and begins a new one; `sqlite3 FILE .recover` may read the old."
        return _failed("integrity", answer, remedy)
    return Finding("local.integrity", CheckStatus.OK, "SQLite finds no damage")


def _failed(check: str, evidence: str, remedy: str) -> Finding:
    return Finding(f"local.{check}", CheckStatus.FAILED, evidence, remedy)
