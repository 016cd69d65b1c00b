"""The backend `console`: one line per span, or OTLP/JSON, on standard error.

Never on standard output, which belongs to the program. The lines show no content, and no control characters: a model
name or tenant could hold escape sequences for the terminal.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, TextIO

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_llm import semconv
from otel_llm.backends.trouble import Refusal, Trouble
from otel_llm.contracts import CheckStatus, Delivered, Finding
from otel_llm.otlp_json import to_otlp_json
from otel_llm.wire import IllFormedPayloadError, decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from otel_llm.config import Config
    from otel_llm.contracts import Backend, Batch, Outcome

__all__ = ["ConsoleBackend", "create"]

_LONGEST_FIELD = 120
_CLOSED = Trouble(
    "Standard error is closed, so spans cannot be printed.",
    "Keep it open, or choose another backend (OTEL_LLM_BACKEND).",
    "closed",
    needs_action=True,
)


def create(_config: Config) -> Backend:
    """The backend, printing one line per span to standard error."""
    return ConsoleBackend()


class ConsoleBackend:
    """Prints batches to `stream`; None means standard error as it is at each moment."""

    name = "console"

    def __init__(self, stream: TextIO | None = None, *, style: Literal["lines", "json"] = "lines") -> None:
        self._stream = stream
        self._style = style

    def send(self, batch: Batch, *, timeout: float) -> Outcome:  # noqa: ARG002  (a terminal knows no timeout)
        """Print the batch in one write."""
        try:
            request = decode(batch)
        except IllFormedPayloadError as error:
            return Refusal(f"The batch cannot be printed: {error}.").outcome()
        stream = self._target()
        if stream is None:
            return _CLOSED.outcome()
        try:
            _write(stream, self._rendered(request))
        except (OSError, ValueError):  # ValueError: the stream was closed
            return _CLOSED.outcome()
        return Delivered(batch.span_count)

    def check(self) -> Sequence[Finding]:
        """Look whether the stream is open."""
        stream = self._target()
        if stream is None or stream.closed:
            return [_CLOSED.finding("console")]
        return [Finding("console", CheckStatus.OK, "Spans are printed to standard error.")]

    def close(self) -> None:
        """Leave the stream open: it is the program's."""

    def _target(self) -> TextIO | None:
        # Programs without a console have none.
        return self._stream if self._stream is not None else sys.stderr

    def _rendered(self, request: ExportTraceServiceRequest) -> str:
        if self._style == "json":
            return json.dumps(to_otlp_json(request), ensure_ascii=False, separators=(",", ":")) + "\n"
        return "".join(f"{_line(span)}\n" for span in _spans(request))


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Any]:
    for group in request.resource_spans:
        for scoped in group.scope_spans:
            yield from scoped.spans


def _line(span: Any) -> str:
    """Time, name, duration, tokens, cost, tenant and fate of one span."""
    values = {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in span.attributes
    }
    begun = datetime.fromtimestamp(span.start_time_unix_nano / 1e9, timezone.utc)
    fields = [
        begun.strftime("%H:%M:%S.") + f"{begun.microsecond // 1000:03d}",
        _clean(span.name),
        f"{max(span.end_time_unix_nano - span.start_time_unix_nano, 0) / 1e9:.2f}s",
        *_facts(values),
        f"trace={span.trace_id.hex()}",
    ]
    if span.status.code == Status.STATUS_CODE_ERROR:
        fields.append(f"ERROR {_clean(values.get(semconv.ERROR_TYPE, ''))}".rstrip())
    return "  ".join(fields)


def _facts(values: dict[str, Any]) -> Iterator[str]:
    if semconv.USAGE_INPUT in values or semconv.USAGE_OUTPUT in values:
        yield f"tokens={_clean(values.get(semconv.USAGE_INPUT, '?'))}+{_clean(values.get(semconv.USAGE_OUTPUT, '?'))}"
    cost = values.get(semconv.COST)
    if isinstance(cost, (int, float)):
        yield f"cost=${cost:.6f}"
    if values.get(semconv.CACHE_HIT) is True:
        yield "cache=hit"
    if semconv.TENANT_ID in values:
        yield f"tenant={_clean(values[semconv.TENANT_ID])}"


def _clean(value: object) -> str:
    text = str(value)[:_LONGEST_FIELD]
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
