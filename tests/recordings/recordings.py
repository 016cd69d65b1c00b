"""The recorded exchanges as data: where they lie, what one exchange is, which API it speaks.

The files stay in `../shared/recordings`; nothing of them is copied here. `OTEL_LLM_RECORDINGS` names another place.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["FOLDER", "Exchange", "Response", "exchanges", "interactions_of", "names"]

_REPOSITORY = Path(__file__).resolve().parents[2]

_API_BY_PATH = (
    ("/chat/completions", "chat"),
    ("/completions", "text"),
    ("/responses", "responses"),
    ("/embeddings", "embeddings"),
    ("/v1/messages", "anthropic"),
    (":batchEmbedContents", "gemini-embeddings"),
    ("enerateContent", "gemini"),
    ("/v2/chat", "cohere"),
    ("/rerank", "rerank"),
    ("/api/chat", "ollama"),
    ("/api/generate", "ollama-generate"),
)
"""End of the path -> API; the first that fits counts. OpenAI's assistants are what is left."""


FOLDER = Path(os.environ.get("OTEL_LLM_RECORDINGS") or _REPOSITORY.parent / "shared" / "recordings")
"""Where the recordings are; the folder may be absent. Read once: tests hide the environment from what they run."""


@dataclass(frozen=True)
class Response:
    """What the provider answered."""

    status: int
    content_type: str
    headers: dict[str, str]
    body: bytes

    @property
    def is_event_stream(self) -> bool:
        """Whether the body is server-sent events, Amazon's event stream or JSON lines."""
        return self.content_type.startswith(
            ("text/event-stream", "application/vnd.amazon.eventstream", "application/x-ndjson")
        )


@dataclass(frozen=True)
class Exchange:
    """One recorded request with its answer; the `number`-th (from 0) of recording `name`."""

    name: str
    """`family/test_name`, the path of the file without `.json`."""
    number: int
    method: str
    uri: str
    request: Any = field(repr=False)
    """The request's JSON body; None where it had none."""
    response: Response = field(repr=False)

    @property
    def id(self) -> str:
        """Short and unique: `family/test_name#0`."""
        return f"{self.name}#{self.number}"

    @property
    def family(self) -> str:
        """The folder: which project recorded it, or which provider answered."""
        return self.name.partition("/")[0]

    @property
    def host(self) -> str:
        """Host (and port) that was asked."""
        return urlsplit(self.uri).netloc

    @property
    def path(self) -> str:
        """Path of the request, percent-decoded."""
        return unquote(urlsplit(self.uri).path)

    @property
    def api(self) -> str:
        """Which API the exchange speaks: `chat`, `text`, `responses`, `anthropic`, `converse`, `gemini` ..."""
        if self.host.startswith("bedrock"):
            return "converse" if "converse" in self.path else "invoke"
        return next((api for end, api in _API_BY_PATH if self.path.endswith(end)), "assistants")

    @property
    def is_asynchronous(self) -> bool:
        """Whether the recorded program called through an async client; the replay then does so too."""
        return "async" in self.name.lower()


def _media_type(declared: str, body: bytes) -> str:
    """The content type, told from the body where the recording lost the header."""
    if declared:
        return declared
    if body.startswith((b"data:", b"event:", b":")):
        return "text/event-stream"
    if body.startswith((b"{", b"[")):
        return "application/json"
    return "application/vnd.amazon.eventstream"


def _response(raw: dict[str, Any]) -> Response:
    body = raw["body"]
    data = base64.b64decode(body["base64"]) if isinstance(body, dict) else (body or "").encode()
    return Response(
        status=raw["status"],
        content_type=_media_type(raw["content_type"] or "", data),
        headers={name: values[0] for name, values in (raw.get("headers") or {}).items()},
        body=data,
    )


def names() -> list[str]:
    """Every recording, sorted: `family/test_name`. Empty where the folder is absent."""
    return sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("*/*.json"))


def interactions_of(name: str) -> list[Exchange]:
    """All exchanges of one recording, in order."""
    document = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    found = []
    for number, raw in enumerate(document["interactions"]):
        request = raw["request"]
        body = json.loads(request["body"]) if request["body"] else None
        found.append(
            Exchange(name, number, request["method"], request["uri"], body, _response(raw["response"])),
        )
    return found


def exchanges() -> list[Exchange]:
    """Every exchange of every recording, in a stable order."""
    return [exchange for name in names() for exchange in interactions_of(name)]
