"""How a piece of Temporal work ended, as attributes and a span status."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from opentelemetry.trace import Status, StatusCode
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    ChildWorkflowError,
    FailureError,
    is_cancelled_exception,
)
from temporalio.exceptions import TimeoutError as TemporalTimeoutError
from temporalio.workflow import ContinueAsNewError

from otel_llm import semconv

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["Outcome", "outcome_of"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an activity, a workflow, a handler or a command."""

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    failed: bool = False
    error: BaseException | None = None

    def put_on(self, span: Span) -> None:
        """Write it on `span`, with the exception as an event where it failed."""
        span.set_attributes({semconv.TEMPORAL_OUTCOME: self.name, **self.attributes})
        if self.failed:
            if self.error is not None:
                span.record_exception(self.error)
            words = f"{type(self.error).__name__}: {self.error}" if self.error is not None else self.name
            span.set_status(Status(StatusCode.ERROR, words))


def outcome_of(error: BaseException | None) -> Outcome:
    """The outcome of work that ended with `error`, or well where that is None.

    Being cancelled and continuing as new are no failures; neither is an error that its raiser called benign.
    """
    if error is None:
        return Outcome("completed")
    if isinstance(error, ContinueAsNewError):
        return Outcome("continued_as_new")
    if is_cancelled_exception(error):
        return Outcome("cancelled")
    if not isinstance(error, Exception):
        return Outcome("interrupted" if isinstance(error, (KeyboardInterrupt, SystemExit)) else "left_open")
    cause = _cause(error)
    attributes = _retry_state(error)
    if isinstance(cause, TemporalTimeoutError):
        kind = cause.type.name.lower() if cause.type is not None else "unknown"
        attributes |= {semconv.TEMPORAL_TIMEOUT_TYPE: kind, semconv.ERROR_TYPE: f"timeout.{kind}"}
        return Outcome("timed_out", attributes, failed=True, error=error)
    attributes[semconv.ERROR_TYPE] = _type_of(cause)
    benign = isinstance(cause, ApplicationError) and cause.category == ApplicationErrorCategory.BENIGN
    return Outcome("failed", attributes, failed=not benign, error=error)


def _cause(error: BaseException) -> BaseException:
    """What went wrong inside of the activity or child workflow that failed."""
    while isinstance(error, (ActivityError, ChildWorkflowError)) and error.cause is not None:
        error = error.cause
    return error


def _retry_state(error: BaseException) -> dict[str, str]:
    state = error.retry_state if isinstance(error, (ActivityError, ChildWorkflowError)) else None
    return {semconv.TEMPORAL_RETRY_STATE: state.name.lower()} if state is not None else {}


def _type_of(error: BaseException) -> str:
    """The `error.type`: the class name that Temporal carries over processes, else the class."""
    if isinstance(error, ApplicationError) and error.type:
        return error.type
    kind = type(error)
    if isinstance(error, (FailureError, asyncio.CancelledError)) or kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
