"""The power goes at any moment: what the disk must have by then is enough to keep the spool's promise.

Every write, truncation, sync and new name of a program is recorded in order (`shim.c`). For moments of that record a
disk is made up that has what was synced for sure, and of the rest what chance leaves: nothing, all of it, or single
sectors in any order. The spool is opened on it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_files import spool_directory
from tests.crash.kit import ids_in
from tests.crash.shim import SYNC, Change, Disk, compiled, read_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.crash.disaster_table import Verdict

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that records."""
    return compiled(tmp_path_factory.mktemp("shim"))


@dataclass
class Known:
    """What the program had been told, and what the disk must have of it, at one moment of the record."""

    kept: dict[str, float] = field(default_factory=dict)
    """Spans that were acknowledged as on disk, and when."""
    safe: set[str] = field(default_factory=set)
    """Of these, the ones that were followed by a sync."""
    sent: set[str] = field(default_factory=set)
    """Spans that the backend has been sent."""
    ended: set[str] = field(default_factory=set)
    idle: bool = False

    def look(self, change: Change) -> None:
        """Take one more change into account."""
        if change.kind == SYNC and change.path.endswith(("-wal", ".db")):
            self.safe |= set(self.kept)
        if not change.path.endswith("/marks"):
            return
        for line in change.data.decode().splitlines():
            what, *ids = line.split()
            if what == "begin":
                self.ended |= set(ids)
            elif what == "kept":
                self.kept |= dict.fromkeys(ids, change.at)
            elif what == "sent":
                self.sent |= set(ids)
            self.idle |= what == "idle"


def record(shim: Path, directory: Path, *, fsync: str, interval: float, batches: int, seed: int) -> list[Change]:
    """Run the program and return everything that it did to its files."""
    (directory / "state").mkdir(mode=0o700)
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LD_PRELOAD": str(shim),
        "SHIM_LOG": str(directory / "log"),
        "SHIM_WATCH": str(directory / "state"),
    }
    command = [sys.executable, "-m", "tests.crash.power_program", str(directory / "state"), fsync]
    subprocess.run([*command, str(interval), str(batches), str(seed)], env=environ, cwd=ROOT, check=True, timeout=100)
    return read_log(directory / "log")


def states(changes: list[Change], root: Path, chance: random.Random, cuts: int) -> Iterator[tuple[Disk, Known]]:
    """The disk and what was known at so many moments, at the end too."""
    chosen = set(chance.sample(range(1, len(changes)), min(cuts, len(changes) - 1))) | {len(changes) - 1}
    disk, known = Disk(root), Known()
    for index, change in enumerate(changes):
        if not change.path.endswith("/marks"):
            disk.happened(change)
        known.look(change)
        if index in chosen:
            yield disk, known


def found_in(directory: Path) -> tuple[Spool, set[str]]:
    """The spool of the program as the next start finds it, and the spans that wait in it."""
    spool = Spool(spool_directory(directory, "app"))
    spool.register(["sink"])
    waiting: list[str] = []
    after = 0
    while (parcel := spool.take("sink", 1 << 30, after=after)) is not None:
        waiting += ids_in(parcel.batch)
        after = parcel.rows[-1][0]
    assert len(waiting) == len(set(waiting))
    return spool, set(waiting)


@pytest.mark.parametrize(
    ("fsync", "cuts"),
    [("interval", 25), ("always", 25), pytest.param("interval", 120, marks=pytest.mark.slow)],
)
def test_a_power_cut_loses_no_more_than_was_not_synced(
    fsync: str, cuts: int, shim: Path, tmp_path: Path, verdict: Verdict
) -> None:
    """Whatever the disk made of the rest: what was synced is there, nothing is corrupt, and the books balance."""
    seed = 20261122 + cuts
    chance = random.Random(seed)
    changes = record(shim, tmp_path, fsync=fsync, interval=0.05, batches=150, seed=seed)
    looked = lost = unsynced = doubled = 0
    for disk, known in states(changes, tmp_path / "state", chance, cuts):
        if fsync == "always":
            known.safe |= set(known.kept)
        for kept in (0.0, 0.5, 0.95, 1.0):
            disk.after_power_loss(tmp_path / "after", chance, kept)
            spool, waiting = found_in(tmp_path / "after")
            report = spool.report()
            assert (report.degraded, report.set_aside) == ("", 0)
            ledger = report.backends["sink"].ledger
            counted = ledger.delivered + sum(ledger.rejected.values())
            assert ledger.dropped == {}
            assert ledger.waiting == len(waiting)
            assert ledger.created == counted + len(waiting)
            assert waiting <= known.ended
            assert counted <= len(known.sent)
            looked += 1
            lost += len(known.safe - waiting - known.sent)
            unsynced += len(set(known.kept) - known.safe - waiting - known.sent)
            doubled += len(waiting & known.sent)
            spool.close()
    assert known.idle
    assert lost == 0
    disk.after_power_loss(tmp_path / "after", chance, 0.0)
    spool, waiting = found_in(tmp_path / "after")
    assert set(known.kept) <= waiting | known.sent, "an idle program has synced everything"
    spool.close()
    print(f"{looked} disks, {len(known.kept)} spans: {unsynced} gone as not synced yet, {doubled} sent again")
    assert fsync == "always" or unsynced > 0, "no cut hit anything that was not synced: this proves nothing"
    verdict(
        4,
        f"power cut, fsync = {fsync}, {cuts} moments, four disks each",
        created=len(known.kept),
        delivered=len(known.kept),
        lost=lost,
        varies=True,
    )


def test_nothing_stays_unsynced_for_longer_than_the_interval(shim: Path, tmp_path: Path) -> None:
    """When a batch is acknowledged, every one that was acknowledged an interval before it began has been synced."""
    interval = 0.05
    changes = record(shim, tmp_path, fsync="interval", interval=interval, batches=80, seed=1)
    known, late, began = Known(), [], 0.0
    for change in changes:
        known.look(change)
        if change.path.endswith("/marks") and change.data.startswith(b"begin"):
            began = change.at
        if change.path.endswith("/marks") and change.data.startswith(b"kept"):
            late += [
                span_id for span_id, at in known.kept.items() if at < began - interval and span_id not in known.safe
            ]
    assert late == []
    assert len(known.kept) >= 80
