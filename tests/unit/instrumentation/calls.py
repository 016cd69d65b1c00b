"""Every form in which a program can call litellm, each against the provider on loopback."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import litellm
import openai

from otel_llm import semconv

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.testing import FakeProvider

__all__ = [
    "CALLS",
    "MESSAGES",
    "ROUTED",
    "STREAMS",
    "CallForm",
    "arguments",
    "close_loop",
    "comparable",
    "router",
    "run",
]

MESSAGES = [{"role": "user", "content": "How far is the moon?"}]
PNG = b"\x89PNG\r\n\x1a\n"
WAV = ("talk.wav", b"RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav")


@dataclass(frozen=True)
class CallForm:
    """One function of litellm, with arguments that make it work."""

    name: str
    model: str
    """As the program writes it, with litellm's provider prefix where it needs one."""
    operation: str
    inputs: dict[str, Any] = field(default_factory=dict)
    provider: str = "openai"
    """In the conventions' word."""
    counts_tokens: bool = True
    finishes: str | None = None
    """The finish reason that the provider gives for an ordinary answer."""

    @property
    def bare_model(self) -> str:
        """The model without litellm's prefix."""
        return self.model.rpartition("/")[2]

    @property
    def asynchronous(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(getattr(litellm, self.name))


def _pair(name: str, *args: Any, **kwargs: Any) -> list[CallForm]:
    return [CallForm(name, *args, **kwargs), CallForm(f"a{name}", *args, **kwargs)]


CALLS: dict[str, CallForm] = {
    form.name: form
    for form in (
        *_pair("completion", "openai/gpt-4o-mini", semconv.OP_CHAT, {"messages": MESSAGES}, finishes="stop"),
        *_pair(
            "text_completion",
            "text-completion-openai/gpt-3.5-turbo-instruct",
            semconv.OP_TEXT_COMPLETION,
            {"prompt": "Once upon a time"},
            finishes="stop",
        ),
        *_pair("embedding", "openai/text-embedding-3-small", semconv.OP_EMBEDDINGS, {"input": ["one", "two words"]}),
        *_pair("responses", "openai/gpt-4o-mini", semconv.OP_CHAT, {"input": "How far is the moon?"}, finishes="stop"),
        CallForm(
            "anthropic_messages",
            "anthropic/claude-sonnet-4-5",
            semconv.OP_CHAT,
            {"messages": MESSAGES, "max_tokens": 50},
            provider="anthropic",
            finishes="stop",
        ),
        # The sync one: litellm has it for models only that it answers by way of another form.
        CallForm(
            "anthropic_messages_handler",
            "openai/gpt-4o-mini",
            semconv.OP_CHAT,
            {"messages": MESSAGES, "max_tokens": 50},
            finishes="stop",
        ),
        *_pair(
            "rerank",
            "cohere/rerank-v3.5",
            semconv.OP_RETRIEVAL,
            {"query": "moon", "documents": ["the moon is far", "bread"]},
            provider="cohere",
            counts_tokens=False,
        ),
        *_pair(
            "image_generation",
            "openai/gpt-image-1",
            semconv.OP_GENERATE_CONTENT,
            {"prompt": "a moon"},
            counts_tokens=False,
        ),
        *_pair(
            "image_edit",
            "openai/gpt-image-1",
            semconv.OP_GENERATE_CONTENT,
            {"image": PNG, "prompt": "a moon"},
            counts_tokens=False,
        ),
        *_pair("transcription", "openai/whisper-1", semconv.OP_GENERATE_CONTENT, {"file": WAV}, counts_tokens=False),
        *_pair(
            "speech",
            "openai/tts-1",
            semconv.OP_GENERATE_CONTENT,
            {"input": "the moon", "voice": "alloy"},
            counts_tokens=False,
        ),
        *_pair(
            "moderation", "omni-moderation-latest", semconv.OP_MODERATION, {"input": "the moon"}, counts_tokens=False
        ),
    )
}
"""Call forms by the name of litellm's function."""

STREAMS = ("completion", "acompletion", "text_completion", "atext_completion", "responses", "aresponses")
"""Call forms that can answer in chunks."""

ROUTED = ("completion", "acompletion", "text_completion", "atext_completion", "embedding", "aembedding",
          "responses", "aresponses", "rerank", "arerank")  # fmt: skip
"""Call forms that the Router has methods for."""


def arguments(form: CallForm, provider: FakeProvider, **more: Any) -> dict[str, Any]:
    """Keyword arguments with which `form` calls `provider`."""
    base = provider.anthropic_base if form.provider == "anthropic" else provider.openai_base
    made = {"model": form.model, **form.inputs, "api_base": base, "api_key": "sk-test", **more}
    if form.name in {"moderation", "amoderation"}:
        # Old versions of litellm know no other way to send a moderation somewhere else.
        client = openai.AsyncOpenAI if form.asynchronous else openai.OpenAI
        made["client"] = client(base_url=provider.openai_base, api_key="sk-test", max_retries=0)
    elif "rerank" not in form.name:
        made.setdefault("max_retries", 0)
    return made


def run(function: Callable[..., Any], **kwargs: Any) -> Any:
    """Call a function, on an event loop where it is a coroutine function.

    One loop serves all tests: litellm keeps clients and a queue of work per loop, and complains about new ones.
    """
    if not inspect.iscoroutinefunction(function):
        return function(**kwargs)
    if not _loops:
        _loops.append(asyncio.new_event_loop())
    return _loops[0].run_until_complete(function(**kwargs))


def close_loop() -> None:
    """End whatever still runs on the loop of `run`, and close it."""
    while _loops:
        loop = _loops.pop()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=2))  # some of litellm's refuse to be cancelled
        loop.close()


_loops: list[asyncio.AbstractEventLoop] = []


def router(provider: FakeProvider, *forms: CallForm, **settings: Any) -> Any:
    """A Router with one deployment per form, each under the name `group-MODEL`."""
    deployments = {}
    for form in forms:
        group = f"group-{form.bare_model}"
        parameters = {"model": form.model, "api_base": provider.openai_base, "api_key": "sk-test"}
        if "rerank" not in form.name:
            parameters["max_retries"] = 0
        deployments[group] = {"model_name": group, "litellm_params": parameters}
    return litellm.Router(model_list=list(deployments.values()), **{"num_retries": 0, **settings})


def comparable(answer: Any) -> Any:
    """An answer without what differs from call to call: ids and times."""
    if isinstance(answer, (bytes, str)):
        return answer
    if hasattr(answer, "model_dump"):
        return _steady(answer.model_dump())
    content = getattr(answer, "content", None)
    return content if isinstance(content, bytes) else _steady(answer)


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(entry) for key, entry in value.items() if key not in _CHANGING}
    if isinstance(value, (list, tuple)):
        return [_steady(entry) for entry in value]
    return value


_CHANGING = {"id", "item_id", "created", "created_at", "completed_at", "response_ms"}
