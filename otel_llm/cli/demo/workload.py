"""What the demo does: the calls that an ordinary program with three customers makes through litellm.

Nothing in here records anything. Each scene says beforehand what it amounts to, so that the demo can compare
what was called with what was recorded.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry import trace

from otel_llm import semconv
from otel_llm.context import tenant
from otel_llm.testing import FakeProvider, Usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from otel_llm.testing import RecordedRequest

__all__ = ["SCENES", "Played", "Scene", "Stage", "play", "quiet_litellm", "tool_options", "why_cache_fails"]

CHAT = "gpt-4o-mini"
CLAUDE = "claude-haiku-4-5"
EMBEDDING = "text-embedding-3-small"
"""All three have a price in litellm's table from 1.79 on."""

_LATENCY = 0.03
_CHUNK_DELAY = 0.02
_DONE_SECONDS = 5.0
_WEATHER_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, now.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

Messages: TypeAlias = "list[dict[str, Any]]"


def _ask(text: str) -> Messages:
    return [{"role": "user", "content": text}]


@dataclass(frozen=True)
class Stage:
    """What the scenes play with: litellm, and the server that stands for the providers."""

    litellm: Any
    provider: FakeProvider
    tool_options: Mapping[str, Any] = field(default_factory=dict)
    """What this litellm wants to be told before it takes `tools` (see `tool_options`)."""

    @property
    def openai(self) -> dict[str, Any]:
        """Where OpenAI's models are served."""
        return {"api_base": self.provider.openai_base, "api_key": "demo-key"}

    @property
    def anthropic(self) -> dict[str, Any]:
        """Where Anthropic's models are served."""
        return {"api_base": self.provider.anthropic_base, "api_key": "demo-key"}


@dataclass(frozen=True)
class Scene:
    """One thing that a customer's program does, and what it amounts to."""

    title: str
    tenant: str
    user: str
    act: Callable[[Stage], object]
    calls: int = 1
    """Calls of litellm functions, as the program makes them; retries and fallbacks are not counted."""
    errors: int = 0
    """How many of them raise."""
    cache_hits: int = 0
    """How many are answered from litellm's response cache."""
    broken_off: bool = False
    """Whether the client walks away from a stream, so that nobody is told its usage."""


@dataclass(frozen=True)
class Played:
    """A scene that was played, and what the provider saw of it."""

    scene: Scene
    session: str
    """The session id under which it was recorded; no other run has it."""
    requests: list[RecordedRequest] = field(repr=False)

    @property
    def usage(self) -> Usage | None:
        """The sum of what the provider said it charged; None if it did not say so for every answer it gave."""
        answered = [request for request in self.requests if request.status == 200]
        told = [request.usage for request in answered if request.usage is not None]
        if len(told) < len(answered):
            return None
        return Usage(
            sum(usage.input_tokens for usage in told),
            sum(usage.output_tokens for usage in told),
            sum(usage.cache_read_tokens for usage in told),
        )


def play(stage: Stage, scenes: Iterable[Scene], run_id: str) -> list[Played]:
    """Play the scenes one after another, each on behalf of its tenant, in a session of its own."""
    stage.provider.latency = _LATENCY
    played = []
    for number, scene in enumerate(scenes, start=1):
        session, before = f"{run_id}-{number:02}", len(stage.provider.requests)
        with tenant(scene.tenant, user=scene.user, session=session):
            scene.act(stage)
        requests = stage.provider.requests[before:]
        for request in requests if not scene.broken_off else ():
            request.done.wait(_DONE_SECONDS)
        played.append(Played(scene, session, requests))
    return played


# --- scenes ----------------------------------------------------------------------------------------------


def _question(stage: Stage) -> None:
    stage.provider.answer("Paris.", usage=Usage(14, 2))
    stage.litellm.completion(CHAT, _ask("What is the capital of France?"), **stage.openai)


def _stream(stage: Stage) -> None:
    stage.provider.stream(
        ["Rust ", "never ", "sleeps, ", "and ", "neither ", "does ", "CI."],
        usage=Usage(11, 19),
        first_chunk_delay=5 * _CHUNK_DELAY,
        chunk_delay=_CHUNK_DELAY,
    )
    for _chunk in stage.litellm.completion(CHAT, _ask("A line on build servers, please."), stream=True, **stage.openai):
        pass


def _tool(stage: Stage) -> None:
    """The model asks for a tool, the program runs it in a span of its own, the model reads its result."""
    tracer = trace.get_tracer("otel_llm.demo")
    messages = _ask("Do I need an umbrella in Oslo?")
    stage.provider.tool_call("get_weather", {"city": "Oslo"}, usage=Usage(72, 16))
    stage.provider.answer("Yes, it rains in Oslo.", usage=Usage(103, 9))
    with tracer.start_as_current_span("umbrella question"):
        first = stage.litellm.completion(CHAT, messages, tools=[_WEATHER_TOOL], **stage.openai, **stage.tool_options)
        message = first.choices[0].message
        call = message.tool_calls[0]
        with tracer.start_as_current_span(
            f"{semconv.OP_EXECUTE_TOOL} get_weather",
            attributes={semconv.OPERATION_NAME: semconv.OP_EXECUTE_TOOL, semconv.TOOL_NAME: "get_weather"},
        ):
            result = {**json.loads(call.function.arguments), "weather": "rain"}
        messages += [
            message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": json.dumps(result)},
        ]
        stage.litellm.completion(CHAT, messages, tools=[_WEATHER_TOOL], **stage.openai, **stage.tool_options)


def _three_at_once(stage: Stage) -> None:
    stage.provider.answer("Done.", usage=Usage(1250, 12, cache_read_tokens=1200), times=3)

    async def summaries() -> None:
        chapters = [_ask(f"Summarise chapter {number}.") for number in (1, 2, 3)]
        await asyncio.gather(*(stage.litellm.acompletion(CLAUDE, asked, **stage.anthropic) for asked in chapters))

    _run(stage, summaries())


def _broken_off(stage: Stage) -> None:
    # Long enough that the client is gone before the provider has come to the end.
    stage.provider.stream(["word "] * 500, usage=Usage(15, 500), chunk_delay=_CHUNK_DELAY)

    async def read_a_little() -> None:
        stream = await stage.litellm.acompletion(CLAUDE, _ask("Tell me everything."), stream=True, **stage.anthropic)
        heard = 0
        async for chunk in stream:
            heard += bool(chunk.choices and chunk.choices[0].delta.content)
            if heard == 3:
                break
        if hasattr(stream, "aclose"):  # litellm 1.79 has none; the stream is then dropped as it is
            await stream.aclose()

    _run(stage, read_a_little())


def _rate_limited(stage: Stage) -> None:
    stage.provider.error(429, headers={"Retry-After": "1"})
    stage.provider.answer("Forty-two.", usage=Usage(17, 4))
    # OpenAI's own client is told not to retry: litellm's Router does, and each attempt can be seen.
    router = stage.litellm.Router(
        model_list=[{"model_name": CHAT, "litellm_params": {"model": CHAT, "max_retries": 0, **stage.openai}}],
        num_retries=1,
    )
    router.completion(CHAT, _ask("What do you get if you multiply six by seven?"))


def _embeddings(stage: Stage) -> None:
    stage.litellm.embedding(EMBEDDING, input=["a first document", "and a second one"], **stage.openai)


def _same_question_twice(stage: Stage) -> None:
    stage.provider.answer("Yes.", usage=Usage(13, 2))
    with _response_cache(stage.litellm):
        for _ in range(2):
            stage.litellm.completion(CHAT, _ask("Are you open on Sundays?"), caching=True, **stage.openai)


def _wrong_key(stage: Stage) -> None:
    stage.provider.error(401)
    try:
        stage.litellm.completion(CHAT, _ask("Hello?"), **stage.openai)
    except stage.litellm.AuthenticationError:
        return  # the point of the scene
    raise AssertionError("the provider answered 401 and litellm did not raise")


def _fallback(stage: Stage) -> None:
    stage.provider.when(model=CHAT).error(503)
    stage.provider.when(model=CLAUDE).answer("Here instead.", usage=Usage(10, 4))
    router = stage.litellm.Router(
        model_list=[
            {"model_name": "main", "litellm_params": {"model": CHAT, "max_retries": 0, **stage.openai}},
            {"model_name": "spare", "litellm_params": {"model": CLAUDE, "max_retries": 0, **stage.anthropic}},
        ],
        fallbacks=[{"main": ["spare"]}],
        num_retries=0,
    )
    router.completion("main", _ask("Anybody there?"))


SCENES = (
    Scene("question", "acme", "ada", _question),
    Scene("stream", "acme", "ada", _stream),
    Scene("tool call", "acme", "alan", _tool, calls=2),
    Scene("three at once, async", "globex", "bob", _three_at_once, calls=3),
    Scene("stream broken off, async", "globex", "bob", _broken_off, broken_off=True),
    Scene("rate limit, retried", "globex", "beth", _rate_limited),
    Scene("embeddings", "initech", "carol", _embeddings),
    Scene("same question twice", "initech", "carol", _same_question_twice, calls=2, cache_hits=1),
    Scene("wrong key", "initech", "carol", _wrong_key, errors=1),
    Scene("fallback", "initech", "chen", _fallback),
)


# --- litellm's own ways ----------------------------------------------------------------------------------


def quiet_litellm() -> Any:
    """Import litellm, and have it keep its advice on errors to itself. Raises ImportError without it."""
    litellm: Any = importlib.import_module("litellm")
    litellm.suppress_debug_info = True
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm


def why_cache_fails(stage: Stage) -> str | None:
    """Try litellm's response cache; None if it answers the second time, else why it does not.

    From 1.105 on a hit imports parts of litellm's proxy server, and raises where those are not installed.
    """
    before = len(stage.provider.requests)
    try:
        with _response_cache(stage.litellm):
            for _ in range(2):
                stage.litellm.completion(CHAT, _ask("ping"), caching=True, **stage.openai)
    except ImportError as error:
        return str(error)
    asked = len(stage.provider.requests) - before
    return None if asked == 1 else f"the provider was asked {asked} times"


def tool_options(stage: Stage) -> tuple[dict[str, Any], str | None]:
    """Try a call with tools; returns what makes it work here, and why it did not without.

    From 1.105 on litellm looks first whether a tool is meant for its MCP gateway, and raises where the package
    `mcp` is not installed. It has a switch of its own that leaves that out.
    """
    try:
        stage.litellm.completion(CHAT, _ask("ping"), tools=[_WEATHER_TOOL], **stage.openai)
    except ImportError as error:
        return {"_skip_mcp_handler": True}, str(error)
    return {}, None


class _response_cache:  # noqa: N801  (reads as a statement)
    """A fresh response cache in memory for the time of a block; what the program had comes back after it."""

    def __init__(self, litellm: Any) -> None:
        self._litellm = litellm
        self._before = litellm.cache

    def __enter__(self) -> None:
        self._litellm.cache = importlib.import_module("litellm.caching.caching").Cache(type="local")

    def __exit__(self, *_: object) -> None:
        self._litellm.cache = self._before


def _run(stage: Stage, work: Awaitable[None]) -> None:
    """Run `work` on an event loop of its own and leave nothing of litellm behind on it."""

    async def and_clean_up() -> None:
        await work
        await stage.litellm.close_litellm_async_clients()
        await _end_other_tasks()

    asyncio.run(and_clean_up())


async def _end_other_tasks() -> None:
    """End litellm's background tasks, asking more than once.

    Python 3.10's `wait_for` can swallow a cancellation, and litellm's logging task then waits for ever:
    `asyncio.run`, which asks once, would never return.
    """
    for _ in range(5):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if not others:
            return
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=1.0)
