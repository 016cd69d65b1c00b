"""What the answer of an OTLP/HTTP receiver means, or its silence, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from otel_llm.backends.http import retry_after_seconds
from otel_llm.backends.trouble import Refusal, Trouble, tls_remedy
from otel_llm.config import mask_url
from otel_llm.contracts import Delivered, Rejection

if TYPE_CHECKING:
    from otel_llm.backends.http import Answer, NoAnswerError

__all__ = [
    "CA_VARIABLE",
    "CLIENT_VARIABLE",
    "GRPC_PORT",
    "delivered",
    "judge_answer",
    "judge_silence",
    "partly_delivered",
]

GRPC_PORT: Final = 4317
"""The port that the OTLP specification gives to gRPC; HTTP has 4318."""
_MAX_WORDS: Final = 300
_ENDPOINT: Final = "otlp.endpoint (OTEL_LLM_OTLP_ENDPOINT)"
_HEADERS: Final = "otlp.headers (OTEL_LLM_OTLP_HEADERS)"
CA_VARIABLE: Final = "OTEL_EXPORTER_OTLP_CERTIFICATE"
CLIENT_VARIABLE: Final = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE (with ..._CLIENT_KEY)"


def delivered(answer: Answer, span_count: int) -> Delivered:
    """What the body of a 2xx answer says about the spans."""
    try:
        response = ExportTraceServiceResponse.FromString(answer.body)
    except DecodeError:
        return Delivered(span_count)  # "OK", "{}": taken, by a server that does not say more
    return partly_delivered(response, span_count)


def partly_delivered(response: ExportTraceServiceResponse, span_count: int) -> Delivered:
    """All spans taken, or all but some (`partial_success`; the receiver does not say which)."""
    partial = response.partial_success
    rejected = min(max(partial.rejected_spans, 0), span_count)
    detail = partial.error_message[:500]
    return Delivered(span_count - rejected, tuple(Rejection("", "invalid", detail) for _ in range(rejected)))


def judge_answer(answer: Answer, url: str) -> Trouble | Refusal | None:
    """None if the request was taken; else what is wrong. `url` is the address as it may be shown."""
    status = answer.status
    if 200 <= status < 300:
        return _web_page(answer, url) if _is_web_page(answer) else None
    if 300 <= status < 400:
        return _redirected(answer, url)
    said = _words(answer)
    if status in _REFUSALS and not (status == 400 and _is_web_page(answer)):
        return _refused(status, said, url)
    if status in _SETTINGS:
        what, remedy, reason = _SETTINGS[status]
        return Trouble(f"{url} answered HTTP {status}: {what}{said}.", remedy, reason, needs_action=True)
    if status in _LATER or status >= 500:
        return _later(answer, said, url)
    return _web_page(answer, url) if _is_web_page(answer) else _refused(status, said, url)


def judge_silence(error: NoAnswerError, url: str, proxy: str | None) -> Trouble:
    """What to make of a request that got no answer."""
    is_grpc = urlsplit(url).port == GRPC_PORT
    if is_grpc and error.reason in {"not_http", "reset", "timeout"}:
        return Trouble(
            f"{url} does not answer HTTP requests ({error}): port {GRPC_PORT} is the one for OTLP over gRPC.",
            f"Use port 4318 in {_ENDPOINT}, or set otlp.protocol (OTEL_LLM_OTLP_PROTOCOL) to grpc.",
            "grpc_port",
            needs_action=True,
        )
    remedy, needs_action = _SILENCE.get(error.reason, ("Check that this machine can reach it.", False))
    if error.reason == "tls":
        remedy = tls_remedy(str(error), ca=CA_VARIABLE, address=_ENDPOINT, client=CLIENT_VARIABLE)
    way = f" through the proxy {proxy}" if proxy and error.reason != "proxy" else ""
    return Trouble(f"{url} gave no answer{way}: {error}.", remedy, error.reason, needs_action=needs_action)


_SILENCE: Final = {
    "refused": (f"Nothing listens there: start the Collector, or correct {_ENDPOINT}.", False),
    "dns": (f"The host name does not resolve: correct {_ENDPOINT}, or look at this machine's DNS.", False),
    "timeout": ("It is too slow or a firewall swallows the request; it will be tried again.", False),
    "reset": ("It will be tried again; if it stays so, look at the receiver's log.", False),
    "tls": ("", True),
    "proxy": ("Correct HTTPS_PROXY (with its user and password), or put the host into NO_PROXY.", True),
    "not_http": (f"What answers there does not speak HTTP: correct the port or http(s):// in {_ENDPOINT}.", True),
}
"""Reason -> what to do, and whether waiting alone will not help."""

_SETTINGS: Final = {
    401: ("the key or token is missing or wrong", f"Correct {_HEADERS}; the spans are kept.", "unauthorized"),
    402: ("the plan does not cover it", "Look at the account; the spans are kept.", "quota"),
    403: (
        "this key may not write there",
        f"Give the key the right to write, or correct {_HEADERS}; the spans are kept.",
        "forbidden",
    ),
    404: (
        "there is no OTLP receiver at this path",
        f"Correct the path in {_ENDPOINT}: most receivers want /v1/traces, hosted ones have a path of their own.",
        "wrong_address",
    ),
    405: (
        "this path does not take spans",
        f"Correct the path in {_ENDPOINT}: most receivers want /v1/traces.",
        "wrong_address",
    ),
    407: (
        "the proxy on the way wants a login",
        "Correct HTTPS_PROXY (with its user and password), or put the host into NO_PROXY.",
        "proxy",
    ),
    415: (
        "it does not read protobuf, or not this compression",
        "Set otlp.compression (OTEL_LLM_OTLP_COMPRESSION) to none; if that does not help, this is no OTLP receiver.",
        "unsupported",
    ),
    501: (
        "it takes no traces",
        f"Switch traces on in the receiver, or correct {_ENDPOINT}.",
        "unsupported",
    ),
}
"""Status -> what it means, what to do, reason: answers that are about the settings, not about the spans."""

_LATER: Final = frozenset({408, 425, 429})
_REFUSALS: Final = {400: "invalid", 413: "too_large", 422: "invalid"}


def _refused(status: int, said: str, url: str) -> Refusal:
    reason = _REFUSALS.get(status, "invalid")
    if "too large" in said.lower():  # the Collector says it with a 400
        reason = "too_large"
    return Refusal(f"{url} refused the batch with HTTP {status}{said}.", reason)


def _later(answer: Answer, said: str, url: str) -> Trouble:
    throttled = answer.status == 429
    return Trouble(
        f"{url} answered HTTP {answer.status}{said}.",
        "It asks for patience; the spans wait." if throttled else "It has a fault of its own; the spans wait.",
        "throttled" if throttled else "unavailable",
        after=retry_after_seconds(answer.headers.get("retry-after")),
    )


def _redirected(answer: Answer, url: str) -> Trouble:
    target = mask_url(answer.headers.get("location", ""))[:200] or "somewhere else"
    return Trouble(
        f"{url} redirects (HTTP {answer.status}) to {target}, which is not followed: it may be a login page.",
        f"Set {_ENDPOINT} to the receiver's own address, with https:// if it wants that.",
        "redirect",
        needs_action=True,
    )


def _web_page(answer: Answer, url: str) -> Trouble:
    return Trouble(
        f"{url} answered HTTP {answer.status} with a web page: a login page or a website is in the receiver's place.",
        f"Correct host, port and path in {_ENDPOINT}.",
        "wrong_address",
        needs_action=True,
    )


def _is_web_page(answer: Answer) -> bool:
    kind = answer.headers.get("content-type", "").lower()
    return "text/html" in kind or answer.body[:64].lstrip().lower().startswith((b"<!doctype", b"<html"))


def _words(answer: Answer) -> str:
    """What the server said, for the end of a sentence; empty if nothing readable."""
    if _is_web_page(answer) or not answer.body:
        return ""
    text = answer.body.decode("utf-8", "replace")
    if "protobuf" in answer.headers.get("content-type", ""):
        try:
            text = Status.FromString(answer.body).message
        except DecodeError:
            return ""
    cleaned = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return f" ({cleaned[:_MAX_WORDS].rstrip('.')})" if cleaned else ""
