"""The operations that do not answer with generated text: embeddings, moderation, images, audio, rerank.

OpenAI's formats, and for rerank the one that Cohere and Jina share. Every answer is a pure function of the
request, so that a test can tell what to expect.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
import hashlib
import math
import struct
import time
from typing import TYPE_CHECKING, Any

from otel_llm.testing.generation import count_tokens, text_of
from otel_llm.testing.script import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SPEECH", "embeddings_body", "form_fields", "images_body", "moderations_body", "rerank_body"]

_DEFAULT_DIMENSIONS = 8
_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="  # 1 x 1, transparent
)
SPEECH = b"ID3\x04\x00\x00\x00\x00\x00\x00fake speech"
"""What `POST /v1/audio/speech` answers: bytes that look like an MP3 file from afar."""


def embeddings_body(request: Mapping[str, Any]) -> tuple[dict[str, Any], Usage]:
    """The answer to `POST /v1/embeddings`: unit vectors made of a hash of each input."""
    inputs = request.get("input", "")
    # One text, several texts, one list of token numbers, or several such lists.
    one = isinstance(inputs, str) or (bool(inputs) and isinstance(inputs[0], int))
    items = [inputs] if one else list(inputs)
    usage = Usage(sum(count_tokens(item) if isinstance(item, str) else len(item) for item in items))
    size = int(request.get("dimensions") or _DEFAULT_DIMENSIONS)
    packed = request.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _embedding(str(item), size, packed=packed)}
        for index, item in enumerate(items)
    ]
    body = {
        "object": "list",
        "model": request.get("model"),
        "data": data,
        "usage": {"prompt_tokens": usage.input_tokens, "total_tokens": usage.total_tokens},
    }
    return body, usage


def _embedding(text: str, size: int, *, packed: bool) -> list[float] | str:
    digest = hashlib.shake_128(text.encode("utf-8", "surrogatepass")).digest(size)
    raw = [byte - 127.5 for byte in digest]
    length = math.sqrt(sum(value * value for value in raw))
    vector = [value / length for value in raw]
    return base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if packed else vector


def moderations_body(request: Mapping[str, Any], serial: int) -> dict[str, Any]:
    """The answer to `POST /v1/moderations`: nothing is ever flagged."""
    inputs = request.get("input", "")
    categories = ("harassment", "hate", "self-harm", "sexual", "violence")
    result = {
        "flagged": False,
        "categories": dict.fromkeys(categories, False),
        "category_scores": dict.fromkeys(categories, 0.0),
    }
    count = len(inputs) if isinstance(inputs, list) else 1
    return {"id": f"modr-fake-{serial}", "model": request.get("model") or "fake-model", "results": [result] * count}


def images_body(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to `POST /v1/images/generations` and `/edits`: `n` times the same transparent pixel."""
    count = max(1, int(request.get("n") or 1))
    return {"created": int(time.time()), "data": [{"b64_json": _PIXEL}] * count}


def rerank_body(request: Mapping[str, Any], serial: int) -> tuple[dict[str, Any], Usage]:
    """The answer to `POST /v1/rerank`: documents by how many of the query's words they hold."""
    query = text_of(request.get("query"))
    documents = [text_of(document) for document in request.get("documents") or []]
    scored = [
        {"index": index, "relevance_score": _overlap(query, document)} for index, document in enumerate(documents)
    ]
    scored.sort(key=lambda result: (-result["relevance_score"], result["index"]))
    usage = Usage(count_tokens(query) + sum(map(count_tokens, documents)))
    body = {
        "id": f"rerank-fake-{serial}",
        "model": request.get("model"),
        "results": scored[: int(request.get("top_n") or len(scored))],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
        "usage": {"total_tokens": usage.total_tokens},
    }
    return body, usage


def _overlap(query: str, document: str) -> float:
    wanted = set(query.lower().split())
    return round(len(wanted & set(document.lower().split())) / len(wanted), 4) if wanted else 0.0


def form_fields(content_type: str, body: bytes) -> dict[str, str]:
    """The plain fields of a `multipart/form-data` body; files are left out."""
    raw = f"Content-Type: {content_type}\r\n\r\n".encode() + body
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(raw)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        disposition = part["Content-Disposition"]
        if disposition is not None and "filename" not in disposition.params:
            fields[disposition.params.get("name", "")] = str(part.get_content()).rstrip("\r\n")
    return fields
