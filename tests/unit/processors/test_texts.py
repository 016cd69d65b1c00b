"""All texts of a span's attributes are found, whatever spans came before it and whatever a stage has changed."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from otel_llm.processors.draft import SpanDraft
from otel_llm.processors.texts import texts_of
from tests.fakes.spans import make_span

NAMES = st.sampled_from(["a", "b", "c", "d"])
USUAL = st.one_of(
    st.text(max_size=4),
    st.sampled_from([0, -7, 10**400, 2.5, float("nan"), float("inf"), True]),
    st.lists(st.text(max_size=4), max_size=3).map(tuple),
)
UNUSUAL = st.sampled_from([None, b"bytes", ["list"], {"a": "dict"}, (1, 2), ("text", 1), object()])


def _texts_in(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value) if isinstance(value, tuple) else []


@settings(max_examples=400, deadline=None)
@given(st.lists(st.dictionaries(NAMES, st.one_of(USUAL, USUAL, UNUSUAL)), min_size=1, max_size=6))
def test_no_text_is_missed_whatever_the_same_names_held_before(spans: list[dict[str, Any]]) -> None:
    """Either all texts are found, or it is said that each value must be looked at: of unusual values always."""
    for attributes in spans:
        found = texts_of(attributes)
        if not all(map(_is_usual, attributes.values())):
            assert found is None
        elif found is not None:
            wanted = [text for value in attributes.values() for text in _texts_in(value)]
            assert all(any(text in one for one in found.each) for text in wanted)
            assert sum(map(len, wanted)) <= sum(map(len, found.each)) <= len(found.together)
            assert all(one in found.together for one in found.each)


def _is_usual(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(isinstance(entry, str) for entry in value)
    return isinstance(value, (str, int, float))


def test_texts_are_known_of_values_like_those_before() -> None:
    """Of spans with the same names and kinds of values the texts are found without a look at each."""
    for number in range(3):
        found = texts_of({"model": f"m{number}", "tokens": number, "cost": 0.5, "hit": False, "reasons": ("stop", "x")})
        assert found is not None
        assert found.each == [f"m{number}", "stop \nx"]


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(NAMES, USUAL, min_size=1),
    st.lists(st.tuples(NAMES, st.one_of(USUAL, UNUSUAL, st.none())), max_size=4),
)
def test_a_draft_tells_the_texts_that_it_has_now(before: dict[str, Any], changes: list[tuple[str, Any]]) -> None:
    """What a stage sets, replaces or takes away is seen by the next one."""
    draft = SpanDraft(make_span("chat m"))
    draft.attributes = dict(before)
    assert draft.texts == texts_of(before)
    for name, value in changes:
        if value is None:
            draft.attributes.pop(name, None)
        else:
            draft.attributes[name] = value
        assert draft.texts == texts_of(dict(draft.attributes))
