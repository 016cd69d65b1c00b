"""A service that calls models for two tenants, each with a limit and a budget of its own.

python examples/client.py        # against a provider on loopback, with no key
"""

from __future__ import annotations

import asyncio

import otel_llm
from otel_llm.errors import LimitExceededError
from otel_llm.testing import FakeProvider


async def serve(client: otel_llm.LLMClient) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answers = await asyncio.gather(
        client.generate(question, tenant_id="acme", user_id="u1"),
        client.generate(question, tenant_id="acme", user_id="u2"),
        client.generate(question, tenant_id="globex"),
    )
    for answer in answers:
        print(answer.choices[0].message.content)
    try:
        await client.generate(question, tenant_id="globex")
    except LimitExceededError as refused:
        print(f"refused: {refused.tenant} may call again in {refused.retry_after:.0f} s")


def main() -> None:
    with FakeProvider() as provider:
        fast = {"model": "openai/gpt-4o-mini", "api_base": provider.openai_base, "api_key": "any"}
        with otel_llm.LLMClient(
            model="fast",
            model_list=[{"model_name": "fast", "litellm_params": fast}],
            tenant_requests={"acme": 60, "globex": 1},
            on_limit="refuse",
            budget=1.0,
        ) as client:
            asyncio.run(serve(client))
            otel_llm.flush()
            for tenant in ("acme", "globex"):
                print(f"{tenant} has spent {client.spent_today(tenant):.6f} USD today")


if __name__ == "__main__":
    main()
