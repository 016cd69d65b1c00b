"""The backend `otlp`: batches as they are to an OTLP receiver, normally a Collector beside the program.

A batch's bytes are the request's body; nothing is decoded or encoded again. Source: OTLP specification 1.x,
"OTLP/HTTP": what may be retried, partial success, Retry-After. Where the specification would have data dropped that
a person could still save (a wrong key or address), the data is kept and the person is told.
"""

from __future__ import annotations

import gzip
import logging
import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from otel_llm.backends.http import Answer, HttpClient, NoAnswerError, Tls
from otel_llm.backends.trouble import Trouble
from otel_llm.config import mask_url
from otel_llm.contracts import CheckStatus, Finding
from otel_llm.errors import BackendError
from otel_llm.loading import loading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from otel_llm.backends.trouble import Refusal
    from otel_llm.config import Config
    from otel_llm.contracts import Backend, Batch, Outcome

__all__ = [
    "Compression",
    "OtlpBackend",
    "OtlpOptions",
    "create",
    "create_for_opik",
    "tls_of_environment",
    "traces_url",
    "unforeseen",
]

_logger = logging.getLogger(__name__)

Compression: TypeAlias = Literal["none", "gzip", "deflate"]

_GZIP_LEVEL: Final = 1
"""LLM spans shrink nearly as far at level 1 as at 6, for a third of the CPU."""
_COMPRESS_FROM_BYTES: Final = 1024
_CHECK_TIMEOUT_SECONDS: Final = 5.0


@dataclass(frozen=True)
class OtlpOptions:
    """Where and how spans go."""

    endpoint: str = "http://127.0.0.1:4318"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    compression: Compression = "gzip"
    timeout: float = 10.0
    """Seconds for one request at most; `send` may be given less."""
    tls: Tls = field(default_factory=Tls)


def create(config: Config) -> Backend:
    """The backend that `config.otlp` describes. Raises `BackendError`."""
    options = OtlpOptions(
        config.otlp.endpoint, config.otlp.headers, config.otlp.compression, config.otlp.timeout, tls_of_environment()
    )
    if config.otlp.protocol == "grpc":
        from otel_llm.backends.otlp_grpc import OtlpGrpcBackend  # noqa: PLC0415  (loads grpc, an extra)

        return OtlpGrpcBackend(options)
    return OtlpBackend(options)


def create_for_opik(config: Config) -> Backend:
    """The backend `opik-otlp`: Opik's own OTLP route, over HTTP. Raises `ConfigError` for an address that is none.

    The route takes one project per request: the configured one, else the service's name. What only the backend
    `opik` can do (projects by tenant, resends without duplicates) it cannot.
    """
    from otel_llm.backends.opik.address import resolve_address  # noqa: PLC0415  (only this route needs it)

    opik = config.opik
    project = opik.project if opik.project and "{" not in opik.project else config.service_name
    headers = {"Comet-Workspace": opik.workspace, "projectName": project}
    if opik.api_key:
        headers["Authorization"] = opik.api_key
    endpoint = f"{resolve_address(opik.url, opik.api_key).base}/v1/private/otel/v1/traces"
    tls = tls_of_environment()._replace(check=opik.check_tls)
    return OtlpBackend(OtlpOptions(endpoint, headers, timeout=config.otlp.timeout, tls=tls), name="opik-otlp")


class OtlpBackend:
    """Sends batches by OTLP/HTTP as protobuf. For one thread at a time; connects when the first batch comes."""

    def __init__(self, options: OtlpOptions, *, name: str = "otlp") -> None:
        self.name = name
        self._options = options
        self._url = traces_url(options.endpoint)
        self.shown_url = mask_url(self._url)
        """The address without secrets, for messages."""
        self._client = HttpClient(self._url, options.headers, options.tls)

    def prepare(self) -> None:
        """Load protobuf and urllib3, which nobody needs who does not send."""
        with loading("what sends OTLP"):
            from otel_llm.backends import otlp_answers  # noqa: F401, PLC0415

            self._client.prepare()

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        """Post the batch; see the module for what each answer means."""
        try:
            verdict = self._post(batch.payload, timeout)
            if isinstance(verdict, Answer):
                from otel_llm.backends.otlp_answers import delivered  # noqa: PLC0415  (see `prepare`)

                return delivered(verdict, batch.span_count)
        except Exception as error:  # the contract: send never raises, and nothing is lost
            _logger.debug("sending to %s failed", self.shown_url, exc_info=True)
            verdict = unforeseen(self.shown_url, error)
        return verdict.outcome()

    def check(self) -> Sequence[Finding]:
        """Post an empty request, which every OTLP receiver answers like a full one."""
        try:
            verdict = self._post(b"", _CHECK_TIMEOUT_SECONDS)
        except Exception as error:  # noqa: BLE001  (a check reports; it does not raise)
            verdict = unforeseen(self.shown_url, error)
        if isinstance(verdict, Answer):
            return [Finding("otlp endpoint", CheckStatus.OK, f"{self.shown_url} took an empty request.")]
        return [verdict.finding("otlp endpoint")]

    def close(self) -> None:
        """Drop the connection."""
        self._client.close()

    def _post(self, payload: bytes, timeout: float) -> Answer | Trouble | Refusal:
        """The answer, if it says that the request was taken; else what is wrong."""
        self.prepare()
        from otel_llm.backends.otlp_answers import judge_answer, judge_silence  # noqa: PLC0415

        body, encoding = _compressed(payload, self._options.compression)
        headers = {"Content-Type": "application/x-protobuf", **encoding}
        limit = min(timeout, self._options.timeout)
        try:
            answer = self._client.request("POST", body=body, timeout=limit, headers=headers)
        except NoAnswerError as error:
            return judge_silence(error, self.shown_url, self._client.proxy)
        return judge_answer(answer, self.shown_url) or answer


def traces_url(endpoint: str) -> str:
    """The full address that traces are posted to: a path is used as it is, without one `/v1/traces` is added.

    `host:port` without a scheme is plain HTTP. Raises `BackendError` for what is no address.
    """
    text = endpoint.strip()
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise BackendError(
            f"The OTLP endpoint {mask_url(text)!r} is not the address of an HTTP server. Set otlp.endpoint "
            "(OTEL_LLM_OTLP_ENDPOINT) to something like http://127.0.0.1:4318."
        )
    return url if parts.path.strip("/") else parts._replace(path="/v1/traces").geturl()


def _compressed(payload: bytes, compression: Compression) -> tuple[bytes, dict[str, str]]:
    if compression == "none" or len(payload) < _COMPRESS_FROM_BYTES:
        return payload, {}
    if compression == "deflate":
        return zlib.compress(payload, _GZIP_LEVEL), {"Content-Encoding": "deflate"}
    return gzip.compress(payload, _GZIP_LEVEL, mtime=0), {"Content-Encoding": "gzip"}


def unforeseen(url: str, error: Exception) -> Trouble:
    """A fault of ours while sending; its message is left out, which could quote anything."""
    return Trouble(
        f"Sending to {url} failed in an unforeseen way ({type(error).__name__}).",
        "The spans are kept; please report this with a log at level DEBUG.",
        "internal",
    )


def tls_of_environment() -> Tls:
    """The files that the SDK's standard variables name; those for traces come first."""

    def named(what: str) -> str | None:
        return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{what}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{what}")

    return Tls(named("CERTIFICATE"), named("CLIENT_CERTIFICATE"), named("CLIENT_KEY"))
