"""JSON that is rewritten without being read says what it says when it is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.backends.opik.messages import FINISH_REASONS, as_choices, as_messages
from otel_llm.backends.opik.written import Written, chat_of, choice_of, object_text, written

_TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
_REASONS = st.sampled_from([None, "stop", "tool_call", "length"])


@st.composite
def _message(draw: Any) -> dict[str, Any]:
    parts = [{"type": "text", "content": draw(_TEXTS)}]
    message: dict[str, Any] = {"role": draw(st.sampled_from(["system", "user", "assistant"])), "parts": parts}
    reason = draw(_REASONS)
    return {**message, "finish_reason": reason} if reason else message


@settings(deadline=None)  # the machine may be busy
@given(st.lists(_message(), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_rewritten_messages_are_the_read_ones(messages: list[Any], spaced: bool, ascii_only: bool) -> None:
    """Conversations of plain texts, whatever the texts hold, take the short way and arrive the same."""
    text = json.dumps(messages, ensure_ascii=ascii_only, separators=None if spaced else (",", ":"))
    made = chat_of(text)
    assert made is not None or "\\ud" in text.lower()
    assert made is None or json.loads(made) == {"messages": as_messages(text)}


@settings(deadline=None)
@given(st.lists(_message(), min_size=1, max_size=4), st.lists(st.sampled_from(["stop", "tool_call", ""]), max_size=5))
def test_rewritten_choices_are_the_read_ones(messages: list[Any], reasons: list[str]) -> None:
    """Answers keep their own finish reasons, and get the span's where they have none."""
    text = json.dumps(messages, ensure_ascii=False)
    made = choice_of(text, reasons, FINISH_REASONS)
    read = as_messages(text, "assistant")
    assert made is not None or "\\ud" in text.lower()
    assert read is not None
    assert made is None or json.loads(made) == as_choices(read, reasons)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[{}]",
        '[{"role":"user","content":"hi"}]',
        '[{"role":"user","parts":[]}]',
        '[{"role":"user","parts":[{"type":"text","content":"a"},{"type":"text","content":"b"}]}]',
        '[{"role":"user","parts":[{"type":"uri","modality":"image","uri":"x"}]}]',
        '[{"role":"user","parts":[{"type":"text","content":"a"}]},]',
        '[{"role":"user","parts":[{"type":"text","content":"a"}]}',
        '[{"role":"user","parts":[{"type":"text","content":"a"}]}] ',
        '[{"role":"user","parts":[{"type":"text","content":"a\x01"}]}]',
        '[{"role":"user","parts":[{"type":"text","content":"a\\q"}]}]',
        '[{"role":"user","parts":[{"type":"text","content":1}]}]',
        '[{"role":"user","parts":[{"type":"text","content":"half \\ud800"}]}]',
        '[{"role":"user","name":"n","parts":[{"type":"text","content":"a"}]}]',
        7,
    ],
)
def test_everything_else_has_to_be_read(text: Any) -> None:
    """What is not a list of messages of one text each, to the letter, is left to the reader."""
    assert chat_of(text) is None
    assert choice_of(text, [], FINISH_REASONS) is None


def test_an_object_takes_written_values_as_they_stand() -> None:
    """An object of written and other values is one JSON object, in which a text that looks written is a text."""
    values = {"a": Written("[1]"), "b": "[1]", "c": None, "d": written({"x": "\ud800"})}
    assert json.loads(object_text(values)) == {"a": [1], "b": "[1]", "c": None, "d": {"x": "\ud800"}}
    assert object_text({}) == "{}"
