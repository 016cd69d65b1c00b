"""What was recorded: spans in memory, behind the same pipeline that `otel_llm.configure` builds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import StatusCode

from otel_llm import semconv
from otel_llm.control.home import Home
from otel_llm.control.pipeline import SpanFills
from otel_llm.instrumentation.litellm import LitellmInstrumentor
from otel_llm.instrumentation.litellm.switch import is_recording
from otel_llm.instrumentation.recorder import Recorder
from otel_llm.processors.chain import SpanPipeline
from otel_llm.processors.identity import DefaultTenant, IdentityStamp
from otel_llm.processors.overlap import OverlapFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import SamplingResult
    from opentelemetry.trace import Link, SpanKind, TraceState
    from opentelemetry.util.types import Attributes
    from typing_extensions import Self

__all__ = ["SeenAtStart", "Spans", "attributes", "failed", "until"]


class SeenAtStart(Sampler):
    """Samples everything, and remembers name and attributes of each span as a sampler saw them."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, Any]]] = []

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        self.spans.append((name, dict(attributes or {})))
        return ALWAYS_ON.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)

    def get_description(self) -> str:
        return "seen at start"


class Spans:
    """The recorder, on, into memory, for as long as the block lasts.

    As in a program that `configure` makes a provider for, what a call says is put on its span later; unless the test
    adds a processor of its own to the provider, or says `at_once`. With `upstream` spans are opened by upstream.
    """

    def __init__(
        self,
        *,
        capture_content: bool = False,
        baggage_tenant_key: str | None = None,
        at_once: bool = False,
        upstream: bool = False,
        sampler: Sampler | None = None,
    ) -> None:
        self.at_start = SeenAtStart()
        self.tracer_provider = TracerProvider(sampler=self.at_start if sampler is None else sampler)
        self._exporter = InMemorySpanExporter()
        overlap = OverlapFilter(is_recording)
        identity = IdentityStamp(
            from_baggage=baggage_tenant_key is not None, baggage_tenant_key=baggage_tenant_key or semconv.TENANT_ID
        )
        self._pipeline = SpanPipeline(
            SimpleSpanProcessor(self._exporter),
            on_start=[identity, overlap.on_start],
            on_end=[overlap, DefaultTenant()],
            hand_over_delay=None if at_once else 0.01,
        )
        home = Home(self.tracer_provider, owned=True)
        home.settle(self._pipeline, lambda: None)
        self.recorder = Recorder(
            self.tracer_provider,
            capture_content=capture_content,
            baggage_tenant_key=baggage_tenant_key,
            default_tenant=semconv.UNKNOWN_TENANT,
            measures=upstream,
            later=SpanFills(home, self._pipeline),
        )
        self.tracer = self.tracer_provider.get_tracer("the program")

    def __enter__(self) -> Self:
        LitellmInstrumentor().instrument(recorder=self.recorder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        LitellmInstrumentor().uninstrument()
        self.tracer_provider.shutdown()

    @property
    def all(self) -> list[ReadableSpan]:
        """Every span that has ended, in the order of their ends."""
        self.settle()
        return list(self._exporter.get_finished_spans())

    @property
    def llm(self) -> list[ReadableSpan]:
        """Spans of calls to models, attempts included."""
        return [span for span in self.all if attributes(span).get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS]

    @property
    def logical(self) -> list[ReadableSpan]:
        """Spans of calls as the program made them, in the order of their ends."""
        return [span for span in self.llm if semconv.ATTEMPT not in attributes(span)]

    @property
    def attempts(self) -> list[ReadableSpan]:
        """Spans of single attempts, by their number."""
        found = [span for span in self.llm if semconv.ATTEMPT in attributes(span)]
        return sorted(found, key=lambda span: attributes(span)[semconv.ATTEMPT])

    @property
    def http(self) -> list[ReadableSpan]:
        """Spans of HTTP requests."""
        clients = ("opentelemetry.instrumentation.httpx", "opentelemetry.instrumentation.aiohttp_client")
        return [span for span in self.all if span.instrumentation_scope.name in clients]

    @property
    def only(self) -> ReadableSpan:
        """The one LLM span that there is."""
        found = self.llm
        assert len(found) == 1, [(span.name, attributes(span)) for span in found]
        return found[0]

    @property
    def facts(self) -> dict[str, Any]:
        """The attributes of the one LLM span that there is."""
        return attributes(self.only)

    def settle(self) -> None:
        """Wait until all that has ended is filled."""
        self._pipeline.settle(10)

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self.settle()
        self._exporter.clear()
        self.at_start.spans.clear()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes as a plain dict."""
    return dict(span.attributes or {})


def failed(span: ReadableSpan) -> bool:
    """Whether a span says that what it records failed."""
    return span.status.status_code is StatusCode.ERROR


def until(condition: Callable[[], object], *, timeout: float = 10.0) -> None:
    """Wait until `condition()` holds; an error after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)
