"""Content of which there is too much: what is kept of it still fits the conventions' schemas."""

from __future__ import annotations

import json
from typing import Any

import pytest

from otel_llm import semconv
from otel_llm.conformance.messages import problem_with
from otel_llm.instrumentation.shaped import content_json
from otel_llm.plain import MAX_BYTES

PART = {"type": "text", "content": "x"}
MESSAGE = {"role": "user", "parts": [PART]}
TOOL = {"type": "function", "name": "find", "description": "x"}
MANY: dict[str, Any] = {
    semconv.INPUT_MESSAGES: [MESSAGE] * 5_000,
    semconv.OUTPUT_MESSAGES: [{**MESSAGE, "finish_reason": "stop"}] * 5_000,
    semconv.SYSTEM_INSTRUCTIONS: [PART] * 20_000,
    semconv.TOOL_DEFINITIONS: [TOOL] * 20_000,
    semconv.RETRIEVAL_DOCUMENTS: [{"id": "1", "score": 0.5}] * 20_000,
}


@pytest.mark.parametrize("key", MANY)
@pytest.mark.parametrize("more", [0, 1, 2, 3, 4, 5])
def test_thousands_of_entries_are_cut_between_two_of_them(key: str, more: int) -> None:
    """Wherever a limit falls, entries are whole or not there, and one says that there were more."""
    made = content_json(key, [{**MANY[key][0], **{str(n): n for n in range(more)}}, *MANY[key]])
    kept = json.loads(made.text)
    assert problem_with(key, made.text) is None
    assert made.replaced
    others = [entry for entry in kept[1:] if entry != MANY[key][0]]
    assert all(json.dumps(entry, ensure_ascii=False).count("…[more items]") for entry in others)
    assert 1 <= len(others) <= 2
    assert 500 < len(kept) <= 1_001


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
def test_long_texts_are_cut_inside(size: int) -> None:
    """A conversation with one very long text keeps all its messages; a short one is not touched."""
    said = [MESSAGE, {"role": "tool", "parts": [{"type": "text", "content": "y" * size}]}, MESSAGE]
    made = content_json(semconv.INPUT_MESSAGES, said)
    assert problem_with(semconv.INPUT_MESSAGES, made.text) is None
    first, _, last = json.loads(made.text)
    assert first == last == MESSAGE
    assert made.replaced is (size > MAX_BYTES)


def test_of_a_very_long_conversation_the_beginning_and_the_end_are_kept() -> None:
    """The first messages set the task and the last ones are what the call is about."""
    said = [{"role": "user", "parts": [{"type": "text", "content": str(n)}]} for n in range(50_000)]
    kept = json.loads(content_json(semconv.INPUT_MESSAGES, said).text)
    assert [kept[0], kept[499]] == [said[0], said[499]]
    assert kept[-1] == said[-1]


def test_a_part_with_too_many_members_costs_its_message() -> None:
    """A message that is too much by itself is left out, and that is said."""
    huge = {"role": "user", "parts": [{"type": "text", "content": "x", **{str(n): n for n in range(20_000)}}]}
    made = content_json(semconv.INPUT_MESSAGES, [MESSAGE, huge])
    assert problem_with(semconv.INPUT_MESSAGES, made.text) is None
    assert json.loads(made.text) == [MESSAGE, {"role": "user", "parts": [{"type": "text", "content": "…[more items]"}]}]
