"""The health pages behind WSGI and ASGI servers, and on a port of their own."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

import otel_llm
from otel_llm.control import loopback_server
from otel_llm.control.health_server import HealthServer
from tests.crash.kit import wait_until
from tests.fakes.http_server import closed_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider

SECRET = "sk-very-secret-canary"


@pytest.fixture
def failing(provider: TracerProvider) -> None:
    """A backend that refuses connections, with one span that waits for it."""
    otel_llm.configure(
        tracer_provider=provider,
        backend="opik",
        opik_url=f"http://127.0.0.1:{closed_port()}/api/",
        opik_api_key=SECRET,
        service_name="svc",
        shutdown_timeout=0.5,
    )
    provider.get_tracer("app").start_span("work").end()
    otel_llm.flush(0.5)


def wsgi(path: str, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
    """The answer of the WSGI application, checked against PEP 3333 by the standard library's validator."""
    answers: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> Any:
        answers.extend((status, dict(headers)))
        return lambda _data: None

    environ = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": _NoBody(),
        "wsgi.errors": _NoBody(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    with closing(validator(otel_llm.health_app())(environ, start_response)) as chunks:
        body = b"".join(chunks)
    return answers[0], answers[1], body


class _NoBody:
    """Everything that the validator wants of a stream."""

    def read(self, *_: Any) -> bytes:
        return b""

    readline = read

    def readlines(self, *_: Any) -> list[bytes]:
        return []

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    def flush(self) -> None: ...

    def write(self, _text: str) -> None: ...

    def writelines(self, _lines: list[str]) -> None: ...


def test_before_configure_the_process_is_alive_and_not_ready() -> None:
    """`/healthz` speaks of the process alone; `/readyz` says that nothing is recorded."""
    assert wsgi("/healthz")[0] == "200 OK"
    status, _, body = wsgi("/readyz")
    assert status == "503 Service Unavailable"
    assert "not configured" in json.loads(body)["why"]


def test_ready_once_recording_and_status_as_the_program_knows_it(provider: TracerProvider) -> None:
    """A pipeline that works is ready; `/status` is what `otel_llm.status()` says, as JSON."""
    otel_llm.configure(tracer_provider=provider, backend="local")
    provider.get_tracer("app").start_span("work").end()
    otel_llm.flush()
    assert wsgi("/readyz")[0] == "200 OK"
    _, headers, body = wsgi("/status")
    assert headers["Content-Type"] == "application/json"
    (backend,) = json.loads(body)["backends"]
    assert (backend["state"], backend["created"], backend["delivered"]) == ("ok", 1, 1)


@pytest.mark.usefixtures("failing")
def test_a_failing_backend_is_named_and_its_key_is_not() -> None:
    """`/readyz` is 503 with the cause; no page holds the API key."""
    status, _, body = wsgi("/readyz")
    assert status.startswith("503")
    assert "refused" in json.loads(body)["failing"]["opik"].lower()
    for path in ("/readyz", "/status", "/metrics"):
        assert SECRET.encode() not in wsgi(path)[2]


def test_metrics_are_read_by_prometheus(provider: TracerProvider) -> None:
    """The page has Prometheus' content type and parses."""
    otel_llm.configure(tracer_provider=provider, backend="local")
    _, headers, body = wsgi("/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert "otel_llm_span_created" in {family.name for family in text_string_to_metric_families(body.decode())}


def test_other_paths_and_methods() -> None:
    """Unknown paths are 404 with a list, other methods 405, and HEAD has the head only."""
    assert wsgi("/nothing")[0] == "404 Not Found"
    assert "/metrics" in json.loads(wsgi("/")[2])["pages"]
    assert wsgi("/healthz", "DELETE")[0] == "405 Method Not Allowed"
    status, headers, body = wsgi("/healthz/", "HEAD")
    assert (status, body) == ("200 OK", b"")
    assert int(headers["Content-Length"]) > 0


def test_a_wsgi_server_serves_it() -> None:
    """The standard library's WSGI server takes it as it is."""

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    with make_server("127.0.0.1", 0, otel_llm.health_app(), handler_class=Quiet) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        assert requests.get(f"http://127.0.0.1:{server.server_port}/healthz", timeout=10).json() == {"alive": True}


def test_uvicorn_serves_it_alone_and_mounted() -> None:
    """Both forms are served: uvicorn finds out by itself that it is ASGI; Starlette mounts it below a path."""
    uvicorn = pytest.importorskip("uvicorn")
    applications = pytest.importorskip("starlette.applications")
    routing = pytest.importorskip("starlette.routing")
    mounted = applications.Starlette(routes=[routing.Mount("/llm", app=otel_llm.health_app())])
    for app, path in ((otel_llm.health_app(), "/healthz"), (mounted, "/llm/healthz")):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on"))
            thread = threading.Thread(target=lambda server=server, it=listening: asyncio.run(server.serve([it])))
            thread.start()
            answer = requests.get(f"http://127.0.0.1:{listening.getsockname()[1]}{path}", timeout=10)
            server.should_exit = True
            thread.join(20)
        assert (answer.status_code, answer.json()) == (200, {"alive": True})


def test_a_websocket_is_turned_away() -> None:
    """A WebSocket is closed politely, not answered with an error."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(otel_llm.health_app()({"type": "websocket", "path": "/status"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1000}]


# --- the port ----------------------------------------------------------------------------------------------------


def get(url: str, path: str, host: str | None = None) -> tuple[int, bytes]:
    """GET with a Host header of one's own."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=10)
    with closing(connection):
        connection.request("GET", path, headers={"Host": host} if host is not None else {})
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_the_setting_opens_a_port_and_shutdown_closes_it(provider: TracerProvider) -> None:
    """`health_port=0` takes a free loopback port, named in the status, until `shutdown`."""
    url = otel_llm.configure(tracer_provider=provider, backend="none", health_port=0).health_url
    assert url is not None
    assert url.startswith("http://127.0.0.1:")
    assert get(url, "/readyz?verbose")[0] == 200
    otel_llm.shutdown()
    with pytest.raises(OSError, match="refused"):
        get(url, "/healthz")


def test_names_that_are_not_loopback_are_refused(provider: TracerProvider) -> None:
    """A page on the web that points its name at 127.0.0.1 reads nothing (DNS rebinding)."""
    url = str(otel_llm.configure(tracer_provider=provider, backend="none", health_port=0).health_url)
    assert get(url, "/status", host="evil.example")[0] == 403
    assert get(url, "/status", host="evil.example:9464")[0] == 403
    assert get(url, "/status", host="[")[0] == 403
    assert get(url, "/status", host="localhost:9464")[0] == 200
    assert get(url, "/status", host="[::1]")[0] == 200


def test_a_port_that_is_taken_is_said_and_the_program_runs_on(
    provider: TracerProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """Recording goes on without the port, and one line says why there is none."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status = otel_llm.configure(tracer_provider=provider, backend="none", health_port=taken.getsockname()[1])
    assert status.running
    assert status.health_url is None
    assert [record.levelname for record in caplog.records if "health port" in record.getMessage()] == ["WARNING"]


def test_idle_connections_do_not_pile_up(provider: TracerProvider) -> None:
    """Beyond the bound the connection that has been idle longest is hung up on, and the new one is answered."""
    from otel_llm.control.loopback_server import _MOST_CONNECTIONS

    url = str(otel_llm.configure(tracer_provider=provider, backend="none", health_port=0).health_url)
    held = [
        socket.create_connection(("127.0.0.1", int(urlsplit(url).port or 0)), timeout=10)
        for _ in range(_MOST_CONNECTIONS)
    ]
    try:
        assert get(url, "/healthz")[0] == 200
        assert held[0].recv(1) == b""
    finally:
        for connection in held:
            connection.close()


def test_a_request_that_drips_is_cut_off(provider: TracerProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends a byte now and then, each in time, does not hold its connection for ever."""
    monkeypatch.setattr(loopback_server.LoopbackServer, "request_seconds", 0.3)
    url = urlsplit(str(otel_llm.configure(tracer_provider=provider, backend="none", health_port=0).health_url))
    with socket.create_connection(("127.0.0.1", int(url.port or 0)), timeout=10) as slow:

        def dripped() -> bool:
            slow.sendall(b"G")
            slow.settimeout(0.05)
            try:
                return slow.recv(1) == b""
            except TimeoutError:
                return False
            except OSError:
                return True

        assert wait_until(dripped, 30)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_lets_go_of_the_port() -> None:
    """The port is the parent's: once the parent closes it, nobody listens, though the child lives."""
    server = HealthServer(0)
    url = str(server.url)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write_end)
        os.read(read_end, 1)  # until the parent is done
        os._exit(0 if server.url is None else 1)
    os.close(read_end)
    try:
        assert get(url, "/healthz")[0] == 200
        server.close()
        with pytest.raises(OSError, match="refused"):
            get(url, "/healthz")
    finally:
        os.close(write_end)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
