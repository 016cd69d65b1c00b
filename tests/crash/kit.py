"""What the spool's tests share: batches with known span ids, a backend that does as told, polling with a deadline."""

from __future__ import annotations

import itertools
import os
import threading
import time
from typing import TYPE_CHECKING

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm.contracts import Batch, Delivered, Rejected, Rejection, Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from otel_llm.contracts import Finding, Outcome
    from otel_llm.delivery.spool_types import SpoolReport


def _begin_counting() -> None:
    """From the time on: of two hundred children on a busy machine, two may have had the same process id."""
    global _counter  # noqa: PLW0603
    _counter = itertools.count((time.time_ns() >> 10) & 0x7F_FFFF_FFFF)


_counter: itertools.count[int]
_begin_counting()
os.register_at_fork(after_in_child=_begin_counting)


def new_ids(count: int) -> list[str]:
    """Span ids that no other call gives, here or in another process, 16 hex digits each."""
    return [f"{os.getpid() & 0xFFFFFF:06x}{next(_counter):010x}" for _ in range(count)]


def batch_of(ids: Sequence[str] | int = 1, *, size: int = 100) -> Batch:
    """A batch of real OTLP with one span for each id (or that many new ones), each padded to about `size` bytes."""
    ids = new_ids(ids) if isinstance(ids, int) else ids
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for span_id in ids:
        span = scope.spans.add(trace_id=bytes(15) + b"\1", span_id=bytes.fromhex(span_id), name="chat m")
        span.attributes.add(key="pad").value.string_value = "x" * size
    return Batch(request.SerializeToString(), len(ids))


def ids_in(batch: Batch) -> list[str]:
    """The span ids of a batch, in order."""
    request = ExportTraceServiceRequest.FromString(batch.payload)
    return [
        span.span_id.hex() for group in request.resource_spans for scope in group.scope_spans for span in scope.spans
    ]


class Sink:
    """A backend that remembers the span ids it took, and fails as told. Safe to use from any thread."""

    def __init__(self, name: str = "sink") -> None:
        self.name = name
        self.ids: list[str] = []
        self.sends = 0
        self.closed = False
        self.answers: list[Outcome | Exception] = []
        """Given one by one before anything else is."""
        self.down: Retry | None = None
        """Given to everything while set."""
        self.bad: set[str] = set()
        """Batches with one of these span ids are rejected as a whole."""
        self.refused: set[str] = set()
        """These spans are rejected one by one, the rest of their batch is taken."""
        self.choking: set[str] = set()
        """Batches with one of these span ids get a server error, always."""
        self.hang: threading.Event | None = None
        """While set, `send` waits for it, however long its timeout."""
        self._lock = threading.Lock()

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        self.sends += 1
        if self.hang is not None:
            self.hang.wait(60)
        with self._lock:
            return self._answer(batch)

    def _answer(self, batch: Batch) -> Outcome:
        ids = ids_in(batch)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            if not isinstance(answer, Delivered):
                return answer
        if self.down is not None:
            return self.down
        if self.choking & set(ids):
            return Retry("The server answered 500.", "server_error")
        if self.bad & set(ids):
            return Rejected("The server answered 400: bad span", "invalid")
        rejections = tuple(Rejection(i, "too_old", "the id is too old") for i in ids if i in self.refused)
        self.ids += [i for i in ids if i not in self.refused]
        return Delivered(len(ids) - len(rejections), rejections)

    def check(self) -> Sequence[Finding]:
        return []

    def close(self) -> None:
        self.closed = True


def wait_until(condition: Callable[[], object], seconds: float = 60.0) -> bool:
    """Poll until `condition()` is true; False if it is not by then."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def counts(report: SpoolReport, backend: str = "sink") -> tuple[int, int, int, dict[str, int], dict[str, int]]:
    """(created, delivered, waiting, rejected, dropped) of one backend."""
    ledger = report.backends[backend].ledger
    return ledger.created, ledger.delivered, ledger.waiting, ledger.rejected, ledger.dropped


def flatten(groups: Iterable[Sequence[str]]) -> list[str]:
    """The ids of all groups, in order."""
    return [item for group in groups for item in group]
