"""`otel_llm.AsgiMiddleware` in front of FastAPI, Starlette and a bare application, served by uvicorn."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.trace import SpanKind, StatusCode

import otel_llm
from otel_llm import semconv
from otel_llm.context import current_identity
from tests.unit.servers.conftest import asgi_server, get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.servers.conftest import Recorded

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


HAS_TELEMETRY = "telemetry" in inspect.signature(FastAPI).parameters


def silent() -> FastAPI:
    """An application without telemetry of its own, which would use whatever provider another test has made global."""
    return FastAPI(telemetry={"tracing": False}) if HAS_TELEMETRY else FastAPI()


def application() -> FastAPI:
    """A small service."""
    app = silent()

    @app.get("/who/{name}")
    async def who(name: str) -> dict[str, Any]:
        with otel_llm.span("work"):
            who = current_identity()
            return {"tenant": who.tenant, "user": who.user, "fruit": baggage.get_baggage("fruit")}

    @app.get("/sync")
    def sync() -> dict[str, Any]:
        with otel_llm.span("in a thread"):
            return {"tenant": current_identity().tenant}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks() -> AsyncIterator[str]:
            with otel_llm.span("while streaming"):
                yield "a"
                yield "b"

        return StreamingResponse(chunks())

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("no")

    return app


def test_a_request_is_a_span_and_its_trace_goes_on(recorded: Recorded) -> None:
    """Route, method and status on a SERVER span; `traceparent` is the parent, baggage is there; work is a child."""
    app = application()
    app.add_middleware(otel_llm.AsgiMiddleware, tenant=lambda scope: f"tenant of {scope['path']}")
    with asgi_server(app) as url:
        status, body = get(f"{url}/who/ann?secret=1", traceparent=TRACEPARENT, baggage="fruit=fig")
    assert (status, body) == (200, {"tenant": "tenant of /who/ann", "user": None, "fruit": "fig"})
    request, work = recorded.one("GET /who/{name}"), recorded.one("work")
    found = request.attributes or {}
    assert request.kind is SpanKind.SERVER
    assert f"{request.context.trace_id:032x}" in TRACEPARENT
    assert f"{request.parent.span_id:016x}" in TRACEPARENT
    assert work.parent.span_id == request.context.span_id
    assert (found[semconv.HTTP_METHOD], found[semconv.HTTP_ROUTE]) == ("GET", "/who/{name}")
    assert (found[semconv.URL_PATH], found[semconv.HTTP_STATUS_CODE]) == ("/who/ann", 200)
    assert found[semconv.TENANT_ID] == "tenant of /who/ann"
    assert "secret" not in str(dict(found))
    assert request.status.status_code is StatusCode.UNSET


def test_threads_and_streams_are_part_of_the_request(recorded: Recorded) -> None:
    """A plain endpoint in FastAPI's thread pool and a streamed answer have the tenant and the request as parent."""
    app = application()
    app.add_middleware(otel_llm.AsgiMiddleware, tenant=lambda _: "acme")
    with asgi_server(app) as url:
        assert get(f"{url}/sync") == (200, {"tenant": "acme"})
        assert get(f"{url}/stream") == (200, "ab")
    for inner, outer in (("in a thread", "GET /sync"), ("while streaming", "GET /stream")):
        assert recorded.one(inner).parent.span_id == recorded.one(outer).context.span_id
        assert (recorded.one(inner).attributes or {})[semconv.TENANT_ID] == "acme"


def test_no_header_names_a_tenant_unless_asked(recorded: Recorded) -> None:
    """Without `tenant_header` every header and all baggage is ignored; with it that one header counts."""
    sent = {"x_tenant_id": "evil", "x_user": "mallory", "baggage": "tenant.id=evil"}
    with asgi_server(otel_llm.AsgiMiddleware(application())) as url:
        assert get(f"{url}/who/a", **sent)[1]["tenant"] is None
    trusting = otel_llm.AsgiMiddleware(application(), tenant_header="X-Tenant-Id", user_header="X-User")
    with asgi_server(trusting) as url:
        assert get(f"{url}/who/b", x_tenant_id="acme" * 100, x_user="u1")[1] == {
            "tenant": ("acme" * 100)[:256],
            "user": "u1",
            "fruit": None,
        }


def test_a_verified_claim_names_the_tenant(recorded: Recorded) -> None:
    """Claims that authentication left in the scope are read, wherever it usually leaves them; tokens are not."""

    class User:
        def __init__(self) -> None:
            self.claims = {"org": "from the user"}

    for left in ({"user": User()}, {"state": {"claims": {"org": "from the user"}}}, {"auth": {"org": "from the user"}}):
        inner = otel_llm.AsgiMiddleware(application(), claim="org")

        async def authenticated(scope: Any, receive: Any, send: Any, left: Any = left, inner: Any = inner) -> None:
            await inner({**scope, **left}, receive, send)

        with asgi_server(authenticated) as url:
            assert get(f"{url}/who/a", authorization="Bearer e30.e30.e30")[1]["tenant"] == "from the user"


def test_a_dependency_may_say_who_it_is(recorded: Recorded) -> None:
    """`otel_llm.tenant` in a dependency with `yield` holds for the endpoint, and for no other request."""
    app = silent()

    async def tenant(name: str = "") -> AsyncIterator[None]:
        with otel_llm.tenant(name or None):
            yield

    @app.get("/", dependencies=[Depends(tenant)])
    async def root() -> dict[str, Any]:
        return {"tenant": current_identity().tenant}

    with asgi_server(otel_llm.AsgiMiddleware(app)) as url:
        assert get(f"{url}/?name=acme")[1] == {"tenant": "acme"}
        assert get(f"{url}/")[1] == {"tenant": None}


def test_a_fault_in_the_programs_function_costs_the_tenant_only(recorded: Recorded) -> None:
    """A `tenant` function that raises is counted, and the request is served."""
    from otel_llm.faults import fault_counts, reset_faults

    reset_faults()
    with asgi_server(otel_llm.AsgiMiddleware(application(), tenant=lambda scope: scope["nothing"])) as url:
        assert get(f"{url}/who/a")[1]["tenant"] is None
    assert fault_counts() == {"finding a tenant": 1}
    reset_faults()


def test_errors_are_marked(recorded: Recorded) -> None:
    """An exception and a 5xx mark the span; a 404 does not."""
    app = application()
    app.add_middleware(otel_llm.AsgiMiddleware)
    with asgi_server(app) as url:
        assert get(f"{url}/broken")[0] == 500
        assert get(f"{url}/missing")[0] == 404
    broken = recorded.one("GET /broken")
    assert broken.status.status_code is StatusCode.ERROR
    assert (broken.attributes or {})[semconv.ERROR_TYPE] == "RuntimeError"
    assert recorded.one("GET").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("excluded", [("/sync",), ["/sync"], "/sync"])
def test_health_pages_and_excluded_paths(recorded: Recorded, excluded: str | list[str]) -> None:
    """Below `health` the health pages answer, without a span; excluded paths, or the one, are served without one."""
    served = otel_llm.AsgiMiddleware(application(), health="/otel-llm", exclude=excluded)
    with asgi_server(served) as url:
        assert get(f"{url}/otel-llm/readyz")[1]["ready"] is True
        assert get(f"{url}/otel-llm/healthz") == (200, {"alive": True})
        assert get(f"{url}/otel-llmx")[0] == 404
        assert get(f"{url}/sync")[0] == 200
        get(f"{url}/who/a")
    recorded.one("GET /who/{name}")
    recorded.one("GET")
    assert sorted(span.name for span in recorded.all if span.kind is SpanKind.SERVER) == ["GET", "GET /who/{name}"]


@pytest.mark.parametrize("instrumented_first", [True, False])
def test_an_upstream_server_span_is_joined(recorded: Recorded, instrumented_first: bool) -> None:
    """With opentelemetry-instrumentation-fastapi active there is one server span, which carries the tenant."""
    app = application()
    steps = [
        lambda: FastAPIInstrumentor.instrument_app(
            app, tracer_provider=recorded.provider, exclude_spans=["receive", "send"]
        ),
        lambda: app.add_middleware(otel_llm.AsgiMiddleware, tenant=lambda _: "acme"),
    ]
    for step in steps if instrumented_first else reversed(steps):
        step()
    with asgi_server(app) as url:
        assert get(f"{url}/who/a", traceparent=TRACEPARENT)[0] == 200
    FastAPIInstrumentor.uninstrument_app(app)
    request = recorded.one("GET /who/{name}")
    assert request.instrumentation_scope.name.startswith("opentelemetry.instrumentation")
    assert (request.attributes or {})[semconv.TENANT_ID] == "acme"
    assert recorded.one("work").parent.span_id == request.context.span_id
    assert len([span for span in recorded.all if span.kind is SpanKind.SERVER]) == 1


@pytest.mark.skipif(not HAS_TELEMETRY, reason="this FastAPI has no telemetry of its own")
def test_fastapis_own_server_span_is_joined(recorded: Recorded) -> None:
    """FastAPI from 0.165 on makes server spans itself, on the provider that otel_llm has set: they are joined too."""
    app = FastAPI(telemetry={"tracer_provider": recorded.provider})

    @app.get("/")
    async def root() -> dict[str, Any]:
        return {"tenant": current_identity().tenant}

    app.add_middleware(otel_llm.AsgiMiddleware, tenant=lambda _: "acme")
    with asgi_server(app) as url:
        assert get(f"{url}/") == (200, {"tenant": "acme"})
    request = recorded.one("GET /")
    assert request.instrumentation_scope.name == "fastapi"
    assert (request.attributes or {})[semconv.TENANT_ID] == "acme"
    assert [span for span in recorded.all if span.kind is SpanKind.SERVER] == [request]


def test_before_configure_the_application_is_served_alone() -> None:
    """Without `configure` the middleware passes everything through."""
    before = otel_context.get_current()
    with asgi_server(otel_llm.AsgiMiddleware(application(), tenant_header="x-tenant")) as url:
        assert get(f"{url}/who/a", x_tenant="acme") == (200, {"tenant": None, "user": None, "fruit": None})
    assert otel_context.get_current() is before


def test_headers_take_trace_baggage_and_identity_out(recorded: Recorded) -> None:
    """`otel_llm.headers` has `traceparent` and baggage, and the identity only where asked."""
    context = baggage.set_baggage("fruit", "fig")
    token = otel_context.attach(context)
    try:
        with otel_llm.tenant("acme", user="u1"), otel_llm.span("work") as work:
            plain, named = otel_llm.headers(), otel_llm.headers(identity=True)
    finally:
        otel_context.detach(token)
    assert work.trace_id in plain["traceparent"]
    assert plain["baggage"] == "fruit=fig"
    assert set(named["baggage"].split(",")) == {"fruit=fig", "tenant.id=acme", "user.id=u1"}
