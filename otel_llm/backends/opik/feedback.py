"""Records of feedback -> Opik's feedback scores.

A record is a span of the scope `otel_llm.feedback` (docs/feedback.md): it rides in batches like any other, so that it
is as durable, and becomes a score of its trace or of its parent instead of a row of its own.
`PUT /v1/private/{traces,spans}/feedback-scores` replaces a score of the same name, so sending again is safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_llm import semconv
from otel_llm.backends.opik import ids
from otel_llm.backends.opik.values import Attributes, text_of
from otel_llm.contracts import Rejection

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["SPAN_SCORES", "TRACE_SCORES", "score_of"]

TRACE_SCORES = "trace_scores"
SPAN_SCORES = "span_scores"


def score_of(
    span: Span, project: str, attributes: Attributes, settled_millis: Callable[[bytes], int | None]
) -> tuple[str, dict[str, Any]] | Rejection:
    """Kind and body of the score that a record tells, or why there can be none.

    `settled_millis` knows the time of a foreign trace that this process has sent spans of.
    """
    trace = _trace_id(span, attributes, settled_millis)
    if trace is None:
        return Rejection(
            span.span_id.hex(),
            "invalid",
            "the trace began elsewhere, and its id alone does not tell its Opik id: give feedback with the span, or "
            "with the trace's id in Opik",
        )
    of_span = attributes.get(semconv.FEEDBACK_OF) == semconv.FEEDBACK_OF_SPAN and any(span.parent_span_id)
    value = attributes.get(semconv.EVALUATION_SCORE)
    score = {
        "id": ids.opik_span_id(trace, span.trace_id, span.parent_span_id) if of_span else trace,
        "project_name": project,
        "name": text_of(attributes.get(semconv.EVALUATION_NAME)).strip(),
        "value": value,
        "reason": text_of(attributes.get(semconv.EVALUATION_EXPLANATION)) or None,
        "category_name": text_of(attributes.get(semconv.EVALUATION_LABEL)) or None,
        "source": "sdk",
    }
    if not score["name"] or isinstance(value, bool) or not isinstance(value, (int, float)):
        return Rejection(span.span_id.hex(), "invalid", "a record of feedback needs a name and a number")
    return (SPAN_SCORES if of_span else TRACE_SCORES), {key: value for key, value in score.items() if value is not None}


def _trace_id(span: Span, attributes: Attributes, settled_millis: Callable[[bytes], int | None]) -> str | None:
    said = ids.uuid7_or_none(attributes.get(semconv.OPIK_TRACE_ID))
    own = said or ids.own_trace_id(span.trace_id, span.start_time_unix_nano)
    if own is not None:
        return own
    if ids.read_stamp(span.trace_state) is not None:
        return ids.opik_trace_id(span.trace_id, span.trace_state, span.start_time_unix_nano)
    millis = settled_millis(span.trace_id)
    return None if millis is None else ids.opik_trace_id(span.trace_id, "", span.start_time_unix_nano, millis)
