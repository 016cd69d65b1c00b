"""A program that fills and empties a spool, and marks in a file beside it what it was told; the power is cut later."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

from otel_llm.contracts import Rejection
from otel_llm.delivery import spool_sync
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_files import spool_directory
from otel_llm.delivery.spool_types import Appended, Reject, SpoolSettings
from tests.crash.kit import batch_of, ids_in, new_ids, wait_until


def main(state: Path, fsync: str, interval: float, batches: int, seed: int) -> None:
    """Append so many batches, deliver some of them, take care as a courier does; ends without closing anything."""
    spool_sync._CHECKPOINT_BYTES = 150_000  # type: ignore[misc]  # many checkpoints in a short run
    chance = random.Random(seed)
    marks = os.open(state / "marks", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def mark(what: str, ids: list[str]) -> None:
        os.write(marks, f"{what} {' '.join(ids)}\n".encode())

    settings = SpoolSettings(fsync=fsync, fsync_interval=interval, lock_timeout=5.0)  # type: ignore[arg-type]
    spool = Spool(spool_directory(state, "app"), settings)
    spool.register(["sink"])
    for _ in range(batches):
        ids = new_ids(chance.randint(1, 4))
        mark("begin", ids)
        if spool.append(batch_of(ids, size=chance.choice([100, 2_000, 20_000]))) is Appended.DISK:
            mark("kept", ids)
        if chance.random() < 0.3:
            deliver(spool, chance, mark)
        spool.tend()
        time.sleep(chance.choice([0.0, 0.0, 0.002, interval / 4]))
    assert wait_until(lambda: spool.tend() or spool.seconds_until_care() is None)
    mark("idle", [])
    os._exit(0)


def deliver(spool: Spool, chance: random.Random, mark: object) -> None:
    """Send what waits, and settle it; now and then the backend refuses the first span."""
    assert callable(mark)
    parcel = spool.take("sink", 60_000)
    if parcel is None:
        return
    ids = ids_in(parcel.batch)
    mark("sent", ids)
    refused = chance.random() < 0.2
    spool.settle("sink", parcel, [Reject(Rejection(ids[0], "invalid"), batch_of(ids[:1]))] if refused else [])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
