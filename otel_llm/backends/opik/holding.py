"""Which spans of a batch go to workspaces that take nothing now."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from otel_llm.backends.opik.values import attributes_of
from otel_llm.contracts import Held
from otel_llm.wire import decode

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from otel_llm.backends.opik.routing import Routing
    from otel_llm.contracts import Batch, Rejection, Retry

__all__ = ["held_spans"]


def held_spans(
    batch: Batch,
    closed: Mapping[str, Retry | None],
    rejections: Collection[Rejection],
    routing: Routing,
    configured: str,
) -> tuple[Held, ...]:
    """The spans that go to `closed` workspaces, without those that were rejected for good.

    `configured` is the workspace of spans whose tenant has none of its own. Where they go is asked once more, span by
    span: rows do not say at which place of the payload they were.
    """
    rejected = {rejection.span_id for rejection in rejections}
    found: dict[str, list[int]] = {workspace: [] for workspace in closed}
    positions = count()
    for group in decode(batch).resource_spans:
        resource = attributes_of(group.resource.attributes)
        for scoped in group.scope_spans:
            for span in scoped.spans:
                position = next(positions)
                workspace = routing.destination(attributes_of(span.attributes), resource).workspace or configured
                if workspace in found and span.span_id.hex() not in rejected:
                    found[workspace].append(position)
    return tuple(Held(workspace, tuple(spans), closed[workspace]) for workspace, spans in found.items() if spans)
