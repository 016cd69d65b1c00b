"""A process that writes batches to a store: `python -m tests.unit.store.writing_process PATH BATCHES SIZE`."""

from __future__ import annotations

import sys
from pathlib import Path

from otel_llm.backends.local import LocalBackend
from otel_llm.contracts import Delivered
from tests.unit.store.building import batch_of, call, used


def main() -> None:
    """Write, and fail loudly if a batch is not taken at the first try."""
    path, batches, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    backend = LocalBackend(path, min_free_bytes=0)
    for _ in range(batches):
        outcome = backend.send(batch_of(*(call(attributes=used(1, 2, 0.001)) for _ in range(size))), timeout=30)
        assert outcome == Delivered(size), outcome
    backend.close()


if __name__ == "__main__":
    main()
