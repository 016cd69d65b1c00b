"""How each recorded request is made through litellm: which function, which model string, which arguments.

`call_of(exchange, provider)` gives a `Call`; running it sends the request to the provider on loopback and reads the
answer to its end.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from tests.recordings import rebuild
from tests.recordings.provider import TOKEN_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.recordings.provider import Provider
    from tests.recordings.recordings import Exchange

__all__ = ["Call", "NoCallForm", "call_of", "google_credential"]

Arguments = dict[str, Any]


class NoCallForm(Exception):
    """litellm has no function that makes this request."""


@dataclass(frozen=True)
class Call:
    """One call of litellm, ready to run."""

    function: str
    """Name in litellm, without the `a` of its async twin."""
    arguments: Arguments = field(repr=False)
    is_asynchronous: bool = False

    @property
    def name(self) -> str:
        """The litellm function that is called, such as `acompletion`."""
        return f"a{self.function}" if self.is_asynchronous else self.function

    def run(self) -> Any:
        """Call, read a stream to its end, and return the answer (a stream's chunks as a list)."""
        import litellm

        made = getattr(litellm, self.name)
        if self.is_asynchronous:
            return asyncio.run(self._read(made))
        answer = made(**self.arguments)
        return list(answer) if self.arguments.get("stream") else answer

    async def _read(self, made: Callable[..., Any]) -> Any:
        answer = await made(**self.arguments)
        return [chunk async for chunk in answer] if self.arguments.get("stream") else answer


def call_of(exchange: Exchange, provider: Provider) -> Call:
    """The litellm call that makes this request of `provider`.

    Raises:
        NoCallForm: litellm has no function for it.
    """
    build = _BUILDERS.get(exchange.api)
    if build is None or exchange.method != "POST":
        raise NoCallForm(f"litellm has no function for {exchange.method} {exchange.path}")
    function, arguments = build(exchange, provider.url)
    return Call(function, {"api_key": "sk-test", **arguments}, exchange.is_asynchronous)


def _without_model(exchange: Exchange) -> Arguments:
    return {name: value for name, value in exchange.request.items() if name != "model" and value is not None}


# --- OpenAI's shapes ----------------------------------------------------------------------------------------

_OPENAI_LIKE = {
    "api.openai.com": ("openai", "/v1"),
    "api.deepseek.com": ("deepseek", "/beta"),
    "api.mistral.ai": ("mistral", "/v1"),
    "openrouter.ai": ("openrouter", "/api/v1"),
    "localhost:8000": ("hosted_vllm", "/v1"),
    "localhost:5002": ("openai", "/v1"),
}
"""Host -> litellm's name for it, and what comes before `/chat/completions`."""


def _openai_target(exchange: Exchange, url: str) -> Arguments:
    """`model` and address of an OpenAI-style request."""
    if exchange.host.endswith("openai.azure.com"):
        deployment = exchange.path.split("/deployments/")[1].split("/")[0]
        version = parse_qs(urlsplit(exchange.uri).query)["api-version"][0]
        return {"model": f"azure/{deployment}", "api_base": url, "api_version": version}
    prefix, base = _OPENAI_LIKE[exchange.host]
    return {"model": f"{prefix}/{exchange.request['model']}", "api_base": url + base}


def _openai(function: str) -> Callable[[Exchange, str], tuple[str, Arguments]]:
    def build(exchange: Exchange, url: str) -> tuple[str, Arguments]:
        return function, {**_without_model(exchange), **_openai_target(exchange, url)}

    return build


def _text(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    target = _openai_target(exchange, url)
    target["model"] = re.sub("^openai/", "text-completion-openai/", target["model"])
    return "text_completion", {**_without_model(exchange), **target}


# --- the others ---------------------------------------------------------------------------------------------


def _anthropic(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    model = f"anthropic/{exchange.request['model']}"
    return "completion", {"model": model, "api_base": url, **rebuild.from_anthropic(exchange.request)}


def _gemini_target(exchange: Exchange, url: str) -> Arguments:
    model = exchange.path.rpartition("/models/")[2].partition(":")[0]
    if "aiplatform" not in exchange.host:
        return {"model": f"gemini/{model}", "api_base": f"{url}/v1beta"}
    found = re.search("/projects/([^/]+)/locations/([^/]+)/", exchange.path)
    assert found is not None, exchange.path
    return {
        "model": f"vertex_ai/{model}",
        "api_base": f"{url}{exchange.path.partition(':')[0]}",
        "vertex_project": found[1],
        "vertex_location": found[2],
        "vertex_credentials": json.dumps(google_credential(url)),
    }


def google_credential(url: str) -> Arguments:
    """A workload identity whose token comes from the provider on loopback."""
    subject = Path(tempfile.gettempdir()) / "otel-llm-recordings-subject-token"
    subject.write_text("subject")
    return {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": url + TOKEN_PATH,
        "credential_source": {"file": str(subject)},
    }


def _gemini(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    stream = {"stream": True} if "stream" in exchange.path else {}
    return "completion", {**rebuild.from_gemini(exchange.request), **stream, **_gemini_target(exchange, url)}


def _gemini_embeddings(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    texts = [request["content"]["parts"][0]["text"] for request in exchange.request["requests"]]
    return "embedding", {"input": texts, **_gemini_target(exchange, url)}


def _bedrock_target(exchange: Exchange, url: str) -> Arguments:
    model = exchange.path.removeprefix("/model/").rpartition("/")[0]
    # An imported model is an ARN, which does not say whose request and answer it speaks: the caller must.
    imported = exchange.api == "invoke" and model.startswith("arn:")
    return {
        "model": f"bedrock/{'llama' if imported else exchange.api}/{model}",
        "aws_bedrock_runtime_endpoint": url,
        "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "aws_secret_access_key": "secret",
        "aws_region_name": "us-east-1",
        "api_key": None,
        **({"stream": True} if "stream" in exchange.path else {}),
    }


def _converse(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    return "completion", {**rebuild.from_converse(exchange.request), **_bedrock_target(exchange, url)}


def _invoke(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    body = exchange.request
    if "anthropic_version" in body:
        arguments = rebuild.from_anthropic(body)
    elif "messages" in body:
        arguments = rebuild.from_converse(body)
    else:
        arguments = rebuild.from_prompt(body)
    return "completion", {**arguments, **_bedrock_target(exchange, url)}


def _cohere(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    target = {"model": f"cohere_chat/{exchange.request['model']}", "api_base": f"{url}/v2/chat"}
    return "completion", {**rebuild.from_cohere(exchange.request), **target}


def _rerank(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    model = f"cohere/{exchange.request['model']}"
    return "rerank", {**_without_model(exchange), "model": model, "api_base": f"{url}{exchange.path}"}


def _ollama(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    model = f"ollama_chat/{exchange.request['model']}"
    return "completion", {**rebuild.from_ollama(exchange.request), "model": model, "api_base": url}


def _ollama_generate(exchange: Exchange, url: str) -> tuple[str, Arguments]:
    messages = [{"role": "user", "content": exchange.request["prompt"]}]
    return "completion", {"model": f"ollama/{exchange.request['model']}", "messages": messages, "api_base": url}


_BUILDERS: dict[str, Callable[[Exchange, str], tuple[str, Arguments]]] = {
    "chat": _openai("completion"),
    "text": _text,
    "responses": _openai("responses"),
    "embeddings": _openai("embedding"),
    "anthropic": _anthropic,
    "gemini": _gemini,
    "gemini-embeddings": _gemini_embeddings,
    "converse": _converse,
    "invoke": _invoke,
    "cohere": _cohere,
    "rerank": _rerank,
    "ollama": _ollama,
    "ollama-generate": _ollama_generate,
}
