"""The activities: each calls a language model through litellm."""

import os

# litellm would otherwise fetch its price table from the network while it is imported.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from temporalio import activity

import otel_llm

MODEL = os.environ.get("APP_MODEL", "gpt-4o-mini")


async def ask(task: str, text: str) -> str:
    messages = [{"role": "system", "content": task}, {"role": "user", "content": text}]
    answer = await litellm.acompletion(model=MODEL, messages=messages)
    return answer.choices[0].message.content


@otel_llm.trace("extract complaints")
async def complaints_in(review: str) -> str:
    return await ask("List what the customer complains about.", review)


@activity.defn
async def summarise(review: str) -> str:
    return await ask("Summarise in one sentence.", review)


@activity.defn
async def draft_reply(review: str) -> str:
    activity.heartbeat()
    return await ask("Answer the customer.", await complaints_in(review))
