"""Size limits over whole spans: what is cut, in which order, and how it is marked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import Event

from otel_llm import semconv
from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.limits import SizeLimits
from otel_llm.processors.weight import weight_of, weight_of_finished
from tests.fakes.spans import make_span


def _messages(*contents: str) -> str:
    return json.dumps([{"role": "user", "parts": [{"type": "text", "content": content}]} for content in contents])


def _cut(attributes: dict[str, Any], max_value: int, max_span: int, **fields: Any) -> SpanDraft:
    limits = SizeLimits(max_value_bytes=max_value, max_span_bytes=max_span)
    return limits(SpanDraft(make_span(attributes=attributes, **fields)))


def _bytes_of(draft: SpanDraft) -> int:
    held = [draft.attributes, *(event.attributes or {} for event in draft.events)]
    ours = (semconv.TRUNCATED, semconv.TRUNCATED_BYTES)
    return sum(len(k) + len(str(v).encode()) for each in held for k, v in each.items() if k not in ours)


def test_span_within_its_limits_is_left_alone() -> None:
    """Nothing is cut and nothing marked on the usual span."""
    attributes = {"a": "x" * 1000, semconv.INPUT_MESSAGES: _messages("hello"), "n": 5, "l": ["a", "b"]}
    assert _cut(attributes, 1000, 5000).attributes == attributes


def test_long_value_is_cut_and_marked_with_its_former_length() -> None:
    """A value over its limit is cut to it; its key and its length in bytes are kept beside."""
    attributes = _cut({"short": "s", "long": "é" * 1000}, 500, 10_000).attributes
    assert len(attributes["long"].encode()) <= 500
    assert attributes["long"].startswith("éééé")
    assert attributes["short"] == "s"
    assert attributes[semconv.TRUNCATED] == ["long"]
    assert attributes[semconv.TRUNCATED_BYTES] == [2000]


def test_json_content_stays_json() -> None:
    """Cut messages are still messages, with the cut inside their text."""
    attributes = _cut({semconv.INPUT_MESSAGES: _messages("short", "y" * 50_000)}, 2_000, 10_000).attributes
    first, second = json.loads(attributes[semconv.INPUT_MESSAGES])
    assert first["parts"][0]["content"] == "short"
    assert second["parts"][0]["content"].startswith("yyy")
    assert len(attributes[semconv.INPUT_MESSAGES]) <= 2_000


@pytest.mark.parametrize(
    "key", [semconv.INPUT_MESSAGES, semconv.OUTPUT_MESSAGES, semconv.SYSTEM_INSTRUCTIONS, semconv.TOOL_DEFINITIONS]
)
def test_json_content_whose_structure_is_too_large_is_replaced_by_valid_json(key: str) -> None:
    """Ten thousand tiny messages become one that says so."""
    attributes = _cut({key: _messages(*["hi"] * 10_000)}, 2_000, 10_000).attributes
    assert isinstance(json.loads(attributes[key]), list)
    assert len(attributes[key]) < 2_000
    assert attributes[semconv.TRUNCATED] == [key]


@pytest.mark.parametrize("key", [semconv.TOOL_CALL_ARGUMENTS, semconv.TOOL_CALL_RESULT, "input.value"])
@pytest.mark.parametrize("value", [{"a": "y" * 50_000, "b": 1}, {str(n): n for n in range(9_000)}, ["hi"] * 9_000])
def test_any_json_stays_json(key: str, value: Any) -> None:
    """What a tool was given, and JSON that others write, is cut inside its texts or replaced, and stays its kind."""
    attributes = _cut({key: json.dumps(value)}, 2_000, 10_000).attributes
    assert isinstance(json.loads(attributes[key]), type(value))
    assert len(attributes[key]) <= 2_000
    assert attributes[semconv.TRUNCATED_BYTES] == [len(json.dumps(value))]


def test_what_the_recorder_cut_is_marked_with_its_former_length_too() -> None:
    """A value that fits because it was cut where it was recorded is listed as if it had been cut here."""
    said = _messages("a~[truncated, 995 characters]", "b~[truncated, 5 characters]").replace("~", "…")
    attributes = {semconv.INPUT_MESSAGES: said, "other": "c…[truncated, 7 characters]"}
    cut = _cut({**attributes, semconv.REPLACED: [semconv.INPUT_MESSAGES, "gone"]}, 2_000, 10_000).attributes
    assert cut[semconv.INPUT_MESSAGES] == said
    assert (cut[semconv.TRUNCATED], cut[semconv.TRUNCATED_BYTES]) == (
        [semconv.INPUT_MESSAGES],
        [len(said.encode()) + 1_000],
    )


def test_what_only_begins_like_json_is_cut_as_text() -> None:
    """A log line in brackets keeps its beginning."""
    cut = _cut({"output.value": "[INFO] " + "w" * 9_000}, 1_000, 10_000).attributes["output.value"]
    assert cut.startswith("[INFO] www")
    assert len(cut.encode()) <= 1_000


def test_content_that_is_no_json_is_cut_as_text() -> None:
    """Content under a JSON attribute that never was JSON is still bounded."""
    assert len(_cut({semconv.INPUT_MESSAGES: "w" * 9_000}, 1_000, 10_000).attributes[semconv.INPUT_MESSAGES]) <= 1_000


def test_structured_values_are_cut_inside() -> None:
    """Lists and maps given as such keep their form."""
    value = [{"role": "user", "content": "z" * 9_000}]
    attributes = _cut({semconv.INPUT_MESSAGES: value, "tags": ["t" * 4_000, "u"]}, 1_000, 10_000).attributes
    assert attributes[semconv.INPUT_MESSAGES][0]["role"] == "user"
    assert len(attributes[semconv.INPUT_MESSAGES][0]["content"]) < 1_000
    assert attributes["tags"][1] == "u"
    assert value[0]["content"] == "z" * 9_000, "the program's own value is never changed"


def test_whole_span_is_fitted_by_cutting_content_first() -> None:
    """Over the span's limit the content pays, the longest first; other values stay whole."""
    attributes = _cut(
        {
            "other": "o" * 3_000,
            semconv.INPUT_MESSAGES: _messages("i" * 6_000),
            semconv.OUTPUT_MESSAGES: _messages("short answer"),
        },
        8_000,
        6_000,
    ).attributes
    assert attributes["other"] == "o" * 3_000
    assert "short answer" in attributes[semconv.OUTPUT_MESSAGES]
    assert attributes[semconv.TRUNCATED] == [semconv.INPUT_MESSAGES]
    assert sum(len(k) + len(str(v)) for k, v in attributes.items() if not k.startswith(semconv.TRUNCATED)) <= 6_000


def test_usage_cost_tenant_and_error_are_never_cut() -> None:
    """However small the limit, the facts that people pay and alert by stay whole."""
    kept = {
        semconv.USAGE_INPUT: 10,
        semconv.COST: 0.5,
        semconv.TENANT_ID: "t" * 2_000,
        semconv.ERROR_TYPE: "E" * 2_000,
    }
    draft = _cut({**kept, semconv.INPUT_MESSAGES: _messages("x" * 9_000), "other": "o" * 9_000}, 300, 1_024)
    assert {key: draft.attributes[key] for key in kept} == kept
    assert len(draft.attributes["other"]) <= 300


def test_events_are_cut_too() -> None:
    """A ten megabyte stack trace does not leave the process; the exception's type does."""
    trace = {semconv.EXCEPTION_TYPE: "ValueError", semconv.EXCEPTION_STACKTRACE: "f" * 10_000_000}
    draft = _cut({"a": 1}, 4_000, 6_000, events=(Event("exception", trace, timestamp=7),))
    (event,) = draft.events
    assert event.attributes is not None
    assert event.attributes[semconv.EXCEPTION_TYPE] == "ValueError"
    assert len(str(event.attributes[semconv.EXCEPTION_STACKTRACE])) <= 4_000
    assert event.timestamp == 7
    assert draft.attributes[semconv.TRUNCATED] == [semconv.EXCEPTION_STACKTRACE]


def test_many_events_and_attributes_together_fit() -> None:
    """A span that is too large by the number of its values is brought near its limit."""
    events = tuple(Event("e", {"m": "x" * 900}, timestamp=n) for n in range(50))
    draft = _cut({f"k{n}": "v" * 900 for n in range(50)}, 1_000, 30_000, events=events)
    assert _bytes_of(draft) <= 30_000


def test_huge_value_is_bounded() -> None:
    """Forty megabytes of JSON are replaced without being parsed."""
    attributes = _cut({semconv.INPUT_MESSAGES: _messages("x" * 40_000_000)}, 10_000, 20_000).attributes
    assert len(attributes[semconv.INPUT_MESSAGES]) < 200
    assert attributes[semconv.TRUNCATED_BYTES][0] > 40_000_000


def test_what_is_cut_weighs_what_is_left() -> None:
    """Queues are bounded by the memory that spans take, not by what they would have taken."""
    cut = _cut({"long": "x" * 1_000_000, "short": "s"}, 10_000, 50_000).to_span()
    assert 1_024 + 9_000 <= weight_of_finished(cut) <= 1_024 + 11_000
    assert weight_of_finished(cut) == weight_of(cut)
