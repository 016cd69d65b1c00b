"""`LLMClient` over HTTP: who a call is for, what it may use, what litellm does with it, and what the spans say."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import warnings
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import litellm
import pytest

import otel_llm
from otel_llm import semconv
from otel_llm.errors import BudgetExceededError, ConfigError, LimitExceededError, UnknownSettingError
from otel_llm.testing import FakeProvider, Usage, capturing
from otel_llm.testing.calls import calls_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otel_llm.control.captured import CapturedSpans

ASK = [{"role": "user", "content": "Where is Paris?"}]


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    """A provider on loopback."""
    with FakeProvider() as found:
        yield found


@pytest.fixture
def captured() -> Iterator[CapturedSpans]:
    """What is recorded."""
    with capturing() as found:
        yield found


@pytest.fixture(autouse=True)
def _no_cache() -> Iterator[None]:
    """Litellm's cache is one for the process: as it was, afterwards."""
    before = litellm.cache
    callbacks = [list(kept) for kept in (litellm.input_callback, litellm.success_callback)]
    yield
    litellm.cache = before
    litellm.input_callback, litellm.success_callback = callbacks


@pytest.fixture
def client(provider: FakeProvider, captured: CapturedSpans) -> Iterator[Callable[..., otel_llm.LLMClient]]:
    """A maker of clients for two models at the provider."""
    made: list[otel_llm.LLMClient] = []

    def make(**settings: Any) -> otel_llm.LLMClient:
        models = [deployment(name, f"openai/{name}", provider) for name in ("gpt-4o-mini", "gpt-4o")]
        made.append(otel_llm.LLMClient(model="gpt-4o-mini", model_list=models, **{"retries": 0, **settings}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def deployment(name: str, model: str, provider: FakeProvider) -> dict[str, Any]:
    """A deployment as litellm's Router has it."""
    return {
        "model_name": name,
        "litellm_params": {"model": model, "api_base": provider.openai_base, "api_key": "k", "max_retries": 0},
    }


def client_spans(captured: CapturedSpans) -> list[Any]:
    """The spans of `generate` itself."""
    return [found for found in captured.spans if found.name == "LLMClient.generate"]


async def test_a_call_is_recorded_for_whom_it_is(client: Any, captured: CapturedSpans) -> None:
    """Tenant, user and session are on the call's span, which is a child of the client's."""
    answer = await client().generate(ASK, tenant_id="acme", user_id="u1", session_id="s1")
    assert "Paris" in answer.choices[0].message.content
    otel_llm.flush(5)
    [call] = calls_in(captured.spans)
    assert (call.tenant, call.user, call.session, call.model) == ("acme", "u1", "s1", "gpt-4o-mini")
    [outer] = client_spans(captured)
    assert call.span.context.trace_id == outer.context.trace_id
    assert outer.attributes[semconv.CLIENT_MODEL] == "gpt-4o-mini"
    assert outer.attributes[semconv.CLIENT_WAITED] == 0
    assert outer.attributes[semconv.TENANT_ID] == "acme"


def test_the_sync_twin_and_the_surrounding_block(client: Any, captured: CapturedSpans) -> None:
    """`generate_sync` does the same, and takes from a `tenant` block what the call does not say."""
    with otel_llm.tenant("globex", user="u2"):
        client().generate_sync(ASK, model="gpt-4o", temperature=0)
    otel_llm.flush(5)
    [call] = calls_in(captured.spans)
    assert (call.tenant, call.user, call.model) == ("globex", "u2", "gpt-4o")


async def test_nothing_is_asked_of_a_router_that_it_calls_outdated(client: Any, provider: FakeProvider) -> None:
    """Newer litellm warns of what a Router will no longer have; a program sees no such warning for what we do."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=r"Router\.", category=DeprecationWarning)
        one = client()
        await one.generate(ASK, tenant_id="acme")
        unknown = {"model": "openai/gpt-4.1", "api_base": provider.openai_base, "api_key": "k"}
        one.generate_sync(ASK, tenant_id="acme", **unknown)


async def test_streams(client: Any, captured: CapturedSpans) -> None:
    """`stream=True` gives chunks, and one span that ends with them."""
    stream = await client().generate(ASK, tenant_id="acme", stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert "Paris" in text
    assert "Paris" in "".join(
        chunk.choices[0].delta.content or "" for chunk in client().generate_sync(ASK, tenant_id="acme", stream=True)
    )
    otel_llm.flush(5)
    assert [call.tenant for call in calls_in(captured.spans)] == ["acme", "acme"]


async def test_fifty_tenants_at_once(client: Any, captured: CapturedSpans) -> None:
    """None of fifty tenants in one loop is taken for another."""
    one = client()
    await asyncio.gather(
        *(one.generate([{"role": "user", "content": f"word{n}"}], tenant_id=f"t{n}") for n in range(50))
    )
    otel_llm.flush(10)
    said = {call.tenant: call.input_messages[0]["parts"][0]["content"] for call in calls_in(captured.spans)}
    assert said == {f"t{n}": f"word{n}" for n in range(50)}


async def test_fallbacks_are_litellms(client: Any, provider: FakeProvider, captured: CapturedSpans) -> None:
    """A model that fails is followed by the one that settings name, within one logical call."""
    provider.error(500)
    answer = await client(fallbacks={"gpt-4o-mini": "gpt-4o"}).generate(ASK, tenant_id="acme")
    assert answer.choices[0].message.content
    otel_llm.flush(5)
    [call] = calls_in(captured.spans)
    assert len(call.attempts) == 2


async def test_errors_are_litellms_own(client: Any, provider: FakeProvider) -> None:
    """What the provider refuses is raised as litellm raises it."""
    provider.error(401)
    with pytest.raises(litellm.AuthenticationError):
        await client().generate(ASK, tenant_id="acme")


async def test_any_model_goes_by_litellms_name(captured: CapturedSpans, provider: FakeProvider) -> None:
    """A model for which no deployment was made is called by litellm's own name for it."""
    with otel_llm.LLMClient(retries=0) as one:
        for _ in range(2):
            await one.generate(ASK, model="openai/gpt-4o-mini", api_base=provider.openai_base, api_key="k")
        with pytest.raises(ConfigError, match="No model is named"):
            await one.generate(ASK)


def test_a_limit_refuses_before_anything_is_sent(client: Any, provider: FakeProvider) -> None:
    """With `on_limit="refuse"` the second call of a minute does not reach the provider; another tenant's does."""
    one = client(requests_per_minute=1, on_limit="refuse")
    one.generate_sync(ASK, tenant_id="acme")
    with pytest.raises(LimitExceededError) as refused:
        one.generate_sync(ASK, tenant_id="acme")
    assert 0 < refused.value.retry_after <= 60
    one.generate_sync(ASK, tenant_id="globex")
    assert len(provider.requests) == 2


async def test_a_limit_waits_and_says_so(client: Any, captured: CapturedSpans) -> None:
    """A call over the limit waits its turn, and its span says for how long."""
    one = client(tenant_requests={"acme": 600})
    for reservation in range(600):
        del reservation
        one._limiter.reserve("acme", "gpt-4o-mini", 1)
    await one.generate(ASK, tenant_id="acme")
    [outer] = client_spans(captured)
    assert 0 < outer.attributes[semconv.CLIENT_WAITED] <= 0.11


async def test_one_that_is_cancelled_while_it_waits_gives_its_place_back(client: Any, provider: FakeProvider) -> None:
    """A cancelled call sends nothing and uses up nothing."""
    one = client(requests_per_minute=1, max_wait=100)
    await one.generate(ASK, tenant_id="acme")
    task = asyncio.ensure_future(one.generate(ASK, tenant_id="acme"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert one._limiter.reserve("acme", "gpt-4o-mini", 1).wait <= 60
    assert len(provider.requests) == 1


def test_tokens_are_those_that_were_used(client: Any, provider: FakeProvider) -> None:
    """The estimate is replaced by the answer's own count: a large answer makes the next call wait."""
    provider.answer("x", usage=Usage(input_tokens=900, output_tokens=100))
    one = client(tokens_per_minute=1000, on_limit="refuse")
    one.generate_sync(ASK, tenant_id="acme", max_tokens=1)
    with pytest.raises(LimitExceededError):
        one.generate_sync(ASK, tenant_id="acme", max_tokens=1)


def test_a_budget_that_is_spent_refuses(client: Any, provider: FakeProvider) -> None:
    """Once a tenant has spent its budget its calls are not sent, others' are; a restart changes nothing."""
    provider.answer("x", usage=Usage(input_tokens=1_000_000, output_tokens=0))  # 0.15 USD with gpt-4o-mini
    settings = {"budget": 100.0, "tenant_budgets": {"acme": 0.1}}
    one = client(**settings)
    one.generate_sync(ASK, tenant_id="acme")
    otel_llm.flush(5)
    assert one.spent_today("acme") == Decimal("0.15")
    for again in (one, client(**settings)):
        with pytest.raises(BudgetExceededError, match=r"spent 0\.150000 of its 0\.1 USD") as refused:
            again.generate_sync(ASK, tenant_id="acme")
        assert (refused.value.tenant, refused.value.spent) == ("acme", Decimal("0.15"))
    one.generate_sync(ASK, tenant_id="globex")
    assert len(provider.requests) == 2


def test_a_budget_may_only_warn(client: Any, provider: FakeProvider, caplog: pytest.LogCaptureFixture) -> None:
    """With `on_budget="warn"` calls go on, and the log says once that the money is spent."""
    provider.answer("x", usage=Usage(input_tokens=1_000_000, output_tokens=0))
    one = client(budget=0.1, on_budget="warn")
    for _ in range(3):
        one.generate_sync(ASK, tenant_id="acme")
        otel_llm.flush(5)
    assert len(provider.requests) == 3
    assert caplog.text.count("Tenant acme has spent") == 1


def test_equal_calls_of_a_tenant_are_answered_from_the_cache(
    client: Any, provider: FakeProvider, captured: CapturedSpans
) -> None:
    """A tenant's second equal call is a hit that costs nothing; another tenant's is not, unless caches are shared."""
    one = client(cache="memory")
    one.generate_sync(ASK, tenant_id="acme")
    try:
        one.generate_sync(ASK, tenant_id="acme")
    except ImportError as error:
        pytest.skip(f"this litellm needs its proxy's packages for a cache hit: {error}")
    assert len(provider.requests) == 1
    one.generate_sync(ASK, tenant_id="globex")
    assert len(provider.requests) == 2
    client(cache="memory", cache_shared=True).generate_sync(ASK, tenant_id="acme", model="gpt-4o")
    client(cache="memory", cache_shared=True).generate_sync(ASK, tenant_id="globex", model="gpt-4o")
    assert len(provider.requests) == 3
    otel_llm.flush(5)
    assert [call.cache_hit for call in calls_in(captured.spans)] == [False, True, False, False, True]


def test_the_programs_other_calls_are_not_cached(client: Any, provider: FakeProvider) -> None:
    """Litellm's cache answers only calls that the client makes."""
    client(cache="memory")
    for _ in range(2):
        litellm.completion(model="openai/gpt-4o-mini", messages=ASK, api_base=provider.openai_base, api_key="k")
    assert len(provider.requests) == 2


def test_many_threads(client: Any, captured: CapturedSpans) -> None:
    """A client serves threads at once, each for its own tenant."""
    one = client(requests_per_minute=1000)
    threads = [
        threading.Thread(target=one.generate_sync, args=(ASK,), kwargs={"tenant_id": f"t{n}"}) for n in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    otel_llm.flush(10)
    assert {call.tenant for call in calls_in(captured.spans)} == {f"t{n}" for n in range(10)}


def test_wrong_settings_are_named(captured: CapturedSpans) -> None:
    """A setting that does not exist, or a number that is none, is an error that says so."""
    with pytest.raises(UnknownSettingError, match="client_budget"):
        otel_llm.LLMClient(budgets=1)
    with pytest.raises(ConfigError, match=r"client\.tenant_budgets"):
        otel_llm.LLMClient(tenant_budgets={"acme": "much"})


def test_settings_come_from_the_file(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, provider: FakeProvider, captured: CapturedSpans
) -> None:
    """The client is configured by the same file as everything else."""
    file = tmp_path / "otel-llm.toml"
    file.write_text(
        '[client]\non_limit = "refuse"\n[client.models]\nfast = "openai/gpt-4o-mini"\n'
        "[client.tenant_requests]\nacme = 1\n"
    )
    monkeypatch.setenv("OTEL_LLM_CONFIG", str(file))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", provider.openai_base)
    with otel_llm.LLMClient(model="fast") as one:
        one.generate_sync(ASK, tenant_id="acme")
        with pytest.raises(LimitExceededError):
            one.generate_sync(ASK, tenant_id="acme")


def test_the_example_runs() -> None:
    """The example that the guide names runs as it stands, in a process of its own."""
    example = Path(__file__).parents[3] / "examples" / "client.py"
    done = subprocess.run([sys.executable, example], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["You", "You", "You", "refused:", "acme", "globex"]
    assert "acme has spent 0.0000" in lines[-2]
