"""Every span of our own that a test produces, wherever it goes: memory, a backend, or the store of a child process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from otel_llm import semconv
from otel_llm.conformance import SpanFacts, check, read, spans_of
from otel_llm.delivery import codec, exporter, intake
from otel_llm.errors import StoreError
from otel_llm.wire import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.conformance import Finding
    from otel_llm.contracts import Batch

__all__ = ["Collected", "collect", "heard"]

_MOST_OF_A_STORE = 500
"""Spans of one store that are looked at: floods of thousands are all alike."""


class Collected:
    """Spans of the test that runs, and what was found in all tests so far."""

    def __init__(self) -> None:
        self._spans: list[SpanFacts] = []
        self.checked = 0
        self.shown: set[int] = set()
        """Positions in `DEVIATIONS` that some span has shown."""
        self.advice: set[str] = set()
        """Undeclared advice: what the conventions only recommend, or say of names that are no longer theirs."""

    def add(self, spans: Iterable[SpanFacts]) -> None:
        """Keep spans of ours for the check; called on any thread."""
        self._spans.extend(span for span in spans if span.scope == semconv.OWN_SCOPE)

    def add_stores(self, directories: Iterable[Path]) -> None:
        """Keep the spans of every local store below `directories`, as child processes leave them."""
        for path in {path for directory in directories for path in directory.rglob("store.db")}:
            try:
                self.add(span for span, _ in zip(read(path), range(_MOST_OF_A_STORE), strict=False))
            except StoreError:  # of a test about stores that cannot be read
                continue

    def deviations(self) -> dict[str, Finding]:
        """Check what was kept, forget it, and give the violations that no entry of `DEVIATIONS` covers, in words."""
        from otel_llm.conformance import DEVIATIONS

        spans, self._spans = self._spans, []
        undeclared: dict[str, Finding] = {}
        for span in spans:
            self.checked += 1
            for finding in check(span) or ():
                if finding.declared is not None:
                    self.shown.add(DEVIATIONS.index(finding.declared))
                elif finding.counts:
                    undeclared.setdefault(_in_words(finding), finding)
                else:
                    self.advice.add(_in_words(finding))
        return undeclared


def _in_words(finding: Finding) -> str:
    return f"{finding.span.name!r} ({finding.rule.value}): {finding.what}. {finding.advice} Source: {finding.source}"


_LISTENING: list[Collected] = []


def heard(spans: Iterable[SpanFacts]) -> None:
    """Have spans checked that arrive from elsewhere: from child processes, from other environments."""
    spans = list(spans)
    for collected in _LISTENING:
        collected.add(spans)


def collect(into: Collected) -> None:
    """From now on, for as long as the process lives, `into` hears of every span that is exported in it."""
    _LISTENING.append(into)
    in_memory = InMemorySpanExporter.export

    def export(self: InMemorySpanExporter, spans: Sequence[ReadableSpan]) -> Any:
        into.add(map(_facts, spans))
        return in_memory(self, spans)

    InMemorySpanExporter.export = export  # type: ignore[method-assign]
    told = _listening(codec.encode, into)
    # Modules that have imported the function already, and, through the last of them, those that will.
    for module in (exporter, intake, codec):
        assert hasattr(module, "encode"), f"{module.__name__} encodes spans no more: listen where they are encoded now"
        module.encode = told  # type: ignore[attr-defined]


def _listening(encode: Any, into: Collected) -> Any:
    def encode_and_tell(*args: Any, **options: Any) -> list[Batch]:
        batches: list[Batch] = encode(*args, **options)
        for batch in batches:
            into.add(spans_of(decode(batch)))
        return batches

    return encode_and_tell


def _facts(span: ReadableSpan) -> SpanFacts:
    scope = span.instrumentation_scope
    return SpanFacts(
        name=span.name,
        kind=span.kind.name.lower(),
        attributes={
            key: list(value) if isinstance(value, tuple) else value for key, value in (span.attributes or {}).items()
        },
        is_error=span.status.status_code is StatusCode.ERROR,
        events=tuple(event.name for event in span.events),
        scope=scope.name if scope is not None else "",
        schema_url=(scope.schema_url if scope is not None else None) or "",
    )
