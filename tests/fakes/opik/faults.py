"""Misbehaviour on demand: what can go wrong between a client and Opik, by route and for so many requests.

    with FakeOpik() as opik:
        opik.faults.add(SPANS, throttled(2), times=3)     # the next three span batches get 429
        opik.faults.add("*", reset_after_commit())        # every request: stored, then the connection dies

A route is a shell pattern over `METHOD /path`, the path without `/api`. The oldest fault that matches and still has
turns left is taken.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tests.fakes.opik.answers import Answer, coded, errors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EVERYTHING",
    "OTLP",
    "SPANS",
    "TRACES",
    "Fault",
    "Faults",
    "Planned",
    "Wire",
    "captive_portal",
    "commit_then_hang",
    "cut_body",
    "hang",
    "html",
    "redirect",
    "reset_after_commit",
    "reset_after_reading",
    "reset_before_reading",
    "slow",
    "slow_body",
    "status",
    "throttled",
    "truncated_json",
    "wrong_content_type",
]

EVERYTHING = "*"
TRACES = "POST /v1/private/traces/batch"
SPANS = "POST /v1/private/spans/batch"
OTLP = "POST /v1/private/otel/v1/traces"


class Wire(Enum):
    """How an answer leaves."""

    NORMAL = "normal"
    HANG = "hang"
    """Never: the connection stays open and silent until the server stops."""
    RESET = "reset"
    """The connection is reset (RST) instead."""
    CUT = "cut"
    """Half of the announced body, then the connection closes."""
    TRICKLE = "trickle"
    """Byte by byte, with a pause before each."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misbehaviour. Without an `answer` of its own it spoils the real one."""

    name: str
    wire: Wire = Wire.NORMAL
    answer: Answer | None = None
    """Sent instead of the real answer; the request is then not carried out unless `commits`."""
    spoil: Callable[[Answer], Answer] | None = None
    """Applied to the real answer."""
    commits: bool = False
    """The request is carried out although the client sees a failure."""
    reads_body: bool = True
    delay: float = 0.0
    """Seconds before the request is carried out."""
    pause: float = 0.0
    """Seconds between two bytes of a trickle."""

    @property
    def carries_out(self) -> bool:
        """Whether the real handler runs."""
        return self.commits or (self.answer is None and self.wire in {Wire.NORMAL, Wire.CUT, Wire.TRICKLE})


@dataclass(slots=True)
class Planned:
    """A fault that waits for its requests."""

    route: str
    fault: Fault
    left: int | None
    """Turns left; None for no end."""
    skip: int = 0
    """Matching requests to let pass first."""
    hits: int = field(default=0)
    """Requests that it has struck."""


class Faults:
    """The server's plan of misbehaviour."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._planned: list[Planned] = []

    def add(self, route: str, fault: Fault, *, times: int | None = 1, after: int = 0) -> Planned:
        """Plan `fault` for `times` requests to `route` (None: until cleared), once `after` of them have passed."""
        planned = Planned(route, fault, times, after)
        with self._lock:
            self._planned.append(planned)
        return planned

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._planned.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request, used up by one."""
        with self._lock:
            for planned in self._planned:
                if planned.left == 0 or not fnmatchcase(f"{method} {path}", planned.route):
                    continue
                if planned.skip > 0:
                    planned.skip -= 1
                    continue
                planned.left = None if planned.left is None else planned.left - 1
                planned.hits += 1
                return planned.fault
        return None


_USUAL_ANSWERS: dict[int, Answer] = {
    400: coded(400, "Unable to process JSON."),
    401: coded(401, "API key should be provided"),
    402: coded(402, "You have reached the limit of spans in your plan"),
    403: coded(403, "User not allowed to access workspace"),
    404: coded(404, "Workspace not found"),
    409: errors(409, "Trace already exists"),
    413: coded(413, "Request payload exceeds the maximum allowed size."),
    422: errors(422, "spans[0].startTime must not be null"),
    500: coded(500, "There was an error processing your request. It has been logged (ID fake)."),
}


def status(
    code: int, *, body: bytes | None = None, headers: dict[str, str] | None = None, commits: bool = False
) -> Fault:
    """A failure status with the body that Opik sends with it, or nginx's page for 502, 503, 504.

    Nothing is stored, unless `commits`: then the failure is a lie, as after a proxy's timeout.
    """
    answer = _USUAL_ANSWERS.get(code) or _page(code, f"{code} from nginx")
    if body is not None:
        answer = Answer(code, body, {"Content-Type": "text/plain"})
    return Fault(f"status {code}", answer=answer.with_headers(headers or {}), commits=commits)


def throttled(seconds: int | str | None, *, header: str = "RateLimit-Reset") -> Fault:
    """429 as Opik says it; `header` may be `Retry-After` (with seconds or an HTTP date), None sends neither."""
    answer = coded(429, "Too Many Requests: You have exceeded the rate limit").with_headers(
        {
            "Opik-User-Limit": "general_events",
            "Opik-User-Remaining-Limit": "0",
            "Opik-User-Remaining-Limit-TTL-Millis": str(int(seconds) * 1000 if isinstance(seconds, int) else 1000),
        }
    )
    return Fault("throttled", answer=answer if seconds is None else answer.with_headers({header: str(seconds)}))


def html(code: int = 200) -> Fault:
    """The UI's page instead of an API answer: what a wrong path meets."""
    return Fault("html", answer=_page(code, "Opik"))


def redirect(location: str, code: int = 302) -> Fault:
    """A redirect, as a login wall sends it."""
    return Fault("redirect", answer=Answer(code, b"", {"Location": location}))


def captive_portal() -> Fault:
    """A hotel's or a company's login page, with 200 and claiming to be fresh."""
    return Fault("captive portal", answer=_page(200, "Please accept the terms of use to continue"))


def wrong_content_type() -> Fault:
    """Carried out and answered, but labelled as plain text."""
    return Fault("wrong content type", spoil=lambda real: real.with_headers({"Content-Type": "text/plain"}))


def truncated_json() -> Fault:
    """Carried out; a complete HTTP answer of half a JSON document."""
    return Fault("truncated JSON", spoil=_half_of_json)


def slow(seconds: float) -> Fault:
    """Waits, then does everything right."""
    return Fault("slow", delay=seconds)


def slow_body(pause: float) -> Fault:
    """Carried out; the answer trickles in, so that no single read times out."""
    return Fault("slow body", wire=Wire.TRICKLE, pause=pause, spoil=_with_a_body)


def hang() -> Fault:
    """Accepts the request, does nothing and never answers."""
    return Fault("hang", wire=Wire.HANG)


def commit_then_hang() -> Fault:
    """Carried out, but the answer never comes: the client times out on a success."""
    return Fault("commit, then hang", wire=Wire.HANG, commits=True)


def reset_before_reading() -> Fault:
    """The connection is reset before the body is read."""
    return Fault("reset before reading", wire=Wire.RESET, reads_body=False)


def reset_after_reading() -> Fault:
    """The connection is reset after the body was read; nothing is stored."""
    return Fault("reset after reading", wire=Wire.RESET)


def reset_after_commit() -> Fault:
    """The connection is reset after the request was carried out."""
    return Fault("reset after commit", wire=Wire.RESET, commits=True)


def cut_body() -> Fault:
    """Carried out; the connection closes in the middle of the answer's body."""
    return Fault("cut body", wire=Wire.CUT, spoil=_with_a_body)


def _page(code: int, text: str) -> Answer:
    body = f"<!doctype html><html><head><title>{text}</title></head><body>{text}</body></html>"
    return Answer(code, body.encode(), {"Content-Type": "text/html"})


def _with_a_body(real: Answer) -> Answer:
    """A 204 cannot be cut short, so it becomes a 200 with something in it."""
    return real if real.body else Answer(200, b'{"message": "stored"}', {"Content-Type": "application/json"})


def _half_of_json(real: Answer) -> Answer:
    whole = _with_a_body(real)
    return Answer(whole.status, whole.body[: len(whole.body) // 2], whole.headers)
