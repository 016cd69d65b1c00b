"""What the provider remembers of a request, credentials left out."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otel_llm.testing.openai_other import form_fields

if TYPE_CHECKING:
    from otel_llm.testing.script import Usage
    from otel_llm.testing.server import HttpRequest

__all__ = ["MASK", "RecordedRequest", "record"]

_CREDENTIALS = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "x-goog-api-key", "cookie"})
MASK = "[masked]"
"""What stands in a recorded request where a credential was."""


@dataclass(slots=True)
class RecordedRequest:
    """One request as the provider saw it, and how it was answered."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    """Names in lower case; the values of credentials are masked."""
    body: bytes = field(repr=False)
    json: dict[str, Any]
    """The body as an object; the plain fields of a form; empty for anything else."""
    status: int | None = None
    """The status that was answered; None before that, and when the connection was reset or hangs."""
    usage: Usage | None = None
    """The usage that the client was told; None when the answer had none or broke off before it."""
    complete: bool = False
    """Whether the whole answer was written."""
    done: threading.Event = field(default_factory=threading.Event, repr=False)
    """Set when the provider has finished with this request, however it ended."""

    @property
    def model(self) -> str | None:
        """The model that was asked for."""
        model = self.json.get("model")
        return model if isinstance(model, str) else None


def record(http: HttpRequest) -> RecordedRequest:
    """What is remembered of `http`."""
    headers = {name: MASK if name in _CREDENTIALS else value for name, value in http.headers.items()}
    return RecordedRequest(http.method, http.path, http.query, headers, http.body, _fields(http))


def _fields(http: HttpRequest) -> dict[str, Any]:
    content_type = http.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        return dict(form_fields(content_type, http.body))
    try:
        parsed = json.loads(http.body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}
