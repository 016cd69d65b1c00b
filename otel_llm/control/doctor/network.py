"""The way to a server, step by step: proxy, name, connection, protocol, certificate, and the server's clock."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from otel_llm.backends.http import HttpClient, NoAnswerError, Tls
from otel_llm.backends.trouble import tls_remedy
from otel_llm.clock import monotonic
from otel_llm.config import mask_url
from otel_llm.control.doctor.examination import failed, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.config import Config
    from otel_llm.contracts import Finding

__all__ = ["Target", "check_connection", "check_name", "check_server", "speaks_only_http2", "target_of"]

_CLIENT: Final = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"
_CONNECT_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 3.0
_GRPC_PORT: Final = 4317
_SKEW_SECONDS: Final = 60.0
_HTTP2_OPENING: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""RFC 9113 3.4: the client's preface and an empty SETTINGS frame."""
_SETTINGS_FRAME: Final = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A server that spans are to reach."""

    backend: str
    url: str
    setting: str
    """The variable that holds the address, as people know it."""
    grpc: bool = False
    tls: Tls = Tls()  # noqa: RUF009  (immutable)

    @property
    def proxy(self) -> str | None:
        """The proxy on the way, without its login."""
        return HttpClient(self.url).proxy

    @property
    def endpoint(self) -> tuple[str, int]:
        """Host and port that a connection is made to: the proxy's where there is one."""
        parts = urlsplit(self.proxy or self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_https(self) -> bool:
        """Whether the server is to prove who it is."""
        return self.url.startswith("https:")


def target_of(backend: str, config: Config) -> Target | None:
    """The server of a backend; None for one on this machine. Raises `ConfigError` for an address that is none."""
    if backend == "otlp":
        endpoint = config.otlp.endpoint
        url = endpoint if "://" in endpoint else f"http://{endpoint}"
        from otel_llm.backends.otlp import tls_of_environment  # noqa: PLC0415  (others do without it)

        grpc = config.otlp.protocol == "grpc"
        return Target(backend, url, "OTEL_LLM_OTLP_ENDPOINT", grpc, tls_of_environment())
    if backend in {"opik", "opik-otlp"}:
        from otel_llm.backends.opik.address import resolve_address  # noqa: PLC0415  (others do without it)

        base = resolve_address(config.opik.url, config.opik.api_key).base
        return Target(backend, base, "OPIK_URL_OVERRIDE", tls=Tls(check=config.opik.check_tls))
    return None


def check_name(target: Target) -> Iterator[Finding]:
    """Whether the environment names a proxy, and whether the name of what we connect to resolves."""
    proxy = target.proxy
    try:
        host, port = target.endpoint
    except ValueError:
        evidence = f"The environment names the proxy {proxy}, which is no address."
        yield failed("network.proxy", evidence, "Correct HTTPS_PROXY or HTTP_PROXY, or put the host into NO_PROXY.")
        return
    if proxy is not None:
        yield ok("network.proxy", f"Requests to {mask_url(target.url)} go through the proxy {proxy}.")
    began = monotonic()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        whose = "HTTPS_PROXY or HTTP_PROXY" if proxy else target.setting
        words = error.strerror if isinstance(error, OSError) else error
        remedy = f"Correct the host in {whose}, or look at this machine's DNS."
        yield failed("network.dns", f"The name {host!r} does not resolve ({words}).", remedy)
        return
    addresses = ", ".join(sorted({str(address[4][0]) for address in found}))
    yield ok("network.dns", f"{host} is {addresses} ({(monotonic() - began) * 1000:.0f} ms).")


def check_connection(target: Target) -> Iterator[Finding]:
    """Whether somebody takes a TCP connection there."""
    host, port = target.endpoint
    whose = "the proxy of the environment" if target.proxy else target.setting
    began = monotonic()
    try:
        socket.create_connection((host, port), timeout=_CONNECT_SECONDS).close()
    except ConnectionRefusedError:
        remedy = f"Start the server, or correct the port in {whose}."
        yield failed("network.tcp", f"{host} refuses connections to port {port}: nothing listens there.", remedy)
    except TimeoutError:
        evidence = f"{host} port {port} says nothing at all for {_CONNECT_SECONDS:.0f} s: packets vanish on the way."
        yield failed("network.tcp", evidence, f"Open the way in the firewall or network policy, or correct {whose}.")
    except OSError as error:
        remedy = f"Look at this machine's network, or correct {whose}."
        yield failed("network.tcp", f"{host} port {port} cannot be reached ({error.strerror or error}).", remedy)
    else:
        yield ok("network.tcp", f"{host} takes connections on port {port} ({(monotonic() - began) * 1000:.0f} ms).")


def check_server(target: Target) -> Iterator[Finding]:
    """Whether HTTP is spoken there, by a server that can prove who it is and whose clock agrees with ours."""
    if target.grpc:
        return
    host, port = target.endpoint
    if port == _GRPC_PORT or (not target.proxy and not target.is_https and speaks_only_http2(host, port)):
        yield failed(
            "network.protocol",
            f"{host} port {port} is a port for OTLP over gRPC, and the backend {target.backend} speaks HTTP.",
            f"Use the HTTP port (4318 for OTLP) in {target.setting}"
            + (", or set OTEL_LLM_OTLP_PROTOCOL=grpc." if target.backend == "otlp" else "."),
        )
        return
    client = HttpClient(target.url, tls=target.tls)
    sent = time.time()
    try:
        answer = client.request("GET", timeout=_ANSWER_SECONDS)
    except NoAnswerError as error:
        if error.reason == "tls":
            yield _untrusted(target, error)
        return  # what else is wrong, the backend's own check says better
    finally:
        client.close()
    if target.is_https:
        yield ok("network.tls", "The server's certificate is trusted." if target.tls.check else "Not checked, as set.")
    yield from _clock(answer.headers.get("date", ""), sent)


def speaks_only_http2(host: str, port: int) -> bool:
    """Whether a server answers HTTP/2 without being asked in HTTP/1.1 first, as gRPC servers do."""
    with suppress(OSError), socket.create_connection((host, port), timeout=1.0) as connection:
        connection.settimeout(1.0)
        connection.sendall(_HTTP2_OPENING)
        head = connection.recv(9)
        return len(head) == 9 and head[3] == _SETTINGS_FRAME
    return False


def _untrusted(target: Target, error: NoAnswerError) -> Finding:
    variable = "OTEL_EXPORTER_OTLP_CERTIFICATE" if target.backend == "otlp" else "SSL_CERT_FILE"
    remedy = tls_remedy(
        str(error), ca=variable, address=target.setting, client=_CLIENT if target.backend == "otlp" else ""
    )
    return failed("network.tls", f"{mask_url(target.url)} is not trusted: {error}.", remedy)


def _clock(date: str, sent: float) -> Iterator[Finding]:
    try:
        skew = parsedate_to_datetime(date).timestamp() - sent
    except (ValueError, TypeError, OverflowError):
        return
    if abs(skew) > _SKEW_SECONDS:
        evidence = f"This machine's clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} the server's."
        yield warning(
            "clock", evidence, "Set the clock (NTP): spans land at wrong times, and backends refuse old ones."
        )
    else:
        yield ok("clock", f"Agrees with the server's to {abs(skew):.0f} s.")
