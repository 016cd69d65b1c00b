"""Whose call it is: tenant, user and session from blocks, arguments and baggage, and never mixed up."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry import baggage
from opentelemetry import context as otel_context

import otel_llm.context as identity
from otel_llm import semconv
from otel_llm.instrumentation.http import HttpInstrumentation
from otel_llm.instrumentation.litellm import LitellmInstrumentor
from tests.unit.instrumentation.calls import CALLS, MESSAGES, arguments, router, run
from tests.unit.instrumentation.recorded import Spans, attributes, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.testing import FakeProvider

WHO = (semconv.TENANT_ID, semconv.USER_ID, semconv.SESSION_ID)


def _who(span: Any) -> tuple[str | None, ...]:
    facts = attributes(span)
    return tuple(facts.get(key) for key in WHO)


def _call(provider: FakeProvider, **more: Any) -> None:
    litellm.completion(**arguments(CALLS["completion"], provider, **more))


def test_nobody_is_unknown(provider: FakeProvider, spans: Spans) -> None:
    """Where nobody was named the tenant is `unknown`, and no user or session is made up."""
    _call(provider)
    assert _who(spans.only) == (semconv.UNKNOWN_TENANT, None, None)


@pytest.mark.parametrize("name", CALLS)
def test_a_tenant_block_is_on_every_call_form(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A block's tenant, user and session are on the span of every call form."""
    with identity.tenant("acme", user="u1", session="s1"):
        run(getattr(litellm, name), **arguments(CALLS[name], provider))
    assert _who(spans.only) == ("acme", "u1", "s1")


@pytest.mark.parametrize(
    "name", ["batch_completion", "batch_completion_models", "batch_completion_models_all_responses"]
)
def test_calls_of_a_batch_belong_to_who_asked_for_it(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Litellm makes them in threads of its own; they have the block's tenant, and the program's span for a parent."""
    asked = {"models": ["gpt-4o-mini", "gpt-4o"], "messages": MESSAGES}
    if name == "batch_completion":
        asked = {"model": "gpt-4o-mini", "messages": [MESSAGES, MESSAGES]}
    with identity.tenant("acme", user="u1", session="s1"), spans.tracer.start_as_current_span("work") as work:
        getattr(litellm, name)(**asked, api_base=provider.openai_base, api_key="sk-test")
    until(lambda: len(spans.llm) == 2)
    assert [_who(span) for span in spans.llm] == [("acme", "u1", "s1")] * 2
    assert {span.parent.span_id for span in spans.llm} == {work.get_span_context().span_id}


def test_batches_get_their_own_pools_back(spans: Spans) -> None:
    """Once recording is switched off, litellm's batches use the standard library's pools again."""
    module = sys.modules["litellm.batch_completion.main"]
    assert module.ThreadPoolExecutor is not ThreadPoolExecutor  # type: ignore[attr-defined]
    LitellmInstrumentor().uninstrument()
    assert module.ThreadPoolExecutor is ThreadPoolExecutor  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"metadata": {"tenant_id": "acme"}}, ("acme", None, None)),
        ({"metadata": {"tenant_id": "acme", "user_id": "u1", "session_id": "s1"}}, ("acme", "u1", "s1")),
        ({"metadata": {"user_id": "u1"}, "user": "other"}, (semconv.UNKNOWN_TENANT, "u1", None)),
        ({"user": "u1"}, (semconv.UNKNOWN_TENANT, "u1", None)),
        ({"metadata": {"tenant_id": 42}}, ("42", None, None)),
        ({"metadata": {"tenant_id": ""}}, (semconv.UNKNOWN_TENANT, None, None)),
        ({"metadata": {"tenant_id": {"not": "a name"}}}, (semconv.UNKNOWN_TENANT, None, None)),
    ],
)
def test_a_call_can_name_whose_it_is(
    said: dict[str, Any], expected: tuple[str | None, ...], provider: FakeProvider, spans: Spans
) -> None:
    """`metadata` and `user=` of a call name tenant, user and session; what cannot be a name counts as not given."""
    _call(provider, **said)
    assert _who(spans.only) == expected


def test_a_calls_own_words_come_before_the_block(provider: FakeProvider, spans: Spans) -> None:
    """The call's own tenant wins, and does not inherit another tenant's user."""
    with identity.tenant("acme", user="u1", session="s1"):
        _call(provider, metadata={"tenant_id": "globex"})
        _call(provider, user="u2")
    assert [_who(span) for span in spans.llm] == [("globex", None, None), ("acme", "u2", "s1")]


def test_a_routers_call_can_name_whose_it_is(provider: FakeProvider, spans: Spans) -> None:
    """Metadata of a Router's call counts as well, sync and async."""
    routing = router(provider, CALLS["completion"])
    for method in (routing.completion, routing.acompletion):
        run(method, model="group-gpt-4o-mini", messages=MESSAGES, metadata={"tenant_id": "acme"}, user="u1")
    assert [_who(span) for span in spans.llm] == [("acme", "u1", None)] * 2


def test_blocks_nest_and_end(provider: FakeProvider, spans: Spans) -> None:
    """An inner block adds to an outer one of the same tenant, replaces another's, and ends with its `with`."""
    with identity.tenant("acme", user="u1"):
        with identity.tenant("acme", session="s1"):
            _call(provider)
        with identity.tenant("globex"):
            _call(provider)
        _call(provider)
    _call(provider)
    assert [_who(span) for span in spans.llm] == [
        ("acme", "u1", "s1"),
        ("globex", None, None),
        ("acme", "u1", None),
        (semconv.UNKNOWN_TENANT, None, None),
    ]


def test_a_call_does_not_leave_its_tenant_behind(provider: FakeProvider, spans: Spans) -> None:
    """A tenant named in one call's metadata is gone after the call."""
    _call(provider, metadata={"tenant_id": "acme"})
    with spans.tracer.start_as_current_span("after"):
        pass
    (after,) = [span for span in spans.all if span.name == "after"]
    assert attributes(after)[semconv.TENANT_ID] == semconv.UNKNOWN_TENANT


def test_fifty_tenants_at_once_are_not_mixed(provider: FakeProvider, spans: Spans) -> None:
    """Fifty tenants in one loop, sync and async, streams and whole answers, Router and plain: none gets another's."""
    routing = router(provider, CALLS["completion"])

    def own(number: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": f"I am t{number}"}]
        return arguments(CALLS["completion"], provider, messages=messages, metadata={"number": number})

    async def one(number: int) -> None:
        with identity.tenant(f"t{number}", user=f"u{number}", session=f"s{number}"):
            await asyncio.sleep(0.001 * (number % 7))
            if number % 4 == 0:
                await litellm.acompletion(**own(number))
            elif number % 4 == 1:
                async for _ in await litellm.acompletion(**own(number), stream=True):
                    await asyncio.sleep(0)
            elif number % 4 == 2:
                await asyncio.to_thread(litellm.completion, **own(number))
            else:
                call = own(number)
                await routing.acompletion(
                    model="group-gpt-4o-mini", messages=call["messages"], metadata=call["metadata"]
                )

    async def program() -> None:
        await asyncio.gather(*(one(number) for number in range(50)))

    run(program)
    assert len(spans.llm) == 50
    for span in spans.llm:
        number = attributes(span)[semconv.METADATA_PREFIX + "number"]
        assert _who(span) == (f"t{number}", f"u{number}", f"s{number}")


def test_a_task_group_keeps_tenants_apart(provider: FakeProvider, spans: Spans) -> None:
    """Tasks of a TaskGroup carry the tenant of where they were made."""
    if not hasattr(asyncio, "TaskGroup"):
        pytest.skip("Python 3.10 has no TaskGroup")

    async def program() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                with identity.tenant(f"t{number}"):
                    call = arguments(CALLS["acompletion"], provider, metadata={"number": number})
                    group.create_task(litellm.acompletion(**call))

    run(program)
    assert {(attributes(span)[semconv.METADATA_PREFIX + "number"], _who(span)[0]) for span in spans.llm} == {
        (number, f"t{number}") for number in range(10)
    }


def test_a_thread_with_a_copied_context_keeps_the_tenant(provider: FakeProvider, spans: Spans) -> None:
    """A thread that runs in a copied context belongs to the tenant, one that does not belongs to nobody."""
    with identity.tenant("acme"), ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, _call, provider).result()
        pool.submit(_call, provider).result()
    assert [_who(span)[0] for span in spans.llm] == ["acme", semconv.UNKNOWN_TENANT]


def test_a_generator_keeps_the_tenant_of_its_reader(provider: FakeProvider, spans: Spans) -> None:
    """A generator that calls in the middle belongs to whoever reads it then."""

    def calling() -> Iterator[int]:
        for number in range(2):
            _call(provider)
            yield number

    generator = calling()
    with identity.tenant("acme"):
        next(generator)
    with identity.tenant("globex"):
        next(generator)
    assert [_who(span)[0] for span in spans.llm] == ["acme", "globex"]


def test_a_stream_belongs_to_who_opened_it(provider: FakeProvider, spans: Spans) -> None:
    """A stream opened for one tenant and read in another's block is the first one's."""
    with identity.tenant("acme"):
        stream = litellm.completion(**arguments(CALLS["completion"], provider, stream=True))
    with identity.tenant("globex"):
        list(stream)
    assert _who(spans.only)[0] == "acme"


@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_children_are_stamped_too(name: str, provider: FakeProvider, spans: Spans) -> None:
    """The HTTP span below a call that named its tenant itself carries that tenant."""
    clients = [HttpInstrumentation(client, spans.tracer_provider) for client in ("httpx", "aiohttp")]
    for client in clients:
        client.begin()
    try:
        call = arguments(CALLS[name], provider, metadata={"tenant_id": "acme", "session_id": "s1"}, user="u1")
        run(getattr(litellm, name), **call)
    finally:
        for client in clients:
            client.end()
    assert spans.http
    assert {_who(span) for span in spans.all} == {("acme", "u1", "s1")}


# --- baggage ---


def _with_baggage(**entries: str) -> otel_context.Context:
    context = otel_context.get_current()
    for name, value in entries.items():
        context = baggage.set_baggage(name.replace("_", "."), value, context)
    return context


def _called_with_baggage(spans: Spans, provider: FakeProvider, **entries: str) -> None:
    clients = [HttpInstrumentation(client, spans.tracer_provider) for client in ("httpx", "aiohttp")]
    for client in clients:
        client.begin()
    token = otel_context.attach(_with_baggage(**entries))
    try:
        _call(provider)
        run(litellm.acompletion, **arguments(CALLS["acompletion"], provider))
    finally:
        otel_context.detach(token)
        for client in clients:
            client.end()


def test_baggage_is_read_where_wanted(provider: FakeProvider) -> None:
    """With baggage enabled tenant, user and session of an incoming request are on call and HTTP span."""
    with Spans(baggage_tenant_key="tenant.id") as spans:
        _called_with_baggage(spans, provider, tenant_id="acme", user_id="u1", session_id="s1")
    assert len(spans.llm) == 2
    assert {_who(span) for span in spans.all} == {("acme", "u1", "s1")}


def test_baggage_is_not_read_unless_wanted(provider: FakeProvider, spans: Spans) -> None:
    """By default baggage, which anybody could have written, says nothing."""
    _called_with_baggage(spans, provider, tenant_id="acme")
    assert {_who(span)[0] for span in spans.all} == {semconv.UNKNOWN_TENANT}


@pytest.mark.parametrize("wanted", [None, "tenant.id"])
def test_no_identity_goes_to_the_provider(wanted: str | None, provider: FakeProvider) -> None:
    """Neither baggage nor tenant, user or session leaves in a header, with the HTTP clients instrumented."""
    with Spans(baggage_tenant_key=wanted) as spans, identity.tenant("acme-secret", user="ann-secret"):
        _called_with_baggage(spans, provider, tenant_id="acme-secret", other="more-secret")
    assert len(provider.requests) == 2
    for request in provider.requests:
        assert "baggage" not in request.headers
        assert "secret" not in str(request.headers)
    assert spans.http


def test_the_programs_baggage_is_its_own_again_after_the_call(provider: FakeProvider, spans: Spans) -> None:
    """Baggage is kept from the provider during the call only."""
    token = otel_context.attach(_with_baggage(tenant_id="acme"))
    try:
        _call(provider)
        assert baggage.get_baggage("tenant.id") == "acme"
        for _ in litellm.completion(**arguments(CALLS["completion"], provider, stream=True)):
            assert baggage.get_baggage("tenant.id") == "acme"
    finally:
        otel_context.detach(token)
