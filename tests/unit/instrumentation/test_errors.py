"""A call that fails is recorded as fully as one that succeeds, and the program gets the very exception."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import traceback
import types
from typing import TYPE_CHECKING, Any

import litellm
import pytest
from opentelemetry import context as otel_context
from opentelemetry.trace import StatusCode

import otel_llm.context as identity
from otel_llm import semconv
from otel_llm.faults import fault_counts
from otel_llm.instrumentation.litellm.entry import Entry
from otel_llm.instrumentation.litellm.forms import FORMS
from tests.unit.instrumentation.calls import CALLS, arguments, run
from tests.unit.instrumentation.recorded import Spans, attributes, failed, until

if TYPE_CHECKING:
    from collections.abc import Generator

    from otel_llm.testing import FakeProvider

BOTH = pytest.mark.parametrize("name", ["completion", "acompletion"])


def _failing(name: str, provider: FakeProvider, **more: Any) -> BaseException:
    with pytest.raises(BaseException) as caught, identity.tenant("acme", user="u1"):  # noqa: PT011
        run(getattr(litellm, name), **arguments(CALLS[name], provider, **more))
    return caught.value


def _says(spans: Spans, error: BaseException, status: int | None) -> None:
    """The one span says that it failed with `error`, where and for whom."""
    span = spans.only
    facts = attributes(span)
    assert span.status.status_code is StatusCode.ERROR
    assert facts[semconv.ERROR_TYPE] == f"{type(error).__module__}.{type(error).__qualname__}"
    assert facts.get(semconv.HTTP_STATUS_CODE) == status
    assert facts[semconv.REQUEST_MODEL] == "gpt-4o-mini"
    assert facts[semconv.PROVIDER_NAME] == "openai"
    assert facts[semconv.SERVER_ADDRESS] == "127.0.0.1"
    assert (facts[semconv.TENANT_ID], facts[semconv.USER_ID]) == ("acme", "u1")
    assert facts[semconv.CACHE_HIT] is False
    assert not {semconv.USAGE_INPUT, semconv.COST, semconv.FINISH_REASONS} & facts.keys()
    assert [event.name for event in span.events] == [semconv.EXCEPTION_EVENT]
    assert span.end_time is not None
    assert span.end_time > span.start_time


@BOTH
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, litellm.BadRequestError),
        (401, litellm.AuthenticationError),
        (404, litellm.NotFoundError),
        (429, litellm.RateLimitError),
        (500, litellm.InternalServerError),
        (503, litellm.ServiceUnavailableError),
    ],
)
def test_a_refusal_is_recorded(
    name: str, status: int, kind: type[BaseException], provider: FakeProvider, spans: Spans
) -> None:
    """The provider's HTTP error leaves status, error type, model, server and tenant on the span."""
    provider.error(status)
    error = _failing(name, provider)
    assert isinstance(error, kind)
    _says(spans, error, status)


@pytest.mark.parametrize("name", ["text_completion", "aembedding", "responses", "arerank", "aspeech", "moderation",
                                  "transcription", "aimage_generation", "image_edit"])  # fmt: skip
def test_a_refusal_of_any_form_is_recorded(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Every call form ends its span with the error."""
    provider.error(400)
    error = _failing(name, provider)
    facts = spans.facts
    assert failed(spans.only)
    assert facts[semconv.HTTP_STATUS_CODE] == 400
    assert facts[semconv.ERROR_TYPE].endswith(type(error).__name__)
    assert facts[semconv.OPERATION_NAME] == CALLS[name].operation
    assert facts[semconv.REQUEST_MODEL] == CALLS[name].bare_model


@BOTH
def test_a_timeout_is_recorded(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A provider that never answers ends the span with litellm's Timeout, and without the 408 that nobody sent."""
    provider.hang()
    error = _failing(name, provider, timeout=0.2)
    assert isinstance(error, litellm.Timeout)
    _says(spans, error, None)


@BOTH
@pytest.mark.parametrize("status", [408, 504])
def test_a_providers_own_timeout_has_its_status(name: str, status: int, provider: FakeProvider, spans: Spans) -> None:
    """The same Timeout of litellm's, with the status where the provider answered with one."""
    provider.error(status)
    error = _failing(name, provider)
    assert isinstance(error, (litellm.Timeout, litellm.InternalServerError, litellm.APIError))
    _says(spans, error, status)


@BOTH
def test_a_status_that_litellm_makes_another_of_is_the_providers(
    name: str, provider: FakeProvider, spans: Spans
) -> None:
    """Anthropic's 529 (overloaded) is a 500 in litellm's exception; the span has what came."""
    provider.error(529)
    with pytest.raises(litellm.InternalServerError):
        run(
            getattr(litellm, name),
            **{**arguments(CALLS[name], provider), "model": "anthropic/claude-haiku-4-5", "api_base": provider.url},
        )
    assert spans.facts[semconv.HTTP_STATUS_CODE] == 529


@BOTH
def test_a_refused_connection_is_recorded(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Nobody listening ends the span with the connection's error, and no status, for nobody answered."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        error = _failing(name, provider, api_base=f"http://127.0.0.1:{nobody.getsockname()[1]}/v1")
    _says(spans, error, None)
    assert isinstance(error, (litellm.InternalServerError, litellm.APIConnectionError))


@BOTH
def test_a_reset_connection_is_recorded(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A connection reset by the provider ends the span; there is no status."""
    provider.reset()
    error = _failing(name, provider)
    _says(spans, error, None)


@BOTH
def test_an_answer_that_cannot_be_parsed_is_recorded(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Broken JSON from the provider ends the span with the error that litellm makes of it."""
    provider.malformed()
    error = _failing(name, provider)
    _says(spans, error, getattr(error, "status_code", None))


@BOTH
def test_a_content_filter_is_recorded(name: str, provider: FakeProvider, spans: Spans) -> None:
    """A prompt that the provider's filter refuses ends the span with what litellm makes of it."""
    body = {
        "error": {
            "message": "Your request was rejected as a result of our safety system (content_policy_violation).",
            "type": "invalid_request_error",
            "code": "content_policy_violation",
        }
    }
    provider.error(400, body)
    error = _failing(name, provider)
    assert isinstance(error, litellm.BadRequestError)  # newer versions: ContentPolicyViolationError
    _says(spans, error, 400)


def test_a_filtered_answer_is_a_finish_reason(provider: FakeProvider, spans: Spans) -> None:
    """An answer that was cut by the filter is no error: the finish reason says it."""
    provider.answer("", finish_reason="content_filter")
    litellm.completion(**arguments(CALLS["completion"], provider))
    assert spans.facts[semconv.FINISH_REASONS] == ("content_filter",)
    assert not failed(spans.only)


@BOTH
def test_a_model_that_litellm_does_not_know_is_recorded(name: str, provider: FakeProvider, spans: Spans) -> None:
    """Litellm refuses a model without a provider; the span carries the name as it was given, and a provider unknown."""
    call = {**arguments(CALLS[name], provider), "model": "no-such-model"}
    with pytest.raises(litellm.BadRequestError):
        run(getattr(litellm, name), **call)
    facts = spans.facts
    assert facts[semconv.REQUEST_MODEL] == "no-such-model"
    assert facts[semconv.PROVIDER_NAME] == "unknown"
    assert failed(spans.only)


def test_a_call_without_arguments_fails_in_litellms_words(spans: Spans) -> None:
    """A call that Python itself refuses is refused by litellm's function, not by ours."""
    with pytest.raises(TypeError, match=r"completion\(\) missing 1 required positional argument: 'model'"):
        litellm.completion()
    assert failed(spans.only)


@pytest.mark.parametrize("name", ["completion", "embedding", "responses", "speech"])
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
def test_the_very_exception_object_arrives(
    name: str, kind: type[BaseException], provider: FakeProvider, spans: Spans
) -> None:
    """What the function raises is what the program catches: same object, same cause, its traceback only longer."""
    sentinel, cause = kind("the very one"), RuntimeError("why")

    def raising(*_: object, **__: object) -> None:
        raise sentinel from cause

    async def araising(*_: object, **__: object) -> None:
        raise sentinel from cause

    entry, call = Entry(spans.recorder), arguments(CALLS[name], provider)
    handled = entry.sync_handler(FORMS[name], door=False)
    ahandled = entry.async_handler(FORMS[f"a{name}"], door=False)
    for outcome in (lambda: handled(raising, (), call), lambda: ahandled(araising, (), call).send(None)):
        with pytest.raises(kind) as caught:
            outcome()
        assert caught.value is sentinel
        assert caught.value.__cause__ is cause
        assert caught.value.__context__ is None
        assert "raise sentinel" in "".join(traceback.format_tb(caught.value.__traceback__))
        sentinel.__traceback__ = None
    assert [attributes(span)[semconv.ERROR_TYPE] for span in spans.llm] == [kind.__name__] * 2


def test_a_cancelled_call_is_recorded(provider: FakeProvider, spans: Spans) -> None:
    """A task cancelled while it waits for the answer ends the span with CancelledError, and stays cancelled."""
    provider.hang()

    async def program() -> None:
        task = asyncio.create_task(litellm.acompletion(**arguments(CALLS["acompletion"], provider)))
        await asyncio.to_thread(_until_asked, provider)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    run(program)
    assert failed(spans.only)
    assert spans.facts[semconv.ERROR_TYPE].endswith("CancelledError")


def _until_asked(provider: FakeProvider) -> None:
    until(lambda: provider.requests)


def test_wait_for_cancels_and_is_recorded(provider: FakeProvider, spans: Spans) -> None:
    """`asyncio.wait_for` around a call works as without us, and the span ends."""
    provider.hang()

    async def program() -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(litellm.acompletion(**arguments(CALLS["acompletion"], provider)), 0.3)

    run(program)
    assert spans.facts[semconv.ERROR_TYPE].endswith("CancelledError")


def test_a_coroutine_thrown_away_is_quiet(
    provider: FakeProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """A coroutine that is closed in another context ends its span and logs no failure to detach."""

    @types.coroutine
    def waiting(*_: object, **__: object) -> Generator[None, None, None]:
        yield

    handled = Entry(spans.recorder).async_handler(FORMS["acompletion"], door=False)
    coroutine = handled(waiting, (), arguments(CALLS["acompletion"], provider))
    contextvars.copy_context().run(coroutine.send, None)
    before = otel_context.get_current()
    coroutine.close()
    assert otel_context.get_current() is before
    assert not [record for record in caplog.records if "detach" in record.getMessage()]
    assert spans.facts[semconv.ERROR_TYPE] == "GeneratorExit"
    assert fault_counts() == {}


def test_a_coroutine_never_awaited_is_no_call(provider: FakeProvider, spans: Spans) -> None:
    """A coroutine that is made and closed without being awaited made no call and leaves no span."""
    litellm.acompletion(**arguments(CALLS["acompletion"], provider)).close()
    assert spans.all == []
    assert provider.requests == []


def test_an_exception_that_cannot_say_what_it_is_is_recorded(
    provider: FakeProvider, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception whose `str` raises still ends the span and reaches the program."""

    class Mute(Exception):
        status_code = "odd"

        def __str__(self) -> str:
            raise ValueError

    def refuse(*_: object, **__: object) -> None:
        raise Mute

    monkeypatch.setattr(litellm, "pre_call_rules", [refuse])
    call = arguments(CALLS["completion"], provider)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        litellm.completion(**call)
    assert caught.value is not None
    assert failed(spans.only)
