"""One HTTP answer, and Opik's two families of error bodies: `{"code", "message"}` and `{"errors": [...]}`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

__all__ = ["Answer", "Refusal", "coded", "empty", "errors", "json_answer", "json_lines"]

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over the wire: status, body bytes and headers (Content-Length is added when sent)."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def with_headers(self, headers: dict[str, str]) -> Answer:
        """A copy with more headers."""
        return replace(self, headers={**self.headers, **headers})


class Refusal(Exception):
    """Raised anywhere under a handler to answer with an error instead of going on."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body.decode(errors="replace"))
        self.answer = answer


def json_answer(status: int, value: Any) -> Answer:
    """An answer that holds `value` as JSON."""
    return Answer(status, json.dumps(value).encode(), {"Content-Type": JSON})


def json_lines(values: list[Any]) -> Answer:
    """The streamed answer of the search routes: one JSON object per line."""
    body = "".join(json.dumps(value) + "\r\n" for value in values)
    return Answer(200, body.encode(), {"Content-Type": "application/octet-stream"})


def empty(status: int = 204, **headers: str) -> Answer:
    """An answer without a body."""
    return Answer(status, b"", dict(headers))


def coded(status: int, message: str, details: str | None = None) -> Answer:
    """The error family `{"code", "message"[, "details"]}`."""
    body: dict[str, Any] = {"code": status, "message": message}
    if details is not None:
        body["details"] = details
    return json_answer(status, body)


def errors(status: int, *messages: str) -> Answer:
    """The error family `{"errors": [...]}`."""
    return json_answer(status, {"errors": list(messages)})
