"""The other libraries and frameworks: one real call each on loopback, recorded by what goes first for it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm import semconv
from otel_llm.config import CLIENT_LIBRARIES
from tests.clients.elsewhere import ROOT, Elsewhere, attributes_of
from tests.clients.frameworks import FRAMEWORKS
from tests.clients.jobs import TENANT, Job
from tests.recordings import oracle
from tests.recordings.recordings import interactions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_OPENAI = ("openai-v2/test_async_chat_completion_metrics", 0)
_MISTRAL = ("mistralai/test_mistralai_async_chat_legacy", 0)
_BY = {
    "mistralai": "openinference-instrumentation-mistralai",
    "llama-index": "openinference-instrumentation-llama-index",
    "pydantic-ai": "pydantic-ai-slim",
    "openai-agents": "openinference-instrumentation-openai-agents",
    "dspy": "opentelemetry-instrumentation-genai-dspy",
}


def _exchange(framework: str) -> tuple[str, int]:
    return _MISTRAL if framework == "mistralai" else _OPENAI


def _attributes(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for told in answer["answers"].values():
        yield from map(attributes_of, told["spans"])


def _one_call(answer: dict[str, Any], exchange: tuple[str, int]) -> dict[str, Any]:
    """The only span that counts; it says what the recorded body says, and is priced."""
    name, number = exchange
    said = oracle.answer(interactions_of(name)[number])
    assert answer["faults"] == {}
    (call,) = [one for one in _attributes(answer) if one.get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS]
    assert (call[semconv.USAGE_INPUT], call[semconv.USAGE_OUTPUT]) == (said.usage.input, said.usage.output)
    assert call[semconv.TENANT_ID] == TENANT
    assert call[semconv.COST] > 0
    assert said.messages[0].text in json.loads(call[semconv.OUTPUT_MESSAGES])[0]["parts"][0]["content"]
    totals = answer["usage"]["totals"]
    assert (totals["calls"], totals["input_tokens"]) == (1, said.usage.input)
    return call


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_call_is_recorded(framework: str, clients: Elsewhere) -> None:
    """Named alone, the library's call has one span with model, tokens, messages, tenant and cost."""
    exchange = _exchange(framework)
    answer = clients.run(Job((framework,), (exchange,), (), framework))
    assert answer["by"][framework].startswith(_BY[framework] + " ")
    call = _one_call(answer, exchange)
    assert call[semconv.REQUEST_MODEL] == interactions_of(exchange[0])[exchange[1]].request["model"]


@pytest.mark.parametrize(
    ("framework", "client"),
    [*((name, "openai") for name in FRAMEWORKS if name != "mistralai"), ("dspy", "litellm")],
)
def test_a_framework_and_its_client_count_once(framework: str, client: str, clients: Elsewhere) -> None:
    """With the client below recorded as well, by another's instrumentation or by ours, the call still counts once."""
    answer = clients.run(Job((framework, client), (_OPENAI,), (), framework))
    _one_call(answer, _OPENAI)


_LATE = """
import sys
import otel_llm

status = otel_llm.configure(instrument={names!r}, backend="none")
assert {{one.state for one in status.instrumented if one.library != "litellm"}} == {{"waiting"}}, status.instrumented
heavy = {{"openai", "anthropic", "google.genai", "langchain_core", "botocore", "ollama", "agents", "dspy", "litellm"}}
assert heavy.isdisjoint(sys.modules), heavy & set(sys.modules)
from langchain_core.language_models.chat_models import BaseChatModel
import agents, anthropic, boto3, dspy, google.genai, llama_index.core, mistralai.client, ollama, openai, pydantic_ai
for one in otel_llm.status().instrumented:
    print(one.library, one.state, one.by)
otel_llm.shutdown()
"""


def test_libraries_imported_later_are_recorded(clients: Elsewhere) -> None:
    """`configure` imports none of the libraries; each is recorded from the moment in which the program imports it."""
    program = _LATE.format(names=list(CLIENT_LIBRARIES))
    done = subprocess.run(
        [clients.python, "-c", program],
        cwd=ROOT,
        env={key: value for key, value in clients.environment.items() if not key.startswith("OTEL_")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    states = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines() if len(line.split()) >= 2}
    assert {name: states[name] for name in CLIENT_LIBRARIES} == dict.fromkeys(CLIENT_LIBRARIES, "on")
    assert "recording openai (by opentelemetry-instrumentation-genai-openai" in done.stderr
