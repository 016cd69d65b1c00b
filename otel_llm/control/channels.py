"""A channel takes spans from the pipeline to one or more backends and can say where every one of them is.

DirectChannel               queue -> backend                         on this machine already
spooled.SpooledChannel      queue -> spool -> courier -> backends    survives the process
"""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from otel_llm.control.queue_guard import DropCounts, GuardedBatching
from otel_llm.delivery.exporter import DeliveryExporter
from otel_llm.ledger import Ledger, LedgerReport
from otel_llm.processors.chain import LAST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.sdk.trace.export import SpanExporter

    from otel_llm.config import Config
    from otel_llm.contracts import Backend
    from otel_llm.delivery.spool_types import Parked
    from otel_llm.processors.chain import Gate

__all__ = ["Channel", "ChannelReport", "DirectChannel", "batching", "empty_queue", "hand_over_delay"]

_HAND_OVER_PART: Final = 0.75
"""Part of `batch_delay` that a span waits in the pipeline's hand-over; the rest is the SDK's queue's."""


class Channel(Protocol):
    """What the pipeline and the status page need to know of a channel."""

    @property
    def processor(self) -> SpanProcessor:
        """Where ended spans are handed over."""
        ...

    @property
    def ledgers(self) -> Sequence[Ledger]:
        """Ledgers in which the pipeline counts each span that it hands over."""
        ...

    @property
    def gate(self) -> Gate | None:
        """Knows whether another span would have to wait; None where none ever does."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether spans are on their way to where they outlive the process; asked without any lock."""
        ...

    def flush(self, timeout: float) -> int:
        """Deliver what this process handed over so far, within `timeout` seconds; return the spans that still wait.

        A span that waits for two backends counts twice.
        """
        ...

    def reports(self) -> list[ChannelReport]:
        """Where the spans are, a report for each backend."""
        ...

    def hurry(self, timeout: float) -> None:
        """The process is about to end: whatever is being delivered has `timeout` seconds left."""
        ...

    def keep(self, timeout: float) -> None:
        """Put what is queued where it outlives the process; what hangs has `timeout` seconds."""
        ...

    def close(self, timeout: float) -> None:
        """Let go of connections and files, within `timeout` seconds."""
        ...


class ChannelReport(NamedTuple):
    """One backend's counts and its trouble, if it has any."""

    ledger: LedgerReport
    durable: bool
    """Whether what waits survives the end of the process."""
    failure: str | None = None
    """Why the backend takes nothing now, with what to do; None when the last attempt was answered."""
    failed_at: float | None = None
    """Unix seconds of the latest failed attempt; None where not known, then it was in this run of the program."""
    failing_since: float | None = None
    """Unix seconds of the first failed attempt after the last delivery; None where not known."""
    memory_only: str = ""
    """Why a spool that should be on disk is in memory; empty when it is where it should be."""
    oldest_waiting: float | None = None
    """Unix seconds at which the oldest waiting span was handed over; None where not known or nothing waits."""
    parked: tuple[Parked, ...] = ()
    """What waits for workspaces that were closed; `oldest_waiting` is about all else."""
    workspace: str = ""
    """The one that spans go to whose tenant has none of its own; empty for a backend without workspaces."""
    queued: int = 0
    """Of the waiting spans, those in this process's queue."""
    queue_capacity: int = 0
    processed: Mapping[str, int] = MappingProxyType({})
    """What this process's queue is done with: spans handed on (under an empty word), by reason those turned away."""
    spool_files_set_aside: int | None = None
    """Damaged spool files that lie beside the spool; None where there is no spool."""
    spool_bytes: int | None = None
    """Bytes that the spool uses on disk, for all backends together; None where there is no spool."""
    spool_capacity: int | None = None
    """Bytes that it may use: the smaller of its two caps."""


class DirectChannel:
    """Spans go from the queue straight to a backend on this machine."""

    def __init__(self, backend: Backend, config: Config) -> None:
        self._backend = backend
        self._ledger = Ledger(backend.name)
        self._exporter = DeliveryExporter(backend, self._ledger, timeout=config.export_timeout, announce=False)
        self._queue = batching(self._exporter, self._ledger, config, keeps=lambda: True)

    @property
    def processor(self) -> SpanProcessor:
        """Where ended spans are handed over."""
        return self._queue

    @property
    def ledgers(self) -> Sequence[Ledger]:
        """The backend's own ledger."""
        return [self._ledger]

    @property
    def gate(self) -> Gate:
        """The queue."""
        return self._queue

    @property
    def in_memory(self) -> bool:
        """Whether the backend has not been handed all."""
        return self._queue.is_busy

    def flush(self, timeout: float) -> int:
        """Hand everything queued to the backend; return the spans that still wait."""
        empty_queue(self._queue, timeout)
        return self._ledger.report().waiting

    def reports(self) -> list[ChannelReport]:
        """The backend's counts."""
        return [
            ChannelReport(
                ledger=self._ledger.report(),
                durable=False,
                failure=self._exporter.trouble,
                oldest_waiting=self._exporter.oldest_waiting,
                processed=self._queue.processed,
                queued=self._queue.queued,
                queue_capacity=self._queue.capacity,
            )
        ]

    def hurry(self, timeout: float) -> None:
        """Give what is under way, and all after it, an end: a later one where the backend takes what it gets."""
        self._exporter.hurry(timeout, while_taken=LAST_SECONDS)

    def keep(self, timeout: float) -> None:
        """Hand what is queued to the backend."""
        self._exporter.hurry(timeout, while_taken=LAST_SECONDS)
        empty_queue(self._queue, LAST_SECONDS)

    def close(self, timeout: float) -> None:  # noqa: ARG002  (a backend on this machine does not keep us waiting)
        """Close the backend."""
        self._backend.close()


def empty_queue(queue: GuardedBatching, timeout: float) -> bool:
    """Export what is queued, for at most `timeout` seconds; False if that goes on in the background.

    The SDK's `force_flush` exports on the thread that calls it and pays no heed to its timeout.
    """
    worker = threading.Thread(target=queue.force_flush, name="otel_llm flush", daemon=True)
    try:
        worker.start()
    except RuntimeError:  # no more threads, or (Python 3.12 and later) the interpreter is ending and starts none
        queue.force_flush()
        return True
    worker.join(timeout)
    return not worker.is_alive()


def hand_over_delay(config: Config) -> float:
    """Seconds that a span waits for others before the stages, on its way into the queue that `batching` makes."""
    return config.batch_delay * _HAND_OVER_PART / 1000.0


def batching(
    exporter: SpanExporter, counts: DropCounts, config: Config, *, keeps: Callable[[], bool]
) -> GuardedBatching:
    """The SDK's queue before `exporter`, with the sizes of `config`; `counts` hears of what it cannot take.

    `keeps` says whether what is exported now survives the process.
    """
    return GuardedBatching(
        exporter,
        counts,
        keeps=keeps,
        queue_size=config.batch_queue_size,
        batch_size=config.batch_size,
        delay=max(1, int(config.batch_delay * (1 - _HAND_OVER_PART))),
    )
