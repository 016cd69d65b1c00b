"""`otel_llm.WsgiMiddleware` in front of Flask, Django and a bare application."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from flask import Flask
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.trace import SpanKind, StatusCode

import otel_llm
from otel_llm import semconv
from otel_llm.context import current_identity
from tests.unit.servers.conftest import get, wsgi_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.unit.servers.conftest import Recorded

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def application() -> Flask:
    """A small service."""
    app = Flask(__name__)

    @app.get("/who/<name>")
    def who(name: str) -> dict[str, Any]:
        with otel_llm.span("work"):
            return {"tenant": current_identity().tenant}

    @app.get("/stream")
    def stream() -> Any:
        def chunks() -> Iterator[str]:
            with otel_llm.span("while streaming"):
                yield "a"
                yield "b"

        return chunks()

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("no")

    return app


def test_flask(recorded: Recorded) -> None:
    """A request is a SERVER span in the caller's trace; a stream is made within it; a 500 is an error."""
    app = application()
    app.wsgi_app = otel_llm.WsgiMiddleware(
        app.wsgi_app, tenant=lambda environ: environ["PATH_INFO"][5:], health="/otel-llm"
    )  # type: ignore[method-assign]
    with wsgi_server(app) as url:
        assert get(f"{url}/who/ann?secret=1", traceparent=TRACEPARENT)[1] == {"tenant": "ann"}
        assert recorded.one("work").parent.span_id == recorded.one("GET").context.span_id
        request = recorded.one("GET")
        assert get(f"{url}/stream")[1] == "ab"
        assert get(f"{url}/broken")[0] == 500
        assert get(f"{url}/otel-llm/healthz") == (200, {"alive": True})
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" in TRACEPARENT
    found = request.attributes or {}
    assert (found[semconv.URL_PATH], found[semconv.HTTP_STATUS_CODE]) == ("/who/ann", 200)
    assert (found[semconv.TENANT_ID], "secret" in str(dict(found))) == ("ann", False)
    servers = {(span.attributes or {})[semconv.URL_PATH]: span for span in recorded.all if span.kind is SpanKind.SERVER}
    assert recorded.one("while streaming").parent.span_id == servers["/stream"].context.span_id
    assert servers["/broken"].status.status_code is StatusCode.ERROR
    assert set(servers) == {"/who/ann", "/stream", "/broken"}


def test_no_header_names_a_tenant_unless_asked(recorded: Recorded) -> None:
    """Without `tenant_header` a header is ignored; with it that one counts."""
    for header, tenant in ((None, None), ("X-Tenant-Id", "acme")):
        with wsgi_server(otel_llm.WsgiMiddleware(application(), tenant_header=header)) as url:
            assert get(f"{url}/who/a", x_tenant_id="acme")[1] == {"tenant": tenant}


def test_an_upstream_span_is_joined(recorded: Recorded) -> None:
    """opentelemetry-instrumentation-flask, which begins its span inside Flask, stays within our one server span."""
    app = application()
    FlaskInstrumentor().instrument_app(app, tracer_provider=recorded.provider)
    app.wsgi_app = otel_llm.WsgiMiddleware(app.wsgi_app, tenant=lambda _: "acme")  # type: ignore[method-assign]
    with wsgi_server(app) as url:
        assert get(f"{url}/who/a")[0] == 200
    server = recorded.one("GET")
    FlaskInstrumentor().uninstrument_app(app)
    assert [span for span in recorded.all if span.kind is SpanKind.SERVER] == [server]
    (theirs,) = [span for span in recorded.all if "flask" in span.instrumentation_scope.name]
    assert theirs.parent.span_id == server.context.span_id
    assert recorded.one("work").parent.span_id == theirs.context.span_id
    assert {(span.attributes or {})[semconv.TENANT_ID] for span in recorded.all} == {"acme"}


def test_django(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Around Django's own WSGI application, as in a project's wsgi.py."""
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import JsonResponse
    from django.urls import path

    def who(_request: Any) -> JsonResponse:
        with otel_llm.span("work"):
            return JsonResponse({"tenant": current_identity().tenant})

    if not settings.configured:
        settings.configure(ROOT_URLCONF="otel_llm_test_urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None)
        django.setup()
    urls = type(sys)("otel_llm_test_urls")
    urls.urlpatterns = [path("who", who)]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "otel_llm_test_urls", urls)
    with wsgi_server(otel_llm.WsgiMiddleware(WSGIHandler(), tenant_header="x-tenant")) as url:
        assert get(f"{url}/who", x_tenant="acme") == (200, {"tenant": "acme"})
    assert recorded.one("work").parent.span_id == recorded.one("GET").context.span_id


def test_the_servers_contract_is_kept(recorded: Recorded) -> None:
    """`close` of the application's answer is called, its length is known, and an error while streaming goes through."""
    closed: list[str] = []

    class Answer(list[bytes]):
        def close(self) -> None:
            closed.append(otel_llm.current().trace_id)

    def app(environ: Any, start_response: Any) -> Any:
        start_response("204 No Content", [])
        return Answer([b"x"])

    answer = otel_llm.WsgiMiddleware(app)({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *_: None)
    assert len(answer) == 1  # type: ignore[arg-type]
    assert list(answer) == [b"x"]
    answer.close()  # type: ignore[attr-defined]
    assert closed == [f"{recorded.one('GET').context.trace_id:032x}"]
