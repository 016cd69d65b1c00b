"""Every recorded exchange that a client library can make, made through it: what reaches the local store is right.

The expected facts come from the recorded bytes alone (`tests.recordings.oracle`); what instrumentations lose stands in
`losses.py` and in docs/clients.md.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from otel_llm import semconv
from otel_llm.conformance import check, spans_of
from otel_llm.otlp_json import from_otlp_json
from tests.clients.cases import RUNS, Made
from tests.clients.elsewhere import Elsewhere, attributes_of, span_of
from tests.clients.jobs import TENANT
from tests.clients.losses import LOSSES, Difference, differences, loss_of
from tests.clients.prices import expected_cost
from tests.recordings.recordings import FOLDER, Exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

_SCHEMAS = FOLDER.parent / "reference" / "data" / "semconv" / "current-2026-11"
_PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
_DIFFERENCES: dict[str, list[Difference]] = {}


@pytest.fixture(params=RUNS, ids=lambda made: made.name.replace(", ", "-"))
def made(request: pytest.FixtureRequest) -> Made:
    """One library, recorded by one family of instrumentations."""
    return request.param


@pytest.fixture
def answer(made: Made, clients: Elsewhere, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What became of all its calls."""
    elsewhere = clients if made.environment == "clients" else request.getfixturevalue("older_google")
    return elsewhere.run(made.job)


def _call_of(answer: dict[str, Any], exchange: Exchange) -> dict[str, Any] | None:
    """The one span of a model call; None where the call is not recorded."""
    spans = answer["answers"][exchange.id]["spans"]
    calls = [span for span in spans if attributes_of(span).get(semconv.OPERATION_NAME) in semconv.LLM_OPERATIONS]
    assert len(calls) <= 1, [(span["scope"], span["name"]) for span in calls]
    return calls[0] if calls else None


def _calls(made: Made, answer: dict[str, Any]) -> Iterator[tuple[Exchange, dict[str, Any]]]:
    for exchange in made.exchanges:
        call = _call_of(answer, exchange)
        if call is not None:
            yield exchange, call


def test_the_wanted_instrumentation_recorded(made: Made, answer: dict[str, Any]) -> None:
    """The family that is installed records the library, every request was made once, and nothing of ours failed."""
    assert list(answer["by"]) == [made.client]
    assert answer["faults"] == {}
    assert not answer["litellm imported"]
    for exchange in made.exchanges:
        told = answer["answers"][exchange.id]
        assert told["asked"] == 1
        assert (told["raised"] is not None) == (exchange.response.status >= 400), told["raised"]


def test_span_says_what_was_recorded(made: Made, answer: dict[str, Any]) -> None:
    """Models, tokens of every kind, finish reasons, messages, parameters: as recorded, but for the named losses."""
    found = []
    for exchange in made.exchanges:
        call = _call_of(answer, exchange)
        span = span_of(call) if call is not None else None
        found += list(differences(exchange, span, answer["answers"][exchange.id]["port"]))
    _DIFFERENCES[made.name] = found
    assert [str(one) for one in found if loss_of(made.name, one) is None] == []


def test_names_are_ours(made: Made, answer: dict[str, Any]) -> None:
    """Span name, kind, tenant and status are as on our own spans, and no older or foreign name is left on a call."""
    for exchange, call in _calls(made, answer):
        said = attributes_of(call)
        assert call["name"] == f"{said[semconv.OPERATION_NAME]} {said[semconv.REQUEST_MODEL]}"
        assert call["kind"] == 3
        assert said[semconv.TENANT_ID] == TENANT
        failed = exchange.response.status >= 400
        assert call["status"].get("code", 0) == (2 if failed else 0)
        assert (semconv.ERROR_TYPE in said) == failed
        left = [key for key in said if key in semconv.OLDER_NAMES or key.startswith(("llm.", "output.value"))]
        if semconv.OUTPUT_MESSAGES in said:  # what no message could be made of stays as it was sent
            assert left == []


def test_translated_spans_follow_the_conventions(made: Made, answer: dict[str, Any]) -> None:
    """`otel-llm lint` finds nothing in them, but for names of OpenLLMetry's own that nothing is known to stand for."""
    documents = [
        {"resourceSpans": [{"scopeSpans": [{"scope": {"name": call["scope"]}, "spans": [call]}]}]}
        for _, call in _calls(made, answer)
    ]
    found = {
        (finding.rule.value, finding.attribute)
        for document in documents
        for span in spans_of(from_otlp_json(_without_scope(document)))
        for finding in check(span) or ()
        if finding.counts
    }
    if made.family == "OpenLLMetry":
        found = {(rule, name) for rule, name in found if rule != "unknown-attribute"}
    assert found - _KNOWN_BREACHES.get(made.name, set()) == set()


_KNOWN_BREACHES = {"google-genai, OpenTelemetry": {("condition", "server.port")}}
"""Run -> (rule, attribute) that its spans break by what upstream writes."""


def _without_scope(document: dict[str, Any]) -> dict[str, Any]:
    """The document with spans as OTLP has them: the name of the scope does not stand on each."""
    scoped = document["resourceSpans"][0]["scopeSpans"][0]
    scoped["spans"] = [{key: value for key, value in span.items() if key != "scope"} for span in scoped["spans"]]
    return document


def test_messages_fit_the_conventions(made: Made, answer: dict[str, Any]) -> None:
    """Messages are what the conventions' JSON schemas say, each part by its own definition."""
    schemas = {
        key: jsonschema.Draft202012Validator(
            json.loads((_SCHEMAS / f"strict-gen-ai-{name}-messages.json").read_text(encoding="utf-8"))
        )
        for key, name in ((semconv.INPUT_MESSAGES, "input"), (semconv.OUTPUT_MESSAGES, "output"))
    }
    texts = {
        (key, attributes_of(call)[key])
        for _, call in _calls(made, answer)
        for key in schemas
        if key in attributes_of(call)
    }
    assert [(text, str(error)) for key, text in texts for error in schemas[key].iter_errors(json.loads(text))] == []
    assert len(texts) > 1


def test_cost_is_what_the_recorded_body_comes_to(made: Made, answer: dict[str, Any]) -> None:
    """Tokens of the body times the table's rates; no number where the tokens or the price are not known."""
    priced = 0
    for exchange, call in _calls(made, answer):
        said = attributes_of(call)
        if any(d.feature.startswith("tokens") for d in differences(exchange, span_of(call), 0)):
            continue  # a named loss: a cost of other tokens than the body's is compared with nothing
        expected = None if made.environment == "google" else expected_cost(exchange, said)
        status = said.get(semconv.COST_STATUS)
        if expected is None:
            assert semconv.COST not in said or status == semconv.COST_FREE, (exchange.id, said[semconv.COST], status)
            assert status in {semconv.COST_UNKNOWN, semconv.COST_FREE, None}, exchange.id
        else:
            priced += 1
            assert abs(Decimal(repr(said[semconv.COST])) - expected) < Decimal("1e-12"), exchange.id
            assert status in {semconv.COST_PRICED, semconv.COST_ESTIMATED}, exchange.id
    assert priced or made.environment == "google" or made.client in {"anthropic", "google-genai", "ollama"}


def test_the_store_adds_up_what_the_bodies_say(made: Made, answer: dict[str, Any]) -> None:
    """`otel-llm usage` has every recorded call once, for the tenant, with the tokens that the spans have."""
    totals = answer["usage"]["totals"]
    calls = [attributes_of(call) for _, call in _calls(made, answer)]
    assert totals["calls"] == len(calls)
    assert totals["errors"] == sum(semconv.ERROR_TYPE in said for said in calls)
    assert totals["input_tokens"] == sum(said.get(semconv.USAGE_INPUT, 0) for said in calls)
    assert totals["output_tokens"] == sum(said.get(semconv.USAGE_OUTPUT, 0) for said in calls)
    assert totals["cache_read_tokens"] == sum(said.get(semconv.USAGE_CACHE_READ, 0) for said in calls)
    assert {row["tenant"] for row in answer["usage"]["rows"]} == {TENANT}


def test_nothing_is_recorded_after_shutdown(made: Made, answer: dict[str, Any]) -> None:
    """A call after `shutdown` leaves no span of the instrumentation in the program's own exporter either."""
    assert answer["after shutdown"] == []


@pytest.mark.parametrize("family", ["OpenTelemetry", "OpenInference"])
def test_the_tokens_of_the_recommended_families_are_right(family: str) -> None:
    """Of the two families that the extras name, the losses of tokens are few and named: no others may come."""
    lossy = {
        (name, feature)
        for loss in LOSSES
        for name in loss.made
        for feature in loss.features
        if feature.startswith("tokens") and name.endswith(family)
    }
    allowed = {("bedrock", "tokens: input"), ("bedrock", "tokens: output")}
    if family == "OpenTelemetry":
        allowed.add(("google-genai", "tokens: input"))
    assert {(name.partition(",")[0], feature) for name, feature in lossy} == allowed


def test_no_row_without_a_case_and_none_missing_in_the_docs() -> None:
    """Every named loss shows in this run, and docs/clients.md names it; the last test, so that the calls were made."""
    if set(_DIFFERENCES) != {made.name for made in RUNS}:
        pytest.skip("only a part of the runs was made in this process")
    used = {loss_of(name, one) for name, found in _DIFFERENCES.items() for one in found}
    assert [loss.why for loss in LOSSES if loss not in used] == []
    page = _PAGE.read_text(encoding="utf-8")
    assert [loss.why for loss in LOSSES if loss.shown and loss.why not in page] == []
