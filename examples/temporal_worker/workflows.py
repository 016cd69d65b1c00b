"""The workflow: knows nothing of how it is watched."""

import asyncio
from datetime import timedelta

# No `imports_passed_through()` is needed: OtelLlmPlugin opens the sandbox for litellm, OpenTelemetry and otel_llm.
from activities import draft_reply, summarise
from temporalio import workflow
from temporalio.common import RetryPolicy

LIMITS = {
    "start_to_close_timeout": timedelta(minutes=2),
    "retry_policy": RetryPolicy(maximum_attempts=5),
}


@workflow.defn
class HandleReview:
    """Summarise a review and draft a reply to it, side by side."""

    @workflow.run
    async def run(self, review: str) -> dict[str, str]:
        summary, reply = await asyncio.gather(
            workflow.execute_activity(summarise, review, **LIMITS),
            workflow.execute_activity(draft_reply, review, **LIMITS),
        )
        return {"summary": summary, "reply": reply}
