"""Runs of an assistant are one span each, once they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import litellm
import pytest

import otel_llm
from otel_llm import semconv
from tests.unit.instrumentation.calls import run
from tests.unit.instrumentation.recorded import failed

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
         "prompt_token_details": {"cached_tokens": 400}}  # fmt: skip
COST = (600 * 0.15 + 400 * 0.075 + 100 * 0.6) / 1e6
"""USD that those cost with gpt-4o-mini."""
NAMES = ("run_thread", "arun_thread")


def _run(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "run_1", "object": "thread.run", "created_at": 1, "thread_id": "thread_1", "assistant_id": "asst_1",
            "status": status, "model": "gpt-4o-mini", "instructions": "Be brief", "tools": [], "metadata": {},
            "parallel_tool_calls": True, "usage": USAGE, **more}  # fmt: skip


def _call(provider: FakeProvider, name: str, *answers: dict[str, Any], **more: Any) -> Any:
    for answer in answers:
        provider.json(answer)
    return run(
        getattr(litellm, name),
        **{
            "custom_llm_provider": "openai",
            "thread_id": "thread_1",
            "assistant_id": "asst_1",
            "api_base": provider.openai_base,
            "api_key": "sk-test",
            **more,
        },
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_one_span(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A run that is asked for and waited for is one span: model, tokens, cost, tenant, thread and assistant."""
    with otel_llm.tenant("acme"):
        answer = _call(provider, name, _run("queued", usage=None), _run("completed"))
    assert answer.status == "completed"
    assert spans.only.name == "chat"
    expected = {
        semconv.OPERATION_NAME: semconv.OP_CHAT,
        semconv.OPERATION_DETAIL: name,
        semconv.PROVIDER_NAME: "openai",
        semconv.RESPONSE_MODEL: "gpt-4o-mini",
        semconv.RESPONSE_ID: "run_1",
        semconv.CONVERSATION_ID: "thread_1",
        semconv.AGENT_ID: "asst_1",
        semconv.FINISH_REASONS: ("stop",),
        semconv.USAGE_INPUT: 1000,
        semconv.USAGE_OUTPUT: 100,
        semconv.USAGE_CACHE_READ: 400,
        semconv.COST_STATUS: semconv.COST_PRICED,
        semconv.TENANT_ID: "acme",
        semconv.SERVER_ADDRESS: "127.0.0.1",
    }
    facts = spans.facts
    assert {key: facts.get(key) for key in expected} == expected
    assert facts[semconv.COST] == pytest.approx(COST)
    assert not semconv.CONTENT_ATTRIBUTES & facts.keys()


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_failed_is_an_error(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A run whose status is `failed` is returned, not raised; its span has the error that it says, and its tokens."""
    told = {"code": "rate_limit_exceeded", "message": "Slow down"}
    _call(provider, name, _run("queued", usage=None), _run("failed", last_error=told))
    assert failed(spans.only)
    assert spans.facts[semconv.ERROR_TYPE] == "rate_limit_exceeded"
    assert spans.facts[semconv.USAGE_INPUT] == 1000


def test_a_run_that_wants_a_tool_says_so(provider: FakeProvider, full_spans: Spans) -> None:
    """A run that waits for a tool ends with `tool_call`; its instructions are content."""
    answers = _run("queued", usage=None), _run("requires_action")
    _call(provider, "run_thread", *answers, instructions="Be brief", additional_instructions="and kind")
    assert full_spans.facts[semconv.FINISH_REASONS] == ("tool_call",)
    assert "Be brief" in full_spans.facts[semconv.SYSTEM_INSTRUCTIONS]
    assert "and kind" in full_spans.facts[semconv.SYSTEM_INSTRUCTIONS]


def test_a_refused_run_is_an_error(provider: FakeProvider, spans: Spans) -> None:
    """What the provider refuses is raised as ever, and its span has the status."""
    provider.error(404, times=None)
    with pytest.raises(Exception, match="404"):
        _call(provider, "run_thread", max_retries=0)
    assert failed(spans.only)


def test_a_stream_of_a_run_is_left_alone(provider: FakeProvider, spans: Spans) -> None:
    """The stream of a run is OpenAI's own object, which asks when it is entered: it has no span, and works as ever."""
    made = _call(provider, "run_thread", stream=True)
    assert hasattr(made, "__enter__")
    assert spans.llm == []
