"""A realtime session is a span, and each of its responses one below it, with its tokens, its sound and their price.

What litellm relays to is played here: its own package for websockets is no part of the tests' environment.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from litellm.realtime_api import main as realtime_api

import otel_llm
from otel_llm import semconv
from tests.unit.instrumentation.calls import run
from tests.unit.instrumentation.recorded import attributes, failed

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from tests.unit.instrumentation.recorded import Spans

MODEL = "gpt-4o-realtime-preview-2024-12-17"
ROW = {"input_cost_per_token": 4e-06, "output_cost_per_token": 1.6e-05, "cache_read_input_token_cost": 4e-07,
       "input_cost_per_audio_token": 3.2e-05, "output_cost_per_audio_token": 6.4e-05,
       "cache_read_input_audio_token_cost": 5e-07, "litellm_provider": "openai", "mode": "realtime"}  # fmt: skip
USAGE = {
    "total_tokens": 190,
    "input_tokens": 150,
    "output_tokens": 40,
    "input_token_details": {
        "text_tokens": 50,
        "audio_tokens": 100,
        "cached_tokens": 60,
        "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 40},
    },
    "output_token_details": {"text_tokens": 10, "audio_tokens": 30},
}
COST = 30 * 4e-06 + 60 * 3.2e-05 + 20 * 4e-07 + 40 * 5e-07 + 10 * 1.6e-05 + 30 * 6.4e-05


def _session() -> dict[str, Any]:
    return {"type": "session.created", "session": {"id": "sess_1", "model": MODEL, "instructions": "Be brief"}}


def _begins(identifier: str) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": identifier, "status": "in_progress"}}


def _sound(identifier: str) -> dict[str, Any]:
    return {"type": "response.audio.delta", "response_id": identifier, "delta": "AAAA"}


def _done(identifier: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    said = {"type": "message", "role": "assistant", "content": [{"type": "audio", "transcript": "Far."}]}
    response = {"id": identifier, "object": "realtime.response", "status": status, "output": [said], "usage": USAGE}
    return {"type": "response.done", "response": {**response, **more}}


ASKED = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "How far?"}]}
HEARD = {"type": "conversation.item.created", "item": ASKED}


class _Websocket:
    """A program's end of a session."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.scope: dict[str, Any] = {}

    async def send_text(self, data: str) -> None:
        self.sent.append(data)

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.sent.append(f"closed {code}")


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a session in which the provider says these events, or raises what stands in their place."""
    monkeypatch.setitem(litellm.model_cost, MODEL, ROW)
    websocket = _Websocket()

    def session(*events: Any, **asked: Any) -> list[str]:
        async def relay(**given: Any) -> None:
            async def pass_on() -> None:
                for event in events:
                    if isinstance(event, BaseException):
                        raise event
                    if isinstance(event, dict) and "close" in event:
                        await given["websocket"].close(**event["close"])
                        return
                    await given["websocket"].send_text(event if isinstance(event, str) else json.dumps(event))

            await asyncio.create_task(pass_on())

        monkeypatch.setattr(realtime_api.openai_realtime, "async_realtime", relay)
        run(
            litellm._arealtime,
            **{"model": f"openai/{MODEL}", "websocket": websocket, "api_key": "sk-test", **asked},
        )
        return websocket.sent

    return session


def _responses(spans: Spans) -> list[dict[str, Any]]:
    return [attributes(span) for span in spans.llm]


def _whole(spans: Spans) -> ReadableSpan:
    (found,) = (span for span in spans.all if span.name.startswith("realtime"))
    return found


def test_a_session_and_its_responses_are_spans(play: Any, spans: Spans) -> None:
    """Two responses are two calls below one session: tokens, sound, cached sound, cost, tenant, time to the first."""
    events = (_session(), _begins("r1"), _sound("r1"), _done("r1"), HEARD, _begins("r2"), _sound("r2"), _done("r2"))
    with otel_llm.tenant("acme"):
        sent = play(*events)
    assert [json.loads(event) for event in sent] == list(events)
    session = _whole(spans)
    assert session.name == f"realtime {MODEL}"
    assert attributes(session)[semconv.TENANT_ID] == "acme"
    assert semconv.USAGE_INPUT not in attributes(session)
    first, second = _responses(spans)
    expected = {
        semconv.OPERATION_NAME: semconv.OP_CHAT,
        semconv.PROVIDER_NAME: "openai",
        semconv.REQUEST_MODEL: MODEL,
        semconv.RESPONSE_MODEL: MODEL,
        semconv.RESPONSE_ID: "r1",
        semconv.CONVERSATION_ID: "sess_1",
        semconv.FINISH_REASONS: ("stop",),
        semconv.USAGE_INPUT: 150,
        semconv.USAGE_OUTPUT: 40,
        semconv.USAGE_CACHE_READ: 60,
        semconv.USAGE_AUDIO_INPUT: 100,
        semconv.USAGE_AUDIO_CACHE_READ: 40,
        semconv.USAGE_AUDIO_OUTPUT: 30,
        semconv.COST_STATUS: semconv.COST_PRICED,
        semconv.TENANT_ID: "acme",
    }
    assert {key: first.get(key) for key in expected} == expected
    assert first[semconv.COST] == pytest.approx(COST, abs=1e-12)
    assert first[semconv.TIME_TO_FIRST_CHUNK] >= 0
    assert second[semconv.RESPONSE_ID] == "r2"
    assert not semconv.CONTENT_ATTRIBUTES & {*first, *second}
    for span in spans.llm:
        assert span.parent is not None
        assert span.parent.span_id == session.context.span_id


def test_content_is_what_was_said(play: Any, full_spans: Spans) -> None:
    """With content a response has the instructions, what it was told since the last one, and its transcript."""
    play(_session(), HEARD, _begins("r1"), _done("r1"), _begins("r2"), _done("r2"))
    first, second = _responses(full_spans)
    assert "How far?" in first[semconv.INPUT_MESSAGES]
    assert "Be brief" in first[semconv.SYSTEM_INSTRUCTIONS]
    assert "Far." in first[semconv.OUTPUT_MESSAGES]
    assert semconv.INPUT_MESSAGES not in second


def test_what_fails_is_an_error(play: Any, spans: Spans) -> None:
    """A response that failed is an error on its span, one that was cut short by the speaker is none."""
    told = {"type": "failed", "error": {"type": "server_error", "code": "overloaded"}}
    play(_session(), _begins("r1"), _done("r1", "failed", status_details=told), _done("r2", "cancelled"))
    broken, cut = spans.llm
    assert failed(broken)
    assert attributes(broken)[semconv.ERROR_TYPE] == "overloaded"
    assert not failed(cut)
    assert attributes(cut)[semconv.FINISH_REASONS] == ("cancelled",)
    assert not failed(_whole(spans))


def test_a_session_that_breaks_off_is_an_error(play: Any, spans: Spans) -> None:
    """What the relay raises is raised as ever; the session is an error, and what was open has ended."""
    with pytest.raises(Exception, match="gone"):
        play(_session(), _begins("r1"), ConnectionError("gone"))
    assert failed(_whole(spans))
    (cut,) = _responses(spans)
    assert cut[semconv.STREAM_END] == "closed"


@pytest.mark.parametrize(("code", "fails"), [(1000, False), (1011, True)])
def test_a_session_that_is_closed_says_why(code: int, fails: bool, play: Any, spans: Spans) -> None:
    """Litellm closes the program's websocket where the provider cannot be reached, and raises nothing."""
    assert play({"close": {"code": code, "reason": "Cannot reach it"}}) == [f"closed {code}"]
    assert failed(_whole(spans)) is fails
    if fails:
        assert attributes(_whole(spans))[semconv.ERROR_TYPE] == "1011"
        assert _whole(spans).status.description == "Cannot reach it"


@pytest.mark.parametrize(
    "rubbish", ['{"type": "response.done", "response": 7}', '"response.done"', "{", '"session."', ""]
)
def test_what_is_no_event_is_passed_on(rubbish: str, play: Any, spans: Spans) -> None:
    """Whatever a provider sends goes on to the program, understood or not."""
    assert play(rubbish) == [rubbish]
    assert spans.llm == []
    assert not failed(_whole(spans))
