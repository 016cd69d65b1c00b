"""Batches and responses in the background: billed when they are done, recorded once, whoever asks how often."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import litellm
import pytest

import otel_llm
from otel_llm import semconv
from otel_llm.faults import fault_counts
from otel_llm.instrumentation.litellm.later import Awaited
from tests.unit.instrumentation.calls import run
from tests.unit.instrumentation.recorded import attributes, failed

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider
    from tests.unit.instrumentation.recorded import Spans

USAGE = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "total_tokens": 1500,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens_details": {"reasoning_tokens": 0},
}
new = pytest.mark.skipif(version("litellm").startswith("1.79."), reason="this litellm has no such function")


def _batch(identifier: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-1",
        "completion_window": "24h",
        "created_at": 1,
        "status": status,
        **more,
    }


def _response(identifier: str, status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": identifier,
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "gpt-4o-mini",
        "output": [],
        "background": True,
        "parallel_tool_calls": True,
        "tools": [],
        "tool_choice": "auto",
        **more,
    }


def _done(identifier: str, **more: Any) -> dict[str, Any]:
    said = {"type": "message", "id": "m", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "far", "annotations": []}]}  # fmt: skip
    return _response(identifier, "completed", **{"output": [said], "usage": USAGE, **more})


def _call(provider: FakeProvider, name: str, answer: dict[str, Any], **asked: Any) -> Any:
    """One call of litellm's function of that name, answered so."""
    provider.json(answer)
    target = {"api_base": provider.openai_base, "api_key": "sk-test", "custom_llm_provider": "openai"}
    if name.endswith("aresponses") or name == "responses":
        target.pop("custom_llm_provider")
    return run(getattr(litellm, name), **{**target, **asked})


ASKED = {"completion_window": "24h", "endpoint": "/v1/chat/completions", "input_file_id": "file-1"}


@pytest.mark.parametrize("prefix", ["", "a"])
def test_a_batch_is_recorded_once_when_it_is_done(prefix: str, provider: FakeProvider, spans: Spans) -> None:
    """Asking for a batch and looking at it while it runs leaves no span; its end is one, at the price of batches."""
    identifier = f"batch_once{prefix}"
    with otel_llm.tenant("acme"):
        _call(provider, f"{prefix}create_batch", _batch(identifier, "validating"), **ASKED)
    _call(provider, f"{prefix}retrieve_batch", _batch(identifier, "in_progress"), batch_id=identifier)
    assert not spans.llm
    done = _batch(identifier, "completed", model="gpt-4o-mini-2024-07-18", usage=USAGE)
    for _ in range(3):
        assert _call(provider, f"{prefix}retrieve_batch", done, batch_id=identifier).status == "completed"
    facts = attributes(spans.only)
    assert spans.only.name == "chat gpt-4o-mini-2024-07-18"
    assert facts[semconv.OPERATION_DETAIL] == f"{prefix}retrieve_batch"
    assert facts[semconv.TENANT_ID] == "acme"
    assert facts[semconv.PROVIDER_NAME] == "openai"
    assert (facts[semconv.USAGE_INPUT], facts[semconv.USAGE_OUTPUT]) == (1000, 500)
    assert facts[semconv.COST] == pytest.approx(1000 * 7.5e-8 + 500 * 3e-7)
    assert facts[semconv.COST_STATUS] == semconv.COST_PRICED
    assert fault_counts() == {}


def test_a_batch_of_embeddings_is_one(provider: FakeProvider, spans: Spans) -> None:
    """A batch's operation is that of its requests."""
    for status in ("in_progress", "completed"):
        answer = _batch("batch_e", status, endpoint="/v1/embeddings", model="text-embedding-3-small", usage=USAGE)
        _call(provider, "retrieve_batch", answer, batch_id="batch_e")
    assert spans.only.name == "embeddings text-embedding-3-small"


def test_a_batch_that_was_never_seen_undone_is_not_counted_again(provider: FakeProvider, spans: Spans) -> None:
    """Who comes to a batch that is done already may have counted it in another process."""
    done = _batch("batch_old", "completed", model="gpt-4o-mini", usage=USAGE)
    _call(provider, "retrieve_batch", done, batch_id="batch_old")
    assert not spans.llm


def test_a_batch_without_usage_has_an_unknown_cost(provider: FakeProvider, spans: Spans) -> None:
    """Where the provider does not say what was used, nothing is made up."""
    for status in ("in_progress", "completed"):
        _call(provider, "retrieve_batch", _batch("batch_u", status), batch_id="batch_u")
    facts = attributes(spans.only)
    assert facts[semconv.COST_STATUS] == semconv.COST_UNKNOWN
    assert not {semconv.COST, semconv.USAGE_INPUT} & facts.keys()


def test_a_batch_that_fails_is_an_error(provider: FakeProvider, spans: Spans) -> None:
    """A refusal of the file is the batch's error, not the call's that looks."""
    errors = {"object": "list", "data": [{"code": "invalid_json_line", "message": "No.", "line": 1}]}
    for status in ("validating", "failed"):
        _call(provider, "retrieve_batch", _batch("batch_f", status, errors=errors), batch_id="batch_f")
    assert failed(spans.only)
    assert spans.facts[semconv.ERROR_TYPE] == "invalid_json_line"


@pytest.mark.parametrize("prefix", ["", "a"])
def test_a_response_in_the_background_is_billed_once(prefix: str, provider: FakeProvider, spans: Spans) -> None:
    """The call that asks has neither tokens nor a cost; the first look at the answer has both, and no other."""
    identifier = f"resp_once{prefix}"
    with otel_llm.tenant("acme"):
        asked = {"model": "openai/gpt-4o-mini", "input": "How far is the moon?", "background": True}
        begun = _call(provider, f"{prefix}responses", _response(identifier, "queued"), **asked)
    for answer in (_response(identifier, "in_progress"), _done(identifier), _done(identifier)):
        _call(provider, f"{prefix}get_responses", answer, response_id=begun.id)
    first, second = (attributes(span) for span in spans.llm)
    assert not {semconv.USAGE_INPUT, semconv.COST, semconv.COST_STATUS} & first.keys()
    assert second[semconv.OPERATION_DETAIL] == f"{prefix}get_responses"
    assert second[semconv.TENANT_ID] == "acme"
    assert second[semconv.REQUEST_MODEL] == "gpt-4o-mini"
    assert (second[semconv.USAGE_INPUT], second[semconv.USAGE_OUTPUT]) == (1000, 500)
    assert second[semconv.COST] == pytest.approx(1000 * 1.5e-7 + 500 * 6e-7)
    assert second[semconv.FINISH_REASONS] == ("stop",)


def test_a_response_that_was_answered_at_once_is_not_billed_again(provider: FakeProvider, spans: Spans) -> None:
    """Fetching an answer that has been recorded is no call of a model."""
    begun = _call(provider, "responses", _done("resp_at_once"), model="openai/gpt-4o-mini", input="moon")
    _call(provider, "get_responses", _done("resp_at_once"), response_id=begun.id)
    assert len(spans.llm) == 1


def test_a_response_that_failed_in_the_background_is_an_error(provider: FakeProvider, spans: Spans) -> None:
    """What went wrong later is an error of the span that says so."""
    asked = {"model": "openai/gpt-4o-mini", "input": "moon", "background": True}
    begun = _call(provider, "responses", _response("resp_failed", "queued"), **asked)
    error = {"code": "server_error", "message": "No."}
    _call(provider, "get_responses", _response("resp_failed", "failed", error=error), response_id=begun.id)
    assert failed(spans.llm[-1])
    assert attributes(spans.llm[-1])[semconv.ERROR_TYPE] == "server_error"


@new
@pytest.mark.parametrize("name", ["compact_responses", "acompact_responses"])
def test_compaction_is_a_call_of_a_model(name: str, provider: FakeProvider, spans: Spans) -> None:
    """`compact_responses` is one span with its tokens and their price."""
    said = {"id": "c", "type": "compaction", "encrypted_content": "x"}
    answer = {"id": "resp_c", "object": "response.compaction", "created_at": 1, "output": [said], "usage": USAGE}
    _call(provider, name, answer, model="openai/gpt-4o-mini", input="How far is the moon?")
    facts = attributes(spans.only)
    assert facts[semconv.OPERATION_DETAIL] == name
    assert facts[semconv.USAGE_INPUT] == 1000
    assert facts[semconv.COST] == pytest.approx(1000 * 1.5e-7 + 500 * 6e-7)
    assert facts[semconv.COST_STATUS] == semconv.COST_PRICED


def test_what_is_waited_for_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that nobody comes back for is forgotten for newer work."""
    from otel_llm.context import NOBODY
    from otel_llm.instrumentation.litellm import later
    from otel_llm.instrumentation.litellm.request import Request

    monkeypatch.setattr(later, "_MOST", 2)
    form, awaited = later.LATER["retrieve_batch"], Awaited()
    for number in range(3):
        awaited.note(Request(form, (), {}), {"id": str(number), "status": "in_progress"}, NOBODY)
    found = [awaited.done(form, {}, {"id": str(number), "status": "completed"}, "tenant_id") for number in range(3)]
    assert [request is not None for request in found] == [False, True, True]
