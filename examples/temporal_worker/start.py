"""What an API server does in the real system: starts workflows on behalf of tenants."""

import asyncio
import os
import uuid

from temporalio.client import Client

import otel_llm
from otel_llm.temporal import OtelLlmPlugin

TASK_QUEUE = os.environ.get("TASK_QUEUE", "reviews")
REVIEWS = {
    "acme": "Arrived late, but the lamp itself is lovely.",
    "globex": "Two of the six glasses were broken.",
}


async def main() -> None:
    otel_llm.configure()
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"), plugins=[OtelLlmPlugin()])
    for tenant, review in REVIEWS.items():
        with otel_llm.tenant(tenant, user="u1"):
            # By name: this side needs neither the workflow's code nor litellm.
            answer = await client.execute_workflow(
                "HandleReview", review, id=f"review-{uuid.uuid4()}", task_queue=TASK_QUEUE
            )
        print(f"{tenant}: {answer['summary']}")
    otel_llm.flush()


if __name__ == "__main__":
    asyncio.run(main())
