"""Spans that one workspace of a backend does not take now, apart from those of the others.

What waits for such a workspace lies in the spool under a name of its own, as if it were a backend: `opik @globex`, as
the setting `opik.tenants` writes it. So it is counted, bounded, kept over a restart and seen from outside like
everything that waits, and in reports it is the backend's.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.contracts import Batch
from otel_llm.loading import loading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans

    from otel_llm.contracts import Held

__all__ = ["Share", "backend_of", "belongs_to", "parked_name", "shares", "workspace_of"]

_BETWEEN: Final = " @"


class Share(NamedTuple):
    """The part of a parcel that waits for one workspace."""

    workspace: str
    row: int
    """Of the parcel's rows the one (counted from 0) that the spans are from; 0 for a parcel from memory."""
    batch: Batch


def parked_name(backend: str, workspace: str) -> str:
    """The name under which the spool keeps what waits for a workspace."""
    return f"{backend}{_BETWEEN}{workspace}"


def backend_of(name: str) -> str:
    """The backend that a name in the spool is about."""
    return name.partition(_BETWEEN)[0]


def workspace_of(name: str) -> str:
    """The workspace that a name in the spool is about; empty for a backend as a whole."""
    return name.partition(_BETWEEN)[2]


def belongs_to(backend: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that are workspaces of `backend`."""
    return [name for name in names if name != backend and backend_of(name) == backend]


def shares(part: Batch, first: int, held: Sequence[Held], rows: Sequence[tuple[int, int]]) -> list[Share]:
    """The spans of `part` that are `held`, as batches by workspace and by row of the parcel.

    `first` is the position in the parcel of the part's first span, `rows` are the parcel's.
    """
    ends = list(itertools.accumulate(spans for _, spans in rows))
    keys = {
        position: (each.workspace, min(bisect_right(ends, first + position), max(0, len(rows) - 1)))
        for each in held
        for position in each.spans
    }
    with loading("what reads batches"):  # protobuf: only where a workspace is closed
        from otel_llm.wire import decode  # noqa: PLC0415
    return [
        Share(workspace, row, replace(part, payload=payload, span_count=spans, id=Batch(b"", 0).id, spans=()))
        for (workspace, row), (payload, spans) in _divided(decode(part), keys).items()
    ]


def _divided(
    request: ExportTraceServiceRequest, keys: Mapping[int, tuple[str, int]]
) -> dict[tuple[str, int], tuple[bytes, int]]:
    """Payload and number of the spans under each key, by the position of the span."""
    made: dict[tuple[str, int], ExportTraceServiceRequest] = {}
    counts: Counter[tuple[str, int]] = Counter()
    positions = itertools.count()
    for group in request.resource_spans:
        for scoped in group.scope_spans:
            targets: dict[tuple[str, int], ScopeSpans] = {}
            for span in scoped.spans:
                key = keys.get(next(positions))
                if key is None:
                    continue
                if key not in targets:
                    around = made.setdefault(key, type(request)()).resource_spans.add(
                        resource=group.resource, schema_url=group.schema_url
                    )
                    targets[key] = around.scope_spans.add(scope=scoped.scope, schema_url=scoped.schema_url)
                targets[key].spans.append(span)
                counts[key] += 1
    return {key: (part.SerializeToString(), counts[key]) for key, part in made.items()}
