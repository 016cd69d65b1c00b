"""A whole pipeline, as `configure` makes it, in front of a server that misbehaves as told; and where its spans are."""

from __future__ import annotations

import itertools
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm.backends.opik.ids import Uuid7IdGenerator
from otel_llm.control.health_app import page
from tests.fakes.otlp_receiver import OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from otel_llm.control.running import BackendStatus
    from tests.crash.disaster_table import Verdict
    from tests.fakes.http_server import Reply, Request

__all__ = ["Faulty", "Rig", "arrivals"]

PATIENCE = 60.0


class Faulty(OtlpReceiver):
    """An OTLP receiver that first does what is in `faults`: a reply, and whether the spans are taken all the same."""

    def __init__(self, *faults: tuple[Reply, bool], **options: Any) -> None:
        super().__init__(**options)
        self.faults = deque(faults)

    def _receive(self, request: Request) -> Reply:
        if not self.faults:
            return super()._receive(request)
        reply, takes = self.faults.popleft()
        if takes:
            super()._receive(request)
        return reply


class Rig:
    """A program's pipeline with one backend, `otlp` unless told otherwise, and the ids of its spans."""

    def __init__(self, state: Path, **settings: Any) -> None:
        self.settings = {
            "backend": "otlp",
            "state_dir": state,
            "instrument": [],
            "batch_delay": 20,
            "spans": "all",
            **settings,
        }
        self.provider = TracerProvider(shutdown_on_exit=False, id_generator=Uuid7IdGenerator())
        otel_llm.configure(tracer_provider=self.provider, **self.settings)
        self.ids: list[str] = []

    def spans(self, count: int, name: str = "work", **attributes: Any) -> None:
        """End so many spans."""
        tracer = self.provider.get_tracer("app")
        for _ in range(count):
            span = tracer.start_span(name, attributes=attributes)
            span.end()
            self.ids.append(f"{span.get_span_context().span_id:016x}")

    def backend(self, name: str | None = None) -> BackendStatus:
        """Its state now, after a look at the books."""
        wanted = name or str(self.settings["backend"])
        found = next(backend for backend in otel_llm.status().backends if backend.name == wanted)
        counted = sum(found.rejected.values()) + sum(found.dropped.values())
        assert found.created == found.delivered + found.waiting + counted, "the books do not balance"
        return found

    def settled(self, seconds: float = PATIENCE) -> bool:
        """Deliver until nothing waits any more; False if something still does after so many seconds."""
        deadline = time.monotonic() + seconds
        while otel_llm.flush(0.5).waiting:
            if time.monotonic() > deadline:
                return False
        return True

    def attempted(self, seconds: float = PATIENCE) -> BackendStatus:
        """The backend's state as soon as it is `failing`."""
        deadline = time.monotonic() + seconds
        while (found := self.backend()).state != "failing":
            assert time.monotonic() < deadline, found
            time.sleep(0.01)
        return found

    def tell(self, verdict: Verdict, row: int, injected: str, arrived: Sequence[str], *, varies: bool = False) -> None:
        """Count what became of the spans, compare with what our own books and our metrics say, and note the row."""
        backend = self.backend()
        counted = sum(backend.rejected.values()) + sum(backend.dropped.values())
        delivered = len(set(arrived) & set(self.ids))
        verdict(
            row,
            injected,
            created=len(self.ids),
            delivered=delivered,
            duplicates=len(arrived) - len(set(arrived)),
            counted=counted,
            lost=len(self.ids) - delivered - counted - backend.waiting,
            varies=varies,
        )
        assert set(arrived) <= set(self.ids), "what nobody sent has arrived"
        assert (backend.created, backend.delivered) == (len(self.ids), delivered), "the books are wrong"
        assert shown_by_metrics(backend.name) == (backend.created, backend.delivered, backend.waiting, counted)


def shown_by_metrics(backend: str) -> tuple[int, int, int, int]:
    """(created, delivered, waiting, rejected and dropped) of a backend as `/metrics` has them."""
    text = page("GET", "/metrics").body.decode()

    def total(name: str, *, with_label: str = "", without_label: str = "\n") -> int:
        lines = re.findall(rf'^{name}{{(.*backend="{backend}".*)}} (\S+)$', text, re.MULTILINE)
        return sum(
            int(float(number)) for labels, number in lines if with_label in labels and without_label not in labels
        )

    exported = "otel_sdk_exporter_span_exported_total"
    return (
        total("otel_llm_span_created_total"),
        total(exported, without_label="error_type"),
        total("otel_sdk_exporter_span_inflight"),
        total(exported, with_label="error_type") + total("otel_llm_span_dropped_total"),
    )


def arrivals(receiver: Any) -> list[str]:
    """The span ids that an OTLP receiver was sent and took, each as often as it came."""
    return [span.span_id.hex() for span in receiver.spans]


def rounds(*replies: Reply, takes: bool = False) -> Iterator[tuple[Reply, bool]]:
    """Faults for a `Faulty` that answer with each of these in turn."""
    return zip(replies, itertools.repeat(takes))
