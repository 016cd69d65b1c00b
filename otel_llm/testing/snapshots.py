"""Spans as plain data that is the same in every run: for comparing a program's traces with a file.

Ids become small numbers in the order of beginning, and all times are left out, so two runs of a program that does the
same give the same text. Ports, response ids and measured times are replaced by a word.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["SnapshotFile", "snapshot_of"]

_VARIABLE: Final = frozenset(
    {semconv.TIME_TO_FIRST_CHUNK, semconv.RESPONSE_ID, semconv.SERVER_PORT, semconv.OPIK_TRACE_ID, semconv.OPIK_SPAN_ID}
)
_VARIES: Final = "<varies>"


def snapshot_of(
    spans: Sequence[ReadableSpan], *, ignore: Collection[str] = (), content: bool = False
) -> list[dict[str, Any]]:
    """`spans` in order of beginning, as data for JSON: name, kind, status, parent, attributes, names of events.

    Attributes named in `ignore` are left out, and those that hold content unless `content` is true.
    """
    left_out = {*ignore, *(() if content else semconv.CONTENT_ATTRIBUTES | semconv.TOOL_CONTENT)}
    ordered = sorted(spans, key=lambda span: span.start_time or 0)
    numbers = {span.context.span_id: number for number, span in enumerate(ordered, 1) if span.context}
    traces = _numbered(span.context.trace_id for span in ordered if span.context)
    return [_plain(span, numbers, traces, left_out) for span in ordered if span.context]


def _numbered(ids: Iterable[int]) -> dict[int, int]:
    return {found: number for number, found in enumerate(dict.fromkeys(ids), 1)}


def _plain(
    span: ReadableSpan, numbers: dict[int, int], traces: dict[int, int], left_out: Collection[str]
) -> dict[str, Any]:
    context = span.context
    assert context is not None, "chosen by the caller"
    attributes = span.attributes or {}
    return {
        "trace": traces[context.trace_id],
        "span": numbers[context.span_id],
        "parent": numbers.get(span.parent.span_id, "outside") if span.parent is not None else None,
        "name": span.name,
        "kind": span.kind.name,
        "status": span.status.status_code.name,
        "attributes": {
            name: _VARIES if name in _VARIABLE else _listed(attributes[name])
            for name in sorted(attributes)
            if name not in left_out
        },
        "events": [event.name for event in span.events],
    }


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, (tuple, list)) else value


class SnapshotFile:
    """A JSON file beside a test that says what its spans look like."""

    def __init__(self, path: Path, *, update: bool) -> None:
        self.path = path
        self._update = update

    def check(self, found: list[dict[str, Any]]) -> None:
        """Fail if `found` is not what the file says; write it where it is missing or updates were asked for."""
        text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
        if self._update:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(text, encoding="utf-8")
            return
        if not self.path.exists():
            raise AssertionError(
                f"There is no snapshot {self.path}. Run pytest once with --llm-snapshot-update, look at the file that "
                "it writes, and commit it."
            )
        expected = json.loads(self.path.read_text(encoding="utf-8"))
        if expected != found:
            raise AssertionError(
                f"The spans differ from {self.path}:\n{_difference(expected, found)}\n"
                "If the program is meant to do this now, run pytest with --llm-snapshot-update and commit the file."
            )


def _difference(expected: Any, found: Any) -> str:
    import difflib  # noqa: PLC0415  (only a failure needs it)

    before, after = (json.dumps(data, indent=2, ensure_ascii=False).splitlines() for data in (expected, found))
    return "\n".join(difflib.unified_diff(before, after, "snapshot", "this run", n=2, lineterm=""))
