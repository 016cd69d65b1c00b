"""Small programs that use litellm in every way that takes a path of its own through the recorder."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import litellm
import litellm.google_genai
from litellm.realtime_api import main as realtime_api
from opentelemetry import context as otel_context

import otel_llm.context as identity
from tests.unit.instrumentation.calls import CALLS, arguments, comparable, router, run
from tests.unit.instrumentation.frames import frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.testing import FakeProvider

__all__ = ["SCENES", "ContextLeftBehind", "play", "prepare"]

HAS_INTERACTIONS = importlib.util.find_spec("litellm.interactions") is not None
PICTURE = "data:image/png;base64,aGVsbG8="
RICH = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PICTURE}},
        ]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        ]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a moon"},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}],
    "temperature": 0.5,
    "stop": ["END"],
    "user": "u1",
    "metadata": {"tenant_id": "acme", "session_id": "s1", "tags": ["x"], "team": "blue"},
    "response_format": {"type": "json_object"},
}  # fmt: skip


BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-4o-mini",
    "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
}


class ContextLeftBehind(AssertionError):
    """A call left another OTel context behind than it found."""


def prepare(provider: FakeProvider) -> None:
    """Have `provider` answer as the scenes need it, any number of times."""
    provider.when(path=":generateContent").json(FROM_GEMINI, times=None)
    provider.when(path="/interactions").json(INTERACTION, times=None)
    provider.when(path="/converse").json(CONVERSED, times=None)
    provider.when(path="/converse-stream").malformed(FRAMES, times=None)
    provider.when(path="/runs").json({**RUN, "status": "queued"}, times=None)
    provider.when(path="/runs/run_1").json(RUN, times=None)
    provider.when(path="/batches").json({**BATCH, "status": "validating"}, times=None)
    provider.when(path="/batches/batch_1").json(BATCH, times=None)
    provider.when(model="gpt-4").error(404, times=None)
    provider.when(model="gpt-4.1-nano").error(500, headers={"retry-after-ms": "1"}, times=None)
    provider.when(model="gpt-4.1-mini").stream(["a "], fail_after=0, fail_with="error", times=None)
    provider.when(model="gpt-4-turbo").stream(["a ", "b ", "c ", "d "], fail_after=2, fail_with="error", times=None)


def play(name: str, provider: FakeProvider) -> Any:
    """Run one scene; what the program saw of it: an answer, chunks, or an exception."""
    scene = SCENES[name]
    try:
        if inspect.iscoroutinefunction(scene):
            return comparable(run(_alone, scene=scene, provider=provider))
        before = otel_context.get_current()
        try:
            return comparable(scene(provider))
        finally:
            _same(before)
    except ContextLeftBehind:
        raise
    except Exception as error:
        return type(error), getattr(error, "status_code", None), str(error)


async def _alone(scene: Callable[..., Any], provider: FakeProvider) -> Any:
    before = otel_context.get_current()
    try:
        return await scene(provider)
    finally:
        _same(before)


def _same(before: object) -> None:
    if otel_context.get_current() is not before:
        raise ContextLeftBehind


def _chunks(stream: Any) -> list[Any]:
    before = otel_context.get_current()
    found = []
    for chunk in stream:
        _same(before)
        found.append(comparable(chunk))
    return [type(stream).__name__, found]


async def _achunks(stream: Any) -> list[Any]:
    before = otel_context.get_current()
    found = []
    async for chunk in stream:
        _same(before)
        found.append(comparable(chunk))
    return [type(stream).__name__, found]


# --- whole answers ---


def _plain(name: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(getattr(litellm, name)):

        async def ascene(provider: FakeProvider) -> Any:
            return await getattr(litellm, name)(**arguments(CALLS[name], provider))

        return ascene

    def scene(provider: FakeProvider) -> Any:
        return getattr(litellm, name)(**arguments(CALLS[name], provider))

    return scene


def _rich(provider: FakeProvider) -> Any:
    with identity.tenant("globex", user="u2"):
        return litellm.completion(**arguments(CALLS["completion"], provider, **RICH))


# --- streams ---


def _stream(provider: FakeProvider) -> Any:
    return _chunks(litellm.completion(**arguments(CALLS["completion"], provider, **RICH, stream=True)))


async def _astream(provider: FakeProvider) -> Any:
    return await _achunks(await litellm.acompletion(**arguments(CALLS["acompletion"], provider, stream=True)))


def _text_stream(provider: FakeProvider) -> Any:
    return _chunks(litellm.text_completion(**arguments(CALLS["text_completion"], provider, stream=True)))


def _response_stream(provider: FakeProvider) -> Any:
    return _chunks(litellm.responses(**arguments(CALLS["responses"], provider, stream=True)))


async def _aresponse_stream(provider: FakeProvider) -> Any:
    return await _achunks(await litellm.aresponses(**arguments(CALLS["aresponses"], provider, stream=True)))


def _left_stream(provider: FakeProvider) -> Any:
    stream = litellm.completion(**arguments(CALLS["completion"], provider, stream=True))
    return comparable(next(iter(stream)))


async def _closed_stream(provider: FakeProvider) -> Any:
    stream = await litellm.acompletion(**arguments(CALLS["acompletion"], provider, stream=True))
    chunk = await stream.__anext__()
    with contextlib.suppress(AttributeError):
        await stream.aclose()
    return comparable(chunk)


def _broken_stream(provider: FakeProvider) -> Any:
    call = {**arguments(CALLS["completion"], provider, stream=True), "model": "openai/gpt-4-turbo"}
    return _chunks(litellm.completion(**call))


# --- a provider's own words ---

BLOCKS = {
    "system": [{"type": "text", "text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is this?"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "it"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a moon"}]},
    ],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "litellm_metadata": {"tenant_id": "acme"},
}
CONTENTS = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {"role": "user", "parts": [{"text": "Look."}, {"inlineData": {"mimeType": "image/png", "data": "aGVsbG8="}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "look", "args": {"at": "it"}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {"is": "a moon"}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "look"}]}],
}
FROM_GEMINI = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "A moon."}]}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {
        "promptTokenCount": 5,
        "candidatesTokenCount": 2,
        "totalTokenCount": 7,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 5}],
    },
}


async def _native_chunks(stream: Any) -> list[Any]:
    return [re.sub(rb'"(id|responseId)": ?"[^"]*"', b"", chunk) async for chunk in stream]


async def _messages(provider: FakeProvider) -> Any:
    return await litellm.anthropic_messages(**arguments(CALLS["anthropic_messages"], provider, **BLOCKS))


async def _messages_stream(provider: FakeProvider) -> Any:
    call = arguments(CALLS["anthropic_messages_handler"], provider, stream=True)
    return await _native_chunks(await litellm.anthropic_messages(**{**call, "model": "mistral/mistral-small-latest"}))


async def _contents(provider: FakeProvider) -> Any:
    target = {"model": "gemini/gemini-2.5-flash", "api_base": provider.url, "api_key": "sk-test"}
    return await litellm.google_genai.agenerate_content(**target, **CONTENTS)


async def _contents_stream(provider: FakeProvider) -> Any:
    target = {"model": "openai/gpt-4o-mini", "api_base": provider.openai_base, "api_key": "sk-test"}
    return await _native_chunks(
        await litellm.google_genai.agenerate_content_stream(contents=CONTENTS["contents"][:1], **target)
    )


def _batch(provider: FakeProvider) -> Any:
    target = {"api_base": provider.openai_base, "api_key": "sk-test", "custom_llm_provider": "openai"}
    asked = {name: BATCH[name] for name in ("completion_window", "endpoint", "input_file_id")}
    litellm.create_batch(**asked, **target)
    return litellm.retrieve_batch(batch_id="batch_1", **target).status


# --- of litellm's other interfaces ---

INTERACTION = {
    "id": "i1",
    "object": "interaction",
    "model": "gemini-2.5-flash",
    "status": "completed",
    "steps": [
        {"type": "thought", "summary": [{"type": "text", "text": "Hm"}]},
        {"type": "model_output", "content": [{"type": "text", "text": "A moon."}]},
        {"type": "function_call", "id": "c1", "name": "look", "arguments": {"at": "it"}},
    ],
    "usage": {
        "total_input_tokens": 5,
        "total_output_tokens": 2,
        "input_tokens_by_modality": [{"modality": "text", "tokens": 5}],
        "grounding_tool_count": [{"type": "google_search", "count": 1}],
    },
}
TURNS = [
    {"type": "user_input", "content": [{"type": "text", "text": "Look."}, {"type": "image", "data": "aGVsbG8="}]},
    {"type": "function_result", "call_id": "c1", "name": "look", "result": "a moon"},
]
CONVERSED = {
    "output": {"message": {"role": "assistant", "content": [{"text": "A moon."}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 5, "outputTokens": 2, "cacheDetails": [{"ttl": "1h", "inputTokens": 0}]},
}
TO_CONVERSE = {
    "system": [{"text": "Be brief."}],
    "messages": [
        {"role": "user", "content": [{"text": "Look."}, {"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}]},
        {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "look", "input": {}}}]},
        {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "a moon"}]}}]},
    ],
    "toolConfig": {"tools": [{"toolSpec": {"name": "look", "inputSchema": {"json": {"type": "object"}}}}]},
    "inferenceConfig": {"maxTokens": 9},
}
FRAMES = b"".join(
    frame(event, event_type=name)
    for name, event in (
        ("messageStart", {"role": "assistant"}),
        ("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t1", "name": "look"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{}"}}}),
        ("messageStop", {"stopReason": "tool_use"}),
        ("metadata", {"usage": {"inputTokens": 5, "outputTokens": 2}}),
    )
)
RUN = {
    "id": "run_1",
    "object": "thread.run",
    "created_at": 1,
    "thread_id": "thread_1",
    "assistant_id": "asst_1",
    "status": "completed",
    "model": "gpt-4o-mini",
    "instructions": "",
    "tools": [],
    "parallel_tool_calls": True,
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}


async def _interaction(provider: FakeProvider) -> Any:
    target = {"model": "gemini/gemini-2.5-flash", "api_base": provider.url, "api_key": "sk-test"}
    return await litellm.interactions.acreate(input=TURNS, system_instruction="Be brief.", **target)


def _interaction_stream(provider: FakeProvider) -> Any:
    target = {"model": "openai/gpt-4o-mini", "api_base": provider.openai_base, "api_key": "sk-test"}
    return len(list(litellm.interactions.create(input="Look.", stream=True, **target)))


def _passed(provider: FakeProvider, action: str) -> Any:
    model = "anthropic.claude-haiku-4-5-20251001-v1:0"
    keys = {"aws_access_key_id": "AKIATEST", "aws_secret_access_key": "secret", "aws_region_name": "us-east-1"}
    return litellm.llm_passthrough_route(
        method="POST",
        endpoint=f"/model/{model}/{action}",
        model=f"bedrock/{model}",
        data=TO_CONVERSE,
        api_base=provider.url,
        aws_bedrock_runtime_endpoint=provider.url,
        **keys,
    )


def _converse(provider: FakeProvider) -> Any:
    return _passed(provider, "converse")


def _converse_stream(provider: FakeProvider) -> Any:
    return b"".join(_passed(provider, "converse-stream"))


def _passed_stream(provider: FakeProvider) -> Any:
    body = {"messages": CALLS["completion"].inputs["messages"], "stream": True}
    stream = litellm.llm_passthrough_route(
        method="POST",
        endpoint="openai/deployments/gpt-4o-mini/chat/completions",
        model="azure/gpt-4o-mini",
        json=body,
        api_base=provider.url,
        api_key="sk-test",
    )
    return b"".join(stream).count(b"data:")


def _run_of_assistant(provider: FakeProvider) -> Any:
    target = {"custom_llm_provider": "openai", "api_base": provider.openai_base, "api_key": "sk-test"}
    return litellm.run_thread(thread_id="thread_1", assistant_id="asst_1", instructions="Be brief.", **target).status


class _Websocket:
    """A program's end of a realtime session."""

    scope: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def send_text(self, data: str) -> None:
        self.sent.append(data)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.sent.append(f"{code} {reason}")


REALTIME = (
    {"type": "session.created", "session": {"id": "s1", "model": "gpt-4o-mini", "instructions": "Be brief."}},
    {"type": "conversation.item.created", "item": {"type": "message", "role": "user", "content": []}},
    {"type": "response.created", "response": {"id": "r1"}},
    {"type": "response.text.delta", "delta": "A "},
    {"type": "response.done", "response": {"id": "r1", "status": "completed", "output": [], "usage": BATCH["usage"]}},
    {"type": "response.created", "response": {"id": "r2"}},
)


async def _relay(websocket: Any, **_: Any) -> None:
    for event in REALTIME:
        await websocket.send_text(json.dumps(event))
    await websocket.close(1011, "over")


async def _realtime(_: FakeProvider) -> Any:
    websocket, relayed = _Websocket(), realtime_api.openai_realtime.async_realtime
    realtime_api.openai_realtime.async_realtime = _relay  # a websocket's package is no part of the environment
    try:
        await litellm._arealtime(model="openai/gpt-4o-mini", websocket=websocket, api_key="sk-test")
    finally:
        realtime_api.openai_realtime.async_realtime = relayed
    return websocket.sent


# --- failures, retries, routes ---


def _refused(provider: FakeProvider) -> Any:
    return litellm.completion(**{**arguments(CALLS["completion"], provider), "model": "openai/gpt-4"})


async def _arefused(provider: FakeProvider) -> Any:
    return await litellm.acompletion(**{**arguments(CALLS["acompletion"], provider), "model": "openai/gpt-4"})


def _retried(provider: FakeProvider) -> Any:
    call = {**arguments(CALLS["completion"], provider), "model": "openai/gpt-4.1-nano"}
    return litellm.completion(**call, num_retries=1)


async def _aretried(provider: FakeProvider) -> Any:
    call = {**arguments(CALLS["acompletion"], provider), "model": "openai/gpt-4.1-nano"}
    return await litellm.acompletion(**call, num_retries=1)


async def _fell_back(provider: FakeProvider) -> Any:
    call = {**arguments(CALLS["acompletion"], provider), "model": "openai/gpt-4"}
    return await litellm.acompletion(**call, fallbacks=["openai/gpt-4o-mini"])


def _routed(bad: str) -> Callable[..., Any]:
    async def ascene(provider: FakeProvider) -> Any:
        form = replace(CALLS["completion"], model=f"openai/{bad}")
        routing = router(provider, form, CALLS["completion"], fallbacks=[{f"group-{bad}": ["group-gpt-4o-mini"]}])
        return await _achunks(
            await routing.acompletion(model=f"group-{bad}", messages=form.inputs["messages"], stream=True)
        )

    return ascene


def _routed_sync(provider: FakeProvider) -> Any:
    routing = router(provider, CALLS["completion"])
    return routing.completion(model="group-gpt-4o-mini", messages=CALLS["completion"].inputs["messages"])


SCENES: dict[str, Callable[..., Any]] = {
    **{name: _plain(name) for name in ("acompletion", "atext_completion", "embedding", "responses", "rerank",
                                       "image_generation", "image_edit", "transcription", "speech", "moderation")},
    "rich": _rich,
    "stream": _stream,
    "astream": _astream,
    "text stream": _text_stream,
    "responses stream": _response_stream,
    "aresponses stream": _aresponse_stream,
    "stream left early": _left_stream,
    "stream closed early": _closed_stream,
    "broken stream": _broken_stream,
    "messages": _messages,
    "messages stream": _messages_stream,
    "contents": _contents,
    "contents stream": _contents_stream,
    "batch": _batch,
    "converse": _converse,
    "converse stream": _converse_stream,
    "passed stream": _passed_stream,
    "run": _run_of_assistant,
    "realtime": _realtime,
    **({"interaction": _interaction, "interaction stream": _interaction_stream} if HAS_INTERACTIONS else {}),
    "refused": _refused,
    "arefused": _arefused,
    "retried": _retried,
    "aretried": _aretried,
    "fell back": _fell_back,
    "routed stream with fallback": _routed("gpt-4"),
    "routed stream that breaks at once": _routed("gpt-4.1-mini"),
    "routed": _routed_sync,
}  # fmt: skip
"""Programs by name; each takes the provider."""
