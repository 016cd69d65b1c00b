"""The HTTP request below an LLM span: httpx and aiohttp, once each, and no other request of the process."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import httpx
import litellm
import pytest
import requests
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from otel_llm.instrumentation.http import CLIENTS, HttpInstrumentation
from tests.unit.instrumentation.calls import CALLS, MESSAGES, arguments, router, run
from tests.unit.instrumentation.programs import run_program
from tests.unit.instrumentation.recorded import Spans, attributes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.testing import FakeProvider


OWN_CLIENT = ("text_completion", "atext_completion", "moderation", "amoderation")
"""Forms in which litellm leaves it to the openai package to make the HTTP client."""


@pytest.fixture
def clients(spans: Spans) -> Iterator[list[HttpInstrumentation]]:
    """Both HTTP clients instrumented by us."""
    made = [HttpInstrumentation(name, spans.tracer_provider) for name in CLIENTS]
    for client in made:
        client.begin()
    yield made
    for client in made:
        client.end()


@pytest.mark.parametrize("name", CALLS)
def test_a_request_is_a_child_of_its_call(
    name: str, provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """Every call form that makes one request has one HTTP span, child of the LLM span, with status and address."""
    run(getattr(litellm, name), **arguments(CALLS[name], provider))
    if name in OWN_CLIENT and "httpx2" in sys.modules and not spans.http:
        pytest.skip("this openai package brings an HTTP client of its own, httpx2, that nobody instruments yet")
    (request,) = spans.http
    assert request.parent is not None
    assert request.parent.span_id == spans.only.context.span_id
    facts = attributes(request)
    assert facts.get("http.status_code", facts.get("http.response.status_code")) == 200
    assert facts.get("http.url", facts.get("url.full", "")).endswith(provider.requests[-1].path)


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_a_streams_request_is_a_child_of_its_call(
    name: str, provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """The request of a stream is the call's child too."""

    async def program() -> None:
        made = getattr(litellm, name)(**arguments(CALLS[name], provider, stream=True))
        if name == "acompletion":
            async for _ in await made:
                pass
        else:
            list(made)

    run(program)
    (request,) = spans.http
    assert request.parent.span_id == spans.only.context.span_id


def test_requests_of_attempts_are_children_of_attempts(
    provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """After a first failure each further attempt has its own request; the first one's stays with the call."""
    from tests.unit.instrumentation.test_attempts import GPT_4

    provider.when(model="gpt-4").error(404, times=None)
    routing = router(provider, GPT_4, CALLS["completion"], fallbacks=[{"group-gpt-4": ["group-gpt-4o-mini"]}])
    run(routing.acompletion, model="group-gpt-4", messages=MESSAGES)
    assert len(spans.http) == 2
    known = {span.context.span_id for span in spans.llm}
    assert all(span.parent.span_id in known for span in spans.http)
    assert spans.http[1].parent.span_id == spans.attempts[1].context.span_id


def test_no_http_spans_unless_turned_on(provider: FakeProvider, spans: Spans) -> None:
    """Without the HTTP instrumentation there is the LLM span alone."""
    run(litellm.acompletion, **arguments(CALLS["acompletion"], provider))
    litellm.completion(**arguments(CALLS["completion"], provider))
    assert spans.http == []
    assert len(spans.llm) == 2


def test_other_requests_of_the_program_are_not_recorded(
    provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """A request that no LLM call makes is not delivered, before, after or between the chunks of a stream."""
    aiohttp = pytest.importorskip("aiohttp")

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(provider.url) as answer:
            await answer.read()

    httpx.get(provider.url)
    run(get)
    for _ in litellm.completion(**arguments(CALLS["completion"], provider, stream=True)):
        httpx.get(provider.url)
    httpx.get(provider.url)
    assert len(spans.http) == 1
    assert len(provider.requests) > 4


def test_what_we_send_ourselves_is_never_traced(
    provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """Our own delivery goes through requests, which we do not instrument, also in a call's context."""
    with spans.tracer.start_as_current_span("work"):
        requests.get(provider.url, timeout=5)
    assert spans.http == []


def test_a_program_that_instrumented_httpx_itself_is_not_doubled(provider: FakeProvider, spans: Spans) -> None:
    """Where the program has instrumented httpx before us there is one HTTP span, and it stays instrumented after us."""
    upstream = HTTPXClientInstrumentor()
    upstream.instrument(tracer_provider=spans.tracer_provider)
    try:
        ours = HttpInstrumentation("httpx", spans.tracer_provider)
        ours.begin()
        litellm.completion(**arguments(CALLS["completion"], provider))
        assert len(spans.http) == 1
        assert not ours.active
        ours.end()
        assert upstream.is_instrumented_by_opentelemetry
    finally:
        upstream.uninstrument()


def test_a_program_that_instruments_httpx_after_us_is_not_refused(
    provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """Its instrumentation records all requests, and ours none, until it is turned off again."""
    upstream = HTTPXClientInstrumentor()
    assert not upstream.is_instrumented_by_opentelemetry
    theirs = Spans()
    upstream.instrument(tracer_provider=theirs.tracer_provider)
    try:
        litellm.completion(**arguments(CALLS["completion"], provider))
        httpx.get(provider.url)
        assert (len(theirs.http), len(spans.http)) == (2, 0)
        assert not clients[0].active
        assert clients[0].recorded_by_program
    finally:
        upstream.uninstrument()
    litellm.completion(**arguments(CALLS["completion"], provider))
    assert (len(theirs.http), len(spans.http)) == (2, 1)


def test_requests_of_the_program_are_not_touched(
    provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """A request outside of a call begins no span on the program's provider and gets no header of a trace's."""
    aiohttp = pytest.importorskip("aiohttp")

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(provider.url) as answer:
            await answer.read()

    seen = len(spans.at_start.spans)
    with spans.tracer.start_as_current_span("work"):
        httpx.get(provider.url)
        run(get)
    assert [name for name, _ in spans.at_start.spans[seen:]] == ["work"]
    assert all("traceparent" not in request.headers for request in provider.requests)


def test_recording_moves_to_another_provider(
    provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """After `move_to` the requests of calls are recorded there, by httpx and aiohttp alike, once each."""
    elsewhere = Spans()
    for client in clients:
        client.move_to(elsewhere.tracer_provider)
    litellm.completion(**arguments(CALLS["completion"], provider))
    run(litellm.acompletion, **arguments(CALLS["acompletion"], provider))
    assert (len(elsewhere.http), len(spans.http)) == (2, 0)


def test_a_wrapper_put_around_ours_stays(provider: FakeProvider, spans: Spans) -> None:
    """Somebody who has wrapped httpx since keeps his wrapper when we leave, and ours records nothing any more."""
    client = HttpInstrumentation("httpx", spans.tracer_provider)
    client.begin()
    gate = client._gate
    assert gate is not None
    inner, seen = httpx.HTTPTransport.handle_request, []
    ours = httpx.HTTPTransport.__dict__["handle_request"]
    try:
        httpx.HTTPTransport.handle_request = lambda self, request: seen.append(1) or inner(self, request)
        client.end()
        litellm.completion(**arguments(CALLS["completion"], provider))
        assert seen == [1]
        run(_get, url=provider.url)
        assert spans.http == []
        assert all("traceparent" not in request.headers for request in provider.requests)
    finally:
        httpx.HTTPTransport.handle_request = ours
        gate.remove()


async def _get(url: str) -> None:
    async with httpx.AsyncClient() as client:
        await client.get(url)


def test_turning_off_gives_the_client_back(provider: FakeProvider, spans: Spans) -> None:
    """After `end` no HTTP span is made."""
    for name in CLIENTS:
        client = HttpInstrumentation(name, spans.tracer_provider)
        client.begin()
        client.begin()
        client.end()
        client.end()
    litellm.completion(**arguments(CALLS["completion"], provider))
    run(litellm.acompletion, **arguments(CALLS["acompletion"], provider))
    assert spans.http == []


def test_side_by_side_requests_find_their_own_call(
    provider: FakeProvider, spans: Spans, clients: list[HttpInstrumentation]
) -> None:
    """Twenty calls at once: every request is the child of its own call."""

    async def program() -> None:
        await asyncio.gather(*(litellm.acompletion(**arguments(CALLS["acompletion"], provider)) for _ in range(20)))

    run(program)
    parents = [span.parent.span_id for span in spans.http]
    assert sorted(parents) == sorted(span.context.span_id for span in spans.llm)
    assert len(set(parents)) == 20


def test_clients_imported_later_are_instrumented_then(provider: FakeProvider) -> None:
    """Turned on before httpx and aiohttp are imported, neither is imported for it, and both are seen later."""
    told = run_program(
        """
        from otel_llm.instrumentation.http import HttpInstrumentation
        for name in ("httpx", "aiohttp"):
            HttpInstrumentation(name, provider).begin()
            assert name not in sys.modules, name
        import asyncio
        import litellm
        litellm.completion("openai/gpt-4o-mini", messages, api_base=base, api_key="k")
        asyncio.run(litellm.acompletion("openai/gpt-4o-mini", messages, api_base=base, api_key="k"))
        """,
        provider,
        import_litellm=False,
    )
    llm: list[dict[str, Any]] = [span for span in told.spans if span["name"] == "chat gpt-4o-mini"]
    http = [span for span in told.spans if span not in llm]
    assert len(http) == len(llm) == 2
    assert {span["parent_id"] for span in http} == {span["context"]["span_id"] for span in llm}
