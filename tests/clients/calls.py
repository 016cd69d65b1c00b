"""How a recorded request is made through the provider's own client library, or through LangChain on top of it.

Runs where the client libraries are. A recorded body is what the library itself sends, so most of it goes in as it is.
`call_of(exchange, url)` gives a function without arguments that makes the request and reads the answer to its end.
"""

from __future__ import annotations

import asyncio
import re
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.clients.frameworks import FRAMEWORKS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.recordings.recordings import Exchange

__all__ = ["LANGCHAIN", "call_of", "client_of"]

LANGCHAIN = "langchain"
_KEY = "sk-test"
_BASES = {"api.deepseek.com": "/beta", "openrouter.ai": "/api/v1"}
"""Host -> what its path begins with where that is not `/v1`."""


def client_of(exchange: Exchange) -> str | None:
    """The client library that makes this request (a name of the setting `instrument`); None for none of these."""
    return _CLIENTS.get(exchange.api)


_CLIENTS = {
    "chat": "openai",
    "text": "openai",
    "responses": "openai",
    "embeddings": "openai",
    "anthropic": "anthropic",
    "gemini": "google-genai",
    "gemini-embeddings": "google-genai",
    "converse": "bedrock",
    "invoke": "bedrock",
    "ollama": "ollama",
    "ollama-generate": "ollama",
}


def call_of(exchange: Exchange, url: str, through: str | None = None) -> Callable[[], Any]:
    """The call that makes the request of the server at `url`; `through` may name LangChain or one of `FRAMEWORKS`."""
    if through == LANGCHAIN:
        return _langchain(exchange, url)
    if through is not None:
        return lambda: FRAMEWORKS[through](exchange, url)
    return _MAKERS[exchange.api](exchange, url)


def _read(made: Callable[[], Any]) -> Callable[[], Any]:
    """A sync call; a stream is read to its end."""

    def call() -> Any:
        answer = made()
        return list(answer) if _is_stream(answer) else answer

    return call


def _read_async(client: Callable[[], Any], made: Callable[[Any], Any]) -> Callable[[], Any]:
    """An async call in an event loop of its own."""

    async def call() -> Any:
        one = client()
        answer = await made(one)
        return [chunk async for chunk in answer] if hasattr(answer, "__aiter__") else answer

    return lambda: asyncio.run(call())


def _is_stream(answer: Any) -> bool:
    return hasattr(answer, "__next__") or type(answer).__name__ in {"Stream", "EventStream"}


# --- OpenAI and those who speak like it -----------------------------------------------------------------------


def _openai(method: str) -> Callable[[Exchange, str], Callable[[], Any]]:
    def make(exchange: Exchange, url: str) -> Callable[[], Any]:
        body = {name: value for name, value in exchange.request.items() if value is not None}
        kind, arguments = _openai_client(exchange, url)
        # What the installed client has no argument for still goes into the body.
        extra = {name: body.pop(name) for name in ("reasoning",) if method == "chat.completions" and name in body}
        if extra:
            body["extra_body"] = extra

        def create(client: Any) -> Any:
            for name in method.split("."):
                client = getattr(client, name)
            return client.create(**body)

        if exchange.is_asynchronous:
            return _read_async(lambda: _of_openai("Async" + kind)(**arguments), create)
        return _read(lambda: create(_kept_openai(kind, tuple(arguments.items()))))

    return make


def _of_openai(name: str) -> Any:
    import openai

    return getattr(openai, name)


@cache
def _kept_openai(name: str, arguments: tuple[tuple[str, Any], ...]) -> Any:
    """A sync client, made once: each takes a tenth of a second for certificates that nobody needs here."""
    return _of_openai(name)(**dict(arguments))


def _openai_client(exchange: Exchange, url: str) -> tuple[str, dict[str, Any]]:
    common = {"api_key": _KEY, "max_retries": 0}
    if exchange.host.endswith("openai.azure.com"):
        version = parse_qs(urlsplit(exchange.uri).query)["api-version"][0]
        deployment = exchange.path.split("/deployments/")[1].split("/")[0]
        azure = {"azure_endpoint": url, "api_version": version, "azure_deployment": deployment}
        return "AzureOpenAI", {**common, **azure}
    return "OpenAI", {**common, "base_url": url + _BASES.get(exchange.host, "/v1")}


# --- Anthropic -----------------------------------------------------------------------------------------------


def _anthropic(exchange: Exchange, url: str) -> Callable[[], Any]:
    import anthropic

    body = dict(exchange.request)
    is_beta = "beta" in exchange.name or "output_format" in body
    arguments = {"api_key": _KEY, "base_url": url, "max_retries": 0}
    if "output_format" in body:
        body["output_config"] = {"format": body.pop("output_format")}

    def create(client: Any) -> Any:
        return (client.beta.messages if is_beta else client.messages).create(**body)

    if exchange.is_asynchronous:
        return _read_async(lambda: anthropic.AsyncAnthropic(**arguments), create)
    return _read(lambda: create(_kept_anthropic(url)))


@cache
def _kept_anthropic(url: str) -> Any:
    import anthropic

    return anthropic.Anthropic(api_key=_KEY, base_url=url, max_retries=0)


# --- Google --------------------------------------------------------------------------------------------------


def _google_client(exchange: Exchange, url: str) -> Any:
    from google import genai
    from google.auth.credentials import AnonymousCredentials

    options = {"base_url": url}
    if "aiplatform" not in exchange.host:
        return genai.Client(api_key=_KEY, http_options=options)
    found = re.search("/projects/([^/]+)/locations/([^/]+)/", exchange.path)
    assert found is not None, exchange.path
    credentials = _signed(AnonymousCredentials())
    return genai.Client(
        vertexai=True, project=found[1], location=found[2], credentials=credentials, http_options=options
    )


def _signed(credentials: Any) -> Any:
    credentials.token = "token"
    return credentials


def _google_model(exchange: Exchange) -> str:
    return exchange.path.rpartition("/models/")[2].partition(":")[0]


def _gemini(exchange: Exchange, url: str) -> Callable[[], Any]:
    from google.genai import types

    body = exchange.request
    config = {
        **(body.get("generationConfig") or {}),
        **{name: body[name] for name in ("systemInstruction", "tools", "safetySettings") if name in body},
    }
    arguments = {
        "model": _google_model(exchange),
        "contents": [types.Content.model_validate(content) for content in body["contents"]],
        "config": types.GenerateContentConfig.model_validate(config) if config else None,
    }
    name = "generate_content_stream" if exchange.response.is_event_stream else "generate_content"
    if exchange.is_asynchronous:
        return _read_async(
            lambda: _google_client(exchange, url), lambda client: getattr(client.aio.models, name)(**arguments)
        )
    client = _google_client(exchange, url)  # it closes its connections when it is collected
    return _read(lambda: getattr(client.models, name)(**arguments))


def _gemini_embeddings(exchange: Exchange, url: str) -> Callable[[], Any]:
    texts = [request["content"]["parts"][0]["text"] for request in exchange.request["requests"]]
    client = _google_client(exchange, url)
    return _read(lambda: client.models.embed_content(model=_google_model(exchange), contents=texts))


# --- Bedrock and Ollama ----------------------------------------------------------------------------------------


def _bedrock(exchange: Exchange, url: str) -> Callable[[], Any]:
    import json

    import boto3

    model, _, action = exchange.path.removeprefix("/model/").rpartition("/")
    action = action.replace("invoke", "invoke-model")

    def call() -> Any:
        client = boto3.client(
            "bedrock-runtime",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="AKIAIOSFODNN7EXAMPLE",
            aws_secret_access_key="secret",
        )
        method = getattr(client, action.replace("-", "_"))
        if action.startswith("converse"):
            answer = method(modelId=model, **exchange.request)
            return list(answer["stream"]) if "stream" in answer else answer
        answer = method(modelId=model, body=json.dumps(exchange.request))
        body = answer["body"]
        return list(body) if action.endswith("stream") else body.read()

    return call


def _ollama(method: str) -> Callable[[Exchange, str], Callable[[], Any]]:
    def make(exchange: Exchange, url: str) -> Callable[[], Any]:
        import ollama

        unset = (None, "", {}, [])
        body = {name: value for name, value in exchange.request.items() if value not in unset}
        if exchange.is_asynchronous:
            return _read_async(lambda: ollama.AsyncClient(url), lambda client: getattr(client, method)(**body))
        return _read(lambda: getattr(ollama.Client(url), method)(**body))

    return make


_MAKERS: dict[str, Callable[[Exchange, str], Callable[[], Any]]] = {
    "chat": _openai("chat.completions"),
    "text": _openai("completions"),
    "responses": _openai("responses"),
    "embeddings": _openai("embeddings"),
    "anthropic": _anthropic,
    "gemini": _gemini,
    "gemini-embeddings": _gemini_embeddings,
    "converse": _bedrock,
    "invoke": _bedrock,
    "ollama": _ollama("chat"),
    "ollama-generate": _ollama("generate"),
}


# --- LangChain -------------------------------------------------------------------------------------------------


def _langchain(exchange: Exchange, url: str) -> Callable[[], Any]:
    body = {name: value for name, value in exchange.request.items() if value is not None}
    messages = [{"content": "", **message} for message in body.pop("messages")]
    streams = bool(body.pop("stream", False))
    if exchange.api == "anthropic":
        from langchain_anthropic import ChatAnthropic

        system = body.pop("system", None)
        model: Any = ChatAnthropic(
            model=body.pop("model"), max_tokens=body.pop("max_tokens"), api_key=_KEY, base_url=url, max_retries=0
        )
        messages = ([{"role": "system", "content": system}] if system else []) + messages
    else:
        from langchain_openai import ChatOpenAI

        model = ChatOpenAI(model=body.pop("model"), base_url=url + "/v1", api_key=_KEY, max_retries=0)
        body.pop("stream_options", None)
    bound = model.bind(**body) if body else model
    if exchange.is_asynchronous:

        async def call() -> Any:
            return [part async for part in bound.astream(messages)] if streams else await bound.ainvoke(messages)

        return lambda: asyncio.run(call())
    return lambda: list(bound.stream(messages)) if streams else bound.invoke(messages)
