"""`otel_llm.add_feedback`: a score for a trace or span, from whoever judges it: a person, a rule, another model.

The score travels as a record (a span of the scope `otel_llm.feedback`, with the conventions' `gen_ai.evaluation.*`)
through the same stages, queue and spool as every span: redacted, durable, retried, counted, never waited for. Opik's
backend turns it into a feedback score; the others keep the record.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span, SpanContext, TraceFlags, TraceState

from otel_llm import semconv
from otel_llm.context import Identity, current_identity, identity_from_baggage
from otel_llm.control import running
from otel_llm.control.version import VERSION
from otel_llm.faults import note_fault
from otel_llm.instrumentation.functions.handle import Handle

if TYPE_CHECKING:
    from otel_llm.control.pipeline import Pipeline

__all__ = ["add_feedback"]

_logger = logging.getLogger(__name__)
_LARGEST: Final = 999_999_999
"""Opik stores scores with nine digits before the point."""
_SCOPE: Final = InstrumentationScope(semconv.FEEDBACK_SCOPE, VERSION, semconv.SCHEMA_URL)
_NO_SPAN: Final = 0
_ids: Final = RandomIdGenerator()


class _RefusedError(ValueError):
    """What was given cannot be recorded; the message says why, without quoting it."""


def add_feedback(
    trace_id: str | Handle | Span | SpanContext,
    name: str,
    value: float,
    *,
    span_id: str | None = None,
    reason: str | None = None,
    category: str | None = None,
    tenant: str | None = None,
    project: str | None = None,
) -> bool:
    """Give a trace a score, `name` = `value` (within plus or minus 999,999,999; True and False count as 1 and 0).

    `trace_id` is what `otel_llm.current().trace_id` said while it ran (32 hex digits), the trace's id in Opik, or the
    span itself. With `span_id` (16 hex digits) the score is that span's. `reason` is why, in words, and `category` the
    name of the value. In Opik a score must go to the project of its trace: it is found from `tenant` (default: the
    current one) as for spans, or named by `project`. A score of the same name replaces the one before.

    Returns whether it was taken for delivery; False, with a warning in the log, where nothing runs in this process or
    the arguments cannot be recorded. Never raises and never waits.
    """
    pipeline = running.current_pipeline()
    if pipeline is None or pipeline.processor is None:
        _logger.warning("Feedback %r is not recorded: otel_llm is not configured in this process.", str(name)[:100])
        return False
    try:
        context, target = _target(trace_id, span_id)
        attributes = {
            semconv.EVALUATION_NAME: _named(name),
            semconv.EVALUATION_SCORE: _number(value),
            semconv.FEEDBACK_OF: semconv.FEEDBACK_OF_SPAN if span_id is not None else semconv.FEEDBACK_OF_TRACE,
            **_identity(pipeline, tenant),
            **_optional({semconv.EVALUATION_EXPLANATION: reason, semconv.EVALUATION_LABEL: category}),
            **_optional({semconv.OPIK_PROJECT: project, semconv.OPIK_TRACE_ID: _opik_id(trace_id)}),
        }
        pipeline.processor.on_end(_record(pipeline, context, target, attributes))
    except _RefusedError as error:
        _logger.warning("Feedback is not recorded: %s", error)
        return False
    except Exception as error:  # noqa: BLE001  (the program's request must not fail because of us)
        note_fault("adding feedback", error)
        return False
    return True


def _record(pipeline: Pipeline, context: SpanContext, target: int, attributes: dict[str, Any]) -> ReadableSpan:
    now = time.time_ns()
    parent = None
    if target != _NO_SPAN:
        parent = SpanContext(context.trace_id, target, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return ReadableSpan(
        name=f"feedback {attributes[semconv.EVALUATION_NAME]}",
        context=SpanContext(
            context.trace_id,
            _ids.generate_span_id(),
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
            trace_state=context.trace_state,
        ),
        parent=parent,
        resource=pipeline.provider.resource,
        attributes=attributes,
        start_time=now,
        end_time=now,
        instrumentation_scope=_SCOPE,
    )


def _target(trace: str | Handle | Span | SpanContext, span_id: str | None) -> tuple[SpanContext, int]:
    """The trace with its state, and the span in it that is meant (0 where none is known)."""
    span = 0 if span_id is None else _hexadecimal(span_id, 16, "span id")
    if isinstance(trace, Handle):
        trace = trace.span
    if isinstance(trace, Span):
        trace = trace.get_span_context()
    if isinstance(trace, SpanContext):
        if not trace.is_valid:
            raise _RefusedError("the span was never recorded (nothing ran when it began, or it was suppressed).")
        return trace, span or trace.span_id
    digits = _hexadecimal(str(trace).replace("-", ""), 32, "trace id")
    return SpanContext(digits, span, is_remote=True, trace_state=TraceState()), span


def _opik_id(trace: object) -> str | None:
    """A trace id written as UUID is Opik's; written as 32 digits it is OpenTelemetry's."""
    return trace if isinstance(trace, str) and "-" in trace else None


def _hexadecimal(text: str, digits: int, what: str) -> int:
    try:
        number = int(text, 16) if len(text) == digits else 0
    except ValueError:
        number = 0
    if number <= 0:
        raise _RefusedError(f"the {what} is not {digits} hexadecimal digits. Keep `otel_llm.current().trace_id`.")
    return number


def _named(name: object) -> str:
    text = str(name).strip() if name is not None else ""
    if not text:
        raise _RefusedError("it has no name.")
    return text


def _number(value: object) -> float:
    if not isinstance(value, (int, float)) or not math.isfinite(value) or abs(value) > _LARGEST:
        raise _RefusedError(f"the value of a score is a number between -{_LARGEST:,} and {_LARGEST:,}.")
    return float(value)


def _identity(pipeline: Pipeline, tenant: str | None) -> dict[str, str]:
    config = pipeline.config
    identity = Identity(tenant).over(current_identity())
    if config.tenant_from_baggage:
        identity = identity.over(identity_from_baggage(None, config.tenant_baggage_key))
    named = {semconv.USER_ID: identity.user, semconv.SESSION_ID: identity.session}
    return {semconv.TENANT_ID: identity.tenant or config.tenant_default, **_optional(named)}


def _optional(texts: dict[str, str | None]) -> dict[str, str]:
    return {key: str(text) for key, text in texts.items() if text}
