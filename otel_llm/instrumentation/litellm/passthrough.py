"""What litellm passes through to a provider as it is: which of the forms that we know it is one of.

A program gives method, endpoint and body (`llm_passthrough_route`), and gets httpx's response, or the bytes of a
stream. What is asked for at an endpoint that we know is recorded as a call of that form: the body's members are its
arguments, and what is in the response is its answer. What is asked for elsewhere is not a model's answer.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.instrumentation.litellm.forms import BEDROCK, CONTENTS, FORMS, MESSAGES, PASSTHROUGH, Form
from otel_llm.instrumentation.litellm.reading import get, readable, text
from otel_llm.instrumentation.litellm.sse import ServerSentEvents
from otel_llm.instrumentation.litellm.stream_reader import StreamReader

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EventStreamReader", "answer_within", "arguments_within", "passed_as"]

_KNOWN: Final = {
    "/chat/completions": FORMS["completion"],
    "/completions": FORMS["text_completion"],
    "/responses": FORMS["responses"],
    "/embeddings": FORMS["embedding"],
    "/messages": FORMS[MESSAGES],
    ":generateContent": FORMS[CONTENTS],
    ":streamGenerateContent": FORMS[CONTENTS],
    **dict.fromkeys(
        ("/converse", "/converse-stream", "/invoke", "/invoke-with-response-stream"),
        Form(PASSTHROUGH, BEDROCK, semconv.OP_CHAT, (), native=True),
    ),
}
"""How an endpoint ends -> the form of what is asked for there."""
_STREAMING: Final = (":streamGenerateContent", "/converse-stream", "/invoke-with-response-stream")
_BODIES: Final = ("json", "data")
_OF_THE_CALL: Final = frozenset({*_BODIES, "method", "endpoint", "content", "files", "params", "cookies", "client"})
"""Arguments that say how to send, and not what."""
_EMBEDS: Final = "embed"
"""In the names of Bedrock's models that answer with embeddings."""


def passed_as(form: Form, kwargs: Mapping[str, Any]) -> Form | None:
    """The form of what is passed through; None for what asks no model, or where nobody knows."""
    endpoint, method = text(kwargs.get("endpoint")), text(kwargs.get("method"))
    if endpoint is None or method is None or method.upper() != "POST":
        return None
    return _passed_as(form, f"/{endpoint.partition('?')[0].rstrip('/')}")


@lru_cache(maxsize=256)
def _passed_as(form: Form, endpoint: str) -> Form | None:
    for ending, known in _KNOWN.items():
        if endpoint.endswith(ending):
            embeds = known.family == BEDROCK and _EMBEDS in endpoint
            return replace(
                known,
                name=form.name,
                operation=semconv.OP_EMBEDDINGS if embeds else known.operation,
                parameters=form.parameters,
                streams=ending in _STREAMING,
                home="",
                raw=True,
            )
    return None


def arguments_within(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The body's members as arguments, beside those of the call itself, which go first."""
    body = next((body for body in map(arguments.get, _BODIES) if type(body) is dict), {})
    made = {name: value for name, value in body.items() if isinstance(name, str) and readable(value)}
    made.update((name, value) for name, value in arguments.items() if name not in _OF_THE_CALL and value is not None)
    return made


def answer_within(response: object) -> object:
    """What the provider answered, out of httpx's response."""
    try:
        said = json.loads(get(response, "content"))
    except (TypeError, ValueError, RecursionError):
        return {}
    if not isinstance(said, dict):
        return {}
    said["_hidden_params"] = {"api_base": str(get(get(response, "request"), "url"))}
    return said


class EventStreamReader(StreamReader):
    """Reads the bytes of a stream in OpenAI's words."""

    def __init__(self, request: Any, *, cache_hit: bool = False) -> None:
        super().__init__(request, cache_hit=cache_hit)
        self._events = ServerSentEvents()

    @staticmethod
    def keep(chunk: Any) -> Any:
        """Bytes do not change."""
        return chunk

    def feed(self, chunk: object) -> bool:
        """Take one piece in; True when one of its events carries content."""
        carried = [super(EventStreamReader, self).feed(event) for event in self._events.feed(chunk)]
        return any(carried)
