"""What an answer of Opik means for what was sent: taken, refused, or not now.

`Refused` is about the rows (halving finds the bad one); `contracts.Retry` is about everything else, with a sentence
that says what failed, why most likely, and what to do.
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from otel_llm.backends.trouble import tls_remedy
from otel_llm.contracts import Retry

if TYPE_CHECKING:
    from otel_llm.backends.http import Answer, NoAnswerError

__all__ = ["TENANTS_SETTING", "Place", "Refused", "Verdict", "discreet", "judge", "judge_silence", "remedy_of"]

MAX_WAIT_SECONDS: Final = 900.0
"""No server may make us wait longer than this in one go."""

TENANTS_SETTING: Final = "opik.tenants"
"""Where the workspaces of tenants are named."""

_MAX_WORDS: Final = 500
_SHOWN_ALIKE: Final = 32
"""Letters of a server's words that may be those of the request in one piece: fewer are a name or a value that it
complains about, more are the request itself, which holds prompts. What is twice as long is always noticed."""
_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_BAD_INDEX: Final = re.compile(r"(?:spans|traces|scores)\[(\d+)\]|ArrayList\[(\d+)\]")
_REFUSALS: Final = {400: "invalid", 409: "conflict", 413: "too_large", 422: "invalid"}
_RETRYABLE: Final = frozenset({408, 425, 429})


class Refused(NamedTuple):
    """At least one of the rows will never be taken."""

    reason: str
    """`invalid`, `too_old`, `too_large` or `conflict`."""
    words: str
    """The server's own."""
    bad_index: int | None = None
    """Position of the bad row, where the server named it."""


class Place(NamedTuple):
    """What a sentence needs to know about the server and the settings."""

    base: str
    workspace: str
    has_key: bool
    workspace_setting: str = "OPIK_WORKSPACE"
    """Where the workspace is named."""
    says_bearer: bool = False
    """Whether the key begins with `Bearer`, which Opik's are not."""
    is_grpc_port: bool = False
    proxy: bool = False


Verdict: TypeAlias = "Refused | Retry | None"


def judge(answer: Answer, place: Place) -> Verdict:
    """None if the rows were taken; else what is wrong."""
    status = answer.status
    html = _is_html(answer)
    if 200 <= status < 300:
        return None if _is_receipt(answer) else _not_opik(answer, place)
    if 300 <= status < 400:
        return _redirected(answer, place)
    if status in _REFUSALS and (not html or status == 413):
        return _refused(answer)
    if status in _RETRYABLE or status >= 500:
        return _later(answer, place)
    if html and status in (400, 403, 404, 405):
        return _not_opik(answer, place)
    return _misconfigured(answer, place)


def discreet(answer: Answer, sent: bytes) -> Answer:
    """A refusal with no words in it that may not be logged; `HttpClient` has taken the key out of it.

    A server, or a proxy before it, that repeats what it was sent would put prompts into log and status.
    """
    return answer._replace(body=b"") if _repeats(_words(answer), sent) else answer


def _repeats(words: str, sent: bytes) -> bool:
    said = _ID.sub("", words).encode()
    starts = range(0, len(said) - _SHOWN_ALIKE + 1, _SHOWN_ALIKE // 2)
    return any(said[at : at + _SHOWN_ALIKE] in sent for at in starts)


def judge_silence(error: NoAnswerError, place: Place) -> Retry:
    """What to make of a request that got no answer."""
    remedy = _SILENCE.get(error.reason, "Check that Opik runs and that this machine can reach it.")
    if place.is_grpc_port and error.reason in ("not_http", "reset", "timeout", "refused"):
        remedy = "Port 4317 is for OTLP over gRPC; give Opik's HTTP address, for example http://localhost:5173/api."
    if error.reason == "tls":
        remedy = tls_remedy(str(error), ca="SSL_CERT_FILE or REQUESTS_CA_BUNDLE", address="OPIK_URL_OVERRIDE")
    needs_action = error.reason in ("tls", "proxy") or (place.is_grpc_port and error.reason == "not_http")
    return Retry(f"Opik at {place.base} gave no answer: {error}. {remedy}", error.reason, needs_action=needs_action)


_SILENCE: Final = {
    "refused": "Nothing listens there: start Opik, or correct OPIK_URL_OVERRIDE.",
    "dns": "The host name does not resolve: correct OPIK_URL_OVERRIDE, or look at this machine's DNS.",
    "timeout": "It is too slow or a firewall swallows the request; it will be tried again.",
    "proxy": "Correct HTTPS_PROXY (and its user and password), or put the host into NO_PROXY.",
    "not_http": "What answers there does not speak HTTP: look at the port, and at http:// or https://.",
    "reset": "It closed the connection in the middle; it will be tried again.",
}
"""Reason -> why most likely, and what to do."""


def remedy_of(reason: str) -> str:
    """What to do about trouble of this kind, in one line, for `doctor`."""
    return _REMEDIES.get(reason, "Look at the Opik server's own log, and try again.")


_REMEDIES: Final = {
    "unauthorized": "Set OPIK_API_KEY to a valid key.",
    "forbidden": "Correct OPIK_WORKSPACE, or get access to it.",
    "workspace": "Correct OPIK_WORKSPACE.",
    "quota": "Raise the plan's quota.",
    "wrong_address": "Set OPIK_URL_OVERRIDE to the API, for example http://localhost:5173/api.",
    "redirect": "Set OPIK_URL_OVERRIDE to the address of the API itself.",
    "refused": "Start Opik, or correct OPIK_URL_OVERRIDE.",
    "dns": "Correct the host in OPIK_URL_OVERRIDE.",
    "unreachable": "Correct OPIK_URL_OVERRIDE, or open the way to it.",
    "timeout": "See whether Opik is overloaded, or a firewall lies in between.",
    "not_http": "Correct the port, or http:// or https://, in OPIK_URL_OVERRIDE.",
    "tls": "Name the CA in SSL_CERT_FILE, or correct https:// in OPIK_URL_OVERRIDE.",
    "proxy": "Correct HTTPS_PROXY, or put the host into NO_PROXY.",
}


def _is_html(answer: Answer) -> bool:
    kind = answer.headers.get("content-type", "").lower()
    return "html" in kind or answer.body.lstrip()[:1] == b"<"


def _is_receipt(answer: Answer) -> bool:
    """Opik answers a batch with 204 and nothing, and never with anything but JSON."""
    if not answer.body.strip():
        return True
    return not _is_html(answer) and _json(answer) is not None


def _json(answer: Answer) -> Any:
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None


def _words(answer: Answer) -> str:
    """What the server said, in one line: Opik has two shapes of error bodies."""
    told = _json(answer)
    if isinstance(told, dict):
        errors = told.get("errors")
        pieces = errors if isinstance(errors, list) else [told.get("message"), told.get("details")]
        text = "; ".join(str(piece) for piece in pieces if piece)
    else:
        text = "" if _is_html(answer) else answer.body.decode("utf-8", "replace")
    return " ".join(text.split())[:_MAX_WORDS] or f"HTTP {answer.status}"


def _in_brackets(answer: Answer) -> str:
    """What the server said, to stand behind its status; nothing if it said no more than that."""
    words = _words(answer)
    return "" if words.startswith("HTTP ") else f" ({words})"


def _refused(answer: Answer) -> Refused:
    words = _words(answer)
    reason = _REFUSALS[answer.status]
    if "too_old" in words:
        reason = "too_old"
    found = _BAD_INDEX.findall(words)
    indexes = {int(first or second) for first, second in found}
    return Refused(reason, words, indexes.pop() if len(indexes) == 1 else None)


def _later(answer: Answer, place: Place) -> Retry:
    if answer.status == 407:
        return _proxy_login(place)
    after = _wait(answer)
    if answer.status == 429:
        waits = f"{after:.0f} s" if after is not None else "a while"
        return Retry(f"Opik at {place.base} asks to slow down (HTTP 429); waiting {waits}.", "throttled", after)
    reason = "timeout" if answer.status == 408 else "server_error"
    return Retry(
        f"Opik at {place.base} failed with HTTP {answer.status}{_in_brackets(answer)}; it will be tried again. "
        "If this lasts, look at the Opik server's own log.",
        reason,
        after,
    )


def _wait(answer: Answer) -> float | None:
    """Seconds from `RateLimit-Reset` (Opik's way) or `Retry-After` (seconds or a date); None without a sane one."""
    for header in ("ratelimit-reset", "retry-after"):
        value = answer.headers.get(header, "").strip()
        if value.isascii() and value.isdigit():
            return min(float(value), MAX_WAIT_SECONDS)
        if header == "retry-after" and value:
            return _until(value, answer.headers.get("date", ""))
    return None


def _until(moment: str, now: str) -> float | None:
    """Seconds from the server's own clock to `moment`, so that ours need not be right."""
    try:
        seconds = (parsedate_to_datetime(moment) - parsedate_to_datetime(now)).total_seconds()
    except (ValueError, TypeError):
        return None
    return min(seconds, MAX_WAIT_SECONDS) if seconds >= 0 else None


def _redirected(answer: Answer, place: Place) -> Retry:
    to = answer.headers.get("location", "").split("?", 1)[0][:200]
    return Retry(
        f"{place.base} redirects (HTTP {answer.status}) to {to or 'somewhere else'}, which is not followed: it may be "
        "a login page. Set OPIK_URL_OVERRIDE to the address of the API itself, with https:// if it wants that.",
        "redirect",
        needs_action=True,
    )


def _not_opik(answer: Answer, place: Place) -> Retry:
    return Retry(
        f"{place.base} answered HTTP {answer.status} with something that is not Opik's API"
        f"{' (a web page)' if _is_html(answer) else ''}. Most likely OPIK_URL_OVERRIDE is the address of Opik's web "
        "page, or a login page of the network answers in its place. The API of a self-hosted Opik ends in /api, for "
        "example http://localhost:5173/api; Opik Cloud is https://www.comet.com/opik/api.",
        "wrong_address",
        needs_action=True,
    )


def _proxy_login(place: Place) -> Retry:
    return Retry(
        f"The proxy on the way to {place.base} wants a login (HTTP 407). {_SILENCE['proxy']}",
        "proxy",
        needs_action=True,
    )


def _misconfigured(answer: Answer, place: Place) -> Retry:
    words = _words(answer)
    if answer.status == 407:
        return _proxy_login(place)
    why, reason = _SETTINGS.get(answer.status, ("Check the address, the key and the workspace.", "refused_by_server"))
    if answer.status == 401 and not place.has_key:
        why = "No API key is set: set OPIK_API_KEY (from Opik's page, under your account)."
    elif answer.status == 401 and place.says_bearer:
        why = "Opik takes the key alone: take the word Bearer out of OPIK_API_KEY."
    if answer.status == 404 and "workspace" not in words.lower():
        return _no_such_endpoint(answer, place)
    why = why.format(workspace=place.workspace, setting=place.workspace_setting)
    refused = f"Opik at {place.base} refused with HTTP {answer.status}{_in_brackets(answer)}."
    return Retry(f"{refused} {why}", reason, needs_action=True)


_SETTINGS: Final = {
    401: ("The API key is wrong or was revoked: correct OPIK_API_KEY.", "unauthorized"),
    402: ("The plan's quota is used up: raise it, or wait until it is renewed. The spans are kept.", "quota"),
    403: (
        "The key may not write to workspace {workspace!r} or to this project: correct {setting}, or get access.",
        "forbidden",
    ),
    404: (
        "Workspace {workspace!r} does not exist there: correct {setting} (without login there is only `default`).",
        "workspace",
    ),
    431: ("The request headers are too long: is OPIK_API_KEY really a key?", "headers"),
}
"""Status -> why and what to do, and the reason for counters."""


def _no_such_endpoint(answer: Answer, place: Place) -> Retry:
    hint = "" if place.base.endswith("/api") else " Most likely /api is missing at the end of OPIK_URL_OVERRIDE."
    return Retry(
        f"{place.base} knows no Opik endpoint (HTTP 404{_in_brackets(answer)}).{hint} A self-hosted Opik's API is at "
        "http://HOST:5173/api, or http://HOST:8080 for the bare backend.",
        "wrong_address",
        needs_action=True,
    )
