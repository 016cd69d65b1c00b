"""Every recorded exchange that litellm can take, called through litellm: the span says what the provider said."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from otel_llm import semconv
from tests.recordings import shapes
from tests.recordings.accuracy import PAGE, differences, page
from tests.recordings.calls import NoCallForm, call_of
from tests.recordings.compare import Comparison, compare
from tests.recordings.faults import FAULTS, fault_in
from tests.recordings.known_differences import DIFFERENCES
from tests.recordings.recordings import FOLDER, Exchange, exchanges
from tests.recordings.report import compared_cases
from tests.recordings.untakeable import ALL_LISTED, fails_as_said, why_untakeable
from tests.recordings.versions import IS_1_79

if TYPE_CHECKING:
    from tests.recordings.harness import Recorded, Recording
    from tests.recordings.provider import Provider

_EVERY = exchanges()
_TAKEN = [exchange for exchange in _EVERY if why_untakeable(exchange) is None]
_UNTAKEABLE = [exchange for exchange in _EVERY if why_untakeable(exchange) is not None]
_SCHEMAS = FOLDER.parent / "reference" / "data" / "semconv" / "current-2026-11"

_COMPARED: dict[str, list[Comparison]] = {}
"""What was compared in this process so far, for the page of accuracy."""


def _id(exchange: Exchange) -> str:
    return exchange.id


def test_the_recordings_are_there() -> None:
    """CI compares with real recordings: without them there is nothing to be green about."""
    assert FOLDER.is_dir(), f"no recordings at {FOLDER}; OTEL_LLM_RECORDINGS names another place"
    assert len(_EVERY) >= 212


@pytest.mark.skipif(not os.environ.get("CI"), reason="elsewhere, cases that need what is not installed are listed")
@pytest.mark.parametrize("package", ["mcp", "google.auth", "boto3"])
def test_ci_has_what_litellm_needs(package: str) -> None:
    """In CI nothing stays untested for want of a package."""
    assert find_spec(package) is not None


def test_the_list_of_untakeable_names_real_cases() -> None:
    """A case that was renamed or removed cannot stay on the list."""
    assert {exchange.id for exchange in _EVERY} >= ALL_LISTED


@pytest.mark.skipif(not _EVERY, reason="without recordings no row has a case")
def test_no_row_without_a_case() -> None:
    """A known difference or fault that covers no case explains nothing and has to go."""
    silent = ReadableSpan("says nothing")
    explained = {compared.difference for exchange in _TAKEN for compared in compare(exchange, silent, port=0)}
    assert [row.reason for row in DIFFERENCES if row not in explained] == []
    assert [fault.why for fault in FAULTS if not any(map(fault.applies, _TAKEN))] == []


@pytest.mark.parametrize("exchange", _TAKEN, ids=_id)
def test_span_says_what_was_recorded(
    exchange: Exchange, provider: Provider, recording: Recording, own_requests: list[str]
) -> None:
    """One span per call, equal to the recording in every feature, and fit for the conventions' schemas."""
    call = call_of(exchange, provider)
    with provider.playing(exchange):
        recorded = recording.of(call.run)
    assert len(provider.asked) == 1, [request.target for request in provider.refused]
    span = recorded.llm_span

    _check_outcome(exchange, recorded)
    _check_requests_below(span, recorded.spans, provider.url)
    _check_frame(span, call.name)
    _check_schemas(span)
    alone = Comparison(exchange, "requests of the recorder's own", [], own_requests)
    _COMPARED[exchange.id] = compare(exchange, span, provider.port)
    _check_features(exchange, [*_COMPARED[exchange.id], alone])


def _check_outcome(exchange: Exchange, recorded: Recorded) -> None:
    """The user's call failed where the provider refused it, nowhere else; the span has the same opinion."""
    failed = exchange.response.status >= 400
    assert (recorded.error is not None) == failed, recorded.error
    span = recorded.llm_span
    assert span.status.status_code is (StatusCode.ERROR if failed else StatusCode.UNSET)
    assert (semconv.ERROR_TYPE in (span.attributes or {})) == failed


def _check_requests_below(span: ReadableSpan, spans: list[ReadableSpan], url: str) -> None:
    """The HTTP request to the provider has a span where litellm's client can be instrumented, as the call's child."""
    for other in spans:
        asked = str((other.attributes or {}).get("http.url", ""))
        if asked.endswith("/api/show"):
            continue  # by litellm's callbacks, which ask Ollama about the model, outside of the call
        if other is not span and asked.startswith(url):
            assert other.parent is not None
            assert other.parent.span_id == span.context.span_id


def _check_frame(span: ReadableSpan, function: str) -> None:
    """Kind, name, and the litellm function that was called."""
    said: dict[str, Any] = dict(span.attributes or {})
    assert span.kind is SpanKind.CLIENT
    assert span.name == f"{said[semconv.OPERATION_NAME]} {said[semconv.REQUEST_MODEL]}"
    assert said[semconv.OPERATION_DETAIL] == function
    assert said.get(semconv.TIME_TO_FIRST_CHUNK, 1.0) > 0


def _check_schemas(span: ReadableSpan) -> None:
    """Messages are what the conventions' JSON schemas say, each part by its own definition."""
    for key, name in ((semconv.INPUT_MESSAGES, "input"), (semconv.OUTPUT_MESSAGES, "output")):
        value = (span.attributes or {}).get(key)
        if value is not None:
            assert isinstance(value, str)
            schema = json.loads((_SCHEMAS / f"strict-gen-ai-{name}-messages.json").read_text(encoding="utf-8"))
            jsonschema.validate(json.loads(value), schema)


def _check_features(exchange: Exchange, comparisons: list[Comparison]) -> None:
    wrong, faults = [], []
    for compared in comparisons:
        fault = fault_in(exchange, compared.feature)
        if fault is None and not compared.is_right:
            wrong.append(str(compared))
        elif fault is not None and compared.is_right:
            wrong.append(f"{compared.feature}: mended, take it off the list of faults: {fault}")
        elif fault is not None:
            faults.append(f"{compared}: {fault}")
    assert not wrong, "\n".join(wrong)
    if faults:
        pytest.xfail("\n".join(faults))


@pytest.mark.parametrize("exchange", _UNTAKEABLE, ids=_id)
def test_untakeable_still_fails(exchange: Exchange, provider: Provider, recording: Recording) -> None:
    """What the list calls untakeable fails in litellm as the list says, and the failure is on one span."""
    said = why_untakeable(exchange)
    assert said is not None
    if exchange.api == "assistants":
        with pytest.raises(NoCallForm):
            call_of(exchange, provider)
        return
    call = call_of(exchange, provider)
    with provider.playing(exchange):
        recorded = recording.of(call.run)
    assert recorded.error is not None, f"litellm takes it now, take it off the list: {said.reason}"
    assert fails_as_said(said, recorded.error), recorded.error
    assert recorded.llm_span.status.status_code is StatusCode.ERROR
    assert (recorded.llm_span.attributes or {})[semconv.ERROR_TYPE]


@pytest.mark.slow  # by itself: after the tests above there is nothing left to call
@pytest.mark.timeout(600)
@pytest.mark.skipif(not _EVERY, reason="without recordings there is nothing to show")
def test_the_accuracy_page_is_what_this_run_says() -> None:
    """docs/accuracy.md shows this very run: the last test of the file, so that the calls have been made."""
    missing = [exchange for exchange in _TAKEN if exchange.id not in _COMPARED]
    _COMPARED.update((exchange.id, comparisons) for exchange, comparisons in compared_cases(missing))
    shaped = [] if IS_1_79 else list(shapes.compared())
    made = page([(exchange, _COMPARED[exchange.id]) for exchange in _TAKEN], _EVERY, shaped)
    assert differences(PAGE.read_text(encoding="utf-8"), made) == [], "python -m tests.recordings.accuracy --write"
