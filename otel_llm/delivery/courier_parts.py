"""One parcel on its way: whole at first, in halves once the backend has rejected it, until the bad spans are found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from otel_llm.contracts import Delivered, Rejected, Rejection, Retry
from otel_llm.delivery.late_codec import halve
from otel_llm.delivery.parking import Share, shares
from otel_llm.delivery.spool_types import Reject
from otel_llm.loading import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    from otel_llm.contracts import Batch, Outcome
    from otel_llm.delivery.spool_types import Parcel

__all__ = ["Passage"]

_HOPELESS_AFTER = 8
"""Single spans rejected with not one accepted: the rest of the parcel is not tried span by span any more."""


class Passage:
    """Sends a parcel part by part and remembers how far it got, so that a retry sends only what is left."""

    def __init__(self, parcel: Parcel) -> None:
        self.parcel = parcel
        self.rejects: list[Reject] = []
        self.shares: list[Share] = []
        """What closed workspaces did not take."""
        self.closed: dict[str, Retry] = {}
        """What was answered for them, where they were asked."""
        self.accepted = 0
        """Spans that were taken."""
        self._parts = [(0, parcel.batch)]
        """What is left to send, with the position of its first span in the parcel; the next one is last."""
        self._rejected_singly = 0

    def send(self, send: Callable[[Batch], Outcome]) -> Retry | None:
        """Send what is left; None once the backend has answered for every span, else why it must wait."""
        while self._parts:
            first, part = self._parts[-1]
            outcome = send(part)
            if isinstance(outcome, Retry):
                return outcome
            self._parts.pop()
            if isinstance(outcome, Delivered):
                self._delivered(first, part, outcome)
            else:
                self._halve_or_give_up(first, part, outcome)
        return None

    def _delivered(self, first: int, part: Batch, outcome: Delivered) -> None:
        rejected = outcome.rejected[: part.span_count]  # a backend cannot reject more than it was sent
        self.accepted += part.span_count - len(rejected)
        if outcome.held:
            held = shares(part, first, outcome.held, self.parcel.rows)
            self.shares += held
            self.closed.update({each.workspace: each.retry for each in outcome.held if each.retry is not None})
            self.accepted -= sum(share.batch.span_count for share in held)
        if rejected:
            singles = _spans_by_id(part)
            self.rejects += [Reject(rejection, singles.get(rejection.span_id)) for rejection in rejected]

    def _halve_or_give_up(self, position: int, part: Batch, outcome: Rejected) -> None:
        with loading("what reads batches"):  # protobuf: only where something was rejected
            from otel_llm.wire import IllFormedPayloadError  # noqa: PLC0415
        hopeless = self._rejected_singly >= _HOPELESS_AFTER and not self.accepted
        try:
            halves = None if hopeless else halve(part)
        except IllFormedPayloadError:
            halves = None
        if halves is not None:
            first, second = halves
            # Ids that follow from the parcel's, so that a part sent again after a crash carries the same one.
            self._parts.append((position + first.span_count, replace(second, id=f"{part.id}.1")))
            self._parts.append((position, replace(first, id=f"{part.id}.0")))
            return
        self._rejected_singly += 1
        rejection = Rejection(_only_span_id(part), outcome.reason, outcome.why)
        self.rejects.append(Reject(rejection, part, part.span_count))


def _only_span_id(part: Batch) -> str:
    ids = list(_spans_by_id(part)) if part.span_count == 1 else []
    return ids[0] if ids else ""


def _spans_by_id(part: Batch) -> dict[str, Batch]:
    """Each span of `part` as a batch of its own, by its id in hex; empty for bytes that are no OTLP."""
    with loading("what reads batches"):
        from otel_llm.wire import IllFormedPayloadError, decode  # noqa: PLC0415
    try:
        request = decode(part)
    except IllFormedPayloadError:
        return {}
    return {span_id: replace(part, payload=payload, span_count=1) for span_id, payload in _single_spans(request)}


def _single_spans(request: ExportTraceServiceRequest) -> Iterator[tuple[str, bytes]]:
    for group in request.resource_spans:
        for scoped in group.scope_spans:
            for span in scoped.spans:
                single = type(request)()
                target = single.resource_spans.add(resource=group.resource, schema_url=group.schema_url)
                target.scope_spans.add(scope=scoped.scope, schema_url=scoped.schema_url, spans=[span])
                yield span.span_id.hex(), single.SerializeToString()
