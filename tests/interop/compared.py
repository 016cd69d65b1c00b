"""What a vendor got without us and with us, made comparable: no ids, no times, and no step over spans of ours."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.interop.sinks import Record

__all__ = ["Comparison", "compared"]

_VOLATILE: Final = re.compile(
    r"^(runtime-id|_dd\.p\.(tid|dm)|_dd\.tags\.process|_dd\.parent_id|error\.stack|.*thread\.(id|name)|subprocess\.pid"
    r"|llm\.output_messages.*|output\.value|logfire\.(pending_parent_id|json_schema))$"
)
"""Facts that no two runs share: ids, and stack traces, in which our frames stand as well."""
_HTTP_CLIENTS: Final = ("opentelemetry.instrumentation.httpx", "opentelemetry.instrumentation.aiohttp_client")


@dataclass(frozen=True)
class Comparison:
    """What a vendor got with us, beside what it got without us."""

    own: int
    """Records of its own."""
    ours: int
    """Records of otel_llm's spans, and of the HTTP requests that it had recorded in its calls."""
    missing: list[str]
    """What it got without us only."""
    added: list[str]
    """What is none of ours, and what it did not get without us."""


def compared(alone: Sequence[Record], both: Sequence[Record]) -> Comparison:
    """Hold what a vendor got with us to what it got without us."""
    made = {record.id for record in both if _is_ours(record)}
    before, after = _settled(alone), _settled(both)
    below = _settled([record for record in both if record.above in made and _is_request(record)], both)
    added = after - before
    strange = added - below
    return Comparison(
        own=after.total() - (added & below).total(),
        ours=sum(record.id in made and not _is_pending(record) for record in both) + (added & below).total(),
        missing=sorted((before - after).elements()),
        added=sorted(strange.elements()),
    )


def _is_ours(record: Record) -> bool:
    """Whether otel_llm made it; Application Insights names no scope, but keeps our attributes."""
    return record.scope.partition(".")[0] == "otel_llm" or any(fact.startswith("otel_llm.") for fact in record.facts)


def _settled(records: Sequence[Record], among: Sequence[Record] = ()) -> Counter[str]:
    """Each record that is none of ours, as a text of its names (from the top down), its scope and its facts.

    Logfire also sends some spans before they end, when they have taken some milliseconds: those are left out.
    """
    known = {record.id: record for record in among or records}
    return Counter(
        json.dumps([_path(record, known), record.scope, _facts(record)], sort_keys=True)
        for record in records
        if not _is_ours(record) and not _is_pending(record)
    )


def _path(record: Record, known: dict[str, Record]) -> list[str]:
    """The names of the span and its ancestors; a vendor that was not sent one of them has a path that is shorter."""
    names = [record.name]
    above = known.get(record.above)
    while above is not None:
        if not _is_ours(above):
            names.insert(0, above.name)
        above = known.get(above.above)
    return names


def _facts(record: Record) -> dict[str, str]:
    return {name: str(value) for name, value in record.facts.items() if not _VOLATILE.match(name)}


def _is_request(record: Record) -> bool:
    kind = record.facts.get("op", record.facts.get("type"))
    return record.scope in _HTTP_CLIENTS or kind in {"http.client", "HTTP"}


def _is_pending(record: Record) -> bool:
    return record.facts.get("logfire.span_type") == "pending_span"
