"""How the ends of Temporal work are told apart."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    ApplicationErrorCategory,
    CancelledError,
    ChildWorkflowError,
    RetryState,
    TimeoutType,
)
from temporalio.exceptions import TimeoutError as TemporalTimeoutError

from otel_llm.temporal.outcome import outcome_of


def activity_error(cause: BaseException, state: RetryState = RetryState.MAXIMUM_ATTEMPTS_REACHED) -> ActivityError:
    """What a workflow gets when an activity failed for good."""
    error = ActivityError(
        "Activity task failed",
        scheduled_event_id=1,
        started_event_id=2,
        identity="w",
        activity_type="ask",
        activity_id="1",
        retry_state=state,
    )
    error.__cause__ = cause
    return error


def child_error(cause: BaseException) -> ChildWorkflowError:
    """What a workflow gets when a child failed."""
    error = ChildWorkflowError(
        "Child failed",
        namespace="d",
        workflow_id="w",
        run_id="r",
        workflow_type="Child",
        initiated_event_id=1,
        started_event_id=2,
        retry_state=None,
    )
    error.__cause__ = cause
    return error


LATE = TemporalTimeoutError("late", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[])
BENIGN = ApplicationError("no", type="Expected", category=ApplicationErrorCategory.BENIGN)


@pytest.mark.parametrize(
    ("error", "name", "failed", "attributes"),
    [
        (None, "completed", False, {}),
        (asyncio.CancelledError(), "cancelled", False, {}),
        (activity_error(CancelledError("stop")), "cancelled", False, {}),
        (ValueError("x"), "failed", True, {"error.type": "ValueError"}),
        (ApplicationError("x", type="RateLimited"), "failed", True, {"error.type": "RateLimited"}),
        (BENIGN, "failed", False, {"error.type": "Expected"}),
        (
            child_error(activity_error(LATE)),
            "timed_out",
            True,
            {"temporal.timeout.type": "heartbeat", "error.type": "timeout.heartbeat"},
        ),
        (
            activity_error(ApplicationError("x", type="RateLimited")),
            "failed",
            True,
            {"error.type": "RateLimited", "temporal.retry_state": "maximum_attempts_reached"},
        ),
        (KeyboardInterrupt(), "interrupted", False, {}),
    ],
)
def test_outcomes(error: BaseException | None, name: str, failed: bool, attributes: dict[str, Any]) -> None:
    """Each end has a name, whether it is a failure, and the innermost cause as its type."""
    outcome = outcome_of(error)
    assert (outcome.name, outcome.failed, outcome.attributes) == (name, failed, attributes)
