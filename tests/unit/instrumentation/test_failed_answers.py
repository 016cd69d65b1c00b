"""An answer of the Responses API can say that it failed: litellm raises nothing, and the span is an error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import litellm
import pytest

from otel_llm import semconv
from otel_llm.instrumentation.litellm.failed_answers import FailureWatch, failure_of
from tests.unit.instrumentation.calls import CALLS, arguments, router, run
from tests.unit.instrumentation.recorded import Spans, attributes, failed

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider

REASON = "The model failed to generate a response."


def _response(status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "gpt-4o-mini",
        "output": [],
        "parallel_tool_calls": True,
        "tools": [],
        "tool_choice": "auto",
        "error": None,
        "incomplete_details": None,
        **more,
    }


FAILED = _response("failed", error={"code": "server_error", "message": REASON})
INCOMPLETE = _response(
    "incomplete",
    incomplete_details={"reason": "max_output_tokens"},
    usage={"input_tokens": 3, "output_tokens": 5, "total_tokens": 8},
)


def _events(final: dict[str, Any]) -> bytes:
    begun = {"type": "response.created", "sequence_number": 0, "response": _response("in_progress")}
    ended = {"type": f"response.{final['status']}", "sequence_number": 1, "response": final}
    return b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in (begun, ended))


def _is_error(spans: Spans) -> None:
    span = spans.only
    assert failed(span)
    assert span.status.description == REASON
    assert not span.events  # nobody raised anything
    facts = attributes(span)
    assert facts[semconv.ERROR_TYPE] == "server_error"
    assert facts[semconv.FINISH_REASONS] == ("error",)
    assert facts[semconv.RESPONSE_ID] == "resp_1"


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("name", ["responses", "aresponses"])
def test_a_failed_answer_is_an_error(name: str, at_once: bool, provider: FakeProvider) -> None:
    """`status: failed` is an error of the code that the answer gives, and the program gets the answer."""
    with Spans(at_once=at_once) as spans:
        provider.json(FAILED)
        answer = run(getattr(litellm, name), **arguments(CALLS[name], provider))
        assert answer.status == "failed"
        _is_error(spans)


def test_upstream_is_told_of_a_failed_answer(provider: FakeProvider) -> None:
    """Where upstream's library opens the span it is an error, too."""
    with Spans(upstream=True) as spans:
        provider.json(FAILED)
        litellm.responses(**arguments(CALLS["responses"], provider))
        assert failed(spans.only)
        assert spans.facts[semconv.ERROR_TYPE] == "server_error"


@pytest.mark.parametrize("name", ["responses", "aresponses"])
def test_a_stream_that_ends_with_a_failed_answer_is_an_error(name: str, provider: FakeProvider, spans: Spans) -> None:
    """`response.failed` at the end of a stream says the same. Newer litellm raises then, and its error counts."""
    provider.malformed(_events(FAILED))

    async def read() -> None:
        made = getattr(litellm, name)(**arguments(CALLS[name], provider, stream=True))
        if name == "responses":
            list(made)
        else:
            [_ async for _ in await made]

    raised = None
    try:
        run(read)
    except Exception as error:
        raised = type(error)
    if raised is None:
        _is_error(spans)
    else:
        assert spans.facts[semconv.ERROR_TYPE].endswith(raised.__name__)
    assert failed(spans.only)
    assert spans.facts[semconv.STREAM_END] == "error"


@pytest.mark.parametrize("stream", [False, True])
def test_an_incomplete_answer_is_none(stream: bool, provider: FakeProvider, spans: Spans) -> None:
    """`status: incomplete` is what `length` is in chat: an answer that was cut short, and no error."""
    provider.malformed(_events(INCOMPLETE)) if stream else provider.json(INCOMPLETE)
    made = litellm.responses(**arguments(CALLS["responses"], provider, stream=stream))
    if stream:
        list(made)
    assert not failed(spans.only)
    assert spans.facts[semconv.FINISH_REASONS] == ("length",)
    assert spans.facts[semconv.USAGE_OUTPUT] == 5
    assert not {semconv.ERROR_TYPE, semconv.STREAM_END} & spans.facts.keys()


def test_a_routers_failed_answer_is_an_error(provider: FakeProvider, spans: Spans) -> None:
    """A Router hands a failed answer on as it is; its call is an error."""
    provider.json(FAILED)
    routing = router(provider, CALLS["responses"])
    run(routing.aresponses, model="group-gpt-4o-mini", input="Hi")
    _is_error(spans)


@pytest.mark.parametrize("answer", [None, 7, [], {}, {"status": 1}, {"type": ["error"]}, {"error": None}, b"\x00", "x"])
def test_what_is_no_answer_has_not_failed(answer: object) -> None:
    """Nothing is read into garbage."""
    assert failure_of(answer) is None
    assert FailureWatch().failure_in(answer) is None


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        ({"status": "failed"}, "_OTHER", "no reason given"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}, "overloaded_error", "Busy"),
        ({"type": "error", "code": "rate_limit_exceeded", "message": "Slow"}, "rate_limit_exceeded", "Slow"),
        ({"type": "error"}, "_OTHER", "no reason given"),
        ({"error": {"code": 503, "status": "UNAVAILABLE", "message": "Busy"}}, "UNAVAILABLE", "Busy"),
    ],
)
def test_errors_are_named_by_their_providers_words(answer: object, kind: str, message: str) -> None:
    """Each provider has a place of its own for the name of an error; without one it is the conventions' `_OTHER`."""
    error = failure_of(answer)
    assert error is not None
    assert (error.kind, str(error)) == (kind, message)
