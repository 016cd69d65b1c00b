"""One call through each of the other libraries and frameworks, which gets a recorded answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.recordings.recordings import Exchange

__all__ = ["FRAMEWORKS"]

_KEY = "sk-test"


def _prompt(exchange: Exchange) -> str:
    """What the last message says."""
    return str(exchange.request["messages"][-1]["content"])


def _mistralai(exchange: Exchange, url: str) -> Any:
    from mistralai.client import Mistral

    client = Mistral(api_key=_KEY, server_url=url)
    return client.chat.complete(model=exchange.request["model"], messages=exchange.request["messages"])


def _llama_index(exchange: Exchange, url: str) -> Any:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai import OpenAI

    model = OpenAI(model=exchange.request["model"], api_base=url + "/v1", api_key=_KEY, max_retries=0)
    return model.chat([ChatMessage(role="user", content=_prompt(exchange))])


def _pydantic_ai(exchange: Exchange, url: str) -> Any:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=url + "/v1", api_key=_KEY)
    agent = Agent(OpenAIChatModel(exchange.request["model"], provider=provider), name="helper")
    return agent.run_sync(_prompt(exchange)).output


def _openai_agents(exchange: Exchange, url: str) -> Any:
    from agents import Agent, OpenAIChatCompletionsModel, Runner
    from openai import AsyncOpenAI

    async def run() -> Any:
        client = AsyncOpenAI(base_url=url + "/v1", api_key=_KEY, max_retries=0)
        model = OpenAIChatCompletionsModel(model=exchange.request["model"], openai_client=client)
        return await Runner.run(Agent(name="helper", instructions="Help.", model=model), _prompt(exchange))

    return asyncio.run(run())


def _dspy(exchange: Exchange, url: str) -> Any:
    import dspy

    model = dspy.LM(
        f"openai/{exchange.request['model']}", api_base=url + "/v1", api_key=_KEY, cache=False, num_retries=0
    )
    return model(_prompt(exchange))


FRAMEWORKS: dict[str, Callable[[Exchange, str], Any]] = {
    "mistralai": _mistralai,
    "llama-index": _llama_index,
    "pydantic-ai": _pydantic_ai,
    "openai-agents": _openai_agents,
    "dspy": _dspy,
}
