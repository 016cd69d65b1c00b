"""The default backend: an SQLite file of one's own, which needs no key, no network and no server.

Loading this module loads neither sqlite3 nor protobuf; the first `send` or `check` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_llm.clock import monotonic
from otel_llm.contracts import Delivered, Rejected, Retry
from otel_llm.faults import note_fault
from otel_llm.loading import loading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from otel_llm.config import Config
    from otel_llm.contracts import Batch, Finding, Outcome
    from otel_llm.store.keeper import StoreKeeper
    from otel_llm.store.rows import Rows

__all__ = ["LocalBackend"]

_MIN_FREE_BYTES = 128 * 1024**2


class LocalBackend:
    """Puts batches into the local store at `path`, which it creates when the first one comes.

    `max_bytes` limits the file (None: the store's own default, 4 GiB); while less than `min_free_bytes` are
    free on the disk, batches stay where they are.
    """

    name = "local"

    def __init__(self, path: Path, *, max_bytes: int | None = None, min_free_bytes: int = _MIN_FREE_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._keeper: StoreKeeper | None = None

    @property
    def corrupt_files(self) -> int:
        """How many damaged store files this backend has moved aside."""
        return 0 if self._keeper is None else self._keeper.corrupt_files

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        """Put the whole batch into the store in one transaction; spans that come again replace themselves.

        Waits up to `timeout` seconds for other writers. Rejected: the payload is no OTLP. Retry, with reason
        `disk_full`, `read_only`, `permission`, `locked`, `cannot_open`, `io_error`, `corrupt`, `unusable`
        (the path is not safe, or a newer otel_llm wrote the file) or `internal`: not now.
        """
        deadline = monotonic() + timeout
        try:
            rows = _decode(batch.payload)
        except Exception as error:  # noqa: BLE001  (whatever is wrong with the bytes, it will not get better)
            return Rejected(f"The batch is not a readable OTLP request ({type(error).__name__}: {error}).")
        if batch.span_count and not (rows.spans or rows.rejected):
            return Rejected(f"The batch should hold {batch.span_count} spans and holds none.")
        try:
            return self._store(rows, deadline)
        except Exception as error:  # noqa: BLE001  (the contract: send never raises, and nothing is lost)
            note_fault("the local store", error)
            return Retry(f"The local store failed unexpectedly ({type(error).__name__}: {error}).", "internal")

    def prepare(self) -> None:
        """Load protobuf, sqlite3 and what writes rows."""
        with loading("the local store"):
            from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: F401, PLC0415

            from otel_llm.store import keeper, rows  # noqa: F401, PLC0415

    def check(self) -> Sequence[Finding]:
        """Look at directory, rights, free disk, writability and integrity; creates nothing."""
        from otel_llm.store.checkup import check_store  # noqa: PLC0415  (loads sqlite3)

        return check_store(self.path, min_free_bytes=self._min_free_bytes)

    def close(self) -> None:
        """Close the file; a later `send` would open it again."""
        if self._keeper is not None:
            self._keeper.close()

    def _store(self, rows: Rows, deadline: float) -> Outcome:
        if self._keeper is None:
            from otel_llm.store.keeper import StoreKeeper  # noqa: PLC0415  (loads sqlite3)

            self._keeper = StoreKeeper(self.path, max_bytes=self._max_bytes, min_free_bytes=self._min_free_bytes)
        trouble = self._keeper.write(rows, deadline=deadline)
        if trouble is None:
            return Delivered(len(rows.spans), tuple(rows.rejected))
        if trouble.permanent:
            return Rejected(trouble.why, trouble.reason)
        return Retry(trouble.why, trouble.reason, needs_action=trouble.needs_action)


def _decode(payload: bytes) -> Rows:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415  (loads protobuf)
        ExportTraceServiceRequest,
    )

    from otel_llm.store.rows import rows_of  # noqa: PLC0415

    return rows_of(ExportTraceServiceRequest.FromString(payload))


def create(config: Config) -> LocalBackend:
    """The backend as settings describe it."""
    return LocalBackend(config.store_path)
